import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import type { Fleet } from '../fleet/fleet';
import { fingerprint } from '../keys/ssh-public-key';
import { updateTextFile } from '../sops/text-file';
import type { Verdict } from './compare';

/** When each host was last seen to serve its key: host → that key's fingerprint, and the time in ISO 8601. */
const record = z.record(z.string(), z.object({ fingerprint: z.string(), at: z.iso.datetime() }));
type Verified = z.infer<typeof record>;

/**
 * This user's notes on a fleet, outside the repository (XDG Base Directory Specification, XDG_STATE_HOME): what one
 * person saw is no business of git's.
 *
 * @throws Error where this user has no home, as in some containers.
 */
function fileOf({ root, file }: Fleet): string {
  const { XDG_STATE_HOME: set = '' } = process.env;
  // That specification has relative paths ignored; one would lead into the repository.
  const home = path.isAbsolute(set) ? set : path.join(homedir(), '.local', 'state');
  if (!path.isAbsolute(home)) throw new Error('HOME is empty');
  const id = createHash('sha256')
    .update(path.resolve(root, path.basename(file)))
    .digest('hex')
    .slice(0, 16);
  return path.join(home, 'proxmox-hostkey', `verified-${id}.json`);
}

/** When each host was last seen to serve its key. Notes that can't be read are no notes. */
export function lastVerified(fleet: Fleet): Verified {
  try {
    return parse(readFileSync(fileOf(fleet), 'utf8'));
  } catch {
    return {};
  }
}

function parse(text: string): Verified {
  try {
    return record.parse(JSON.parse(text));
  } catch {
    return {};
  }
}

/**
 * Notes the hosts that serve their key now.
 *
 * @returns what went wrong, where the note can't be written: that is no reason to fail.
 */
export async function rememberVerified(
  fleet: Fleet,
  verdicts: ReadonlyMap<string, Verdict>,
): Promise<string | undefined> {
  const at = new Date().toISOString();
  const seen = [...verdicts].flatMap(([host, verdict]) =>
    verdict.status === 'same' ? [[host, { fingerprint: fingerprint(verdict.key), at }] as const] : [],
  );
  if (seen.length === 0) return undefined;
  try {
    const file = fileOf(fleet);
    mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    await updateTextFile(
      file,
      (text = '{}') => ({
        text: `${JSON.stringify({ ...parse(text), ...Object.fromEntries(seen) }, null, 2)}\n`,
        changed: true,
      }),
      // Nobody waits long for a note.
      { patience: 15_000 },
    );
    return undefined;
  } catch (error) {
    return `when the hosts were verified could not be noted: ${(error as Error).message}`;
  }
}
