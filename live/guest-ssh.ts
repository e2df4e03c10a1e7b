import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Host } from '../fleet/fleet';
import { shellWord } from '../fleet/shell';
import { knownHostsLine } from '../keys/known-hosts';
import type { SshPublicKey } from '../keys/ssh-public-key';
import { type Ended, ProgramError, runProgram } from '../terraform/program';
import { TemporaryFolder } from '../terraform/temporary-folder';

/** Whom to log in as, and how. */
export interface GuestLogin {
  /** A file with a private key, as ssh's `-i` takes it. @default what ssh and its agent have */
  readonly identity?: string;
  /** How long the connection may take to come up. @default 15 */
  readonly connectSeconds?: number;
}

/** The algorithms by which a key of a type is proven; a certificate is never what this trusts. */
const ALGORITHMS: Readonly<Record<string, string>> = { 'ssh-rsa': 'rsa-sha2-512,rsa-sha2-256' };

/** ssh's own exit code: it could not connect, or not log in (ssh(1), EXIT STATUS). */
const NO_CONNECTION = 255;

/**
 * Runs a shell script as root in a host's guest, over ssh, as `host.user` and by sudo where that isn't root.
 *
 * The connection is to one that holds one of `keys`, or to nobody: they are all that ssh is told to know, nobody is
 * asked anything, and no connection that is open already is used. The person's own ssh_config may still say how to get
 * there (ProxyJump, IdentityFile).
 *
 * @param input What the script reads from standard input; it is in no argument, which everybody in the guest can see.
 * @throws ProgramError where there is no connection, no login, or no sudo. How the script itself ended is returned.
 */
export async function runInGuest(
  host: Pick<Host, 'name' | 'ssh' | 'user'>,
  keys: readonly SshPublicKey[],
  script: string,
  input: string,
  { identity, connectSeconds = 15 }: GuestLogin = {},
): Promise<Ended> {
  const { address, port } = host.ssh;
  const folder = new TemporaryFolder('hostkey-ssh-');
  try {
    const knownHosts = path.join(folder.path, 'known_hosts');
    const alias = host.name;
    writeFileSync(knownHosts, keys.map((key) => `${knownHostsLine([alias], key)}\n`).join(''));
    const options = {
      BatchMode: 'yes',
      StrictHostKeyChecking: 'yes',
      UserKnownHostsFile: `"${knownHosts}"`,
      GlobalKnownHostsFile: '/dev/null',
      KnownHostsCommand: 'none',
      HostKeyAlias: alias,
      HostKeyAlgorithms: [...new Set(keys.map(({ type }) => ALGORITHMS[type] ?? type))].join(','),
      CheckHostIP: 'no',
      VerifyHostKeyDNS: 'no',
      UpdateHostKeys: 'no',
      ControlMaster: 'no',
      ControlPath: 'none',
      ForwardAgent: 'no',
      ClearAllForwardings: 'yes',
      RequestTTY: 'no',
      ConnectTimeout: String(connectSeconds),
      ServerAliveInterval: '10',
      LogLevel: 'ERROR',
      ...(identity === undefined ? {} : { IdentityFile: `"${path.resolve(identity)}"` }),
    };
    const args = [
      ...Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]),
      ...['-p', String(port)],
      ...(host.user === undefined ? [] : ['-l', host.user]),
      ...['--', address, `sh -c ${shellWord(asRoot(script))}`],
    ];
    const ended = await runProgram('ssh', args, { cwd: folder.path, input });
    if (ended.status === NO_CONNECTION) throw noConnection(host, ended);
    if (ended.status === NO_ROOT)
      throw new ProgramError(
        `${host.user ?? 'the login'} may not become root on ${host.name} without a password`,
        `allow it in sudoers (NOPASSWD), or write hosts.${host.name}.user: root`,
      );
    return ended;
  } finally {
    folder.remove();
  }
}

/** An exit code that no program of ours has. */
const NO_ROOT = 93;

const asRoot = (script: string): string =>
  `if [ "$(id -u)" = 0 ]; then exec sh -c ${shellWord(script)}; fi; sudo -n true 2>/dev/null || exit ${NO_ROOT}; exec sudo -n sh -c ${shellWord(script)}`;

function noConnection(
  { name, ssh: { address, port } }: Pick<Host, 'name' | 'ssh'>,
  { stderr }: Ended,
): ProgramError {
  const words = stderr.trim().split('\n').at(-1)?.trim() ?? '';
  const where = `${address} port ${port}`;
  if (/host key|HOST IDENTIFICATION/i.test(stderr))
    return new ProgramError(
      `what answers at ${where} doesn't hold the declared host key of ${name}; nothing was sent to it`,
      `bin/hostkey verify ${name} says what it serves`,
    );
  return /Permission denied/.test(stderr)
    ? new ProgramError(
        `${name} lets nobody in by the keys that ssh has here: ${words}`,
        'ssh-add a key of authorizedKeys, or name one: --identity FILE',
      )
    : new ProgramError(`no connection to ${name}: ${words}`, `bin/hostkey verify ${name} --wait 120`);
}
