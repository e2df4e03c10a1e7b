import type { HostEntry } from '../sops/entry';
import type { Fleet, Host } from './fleet';
import { sharedFoldersOf } from './folders';

/** What a host of a fleet contributes to the root `.sops.yaml`, once its recipients are known. */
export function hostEntry(
  fleet: Fleet,
  { name, secrets }: Host,
  { recipient, next }: Pick<HostEntry, 'recipient' | 'next'>,
): HostEntry {
  return {
    host: name,
    recipient,
    next,
    admins: fleet.admins,
    path: secrets,
    shared: sharedFoldersOf(fleet, name),
  };
}
