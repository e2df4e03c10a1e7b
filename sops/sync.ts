import {
  chmodSync,
  chownSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import type { Fleet } from '../fleet/fleet';
import { quoted } from '../fleet/shell';
import { type Ended, lastWords, runProgram } from '../terraform/program';
import { isSameKey } from './creation-rules';
import { APPLY_ALL, ROOT_RULES } from './root-rules';
import { readSecretFile } from './secret-file';
import { STAGING } from './secret-paths';
import type { Secret, Secrets } from './secrets';

/** What became of a file. */
export type Synced =
  | { readonly status: 'synced' }
  /** It was left as it is, byte for byte. */
  | Left;

interface Left {
  readonly status: 'left';
  readonly message: string;
  readonly remedy: string;
}

/** sops' exit code where no identity opens a file (sops v3.13, cmd/sops/codes: CouldNotRetrieveKey). */
const CANNOT_DECRYPT = 128;

/** Whether there is something to do about a file, be it by sync or by a person. */
export const needsSync = ({ read, rule, missing, extra, differs, threshold }: Secret): boolean =>
  read.status !== 'encrypted' ||
  rule === undefined ||
  rule.problem !== undefined ||
  missing.length > 0 ||
  extra.length > 0 ||
  differs ||
  threshold !== undefined;

/** Why a file must not be touched: it is none of sync's, or its rule can't be trusted. Undefined where it may be. */
export function refusal({ file, read, rule, doubts, unknown, differs, threshold }: Secret): Left | undefined {
  const left = (message: string, remedy: string): Left => ({ status: 'left', message, remedy });
  const name = quoted(file);
  if (read.status === 'plain') return left('it is not encrypted', `sops encrypt -i ${name}`);
  if (read.status === 'damaged')
    return left(read.reason, `look for a whole one: git log -p -- ${name}, and run this again`);
  if (rule === undefined) return left(`no rule of ${ROOT_RULES} matches it`, APPLY_ALL);
  const where = `its rule (${ROOT_RULES}:${rule.line})`;
  if (rule.problem !== undefined)
    return left(`${where} can't be used: ${rule.problem}`, `edit ${ROOT_RULES}, line ${rule.line}`);
  const [doubt] = doubts;
  if (doubt !== undefined) return left(`${where} ${doubt}`, `${APPLY_ALL}; then run this again`);
  const [host] = unknown;
  if (host !== undefined)
    return left(
      `the state of ${host} can't be read, so nobody knows whether ${where} is right`,
      `bin/hostkey secrets check ${host} says why`,
    );
  if (differs || threshold === undefined) return undefined;
  return left(
    `${threshold.actual} of its key groups are needed and ${where} says ${threshold.wanted}, which sops updatekeys never changes`,
    `bin/hostkey secrets check ${name} says how`,
  );
}

/**
 * Encrypts a file's data key to those whom the rules name now, by the real `sops updatekeys`.
 *
 * sops truncates a file and then writes it (sops v3.13, updatekeys.go: os.Create), so a kill would leave half of one.
 * So it works on a copy, in a folder beside the file, which repeats the file's path below a copy of the rules, as
 * rules go by paths; and the copy, looked through and flushed to the disk, replaces the file by renaming. No plaintext
 * is written anywhere: only the data key changes hands.
 *
 * @param rulesText the rules that the file was judged by: what somebody makes of them meanwhile doesn't count.
 * @throws ProgramError where there is no sops.
 */
async function syncSecret(fleet: Fleet, secret: Secret, rulesText: string): Promise<Synced> {
  const refused = refusal(secret);
  if (refused !== undefined) return refused;
  try {
    return await replace(fleet, secret, rulesText);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    return { status: 'left', message, remedy: 'make its folder writable for you, and run this again' };
  }
}

async function replace(fleet: Fleet, secret: Secret, rulesText: string): Promise<Synced> {
  const { file } = secret;
  // Where it is a link, what it points to changes, and the link stays.
  const original = realpathSync(path.join(fleet.root, file));
  const folder = path.dirname(original);
  removeLeftovers(folder);
  const staging = mkdtempSync(path.join(folder, `${STAGING}${process.pid}-`));
  try {
    writeFileSync(path.join(staging, '.gitignore'), '*\n');
    const rules = path.join(staging, ROOT_RULES);
    writeFileSync(rules, rulesText);
    const copy = path.join(staging, file);
    mkdirSync(path.dirname(copy), { recursive: true });
    const before = readFileSync(original);
    const stat = statSync(original);
    writeFileSync(copy, before, { mode: 0o600 });
    const args = ['--config', rules, 'updatekeys', '--yes', copy];
    const ended = await runProgram('sops', args, { cwd: fleet.root, env: environment() });
    if (ended.status !== 0) return failure(secret, ended, staging);
    const after = readFileSync(copy, 'utf8');
    if (!isDone(secret, before.toString('utf8'), after))
      return { status: 'left', message: 'sops made something else of it than its rule says', remedy: '' };
    keepMode(copy, stat);
    flush(copy);
    if (!before.equals(readFileSync(original)))
      return { status: 'left', message: 'somebody changed it meanwhile', remedy: 'run this again' };
    renameSync(copy, original);
    flush(folder);
    return { status: 'synced' };
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

/** Whether the new file is whole, has the keys of the rule, and still the same values. */
function isDone({ file, rule }: Secret, before: string, after: string): boolean {
  const [old, read] = [readSecretFile(file, before), readSecretFile(file, after)];
  if (read.status !== 'encrypted' || old.status !== 'encrypted' || rule === undefined) return false;
  const hasKeys = rule.groups.every((group, i) =>
    [...group].every((key) => [...(read.groups[i] ?? [])].some((actual) => isSameKey(key, actual))),
  );
  const sizes = (groups: readonly ReadonlySet<string>[]) => groups.map(({ size }) => size).join();
  return hasKeys && sizes(read.groups) === sizes(rule.groups) && read.seal === old.seal;
}

function keepMode(copy: string, { mode, uid, gid }: Stats): void {
  const own = statSync(copy);
  if (own.uid !== uid || own.gid !== gid) {
    try {
      chownSync(copy, uid, gid);
    } catch (error) {
      // Only root may give files away; whoever may write the folder may replace the file all the same.
      if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
    }
  }
  chmodSync(copy, mode & 0o7777);
}

/** Waits until a file, or what a folder lists, is on the disk. */
function flush(file: string): void {
  const handle = openSync(file, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/** What a sync that was killed left behind: encrypted copies, of no use to anybody. */
function removeLeftovers(folder: string): void {
  for (const name of readdirSync(folder)) {
    const pid = new RegExp(`^${STAGING.replaceAll('.', '\\.')}(\\d+)-`).exec(name)?.[1];
    if (pid === undefined || isRunning(Number(pid))) continue;
    rmSync(path.join(folder, name), { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function failure({ file, holders }: Secret, ended: Ended, staging: string): Left {
  if (ended.status === CANNOT_DECRYPT) {
    const names = holders.map(({ name }) => name).join(', ');
    return {
      status: 'left',
      message: `you can't decrypt it; who can: ${names}`,
      remedy: `with the identity of one of them: SOPS_AGE_KEY_FILE=… bin/hostkey secrets sync ${quoted(file)}`,
    };
  }
  const words = lastWords(ended).replaceAll(`${staging}/`, '');
  return { status: 'left', message: `sops: ${words}`, remedy: 'mend that, and run this again' };
}

/** sops runs in the root, so what the operator names from where they stand is named in full. */
function environment(): NodeJS.ProcessEnv {
  const env = { ...process.env };
  for (const name of ['SOPS_AGE_KEY_FILE', 'SOPS_AGE_SSH_PRIVATE_KEY_FILE', 'GNUPGHOME']) {
    const file = env[name];
    if (file) env[name] = path.resolve(file);
  }
  return env;
}

/** What `syncSecrets` is told on its way. */
export interface Syncing {
  /** Before a file is begun. */
  readonly onStart?: (file: string, index: number, of: number) => void;
  /** When it has ended. */
  readonly onEnd?: (file: string, result: Synced) => void;
  /** Asks to stop after the file at hand. */
  readonly signal?: AbortSignal;
}

/**
 * Syncs what needs it, one file after the other: an identity may ask for a passphrase or a touch. A file that can't be
 * synced stops none of the others.
 *
 * @returns what became of each file; a file that was not begun is missing.
 */
export async function syncSecrets(
  fleet: Fleet,
  { secrets, rulesText }: Secrets,
  { onStart, onEnd, signal }: Syncing = {},
): Promise<ReadonlyMap<string, Synced>> {
  const todo = secrets.filter(needsSync);
  const results = new Map<string, Synced>();
  for (const [index, secret] of todo.entries()) {
    if (signal?.aborted) break;
    onStart?.(secret.file, index, todo.length);
    const result = await syncSecret(fleet, secret, rulesText ?? '');
    // A terminal's Ctrl-C ends sops, too: that says nothing about the file.
    if (signal?.aborted && result.status === 'left') break;
    results.set(secret.file, result);
    onEnd?.(secret.file, result);
  }
  return results;
}
