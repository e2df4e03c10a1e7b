import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { HostEntry } from '../../sops/entry';
import { applyHost, type Edit, removeHost } from '../../sops/rules';
import { updateTextFile } from '../../sops/text-file';
import { entryOf } from '../sops/entries';

const ROOT = path.resolve(__dirname, '../..');
const PEOPLE = '# ours\nkeys:\n  - &me age1me\ncreation_rules:\n  - age: [*me]\n';

let folder: string;
let file: string;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'root-file-'));
  file = path.join(folder, '.sops.yaml');
});

afterEach(() => {
  fs.rmSync(folder, { recursive: true, force: true });
});

const put = (entry: HostEntry, waiting = {}) =>
  updateTextFile(file, (text) => applyHost(text, entry), waiting);
const drop = (host: string) => updateTextFile(file, (text) => removeHost(text ?? '', host));
const content = () => fs.readFileSync(file, 'utf8');
const names = () => fs.readdirSync(folder).sort();

describe('the file', () => {
  test('comes with the first host and goes with the last', async () => {
    await put(entryOf('mqtt-01'));
    expect(content()).toBe(applyHost(undefined, entryOf('mqtt-01')).text);
    expect(names()).toEqual(['.sops.yaml']);
    await drop('mqtt-01');
    expect(names()).toEqual([]);
  });

  test('keeps its mode, and is not written where nothing changes', async () => {
    fs.writeFileSync(file, PEOPLE, { mode: 0o640 });
    await put(entryOf('mqtt-01'));
    const { mode, ino, mtimeMs } = fs.statSync(file);
    expect(mode & 0o777).toBe(0o640);
    await put(entryOf('mqtt-01'));
    expect(fs.statSync(file)).toMatchObject({ ino, mtimeMs });
  });

  test('may be a symlink: what it points to is edited', async () => {
    const real = path.join(folder, 'real.yaml');
    fs.writeFileSync(real, PEOPLE);
    fs.symlinkSync('real.yaml', file);
    await put(entryOf('mqtt-01'));
    expect(fs.readlinkSync(file)).toBe('real.yaml');
    expect(fs.readFileSync(real, 'utf8')).toContain('host_mqtt-01');
  });

  test('may be a symlink to a file that is still to come', async () => {
    fs.symlinkSync('real.yaml', file);
    await put(entryOf('mqtt-01'));
    expect(fs.readlinkSync(file)).toBe('real.yaml');
    await drop('mqtt-01');
    expect(names()).toEqual(['.sops.yaml']);
  });

  test('a symlink to itself, a folder, and a missing folder are refused', async () => {
    fs.symlinkSync('.sops.yaml', file);
    await expect(put(entryOf('a'))).rejects.toThrow('is a symlink that leads back to itself');
    fs.rmSync(file);
    fs.mkdirSync(file);
    await expect(put(entryOf('a'))).rejects.toThrow('is not a file');
    await expect(
      updateTextFile(`${folder}/no/.sops.yaml`, (t) => applyHost(t, entryOf('a'))),
    ).rejects.toThrow(`the folder ${folder}/no doesn't exist`);
  });

  test('that is not UTF-8 is refused with the place, and stays', async () => {
    const bytes = Buffer.concat([
      Buffer.from('# a \uFFFD\n# caf'),
      Buffer.from([0xe9]),
      Buffer.from(' \uFFFD\n'),
    ]);
    fs.writeFileSync(file, bytes);
    await expect(put(entryOf('a'))).rejects.toThrow('.sops.yaml:2:6: this is not UTF-8');
    expect(fs.readFileSync(file).equals(bytes)).toBe(true);
    expect(names()).toEqual(['.sops.yaml']);
  });

  test('is read again where an editor saved it meanwhile', async () => {
    fs.writeFileSync(file, PEOPLE);
    let calls = 0;
    await updateTextFile(file, (text): Edit<string> => {
      if (calls++ === 0) fs.writeFileSync(file, `${PEOPLE}# saved\n`);
      return applyHost(text, entryOf('mqtt-01'));
    });
    expect(calls).toBe(2);
    expect(content()).toContain('# saved\n');
    expect(content()).toContain('host_mqtt-01');
  });

  test('a failing edit changes nothing and frees the lock', async () => {
    fs.writeFileSync(file, 'creation_rules: {}\n');
    await expect(put(entryOf('a'))).rejects.toThrow('"creation_rules" is no list');
    expect(content()).toBe('creation_rules: {}\n');
    expect(names()).toEqual(['.sops.yaml']);
  });
});

describe('the lock', () => {
  test('of a dead process is taken over, and its leftovers go', async () => {
    fs.mkdirSync(`${file}.lock`);
    fs.writeFileSync(`${file}.123456`, 'half');
    fs.writeFileSync(`${file}.old`, "somebody's");
    const long = new Date(Date.now() - 60_000);
    fs.utimesSync(`${file}.lock`, long, long);
    await Promise.all(['a', 'b', 'c', 'd'].map((host) => put(entryOf(host))));
    expect(names()).toEqual(['.sops.yaml', '.sops.yaml.old']);
    for (const host of ['a', 'b', 'c', 'd']) expect(content()).toContain(`&host_${host} `);
  });

  test('also where it died while it took one over', async () => {
    const long = new Date(Date.now() - 60_000);
    for (const lock of [`${file}.lock`, `${file}.lock.takeover`]) {
      fs.mkdirSync(lock);
      fs.utimesSync(lock, long, long);
    }
    await put(entryOf('a'));
    expect(names()).toEqual(['.sops.yaml']);
  });

  test('of a live process is waited for, and not for ever', async () => {
    fs.mkdirSync(`${file}.lock`);
    await expect(put(entryOf('a'), { patience: 200 })).rejects.toThrow(
      '.sops.yaml.lock has been held by another process for 0 s; if none is at work, remove that folder',
    );
    expect(names()).toEqual(['.sops.yaml.lock']);
  });
});

describe('many processes', () => {
  test('twenty at once lose no entry', async () => {
    fs.writeFileSync(file, PEOPLE);
    const hosts = Array.from({ length: 20 }, (_, index) => `host-${index}`);
    const entries = hosts.map((host) => entryOf(host, { shared: ['secrets/shared/all'] }));
    const run = (entry: HostEntry) =>
      promisify(execFile)(path.join(ROOT, 'bin/hostkey'), ['sops', 'apply', '--root', folder], {
        env: { ...process.env, HOSTKEY_SOPS_ENTRY: JSON.stringify(entry) },
      });
    const results = await Promise.all(entries.map(run));
    for (const [index, { stdout, stderr }] of results.entries()) {
      expect(stdout).toBe(`.sops.yaml: ${hosts[index]} added (recipient ${entries[index]?.recipient})\n`);
      expect(stderr).toBe('');
    }
    expect(content()).toBe(entries.reduce((text, entry) => applyHost(text, entry).text, PEOPLE));
    expect(names()).toEqual(['.sops.yaml']);
  }, 60_000);

  test('readers, and one that is killed while it writes, see the old file or the new one', async () => {
    fs.writeFileSync(file, PEOPLE);
    const entry = entryOf('mqtt-01', { shared: ['secrets/shared/mqtt'] });
    const possible = [PEOPLE, applyHost(PEOPLE, entry).text];
    const seen = new Set<string>();
    let locks = 0;
    for (let round = 0; round < 6; round++) {
      const child = spawn(process.execPath, ['bin/run', '__tests__/sops/writer.ts', file], {
        cwd: ROOT,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await once(child.stdout, 'data');
      const end = Date.now() + 50 + Math.random() * 100;
      while (Date.now() < end) {
        for (let i = 0; i < 50; i++) seen.add(content());
        await sleep(0);
      }
      child.kill('SIGKILL');
      await once(child, 'exit');
      seen.add(content());
      locks += names().includes('.sops.yaml.lock') ? 1 : 0;
    }
    expect([...seen].sort()).toEqual([...possible].sort());
    expect(locks).toBeGreaterThan(0);
    await put(entry, { stale: 200 });
    expect(content()).toBe(possible[1]);
    expect(names()).toEqual(['.sops.yaml']);
  }, 60_000);
});
