// @ts-check
// Small things around files that several steps need.
import { createHash } from 'node:crypto';
import { accessSync, constants, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { places } from './paths.mjs';

/** @param {string | Buffer} content */
export function sha256(content) {
  return createHash('sha256').update(content).digest('hex');
}

/**
 * A file's content, or undefined where there is no such file.
 * @param {string} path
 */
export function readIfThere(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Parsed JSON, or undefined where the file is missing or not whole: whoever reads such a note then makes the
 * thing anew.
 * @param {string} path
 * @returns {any}
 */
export function readJson(path) {
  const text = readIfThere(path);
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * Writes by renaming, so a reader sees the old file or the new one and never half of it. Leaves a file alone
 * that already has this content.
 * @param {string} path
 * @param {string} content
 */
export function writeWhole(path, content) {
  if (readIfThere(path) === content) return;
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, content);
  renameSync(temporary, path);
}

/**
 * A cheap mark that changes when a file does: enough to notice a replaced or truncated program without
 * reading megabytes.
 * @param {string} path
 * @returns {string | undefined}
 */
export function mark(path) {
  try {
    const { size, mtimeMs } = statSync(path);
    return `${size} ${mtimeMs}`;
  } catch {
    return undefined;
  }
}

/** Where services' programs lie, which ordinary users often don't have on their PATH. */
const systemFolders = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/**
 * Finds a program as a shell would, but never one that set-up itself has built: those are judged by their own
 * record.
 * @param {string} name
 * @returns {string | undefined}
 */
export function findProgram(name) {
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  for (const folder of [...folders, ...systemFolders]) {
    if (folder === places.bin) continue;
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {
      // Not here.
    }
  }
  return undefined;
}
