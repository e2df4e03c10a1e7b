import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { parseFleet } from '../../fleet/load';
import { readCreationRules, ruleFor } from '../../sops/creation-rules';
import { readSecretFile } from '../../sops/secret-file';
import { readSecrets } from '../../sops/secrets';
import { needsSync, syncSecret } from '../../sops/sync';
import { toolEnvironment } from '../../tools/env';

jest.setTimeout(300_000);

const env = toolEnvironment();
const PLAIN: Readonly<Record<string, string>> = {
  'a.yaml': 'password: swordfish\n',
  'a.json': '{"password": "swordfish"}\n',
  'a.env': 'PASSWORD=swordfish\n',
  'a.ini': '[main]\npassword = swordfish\n',
  'a.bin': 'swordfish\n',
};

describe('sops files, as sops itself sees them', () => {
  let root: string;
  let recipients: string[];

  beforeAll(() => {
    root = mkdtempSync(path.join(tmpdir(), 'hostkey-secrets-'));
    recipients = [0, 1, 2].map((i) => {
      const identity = path.join(root, `key-${i}`);
      execFileSync('age-keygen', ['-o', identity], { env, stdio: 'ignore' });
      return execFileSync('age-keygen', ['-y', identity], { env, encoding: 'utf8' }).trim();
    });
    mkdirSync(path.join(root, 'secrets/a'), { recursive: true });
  });
  afterAll(() => rmSync(root, { recursive: true }));

  const write = (name: string, text: string): void => writeFileSync(path.join(root, name), text);
  const read = (name: string): string => readFileSync(path.join(root, name), 'utf8');
  const as = (...identities: number[]): NodeJS.ProcessEnv => ({
    ...env,
    HOME: root,
    SOPS_AGE_KEY: identities.map((i) => readFileSync(path.join(root, `key-${i}`), 'utf8')).join('\n'),
  });
  const sops = (...args: string[]) =>
    spawnSync('sops', args, { cwd: root, env: as(0, 1, 2), encoding: 'utf8' });
  const encrypt = (name: string): void => {
    const { status, stderr } = sops('encrypt', '-i', name);
    if (status !== 0) throw new Error(stderr);
  };

  const fleet = () =>
    parseFleet(
      `proxmox: { endpoint: 'https://192.0.2.1:8006/', nodes: { pve1: { address: 192.0.2.11 } } }
defaults: { node: pve1, template: 9000, disk: local-lvm }
hosts: { a: { vmId: 283 } }
`,
      { file: 'fleet.yaml', root },
    );

  const group = (...who: number[]): string => `age: [${who.map((i) => recipients[i]).join(', ')}]`;
  const shapes: [string, () => string][] = [
    ['a list', () => `creation_rules:\n  - path_regex: ^secrets/a/\n    ${group(0, 1)}\n`],
    ['one text', () => `creation_rules:\n  - age: >-\n      ${recipients[0]},\n      ${recipients[2]}\n`],
    ['a group', () => `creation_rules:\n  - key_groups: [{ ${group(1)} }]\n`],
    [
      'groups with a threshold',
      () =>
        `creation_rules:\n  - shamir_threshold: 2\n    key_groups: [{ ${group(0)} }, { ${group(1, 2)} }]\n`,
    ],
    ['anchors', () => `keys:\n  - &me ${recipients[2]}\ncreation_rules:\n  - key_groups: [{ age: [*me] }]\n`],
    [
      'the first rule that matches',
      () => `creation_rules:\n  - path_regex: \\.json$\n    ${group(0)}\n  - ${group(1)}\n`,
    ],
  ];
  const pairs = shapes.flatMap((before) =>
    shapes.map((after) => [before[0], after[0], before[1], after[1]] as const),
  );

  test.each(pairs)(
    'encrypted by %s, under rules of %s: the verdict is that of sops updatekeys',
    (_a, _b, before, after) => {
      for (const [name, text] of Object.entries(PLAIN)) {
        const file = `secrets/a/${name}`;
        write(file, text);
        write('.sops.yaml', before());
        encrypt(file);
        write('.sops.yaml', after());
        const [secret] = readSecrets(fleet(), new Map(), { files: new Set([file]) });
        if (secret === undefined) throw new Error(`${file} was not found`);
        // Without a yes it says what it would do.
        const { stdout, stderr } = spawnSync('sops', ['updatekeys', file], {
          cwd: root,
          env: as(0, 1, 2),
          encoding: 'utf8',
          input: 'n\n',
        });
        const upToDate = /already up to date/.test(stdout + stderr);
        expect({ file, needed: needsSync(secret) }).toEqual({ file, needed: !upToDate });
        rmSync(path.join(root, file));
      }
    },
  );

  test('expressions match the files that they match for sops', () => {
    const part = fc.constantFrom(
      'a',
      'b',
      '.',
      '.*',
      '[a-c]',
      '(b|c)',
      '\\.',
      '/',
      '^',
      '$',
      'secrets',
      '(?i)A',
      '[[:alpha:]]',
      '\\d',
    );
    const regex = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(''));
    const name = fc.constantFrom('secrets/a/b.yaml', 'a.yaml', 'c/1.yaml', 'secrets/c.yaml');
    fc.assert(
      fc.property(regex, name, (expression, file) => {
        write(
          '.sops.yaml',
          `creation_rules:\n  - path_regex: ${JSON.stringify(expression)}\n    ${group(0)}\n`,
        );
        const { status } = spawnSync('sops', ['encrypt', '--filename-override', file], {
          cwd: root,
          env,
          input: 'a: 1\n',
        });
        expect(ruleFor(readCreationRules(read('.sops.yaml')), file) !== undefined).toBe(status === 0);
      }),
      { numRuns: 60 },
    );
  });

  test('a sync gives each file to those whom its rule names, keeps its content and mode, and has nothing to do again', async () => {
    write('.sops.yaml', shapes[0]?.[1]() ?? '');
    for (const [name, text] of Object.entries(PLAIN)) {
      write(`secrets/a/${name}`, text);
      encrypt(`secrets/a/${name}`);
    }
    execFileSync('chmod', ['640', 'secrets/a/a.yaml'], { cwd: root });
    write('.sops.yaml', `creation_rules:\n  - ${group(0, 2)}\n`);
    const find = () => readSecrets(fleet(), new Map(), { hosts: new Set(['a']) }).filter(needsSync);
    const todo = find();
    expect(todo).toHaveLength(5);
    const before = { ...process.env };
    Object.assign(process.env, as(0));
    for (const secret of todo) expect(await syncSecret(fleet(), secret)).toEqual({ status: 'synced' });
    process.env = before;
    expect(find()).toEqual([]);
    for (const [name, text] of Object.entries(PLAIN)) {
      const shown = spawnSync('sops', ['decrypt', `secrets/a/${name}`], {
        cwd: root,
        env: as(2),
        encoding: 'utf8',
      }).stdout;
      expect(shown.replaceAll(/\s/g, '')).toBe(text.replaceAll(/\s/g, ''));
    }
    expect(statSync(path.join(root, 'secrets/a/a.yaml')).mode & 0o777).toBe(0o640);
  });

  test('a file that the operator can not decrypt is left byte for byte, and the others go on', () => {
    write(
      'fleet.yaml',
      `proxmox: { endpoint: 'https://192.0.2.1:8006/', nodes: { pve1: { address: 192.0.2.11 } } }\ndefaults: { node: pve1, template: 9000, disk: local-lvm }\nhosts: { a: { vmId: 283 } }\n`,
    );
    for (const name of readdirSync(path.join(root, 'secrets/a'))) rmSync(path.join(root, 'secrets/a', name));
    write('.sops.yaml', `creation_rules:\n  - path_regex: mine\n    ${group(0)}\n  - ${group(1)}\n`);
    for (const name of ['mine.yaml', 'other.yaml']) {
      write(`secrets/a/${name}`, 'a: 1\n');
      encrypt(`secrets/a/${name}`);
    }
    write('.sops.yaml', `creation_rules:\n  - ${group(0, 1, 2)}\n`);
    const untouched = read('secrets/a/other.yaml');
    const hostkey = path.resolve('bin/hostkey');
    const { status, stdout } = spawnSync(process.execPath, [hostkey, 'secrets', 'sync'], {
      cwd: root,
      env: as(0),
      encoding: 'utf8',
    });
    expect(status).toBe(1);
    expect(stdout).toContain('✓ secrets/a/mine.yaml synced');
    expect(stdout).toContain("✗ secrets/a/other.yaml left as it is: you can't decrypt it");
    expect(read('secrets/a/other.yaml')).toBe(untouched);
  });

  test('killed at any moment, a sync leaves every file old or new, and goes on when it is run again', async () => {
    const hostkey = path.resolve('bin/hostkey');
    for (const name of readdirSync(path.join(root, 'secrets/a'))) rmSync(path.join(root, 'secrets/a', name));
    write('.sops.yaml', `creation_rules:\n  - ${group(0)}\n`);
    const names = Array.from({ length: 12 }, (_, i) => `secrets/a/s${i}.yaml`);
    for (const name of names) {
      write(name, 'a: 1\n');
      encrypt(name);
    }
    write('.sops.yaml', `creation_rules:\n  - ${group(0, 1)}\n`);
    const countOf = (name: string): number => {
      const file = readSecretFile(read(name));
      return file.status === 'encrypted' ? (file.groups[0]?.size ?? 0) : -1;
    };
    for (const delay of [500, 700, 900, 1100]) {
      const child = spawn(process.execPath, [hostkey, 'secrets', 'sync'], {
        cwd: root,
        env: as(0),
        stdio: 'ignore',
      });
      const ended = new Promise((done) => child.on('close', done));
      setTimeout(() => child.kill('SIGKILL'), delay);
      await ended;
      for (const name of names) expect([1, 2]).toContain(countOf(name));
    }
    const { status } = spawnSync(process.execPath, [hostkey, 'secrets', 'sync'], { cwd: root, env: as(0) });
    expect(status).toBe(0);
    expect(names.map(countOf)).toEqual(names.map(() => 2));
    for (const name of names) expect(sops('decrypt', name).stdout).toBe('a: 1\n');
  });
});
