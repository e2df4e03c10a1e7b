import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Layout } from './layout';
import { MARKER } from './processes';

/** Where Debian, Fedora, Arch and NixOS have it; it is rarely on an ordinary user's PATH. */
const PLACES = ['/usr/sbin', '/usr/local/sbin', '/sbin', '/usr/bin', '/run/current-system/sw/bin'];

/** sshd's absolute path: it starts itself anew for each connection and insists on one. */
export function findSshd(searchPath = process.env.PATH ?? ''): string {
  const found = [...searchPath.split(':'), ...PLACES]
    .filter((place) => place.startsWith('/'))
    .map((place) => join(place, 'sshd'))
    .find((file) => existsSync(file));
  if (!found)
    throw new Error("sshd is not there: install OpenSSH's server (Debian: apt-get install openssh-server)");
  return found;
}

export interface SshdOptions {
  readonly address: string;
  readonly port: number;
  /** The only account that may log in: the one that runs the sandbox. */
  readonly user: string;
  /** The sandbox's id. What runs in a session carries it, so that it can be found when its server is gone. */
  readonly id: string;
}

/** The node's SSH server: one account, one key, no password, no forwarding, nothing outside the folder. */
export function sshdConfig(paths: Layout, options: SshdOptions): string {
  return [
    `ListenAddress ${options.address}:${options.port}`,
    `HostKey ${join(paths.ssh, 'host')}`,
    'PidFile none',
    `AllowUsers ${options.user}`,
    `AuthorizedKeysFile ${join(paths.ssh, 'authorized_keys')}`,
    // The folder itself is 0700; what lies above it (a shared /work, say) is none of sshd's business.
    'StrictModes no',
    'AuthenticationMethods publickey',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitRootLogin prohibit-password',
    'UsePAM no',
    'DisableForwarding yes',
    'PermitUserRC no',
    'PrintMotd no',
    'PrintLastLog no',
    'Subsystem sftp internal-sftp',
    `SetEnv ${MARKER}=${options.id}`,
    // Twenty hosts deployed at once open as many connections at once.
    'MaxStartups 100',
    'MaxSessions 100',
    'LogLevel VERBOSE',
    '',
  ].join('\n');
}

/**
 * As root, sshd shuts its unauthenticated half into an empty folder whose path is compiled in. The system's
 * ssh service makes it at boot; where that service never ran, as in a container, it's missing.
 */
export function ensurePrivilegeSeparationDir(dir = '/run/sshd'): void {
  if (process.getuid?.() === 0) mkdirSync(dir, { recursive: true, mode: 0o755 });
}
