import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parse } from 'yaml';
import type { HostEntry } from '../../sops/entry';
import { applyHost, hostRulesFile, removeHost } from '../../sops/rules';
import { toolEnvironment } from '../../tools/env';

/** The real sops and age must read our files as we mean them. */

const env: NodeJS.ProcessEnv = {
  ...toolEnvironment(),
  SOPS_DISABLE_VERSION_CHECK: '1',
  SOPS_CONFIG: undefined,
};

interface Identity {
  readonly file: string;
  readonly recipient: string;
}

let root: string;
let ops: Identity;
let mqtt: Identity;
let web: Identity;

beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'sops-'));
  [ops, mqtt, web] = ['ops', 'mqtt', 'web'].map(identity) as [Identity, Identity, Identity];
});

afterAll(() => {
  fs.rmSync(root, { recursive: true, force: true });
});

function identity(name: string): Identity {
  const file = path.join(root, `${name}.key`);
  execFileSync('age-keygen', ['-o', file], { env, stdio: 'ignore' });
  return { file, recipient: execFileSync('age-keygen', ['-y', file], { env, encoding: 'utf8' }).trim() };
}

function entryOf(host: string, key: Identity, shared: string[] = []): HostEntry {
  return { host, recipient: key.recipient, admins: { ops: ops.recipient }, path: `secrets/${host}`, shared };
}

/** Encrypts a file with plain sops, the way a person does, and tells who can read it. */
function encrypt(file: string, cwd = root, options: string[] = []): string[] {
  const full = path.join(cwd, file);
  fs.mkdirSync(path.dirname(full), { recursive: true });
  fs.writeFileSync(full, 'password: hunter2\n');
  const { status, stderr } = spawnSync('sops', [...options, 'encrypt', '-i', file], {
    cwd,
    env,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stderr);
  const { sops } = parse(fs.readFileSync(full, 'utf8')) as { sops: { age?: { recipient: string }[] } };
  return (sops.age ?? []).map(({ recipient }) => recipient);
}

function decrypt(file: string, key: Identity): string {
  const options = { cwd: root, env: { ...env, SOPS_AGE_KEY_FILE: key.file }, encoding: 'utf8' } as const;
  return spawnSync('sops', ['decrypt', file], options).stdout;
}

const STYLES: [string, string | undefined][] = [
  ['a file of our own', undefined],
  [
    'unindented lists',
    '# x\nkeys:\n- &zoe ZOE\ncreation_rules:\n- path_regex: ^other/\n  age: *zoe\n- age: [*zoe]\n',
  ],
  [
    'flow style',
    '{"keys": [&zoe "ZOE"], "creation_rules": [{"path_regex": "^other/", "age": *zoe }, {age: [*zoe]}]}',
  ],
  [
    'flow lists',
    'keys: [&zoe ZOE]\ncreation_rules: [\n  {path_regex: ^other/, age: *zoe}, # other\n  {age: [*zoe]},\n]\n',
  ],
  ['CRLF and four spaces', 'keys:\r\n    - &zoe ZOE\r\ncreation_rules:\r\n    - age:\r\n        - *zoe'],
  ['a mark at the start', '\uFEFFkeys:\n  - &zoe ZOE\ncreation_rules:\n  - age: *zoe\n'],
  [
    'a rule to join',
    'creation_rules:\n  - path_regex: ^secrets/mqtt-01/\n    key_groups: [{age: [ZOE]}]\n  - age: ZOE\n',
  ],
  [
    'a rule of its own list',
    'creation_rules:\n  - path_regex: ^secrets/mqtt-01/\n    age:\n      - ZOE\n  - age: ZOE\n',
  ],
];

describe.each(STYLES)('plain sops, with %s', (_name, style) => {
  test('encrypts to exactly who is meant', () => {
    const people = style?.replaceAll('ZOE', web.recipient);
    const config = path.join(root, '.sops.yaml');
    const joined = /\^secrets/.test(people ?? '') ? [web.recipient] : [];
    const first = applyHost(people, entryOf('mqtt-01', mqtt, ['secrets/shared/all']));
    const second = applyHost(first.text, entryOf('web-1', web, ['secrets/shared/all']));
    fs.writeFileSync(config, second.text);

    expect(encrypt('secrets/mqtt-01/deep/x.yaml')).toEqual([...joined, ops.recipient, mqtt.recipient]);
    expect(encrypt('secrets/web-1/x.yaml')).toEqual([ops.recipient, web.recipient]);
    expect(encrypt('secrets/shared/all/x.yaml')).toEqual([ops.recipient, mqtt.recipient, web.recipient]);
    expect(decrypt('secrets/mqtt-01/deep/x.yaml', mqtt)).toBe('password: hunter2\n');
    if (people === undefined) {
      expect(() => encrypt('secrets/mqtt-011/x.yaml')).toThrow('no matching creation rules found');
      return;
    }
    expect(encrypt('secrets/mqtt-011/x.yaml')).toEqual([web.recipient]);
    fs.writeFileSync(config, removeHost(second.text, 'mqtt-01').text ?? '');
    expect(encrypt('secrets/shared/all/x.yaml')).toEqual([ops.recipient, web.recipient]);
  });
});

test("a host's own file works in its folder, and with --config from anywhere", () => {
  const folder = path.join(root, 'secrets/mqtt-01');
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, '.sops.yaml'), hostRulesFile(entryOf('mqtt-01', mqtt)));
  fs.writeFileSync(path.join(root, '.sops.yaml'), `creation_rules:\n  - age: ${web.recipient}\n`);
  const both = [ops.recipient, mqtt.recipient];
  expect(encrypt('a.yaml', folder)).toEqual(both);
  expect(encrypt('secrets/mqtt-01/b.yaml', root, ['--config', path.join(folder, '.sops.yaml')])).toEqual(
    both,
  );
});

test('a folder whose name means something in expressions', () => {
  const entry = { ...entryOf('mqtt-01', mqtt), path: "secrets/it's [1] (a+b).x" };
  fs.writeFileSync(path.join(root, '.sops.yaml'), applyHost(undefined, entry).text);
  expect(encrypt(`${entry.path}/x.yaml`)).toEqual([ops.recipient, mqtt.recipient]);
});

test('an SSH key as an admin', () => {
  const file = path.join(root, 'id_ed25519');
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'a, b', '-f', file]);
  const line = fs.readFileSync(`${file}.pub`, 'utf8').trim();
  const entry = { ...entryOf('mqtt-01', mqtt), admins: { ops: line } };
  fs.writeFileSync(path.join(root, '.sops.yaml'), applyHost(undefined, entry).text);
  expect(encrypt('secrets/mqtt-01/ssh.yaml')).toEqual([
    line.split(' ').slice(0, 2).join(' '),
    mqtt.recipient,
  ]);
});
