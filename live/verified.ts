import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { sync as writeFileAtomic } from 'write-file-atomic';
import { z } from 'zod';
import type { Fleet } from '../fleet/fleet';
import { fingerprint } from '../keys/ssh-public-key';
import type { Verdict } from './compare';

/** When each host was last seen to serve its key: host → that key's fingerprint, and the time in ISO 8601. */
const record = z.record(z.string(), z.object({ fingerprint: z.string(), at: z.iso.datetime() }));
type Verified = z.infer<typeof record>;

/**
 * This user's notes on a fleet, outside the repository (XDG Base Directory Specification, XDG_STATE_HOME): what one
 * person saw is no business of git's.
 */
function fileOf({ root, file }: Fleet): string {
  const home = process.env.XDG_STATE_HOME || path.join(homedir(), '.local', 'state');
  const id = createHash('sha256')
    .update(path.resolve(root, path.basename(file)))
    .digest('hex')
    .slice(0, 16);
  return path.join(home, 'proxmox-hostkey', `verified-${id}.json`);
}

/** When each host was last seen to serve its key. Notes that can't be read are no notes. */
export function lastVerified(fleet: Fleet): Verified {
  try {
    return record.parse(JSON.parse(readFileSync(fileOf(fleet), 'utf8')));
  } catch {
    return {};
  }
}

/**
 * Notes the hosts that serve their key now.
 *
 * @returns what went wrong, where the note can't be written: that is no reason to fail.
 */
export function rememberVerified(fleet: Fleet, verdicts: ReadonlyMap<string, Verdict>): string | undefined {
  const at = new Date().toISOString();
  const seen = [...verdicts].flatMap(([host, verdict]) =>
    verdict.status === 'same' ? [[host, { fingerprint: fingerprint(verdict.key), at }] as const] : [],
  );
  if (seen.length === 0) return undefined;
  const file = fileOf(fleet);
  try {
    mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    writeFileAtomic(
      file,
      `${JSON.stringify({ ...lastVerified(fleet), ...Object.fromEntries(seen) }, null, 2)}\n`,
    );
    return undefined;
  } catch (error) {
    return `when the hosts were verified could not be noted: ${(error as Error).message}`;
  }
}
