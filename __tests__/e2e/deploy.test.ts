import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';
import { ageRecipientOf } from '../../keys/age-recipient';
import { parseSshPublicKey } from '../../keys/ssh-public-key';
import { Checkout, succeeded } from '../../sandbox/checkout';
import type { Sandbox } from '../../sandbox/sandbox';
import { toolEnvironment } from '../../tools/env';
import { testKey } from '../keys/test-keys';

jest.setTimeout(300_000);

const VM = 'proxmox_virtual_environment_vm.proxmox_vm';

/** What people had in the root file before us; it has to be there, byte for byte, when we are gone. */
const PEOPLES = `# the secrets of this house
keys:
  - &laptop age1nfy545uvhn302pthnk0vdy8kr8gh2rgggf2u0qkeyszdjlmxj5hqv67rcr   # mine
creation_rules:
  # last resort
  - path_regex: .*
    key_groups: [{ age: [*laptop] }]
`;

describe.each([
  ['terraform', '127.83.7.1'],
  ['tofu', '127.83.7.2'],
])('a host by %s', (program, address) => {
  const tools = toolEnvironment({ opentofu: program === 'tofu' });
  let sandbox: Sandbox;
  let checkout: Checkout;
  let env: NodeJS.ProcessEnv;

  beforeAll(async () => {
    checkout = new Checkout(tools);
    sandbox = await checkout.startSandbox(address);
    await sandbox.control('time_scale', { value: 0 }).catch(() => undefined);
    env = { ...tools, ...sandbox.env };
    checkout.use(env);
    writeFileSync(checkout.path('.sops.yaml'), PEOPLES);
    writeFleet(checkout);
  });

  afterAll(async () => {
    await sandbox?.stop();
    checkout?.remove();
  });

  function writeFleet(
    where: Checkout,
    changes: { authorizedKeys?: string[]; memory?: number; sharedBy?: string[] } = {},
  ): void {
    const { name, address: node, port } = sandbox.node;
    writeFileSync(
      where.path('fleet.yaml'),
      `proxmox:
  endpoint: ${sandbox.endpoint}
  nodes: { ${name}: { address: ${node}, port: ${port} } }
defaults: { node: ${name}, template: 9000, disk: local-lvm, snippets: local, memory: ${changes.memory ?? 2048} }
hosts:
  mqtt-01:
    vmId: 283
    address: 192.0.2.83/24
    gateway: 192.0.2.1
    diskSize: 32
    tags: [nixos, broker]
    authorizedKeys: ${JSON.stringify(changes.authorizedKeys ?? [])}
  web-01: { vmId: 284, address: 192.0.2.84/24, gateway: 192.0.2.1, hostKeyDirectory: /persist/etc/ssh }
shared:
  - { path: secrets/shared/mqtt, hosts: ${JSON.stringify(changes.sharedBy ?? ['mqtt-01', 'web-01'])} }
`,
    );
  }

  const snippet = (host: string): string =>
    readFileSync(path.join(sandbox.snippets, `${host}.user-data.yaml`), 'utf8');

  const privateKeyOf = (host: string): string => parse(snippet(host)).ssh_keys.ed25519_private;

  /** The recipient of the key that lies in the snippet, by OpenSSH and ssh-to-age alone. */
  function recipientInSnippet(host: string): string {
    const file = checkout.path(`${host}.key`);
    writeFileSync(file, privateKeyOf(host), { mode: 0o600 });
    try {
      const publicKey = execFileSync('ssh-keygen', ['-y', '-f', file], { encoding: 'utf8' });
      return execFileSync('ssh-to-age', { env, input: publicKey, encoding: 'utf8' }).trim();
    } finally {
      rmSync(file);
    }
  }

  function identityOf(host: string): string {
    return execFileSync('ssh-to-age', ['-private-key'], {
      env,
      input: privateKeyOf(host),
      encoding: 'utf8',
    }).trim();
  }

  const noChange = async (where: Checkout, host: string): Promise<void> => {
    expect(succeeded(await where.cdktf('diff', host))).toContain('No changes.');
    expect(await where.terraform(host, 'plan', '-input=false', '-detailed-exitcode')).toMatchObject({
      status: 0,
    });
  };

  const guest = async (vmid: number) => (await sandbox.guests()).find((vm) => vm.vmid === vmid);

  test('is deployed, and its recipient is that of the key in its snippet', async () => {
    const output = succeeded(await checkout.cdktf('deploy', 'mqtt-01', '--auto-approve'));
    const recipient = recipientInSnippet('mqtt-01');
    expect(output).toContain(`age_recipient = ${recipient}`);
    expect(parse(checkout.read('.sops.yaml')).keys).toContain(recipient);
    expect(parse(checkout.read('secrets/mqtt-01/.sops.yaml')).keys).toEqual([recipient]);
    expect(await guest(283)).toMatchObject({
      name: 'mqtt-01',
      status: 'running',
      config: { cicustom: 'user=local:snippets/mqtt-01.user-data.yaml' },
    });
  });

  test('has an empty plan then, through cdktf and without it', () => noChange(checkout, 'mqtt-01'));

  test('reads a secret that was encrypted to it from the root with nothing but sops', async () => {
    const file = checkout.path('secrets/mqtt-01/broker.yaml');
    writeFileSync(file, 'password: correct horse\n');
    succeeded(await checkout.run('.', 'sops', 'encrypt', '-i', 'secrets/mqtt-01/broker.yaml'));
    expect(readFileSync(file, 'utf8')).not.toContain('correct horse');
    const decrypt = (identity: string) =>
      execFileSync('sops', ['decrypt', file], {
        env: { ...env, HOME: '/nonexistent', SOPS_AGE_KEY: identity },
        encoding: 'utf8',
        stdio: 'pipe',
      });
    expect(decrypt(identityOf('mqtt-01'))).toBe('password: correct horse\n');
    const other = execFileSync('age-keygen', { env, encoding: 'utf8', stdio: 'pipe' });
    expect(() => decrypt(other)).toThrow();
  });

  test('is joined by another in one command, and the first stays as it is', async () => {
    const before = privateKeyOf('mqtt-01');
    succeeded(await checkout.cdktf('deploy', '*', '--auto-approve'));
    expect(privateKeyOf('mqtt-01')).toBe(before);
    const recipients = ['mqtt-01', 'web-01'].map(recipientInSnippet);
    const root = parse(checkout.read('.sops.yaml'));
    expect(root.keys).toEqual(expect.arrayContaining(recipients));
    expect(root.creation_rules.map((rule: { path_regex: string }) => rule.path_regex)).toEqual([
      '^secrets/mqtt-01/',
      '^secrets/shared/mqtt/',
      '^secrets/web-01/',
      '.*',
    ]);
    const shared = root.creation_rules[1];
    expect(shared.key_groups).toEqual([{ age: recipients }]);
    expect(snippet('web-01')).toContain('path: /persist/etc/ssh/ssh_host_ed25519_key\n');
    await noChange(checkout, 'mqtt-01');
    await noChange(checkout, 'web-01');
  });

  test('is unchanged from a second checkout with the same state, and synthesizes to the same bytes', async () => {
    const second = new Checkout(env);
    try {
      writeFleet(second);
      for (const name of ['state', 'secrets', '.sops.yaml']) {
        cpSync(checkout.path(name), second.path(name), { recursive: true });
      }
      await noChange(second, 'mqtt-01');
      for (const host of ['mqtt-01', 'web-01']) {
        const file = `cdktf.out/stacks/${host}/cdk.tf.json`;
        expect(second.read(file)).toBe(checkout.read(file));
      }
    } finally {
      second.remove();
    }
  });

  test('keeps its VM when the snippet changes', async () => {
    const vm = await guest(283);
    writeFleet(checkout, { authorizedKeys: [`${testKey().line} ops`] });
    succeeded(await checkout.cdktf('synth'));
    const plan = succeeded(await checkout.terraform('mqtt-01', 'plan', '-input=false', '-no-color'));
    expect(plan).toContain('Plan: 1 to add, 0 to change, 1 to destroy.');
    expect(plan).toContain('proxmox_virtual_environment_file.first_boot_snippet must be replaced');
    succeeded(await checkout.cdktf('deploy', 'mqtt-01', '--auto-approve'));
    expect(parse(snippet('mqtt-01')).ssh_authorized_keys).toHaveLength(1);
    expect(await guest(283)).toEqual(vm);
    await noChange(checkout, 'mqtt-01');
  });

  test('changes its memory in place', async () => {
    writeFleet(checkout, { authorizedKeys: [`${testKey().line} ops`], memory: 4096 });
    const output = succeeded(await checkout.cdktf('deploy', 'web-01', '--auto-approve'));
    expect(output).toContain('0 added, 1 changed, 0 destroyed');
    expect((await guest(284))?.config.memory).toBe('4096');
  });

  test('keeps its key when its VM is rebuilt', async () => {
    const before = privateKeyOf('mqtt-01');
    const started = (await guest(283))?.startedAt;
    writeFleet(checkout);
    succeeded(await checkout.cdktf('synth'));
    succeeded(
      await checkout.terraform('mqtt-01', 'apply', '-input=false', '-auto-approve', `-replace=${VM}`),
    );
    expect(privateKeyOf('mqtt-01')).toBe(before);
    expect((await guest(283))?.startedAt).not.toBe(started);
    await noChange(checkout, 'mqtt-01');
  });

  test('leaves the rule of a shared folder that it reads no more, and joins it again', async () => {
    const sharedBy = () =>
      parse(checkout.read('.sops.yaml')).creation_rules.find(
        (rule: { path_regex: string }) => rule.path_regex === '^secrets/shared/mqtt/',
      ).key_groups[0].age;
    const [mqtt, web] = ['mqtt-01', 'web-01'].map(recipientInSnippet);
    writeFleet(checkout, { memory: 1024, sharedBy: ['web-01'] });
    succeeded(await checkout.cdktf('deploy', 'mqtt-01', '--auto-approve'));
    expect(sharedBy()).toEqual([web]);
    await noChange(checkout, 'mqtt-01');
    writeFleet(checkout, { memory: 1024 });
    succeeded(await checkout.cdktf('deploy', 'mqtt-01', '--auto-approve'));
    expect(new Set(sharedBy())).toEqual(new Set([mqtt, web]));
  });

  test('takes away exactly what was its own when it is destroyed', async () => {
    succeeded(await checkout.cdktf('destroy', 'mqtt-01', '--auto-approve'));
    expect(await guest(283)).toBeUndefined();
    expect(readdirSync(sandbox.snippets)).toEqual(['web-01.user-data.yaml']);
    expect(existsSync(checkout.path('secrets/mqtt-01/.sops.yaml'))).toBe(false);
    expect(existsSync(checkout.path('secrets/mqtt-01/broker.yaml'))).toBe(true);
    const root = parse(checkout.read('.sops.yaml'));
    expect(root.creation_rules.map((rule: { path_regex: string }) => rule.path_regex)).toEqual([
      '^secrets/shared/mqtt/',
      '^secrets/web-01/',
      '.*',
    ]);

    succeeded(await checkout.cdktf('destroy', 'web-01', '--auto-approve'));
    expect(checkout.read('.sops.yaml')).toBe(PEOPLES);
    expect(readdirSync(sandbox.snippets)).toEqual([]);
    expect((await sandbox.guests()).filter((vm) => !vm.template)).toEqual([]);
  });

  test('leaves its private key in the state and the snippet, and nowhere else', async () => {
    mkdirSync(checkout.path('logs'));
    const verbose = { TF_LOG: 'DEBUG', TF_LOG_PATH: checkout.path('logs/terraform.log') };
    succeeded(await checkout.with(verbose, () => checkout.cdktf('deploy', 'mqtt-01', '--auto-approve')));
    succeeded(await checkout.cdktf('diff', 'mqtt-01'));
    const lines = privateKeyOf('mqtt-01')
      .split('\n')
      .filter((line) => line.length > 40);
    const secret = (text: string): boolean =>
      /PRIVATE\sKEY/.test(text) || lines.some((line) => text.includes(line));
    expect(lines.length).toBeGreaterThan(2);
    expect(secret(checkout.transcript)).toBe(false);

    const holding = checkout.files().filter((file) => secret(readFileSync(checkout.path(file), 'latin1')));
    const allowed = /^(state\/|\.sandbox\/)/;
    expect(holding.filter((file) => !allowed.test(file))).toEqual([]);
    for (const folder of ['state', 'cdktf.out']) {
      expect(statSync(checkout.path(folder)).mode & 0o777).toBe(0o700);
    }
    const publicKey = parse(snippet('mqtt-01')).write_files[1].content;
    expect(ageRecipientOf(parseSshPublicKey(publicKey.trim()))).toBe(recipientInSnippet('mqtt-01'));
    succeeded(await checkout.cdktf('destroy', 'mqtt-01', '--auto-approve'));
  });
});
