import { createHash } from 'node:crypto';
import { bech32 } from '@scure/base';
import type { HostEntry } from '../../sops/entry';

/** An age recipient of its own for every name. Nobody has its key; only its form matters. */
export function recipientOf(name: string): string {
  return bech32.encodeFromBytes('age', createHash('sha256').update(name).digest());
}

/** A host's entry with the fleet's one admin, unless told otherwise. */
export function entryOf(host: string, rest: Partial<HostEntry> = {}): HostEntry {
  return {
    host,
    recipient: recipientOf(host),
    admins: { ops: recipientOf('ops') },
    path: `secrets/${host}`,
    shared: [],
    ...rest,
  };
}
