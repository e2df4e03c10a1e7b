import { spawn } from 'node:child_process';
import { existsSync, openSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { Accelerator } from './guests/accelerator';
import { setUpGuests } from './guests/setup';
import { callApi, callControl, type Values } from './http';
import { addKnownHost, removeKnownHost } from './known-hosts';
import { claimDir, defaultDir, isOurs, type Layout, layout, logFile, notOurs, projectRoot } from './layout';
import { FolderGone, withLock } from './lock';
import { type Addresses, environment, prepare } from './prepare';
import {
  identify,
  isAlive,
  MARKER,
  type ProcessIdentity,
  signal,
  sweep,
  tethered,
  waitFor,
} from './processes';
import { ensurePython } from './python';
import { isUp, readRecord, type SandboxRecord } from './status';

export interface SandboxOptions {
  /** @default `.sandbox` at the project's root */
  readonly dir?: string;
  /** An address in 127.0.0.0/8, one a sandbox. @default 127.83.0.1 */
  readonly address?: string;
  /** @default 8006 */
  readonly apiPort?: number;
  /** The node's SSH server. @default 2222 */
  readonly sshPort?: number;
  /**
   * Whose `.ssh/known_hosts` gets the node's key. Tests name a folder of their own, and find it as HOME in
   * `env`, so that the provider writes there too. @default the caller's home
   */
  readonly home?: string;
  /**
   * Whether starting a VM boots a real guest in QEMU; `if possible` goes without where this machine can't, and says
   * why. A sandbox that is up already stays as it is.
   * @default false
   */
  readonly guests?: boolean | 'if possible';
  /** Whether the sandbox outlives the program that starts it. @default false */
  readonly detached?: boolean;
  /** Told what is being done, a line at a time. @default silence */
  readonly say?: (line: string) => void;
}

/** A virtual machine, as the sandbox's node has it. */
export interface Guest {
  readonly vmid: number;
  readonly name: string;
  readonly node: string;
  readonly template: boolean;
  readonly status: 'running' | 'stopped';
  /** Seconds since 1970; null for a machine that is off. */
  readonly startedAt: number | null;
  /** The machine's config, by PVE's keys: `cicustom`, `ipconfig0`, `net0`, … */
  readonly config: Readonly<Record<string, string | number>>;
  /** The machine that QEMU runs for it; null where none was ever started. */
  readonly guest: BootedGuest | null;
}

/** A real guest. */
export interface BootedGuest {
  /** Its SSH server's loopback address. */
  readonly address: string;
  readonly port: number;
  /** File with everything that its serial console ever said. */
  readonly serial: string;
  readonly accelerator: Accelerator;
  /** QEMU's process; null while it is off. */
  readonly pid: number | null;
}

/** A running Proxmox VE on this machine, and what one can do with it. */
export interface Sandbox {
  readonly dir: string;
  /** As fleet.yaml has it under `proxmox.endpoint`. */
  readonly endpoint: string;
  /** As fleet.yaml has it under `proxmox.nodes`. */
  readonly node: { readonly name: string; readonly address: string; readonly port: number };
  /** What the provider needs in its environment: token, SSH key, authorities. */
  readonly env: Readonly<Record<string, string>>;
  /** The folder on the "node" that snippets are uploaded to. */
  readonly snippets: string;
  /** The API certificate's authority (PEM file). */
  readonly caFile: string;
  /** The file to source in a shell. */
  readonly envFile: string;
  /** Whether its VMs boot real guests. */
  readonly bootsGuests: boolean;
  /** Whether it was up before it was asked for. */
  readonly wasUp: boolean;
  /** A request to the API as root@pam, for what happens behind Terraform's back; answers its `data`. */
  request(method: string, path: string, values?: Values): Promise<unknown>;
  /** The virtual machines and their power state, templates among them. */
  guests(): Promise<readonly Guest[]>;
  /**
   * Sets a fault or takes it away: fakepve's `fail`, `flaky_network`, `hold_config_lock`, … with their arguments
   * by name (CONTROLS in pve/adapter.py), `clear_failures`, `time_scale` (real seconds for each of PVE's), and `token`
   * (a token whose user has these `grants` and no others).
   */
  control(call: string, args?: Readonly<Record<string, unknown>>): Promise<void>;
  /** Ends its processes and removes its folder. */
  stop(): Promise<void>;
}

/** Brings a sandbox up, or finds that it is; resolves when its API and its SSH server answer. */
export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const paths = layout(options.dir ?? defaultDir);
  const where = addresses(options);
  for (;;) {
    claimDir(paths);
    removeLeftovers(paths);
    try {
      return await withLock(paths.lock, () => bringUp(paths, where, options));
    } catch (error) {
      // A `down` was quicker and took the folder away: begin anew.
      if (!(error instanceof FolderGone)) throw error;
    }
  }
}

/** The sandbox in this folder, if it is up. */
export function openSandbox(dir: string = defaultDir): Sandbox | undefined {
  const paths = layout(dir);
  const record = readRecord(paths);
  return isUp(record) ? handle(paths, record, true) : undefined;
}

/** What status.json says of the sandbox in this folder, be it up or not. */
export const sandboxRecord = (dir: string = defaultDir): SandboxRecord | undefined => readRecord(layout(dir));

/** Ends a sandbox and removes its folder; answers whether there was one. */
export async function stopSandbox(dir: string = defaultDir): Promise<boolean> {
  const paths = layout(dir);
  removeLeftovers(paths);
  if (!existsSync(paths.dir)) return false;
  if (!isOurs(paths)) throw new Error(notOurs(paths));
  try {
    await withLock(paths.lock, async () => {
      await halt(paths);
      // Moved first: a folder that is half removed must not look like a sandbox.
      const leftover = `${paths.dir}${LEFTOVER}${process.pid}`;
      renameSync(paths.dir, leftover);
      rmSync(leftover, { recursive: true, force: true });
    });
    return true;
  } catch (error) {
    if (error instanceof FolderGone) return false;
    throw error;
  }
}

function addresses(options: SandboxOptions): Addresses {
  const address = options.address ?? '127.83.0.1';
  if (!/^127(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/.test(address)) {
    throw new Error(`${address} is not in 127.0.0.0/8; a sandbox listens on loopback addresses only`);
  }
  return { address, apiPort: options.apiPort ?? 8006, sshPort: options.sshPort ?? 2222 };
}

async function bringUp(paths: Layout, where: Addresses, options: SandboxOptions): Promise<Sandbox> {
  const say = options.say ?? (() => undefined);
  const current = readRecord(paths);
  if (isUp(current)) {
    assertSame(current, where);
    await trustNode(paths, current);
    return handle(paths, current, true);
  }
  await halt(paths);
  empty(paths);
  const python = await ensurePython(say);
  const guests = options.guests ? await setUpGuests(options.guests, where.address, python, say) : undefined;
  say('Making keys, certificates and the API token');
  const record = prepare(paths, where, options.home ?? homedir(), python, guests);
  say(`Starting the API on ${record.endpoint} and sshd on ${record.address}:${record.sshPort}`);
  await launch(paths, record, python, options.detached ?? false);
  // Only now: until it's up, the address may be another sandbox's.
  await trustNode(paths, record);
  return handle(paths, record, false);
}

function assertSame(record: SandboxRecord, where: Addresses): void {
  const [have, want] = [record, where].map(
    ({ address, apiPort, sshPort }) => `${address} (API ${apiPort}, sshd ${sshPort})`,
  );
  if (have !== want) throw new Error(`The sandbox is up on ${have}, not on ${want}; take it down first`);
}

const hostOf = ({ address, sshPort }: SandboxRecord) => ({ address, port: sshPort });

/** The node's public key, if it was made already. */
function nodeKey(paths: Layout): string | undefined {
  const file = join(paths.ssh, 'host.pub');
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}

/** Puts the node's key where the provider looks for it. */
async function trustNode(paths: Layout, record: SandboxRecord): Promise<void> {
  const key = nodeKey(paths);
  if (key) await addKnownHost(record.home, hostOf(record), key);
}

async function launch(
  paths: Layout,
  record: SandboxRecord,
  python: string,
  detached: boolean,
): Promise<void> {
  const log = openSync(logFile(paths, 'supervisor'), 'a', 0o600);
  const command = [
    process.execPath,
    join(projectRoot, 'bin', 'run'),
    join(__dirname, 'supervisor.ts'),
    paths.dir,
    python,
  ];
  const [program, args] = detached
    ? [command[0] as string, command.slice(1)]
    : tethered(python, process.pid, command);
  const env = { ...process.env, [MARKER]: record.id };
  const child = spawn(program, args, { cwd: projectRoot, detached: true, env, stdio: ['ignore', log, log] });
  child.unref();
  const outcome = await waitFor(() => {
    const now = readRecord(paths);
    if (now?.state === 'up' || now?.state === 'failed') return now;
    return child.exitCode !== null || child.signalCode !== null ? (now ?? record) : undefined;
  }, 60);
  if (outcome?.state === 'up') return;
  await halt(paths);
  throw new Error(outcome?.failure ?? `The supervisor ended early; see ${logFile(paths, 'supervisor')}`);
}

/** Ends whatever runs of the sandbox in this folder, politely first. */
async function halt(paths: Layout): Promise<void> {
  const record = readRecord(paths);
  if (!record) return;
  if (record.supervisor) await endProcess(record.supervisor);
  await sweep(record.id, paths.logs);
  const key = nodeKey(paths);
  if (key) await removeKnownHost(record.home, hostOf(record), key);
}

async function endProcess(target: ProcessIdentity): Promise<void> {
  signal(target, 'SIGTERM');
  await waitFor(() => (isAlive(target) ? undefined : true), 5);
  signal(target, 'SIGKILL');
}

/** Removes what an earlier sandbox left in the folder. */
function empty(paths: Layout): void {
  const keep = new Set([paths.marker, paths.lock].map((file) => basename(file)));
  for (const name of readdirSync(paths.dir)) {
    if (!keep.has(name) && !name.startsWith('lock.'))
      rmSync(join(paths.dir, name), { recursive: true, force: true });
  }
}

const LEFTOVER = '.removing-';

/** Removes folders that a killed `down` had moved away already. */
function removeLeftovers(paths: Layout): void {
  const parent = dirname(paths.dir);
  if (!existsSync(parent)) return;
  for (const name of readdirSync(parent)) {
    const remover = name.startsWith(`${basename(paths.dir)}${LEFTOVER}`)
      ? Number(name.split(LEFTOVER)[1])
      : undefined;
    if (remover !== undefined && !identify(remover))
      rmSync(join(parent, name), { recursive: true, force: true });
  }
}

function handle(paths: Layout, record: SandboxRecord, wasUp: boolean): Sandbox {
  const caFile = join(paths.tls, 'ca.pem');
  const login = { username: 'root@pam', password: record.rootPassword };
  return {
    dir: paths.dir,
    endpoint: record.endpoint,
    node: { name: record.node, address: record.address, port: record.sshPort },
    env: { ...environment(paths, record), ...(record.home === homedir() ? {} : { HOME: record.home }) },
    snippets: paths.snippets,
    caFile,
    envFile: paths.env,
    bootsGuests: record.guests !== undefined,
    wasUp,
    request: (method, path, values) =>
      callApi({ endpoint: record.endpoint, ca: readFileSync(caFile, 'utf8'), login }, method, path, values),
    guests: async () => ((await callControl(paths.control, 'GET', '/vms')) as { vms: Guest[] }).vms,
    control: async (call, args = {}) => {
      await callControl(paths.control, 'POST', '/call', { call, arguments: args });
    },
    stop: async () => {
      await stopSandbox(paths.dir);
    },
  };
}
