import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { applyHost, hostRulesFile } from '../../sops/rules';
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

test('a host leaves one folder', () => {
  const shared = ['secrets/shared/mqtt'];
  hostkey(['sops', 'apply'], { ...ENTRY, shared });
  const leave = ['sops', 'remove', '--host', 'mqtt-01', '--folder', 'secrets/shared/mqtt'];
  expect(hostkey(leave)).toEqual({
    status: 0,
    stdout: '.sops.yaml: mqtt-01 removed from the rule for secrets/shared/mqtt\n',
    stderr: '',
  });
  expect(content()).toBe(TEXT);
  expect(JSON.parse(hostkey([...leave, '--json']).stdout)).toMatchObject({
    folder: 'secrets/shared/mqtt',
    outcome: 'unchanged',
    deleted: false,
  });
  fs.rmSync(path.join(folder, '.sops.yaml'));
  expect(hostkey(leave)).toMatchObject({ status: 0, stdout: '.sops.yaml: mqtt-01 unchanged\n' });
});

describe('apply --all', () => {
  const web = entryOf('web-01', { shared: ['secrets/shared/mqtt'] });
  const mqtt = entryOf('mqtt-01', { shared: ['secrets/shared/mqtt'] });
  const BOTH = [mqtt, web].reduce<string | undefined>((text, entry) => applyHost(text, entry).text, '# us\n');

  function write(file: string, text: string): void {
    fs.mkdirSync(path.dirname(path.join(folder, file)), { recursive: true });
    fs.writeFileSync(path.join(folder, file), text);
  }

  beforeEach(() => {
    write(
      'fleet.yaml',
      `proxmox: { endpoint: "https://pve1.example.net:8006/", nodes: { pve1: { address: 192.0.2.11 } } }
admins: { ops: ${mqtt.admins.ops} }
defaults: { node: pve1, template: 9000, disk: local-lvm }
hosts:
  mqtt-01: { vmId: 283 }
  web-01: { vmId: 284 }
  later: { vmId: 285 }
shared:
  - { path: secrets/shared/mqtt, hosts: [web-01, mqtt-01] }
`,
    );
    for (const entry of [mqtt, web]) write(`${entry.path}/.sops.yaml`, hostRulesFile(entry));
  });

  const all = (...args: string[]) => hostkey(['sops', 'apply', '--all', ...args]);
  const names = () => fs.readdirSync(folder).sort();

  test('brings back the file that is gone, and says who is in it', () => {
    expect(all()).toEqual({
      status: 0,
      stdout: `.sops.yaml: mqtt-01 added (recipient ${mqtt.recipient})
.sops.yaml: web-01 added (recipient ${web.recipient})
.sops.yaml: later left out: there is no secrets/later/.sops.yaml; if the host is deployed: npx cdktf deploy later
`,
      stderr: '',
    });
    expect(`# us\n${content()}`).toBe(BOTH);
    expect(names()).toEqual(['.sops.yaml', 'fleet.yaml', 'secrets']);
  });

  test("brings back an entry, among people's own lines, and then does nothing more", () => {
    write('.sops.yaml', applyHost('# us\n', web).text);
    const [first, second] = [all('--json'), all('--root', folder, '--json')].map(({ stdout }) =>
      JSON.parse(stdout),
    );
    expect(content()).toBe(BOTH);
    expect(first).toEqual({
      file: '.sops.yaml',
      changed: true,
      hosts: [
        { host: 'mqtt-01', recipient: mqtt.recipient, outcome: 'added' },
        { host: 'web-01', recipient: web.recipient, outcome: 'unchanged' },
      ],
      missing: [{ host: 'later', file: 'secrets/later/.sops.yaml' }],
      warnings: [],
    });
    expect(second).toMatchObject({ changed: false });
  });

  test('makes no file where no host is deployed', () => {
    fs.rmSync(path.join(folder, 'secrets'), { recursive: true });
    expect(all()).toMatchObject({ status: 0, stderr: '' });
    expect(names()).toEqual(['fleet.yaml']);
  });

  test.each([
    [
      "a host's file without its recipient",
      'secrets/web-01/.sops.yaml',
      'keys: []\n',
      'error: secrets/web-01/.sops.yaml:1:1: no recipient &host_web-01 stands here; bring it back: npx cdktf deploy web-01. Nothing was changed\n',
    ],
    ['a fleet with a mistake', 'fleet.yaml', 'hosts: 1\n', 'error: fleet.yaml:1:'],
    ['a root file that is none', '.sops.yaml', 'creation_rules: 1\n', 'error: .sops.yaml:1:17: '],
  ])('%s is told with its place, and nothing is changed', (_name, file, text, message) => {
    write(file, text);
    const result = all();
    expect(result).toMatchObject({ status: 1, stdout: '' });
    expect(result.stderr.slice(0, message.length)).toBe(message);
    expect(fs.existsSync(path.join(folder, '.sops.yaml'))).toBe(file === '.sops.yaml');
    expect(JSON.parse(all('--json').stdout).error.message).toBe(result.stderr.slice('error: '.length, -1));
  });

  test('takes no entry beside it', () => {
    expect(all('--entry', 'x.json')).toMatchObject({ status: 64, stdout: '' });
  });
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

test('help exits with 0, wrong usage with 64', () => {
  const help = hostkey(['sops', 'apply', '--help']);
  expect(help).toMatchObject({ status: 0, stderr: '' });
  expect(help.stdout).toContain('HOSTKEY_SOPS_ENTRY');
  expect(hostkey(['--help']).status).toBe(0);
  for (const args of [[], ['nonsense'], ['sops', 'nonsense'], ['sops', 'apply', '--nonsense']]) {
    expect(hostkey(args)).toMatchObject({ status: 64, stdout: '' });
  }
});
