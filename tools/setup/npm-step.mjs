// @ts-check
// npm packages, exactly as package-lock.json has them.
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runTask } from './children.mjs';
import { findProgram, readIfThere, readJson, sha256 } from './files.mjs';
import { places, root } from './paths.mjs';
import { SetupError } from './report.mjs';

/** Says which package-lock.json node_modules was installed from. `npm ci` removes it with all the rest. */
const stamp = join(places.nodeModules, '.hostkey-setup');

/** A lock file's packages hold programs for one system, so node_modules isn't right for another. */
function wantedStamp() {
  const lock = readIfThere(places.packageLock);
  if (lock === undefined)
    throw new SetupError(`${places.packageLock} is missing: this checkout is not whole.`);
  return `${sha256(lock)} ${process.platform}-${process.arch}\n`;
}

export function npmIsReady() {
  return readIfThere(stamp) === wantedStamp();
}

/**
 * @param {import('./report.mjs').Report} report
 * @param {{ force: boolean }} options
 */
export async function installNpmPackages(report, { force }) {
  const wanted = wantedStamp();
  if (!force && readIfThere(stamp) === wanted) {
    report.found('npm', 'packages are as package-lock.json wants them');
    return;
  }
  if (!force && installedMatchesLock()) {
    writeFileSync(stamp, wanted);
    report.found('npm', 'packages were installed already, as package-lock.json wants them');
    return;
  }
  const npm = findProgram('npm');
  if (npm === undefined) {
    throw new SetupError(
      'npm is not on PATH. It comes with Node from https://nodejs.org; on Debian: apt-get install npm',
    );
  }
  const startedAt = performance.now();
  rmSync(stamp, { force: true });
  // Scripts of packages aren't run: none is needed, and they'd be other people's code run as us. Development
  // packages are always wanted, whatever NODE_ENV says.
  const args = ['ci', '--ignore-scripts', '--include=dev', '--include=optional', '--no-audit', '--no-fund'];
  await runTask('npm ci', 'npm', npm, [...args, '--loglevel=error'], { cwd: root, env: process.env });
  writeFileSync(stamp, wanted);
  report.did('npm', 'installed packages', startedAt);
}

/**
 * Whether node_modules, though without our stamp, holds what the lock file asks for: after `npm install` or
 * `npm ci` by hand. npm keeps its own list of what it has installed, whose last writing ends an installation.
 */
function installedMatchesLock() {
  const wanted = readJson(places.packageLock)?.packages;
  const installed = readJson(join(places.nodeModules, '.package-lock.json'))?.packages;
  return wanted !== undefined && installed !== undefined && sameInstallation(wanted, installed);
}

/**
 * @typedef {{ version?: string, integrity?: string, optional?: boolean, os?: string[], cpu?: string[],
 *   libc?: string[], link?: boolean }} LockedPackage
 */

/**
 * @param {Record<string, LockedPackage>} wanted
 * @param {Record<string, LockedPackage>} installed
 */
function sameInstallation(wanted, installed) {
  const strange = Object.keys(installed).some((path) => wanted[path] === undefined);
  if (strange) return false;
  return Object.entries(wanted).every(([path, entry]) => {
    if (!path.startsWith('node_modules/') && !path.includes('/node_modules/')) return true; // Ours.
    const found = installed[path];
    if (found === undefined) return entry.optional || entry.os || entry.cpu || entry.libc;
    return (
      found.version === entry.version && found.integrity === entry.integrity && existsSync(join(root, path))
    );
  });
}
