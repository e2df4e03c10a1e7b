import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fingerprint, parseSshPublicKey } from '../../keys/ssh-public-key';
import type { Verdict } from '../../live/compare';
import { lastVerified, rememberVerified } from '../../live/verified';
import { fleetWith } from '../drift/hosts';
import { testKey } from '../keys/test-keys';

const fleet = fleetWith({});
const key = parseSshPublicKey(testKey().line);
const same: Verdict = { status: 'same', key };
const { XDG_STATE_HOME } = process.env;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'verified-'));
  process.env.XDG_STATE_HOME = path.join(folder, 'state');
});
afterEach(() => {
  if (XDG_STATE_HOME === undefined) delete process.env.XDG_STATE_HOME;
  else process.env.XDG_STATE_HOME = XDG_STATE_HOME;
  rmSync(folder, { recursive: true });
});

test('a host that serves its key is remembered with that key, and no other is', async () => {
  const verdicts = new Map<string, Verdict>([
    ['a', same],
    ['b', { status: 'extra', key, others: [] }],
    ['c', { status: 'different', key, served: [] }],
    ['d', { status: 'unknown', message: '', remedy: '' }],
    ['e', { status: 'off' }],
  ]);
  const before = Date.now();
  expect(await rememberVerified(fleet, verdicts)).toBeUndefined();
  const notes = lastVerified(fleet);
  expect(notes).toEqual({ a: { fingerprint: fingerprint(key), at: expect.any(String) } });
  expect(Date.parse(notes.a?.at ?? '')).toBeGreaterThanOrEqual(before);
  expect(lastVerified({ ...fleet, root: '/elsewhere' })).toEqual({});
});

test('many at once lose nothing of one another', async () => {
  const hosts = Array.from({ length: 10 }, (_, i) => `host-${i}`);
  await Promise.all(hosts.map((host) => rememberVerified(fleet, new Map([[host, same]]))));
  expect(Object.keys(lastVerified(fleet)).sort()).toEqual(hosts);
});

test('notes that somebody damaged are no notes, and are made anew', async () => {
  await rememberVerified(fleet, new Map([['a', same]]));
  const notes = path.join(folder, 'state', 'proxmox-hostkey');
  for (const name of readdirSync(notes)) writeFileSync(path.join(notes, name), '{ "a": ');
  expect(lastVerified(fleet)).toEqual({});
  expect(await rememberVerified(fleet, new Map([['b', same]]))).toBeUndefined();
  expect(Object.keys(lastVerified(fleet))).toEqual(['b']);
});

test('what cannot be written is told, and no error', async () => {
  writeFileSync(path.join(folder, 'state'), 'a file');
  expect(await rememberVerified(fleet, new Map([['a', same]]))).toContain('could not be noted: ');
});
