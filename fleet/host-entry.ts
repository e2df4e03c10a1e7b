import type { HostEntry } from '../sops/entry';
import type { Fleet, Host } from './fleet';
import { sharedFoldersOf } from './folders';

/** What a host of a fleet contributes to the root `.sops.yaml`, once its recipient is known. */
export function hostEntry(fleet: Fleet, { name, secrets }: Host, recipient: string): HostEntry {
  return {
    host: name,
    recipient,
    admins: fleet.admins,
    path: secrets,
    shared: sharedFoldersOf(fleet, name),
  };
}
