import { randomUUID } from 'node:crypto';
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { identify, isAlive, type ProcessIdentity, sleep } from './processes';

/** The folder of the lock file was removed while the lock was waited for. */
export class FolderGone extends Error {}

/**
 * Runs `action` while no other process does so with the same lock file. The file names its holder and appears
 * with its content at once (by a hard link), so a holder that was killed is told from one that is at work.
 */
export async function withLock<T>(file: string, action: () => Promise<T>): Promise<T> {
  const me = identify(process.pid);
  if (!me) throw new Error('/proc is not there: a sandbox needs Linux');
  const draft = `${file}.${randomUUID()}`;
  try {
    writeFileSync(draft, JSON.stringify(me), { mode: 0o600 });
    while (!take(file, draft)) await sleep(50);
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === 'ENOENT' ? new FolderGone(file) : error;
  } finally {
    rmSync(draft, { force: true });
  }
  try {
    return await action();
  } finally {
    // Unless the action removed the folder, and a file of this name is somebody else's by now.
    if (isMe(holder(file), me)) rmSync(file, { force: true });
  }
}

function take(file: string, draft: string): boolean {
  try {
    linkSync(draft, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  if (!isAlive(holder(file))) rmSync(file, { force: true });
  return false;
}

const isMe = (a: ProcessIdentity | undefined, b: ProcessIdentity): boolean =>
  a?.pid === b.pid && a.started === b.started;

function holder(file: string): ProcessIdentity | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as ProcessIdentity;
  } catch {
    return undefined; // released meanwhile
  }
}
