import fc from 'fast-check';
import { holder, readCreationRules } from '../../sops/creation-rules';
import { goRegex } from '../../sops/go-regex';
import { applyHosts } from '../../sops/rules';
import { entryOf, recipientOf } from './entries';

const A = recipientOf('a');
const B = recipientOf('b');
const keysFor = (text: string, path = 'x.yaml') =>
  readCreationRules(text)
    .ruleFor(path)
    ?.groups.map((group) => [...group]);

test('a rule tells its line, and how many of its groups are needed', () => {
  const { rules } = readCreationRules(
    `# us\ncreation_rules:\n  - age: ${A}\n  # more\n  - path_regex: ^x\n    shamir_threshold: 2\n    encrypted_regex: ^a\n    key_groups: [{age: [${A}]}, {age: [${B}]}]\n`,
  );
  expect(rules).toMatchObject([
    { line: 3, pathRegex: undefined, threshold: 0, partial: false, problem: undefined },
    { line: 5, pathRegex: '^x', threshold: 2, partial: true, problem: undefined },
  ]);
});

test("the rules of a large fleet are read, whose admins' aliases are many", () => {
  const entries = Array.from({ length: 150 }, (_, i) => entryOf(`host-${i}`));
  const { ruleFor, names } = readCreationRules(applyHosts(undefined, entries).text);
  expect([...(ruleFor('secrets/host-149/x.yaml')?.groups[0] ?? [])]).toEqual([
    `age:${recipientOf('ops')}`,
    `age:${recipientOf('host-149')}`,
  ]);
  expect(ruleFor('secrets/host-1490/x.yaml')).toBeUndefined();
  expect(names.get(recipientOf('host-7'))).toEqual(['host_host-7']);
});

test('what only looks like a number or like nothing is read as sops reads it', () => {
  expect(keysFor('creation_rules:\n  - pgp: ["12345678901234567890", 1e5, 0x10]\n')).toEqual([
    ['pgp:12345678901234567890', 'pgp:1e5', 'pgp:0x10'],
  ]);
  expect(keysFor(`creation_rules:\n  - path_regex: ~\n    pgp:\n    kms: null\n    age: ${A}\n`)).toEqual([
    [`age:${A}`],
  ]);
  expect(keysFor(`creation_rules:\n  - path_regex: 1\n    age: ${A}\n`, 'x1.yaml')).toEqual([[`age:${A}`]]);
});

test.each([
  ['creation_rules: 1\n', '.sops.yaml:1:17: creation_rules: '],
  ['creation_rules:\n  - age: {}\n', '.sops.yaml:2:10: creation_rules.0.age: '],
  [
    'creation_rules:\n  - key_groups:\n      - age: x\n',
    '.sops.yaml:3:14: creation_rules.0.key_groups.0.age: ',
  ],
  ['- a\n', '.sops.yaml:1:1: the top of the file: '],
  ['a: [\n', '.sops.yaml:2:1: this is not YAML: '],
  ['a: *b\n', '.sops.yaml:1:1: '],
])('%j is an error that tells its place', (text, message) => {
  expect(() => readCreationRules(text)).toThrow(message);
});

test.each([
  ['path_regex: "("', 'its path_regex "(" is none: '],
  ['path_regex: x', 'it names nobody to encrypt to'],
  [`age: [${A}, ~]`, 'an item of age is empty'],
  [`age: ${A}x`, 'the checksum of '],
  [
    `age: ${A}\n    encrypted_regex: a\n    encrypted_suffix: b`,
    'it has both encrypted_suffix and encrypted_regex',
  ],
  ['hc_vault_transit_uri: vault.example.net/x', '"vault.example.net/x" is no key of Vault: '],
  ['azure_keyvault: "a"', '"a" is no key of Azure Key Vault: '],
])('a rule with %j spoils only the files that come to it', (bad, problem) => {
  const text = `creation_rules:\n  - path_regex: ^good/\n    age: ${A}\n  - ${bad}\n  - age: ${B}\n`;
  const { ruleFor } = readCreationRules(text);
  expect(ruleFor('good/x.yaml')).toMatchObject({ problem: undefined });
  expect(ruleFor('x.yaml')?.problem?.slice(0, problem.length)).toBe(problem);
});

test('an identity in the place of a recipient is not quoted', () => {
  const identity = `AGE-SECRET-${'KEY'}-1QQQQQQQQQ`;
  const problem = readCreationRules(`creation_rules:\n  - age: ${identity}\n`).ruleFor('x')?.problem;
  expect(problem).toContain('a private key');
  expect(problem).not.toContain('QQQ');
});

test('Go takes two groups of one name', () => {
  expect(goRegex('(?P<n>a)(?<n>b)')('xab')).toBe(true);
  expect(() => goRegex('(?!a)')).toThrow();
});

test('a holder holds every spelling of a key', () => {
  expect(holder('age:ssh-ed25519 AAAA me@laptop')).toBe(holder('age:ssh-ed25519  AAAA'));
  expect(holder('pgp:85d77543b3d624b63cea9e6dbc17301b491b3f21')).toBe(
    holder('pgp:85D7 7543 B3D6 24B6 3CEA 9E6D BC17 301B 491B 3F21'),
  );
  expect(holder(`age:${A}`)).not.toBe(holder(`age:${B}`));
});

describe('the rule that is found', () => {
  const part = fc.constantFrom('a', 'b', 'a.b', 'ab', 'c-1');
  const folder = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
  const ours = folder.map((name) => `^${name.replace(/[.]/g, '\\$&')}/`);
  const regex = fc.oneof(ours, ours, fc.constantFrom('', 'a', 'b/', '\\.yaml$', '^a', 'c-1|b', '^[^/]+$'));

  test('is the first that matches, also where folders are looked up', () => {
    fc.assert(
      fc.property(fc.array(regex, { maxLength: 12 }), folder, (regexes, path) => {
        const creation_rules = regexes.map((path_regex, i) => ({ path_regex, pgp: `${i}` }));
        const { ruleFor } = readCreationRules(JSON.stringify({ creation_rules }));
        const first = regexes.findIndex((text) => new RegExp(text).test(`${path}/x.yaml`));
        const found = ruleFor(`${path}/x.yaml`);
        expect(found && [...(found.groups[0] ?? [])]).toEqual(first < 0 ? undefined : [`pgp:${first}`]);
      }),
      { numRuns: Number(process.env.RUNS ?? 300) },
    );
  });
});
