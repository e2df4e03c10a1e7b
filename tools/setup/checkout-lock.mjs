// @ts-check
// One set-up at a time in a checkout.
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { readJson } from './files.mjs';
import { places, workshop } from './paths.mjs';

/**
 * Takes the checkout's lock: a folder that comes into being by a rename, with its owner's name already inside,
 * which the file system lets exactly one process do. A lock whose owner is dead is taken over.
 * @param {(owner: { pid: number }) => void} waiting Called once where another set-up holds the lock.
 * @returns {Promise<() => void>} gives the lock back
 */
export async function lockCheckout(waiting) {
  mkdirSync(workshop, { recursive: true });
  const mine = { pid: process.pid, host: hostname(), born: birthOf(process.pid) };
  const candidate = `${places.checkoutLock}.${process.pid}`;
  rmSync(candidate, { recursive: true, force: true });
  mkdirSync(candidate);
  writeFileSync(join(candidate, 'owner.json'), JSON.stringify(mine));
  let said = false;
  try {
    while (!tryRename(candidate, places.checkoutLock)) {
      const owner = readJson(join(places.checkoutLock, 'owner.json'));
      if (owner === undefined) continue; // Given back this very moment.
      if (isDead(owner)) {
        takeAway(owner);
      } else if (!said) {
        waiting(owner);
        said = true;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } catch (error) {
    rmSync(candidate, { recursive: true, force: true });
    throw error;
  }
  return removeLock;
}

/** Out of the way by a rename first: removing it in place would for a moment leave a folder free to take. */
function removeLock() {
  const aside = `${places.checkoutLock}.${process.pid}`;
  renameSync(places.checkoutLock, aside);
  rmSync(aside, { recursive: true, force: true });
}

/**
 * @param {string} from
 * @param {string} to
 */
function tryRename(from, to) {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    const code = /** @type {NodeJS.ErrnoException} */ (error).code;
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Removes a dead owner's lock. Two processes may both have found it dead, and the slower must not remove the
 * quicker one's fresh lock: so they take turns, and look again when theirs comes.
 * @param {{ pid: number, born: string }} dead
 */
function takeAway(dead) {
  const turn = `${places.checkoutLock}.turn`;
  try {
    mkdirSync(turn);
  } catch {
    // Somebody else is at it; and where they died at it, their turn ends after a while.
    if (ageOf(turn) > 10_000) rmSync(turn, { recursive: true, force: true });
    return;
  }
  try {
    const owner = readJson(join(places.checkoutLock, 'owner.json'));
    if (JSON.stringify(owner) === JSON.stringify(dead)) {
      const aside = `${places.checkoutLock}.dead.${process.pid}`;
      renameSync(places.checkoutLock, aside);
      rmSync(aside, { recursive: true, force: true });
    }
  } finally {
    rmSync(turn, { recursive: true, force: true });
  }
}

/** @param {{ pid: number, host: string, born: string }} owner */
function isDead(owner) {
  // A checkout on a shared disk: processes of another machine can't be looked at from here.
  if (owner.host !== hostname()) return false;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'ESRCH';
  }
  // Alive, but perhaps another process that was given the same number later.
  return birthOf(owner.pid) !== owner.born;
}

/**
 * When a process started, in the kernel's ticks; empty where the system doesn't tell.
 * @param {number} pid
 */
function birthOf(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in brackets and may hold anything, so count from its end.
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

/** @param {string} path */
function ageOf(path) {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}
