import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { testKey } from '../keys/test-keys';

const PROGRAM = path.join(__dirname, '..', '..', 'bin', 'hostkey');
const NAMES = ['mqtt-01', 'web-01', 'db-01'] as const;
const keys = Object.fromEntries(NAMES.map((name) => [name, testKey().line]));
const [old, foreign] = [testKey().line, testKey().line];

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'hostkey-'));
  writeFileSync(
    path.join(folder, 'fleet.yaml'),
    `proxmox: { endpoint: 'https://192.0.2.1:8006/', nodes: { pve1: { address: 192.0.2.11 } } }
defaults: { node: pve1, template: 9000, disk: local-lvm }
hosts:
  mqtt-01: { vmId: 283, address: 192.0.2.83/24, aliases: [Broker.Example.net] }
  web-01: { vmId: 284, ssh: { port: 2222 } }
  db-01: { vmId: 285 }
  later: { vmId: 286 }
`,
  );
  mkdirSync(path.join(folder, 'state'));
  for (const name of NAMES) {
    // What this program reads of a state; a real one is in the e2e tests.
    const state = { version: 4, outputs: { host_public_key: { value: keys[name] } }, resources: [] };
    writeFileSync(path.join(folder, 'state', `${name}.tfstate`), JSON.stringify(state));
  }
});
afterEach(() => rmSync(folder, { recursive: true }));

const hostkey = (...args: string[]) => hostkeyAt(folder, ...args);

function hostkeyAt(home: string, ...args: string[]) {
  const env = { ...process.env, HOME: home };
  const { status, stdout, stderr } = spawnSync(PROGRAM, ['known-hosts', ...args], {
    cwd: folder,
    env,
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

const file = () => path.join(folder, 'known');
const content = () => readFileSync(file(), 'latin1');
const lineOf = {
  'mqtt-01': `mqtt-01,Broker.Example.net,192.0.2.83 ${keys['mqtt-01']}\n`,
  'web-01': `[web-01]:2222 ${keys['web-01']}\n`,
  'db-01': `db-01 ${keys['db-01']}\n`,
};
const LATER =
  'hostkey: later of fleet.yaml left out: not deployed, so it has no key yet; npx cdktf deploy later\n';

test('prints the lines of all that are deployed; who was named and is not deployed fails', () => {
  const all = Object.values(lineOf).join('');
  expect(hostkey()).toEqual({ status: 0, stdout: all, stderr: LATER });
  expect(hostkey('web-01', 'later')).toEqual({ status: 1, stdout: lineOf['web-01'], stderr: LATER });
});

test('goes into ~/.ssh/known_hosts, for this user alone, once', () => {
  const known = path.join(folder, '.ssh', 'known_hosts');
  const first = hostkey('--write');
  expect(first.stdout).toBe(`${known}: 3 hosts brought up to date\n`);
  // ssh itself does not ask HOME where that is.
  expect(first.stderr).toContain(
    `warning: HOME leads to ${known}, and ssh reads ${userInfo().homedir}/.ssh/known_hosts;`,
  );
  expect(readFileSync(known, 'utf8')).toBe(Object.values(lineOf).join(''));
  expect([path.dirname(known), known].map((name) => statSync(name).mode & 0o777)).toEqual([0o700, 0o600]);
  const { mtimeMs } = statSync(known);
  expect(hostkey('--write').stdout).toBe(`${known}: nothing to change\n`);
  expect(statSync(known).mtimeMs).toBe(mtimeMs);
});

test('leaves what is foreign: bytes, mode, symlink', () => {
  const theirs = `# caf\xe9, in ISO 8859-1\r\n@cert-authority *.example.net ${foreign}\ngate ${old}`;
  const real = path.join(folder, 'real');
  writeFileSync(real, `mqtt-01 ${old}\n192.0.2.83,gate ${old}\n${theirs}`, 'latin1');
  chmodSync(real, 0o640);
  symlinkSync('real', file());
  expect(hostkey('mqtt-01', '--write', 'known').status).toBe(0);
  expect(content()).toBe(`gate ${old}\n${theirs}\n${lineOf['mqtt-01']}`);
  expect(lstatSync(file()).isSymbolicLink()).toBe(true);
  expect(statSync(real).mode & 0o777).toBe(0o640);
});

test('hidden names are found by OpenSSH, in lower case', () => {
  expect(hostkey('--write', 'known', '--hash').status).toBe(0);
  expect(content()).not.toMatch(/mqtt|web|db-/);
  for (const name of ['mqtt-01', 'broker.example.net', '192.0.2.83', '[web-01]:2222']) {
    expect(execFileSync('ssh-keygen', ['-F', name, '-f', file()], { encoding: 'utf8' })).toContain(
      keys[name.includes('web') ? 'web-01' : 'mqtt-01'],
    );
  }
  expect(hostkey('--write', 'known', '--hash').stdout).toBe('known: nothing to change\n');
});

test('many at once, while ssh appends without a lock, lose no line', async () => {
  writeFileSync(file(), '');
  const appending = spawn(
    'bash',
    ['-c', 'for ((i = 0; ; i++)); do echo "host-$i ssh-rsa AAAA" >>known; echo $i; sleep 0.002; done'],
    { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let count = 0;
  appending.stdout.on('data', (data: Buffer) => {
    count += data.toString().split('\n').length - 1;
  });
  const runs = NAMES.map(
    (name) =>
      new Promise((done) => {
        const child = spawn(PROGRAM, ['known-hosts', name, '--write', 'known'], { cwd: folder });
        child.on('close', done);
      }),
  );
  expect(await Promise.all(runs)).toEqual([0, 0, 0]);
  const closed = new Promise((done) => appending.on('close', done));
  appending.kill();
  await closed;
  const lines = content().split('\n');
  expect(lines).toEqual(expect.arrayContaining(Object.values(lineOf).map((line) => line.trim())));
  expect(count).toBeGreaterThan(10);
  expect(lines.filter((line) => line.startsWith('host-')).length).toBeGreaterThanOrEqual(count);
});

test('a host that --write would take for its file is asked about', () => {
  const { status, stderr } = hostkey('--write', 'mqtt-01');
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: expect.stringContaining('write: hostkey known-hosts mqtt-01 --write (or'),
  });
  expect(() => statSync(path.join(folder, 'mqtt-01'))).toThrow('ENOENT');
  expect(hostkey('--write', './mqtt-01').status).toBe(0);
});

// Node knows no home for a HOME of this length, nor for a user without a line in passwd, as containers run them.
test.each(['', `/${'x'.repeat(5000)}`])('without a home the file has to be named', (home) => {
  expect(hostkeyAt(home, '--write')).toEqual({
    status: 1,
    stdout: '',
    stderr: 'hostkey: this user has no home folder (HOME); name the file: --write FILE\n',
  });
  expect(hostkeyAt(home, '--write', 'known').status).toBe(0);
});
