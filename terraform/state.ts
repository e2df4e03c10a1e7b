import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Fleet, Host } from '../fleet/fleet';
import { ageRecipientOf } from '../keys/age-recipient';
import { parseSshPublicKey, type SshPublicKey } from '../keys/ssh-public-key';

/**
 * What Terraform's states say of the hosts, read without a lock and without writing anything.
 *
 * A state holds the private key. Nothing here hands it on: `HostState` is public data.
 */
export type StateReading =
  | { readonly status: 'deployed'; readonly state: HostState }
  /** There is no state, or one that holds nothing. */
  | { readonly status: 'absent' }
  /** It is there (or may be) and can't be read: who, why, and what to do. */
  | { readonly status: 'unreadable'; readonly message: string; readonly remedy: string };

/** The public half of a host's state. */
export interface HostState {
  /** The host key that the state says the host has. */
  readonly key: SshPublicKey;
  /** The age recipient of that key, derived here. */
  readonly recipient: string;
  /** When the key was made, ISO 8601; unknown for an adopted one. */
  readonly keyMadeAt?: string;
}

/** A state file of Terraform's or OpenTofu's: format version 4 (terraform, internal/states/statefile/version4.go). */
const stateFile = z.looseObject({
  version: z.number(),
  outputs: z.record(z.string(), z.looseObject({ value: z.unknown() })).optional(),
  resources: z.array(z.looseObject({ type: z.string(), name: z.string() })).optional(),
});

/** Reads the states of these hosts, each on its own: one that can't be read doesn't hide the others. */
export async function readStates(
  fleet: Fleet,
  hosts: readonly Host[],
): Promise<ReadonlyMap<string, StateReading>> {
  return new Map(hosts.map((host) => [host.name, readState(fleet, host)]));
}

function readState(fleet: Fleet, host: Host): StateReading {
  const { state } = fleet;
  if (state.kind !== 'local') {
    return { status: 'unreadable', message: `state in ${state.kind} can't be read yet`, remedy: '' };
  }
  const shown = `${state.path}/${host.name}.tfstate`;
  let text: string;
  try {
    text = readFileSync(join(fleet.root, shown), 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { status: 'absent' };
    return {
      status: 'unreadable',
      message: `${shown}: ${message}`,
      remedy: `make ${shown} readable for you`,
    };
  }
  return parseState(text, shown);
}

/** What a state file says; `shown` names it in messages. */
export function parseState(text: string, shown: string): StateReading {
  try {
    const { outputs = {}, resources = [] } = stateFile.parse(JSON.parse(text));
    const line = outputs.host_public_key?.value;
    if (typeof line !== 'string') {
      return resources.length === 0
        ? { status: 'absent' }
        : {
            status: 'unreadable',
            message: `${shown} has no output host_public_key: its first deployment did not end`,
            remedy: 'deploy the host again',
          };
    }
    const key = parseSshPublicKey(line);
    return { status: 'deployed', state: { key, recipient: ageRecipientOf(key) } };
  } catch {
    // Never the cause's message: a JSON parser quotes what it read.
    return {
      status: 'unreadable',
      message: `${shown} is no state of Terraform's that this program can read`,
      remedy: 'restore it from its backup or from a copy',
    };
  }
}
