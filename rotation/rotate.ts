import { declare } from '../fleet/edit';
import type { Fleet, Host, HostKeySource } from '../fleet/fleet';
import { loadFleet } from '../fleet/load';
import { fingerprint, isSameSshKey, type SshPublicKey } from '../keys/ssh-public-key';
import type { GuestLogin } from '../live/guest-ssh';
import { lookAtSecrets } from '../sops/look';
import { needsSync, syncSecrets } from '../sops/sync';
import { Deployment } from '../terraform/deployment';
import { lastWords, ProgramError, runProgram } from '../terraform/program';
import { type HostState, readingOf, readStateTexts } from '../terraform/state';
import { installKeys, servedOf } from './install';
import { keysInState } from './state-keys';

/**
 * The rotation of a host key: at no moment is there a secret that the host can't decrypt, and no moment at which
 * somebody who has the known_hosts lines of the states meets an unknown key.
 *
 * Nothing remembers how far it is but fleet.yaml, the state, the secrets and the host: whoever runs it again after an
 * interruption goes on where they are.
 */
export const STEPS = [
  'declared',
  'made',
  'secrets for both',
  'delivered',
  'installed',
  'retired',
  'secrets for the new one',
] as const;
type Step = (typeof STEPS)[number];

/** How far a host is. */
export interface Position {
  readonly host: string;
  /** `none`: no rotation is under way. */
  readonly next: Step | 'none';
  readonly present: SshPublicKey;
  readonly coming?: SshPublicKey;
  /** Which of the two sshd serves; undefined where it doesn't answer. */
  readonly served?: SshPublicKey;
}

export interface RotateOptions extends GuestLogin {
  /**
   * A shell command that brings the synced secrets to the host, such as a deployment of its configuration.
   * `delivered`: that was done. Where neither is given, the rotation stops before the new key is installed.
   */
  readonly deliver?: string;
  readonly delivered?: boolean;
  /** Told each step as it is done. */
  readonly onStep?: (step: Step, detail: string) => void;
  /** Told what is being done, in a few words. */
  readonly say?: (text: string) => void;
}

/** A host of a fleet as it stands now: everything is read anew before each step. */
interface Now {
  readonly fleet: Fleet;
  readonly host: Host;
  readonly state: HostState;
  readonly text: string;
}

async function read(file: string, name: string): Promise<Now> {
  const fleet = loadFleet(file);
  const host = fleet.hosts.find((each) => each.name === name);
  if (host === undefined) throw new ProgramError(`${name} is no host of ${file}`);
  const text = (await readStateTexts(fleet, [host])).get(name) ?? { status: 'absent' };
  const reading = readingOf(text);
  if (reading.status === 'unreadable') throw new ProgramError(reading.message, reading.remedy);
  if (reading.status === 'absent' || text.status !== 'found')
    throw new ProgramError(
      `${name} was never deployed, so it has no key to rotate`,
      `npx cdktf deploy ${name}`,
    );
  return { fleet, host, state: reading.state, text: text.text };
}

/** Secrets that this host reads and whose recipients aren't what they should be. */
async function unsynced({ fleet, host }: Now) {
  const looked = await lookAtSecrets(fleet, { hosts: new Set([host.name]) });
  return { looked, files: looked.secrets.filter(needsSync) };
}

/** Tells how far a host is, without changing anything. */
export async function positionOf(file: string, name: string): Promise<Position> {
  const now = await read(file, name);
  const { host, state } = now;
  const about = { host: name, present: state.key };
  if (state.next === undefined) {
    if (host.nextKey !== undefined) return { ...about, next: 'made' };
    const { files } = await unsynced(now);
    return { ...about, next: files.some(isLeftover) ? 'secrets for the new one' : 'none' };
  }
  const both = { ...about, coming: state.next.key };
  const served = await servedOf(host, [state.next.key, state.key]).catch((error: unknown) => {
    if (error instanceof ProgramError) return undefined;
    throw error;
  });
  const seen = { ...both, ...(served === undefined ? {} : { served }) };
  if (host.nextKey === undefined) return { ...seen, next: 'retired' };
  const { files } = await unsynced(now);
  if (files.length > 0) return { ...seen, next: 'secrets for both' };
  if (served !== undefined && isSameSshKey(served, state.next.key)) return { ...seen, next: 'retired' };
  return { ...seen, next: 'delivered' };
}

/** A file that an earlier key of the host can still decrypt. */
const isLeftover = ({ extra }: { readonly extra: readonly { readonly standing: string }[] }): boolean =>
  extra.some(({ standing }) => standing !== 'current');

/** The secrets have to reach the host before its old key goes. */
export class NotDelivered extends ProgramError {}

/**
 * Goes on with the rotation of a host to its end, or begins one.
 *
 * @param file The fleet's file.
 * @throws ProgramError, NotDelivered; what was done until then stays, and the next call goes on from there.
 */
export async function rotate(file: string, name: string, options: RotateOptions = {}): Promise<Position> {
  let now = await read(file, name);
  const isUnderWay = now.host.nextKey !== undefined || now.state.next !== undefined;
  // What an earlier one has left is finished first, and no other is begun.
  if (!isUnderWay && !(await unsynced(now)).files.some(isLeftover)) {
    await declare(file, name, { nextKey: nextOf(now.host) });
    options.onStep?.('declared', `${file}: hosts.${name}.nextKey`);
    now = await read(file, name);
  }

  if (now.host.nextKey !== undefined) {
    if (now.state.next === undefined) {
      options.say?.('making the new key');
      await deploy(now);
      now = await read(file, name);
      if (now.state.next === undefined) throw new ProgramError(`${name} got no second key`);
      options.onStep?.('made', fingerprint(now.state.next.key));
    }
    await installNext(now, options);
    await declare(file, name, { hostKey: writtenKey(now.host.nextKey), nextKey: undefined });
    now = await read(file, name);
  }

  if (now.state.next !== undefined) {
    const served = await servedOf(now.host, [now.state.next.key, now.state.key], 30);
    if (!isSameSshKey(served, now.state.next.key))
      throw new ProgramError(
        `${name} serves ${fingerprint(served)}, its old key, though ${file} has the new one as its own`,
        `write hostKey and nextKey of ${name} as they were before, and run it again: git diff ${file}`,
      );
    options.say?.('retiring the old key');
    await deploy(now);
    now = await read(file, name);
    options.onStep?.('retired', `the state has ${fingerprint(now.state.key)} alone`);
  }
  await syncAll(now, 'secrets for the new one', options);
  return positionOf(file, name);
}

async function installNext(now: Now, options: RotateOptions): Promise<void> {
  const { fleet, host, state, text } = now;
  const { next } = state;
  if (next === undefined || host.nextKey === undefined) return;
  const served = await servedOf(host, [next.key, state.key], 30);
  await syncAll(now, 'secrets for both', options);
  if (isSameSshKey(served, next.key)) return;
  if (options.deliver !== undefined) {
    options.say?.(`delivering: ${options.deliver}`);
    const env = { ...process.env, HOSTKEY_HOST: host.name };
    const ended = await runProgram(options.deliver, [], { cwd: fleet.root, shell: true, env });
    if (ended.status !== 0)
      throw new ProgramError(`${options.deliver} failed (exit ${ended.status}): ${lastWords(ended)}`);
    options.onStep?.('delivered', options.deliver);
  } else if (options.delivered !== true) {
    throw new NotDelivered(
      `${host.name} must have its secrets as they are encrypted now before its old key goes`,
      `deploy its configuration; then bin/hostkey rotate ${host.name} --delivered`,
    );
  } else options.onStep?.('delivered', 'as you say');
  options.say?.('installing the new key');
  const keys = keysInState(text, host.nextKey);
  if (keys.length === 0)
    throw new ProgramError(`the state of ${host.name} holds no private key of its next key`);
  await installKeys(host, [state.key], keys, options);
  options.onStep?.('installed', `sshd serves ${fingerprint(next.key)}`);
}

async function syncAll(now: Now, step: Step, options: RotateOptions): Promise<void> {
  const { looked, files } = await unsynced(now);
  if (files.length === 0 && step === 'secrets for both') return;
  const results = await syncSecrets(now.fleet, looked, {
    onStart: (each) => options.say?.(`syncing ${each}`),
  });
  for (const [secret, result] of results) {
    if (result.status === 'left')
      throw new ProgramError(`${secret} is left as it is: ${result.message}`, result.remedy);
  }
  options.onStep?.(step, files.length === 0 ? 'nothing to sync' : files.map(({ file }) => file).join(', '));
}

/** What a rotation may change of a stack. */
const OWN =
  /^(tls_private_key\.host_key\w*|terraform_data\.(host_key\w*_made|sops_root_entry)|local_file\.sops_file|proxmox_virtual_environment_file\.first_boot_snippet)(\[|$)/;

async function deploy({ fleet, host }: Now): Promise<void> {
  const plan = await Deployment.plan(fleet, host);
  try {
    const foreign = plan.changes.filter(({ address }) => !OWN.test(address));
    if (foreign.length > 0) {
      const list = foreign.map(({ address, change }) => `${address} (${change.actions.join(', ')})`);
      throw new ProgramError(
        `the plan of ${host.name} has changes that are none of the rotation: ${list.join(', ')}`,
        `deploy them first: npx cdktf diff ${host.name}`,
      );
    }
    await plan.apply();
  } finally {
    plan.discard();
  }
}

/** The key that follows a host's present one. */
function nextOf({ hostKey }: Host): unknown {
  const generation = hostKey.source === 'generated' ? hostKey.generation + 1 : 1;
  return writtenKey({ source: 'generated', generation });
}

function writtenKey(source: HostKeySource | undefined): unknown {
  if (source?.source !== 'generated') throw new ProgramError('only a key that is made here can take over');
  return source.generation === 1 ? 'generated' : { generation: source.generation };
}

/**
 * Gives a rotation up, and leaves the host with the key that it had.
 *
 * @throws ProgramError where the old key is gone already.
 */
export async function abort(file: string, name: string, options: RotateOptions = {}): Promise<Position> {
  let now = await read(file, name);
  const { host, state, text } = now;
  if (host.nextKey === undefined) {
    throw new ProgramError(
      state.next === undefined
        ? `no rotation of ${name} is under way`
        : `the new key of ${name} has taken over already`,
      state.next === undefined ? '' : `go on to the end: bin/hostkey rotate ${name}`,
    );
  }
  if (state.next !== undefined) {
    const served = await servedOf(host, [state.next.key, state.key], 30);
    if (isSameSshKey(served, state.next.key)) {
      const keys = keysInState(text, host.hostKey);
      if (keys.length === 0)
        throw new ProgramError(
          `the old key of ${name} was made by the host itself, and is gone`,
          `go on to the end: bin/hostkey rotate ${name}`,
        );
      options.say?.('installing the old key again');
      await installKeys(host, [state.next.key], keys, options);
      options.onStep?.('installed', `sshd serves ${fingerprint(state.key)} again`);
    }
  }
  await declare(file, name, { nextKey: undefined });
  now = await read(file, name);
  await deploy(now);
  options.onStep?.('retired', 'the next key is gone');
  now = await read(file, name);
  await syncAll(now, 'secrets for the new one', options);
  return positionOf(file, name);
}
