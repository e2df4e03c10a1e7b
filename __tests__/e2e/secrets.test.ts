import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { rulesFindings, uncommitted } from '../../drift/rules';
import { secretFindings } from '../../drift/secrets';
import { readSecretFile } from '../../sops/secret-file';
import { PROGRAM, SecretRepository } from './secret-repository';

/** `hostkey secrets` on secrets of the real sops, keys of the real age and ssh-keygen, states of the real Terraform. */
jest.setTimeout(180_000);

const CONTENTS: Readonly<Record<string, string>> = {
  'secrets/mqtt-01/db.yaml': 'password: hunter2\n---\nsecond: hunter2\n',
  'secrets/mqtt-01/deep/app.env': 'TOKEN=hunter2\n',
  'secrets/web-01/tls.json': '{"key": "hunter2"}\n',
  'secrets/web-01/it is.ini': '[a]\nk = hunter2\n',
  'secrets/shared/mqtt/ca.yml': 'key: hunter2\n',
  'secrets/shared/mqtt/blob': 'hunter2',
};
const FILES = Object.keys(CONTENTS).sort();

let repository: SecretRepository;

beforeEach(() => {
  repository = new SecretRepository({
    hosts: ['mqtt-01', 'web-01'],
    shared: { 'secrets/shared/mqtt': ['mqtt-01', 'web-01'] },
  });
  for (const [file, text] of Object.entries(CONTENTS)) repository.encrypt(file, text);
  repository.git('init', '-q');
  commit('first');
});

afterEach(() => {
  repository.remove();
});

function commit(message: string): void {
  repository.git('add', 'fleet.yaml', '.sops.yaml', 'secrets');
  repository.git('commit', '-qm', message);
}

const check = (...args: string[]) => repository.hostkey(['secrets', 'check', ...args]);
const sync = (...args: string[]) => repository.hostkey(['secrets', 'sync', ...args]);
const findings = (...args: string[]) =>
  (
    JSON.parse(check('--json', ...args).stdout) as {
      findings: { kind: string; resource?: string; message: string }[];
    }
  ).findings;
const bytes = () => Object.fromEntries(FILES.map((file) => [file, fs.readFileSync(repository.path(file))]));
const upToDate = (file: string) => repository.sops('updatekeys', file).stderr.includes('already up to date');

/** Every file and folder with its mode, time and content; nothing may change it by looking. */
function snapshot(folder = repository.root): string {
  const names = fs.readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
  return names
    .map((name) => {
      const file = path.join(folder, name);
      const { mode, mtimeMs, ino } = fs.lstatSync(file);
      const hash = fs.lstatSync(file).isFile()
        ? createHash('sha256').update(fs.readFileSync(file)).digest('hex')
        : '';
      return `${name} ${mode} ${mtimeMs} ${ino} ${hash}`;
    })
    .join('\n');
}

test('a host gets a new key: check tells each file, sync mends them, and check is clean', () => {
  expect(check()).toEqual({
    status: 0,
    stdout: '✓ 6 sops files, each encrypted to those whom its rule names\n',
    stderr: '',
  });
  const old = repository.hostIdentity('mqtt-01');
  repository.deploy('mqtt-01');
  const now = repository.hostIdentity('mqtt-01');
  const concerned = FILES.filter((file) => !file.includes('web-01'));

  const before = snapshot();
  const told = findings();
  expect(check().status).toBe(2);
  expect(sync('--dry-run')).toMatchObject({ status: 0, stderr: '' });
  expect(snapshot()).toBe(before);
  for (const file of concerned) {
    expect(told.filter(({ resource }) => resource === file)).toMatchObject([
      {
        kind: 'secret-missing-recipient',
        severity: 'error',
        expected: now.recipient,
        message: `host mqtt-01 can't decrypt ${file}`,
        remedy: `bin/hostkey secrets sync ${file}`,
      },
      { kind: 'secret-extra-recipient', severity: 'warning', actual: old.recipient },
    ]);
    expect(told.find(({ kind, resource }) => kind.includes('extra') && resource === file)?.message).toMatch(
      /^an earlier key of host mqtt-01 \(age1.{8}….{6}\) can decrypt .+, and shouldn't$/,
    );
  }
  expect(told).toHaveLength(2 * concerned.length);

  fs.chmodSync(repository.path('secrets/mqtt-01/db.yaml'), 0o640);
  const untouched = bytes();
  // A second name of each file: what it shows afterwards is what was done to the old file itself.
  const links = new Map(FILES.map((file, i) => [file, path.join(repository.folder, `link-${i}`)]));
  for (const [file, link] of links) fs.linkSync(repository.path(file), link);
  const done = sync();
  for (const [file, link] of links) {
    expect({ file, same: fs.readFileSync(link).equals(untouched[file] as Buffer) }).toEqual({
      file,
      same: true,
    });
    fs.rmSync(link);
  }
  expect(done).toMatchObject({ status: 0, stderr: '' });
  expect(done.stdout.split('\n').filter((line) => line.startsWith('✓'))).toHaveLength(concerned.length);
  expect(done.stdout).not.toContain('hunter2');
  for (const file of FILES) {
    expect({ file, upToDate: upToDate(file) }).toEqual({ file, upToDate: true });
    expect({ file, same: bytes()[file]?.equals(untouched[file] as Buffer) }).toEqual({
      file,
      same: !concerned.includes(file),
    });
    expect({ file, opens: repository.opens(file, repository.ops) }).toEqual({ file, opens: true });
  }
  for (const file of concerned) {
    expect({ file, now: repository.opens(file, now), old: repository.opens(file, old) }).toEqual({
      file,
      now: true,
      old: false,
    });
  }
  expect(fs.statSync(repository.path('secrets/mqtt-01/db.yaml')).mode & 0o777).toBe(0o640);
  expect(repository.sops('decrypt', 'secrets/mqtt-01/db.yaml').stdout).toBe(
    CONTENTS['secrets/mqtt-01/db.yaml'],
  );
  expect(check().status).toBe(0);
  const after = snapshot();
  expect(sync()).toEqual({
    status: 0,
    stdout: 'Nothing to do: 6 sops files, each encrypted to those whom its rule names.\n',
    stderr: '',
  });
  expect(snapshot()).toBe(after);
});

test('only what is asked for: hosts, files, folders; and what is none of these is an error', () => {
  repository.deploy('mqtt-01');
  expect(check('web-01')).toMatchObject({ status: 2 });
  expect(findings('web-01').map(({ resource }) => resource)).toEqual([
    'secrets/shared/mqtt/blob',
    'secrets/shared/mqtt/blob',
    'secrets/shared/mqtt/ca.yml',
    'secrets/shared/mqtt/ca.yml',
  ]);
  expect(check('secrets/web-01')).toMatchObject({ status: 0 });
  expect(sync('secrets/mqtt-01/deep', 'secrets/shared/mqtt/blob').stdout.match(/^✓ \S+ synced/gm)).toEqual([
    '✓ secrets/mqtt-01/deep/app.env synced',
    '✓ secrets/shared/mqtt/blob synced',
  ]);
  expect(sync('mqtt-01').stdout.match(/^✓ \S+ synced/gm)).toEqual([
    '✓ secrets/mqtt-01/db.yaml synced',
    '✓ secrets/shared/mqtt/ca.yml synced',
  ]);
  expect(check('mqtt-1')).toEqual({
    status: 1,
    stdout: '',
    stderr: 'hostkey: "mqtt-1" is no host of fleet.yaml; did you mean mqtt-01?\n',
  });
  expect(check('secrets/nope.yaml').stderr).toBe('hostkey: there is no "secrets/nope.yaml"\n');
  expect(check('/tmp').stderr).toBe('hostkey: "/tmp" lies outside the repository of fleet.yaml\n');
  expect(check('--nonsense').status).toBe(64);
});

test('a file that the operator cannot decrypt stays as it is, byte for byte, and the others go on', () => {
  const bob = repository.person('bob');
  const eve = repository.person('eve');
  // Rules that people wrote for a file of theirs, and then changed.
  const rules = repository.read('.sops.yaml');
  const rule = (who: string) =>
    rules.replace('creation_rules:\n', `creation_rules:\n  - path_regex: ^vault/\n    age: ${who}\n`);
  repository.write('.sops.yaml', rule(bob.recipient));
  repository.encrypt('vault/a.yaml');
  repository.write('.sops.yaml', rule(`${bob.recipient}, ${repository.ops.recipient}`));
  repository.deploy('web-01');
  const file = repository.path('vault/a.yaml');
  const [before, { ino, mtimeMs, mode }] = [fs.readFileSync(file), fs.statSync(file)];

  const { status, stdout } = sync();
  expect(status).toBe(1);
  expect(stdout).toContain(
    `✗ vault/a.yaml left as it is: you can't decrypt it; who can: ${bob.recipient}\n    with the identity of one of them: SOPS_AGE_KEY_FILE=… bin/hostkey secrets sync vault/a.yaml\n`,
  );
  expect(stdout.match(/^✓/gm)).toHaveLength(4);
  expect(fs.readFileSync(file).equals(before)).toBe(true);
  expect(fs.statSync(file)).toMatchObject({ ino, mtimeMs, mode });
  expect(fs.readdirSync(path.dirname(file))).toEqual(['a.yaml']);

  // A relative path means what it means to whoever types it, wherever sops runs.
  const relative = path.relative(repository.root, bob.file);
  expect(repository.hostkey(['secrets', 'sync'], { SOPS_AGE_KEY_FILE: eve.file }).status).toBe(1);
  expect(repository.hostkey(['secrets', 'sync'], { SOPS_AGE_KEY_FILE: relative })).toMatchObject({
    status: 0,
  });
  expect(check().status).toBe(0);
});

describe('a rule that is wrong by the states', () => {
  test('hides nothing, and sync refuses what it is for until the rules are mended', () => {
    const eve = repository.person('eve');
    const rules = repository.read('.sops.yaml');
    repository.write('.sops.yaml', rules.replace(repository.recipient('mqtt-01'), eve.recipient));
    const before = bytes();
    // The files are right still, and the next sops updatekeys would break them.
    expect(check('secrets/mqtt-01').stdout).toContain(
      '✗ .sops.yaml has another recipient for mqtt-01 than the state\n    bin/hostkey sops apply --all\n',
    );
    expect(check()).toMatchObject({ status: 2 });
    const refused = sync();
    expect(refused.status).toBe(1);
    expect(refused.stdout).toContain(
      '✗ secrets/mqtt-01/db.yaml left as it is: its rule (.sops.yaml:6) has another recipient for host mqtt-01 than the state\n    bin/hostkey sops apply --all; then run this again\n',
    );
    expect(bytes()).toEqual(before);

    // Somebody was taken in: the file and the rule agree, and both are wrong.
    expect(repository.sops('updatekeys', '--yes', 'secrets/mqtt-01/db.yaml').status).toBe(0);
    expect(upToDate('secrets/mqtt-01/db.yaml')).toBe(true);
    expect(findings().filter(({ resource }) => resource === 'secrets/mqtt-01/db.yaml')).toMatchObject([
      {
        kind: 'secret-missing-recipient',
        host: 'mqtt-01',
        expected: repository.recipient('mqtt-01'),
        remedy: 'bin/hostkey sops apply --all; then bin/hostkey secrets sync secrets/mqtt-01/db.yaml',
      },
      { kind: 'secret-extra-recipient', actual: eve.recipient },
    ]);

    expect(repository.hostkey(['sops', 'apply', '--all'])).toMatchObject({ status: 0 });
    expect(sync()).toMatchObject({ status: 0 });
    expect(check().status).toBe(0);
    expect(repository.opens('secrets/mqtt-01/db.yaml', repository.hostIdentity('mqtt-01'))).toBe(true);
    expect(repository.opens('secrets/mqtt-01/db.yaml', eve)).toBe(false);
  });

  test('as it leaves out an admin, or a rule of people comes first', () => {
    const rules = repository.read('.sops.yaml');
    repository.write('.sops.yaml', rules.replace(/( +- \*admin_ops\n)/, ''));
    expect(sync('mqtt-01').stdout).toContain('leaves out admin ops');
    const people = `  - path_regex: db\\.yaml$\n    age: ${repository.recipient('mqtt-01')}\n`;
    repository.write('.sops.yaml', rules.replace('creation_rules:\n', `creation_rules:\n${people}`));
    expect(sync('mqtt-01')).toMatchObject({ status: 1 });
    expect(check('mqtt-01').stdout).toContain('leaves out admin ops: whoever saves a secret by it');
    expect(bytes()['secrets/mqtt-01/db.yaml']?.includes(repository.ops.recipient)).toBe(true);
  });

  test('and where a state cannot be read, nobody knows: check says so, sync waits', () => {
    repository.write('state/mqtt-01.tfstate', 'not a state');
    repository.write(
      '.sops.yaml',
      repository.read('.sops.yaml').replace(/( +- \*admin_ops\n)(?![\s\S]*\1)/, ''),
    );
    const { status, stdout } = check('mqtt-01');
    expect(status).toBe(1);
    expect(stdout).toContain(
      "? whether its secrets are encrypted to mqtt-01 itself can't be told: state/mqtt-01.tfstate is no state of Terraform's",
    );
    repository.write(
      '.sops.yaml',
      repository.read('.sops.yaml').replaceAll(repository.ops.recipient, repository.person('b').recipient),
    );
    repository.writeFleet(['mqtt-01', 'web-01'], {});
    expect(sync('secrets/mqtt-01/db.yaml').stdout).toContain(
      "the state of mqtt-01 can't be read, so nobody knows",
    );
  });
});

test('who can decrypt and should not is named: gone from the fleet, gone from the rules, or nobody whom one knows', () => {
  const [bob, eve] = [repository.person('bob'), repository.person('eve')];
  const file = 'secrets/shared/mqtt/ca.yml';
  const all = [repository.ops, bob, eve].map(({ recipient }) => recipient);
  const hosts = ['mqtt-01', 'web-01'].map((host) => repository.recipient(host));
  const rules = repository.read('.sops.yaml');
  // bob was an admin once, and git remembers the anchor.
  repository.write('.sops.yaml', rules.replace('keys:\n', `keys:\n  - &admin_bob ${bob.recipient}\n`));
  commit('bob comes');
  repository.write('.sops.yaml', rules);
  commit('bob goes');
  repository.write(file, CONTENTS[file] ?? '');
  repository.sops('--config', '/dev/null', 'encrypt', '--age', [...all, ...hosts].join(','), '-i', file);
  repository.writeFleet(['mqtt-01']);

  const [extra] = findings(file).filter(({ kind }) => kind === 'secret-extra-recipient');
  expect(extra?.message).toBe(
    `admin bob (no longer in fleet.yaml) and ${eve.recipient} can decrypt ${file}, and shouldn't; ${eve.recipient} is in no rule, and of nobody whom the fleet knows`,
  );
  // web-01 left the fleet, and Terraform takes it out of the rules with its destroy.
  const entry = ['sops', 'remove', '--host', 'web-01'];
  expect(repository.hostkey(entry)).toMatchObject({ status: 0 });
  expect(findings(file).find(({ kind }) => kind === 'secret-extra-recipient')?.message).toContain(
    'host web-01 (no longer in fleet.yaml)',
  );
  expect(sync(file)).toMatchObject({ status: 0 });
  expect(repository.opens(file, bob)).toBe(false);
});

test('what is not encrypted is told, and documents and drafts are not', () => {
  repository.write('.gitignore', '*.dec.yaml\nstate/\n');
  for (const file of [
    'secrets/mqtt-01/.env',
    'secrets/mqtt-01/token.txt',
    'secrets/mqtt-01/id_ed25519',
    'secrets/shared/mqtt/new.yaml',
    'secrets/mqtt-01/README.md',
    'secrets/mqtt-01/.gitkeep',
    'secrets/mqtt-01/default.nix',
    'secrets/mqtt-01/example.env.sample',
    'secrets/mqtt-01/db.dec.yaml',
    'docs/sops.yaml',
  ])
    repository.write(file, file.endsWith('.env') ? 'A=hunter2\n' : 'a: hunter2\n');
  repository.write('secrets/mqtt-01/empty.yaml', '\n');
  fs.copyFileSync(
    path.join(repository.folder, 'mqtt-01.ssh.pub'),
    repository.path('secrets/mqtt-01/host_key.pub'),
  );
  expect(findings().map(({ kind, resource }) => [kind, resource])).toEqual([
    ['secret-plain', 'secrets/mqtt-01/.env'],
    ['secret-plain', 'secrets/mqtt-01/id_ed25519'],
    ['secret-plain', 'secrets/mqtt-01/token.txt'],
    ['secret-plain', 'secrets/shared/mqtt/new.yaml'],
  ]);
  const { status, stdout } = sync();
  expect(status).toBe(1);
  expect(stdout).toContain('✗ secrets/mqtt-01/.env left as it is: it is not encrypted\n    sops encrypt -i');
  expect(stdout + check().stdout).not.toContain('hunter2');
  expect(repository.sops('encrypt', '-i', 'secrets/mqtt-01/.env')).toMatchObject({ status: 0 });
  expect(findings()).toHaveLength(3);
});

test('a file that was damaged is told as such, and left', () => {
  const file = 'secrets/web-01/tls.json';
  const text = repository.read(file);
  const broken = {
    'a merge conflict stands in it': `<<<<<<< HEAD\n${text}`,
    'the part that sops writes at its end is gone': text.replace(/,\s*"sops"[\s\S]*/, '\n}\n'),
    '"mac" of what sops wrote is missing or changed': text.replace('"mac"', '"mca"'),
    'it is not JSON': text.slice(0, -10),
  };
  for (const [reason, damaged] of Object.entries(broken)) {
    repository.write(file, damaged);
    expect(findings()).toMatchObject([
      { kind: 'unchecked', severity: 'unknown', message: `${file} can't be decrypted by anybody: ${reason}` },
    ]);
    expect(repository.sops('decrypt', file).status).not.toBe(0);
    expect(sync()).toMatchObject({ status: 1 });
    expect(repository.read(file)).toBe(damaged);
  }
  expect(check().status).toBe(1);
});

test('key groups and their threshold: what sops updatekeys never changes is told with a way that works', () => {
  const [bob, zoe] = [repository.person('bob'), repository.person('zoe')];
  const identities = path.join(repository.folder, 'all.key');
  fs.writeFileSync(identities, [repository.ops, bob, zoe].map(({ file }) => fs.readFileSync(file)).join(''));
  const env = { SOPS_AGE_KEY_FILE: identities };
  const groups = [repository.ops, bob, zoe].map(({ recipient }) => `{age: [${recipient}]}`).join(', ');
  const rules = repository.read('.sops.yaml');
  const rule = (threshold: number) =>
    rules.replace(
      'creation_rules:\n',
      `creation_rules:\n  - path_regex: ^vault/\n    shamir_threshold: ${threshold}\n    key_groups: [${groups}]\n`,
    );
  repository.write('.sops.yaml', rule(3));
  repository.encrypt('vault/a.yaml');
  expect(check().status).toBe(0);
  repository.write('.sops.yaml', rule(2));
  expect(upToDate('vault/a.yaml')).toBe(true);
  const [finding] = findings();
  expect(finding?.message).toBe(
    '3 of the key groups of vault/a.yaml are needed to decrypt it, and its rule says 2',
  );
  expect(sync()).toMatchObject({ status: 1 });
  const [first = ''] = ((finding as unknown as { remedy: string }).remedy ?? '').split('; then ');
  const [, ...args] = first.split(' ');
  repository.env.SOPS_AGE_KEY_FILE = env.SOPS_AGE_KEY_FILE;
  expect(repository.sops(...args)).toMatchObject({ status: 0 });
  expect(sync()).toMatchObject({ status: 0 });
  expect(check().status).toBe(0);
});

test('links: one to a file of the repository is none of its own; what one outside points to changes, and it stays', () => {
  const outside = path.join(repository.folder, 'outside.yaml');
  repository.encrypt('secrets/mqtt-01/out.yaml');
  fs.renameSync(repository.path('secrets/mqtt-01/out.yaml'), outside);
  fs.symlinkSync(outside, repository.path('secrets/mqtt-01/out.yaml'));
  fs.symlinkSync('../shared/mqtt/ca.yml', repository.path('secrets/mqtt-01/ca.yml'));
  fs.symlinkSync('nowhere', repository.path('secrets/mqtt-01/dangling.yaml'));
  repository.deploy('mqtt-01');
  const { stdout, status } = sync();
  expect(status).toBe(0);
  expect(stdout.match(/\S+(?= synced)/g)).toEqual([
    'secrets/mqtt-01/db.yaml',
    'secrets/mqtt-01/deep/app.env',
    'secrets/mqtt-01/out.yaml',
    'secrets/shared/mqtt/blob',
    'secrets/shared/mqtt/ca.yml',
  ]);
  expect(fs.readlinkSync(repository.path('secrets/mqtt-01/out.yaml'))).toBe(outside);
  expect(fs.readFileSync(outside, 'utf8')).toContain(repository.recipient('mqtt-01'));
  expect(fs.readdirSync(repository.folder).filter((name) => name.includes('sync'))).toEqual([]);
  expect(check().status).toBe(0);
});

test('rules that are gone are a difference, told once, and what the remedy brings back is enough', () => {
  const rules = repository.read('.sops.yaml');
  for (const text of ['', 'creation_rules: []\n', 'stores: {}\n']) {
    repository.write('.sops.yaml', text);
    expect(check('mqtt-01').status).toBe(2);
    expect(findings().map(({ kind }) => kind)).toEqual(['root-rules-missing', 'root-rules-missing']);
    expect(sync().status).toBe(1);
  }
  expect(repository.hostkey(['sops', 'apply', '--all'])).toMatchObject({ status: 0 });
  expect(check().status).toBe(0);

  repository.write('.sops.yaml', rules);
  repository.writeFleet(['mqtt-01', 'web-01', 'db-01']);
  repository.sops('--config', '/dev/null', 'encrypt', '--age', repository.ops.recipient, '-i', 'fleet.yaml');
  repository.write('secrets/db-01/x.yaml', repository.read('fleet.yaml'));
  repository.writeFleet(['mqtt-01', 'web-01', 'db-01']);
  expect(findings()).toMatchObject([
    { host: 'db-01', kind: 'root-rules-missing', remedy: 'npx cdktf deploy db-01' },
  ]);
});

test('without git, the repository is walked', () => {
  fs.rmSync(repository.path('.git'), { recursive: true });
  repository.write(
    '.sops.yaml',
    repository
      .read('.sops.yaml')
      .replace(
        'creation_rules:\n',
        `creation_rules:\n  - path_regex: ^other/\n    age: ${repository.ops.recipient}\n`,
      ),
  );
  repository.encrypt('other/x.yaml');
  repository.write('node_modules/other/x.yaml', 'a: 1\n');
  expect(check().stdout).toBe('✓ 7 sops files, each encrypted to those whom its rule names\n');
  repository.deploy('mqtt-01');
  expect(sync()).toMatchObject({ status: 0 });
  expect(check().status).toBe(0);
});

test('two at once harm nothing', async () => {
  repository.deploy('mqtt-01');
  const runs = [1, 2].map(async () => {
    const child = spawn(PROGRAM, ['secrets', 'sync'], {
      cwd: repository.root,
      env: repository.env,
      stdio: 'ignore',
    });
    await once(child, 'exit');
  });
  await Promise.all(runs);
  expect(sync()).toMatchObject({ status: 0 });
  for (const file of FILES) expect(repository.opens(file, repository.ops)).toBe(true);
  expect(check().status).toBe(0);
});

test('killed at any moment, it leaves each file old or new, and goes on when it is run again', async () => {
  const many = Array.from({ length: 60 }, (_, i) => `secrets/mqtt-01/many/${i}.yaml`);
  repository.encrypt(many[0] as string, `k: ${'x'.repeat(20_000)}\n`);
  const one = fs.readFileSync(repository.path(many[0] as string));
  for (const file of many) fs.writeFileSync(repository.path(file), one);
  let [mixed, leftovers] = [0, 0];
  for (let round = 0; round < 8; round++) {
    repository.deploy('mqtt-01');
    const old = new Map(many.map((file) => [file, fs.readFileSync(repository.path(file))]));
    const child = spawn(PROGRAM, ['secrets', 'sync', 'secrets/mqtt-01/many'], {
      cwd: repository.root,
      env: repository.env,
      stdio: ['ignore', 'pipe', 'inherit'],
      // A group of its own, so that sops is killed with it.
      detached: true,
    });
    const exited = once(child, 'exit');
    await once(child.stdout, 'data');
    await sleep(Math.random() * 900);
    if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    await exited;
    const recipient = repository.recipient('mqtt-01');
    const renewed = many.filter((file) => {
      const now = fs.readFileSync(repository.path(file));
      if (now.equals(old.get(file) as Buffer)) return false;
      const read = readSecretFile(file, now.toString());
      expect(read).toMatchObject({ status: 'encrypted' });
      expect(now.includes(recipient)).toBe(true);
      expect(repository.opens(file, repository.ops)).toBe(true);
      return true;
    });
    mixed += renewed.length > 0 && renewed.length < many.length ? 1 : 0;
    const names = () => fs.readdirSync(repository.path('secrets/mqtt-01/many'));
    const staging = names().filter((name) => name.startsWith('.hostkey-sync-'));
    expect(names().length - staging.length).toBe(many.length);
    leftovers += staging.length;
    // What is left over is no news to git, and none to check.
    expect(repository.git('status', '--porcelain', '--untracked-files=all')).not.toContain('.hostkey-sync-');
    const kinds = new Set(findings().map(({ resource }) => resource));
    expect([...kinds].filter((file) => renewed.includes(file ?? ''))).toEqual([]);
    expect(sync()).toMatchObject({ status: 0 });
    expect(names()).toHaveLength(many.length);
    for (const file of renewed) expect(upToDate(file)).toBe(true);
  }
  expect(check().status).toBe(0);
  // Else the kills came too early or too late to say anything.
  expect(mixed).toBeGreaterThan(3);
  expect(leftovers).toBeGreaterThan(0);
});

test('Ctrl-C ends after the file at hand, and says how many are left', async () => {
  const many = Array.from({ length: 40 }, (_, i) => `secrets/mqtt-01/many/${i}.yaml`);
  repository.encrypt(many[0] as string);
  for (const file of many.slice(1))
    fs.copyFileSync(repository.path(many[0] as string), repository.path(file));
  repository.deploy('mqtt-01');
  const child = spawn(PROGRAM, ['secrets', 'sync', 'secrets/mqtt-01/many'], {
    cwd: repository.root,
    env: repository.env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const exited = once(child, 'close');
  await once(child.stdout, 'data');
  child.kill('SIGINT');
  expect(await exited).toEqual([130, null]);
  expect(stderr).toMatch(/^Stopped; \d+ files left\. Run it again to go on\.\n$/);
  expect(fs.readdirSync(repository.path('secrets/mqtt-01/many'))).toHaveLength(many.length);
});

test('drift: the rules and the secrets against the states, and what git does not have, without touching anything', async () => {
  const looks = async () => {
    const { fleet } = repository;
    const states = await repository.states();
    const found = [...rulesFindings(fleet, fleet.hosts, states), ...secretFindings(fleet, states)];
    const wrong = new Set(found.flatMap(({ resource }) => resource ?? []));
    return [...found, ...uncommitted(fleet, fleet.hosts, wrong)];
  };
  const before = snapshot();
  expect(await looks()).toEqual([]);
  repository.write('secrets/web-01/.sops.yaml', `${repository.read('secrets/web-01/.sops.yaml')}# mine\n`);
  expect(await looks()).toMatchObject([
    { kind: 'not-committed', severity: 'info', resource: 'secrets/web-01/.sops.yaml' },
  ]);
  repository.git('checkout', '-q', 'secrets/web-01/.sops.yaml');

  const rules = repository.read('.sops.yaml');
  const cases: [string, string, object[]][] = [
    [
      'an anchor that was edited',
      rules.replace(repository.recipient('mqtt-01'), repository.recipient('web-01')),
      [
        {
          host: 'mqtt-01',
          kind: 'root-rules-changed',
          severity: 'error',
          expected: repository.recipient('mqtt-01'),
          actual: repository.recipient('web-01'),
        },
      ],
    ],
    [
      'an empty file',
      '',
      [
        { host: 'mqtt-01', kind: 'root-rules-missing', severity: 'error' },
        { host: 'web-01', kind: 'root-rules-missing', severity: 'error' },
      ],
    ],
    [
      'a rule of people that comes first',
      rules.replace(
        'creation_rules:\n',
        `creation_rules:\n  - path_regex: \\.json$\n    age: ${repository.ops.recipient}\n`,
      ),
      [
        { host: 'mqtt-01', kind: 'root-rules-shadowed', line: 6 },
        { host: 'mqtt-01', kind: 'root-rules-shadowed', line: 6 },
        { host: 'web-01', kind: 'root-rules-shadowed', line: 6 },
        { host: 'web-01', kind: 'root-rules-shadowed', line: 6 },
      ],
    ],
    [
      'one that only Go can tell to be harmless',
      rules.replace(
        'creation_rules:\n',
        `creation_rules:\n  - path_regex: (?U)^\\Qvault\\E/.+\n    age: ${repository.ops.recipient}\n`,
      ),
      [],
    ],
    [
      'a file that cannot be edited',
      'creation_rules: 1\n',
      [
        { host: 'mqtt-01', kind: 'unchecked', severity: 'unknown' },
        { host: 'web-01', kind: 'unchecked', severity: 'unknown' },
      ],
    ],
  ];
  for (const [name, text, expected] of cases) {
    repository.write('.sops.yaml', text);
    const { fleet } = repository;
    const found = rulesFindings(fleet, fleet.hosts, await repository.states());
    expect({ name, found }).toMatchObject({ name, found: expected });
    expect(found).toHaveLength(expected.length);
  }
  fs.rmSync(repository.path('.sops.yaml'));
  expect(rulesFindings(repository.fleet, repository.fleet.hosts, await repository.states())).toHaveLength(2);
  expect(secretFindings(repository.fleet, await repository.states())).toMatchObject([
    { kind: 'root-rules-missing', severity: 'error', resource: '.sops.yaml' },
  ]);
  repository.write('.sops.yaml', rules);
  repository.git('status');
  const now = snapshot();
  await looks();
  expect(snapshot()).toBe(now);
  expect(before.split('\n')).toHaveLength(now.split('\n').length);
});
