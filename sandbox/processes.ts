import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/**
 * A process that can't be mistaken for another. The kernel gives a number again once its process has ended;
 * number and start time together stay unique until the machine reboots.
 */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks from boot to the process's start, field 22 of /proc/PID/stat. */
  readonly started: string;
}

/** The variable that marks a sandbox's processes. Its value, the sandbox's random id, is nobody else's. */
export const MARKER = 'PROXMOX_SANDBOX_ID';

/** The fields of /proc/PID/stat after the program's name, which may itself hold spaces and brackets. */
export function parseStat(stat: string): { readonly state: string; readonly started: string } | undefined {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  const started = fields[19];
  return state && started ? { state, started } : undefined;
}

const read = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined; // ended meanwhile, or somebody else's
  }
};

const link = (path: string): string | undefined => {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
};

/** The process that has this number now, or undefined. A zombie has ended: it only waits to be counted. */
export function identify(pid: number): ProcessIdentity | undefined {
  const stat = parseStat(read(`/proc/${pid}/stat`) ?? '');
  return stat && stat.state !== 'Z' && stat.state !== 'X' ? { pid, started: stat.started } : undefined;
}

export function isAlive(process: ProcessIdentity | undefined): boolean {
  return process !== undefined && identify(process.pid)?.started === process.started;
}

/** Sends a signal to this very process; a later owner of its number is left alone. */
export function signal(process_: ProcessIdentity, name: NodeJS.Signals): void {
  if (!isAlive(process_)) return;
  try {
    process.kill(process_.pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/**
 * Every live process of a sandbox, whoever its parent is now. Its processes carry the mark in their environment,
 * but sshd writes its title over that; what sshd says in its log, though, it says to its standard error.
 *
 * @param logs the folder of the sandbox's logs
 */
export function processesOf(id: string, logs: string): readonly ProcessIdentity[] {
  const mark = `${MARKER}=${id}`;
  const isMarked = (pid: string) => (read(`/proc/${pid}/environ`) ?? '').split('\0').includes(mark);
  const writesLog = (pid: string) => link(`/proc/${pid}/fd/2`)?.startsWith(`${logs}/`) ?? false;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => isMarked(pid) || writesLog(pid))
    .flatMap((pid) => identify(Number(pid)) ?? []);
}

/** Ends what is left of a sandbox, such as an SSH session that outlived its server, and waits for it. */
export async function sweep(id: string, logs: string): Promise<void> {
  for (let round = 0; round < 100; round++) {
    const left = processesOf(id, logs);
    if (left.length === 0) return;
    for (const process of left) signal(process, 'SIGKILL');
    await sleep(20);
  }
  const left = processesOf(id, logs).map(({ pid }) => pid);
  throw new Error(`The sandbox's processes ${left.join(', ')} can't be ended`);
}

export const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/** Polls every `interval` milliseconds until `probe` answers something, at most `seconds` long. */
export async function waitFor<T>(
  probe: () => T | undefined | Promise<T | undefined>,
  seconds: number,
  interval = 25,
): Promise<T | undefined> {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const found = await probe();
    if (found !== undefined || Date.now() > deadline) return found;
    await sleep(interval);
  }
}

/** The program that ties another to its parent's life. */
export const TETHER = join(__dirname, 'pve', 'tether.py');

/**
 * The command line that runs a program which ends when its parent ends (see pve/tether.py).
 *
 * @param parent the process that will start it
 */
export function tethered(python: string, parent: number, command: readonly string[]): [string, string[]] {
  return [python, ['-I', '-S', TETHER, String(parent), ...command]];
}

/**
 * Runs a program that ends when this one ends.
 *
 * @throws Error with the complaint and everything that the program said, where it fails
 */
export function runTethered(
  python: string,
  command: readonly string[],
  complaint: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<void> {
  const [program, args] = tethered(python, process.pid, command);
  return new Promise((done, fail) => {
    const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (data: Buffer) => (output += data));
    child.stderr.on('data', (data: Buffer) => (output += data));
    child.on('error', fail);
    child.on('close', (code) => (code === 0 ? done() : fail(new Error(`${complaint}:\n${output.trim()}`))));
  });
}
