import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { shellWord } from '../../fleet/shell';
import { envFile } from '../../sandbox/env-file';
import { addKnownHost, removeKnownHost } from '../../sandbox/known-hosts';
import { claimDir, layout } from '../../sandbox/layout';
import { withLock } from '../../sandbox/lock';
import { identify, isAlive, parseStat, sleep } from '../../sandbox/processes';
import { sshdConfig } from '../../sandbox/sshd';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sandbox-unit-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('known_hosts', () => {
  const host = { address: '127.83.0.1', port: 2222 };
  const KEY = 'ssh-ed25519 K';
  const line = (key: string) => `[127.83.0.1]:2222 ssh-ed25519 ${key}\n`;

  const file = () => join(folder, '.ssh', 'known_hosts');
  const write = (text: string) => {
    mkdirSync(join(folder, '.ssh'));
    writeFileSync(file(), text, { mode: 0o600 });
  };

  test('a new key takes the place of the old one, and nothing else changes', async () => {
    const others =
      '# mine \xe9\r\n|1|hash= ssh-rsa AAAA\n127.83.0.1 ssh-ed25519 PORT22\n[127.83.0.1]:22222 ssh-rsa BBBB\n';
    write(others + line('OLD'));
    await addKnownHost(folder, host, 'ssh-ed25519 NEW comment\n');
    expect(readFileSync(file(), 'utf8')).toBe(others + line('NEW'));
  });

  test('what only adds is appended, as ssh does, and goes again', async () => {
    write('a ssh-rsa AAAA\n');
    const { ino } = statSync(file());
    await addKnownHost(folder, host, KEY);
    expect(statSync(file()).ino).toBe(ino);
    await removeKnownHost(folder, host, KEY);
    expect(readFileSync(file(), 'utf8')).toBe('a ssh-rsa AAAA\n');
  });

  test('the key of another sandbox at the address stays', async () => {
    write(line('ITS'));
    await removeKnownHost(folder, host, 'ssh-ed25519 OURS');
    expect(readFileSync(file(), 'utf8')).toBe(line('ITS'));
  });

  test('a file that was made for the sandbox goes with it', async () => {
    await addKnownHost(folder, host, KEY);
    expect(readFileSync(join(folder, '.ssh', 'known_hosts'), 'utf8')).toBe(line('K'));
    await removeKnownHost(folder, host, KEY);
    expect(existsSync(join(folder, '.ssh'))).toBe(false);
  });
});

describe('the file to source', () => {
  test('quotes any text as one word of a shell', () => {
    expect(shellWord("it's $HOME")).toBe(`'it'\\''s $HOME'`);
  });

  test('repeats no private key', () => {
    const text = envFile(layout(folder), {
      PROXMOX_VE_SSH_PRIVATE_KEY: 'SECRET',
      PROXMOX_VE_API_TOKEN: 'a!b=c',
    });
    expect(text).not.toContain('SECRET');
    expect(text).toContain("export PROXMOX_VE_API_TOKEN='a!b=c'\n");
  });
});

describe('processes', () => {
  test('reads past a program name with spaces and brackets', () => {
    const stat = `7 (a) b (c) S ${Array.from({ length: 18 }, (_, n) => n).join(' ')} 4711 0`;
    expect(parseStat(stat)).toEqual({ state: 'S', started: '4711' });
    expect(parseStat('')).toBeUndefined();
  });

  test('a number that another process has by now is not the process', () => {
    const me = identify(process.pid);
    expect(isAlive(me)).toBe(true);
    expect(isAlive({ pid: process.pid, started: '1' })).toBe(false);
  });

  test('a process that has ended is not alive', async () => {
    const child = spawn('sleep', ['60']);
    const identity = identify(child.pid as number);
    expect(isAlive(identity)).toBe(true);
    child.kill('SIGKILL');
    await new Promise((done) => child.on('exit', done));
    expect(isAlive(identity)).toBe(false);
  });
});

describe('the lock', () => {
  test('lets one in at a time', async () => {
    let inside = 0;
    const enter = async () => {
      inside++;
      expect(inside).toBe(1);
      await sleep(20);
      inside--;
    };
    const file = join(folder, 'lock');
    await Promise.all([withLock(file, enter), withLock(file, enter), withLock(file, enter)]);
    expect(existsSync(file)).toBe(false);
  });

  test('is taken over from a holder that is gone', async () => {
    const file = join(folder, 'lock');
    writeFileSync(file, JSON.stringify({ pid: process.pid, started: '1' }));
    await expect(withLock(file, async () => 'in')).resolves.toBe('in');
  });
});

describe('the folder', () => {
  test('is made for its owner only, and an empty one is taken over', () => {
    claimDir(layout(join(folder, 'new')));
    mkdirSync(join(folder, 'empty'));
    claimDir(layout(join(folder, 'empty')));
    expect(existsSync(join(folder, 'empty', 'SANDBOX'))).toBe(true);
  });

  test('is refused where it holds what no sandbox made', () => {
    writeFileSync(join(folder, 'precious'), '');
    expect(() => claimDir(layout(folder))).toThrow('holds files that no sandbox made');
  });

  test('is refused where its path would break in the node’s shell', () => {
    expect(() => claimDir(layout(join(folder, 'my sandbox')))).toThrow('name another with --dir');
  });
});

test('sshd lets in one account with one key, on one address', () => {
  const config = sshdConfig(layout('/s'), { address: '127.83.0.1', port: 2222, user: 'me', id: 'ID' });
  expect(config).toContain('ListenAddress 127.83.0.1:2222\n');
  expect(config).toContain('AllowUsers me\n');
  expect(config).toContain('AuthenticationMethods publickey\n');
  expect(config).toContain('SetEnv PROXMOX_SANDBOX_ID=ID\n');
});
