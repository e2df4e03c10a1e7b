import { copyFileSync, existsSync } from 'node:fs';
import path from 'node:path';

/** What Terraform calls its dependency lock file, which pins the providers. */
export const LOCK_FILE = '.terraform.lock.hcl';

/** The lock file that a fleet's stacks are given: what `HOSTKEY_LOCK_FILE` names, else the one in the fleet's root. */
export const lockFileOf = (root: string, env: NodeJS.ProcessEnv = process.env): string =>
  env.HOSTKEY_LOCK_FILE ?? path.join(root, LOCK_FILE);

/** Gives a folder that Terraform works in the fleet's lock file, where there is one. */
export function copyLockFile(root: string, folder: string): void {
  const file = lockFileOf(root);
  if (existsSync(file)) copyFileSync(file, path.join(folder, LOCK_FILE));
}
