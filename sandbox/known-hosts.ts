import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmdirSync,
  rmSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { sync as writeFileAtomic } from 'write-file-atomic';
import { knownHostsNames } from '../keys/known-hosts';

/**
 * The provider trusts a node's SSH key at first sight, writes it down in `~/.ssh/known_hosts`, and from then on
 * refuses any other key at that address. A sandbox has a new key each time and always the same address. So it
 * puts its key there itself (which also makes the provider check it) and takes it out again.
 */
export interface KnownHost {
  readonly address: string;
  readonly port: number;
}

const nameOf = ({ address, port }: KnownHost): string => knownHostsNames([address], port);

const lineOf = (host: KnownHost, publicKey: string): string =>
  `${nameOf(host)} ${publicKey.trim().split(/\s+/).slice(0, 2).join(' ')}\n`;

const linesOf = (text: string): string[] => text.split(/(?<=\n)/);

/** The file's text with the host's key, and no other key of that host; all other bytes stay. */
export function withHost(text: string, host: KnownHost, publicKey: string): string {
  const others = linesOf(text)
    .filter((line) => !line.startsWith(`${nameOf(host)} `))
    .join('');
  const separator = others === '' || others.endsWith('\n') ? '' : '\n';
  return others + separator + lineOf(host, publicKey);
}

/** The file's text without this key of the host's. Another key there is that of another sandbox. */
export function withoutHost(text: string, host: KnownHost, publicKey: string): string {
  return linesOf(text)
    .filter((line) => line !== lineOf(host, publicKey))
    .join('');
}

const fileIn = (home: string): string => join(home, '.ssh', 'known_hosts');

export function addKnownHost(home: string, host: KnownHost, publicKey: string): void {
  const file = fileIn(home);
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const before = existsSync(file) ? readFileSync(file, 'utf8') : '';
  if (linesOf(before).includes(lineOf(host, publicKey))) return;
  const after = withHost(before, host, publicKey);
  // Other programs append to this file without a lock; where nothing has to go, so do we.
  if (after.startsWith(before)) appendFileSync(file, after.slice(before.length), { mode: 0o600 });
  else rewrite(file, after);
}

/** Removes the key; a file or folder that is empty then goes too. */
export function removeKnownHost(home: string, host: KnownHost, publicKey: string): void {
  const file = fileIn(home);
  if (!existsSync(file)) return;
  const before = readFileSync(file, 'utf8');
  const after = withoutHost(before, host, publicKey);
  if (after === before) return;
  if (after !== '') {
    rewrite(file, after);
    return;
  }
  rmSync(file);
  try {
    rmdirSync(dirname(file));
  } catch {
    // It holds other files.
  }
}

function rewrite(file: string, text: string): void {
  writeFileAtomic(realpathSync(file), text, { mode: 0o600 });
}
