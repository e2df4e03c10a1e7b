import { formatSshPublicKey, type SshPublicKey } from './ssh-public-key';

/**
 * One line of `known_hosts` (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
 *
 * @param names Names and addresses of the host; duplicates are dropped, order is kept.
 * @param port The port of its sshd. Another one than 22 is written as OpenSSH does, `[name]:port`.
 */
export function knownHostsLine(names: readonly string[], key: SshPublicKey, port = 22): string {
  return `${knownHostsNames(names, port)} ${formatSshPublicKey(key)}`;
}

/** The first field of a `known_hosts` line. */
export function knownHostsNames(names: readonly string[], port = 22): string {
  return [...new Set(names)].map((name) => (port === 22 ? name : `[${name}]:${port}`)).join(',');
}
