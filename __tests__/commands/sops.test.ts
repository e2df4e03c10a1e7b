import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { applyHost } from '../../sops/rules';
import { entryOf } from '../sops/entries';

const PROGRAM = path.resolve(__dirname, '../../bin/hostkey');
const ENTRY = entryOf('mqtt-01');
const TEXT = applyHost(undefined, ENTRY).text;

let folder: string;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hostkey-'));
});

afterEach(() => {
  fs.rmSync(folder, { recursive: true, force: true });
});

function hostkey(args: readonly string[], entry?: unknown, input?: string) {
  const { HOSTKEY_SOPS_ENTRY: _, ...rest } = process.env;
  const env = entry === undefined ? rest : { ...rest, HOSTKEY_SOPS_ENTRY: JSON.stringify(entry) };
  const { status, stdout, stderr } = spawnSync(PROGRAM, args, { cwd: folder, env, input, encoding: 'utf8' });
  return { status, stdout, stderr };
}

const content = () => fs.readFileSync(path.join(folder, '.sops.yaml'), 'utf8');

test('apply and remove, with the entry in the environment', () => {
  const added = `.sops.yaml: mqtt-01 added (recipient ${ENTRY.recipient})\n`;
  expect(hostkey(['sops', 'apply'], ENTRY)).toEqual({ status: 0, stdout: added, stderr: '' });
  expect(content()).toBe(TEXT);
  expect(hostkey(['sops', 'apply', '--root', folder], ENTRY).stdout).toBe('.sops.yaml: mqtt-01 unchanged\n');
  expect(hostkey(['sops', 'remove'], ENTRY).stdout).toBe(
    '.sops.yaml: mqtt-01 removed, and the file with it, as it held nothing else\n',
  );
  expect(fs.readdirSync(folder)).toEqual([]);
  expect(hostkey(['sops', 'remove'], ENTRY)).toEqual({
    status: 0,
    stdout: '.sops.yaml: mqtt-01 unchanged\n',
    stderr: '',
  });
});

test('for people: an entry from a file or a pipe, a host by its name, JSON out', () => {
  fs.writeFileSync(path.join(folder, 'entry.json'), JSON.stringify(ENTRY));
  expect(JSON.parse(hostkey(['sops', 'apply', '--json', '--entry', 'entry.json']).stdout)).toEqual({
    file: '.sops.yaml',
    host: 'mqtt-01',
    outcome: 'added',
    recipient: ENTRY.recipient,
    deleted: false,
    warnings: [],
  });
  expect(hostkey(['sops', 'apply', '--entry', '-'], undefined, JSON.stringify(ENTRY)).stdout).toContain(
    'unchanged',
  );
  expect(hostkey(['sops', 'remove', '--host', 'mqtt-01']).stdout).toContain('mqtt-01 removed');
});

test('warnings go to standard error, without colours in a pipe', () => {
  const text = 'creation_rules:\n  - path_regex: mqtt\n    pgp: FBC7\n';
  fs.writeFileSync(path.join(folder, '.sops.yaml'), text);
  const { status, stderr } = hostkey(['sops', 'apply'], ENTRY);
  expect(status).toBe(0);
  expect(stderr).toMatch(/^warning: \.sops\.yaml:5: the rule "mqtt" comes first .+\n$/);
});

test.each([
  [
    'no entry',
    undefined,
    'error: no entry: set the environment variable HOSTKEY_SOPS_ENTRY, or use --entry FILE\n',
  ],
  ['a field missing', { ...ENTRY, path: undefined }, 'error: HOSTKEY_SOPS_ENTRY: "path" is missing\n'],
  ['a field too many', { ...ENTRY, key: 1 }, 'error: HOSTKEY_SOPS_ENTRY: the field "key" is unknown\n'],
  [
    'a wrong admin',
    { ...ENTRY, admins: { a: 1 } },
    'error: HOSTKEY_SOPS_ENTRY: "admins" is no object with a text for each name\n',
  ],
  ['a wrong host', { ...ENTRY, host: '-' }, 'error: host: "-" is no host name'],
])('%s: exit code 1 and one line', (_name, entry, message) => {
  const result = hostkey(['sops', 'apply'], entry);
  expect(result).toMatchObject({ status: 1, stdout: '' });
  expect(result.stderr.startsWith(message)).toBe(true);
  expect(result.stderr.split('\n')).toHaveLength(2);
  expect(fs.readdirSync(folder)).toEqual([]);
});

test('a file that it cannot edit: the place, and nothing changed', () => {
  fs.writeFileSync(path.join(folder, '.sops.yaml'), 'creation_rules: 1\n');
  const message =
    '.sops.yaml:1:17: "creation_rules" is no list; write it as a list, one item a line, each behind a dash. Nothing was changed';
  expect(hostkey(['sops', 'apply'], ENTRY)).toEqual({ status: 1, stdout: '', stderr: `error: ${message}\n` });
  expect(JSON.parse(hostkey(['sops', 'apply', '--json'], ENTRY).stdout)).toEqual({
    error: { name: 'SopsRulesError', message, line: 1, column: 17 },
  });
  expect(content()).toBe('creation_rules: 1\n');
});

test('help exits with 0, wrong usage with 2', () => {
  const help = hostkey(['sops', 'apply', '--help']);
  expect(help).toMatchObject({ status: 0, stderr: '' });
  expect(help.stdout).toContain('HOSTKEY_SOPS_ENTRY');
  expect(hostkey(['--help']).status).toBe(0);
  for (const args of [[], ['nonsense'], ['sops', 'nonsense'], ['sops', 'apply', '--nonsense']]) {
    expect(hostkey(args)).toMatchObject({ status: 2, stdout: '' });
  }
});
