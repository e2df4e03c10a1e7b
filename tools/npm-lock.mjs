#!/usr/bin/env node
// @ts-check
// Completes package-lock.json: `npm run lock:npm`, after changing a dependency.
//
// npm leaves out of the lock file the parts for other systems that its registry doesn't serve at that moment
// (a mirror often serves only some), and `npm ci` then refuses the lock file that npm itself wrote: "Missing:
// @swc/core-darwin-arm64@ from lock file". Their versions are known all the same, from the package that they
// are parts of; without a checksum, which only the registry could tell.
import { writeFileSync } from 'node:fs';
import { readJson } from './setup/files.mjs';
import { places } from './setup/paths.mjs';

/**
 * @typedef {object} LockedPackage
 * @property {string} [version]
 * @property {boolean} [dev]
 * @property {boolean} [optional]
 * @property {string[]} [os]
 * @property {string[]} [cpu]
 * @property {string[]} [libc]
 * @property {Record<string, string>} [optionalDependencies]
 */

/**
 * Entries that the lock file lacks.
 * @param {Record<string, LockedPackage>} packages
 * @returns {Record<string, LockedPackage>}
 */
function missingParts(packages) {
  /** @type {Record<string, LockedPackage>} */
  const missing = {};
  for (const [path, { dev, optionalDependencies = {} }] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(optionalDependencies)) {
      // Parts are pinned exactly. Anything else optional is an ordinary package, which npm has to choose.
      if (!/^\d+\.\d+\.\d+$/.test(version) || isLocked(packages, path, name)) continue;
      missing[`node_modules/${name}`] = {
        version,
        ...(dev ? { dev } : {}),
        optional: true,
        ...systemOf(name),
      };
    }
  }
  return missing;
}

/**
 * Whether a package, looked up from another as Node does it, has an entry.
 * @param {Record<string, LockedPackage>} packages
 * @param {string} from
 * @param {string} name
 */
function isLocked(packages, from, name) {
  for (let folder = from; ; folder = folder.slice(0, folder.lastIndexOf('/node_modules/'))) {
    if (packages[`${folder}/node_modules/${name}`]) return true;
    if (!folder.includes('/node_modules/')) return packages[`node_modules/${name}`] !== undefined;
  }
}

/**
 * The system that a part is for, which its name tells: without it npm would try to install the part here.
 * @param {string} name
 */
function systemOf(name) {
  const words = name.replace(/^@[^/]*\//, '').split('-');
  const one = (/** @type {string[]} */ known) => words.find((word) => known.includes(word));
  const os = one([
    'aix',
    'android',
    'darwin',
    'freebsd',
    'linux',
    'netbsd',
    'openbsd',
    'openharmony',
    'sunos',
    'win32',
  ]);
  const cpu = one([
    'arm',
    'arm64',
    'ia32',
    'loong64',
    'mips64el',
    'ppc64',
    'riscv64',
    's390x',
    'wasm32',
    'x64',
  ]);
  const libc = words.some((word) => word.startsWith('musl'))
    ? 'musl'
    : words.some((word) => word.startsWith('gnu') || word === 'glibc')
      ? 'glibc'
      : undefined;
  return { ...(os ? { os: [os] } : {}), ...(cpu ? { cpu: [cpu] } : {}), ...(libc ? { libc: [libc] } : {}) };
}

const lock = readJson(places.packageLock);
const missing = missingParts(lock.packages);
const all = Object.entries({ ...lock.packages, ...missing });
lock.packages = Object.fromEntries(all.sort(([a], [b]) => a.localeCompare(b, 'en')));
writeFileSync(places.packageLock, `${JSON.stringify(lock, undefined, 2)}\n`);
process.stdout.write(`package-lock.json: ${Object.keys(missing).length} parts for other systems added\n`);
