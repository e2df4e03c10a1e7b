import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { liveFindings } from '../../drift/live';
import type { Host } from '../../fleet/fleet';
import { ageRecipientOf } from '../../keys/age-recipient';
import { parseSshPublicKey } from '../../keys/ssh-public-key';
import { scanServers } from '../../live/scan';
import { verifyHosts } from '../../live/verify';
import type { StateReading } from '../../terraform/state';
import { fleetWith } from '../drift/hosts';
import { Servers } from './servers';

jest.setTimeout(60_000);

/** Where the servers of this file listen; nobody else does. */
const ADDRESS = '127.93.0.1';

describe('what sshd serves, against what the state says', () => {
  const servers = new Servers(ADDRESS);

  afterAll(() => servers.stop());

  const host = (more: object): Host => {
    const [found] = fleetWith({ a: { vmId: 283, ...more } }).hosts;
    if (found === undefined) throw new Error('no host');
    return found;
  };

  let deployed: StateReading;

  beforeAll(async () => {
    const key = parseSshPublicKey(servers.makeKey('declared', 'ed25519'));
    deployed = { status: 'deployed', state: { key, recipient: ageRecipientOf(key) } };
    servers.makeKey('other', 'ed25519');
    servers.makeKey('rsa', 'rsa');
    await servers.sshd(2201, ['declared']);
    await servers.sshd(2202, ['other']);
    await servers.sshd(2203, ['declared', 'rsa']);
    await servers.sshd(2204, ['rsa']);
    await servers.serve(2205, () => undefined);
    await servers.serve(2206, (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await servers.serve(2207, (socket) => socket.end());
    await servers.sshd(2210, ['rsa'], ['HostKeyAlgorithms ssh-ed25519']);
    await servers.drop(2211);
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
        ? { hostKey: { public: readFileSync(servers.path('declared.pub'), 'utf8').trim() } }
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
    await servers.sshd(2209, ['declared']);
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
          if (++answered === 1) void servers.sshd(2212, ['declared']);
        },
      },
    );
    expect([...scans.values()].map(({ status }) => status)).toEqual(['answered', 'answered']);
  });

  test('a lost connection for the one key that counts is no other key', async () => {
    let lost = 0;
    await servers.serve(2213, (socket) => {
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
