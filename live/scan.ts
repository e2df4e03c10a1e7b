import { execFile } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import type { SshServer } from '../fleet/fleet';
import { KeyFormatError, parseSshPublicKey, type SshPublicKey } from '../keys/ssh-public-key';
import { ProgramError } from '../terraform/program';

/** What an SSH server answers to one scan. */
export type Scan =
  /** The host keys that it serves, one of a type; never empty. */
  | { readonly status: 'answered'; readonly keys: readonly SshPublicKey[] }
  | { readonly status: 'silent'; readonly why: Silence };

/**
 * Why no key came.
 *
 * `refused`: the machine is there, and nothing listens on the port. `timeout`: nothing answered at all. `mute`: the
 * port accepts connections, and nothing is said there. `unreachable`: no route. `unknown-name`: the name doesn't
 * resolve. `not-ssh`: something else listens, or sshd hangs up. `no-key`: an SSH server without a key of these types.
 */
export type Silence = 'refused' | 'timeout' | 'mute' | 'unreachable' | 'unknown-name' | 'not-ssh' | 'no-key';

export interface ScanOptions {
  /** How long one server may take to answer. @default 5 */
  readonly timeoutSeconds?: number;
  /** How many servers are asked at once. @default 32 */
  readonly concurrency?: number;
  /** How long to wait for a server that doesn't answer yet, from the call on. @default 0: one try */
  readonly waitSeconds?: number;
  /** Told when a server has answered, or will not. */
  readonly onScan?: () => void;
}

const PAUSE_MS = 500;

/**
 * Scans SSH servers, all at once, with OpenSSH's ssh-keyscan.
 *
 * What the network answers is only ever compared with a key that is known, and never believed. A scan sees the public
 * keys that a server shows; ssh-keyscan ends the key exchange before the server has to sign (openssh-portable,
 * ssh-keyscan.c, key_print_wrapper), so it is ssh's own login that proves who holds the private one.
 *
 * @throws ProgramError where there is no ssh-keyscan.
 */
export async function scanServers<Name>(
  servers: ReadonlyMap<Name, SshServer>,
  options: ScanOptions = {},
): Promise<ReadonlyMap<Name, Scan>> {
  const { timeoutSeconds = 5, concurrency = 32, waitSeconds = 0, onScan } = options;
  const limit = pLimit(concurrency);
  const deadline = Date.now() + waitSeconds * 1000;
  // Each try takes its turn: a server that is waited for must not keep those from being asked that answer.
  const scan = async (server: SshServer): Promise<Scan> => {
    for (;;) {
      const isLast = Date.now() + PAUSE_MS > deadline;
      const found = await limit(() => scanOnce(server, timeoutSeconds, isLast));
      if (found !== undefined) return found;
      await sleep(PAUSE_MS);
    }
  };
  const scans = await Promise.all(
    [...servers].map(async ([name, server]) => {
      const found = await scan(server);
      onScan?.();
      return [name, found] as const;
    }),
  );
  return new Map(scans);
}

// Named, since ssh-keyscan's own choice has changed (OpenSSH 9.8 left DSA out), and each type is a connection.
const ALL_TYPES = 'ed25519,ecdsa,rsa';

/** @returns undefined where nothing answered, and it isn't the last try, which says why. */
async function scanOnce(
  server: SshServer,
  timeoutSeconds: number,
  isLast: boolean,
): Promise<Scan | undefined> {
  const begun = Date.now();
  const keys = await keyscan(server, ALL_TYPES, timeoutSeconds);
  if (keys.length > 0) return { status: 'answered', keys: await withEd25519(keys, server, timeoutSeconds) };
  if (!isLast) return undefined;
  // ssh-keyscan says why in words that change from release to release; the socket says it by its code. Where all the
  // time is used up, only whether somebody picks up remains to be seen.
  const left = timeoutSeconds * 1000 - (Date.now() - begun);
  const why = await silence(server, Math.max(left, 1000));
  if (why !== 'ssh') return { status: 'silent', why };
  // It speaks SSH after all. It may have come up this very moment.
  const late = await keyscan(server, ALL_TYPES, timeoutSeconds);
  return late.length > 0 ? { status: 'answered', keys: late } : { status: 'silent', why: 'no-key' };
}

/**
 * The keys, and the ed25519 one even where its connection alone was lost: sshd drops some of many at once
 * (MaxStartups), and a busy guest may be too slow for one of three. Without this, the right host would raise an alarm.
 */
async function withEd25519(
  keys: readonly SshPublicKey[],
  server: SshServer,
  timeoutSeconds: number,
): Promise<readonly SshPublicKey[]> {
  if (keys.some(({ type }) => type === 'ssh-ed25519')) return keys;
  return [...(await keyscan(server, 'ed25519', timeoutSeconds)), ...keys];
}

function keyscan(
  { address, port }: SshServer,
  types: string,
  timeoutSeconds: number,
): Promise<SshPublicKey[]> {
  const args = ['-T', String(timeoutSeconds), '-t', types, '-p', String(port), '--', address];
  return new Promise((resolve, reject) => {
    execFile('ssh-keyscan', args, { timeout: (timeoutSeconds * 4 + 5) * 1000 }, (error, stdout) => {
      if ((error as NodeJS.ErrnoException | null)?.code !== 'ENOENT') resolve(parseScan(stdout));
      else
        reject(
          new ProgramError(
            'ssh-keyscan is not installed, or not on PATH',
            "install OpenSSH's client programs",
          ),
        );
    });
  });
}

/** The keys in what ssh-keyscan prints: `ADDRESS TYPE BASE64` lines (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT). */
function parseScan(output: string): SshPublicKey[] {
  return output.split('\n').flatMap((line) => {
    const [name = '#', ...key] = line.trim().split(' ');
    if (name.startsWith('#') || key.length === 0) return [];
    try {
      return [parseSshPublicKey(key.join(' '))];
    } catch (error) {
      if (error instanceof KeyFormatError) return [];
      throw error;
    }
  });
}

const BY_CODE: Readonly<Record<string, Silence>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'not-ssh',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
  EADDRNOTAVAIL: 'unreachable',
  EACCES: 'unreachable',
  ETIMEDOUT: 'timeout',
  ENOTFOUND: 'unknown-name',
  EAI_AGAIN: 'unknown-name',
};

function silence({ address, port }: SshServer, milliseconds: number): Promise<Silence | 'ssh'> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    let connected = false;
    const end = (why: Silence | 'ssh') => {
      clearTimeout(timer);
      socket.destroy();
      resolve(why);
    };
    const timer = setTimeout(() => end(connected ? 'mute' : 'timeout'), milliseconds);
    socket.on('connect', () => {
      connected = true;
    });
    socket.on('error', ({ code = '' }: NodeJS.ErrnoException) => end(BY_CODE[code] ?? 'unreachable'));
    // An SSH server greets first (RFC 4253 section 4.2).
    socket.on('data', (bytes) => end(bytes.toString('latin1').includes('SSH-') ? 'ssh' : 'not-ssh'));
    // It listens, and speaks something else; or it is sshd that has no host key, or is too busy, and hangs up.
    socket.on('close', () => end('not-ssh'));
  });
}
