import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import type { Fleet } from '../../fleet/fleet';
import { readCreationRules } from '../../sops/creation-rules';
import { readSecrets } from '../../sops/secrets';
import { toolEnvironment } from '../../tools/env';
import { fleetWith } from '../drift/hosts';

/**
 * What we say of a file, against what the real sops says: without `--yes` and without an answer, `sops updatekeys`
 * tells what it would do, decrypts nothing and asks no key service.
 */
jest.setTimeout(120_000);

const env: NodeJS.ProcessEnv = {
  ...toolEnvironment(),
  SOPS_DISABLE_VERSION_CHECK: '1',
  SOPS_CONFIG: undefined,
  GNUPGHOME: '/nonexistent',
};

let root: string;
let keys: Record<'A' | 'B' | 'C' | 'SSH', string>;

beforeAll(() => {
  root = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'verdict-')));
  const made = (['A', 'B', 'C'] as const).map((name) => {
    const file = path.join(root, `${name}.key`);
    run('age-keygen', ['-o', file]);
    return [name, run('age-keygen', ['-y', file]).stdout.trim()] as const;
  });
  const ssh = path.join(root, 'id_ed25519');
  run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'me@laptop', '-f', ssh]);
  const line = fs.readFileSync(`${ssh}.pub`, 'utf8').trim();
  keys = { ...(Object.fromEntries(made) as Record<'A' | 'B' | 'C', string>), SSH: line };
});

afterAll(() => {
  fs.rmSync(root, { recursive: true, force: true });
});

function run(program: string, args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(program, args, {
    cwd: root,
    env,
    encoding: 'utf8',
    input: '',
  });
  return { status, stdout, stderr };
}

const emptyFleet = (): Fleet => ({ ...fleetWith({}), root });

/** The placeholders A, B, C and SSH as recipients. */
const filled = (text: string): string =>
  text.replace(/\b(A|B|C|SSH|BARE)\b/g, (name) =>
    name === 'BARE' ? keys.SSH.split(' ').slice(0, 2).join(' ') : keys[name as keyof typeof keys],
  );

const useRules = (rules: string): void => fs.writeFileSync(path.join(root, '.sops.yaml'), filled(rules));

const FORMATS: Readonly<Record<string, string>> = {
  'x.yaml': 'sops_like: 1\nlist: [a, b]\n---\nsecond: x\n',
  'x.yml': '# a comment\nk: |\n  sops:\n  of mine\n',
  'x.json': '{"k": {"sops": "v"}, "l": [1]}',
  'x.env': '# sops_version=1\nK=v\n',
  'x.ini': '[a]\nk = v\n\n[sops-like]\nx = 1\n',
  'x.conf': 'anything\nsops:\n  at all\n',
  noextension: Buffer.from([0, 1, 2, 255]).toString('latin1'),
};

/** Rules by which the files are encrypted, and then compared, each with each. */
const RULES: Readonly<Record<string, string>> = {
  one: 'creation_rules:\n  - age: A\n',
  two: 'creation_rules:\n  - age: A, B,\n',
  'two, the other way round': 'creation_rules:\n  - age: [B, A]\n',
  'others only': 'creation_rules:\n  - age: [B, C]\n',
  'a group': 'creation_rules:\n  - age: C\n    key_groups: [{age: [A, B]}]\n',
  'commas in a group': 'creation_rules:\n  - key_groups:\n      - age: ["A, B"]\n',
  'a merged group': 'creation_rules:\n  - key_groups: [{merge: [{age: [A]}, {merge: [{age: [B]}]}]}]\n',
  'an anchor, an alias, a merge key':
    'k: &k A\nb: &base\n  age: [*k, B]\ncreation_rules:\n  - <<: *base\n    path_regex: x|noextension\n',
  'two groups': 'creation_rules:\n  - key_groups: [{age: [A]}, {age: [B]}]\n',
  'two groups, the other way round': 'creation_rules:\n  - key_groups: [{age: [B]}, {age: [A]}]\n',
  'three groups, two needed':
    'creation_rules:\n  - shamir_threshold: 2\n    key_groups: [{age: [A]}, {age: [B]}, {age: [C]}]\n',
  'three groups, all needed': 'creation_rules:\n  - key_groups: [{age: [A]}, {age: [B]}, {age: [C]}]\n',
  'an SSH key': 'creation_rules:\n  - age: ["BARE", A]\n',
  'an SSH key with its comment': 'creation_rules:\n  - age: ["SSH", A]\n',
  'the same one twice': 'creation_rules:\n  - key_groups: [{age: [A, A, " A"]}]\n',
  'a second document': 'creation_rules:\n  - age: A\n---\ncreation_rules: []\n',
  'a bad expression that nobody comes to': 'creation_rules:\n  - age: A\n  - path_regex: "("\n    age: B\n',
  'a mark at the start, CRLF': '\uFEFFcreation_rules:\r\n  - age: >-\r\n      A,\r\n      B\r\n',
};

/** Of these, what the other formats are encrypted by: each writes groups and commas in its own way. */
const TELLING = ['one', 'two', 'two groups', 'three groups, two needed', 'an SSH key with its comment'];

/** More rules to compare with; nobody here can encrypt by them. */
const MORE: Readonly<Record<string, string>> = {
  'a fingerprint in a rule':
    'creation_rules:\n  - age: A\n    pgp: 85D7 7543 B3D6 24B6 3CEA 9E6D BC17 301B 491B 3F21\n',
  'a fingerprint of digits':
    'creation_rules:\n  - age: A\n    pgp: ["1234567890123456789012345678901234567890"]\n',
  'clouds in a rule': `creation_rules:
  - age: A
    kms: arn:aws:kms:us-east-1:1:key/x+arn:aws:iam::1:role/r
    aws_profile: p
    gcp_kms: projects/p/locations/l/keyRings/k/cryptoKeys/c
    hckms: ["region:uuid"]
    azure_keyvault: https://a.vault.azure.net/keys/n/v1
    hc_vault_transit_uri: https://v.example.net:8200/v1/sops/keys/k
`,
  'clouds in a group': `creation_rules:
  - key_groups:
      - age: [A]
        kms: [{arn: "arn:aws:kms:us-east-1:1:key/x", role: r, context: {b: "2", a: "1"}, aws_profile: p}]
        gcp_kms: [{resource_id: x}]
        hckms: [{key_id: "r:u"}]
        azure_keyvault: [{vaultUrl: "https://a.example.net", key: n, version: v}]
        hc_vault: ["https://v.example.net:8200/v1/a/b/keys/k"]
`,
  'nobody: updatekeys would begin, and fail': 'creation_rules:\n  - path_regex: .\n',
  'no rule that matches': 'creation_rules:\n  - path_regex: ^other/\n    age: A\n',
  'no rules': 'creation_rules: []\n',
  'no section': 'stores: {}\n',
  'an empty file': '',
  'a bad expression': 'creation_rules:\n  - path_regex: "("\n    age: A\n',
  'a bad recipient': 'creation_rules:\n  - age: A, age1nonsense\n',
  'an empty item': 'creation_rules:\n  - age: [A, ~]\n',
  'a comma too many in a group': 'creation_rules:\n  - key_groups: [{age: ["A,"]}]\n',
  'two ways to encrypt a part':
    'creation_rules:\n  - age: A\n    encrypted_regex: a\n    encrypted_suffix: b\n',
  'a key twice': 'creation_rules:\n  - age: A\n    age: B\n',
  'a rule that is none': 'creation_rules:\n  - A\n',
};

type Verdict = 'same' | 'differs' | 'fails';

function sopsSays(file: string): { verdict: Verdict; changes: string[] } {
  const { stdout, stderr } = run('sops', ['updatekeys', file]);
  if (stderr.includes('already up to date')) return { verdict: 'same', changes: [] };
  const changes = [...stdout.matchAll(/^(\+\+\+|---) (.*)$/gm)].map(([line]) => line);
  return stdout.includes('The following changes')
    ? { verdict: 'differs', changes }
    : { verdict: 'fails', changes };
}

function weSay(file: string): { verdict: Verdict; added: string[]; removed: string[] } {
  const bare = (key: string) => key.replace(/^\w+:/, '');
  try {
    const [secret] = readSecrets(emptyFleet(), new Map(), { files: new Set([file]) }).secrets;
    if (secret?.read.status !== 'encrypted')
      throw new Error(`${file} is no sops file: ${secret?.read.status}`);
    const { rule, read } = secret;
    const isEmpty = rule?.problem === 'it names nobody to encrypt to';
    if (rule === undefined || (rule.problem !== undefined && !isEmpty))
      return { verdict: 'fails', added: [], removed: [] };
    const groups = Math.max(rule.groups.length, read.groups.length);
    const changes = Array.from({ length: groups }, (_, i) => {
      const [wanted, actual] = [[...(rule.groups[i] ?? [])], [...(read.groups[i] ?? [])]];
      return {
        added: wanted.filter((key) => !actual.includes(key)).map(bare),
        removed: actual.filter((key) => !wanted.includes(key)).map(bare),
      };
    });
    return {
      verdict: secret.differs || isEmpty ? 'differs' : 'same',
      added: changes.flatMap(({ added }) => added),
      removed: changes.flatMap(({ removed }) => removed),
    };
  } catch (error) {
    if ((error as Error).name !== 'CreationRulesError') throw error;
    return { verdict: 'fails', added: [], removed: [] };
  }
}

describe.each(Object.keys(FORMATS))('%s', (file) => {
  test('our verdict is that of sops updatekeys, whatever the rules were and are', () => {
    const told: Record<Verdict, number> = { same: 0, differs: 0, fails: 0 };
    for (const [before, rulesBefore] of Object.entries(RULES)) {
      if (file !== 'x.yaml' && !TELLING.includes(before)) continue;
      useRules(rulesBefore);
      fs.writeFileSync(path.join(root, file), FORMATS[file] ?? '', 'latin1');
      expect({ before, ...run('sops', ['encrypt', '-i', file]) }).toMatchObject({ before, status: 0 });
      const isFull = before === 'one' || before === 'three groups, two needed';
      for (const [now, rulesNow] of Object.entries(isFull ? { ...RULES, ...MORE } : RULES)) {
        useRules(rulesNow);
        const sops = sopsSays(file);
        const { verdict, added, removed } = weSay(file);
        expect({ before, now, verdict }).toEqual({ before, now, verdict: sops.verdict });
        const threshold = (line: string) => !line.includes('shamir_threshold');
        const changes = [...added.map((key) => `+++ ${key}`), ...removed.map((key) => `--- ${key}`)];
        expect({ before, now, changes: changes.sort() }).toEqual({
          before,
          now,
          changes: sops.changes.filter(threshold).sort(),
        });
        told[verdict]++;
      }
    }
    // Else the comparison would say little.
    for (const count of Object.values(told)) expect(count).toBeGreaterThan(10);
  });
});

test('a threshold above the number of groups would be lowered, and that is all', () => {
  useRules(RULES['two groups'] ?? '');
  fs.writeFileSync(path.join(root, 'x.yaml'), 'k: v\n');
  expect(run('sops', ['encrypt', '-i', 'x.yaml'])).toMatchObject({ status: 0 });
  const text = fs.readFileSync(path.join(root, 'x.yaml'), 'utf8');
  for (const [threshold, verdict] of [
    [2, 'same'],
    [3, 'differs'],
  ] as const) {
    const changed = text.replace(/shamir_threshold: 2/, `shamir_threshold: ${threshold}`);
    fs.writeFileSync(path.join(root, 'x.yaml'), changed);
    expect({ threshold, ...sopsSays('x.yaml') }).toMatchObject({ threshold, verdict });
    expect({ threshold, ...weSay('x.yaml') }).toMatchObject({ threshold, verdict });
  }
});

describe('which rule sops uses', () => {
  /** A fingerprint of its own for every rule: sops tells which it would add. */
  const fingerprint = (index: number) => `${'F'.repeat(38)}${String(index).padStart(2, '0')}`;

  const atom = fc.constantFrom(
    'secrets',
    'a',
    'b-1',
    '\\.',
    '.',
    '/',
    '\\d',
    '[a-c]',
    '[^/]',
    '[[:alpha:]]',
    '\\pL',
    '(?:a|b)',
    '(yaml|json)',
    '(?P<n>x)',
    '\\Qa.b\\E',
    '\\w',
    '\\b',
    'é',
  );
  const piece = fc
    .tuple(atom, fc.constantFrom('', '', '', '*', '+', '?', '*?', '{1,2}'))
    .map((both) => both.join(''));
  const regex = fc
    .tuple(
      fc.constantFrom('', '', '^', '(?i)', '(?s)', '(?U)', '\\A', '(', '(?!x)', '(?<n>x)?'),
      fc.array(piece, { minLength: 1, maxLength: 4 }),
      fc.constantFrom('', '', '$', '\\z', '/', '\\Z'),
    )
    .map(([head, body, tail]) => head + body.join('') + tail);
  const folder = fc.constantFrom('secrets/a', 'secrets/b-1', 'a', 'secrets', 'b-1/a');
  const rule = fc.oneof(
    regex,
    folder.map((name) => `^${name.replaceAll('-', '\\-')}/`),
    folder.map((name) => `^${name}/`),
  );
  const name = fc.constantFrom('a', 'b-1', 'x.yaml', 'secrets', 'A', 'é', 'a.b', '1', 'b c');
  const file = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => `${parts.join('/')}.yaml`);

  test('is the one that we find, for any expressions and paths', () => {
    useRules('creation_rules:\n  - age: A\n');
    fs.writeFileSync(path.join(root, 'template.yaml'), 'k: v\n');
    run('sops', ['encrypt', '-i', 'template.yaml']);
    const outcomes = new Map<string, number>();
    fc.assert(
      fc.property(fc.array(rule, { minLength: 1, maxLength: 5 }), file, (regexes, name) => {
        const base = fs.mkdtempSync(path.join(root, 'run-'));
        const full = path.join(base, name);
        fs.mkdirSync(path.dirname(full), { recursive: true });
        fs.copyFileSync(path.join(root, 'template.yaml'), full);
        const rules = regexes.map((path_regex, i) => ({ path_regex, pgp: fingerprint(i) }));
        const text = JSON.stringify({ creation_rules: rules });
        const config = path.join(base, '.sops.yaml');
        fs.writeFileSync(config, text);
        const { stdout, stderr } = run('sops', ['--config', config, 'updatekeys', full]);
        fs.rmSync(base, { recursive: true });
        const found = /^\+\+\+ (F{38}\d\d)$/m.exec(stdout)?.[1];
        const said = found ?? (/can not compile/.test(stderr) ? 'bad' : 'none');
        const ours = readCreationRules(text).ruleFor(name);
        const weSaid =
          ours === undefined ? 'none' : ours.problem ? 'bad' : [...(ours.groups[0] ?? [])][0]?.slice(4);
        expect({ regexes, name, said: weSaid }).toEqual({ regexes, name, said });
        outcomes.set(said, (outcomes.get(said) ?? 0) + 1);
      }),
      { numRuns: Number(process.env.RUNS ?? 400) },
    );
    expect(outcomes.size).toBeGreaterThan(4);
  });
});
