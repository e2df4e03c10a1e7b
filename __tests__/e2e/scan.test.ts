import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { liveFindings } from '../../drift/live';
import type { Host } from '../../fleet/fleet';
import { ageRecipientOf } from '../../keys/age-recipient';
import { parseSshPublicKey } from '../../keys/ssh-public-key';
import { verifyHosts } from '../../live/verify';
import { waitFor } from '../../sandbox/processes';
import { ensurePrivilegeSeparationDir, findSshd } from '../../sandbox/sshd';
import type { StateReading } from '../../terraform/state';
import { fleetWith } from '../drift/hosts';

jest.setTimeout(60_000);

/** Where the servers of this file listen; nobody else does. */
const ADDRESS = '127.93.0.1';

describe('what sshd serves, against what the state says', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'hostkey-scan-'));
  const children: ChildProcess[] = [];
  const servers: Server[] = [];

  afterAll(() => {
    for (const child of children) child.kill();
    for (const server of servers) server.close();
    rmSync(folder, { recursive: true });
  });

  const makeKey = (name: string, type: string): string => {
    execFileSync('ssh-keygen', ['-q', '-t', type, '-N', '', '-C', '', '-f', path.join(folder, name)]);
    return readFileSync(path.join(folder, `${name}.pub`), 'utf8').trim();
  };

  async function sshd(port: number, ...keys: string[]): Promise<void> {
    ensurePrivilegeSeparationDir();
    const config = path.join(folder, `sshd-${port}`);
    const lines = [
      `ListenAddress ${ADDRESS}:${port}`,
      'PidFile none',
      'UsePAM no',
      ...keys.map((key) => `HostKey ${path.join(folder, key)}`),
    ];
    writeFileSync(config, `${lines.join('\n')}\n`);
    const child = spawn(findSshd(), ['-D', '-f', config], { stdio: 'ignore' });
    children.push(child);
    const answers = () => {
      try {
        return (
          execFileSync('ssh-keyscan', ['-p', String(port), ADDRESS], {
            encoding: 'utf8',
            stdio: ['ignore', 'pipe', 'ignore'],
          }) || undefined
        );
      } catch {
        return undefined;
      }
    };
    expect(await waitFor(answers, 10, 100)).toBeDefined();
  }

  const listen = (port: number, greeting: string | undefined): Promise<void> =>
    new Promise((done) => {
      const server = createServer((socket) => {
        socket.on('error', () => undefined);
        if (greeting !== undefined) socket.end(greeting);
      });
      servers.push(server.listen(port, ADDRESS, done));
    });

  const host = (more: object): Host => {
    const [found] = fleetWith({ a: { vmId: 283, ...more } }).hosts;
    if (found === undefined) throw new Error('no host');
    return found;
  };

  let deployed: StateReading;

  beforeAll(async () => {
    const key = parseSshPublicKey(makeKey('declared', 'ed25519'));
    deployed = { status: 'deployed', state: { key, recipient: ageRecipientOf(key) } };
    makeKey('other', 'ed25519');
    makeKey('rsa', 'rsa');
    await sshd(2201, 'declared');
    await sshd(2202, 'other');
    await sshd(2203, 'declared', 'rsa');
    await sshd(2204, 'rsa');
    await listen(2205, undefined);
    await listen(2206, 'HTTP/1.1 400 Bad Request\r\n\r\n');
    await listen(2207, '');
  });

  const verify = async (port: number, more: object = {}, state: StateReading = deployed) => {
    const one = host({ ssh: { address: ADDRESS, port }, ...more });
    const verdict = (await verifyHosts([one], new Map([['a', state]]), { timeoutSeconds: 1 })).get('a');
    if (verdict === undefined) throw new Error('no verdict');
    return { verdict, kinds: liveFindings(one, verdict).map(({ kind }) => kind) };
  };

  test.each([
    ['the declared key', 2201, {}, 'same', []],
    ['another key', 2202, {}, 'different', ['key-differs']],
    ['the declared key and one of the image', 2203, {}, 'extra', ['key-extra']],
    ['the keys of a host that made its own', 2203, { hostKey: { public: '' } }, 'same', []],
    ['no ed25519 key', 2204, {}, 'different', ['key-differs']],
    ['nothing, for it is off on purpose', 2208, { started: false }, 'off', []],
  ])('%s', async (_what, port, more, status, kinds) => {
    const given =
      'hostKey' in more
        ? { hostKey: { public: readFileSync(path.join(folder, 'declared.pub'), 'utf8').trim() } }
        : more;
    const found = await verify(port, given);
    expect({ status: found.verdict.status, kinds: found.kinds }).toEqual({ status, kinds });
  });

  test.each([
    ['a port that refuses', 2208, {}, 'refuses the connection'],
    ['a port that says nothing', 2205, {}, "doesn't answer in time"],
    ['a web server', 2206, {}, 'serves no host key'],
    ['a server that hangs up', 2207, {}, 'serves no host key'],
    ['a name that is none', 22, { ssh: { address: 'no-such-host.invalid' } }, 'leads nowhere'],
  ])('%s could not be told, and is not taken for another key', async (_what, port, more, message) => {
    const { verdict, kinds } = await verify(port, more);
    expect(verdict).toMatchObject({ status: 'unknown', message: expect.stringContaining(message) });
    expect(kinds).toEqual(['unchecked']);
  });

  test.each<[string, StateReading]>([
    ['was never deployed', { status: 'absent' }],
    ['is unreadable', { status: 'unreadable', message: 'is unreadable', remedy: '' }],
  ])('a host whose state %s has no key to compare with', async (message, state) => {
    expect((await verify(2201, {}, state)).verdict).toMatchObject({
      status: 'unknown',
      message: expect.stringContaining(message),
    });
  });

  test('a host that boots is waited for, and the one scan that counts sees its key', async () => {
    const started = verifyHosts(
      [host({ ssh: { address: ADDRESS, port: 2209 } })],
      new Map([['a', deployed]]),
      {
        timeoutSeconds: 1,
        waitSeconds: 20,
      },
    );
    await new Promise((done) => setTimeout(done, 1500));
    await sshd(2209, 'declared');
    expect((await started).get('a')).toMatchObject({ status: 'same' });
  });
});
