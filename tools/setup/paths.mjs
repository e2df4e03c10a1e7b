// @ts-check
// Where things lie. Everything hangs from the place of this file, never from the working directory, so that
// set-up does the same from wherever it is called and two checkouts never meet.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout. */
export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Everything that set-up makes, apart from node_modules. Removing it is a clean start. */
export const workshop = join(root, '.tools');

export const places = {
  bin: join(workshop, 'bin'),
  mirror: join(workshop, 'mirror'),
  log: join(workshop, 'log'),
  /** Half-made things. Emptied whenever a run starts, so nothing in here is ever taken for complete. */
  temporary: join(workshop, 'tmp'),
  checkoutLock: join(workshop, 'lock'),
  built: join(workshop, 'built.json'),
  ready: join(workshop, 'ready.json'),
  terraformrc: join(workshop, 'terraformrc'),
  goModules: join(root, 'tools', 'go'),
  registryLockFile: join(root, '.terraform.lock.hcl'),
  nodeModules: join(root, 'node_modules'),
  packageLock: join(root, 'package-lock.json'),
};

/**
 * Terraform and OpenTofu know the same provider by different addresses and refuse each other's entries in a
 * lock file, so each has files of its own.
 * @typedef {'terraform' | 'tofu'} Binary
 */

/** @param {Binary} binary */
export function committedLockFile(binary) {
  return join(root, 'tools', 'locks', `source.${binary}.lock.hcl`);
}

/** @param {Binary} binary */
export function localLockFile(binary) {
  return join(workshop, `${binary}.lock.hcl`);
}

/** What to source, and the same as JSON: for the machine's default, or for OpenTofu where that isn't it. */
export const environmentFiles = {
  usual: { shell: join(workshop, 'env'), json: join(workshop, 'env.json') },
  opentofu: { shell: join(workshop, 'env-opentofu'), json: join(workshop, 'env-opentofu.json') },
};
