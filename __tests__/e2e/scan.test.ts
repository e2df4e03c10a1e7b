import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { liveFindings } from '../../drift/live';
import type { Host } from '../../fleet/fleet';
import { ageRecipientOf } from '../../keys/age-recipient';
import { parseSshPublicKey } from '../../keys/ssh-public-key';
import { scanServers } from '../../live/scan';
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
    await startSshd(
      port,
      keys.map((key) => `HostKey ${path.join(folder, key)}`),
    );
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

  async function startSshd(port: number, settings: readonly string[]): Promise<void> {
    ensurePrivilegeSeparationDir();
    const config = path.join(folder, `sshd-${port}`);
    const lines = [`ListenAddress ${ADDRESS}:${port}`, 'PidFile none', 'UsePAM no', ...settings];
    writeFileSync(config, `${lines.join('\n')}\n`);
    children.push(spawn(findSshd(), ['-D', '-f', config], { stdio: 'ignore' }));
    const listens = () =>
      new Promise<true | undefined>((done) => {
        const socket = connect(port, ADDRESS, () => done(true));
        socket.on('connect', () => socket.destroy()).on('error', () => done(undefined));
      });
    expect(await waitFor(listens, 10, 100)).toBe(true);
  }

  const serve = (port: number, greet: (socket: Socket) => void): Promise<void> =>
    new Promise((done) => {
      const server = createServer((socket) => {
        socket.on('error', () => undefined);
        greet(socket);
      });
      servers.push(server.listen(port, ADDRESS, done));
    });

  /** A port that drops who calls, as a firewall does: its queue is full, and nobody is taken out of it. */
  const full = async (port: number): Promise<void> => {
    const script = `import socket, time
s = socket.create_server(('${ADDRESS}', ${port}), backlog=0)
calls = [socket.socket() for _ in range(4)]
for c in calls:
    c.setblocking(False)
    c.connect_ex(('${ADDRESS}', ${port}))
time.sleep(0.5)
print('full', flush=True)
time.sleep(600)`;
    const child = spawn('python3', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    await new Promise((done) => child.stdout.once('data', done));
  };

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
    await serve(2205, () => undefined);
    await serve(2206, (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await serve(2207, (socket) => socket.end());
    await startSshd(2210, [`HostKey ${path.join(folder, 'rsa')}`, 'HostKeyAlgorithms ssh-ed25519']);
    await full(2211);
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
    ['a port that drops who calls', 2211, {}, "doesn't answer in time"],
    ['a port that says nothing', 2205, {}, 'says nothing'],
    ['a web server', 2206, {}, 'is no SSH server'],
    ['a server that hangs up', 2207, {}, 'or one that hangs up'],
    ['an SSH server without a usable key', 2210, {}, 'serves no ed25519, ECDSA or RSA host key'],
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

  test('a host that is waited for does not keep others waiting', async () => {
    const server = (port: number) => ({ address: ADDRESS, port });
    let answered = 0;
    const scans = await scanServers(
      new Map([
        ['late', server(2212)],
        ['up', server(2201)],
      ]),
      {
        timeoutSeconds: 1,
        waitSeconds: 20,
        concurrency: 1,
        // The first comes up once the second has been asked.
        onScan: () => {
          if (++answered === 1) void sshd(2212, 'declared');
        },
      },
    );
    expect([...scans.values()].map(({ status }) => status)).toEqual(['answered', 'answered']);
  });

  test('a lost connection for the one key that counts is no other key', async () => {
    let lost = 0;
    await serve(2213, (socket) => {
      const upstream = connect(2203, ADDRESS);
      socket.on('data', (bytes) => {
        // What the client accepts as a host key stands in clear in its first packet (RFC 4253 section 7.1).
        if (bytes.includes('ssh-ed25519') && !bytes.includes('rsa-sha2') && lost++ === 0) socket.destroy();
        else upstream.write(bytes);
      });
      upstream.on('error', () => undefined).pipe(socket);
      socket.on('close', () => upstream.destroy());
    });
    expect((await verify(2213)).verdict.status).toBe('extra');
    expect(lost).toBeGreaterThan(1);
  });

  test('a host that says nothing is given up in about the time that one may take', async () => {
    const begun = Date.now();
    const silent = new Map([['mute', { address: ADDRESS, port: 2205 }]]);
    expect(await scanServers(silent, { timeoutSeconds: 4 })).toEqual(
      new Map([['mute', { status: 'silent', why: 'mute' }]]),
    );
    expect(Date.now() - begun).toBeLessThan(7500);
  });
});
