import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const PROGRAM = path.join(__dirname, '..', '..', 'bin', 'hostkey');
const FLEET = `proxmox: { endpoint: 'https://192.0.2.1:8006/', nodes: { pve1: { address: 192.0.2.11 } } }
defaults: { node: pve1, template: 9000, disk: local-lvm }
hosts: { mqtt-01: { vmId: 283 }, mqtt-02: { vmId: 284 }, web-01: { vmId: 285 } }
`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'hostkey-'));
  writeFileSync(path.join(folder, 'fleet.yaml'), FLEET);
});
afterAll(() => rmSync(folder, { recursive: true }));

function hostkey(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [PROGRAM, ...args], { cwd: folder, encoding: 'utf8' });
}

const COMMANDS = [
  'changed',
  'completion',
  'doctor',
  'drift',
  'known-hosts',
  'list',
  'publish',
  'report',
  'secrets',
  'sops',
  'verify',
];

test.each(COMMANDS)('%s explains itself', (command) => {
  const { status, stdout } = hostkey(command, '--help');
  expect(status).toBe(0);
  expect(stdout).toContain(`Usage: hostkey ${command}`);
});

test.each([
  [['list', 'mqtt-1'], 1, 'hostkey: "mqtt-1" is no host of fleet.yaml; did you mean mqtt-01?'],
  [['list', '--fleet', 'none.yaml'], 1, 'none.yaml'],
  [['drift', '--shard', '3/2'], 64, 'write it as 2/5'],
  [['drift', '--skip', 'everything'], 64, 'Allowed choices are terraform, rules, live, secrets'],
  [['verify', '--timeout', '0'], 64, 'write a whole number from 1 on'],
  [['changed'], 64, "required option '--since <revision>'"],
  [['report', 'fleet.yaml'], 1, "fleet.yaml can't be read as JSON"],
  [['publish', 'issue', 'none.json'], 1, 'none.json'],
  [['nothing'], 64, "unknown command 'nothing'"],
])('%j ends with %i and says why', (args, status, message) => {
  const run = hostkey(...args);
  expect(run.status).toBe(status);
  expect(run.stderr).toContain(message);
  expect(run.stdout).toBe('');
});

test('hosts that were never deployed are listed as such, and have no lines for known_hosts', () => {
  expect(JSON.parse(hostkey('list', '--json').stdout).hosts).toHaveLength(3);
  expect(hostkey('known-hosts')).toMatchObject({ status: 0, stdout: '' });
  expect(hostkey('known-hosts', 'web-01')).toMatchObject({ status: 1, stdout: '' });
  const { status, stdout } = hostkey('verify', 'web-01');
  expect({ status, stdout }).toEqual({ status: 1, stdout: expect.stringContaining('never deployed') });
});

describe('completion', () => {
  test.each([
    [['ver'], ['verify']],
    [
      ['drift', 'mqtt-'],
      ['mqtt-01', 'mqtt-02'],
    ],
    [['drift', 'mqtt-01', '--sk'], ['--skip']],
    [
      ['drift', '--format', 'j'],
      ['json', 'junit'],
    ],
    [
      ['secrets', ''],
      ['check', 'sync'],
    ],
    [['report', ''], []],
  ])('%j', (words, expected) => {
    const { stdout } = hostkey('completion', 'words', '--', ...words);
    expect(stdout.split('\n').filter(Boolean).sort()).toEqual([...expected].sort());
  });

  test('bash asks it', () => {
    const script = `PATH=${path.dirname(PROGRAM)}:$PATH; source <(hostkey completion bash); COMP_WORDS=(hostkey drift web); COMP_CWORD=2; _hostkey; echo "\${COMPREPLY[@]}"`;
    expect(execFileSync('bash', ['-c', script], { cwd: folder, encoding: 'utf8' })).toBe('web-01\n');
  });
});
