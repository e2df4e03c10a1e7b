import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import path from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import type { Fleet } from '../fleet/fleet';
import { lastWords, runProgram } from '../terraform/program';
import type { Secret } from './secrets';

/** What became of a file. */
export type Synced =
  | { readonly status: 'synced' }
  /** It was left as it is, byte for byte. */
  | { readonly status: 'left'; readonly message: string; readonly remedy: string };

const RULES = '.sops.yaml';

/** Whether `sops updatekeys` has something to do on a file. */
export const needsSync = ({ status, missing, extra, regrouped }: Secret): boolean =>
  status === 'encrypted' && (missing.length > 0 || extra.length > 0 || regrouped);

/**
 * Encrypts a file's data key to those whom the rules name now, by the real `sops updatekeys`.
 *
 * sops writes files in place, and a kill in between would leave half of one. So it works on a copy, in a temporary
 * folder that repeats the file's path, since rules go by paths, and the copy replaces the file by renaming. No
 * plaintext is written anywhere: only the data key changes hands.
 */
export async function syncSecret(fleet: Fleet, { file, rule, notInRule }: Secret): Promise<Synced> {
  const left = (message: string, remedy: string): Synced => ({ status: 'left', message, remedy });
  if (rule === undefined)
    return left(
      `no rule of ${RULES} matches it`,
      `write one: https://getsops.io/docs/#using-sops-yaml-conf-to-select-kms-pgp-and-age-for-new-files`,
    );
  if (notInRule.length > 0) {
    const names = notInRule.map(({ name }) => name).join(', ');
    return left(`its rule (${RULES}:${rule.line}) leaves out ${names}`, 'bin/hostkey sops apply --all');
  }
  const folder = mkdtempSync(path.join(tmpdir(), 'hostkey-sync-'));
  try {
    const original = path.join(fleet.root, file);
    const copy = path.join(folder, file);
    mkdirSync(path.dirname(copy), { recursive: true });
    cpSync(path.join(fleet.root, RULES), path.join(folder, RULES), { dereference: true });
    const before = readFileSync(original);
    cpSync(original, copy);
    const args = ['--config', path.join(folder, RULES), 'updatekeys', '--yes', file];
    const ended = await runProgram('sops', args, { cwd: folder, env: identities(fleet.root) });
    if (ended.status !== 0)
      return left(complaint(lastWords(ended)), 'ask somebody who can decrypt it, an admin, to run this');
    if (!before.equals(readFileSync(original)))
      return left('somebody changed it meanwhile', 'run this again');
    await writeFileAtomic(original, readFileSync(copy), { mode: statSync(original).mode & 0o7777 });
    return { status: 'synced' };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** sops' words for the usual case are many, and none of them says it. */
const complaint = (words: string): string =>
  /data key|no identity|decrypt/i.test(words)
    ? `you can't decrypt it (sops: ${words.slice(0, 160)})`
    : `sops: ${words}`;

/** The environment for sops, with the files of identities found from another folder, too. */
function identities(root: string): NodeJS.ProcessEnv {
  const env = { ...process.env };
  for (const name of ['SOPS_AGE_KEY_FILE', 'SOPS_AGE_SSH_PRIVATE_KEY_FILE']) {
    const file = env[name];
    if (file) env[name] = path.resolve(root, file.replace(/^~(?=\/)/, homedir()));
  }
  return env;
}
