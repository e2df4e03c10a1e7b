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
 * `refused`: the machine is there, and nothing listens on the port. `timeout`: nothing answered at all, or not with
 * SSH's greeting. `unreachable`: no route. `unknown-name`: the name doesn't resolve. `not-ssh`: something else
 * listens, or sshd hangs up.
 */
export type Silence = 'refused' | 'timeout' | 'unreachable' | 'unknown-name' | 'not-ssh';

export interface ScanOptions {
  /** How long one server may take to answer. @default 5 */
  readonly timeoutSeconds?: number;
  /** How many servers are asked at once. @default 32 */
  readonly concurrency?: number;
  /** How long to wait for a server that doesn't answer yet. @default 0: one try */
  readonly waitSeconds?: number;
  /** Told when a server has answered, or will not. */
  readonly onScan?: () => void;
}

const PAUSE_MS = 500;

/**
 * Scans SSH servers, all at once, with OpenSSH's ssh-keyscan.
 *
 * What the network answers is only ever compared with a key that is known, and never believed.
 *
 * @throws ProgramError where there is no ssh-keyscan.
 */
export async function scanServers<Name>(
  servers: ReadonlyMap<Name, SshServer>,
  options: ScanOptions = {},
): Promise<ReadonlyMap<Name, Scan>> {
  const { timeoutSeconds = 5, concurrency = 32, waitSeconds = 0, onScan } = options;
  const limit = pLimit(concurrency);
  const scans = await Promise.all(
    [...servers].map(([name, server]) =>
      limit(async () => {
        const scan = await scanUntil(server, timeoutSeconds, Date.now() + waitSeconds * 1000);
        onScan?.();
        return [name, scan] as const;
      }),
    ),
  );
  return new Map(scans);
}

async function scanUntil(server: SshServer, timeoutSeconds: number, deadline: number): Promise<Scan> {
  for (;;) {
    const scan = await scanOnce(server, timeoutSeconds);
    if (scan.status === 'answered' || Date.now() + PAUSE_MS > deadline) return scan;
    await sleep(PAUSE_MS);
  }
}

async function scanOnce({ address, port }: SshServer, timeoutSeconds: number): Promise<Scan> {
  const keys = parseScan(await keyscan(address, port, timeoutSeconds));
  if (keys.length > 0) return { status: 'answered', keys };
  // ssh-keyscan says why in words that change from release to release; the socket says it by its code.
  return { status: 'silent', why: await silence(address, port, timeoutSeconds) };
}

function keyscan(address: string, port: number, timeoutSeconds: number): Promise<string> {
  // Named, since ssh-keyscan's own choice has changed (OpenSSH 9.8 left DSA out), and each type is a connection.
  const args = ['-T', String(timeoutSeconds), '-t', 'ed25519,ecdsa,rsa', '-p', String(port), '--', address];
  return new Promise((resolve, reject) => {
    execFile('ssh-keyscan', args, { timeout: (timeoutSeconds * 4 + 5) * 1000 }, (error, stdout) => {
      if ((error as NodeJS.ErrnoException | null)?.code !== 'ENOENT') resolve(stdout);
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

function silence(host: string, port: number, timeoutSeconds: number): Promise<Silence> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (why: Silence) => {
      socket.destroy();
      resolve(why);
    };
    socket.setTimeout(timeoutSeconds * 1000, () => end('timeout'));
    socket.on('error', ({ code = '' }: NodeJS.ErrnoException) => end(BY_CODE[code] ?? 'unreachable'));
    // It listens, and speaks something else; or it is sshd that has no host key, or is too busy, and hangs up.
    socket.on('data', () => end('not-ssh'));
    socket.on('close', () => end('not-ssh'));
  });
}
