import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import path from 'node:path';
import { parse } from 'yaml';
import { hashedName } from '../../keys/known-hosts-file';
import { Checkout, succeeded } from '../../sandbox/checkout';
import type { Sandbox } from '../../sandbox/sandbox';
import { toolEnvironment } from '../../tools/env';
import { Servers } from './servers';

jest.setTimeout(300_000);

/** Where the servers of this file listen; nobody else does. */
const ADDRESS = '127.95.0.1';
const SERVERS = '127.95.1.1';
const HOSTS = { 'mqtt-01': 283, 'web-01': 284, 'db-01': 285 } as const;
type Name = keyof typeof HOSTS;

describe('three deployed hosts, and sshd with the keys from their snippets', () => {
  const tools = toolEnvironment();
  const servers = new Servers(SERVERS);
  let sandbox: Sandbox;
  let checkout: Checkout;

  const PORTS: Readonly<Record<Name, number>> = { 'mqtt-01': 2201, 'web-01': 2202, 'db-01': 2203 };

  /** Writes fleet.yaml: where each host's sshd is, and one host that was never deployed. */
  const writeFleet = (ports: Partial<Record<Name, number>> = {}): void => {
    const hosts = Object.entries(HOSTS).map(([name, vmId], i) => [
      name,
      {
        vmId,
        address: `192.0.2.${83 + i}/24`,
        ssh: { address: SERVERS, port: ports[name as Name] ?? PORTS[name as Name] },
      },
    ]);
    checkout.writeFleet(sandbox, { ...Object.fromEntries(hosts), later: { vmId: 286 } });
  };

  beforeAll(async () => {
    checkout = new Checkout(tools);
    sandbox = await checkout.startSandbox(ADDRESS);
    await sandbox.control('time_scale', { value: 0 }).catch(() => undefined);
    checkout.use({ ...tools, ...sandbox.env, XDG_STATE_HOME: checkout.path('notes') });
    writeFleet();
    succeeded(await checkout.cdktf('deploy', ...Object.keys(HOSTS), '--auto-approve', '--parallelism', '2'));

    for (const name of Object.keys(HOSTS)) {
      const snippet = readFileSync(path.join(sandbox.snippets, `${name}.user-data.yaml`), 'utf8');
      writeFileSync(servers.path(name), parse(snippet).ssh_keys.ed25519_private, { mode: 0o600 });
    }
    servers.makeKey('image-rsa', 'rsa');
    servers.makeKey('template', 'ed25519');
    servers.makeKey('login', 'ed25519');
    const login = [
      `AuthorizedKeysFile ${servers.path('login.pub')}`,
      'PermitRootLogin prohibit-password',
      'StrictModes no',
    ];
    await servers.sshd(2201, ['mqtt-01'], login);
    await servers.sshd(2202, ['web-01'], login);
    await servers.sshd(2203, ['db-01'], login);
    await servers.sshd(2211, ['template'], login);
    await servers.sshd(2212, ['web-01', 'image-rsa'], login);
    await servers.serve(2214, () => undefined);
    await servers.serve(2215, (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await servers.drop(2216);
  });

  beforeEach(() => writeFleet());

  afterAll(async () => {
    servers.stop();
    await sandbox?.stop();
    checkout?.remove();
  });

  const hostkey = (...args: string[]) => checkout.run('.', process.execPath, 'bin/hostkey', ...args);
  const verify = async (...args: string[]) => {
    const { status, output } = await hostkey('verify', '--json', ...args);
    return { status, hosts: JSON.parse(output).hosts as readonly Record<string, unknown>[] };
  };
  const publicKey = (name: string): string =>
    execFileSync('ssh-keygen', ['-y', '-f', servers.path(name)], { encoding: 'utf8' })
      .split(' ')
      .slice(0, 2)
      .join(' ')
      .trim();
  const fingerprintOf = (name: string): string =>
    execFileSync('ssh-keygen', ['-l', '-f', servers.path(name)], { encoding: 'utf8' }).split(' ')[1] ?? '';

  test('serve the same keys, and are remembered for it', async () => {
    const { status, output } = await hostkey('verify', ...Object.keys(HOSTS));
    const rows = Object.keys(HOSTS).map((name) => `${name.padEnd(7)}  same  ${fingerprintOf(name)}\n`);
    expect({ status, output }).toEqual({ status: 0, output: rows.join('') });
    const list = JSON.parse(succeeded(await hostkey('list', '--json'))).hosts;
    for (const [i, name] of Object.keys(HOSTS).entries()) {
      expect(list[i]).toMatchObject({
        host: name,
        vmId: HOSTS[name as Name],
        node: sandbox.node.name,
        address: SERVERS,
        port: PORTS[name as Name],
        fingerprint: fingerprintOf(name),
        recipient: execFileSync('ssh-to-age', {
          env: tools,
          input: publicKey(name),
          encoding: 'utf8',
        }).trim(),
        keyMadeAt: expect.any(String),
        verifiedAt: expect.any(String),
      });
    }
    expect(list[3]).toEqual({
      host: 'later',
      vmId: 286,
      node: sandbox.node.name,
      address: 'later',
      port: 22,
      state: 'absent',
    });
  });

  test('are listed in 120 columns on a terminal, and in full in a pipe', async () => {
    const script = 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))';
    const terminal = await checkout.run(
      '.',
      'python3',
      '-c',
      script,
      process.execPath,
      'bin/hostkey',
      'list',
    );
    const lines = succeeded(terminal).trimEnd().split('\r\n');
    expect(lines).toHaveLength(5);
    expect(lines[0]).toMatch(/^HOST +VM +NODE +ADDRESS +FINGERPRINT +RECIPIENT +KEY AGE +VERIFIED$/);
    expect(lines[1]).toContain(fingerprintOf('mqtt-01').slice(0, 15));
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(120);
    expect(succeeded(await hostkey('list'))).toContain(fingerprintOf('mqtt-01'));
  });

  test('another key is told, with both fingerprints: 2', async () => {
    writeFleet({ 'mqtt-01': 2211 });
    expect(await verify('mqtt-01', 'db-01')).toEqual({
      status: 2,
      hosts: [
        {
          host: 'mqtt-01',
          address: SERVERS,
          port: 2211,
          status: 'different',
          expected: `ssh-ed25519 ${fingerprintOf('mqtt-01')}`,
          served: [`ssh-ed25519 ${fingerprintOf('template')}`],
          remedy: expect.stringContaining('trust nothing that it says'),
        },
        expect.objectContaining({ host: 'db-01', status: 'same' }),
      ],
    });
  });

  test("the image's key beside the right one is told: 2", async () => {
    writeFleet({ 'web-01': 2212 });
    expect(await verify('web-01')).toMatchObject({
      status: 2,
      hosts: [{ status: 'extra', others: [`ssh-rsa ${fingerprintOf('image-rsa')}`] }],
    });
  });

  test.each([
    ['refuses', 2213, 'refuses the connection'],
    ['says nothing', 2214, 'says nothing'],
    ['is no SSH server', 2215, 'is no SSH server'],
    ['drops who calls', 2216, "doesn't answer in time"],
  ])('what %s could not be told, which wins over another key: 1', async (_what, port, message) => {
    writeFleet({ 'mqtt-01': 2211, 'web-01': port });
    expect(await verify('mqtt-01', 'web-01', '--timeout', '1')).toMatchObject({
      status: 1,
      hosts: [{ status: 'different' }, { status: 'unknown', message: expect.stringContaining(message) }],
    });
  });

  test('a host that was never deployed, and a state that is damaged: 1', async () => {
    const state = checkout.path('state/web-01.tfstate');
    const before = readFileSync(state);
    try {
      writeFileSync(state, before.subarray(0, 200));
      const { status, hosts } = await verify('web-01', 'later');
      expect({ status, hosts }).toEqual({
        status: 1,
        hosts: [
          expect.objectContaining({
            status: 'unknown',
            message: expect.stringContaining("state/web-01.tfstate is no state of Terraform's"),
          }),
          expect.objectContaining({
            status: 'unknown',
            message: expect.stringContaining('never deployed'),
            remedy: 'npx cdktf deploy later',
          }),
        ],
      });
    } finally {
      writeFileSync(state, before);
    }
  });

  test('a machine without ssh-keyscan is told what to install: 1', async () => {
    await checkout.with({ PATH: checkout.path('secrets') }, async () => {
      expect(await hostkey('verify', 'mqtt-01')).toEqual({
        status: 1,
        output: "hostkey: ssh-keyscan is not installed, or not on PATH; install OpenSSH's client programs\n",
      });
    });
  });

  // As in a container: no HOME that Node knows; and a relative folder, which XDG has programs ignore.
  test('a note that cannot be written is a warning, and never lands in the repository', async () => {
    const homeless = { HOME: `/${'x'.repeat(5000)}`, XDG_STATE_HOME: 'notes-here' };
    const { status, output } = await checkout.with(homeless, () => hostkey('verify', 'mqtt-01'));
    expect({ status, output }).toEqual({
      status: 0,
      output: expect.stringMatching(
        /^hostkey: when the hosts were verified could not be noted: .+\nmqtt-01 +same /,
      ),
    });
    const here = { HOME: checkout.path('secrets'), XDG_STATE_HOME: 'notes-here' };
    succeeded(await checkout.with(here, () => hostkey('verify', 'mqtt-01')));
    expect(readdirSync(checkout.path('secrets/.local/state/proxmox-hostkey'))).toHaveLength(1);
    expect(existsSync(checkout.path('notes-here'))).toBe(false);
  });

  describe('known-hosts', () => {
    const ssh = (port: number, known: string) => {
      const options = [
        `UserKnownHostsFile=${checkout.path(known)}`,
        'GlobalKnownHostsFile=/dev/null',
        'StrictHostKeyChecking=yes',
        'BatchMode=yes',
        'IdentitiesOnly=yes',
        `IdentityFile=${servers.path('login')}`,
      ];
      const args = ['-F', 'none', ...options.flatMap((option) => ['-o', option]), '-p', String(port)];
      return checkout.run('.', 'ssh', ...args, `${userInfo().username}@${SERVERS}`, 'echo', 'logged in');
    };

    test.each([
      ['plain', []],
      ['hashed', ['--hash']],
    ])('lets a strict ssh in without a question, and an impostor out (%s)', async (form, more) => {
      const known = `known-${form}`;
      expect((await ssh(2201, known)).output).toContain('Host key verification failed');
      // What an accepted "yes" to the template's key leaves, plain and hashed.
      const wrong = [`[${SERVERS}]:2201,gate`, hashedName(`[${SERVERS}]:2202`)];
      const theirs = `# mine\n@revoked * ${publicKey('image-rsa')}\n`;
      writeFileSync(
        checkout.path(known),
        theirs + wrong.map((names) => `${names} ${publicKey('template')}\n`).join(''),
      );
      succeeded(await hostkey('known-hosts', ...Object.keys(HOSTS), '--write', known, ...more));
      for (const port of Object.values(PORTS)) {
        expect(await ssh(port, known)).toEqual({ status: 0, output: 'logged in\n' });
      }
      expect(checkout.read(known).startsWith(`${theirs}gate ${publicKey('template')}\n`)).toBe(true);

      const file = checkout.read(known);
      expect((await hostkey('known-hosts', '--write', known, ...more)).output).toContain('nothing to change');
      expect(checkout.read(known)).toBe(file);

      writeFleet({ 'mqtt-01': 2211 });
      succeeded(await hostkey('known-hosts', 'mqtt-01', '--write', known, ...more));
      const impostor = await ssh(2211, known);
      expect(impostor.status).toBe(255);
      expect(impostor.output).toContain('Host key verification failed');
    });

    test('says what Terraform says', async () => {
      const output = succeeded(await checkout.terraform('mqtt-01', 'output', '-raw', 'known_hosts'));
      expect(await hostkey('known-hosts', 'mqtt-01')).toEqual({ status: 0, output: `${output}\n` });
    });
  });
});
