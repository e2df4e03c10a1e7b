import fc from 'fast-check';
import { stringify } from 'yaml';
import { formatOf, readSecretFile } from '../../sops/secret-file';

const VALUE = 'ENC[AES256_GCM,data:aGk=,iv:aXY=,tag:dGFn,type:str]';

/** The part that sops writes, as it writes it in each format (stores/: yaml, json, dotenv, ini). */
interface Written {
  readonly groups: readonly (readonly string[])[];
  readonly threshold: number;
  readonly comment: string;
}

function treeOf({ groups, threshold }: Written): Record<string, unknown> {
  const keys = (recipients: readonly string[]) => ({
    age: recipients.map((recipient) => ({
      enc: `-----BEGIN AGE ENCRYPTED FILE-----\n${recipient}\n-----END AGE ENCRYPTED FILE-----\n`,
      recipient,
    })),
  });
  return {
    ...(groups.length === 1 ? keys(groups[0] ?? []) : { key_groups: groups.map(keys) }),
    lastmodified: '2026-01-02T03:04:05Z',
    mac: VALUE,
    ...(threshold === 0 ? {} : { shamir_threshold: threshold }),
    unencrypted_suffix: '_unencrypted',
    version: '3.13.3',
  };
}

function flat(value: unknown, key: string): [string, string][] {
  if (Array.isArray(value)) return value.flatMap((item, i) => flat(item, `${key}__list_${i}`));
  if (typeof value === 'object' && value !== null)
    return Object.entries(value).flatMap(([name, member]) =>
      flat(member, key === '' ? name : `${key}__map_${name}`),
    );
  return [[key, String(value).replaceAll('\n', '\\n')]];
}

const WRITERS: Readonly<Record<string, (written: Written) => string>> = {
  'x.yaml': (written) =>
    `# ${written.comment}\nk: ${VALUE}\n${stringify({ sops: treeOf(written) }, { lineWidth: 0 })}`,
  'x.json': (written) => JSON.stringify({ k: VALUE, sops: treeOf(written) }, undefined, '\t'),
  'x.bin': (written) => JSON.stringify({ data: VALUE, sops: treeOf(written) }),
  'x.env': (written) =>
    `#${written.comment}\nK=${VALUE}\n${flat(treeOf(written), '')
      .map(([key, value]) => `sops_${key}=${value}\n`)
      .join('')}`,
  'x.ini': (written) =>
    `; ${written.comment}\n[a]\nk = ${VALUE}\n\n[sops]\n${flat(treeOf(written), '')
      .map(([key, value]) => `${key.padEnd(20)} = ${value}\n`)
      .join('')}\n[z]\nage = 1\n`,
};

const recipients = fc.uniqueArray(fc.constantFrom('age1a', 'age1b', 'age1c', 'ssh-ed25519 AAAA me@x'), {
  minLength: 1,
});
const written: fc.Arbitrary<Written> = fc.record({
  groups: fc.array(recipients, { minLength: 1, maxLength: 12 }),
  threshold: fc.nat(3),
  comment: fc.constantFrom('', 'sops:', 'sops_version=1', '[sops]', '{', '---', 'ENC['),
});

describe.each(Object.keys(WRITERS))('%s', (file) => {
  const write = WRITERS[file] as (written: Written) => string;

  test('says whom it is encrypted to', () => {
    fc.assert(
      fc.property(written, (each) => {
        const read = readSecretFile(file, write(each));
        expect(read).toMatchObject({ status: 'encrypted', threshold: each.threshold });
        if (read.status !== 'encrypted') return;
        expect(read.groups.map((group) => [...group])).toEqual(
          each.groups.map((group) => group.map((recipient) => `age:${recipient}`)),
        );
      }),
    );
  });

  test('half of it is never taken for the whole', () => {
    fc.assert(
      fc.property(written, fc.double({ min: 0, max: 1, noNaN: true }), (each, share) => {
        const text = write({ ...each, comment: '' });
        const whole = readSecretFile(file, text);
        const half = readSecretFile(file, text.slice(0, Math.floor(text.length * share)));
        // The very end is a version, which may lose a digit.
        if (half.status === 'encrypted') expect(half).toEqual(whole);
        else expect(['damaged', 'plain']).toContain(half.status);
        const hasValue = text.slice(0, Math.floor(text.length * share)).includes(VALUE);
        if (hasValue) expect(half.status).not.toBe('plain');
      }),
    );
  });
});

test.each([
  ['x.yaml', 'sops:\n  enabled: true\n  version: 3\n'],
  ['x.yaml', 'k: sops\n'],
  ['x.yaml', 'sops: yes\n'],
  ['x.yaml', 'k: |\n  sops:\n    mac: x\n'],
  ['x.yaml', 'a: [sops\n'],
  ['x.yaml', ''],
  ['x.json', '{"k": {"sops": {"mac": "x"}}}'],
  ['x.json', '{"sops"'],
  ['x.env', 'SOPS_VERSION=1\nexport sops=1\n'],
  ['x.ini', '[sops-like]\nmac = 1\n'],
  ['notes.md', 'sops_version=1\n\n[sops]\nmac = 1\n\nsops:\n  mac: x\n'],
])('%s with %j is nothing of sops', (file, text) => {
  expect(readSecretFile(file, text)).toEqual({ status: 'plain' });
});

const WHOLE = WRITERS['x.yaml']?.({ groups: [['age1a']], threshold: 0, comment: '' }) ?? '';

test.each([
  ['x.yaml', `${WHOLE}sops:\n    mac: x\n`, 'it has two parts of sops'],
  ['x.yaml', WHOLE.replace(/^ {2}mac: .*\n/m, ''), '"mac" of what sops wrote is missing or changed'],
  ['x.yaml', WHOLE.replace(/T03:04:05Z/, ''), '"lastmodified" of what sops wrote is missing or changed'],
  ['x.yaml', WHOLE.replace(/ {2}age:[\s\S]*?(?=\n {2}last)/, ''), 'it names nobody who can decrypt it'],
  [
    'x.yaml',
    WHOLE.replace(/enc: \|\n[\s\S]*?END.*\n/, ''),
    '"age.0.enc" of what sops wrote is missing or changed',
  ],
  ['x.yaml', WHOLE.replace('  version', '\t\tversion'), 'it is not YAML'],
  ['x.yaml', `<<<<<<< HEAD\n${WHOLE}`, 'a merge conflict stands in it'],
  ['x.env', `K=${VALUE}\nnonsense\nsops_mac=x\n`, 'a line has no "="'],
  ['x.env', `K=${VALUE}\nsops_age=1\nsops_age__list_0__map_enc=1\n`, 'its keys contradict each other'],
  ['x.txt', WHOLE, 'the part that sops writes at its end is gone'],
])('%s that nobody can decrypt any more: %#', (file, text, reason) => {
  expect(readSecretFile(file, text)).toEqual({ status: 'damaged', reason });
});

test('a file cannot reach into this program', () => {
  readSecretFile(
    'x.env',
    'sops_mac=1\nsops_a__map___proto____map_polluted=yes\nsops___proto____map_polluted=yes\n',
  );
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});

test('the format goes by the name alone, as sops has it', () => {
  const names = ['a.yaml', 'a.yml', 'a.json', '.env', 'a.env', 'a.ini', 'a.YAML', 'a.yaml.bak', 'yaml'];
  expect(names.map(formatOf)).toEqual([
    ...['yaml', 'yaml', 'json', 'dotenv', 'dotenv', 'ini', 'binary', 'binary', 'binary'],
  ]);
});
