import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';
import { setHostSetting } from '../../fleet/edit';
import { Checkout, succeeded } from '../../sandbox/checkout';
import type { Sandbox } from '../../sandbox/sandbox';
import { toolEnvironment } from '../../tools/env';
import { Servers } from './servers';

jest.setTimeout(300_000);

const SERVERS = '127.104.1.1';

/** The declarations that a rotation goes through, on the real Terraform; sshd serves what the snippets hold. */
describe('a host with an ed25519 and an RSA key that gets new ones', () => {
  const tools = toolEnvironment();
  const servers = new Servers(SERVERS);
  let sandbox: Sandbox;
  let checkout: Checkout;

  const declare = (key: string, value: unknown): void =>
    writeFileSync(
      checkout.path('fleet.yaml'),
      setHostSetting(checkout.read('fleet.yaml'), 'fleet.yaml', 'mqtt-01', key, value),
    );
  const deploy = async (): Promise<string> =>
    succeeded(await checkout.cdktf('deploy', 'mqtt-01', '--auto-approve'));
  const hostkey = (...args: string[]) => checkout.run('.', process.execPath, 'bin/hostkey', ...args);
  const output = async (name: string): Promise<string> =>
    succeeded(await checkout.terraform('mqtt-01', 'output', '-raw', name)).trim();
  const recipientOf = (publicKey: string): string =>
    execFileSync('ssh-to-age', { env: tools, input: publicKey, encoding: 'utf8' }).trim();
  const recipientsOf = (file: string): string[] => {
    const [rule] = parse(checkout.read(file)).creation_rules;
    return rule.key_groups[0].age;
  };
  const broker = (): string[] =>
    parse(checkout.read('secrets/mqtt-01/broker.yaml')).sops.age.map(
      ({ recipient }: { recipient: string }) => recipient,
    );
  /** Writes the keys that the snippet holds where sshd finds them. @returns their names */
  const keysOfSnippet = (prefix: string): string[] => {
    const snippet = readFileSync(path.join(sandbox.snippets, 'mqtt-01.user-data.yaml'), 'utf8');
    const keys: Record<string, string> = parse(snippet).ssh_keys;
    return ['ed25519', 'rsa'].map((type) => {
      const name = `${prefix}-${type}`;
      writeFileSync(servers.path(name), keys[`${type}_private`] ?? '', { mode: 0o600 });
      return name;
    });
  };
  /** Does something with the host's own key for an identity. */
  const decryptWith = (prefix: string, action: () => Promise<unknown>): Promise<unknown> => {
    const args = ['-private-key', '-i', servers.path(`${prefix}-ed25519`)];
    const identity = execFileSync('ssh-to-age', args, { env: tools, encoding: 'utf8' }).trim();
    return checkout.with({ SOPS_AGE_KEY: identity }, action);
  };
  const fleet = (port: number) => ({
    'mqtt-01': {
      vmId: 283,
      address: '192.0.2.83/24',
      ssh: { address: SERVERS, port },
      hostKeyTypes: ['ed25519', 'rsa'],
    },
  });

  beforeAll(async () => {
    checkout = new Checkout(tools);
    sandbox = await checkout.startSandbox('127.104.0.1');
    await sandbox.control('time_scale', { value: 0 }).catch(() => undefined);
    checkout.use({ ...tools, ...sandbox.env, XDG_STATE_HOME: checkout.path('notes') });
    checkout.writeFleet(sandbox, fleet(2201));
    await deploy();
    mkdirSync(checkout.path('secrets/mqtt-01'), { recursive: true });
    writeFileSync(checkout.path('secrets/mqtt-01/broker.yaml'), 'password: correct horse\n');
    succeeded(await checkout.run('.', 'sops', 'encrypt', '-i', 'secrets/mqtt-01/broker.yaml'));
  });

  afterAll(async () => {
    servers.stop();
    await sandbox?.stop();
    checkout?.remove();
  });

  test('has both injected, and serves and verifies both', async () => {
    const keys = keysOfSnippet('first');
    await servers.sshd(2201, keys);
    await servers.sshd(2202, keys.slice(0, 1));
    succeeded(await hostkey('verify', 'mqtt-01'));
    expect(succeeded(await hostkey('known-hosts')).match(/ssh-(ed25519|rsa) /g)).toEqual([
      'ssh-ed25519 ',
      'ssh-rsa ',
    ]);
    // An RSA key that was declared and isn't served is as wrong as another one.
    declare('ssh', { address: SERVERS, port: 2202 });
    const { status, output: said } = await hostkey('verify', 'mqtt-01', '--json');
    expect(status).toBe(2);
    expect(JSON.parse(said).hosts[0]).toMatchObject({
      status: 'different',
      expected: expect.stringMatching(/^ssh-rsa SHA256:/),
    });
    declare('ssh', { address: SERVERS, port: 2201 });
  });

  test('has rules, known_hosts and verify take both keys while the next one is declared', async () => {
    const [first, made] = [await output('host_public_key'), await output('host_key_made_at')];
    declare('nextKey', { generation: 2 });
    const said = await deploy();
    expect(said).not.toMatch(/proxmox_virtual_environment_\w+\.\w+.*(Destroying|Modifying|Creating)/);
    const next = await output('next_public_key');
    expect([await output('host_public_key'), await output('host_key_made_at')]).toEqual([first, made]);
    const both = [first, next].map(recipientOf);
    expect(recipientsOf('.sops.yaml')).toEqual(both);
    expect(recipientsOf('secrets/mqtt-01/.sops.yaml')).toEqual(both);

    const lines = succeeded(await hostkey('known-hosts'))
      .trim()
      .split('\n');
    expect(lines).toHaveLength(4);
    expect((await output('known_hosts')).split('\n').sort()).toEqual(lines.sort());
    succeeded(await hostkey('verify', 'mqtt-01'));

    const check = await hostkey('secrets', 'check');
    expect(check.status).toBe(2);
    expect(check.output).toContain("host mqtt-01 (its next key) can't decrypt secrets/mqtt-01/broker.yaml");
  });

  test('comes back to the first where that is given up', async () => {
    const rules = checkout.read('.sops.yaml');
    declare('nextKey', undefined);
    await deploy();
    expect(recipientsOf('.sops.yaml')).toEqual([recipientOf(await output('host_public_key'))]);
    declare('nextKey', { generation: 2 });
    await deploy();
    expect(checkout.read('.sops.yaml').length).toBe(rules.length);
  });

  test('has the very key in the end that was its next one, in the VM that it has', async () => {
    const [first, next] = [await output('host_public_key'), await output('next_public_key')];
    // Whoever can decrypt re-encrypts: here, with the host's own key.
    await decryptWith('first', async () => succeeded(await hostkey('secrets', 'sync')));
    expect(broker()).toEqual([first, next].map(recipientOf));
    const before = checkout.read('state/mqtt-01.tfstate');
    declare('hostKey', { generation: 2 });
    declare('nextKey', undefined);
    const said = await deploy();
    expect(said).not.toMatch(/proxmox_virtual_environment_vm\.\w+.*(Destroying|Modifying|Creating)/);
    expect(await output('host_public_key')).toBe(next);
    expect(recipientsOf('.sops.yaml')).toEqual([recipientOf(next)]);
    const vmOf = (state: string) =>
      JSON.parse(state).resources.find(({ type }: { type: string }) => type.endsWith('_vm')).instances[0]
        .attributes;
    expect(vmOf(checkout.read('state/mqtt-01.tfstate'))).toEqual(vmOf(before));

    const keys = keysOfSnippet('second');
    const served = execFileSync('ssh-keygen', ['-y', '-f', servers.path('second-ed25519')], {
      encoding: 'utf8',
    });
    expect(served.trim().startsWith(next)).toBe(true);
    await servers.sshd(2203, keys);
    expect((await hostkey('verify', 'mqtt-01')).status).toBe(2);
    declare('ssh', { address: SERVERS, port: 2203 });
    succeeded(await hostkey('verify', 'mqtt-01'));
    const check = await hostkey('secrets', 'check');
    expect(check.output).toContain("can decrypt secrets/mqtt-01/broker.yaml, and shouldn't");
    await decryptWith('second', async () => succeeded(await hostkey('secrets', 'sync')));
    expect(broker()).toEqual([recipientOf(next)]);
    expect(checkout.transcript).not.toMatch(/PRIVATE\sKEY/);
  });
});
