import { promises as fs } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { lock } from 'proper-lockfile';
import writeFileAtomic from 'write-file-atomic';
import { SopsRulesError } from './yaml-text';

/** The root file can't be read, locked or written. */
export class TextFileError extends Error {
  override readonly name = 'TextFileError';
}

/** What an edit made of a text; `undefined` stands for no file. */
interface TextEdit {
  readonly text: string | undefined;
  readonly changed: boolean;
}

/** How long to wait for others; the defaults suit Terraform, which applies many hosts at once. */
interface Waiting {
  /** After how many milliseconds without a sign of life a lock's holder counts as dead. @default 10000 */
  readonly stale?: number;
  /** For how many milliseconds to wait for the lock. @default 120000 */
  readonly patience?: number;
}

export interface TextFileOptions extends Waiting {
  /**
   * Others write to the file, too, without a lock and in whatever encoding, as ssh does to known_hosts. Each byte is
   * then a character (ISO 8859-1), what only adds is appended, as they do it, and a new file is its owner's alone.
   * @default false
   */
  readonly shared?: boolean;
}

/** How often a file that somebody saves in an editor meanwhile is read again before we give up. */
const ATTEMPTS = 20;
const MAX_LINKS = 40;

/**
 * Reads a file, edits its text and writes it back, one process at a time. The file is replaced by renaming, so that
 * everybody else, and a machine that loses power, sees the old file or the new one. A symlink stays one: what it
 * points to is edited. Where the edit says `undefined`, the file is removed.
 *
 * Only what is added to a `shared` file isn't written by renaming: that would lose what somebody appends meanwhile.
 *
 * @throws TextFileError for what the file system refuses, SopsRulesError for what is in the file.
 */
export async function updateTextFile<Result extends TextEdit>(
  file: string,
  edit: (text: string | undefined) => Result,
  options: TextFileOptions = {},
): Promise<Result> {
  try {
    const target = await followLinks(file);
    const release = await acquire(target, options);
    try {
      return await rewrite(target, edit, release.held, options.shared ?? false);
    } finally {
      await release();
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof SopsRulesError || error instanceof TextFileError || code === undefined) throw error;
    throw new TextFileError(`${file} can't be updated: ${message}`);
  }
}

async function rewrite<Result extends TextEdit>(
  target: string,
  edit: (text: string | undefined) => Result,
  held: () => boolean,
  shared: boolean,
): Promise<Result> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const old = await read(target);
    const before = shared ? old?.toString('latin1') : old && decode(target, old);
    const result = edit(before);
    if (!result.changed) return result;
    if (!held()) throw new TextFileError(`the lock of ${target} was lost; nothing was changed, run it again`);
    if (!same(old, await read(target))) continue;
    if (result.text === undefined) await fs.unlink(target);
    else if (!shared) await writeFileAtomic(target, result.text);
    else if (before !== undefined && result.text.startsWith(before))
      await fs.appendFile(target, result.text.slice(before.length), 'latin1');
    else await writeFileAtomic(target, result.text, { encoding: 'latin1', ...(old ? {} : { mode: 0o600 }) });
    return result;
  }
  throw new TextFileError(`${target} changes faster than it can be edited; nothing was changed`);
}

async function read(target: string): Promise<Buffer | undefined> {
  try {
    return await fs.readFile(target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function same(a: Buffer | undefined, b: Buffer | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b);
}

/** @throws SopsRulesError at the first byte that isn't UTF-8. */
function decode(file: string, bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    const lines = firstBadText(bytes).split('\n');
    const column = (lines.at(-1) ?? '').length + 1;
    throw new SopsRulesError(
      basename(file),
      lines.length,
      column,
      'this is not UTF-8',
      'save the file as UTF-8',
    );
  }
}

/** The text before the first byte that isn't UTF-8: decoding makes that byte the first U+FFFD that isn't one itself. */
function firstBadText(bytes: Buffer): string {
  const text = bytes.toString('utf8');
  let at = text.indexOf('\uFFFD');
  while (
    at >= 0 &&
    bytes.includes('\uFFFD') &&
    Buffer.from(text.slice(0, at + 1)).equals(head(bytes, text, at + 1))
  ) {
    at = text.indexOf('\uFFFD', at + 1);
  }
  return text.slice(0, Math.max(at, 0));
}

function head(bytes: Buffer, text: string, length: number): Buffer {
  return bytes.subarray(0, Buffer.byteLength(text.slice(0, length)));
}

/** The file that is meant, whether or not it exists yet; a symlink may point to one that doesn't. */
async function followLinks(file: string): Promise<string> {
  let path = resolve(file);
  for (let links = 0; links < MAX_LINKS; links++) {
    const stat = await fs.lstat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (stat && !stat.isSymbolicLink()) {
      if (!stat.isFile()) throw new TextFileError(`${file} is not a file`);
      return path;
    }
    if (!stat) {
      const folder = await fs.stat(dirname(path)).catch(() => undefined);
      if (!folder?.isDirectory()) throw new TextFileError(`the folder ${dirname(path)} doesn't exist`);
      return path;
    }
    path = resolve(dirname(path), await fs.readlink(path));
  }
  throw new TextFileError(`${file} is a symlink that leads back to itself`);
}

type Release = (() => Promise<void>) & { readonly held: () => boolean };

/**
 * Takes the lock, the folder `<file>.lock`. Its holder touches it every second. `proper-lockfile` would take over a
 * dead holder's lock by itself, but two that do so at once can both believe to hold it (the slower one removes the
 * lock that the quicker one just took). So it never does, and we take over under a lock of its own.
 */
async function acquire(target: string, { stale = 10_000, patience = 120_000 }: Waiting): Promise<Release> {
  const path = `${target}.lock`;
  const deadline = Date.now() + patience;
  let held = true;
  for (;;) {
    try {
      const release = await lock(target, {
        realpath: false,
        lockfilePath: path,
        stale: Number.POSITIVE_INFINITY,
        update: 1000,
        onCompromised: () => {
          held = false;
        },
      });
      return Object.assign(() => (held ? release() : Promise.resolve()), { held: () => held });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ELOCKED') throw error;
    }
    if (await isStale(path, stale)) await takeOver(target, path, stale);
    if (Date.now() > deadline) {
      throw new TextFileError(
        `${path} has been held by another process for ${Math.round(patience / 1000)} s; if none is at work, remove that folder`,
      );
    }
    await sleep(10 + Math.random() * 50);
  }
}

async function isStale(path: string, stale: number): Promise<boolean> {
  const stat = await fs.stat(path).catch(() => undefined);
  return stat !== undefined && stat.mtimeMs < Date.now() - stale;
}

async function takeOver(target: string, path: string, stale: number): Promise<void> {
  let release: () => Promise<void>;
  try {
    release = await lock(path, { realpath: false, lockfilePath: `${path}.takeover`, stale });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ELOCKED') return;
    throw error;
  }
  try {
    if (!(await isStale(path, stale))) return;
    await removeTemporaries(target);
    await fs.rmdir(path);
  } finally {
    await release();
  }
}

/** What a process that died while it wrote left behind: `write-file-atomic` names it `<file>.<number>`. */
async function removeTemporaries(target: string): Promise<void> {
  const name = basename(target);
  for (const entry of await fs.readdir(dirname(target))) {
    const isTemporary = entry.startsWith(`${name}.`) && /^\d+$/.test(entry.slice(name.length + 1));
    if (isTemporary) await fs.rm(resolve(dirname(target), entry), { force: true });
  }
}
