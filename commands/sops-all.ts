import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Fleet, Host } from '../fleet/fleet';
import { hostEntry } from '../fleet/host-entry';
import { loadFleet } from '../fleet/load';
import { FleetError } from '../fleet/problem';
import { type HostEntry, HostEntryError } from '../sops/entry';
import { ROOT_RULES } from '../sops/root-rules';
import { applyHosts, type HostsEdit, recipientsIn } from '../sops/rules';
import { updateTextFile } from '../sops/text-file';
import { isExpected, outcomeText, printWarnings, reportError } from './sops-change';

/** What `hostkey sops apply --all` does, once the command line is read. */
interface Request {
  /** The fleet's file; the root `.sops.yaml` lies beside it. */
  readonly fleet: string;
  readonly json: boolean;
}

/**
 * Puts every deployed host of a fleet into the root `.sops.yaml`, and says what that changed. Terraform runs `apply`
 * only where an entry changes, so it never notices that people lost the file or a part of it.
 *
 * @returns the exit code.
 */
export async function applyAll(request: Request): Promise<number> {
  try {
    const fleet = loadFleet(request.fleet);
    const result = await updateTextFile(join(fleet.root, ROOT_RULES), (text) => applyDeployed(text, fleet));
    report(request, result);
    return 0;
  } catch (error) {
    if (!(error instanceof FleetError || isExpected(error))) throw error;
    reportError(request, error);
    return 1;
  }
}

interface FleetEdit extends HostsEdit {
  /** Hosts without a file of their own: they aren't deployed, so nobody knows their recipient. */
  readonly missing: readonly { readonly host: string; readonly file: string }[];
}

/** Reads the hosts' files under the lock: a deployment writes one before it waits for the lock to write its entry. */
function applyDeployed(text: string | undefined, fleet: Fleet): FleetEdit {
  const read = fleet.hosts.map((host) => ({
    host: host.name,
    file: `${host.secrets}/${ROOT_RULES}`,
    entry: entryOf(fleet, host),
  }));
  const edit = applyHosts(
    text,
    read.flatMap(({ entry }) => entry ?? []),
  );
  const missing = read.filter(({ entry }) => entry === undefined).map(({ host, file }) => ({ host, file }));
  return { ...edit, missing };
}

function entryOf(fleet: Fleet, host: Host): HostEntry | undefined {
  const file = `${host.secrets}/${ROOT_RULES}`;
  const text = readOwn(join(fleet.root, file), file);
  return text === undefined ? undefined : hostEntry(fleet, host, recipientsIn(text, host.name, file));
}

function readOwn(path: string, shown: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    if (code === undefined) throw error;
    throw new HostEntryError(`${shown} can't be read: ${message}. Nothing was changed`);
  }
}

function report({ json }: Request, { changed, hosts, missing, warnings }: FleetEdit): void {
  if (json) {
    process.stdout.write(`${JSON.stringify({ file: ROOT_RULES, changed, hosts, missing, warnings })}\n`);
    return;
  }
  printWarnings(warnings);
  const done = hosts.map(({ host, outcome, recipient }) => `${host} ${outcomeText(outcome, recipient)}`);
  const left = missing.map(
    ({ host, file }) =>
      `${host} left out: there is no ${file}; if the host is deployed: npx cdktf deploy ${host}`,
  );
  const lines = done.length + left.length === 0 ? ['the fleet has no hosts'] : [...done, ...left];
  process.stdout.write(lines.map((line) => `${ROOT_RULES}: ${line}\n`).join(''));
}
