import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import pLimit from 'p-limit';
import { z } from 'zod';
import type { Fleet, Host } from '../fleet/fleet';
import { copyLockFile } from '../fleet/lock-file';
import { settingsFor } from '../fleet/state';
import { ageRecipientOf } from '../keys/age-recipient';
import { parseSshPublicKey, type SshPublicKey } from '../keys/ssh-public-key';
import { type Ended, lastWords, ProgramError, runTerraform } from './program';
import { Workshop } from './workshop';

/**
 * What Terraform's states say of the hosts, read without a lock and without writing anything.
 *
 * A state holds the private key. `HostState` is public data; `StateText` is not.
 */
export type StateReading =
  | { readonly status: 'deployed'; readonly state: HostState }
  /** There is no state, or one that holds nothing. */
  | { readonly status: 'absent' }
  /** It is there (or may be) and can't be read: who, why, and what to do. */
  | Unreadable;

interface Unreadable {
  readonly status: 'unreadable';
  readonly message: string;
  readonly remedy: string;
  /** A first deployment didn't end: the state is whole, and lacks what this program reads. */
  readonly begun?: true;
}

/** A host key that a state declares. */
interface DeclaredKey {
  readonly key: SshPublicKey;
  /** The age recipient of that key, derived here. */
  readonly recipient: string;
  /** The RSA key beside it, where the host has one. */
  readonly rsa?: SshPublicKey;
}

/** The public half of a host's state: the host key that the state says the host has. */
export interface HostState extends DeclaredKey {
  /** When the key was made, ISO 8601; unknown for an adopted one. */
  readonly keyMadeAt?: string;
  /** The key that takes over, while the host is rotated. */
  readonly next?: DeclaredKey;
}

/** Every key that a host may serve by its state: its own, and while it is rotated the next one's. */
export function declaredKeys(state: HostState): readonly SshPublicKey[] {
  return [state, state.next].flatMap((each) => [each?.key, each?.rsa]).filter((each) => each !== undefined);
}

/** A state as Terraform writes it, decrypted, with the private key inside: it stays in memory. */
export type StateText =
  | { readonly status: 'found'; readonly text: string; readonly shown: string }
  | { readonly status: 'absent' }
  | Unreadable;

/** A state file of Terraform's or OpenTofu's: format version 4 (terraform, internal/states/statefile/version4.go). */
const stateFile = z.looseObject({
  version: z.number(),
  outputs: z.record(z.string(), z.looseObject({ value: z.unknown() })).optional(),
  resources: z.array(z.looseObject({ type: z.string(), name: z.string() })).optional(),
});

/** What OpenTofu writes where state encryption is on (opentofu, internal/encryption/base.go). */
const encryptedFile = z.looseObject({ encrypted_data: z.string() });

/** Reads the states of these hosts, each on its own: one that can't be read doesn't hide the others. */
export async function readStates(
  fleet: Fleet,
  hosts: readonly Host[],
): Promise<ReadonlyMap<string, StateReading>> {
  const texts = await readStateTexts(fleet, hosts);
  return new Map([...texts].map(([host, text]) => [host, readingOf(text)]));
}

/** What a state says of its host. */
export function readingOf(text: StateText): StateReading {
  return text.status === 'found' ? parseState(text.text, text.shown) : text;
}

/**
 * Reads whole states, private keys included: a local one from its file, any other (and one that OpenTofu encrypted)
 * by `terraform state pull`.
 */
export async function readStateTexts(
  fleet: Fleet,
  hosts: readonly Host[],
): Promise<ReadonlyMap<string, StateText>> {
  const states = new Map<string, StateText>();
  const pulled: Host[] = [];
  for (const host of hosts) {
    const text = fleet.state.kind === 'local' ? readLocal(fleet, fleet.state.path, host) : undefined;
    if (text === undefined) pulled.push(host);
    // Set all the same: the map keeps the order of the hosts.
    states.set(host.name, text ?? { status: 'absent' });
  }
  if (pulled.length === 0) return states;
  const workshop = new Workshop(process.cwd(), [fleet.root]);
  const limit = pLimit(availableParallelism());
  try {
    await Promise.all(
      pulled.map((host) => limit(async () => states.set(host.name, await pull(fleet, host, workshop)))),
    );
  } finally {
    workshop.remove();
  }
  return states;
}

/** @returns undefined for an encrypted state. */
function readLocal(fleet: Fleet, folder: string, host: Host): StateText | undefined {
  const shown = `${folder}/${host.name}.tfstate`;
  let text: string;
  try {
    text = readFileSync(path.join(fleet.root, shown), 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { status: 'absent' };
    return {
      status: 'unreadable',
      message: `${shown}: ${message}`,
      remedy: `make ${shown} readable for you`,
    };
  }
  return isEncrypted(text) ? undefined : { status: 'found', text, shown };
}

function isEncrypted(text: string): boolean {
  try {
    return encryptedFile.safeParse(JSON.parse(text)).success;
  } catch {
    return false;
  }
}

async function pull(fleet: Fleet, host: Host, workshop: Workshop): Promise<StateText> {
  const { state } = fleet;
  const shown = `the state of ${host.name} (${state.kind})`;
  const fail = (ended: Ended): Unreadable => ({
    status: 'unreadable',
    message: `${shown} can't be read: ${lastWords(ended)}`,
    remedy: `check the credentials of the ${state.kind} backend in the environment`,
  });
  const cwd = workshop.folder(`.state-${host.name}`);
  const settings =
    state.kind === 'local'
      ? { path: path.join(fleet.root, state.path, `${host.name}.tfstate`) }
      : { ...settingsFor(state, host.name), ...(state.kind === 'pg' ? LEAVE_DATABASE : {}) };
  const config = { terraform: { backend: { [state.kind]: settings } } };
  writeFileSync(path.join(cwd, 'main.tf.json'), JSON.stringify(config), { mode: 0o600 });
  copyLockFile(fleet.root, cwd);
  try {
    const init = await runTerraform(['init', '-input=false', '-no-color'], { cwd });
    if (init.status !== 0) return fail(init);
    const ended = await runTerraform(['state', 'pull'], { cwd });
    if (ended.status !== 0) return fail(ended);
    return ended.stdout.trim() === '' ? { status: 'absent' } : { status: 'found', text: ended.stdout, shown };
  } catch (error) {
    if (!(error instanceof ProgramError)) throw error;
    return { status: 'unreadable', message: error.message, remedy: error.remedy };
  }
}

/** Terraform's pg backend makes its schema and table when it is set up, were it only for a look. */
const LEAVE_DATABASE = { skip_schema_creation: true, skip_table_creation: true, skip_index_creation: true };

/** What a state file says; `shown` names it in messages. */
export function parseState(text: string, shown: string): StateReading {
  try {
    const { outputs = {}, resources = [] } = stateFile.parse(JSON.parse(text));
    const own = declaredKey(outputs, 'host');
    if (own === undefined) {
      return resources.length === 0
        ? { status: 'absent' }
        : {
            status: 'unreadable',
            begun: true,
            message: `${shown} has no output host_public_key: its first deployment did not end`,
            remedy: 'deploy the host again',
          };
    }
    const next = declaredKey(outputs, 'next');
    const madeAt = outputs.host_key_made_at?.value;
    return {
      status: 'deployed',
      state: {
        ...own,
        ...(typeof madeAt === 'string' ? { keyMadeAt: madeAt } : {}),
        ...(next === undefined ? {} : { next }),
      },
    };
  } catch {
    // Never the cause's message: a JSON parser quotes what it read.
    return {
      status: 'unreadable',
      message: `${shown} is no state of Terraform's that this program can read`,
      remedy: 'restore it from its backup or from a copy',
    };
  }
}

/** The key of the outputs `<which>_public_key` and `<which>_rsa_public_key`; undefined where there is none. */
function declaredKey(
  outputs: NonNullable<z.infer<typeof stateFile>['outputs']>,
  which: 'host' | 'next',
): DeclaredKey | undefined {
  const [key, rsa] = ['public_key', 'rsa_public_key'].map((name) => {
    const value = outputs[`${which}_${name}`]?.value;
    return typeof value === 'string' ? parseSshPublicKey(value) : undefined;
  });
  if (key === undefined) return undefined;
  return { key, recipient: ageRecipientOf(key), ...(rsa === undefined ? {} : { rsa }) };
}

const snippet = z.looseObject({
  attributes: z.looseObject({ id: z.string(), content_type: z.literal('snippets') }),
});

/** The volume ids of the snippets that a state knows. */
export function snippetsIn(text: string): string[] {
  const { resources = [] } = stateFile.parse(JSON.parse(text));
  return resources.flatMap(({ instances }) =>
    Array.isArray(instances)
      ? instances.flatMap((each) => snippet.safeParse(each).data?.attributes.id ?? [])
      : [],
  );
}
