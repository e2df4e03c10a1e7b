import type { Host } from '../fleet/fleet';
import type { StateReading } from '../terraform/state';
import { compare, type Verdict } from './compare';
import { type ScanOptions, scanServers } from './scan';

/** Scans hosts once, all at once, and compares what they serve with their states. */
export async function verifyHosts(
  hosts: readonly Host[],
  states: ReadonlyMap<string, StateReading>,
  options: ScanOptions = {},
): Promise<ReadonlyMap<string, Verdict>> {
  // What can't be compared needn't be asked.
  const asked = hosts.filter(({ name, started }) => started && states.get(name)?.status === 'deployed');
  const scans = await scanServers(new Map(asked.map(({ name, ssh }) => [name, ssh])), options);
  return new Map(
    hosts.map((host) => {
      const state = states.get(host.name) ?? { status: 'absent' };
      return [host.name, compare(host, state, scans.get(host.name))];
    }),
  );
}
