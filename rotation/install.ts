import { setTimeout as sleep } from 'node:timers/promises';
import type { Host } from '../fleet/fleet';
import { fingerprint, formatSshPublicKey, isSameSshKey, type SshPublicKey } from '../keys/ssh-public-key';
import { type GuestLogin, runInGuest } from '../live/guest-ssh';
import { scanServers } from '../live/scan';
import { lastWords, ProgramError } from '../terraform/program';
import type { StateKey } from './state-keys';

/** The keys that a host serves; none where it doesn't answer. */
async function scan({ name, ssh }: Host, waitSeconds: number): Promise<readonly SshPublicKey[]> {
  const found = (await scanServers(new Map([[name, ssh]]), { waitSeconds })).get(name);
  return found?.status === 'answered' ? found.keys : [];
}

/** What sshd on a host serves, of the keys that it may. @throws ProgramError where it doesn't answer. */
export async function servedOf(
  host: Host,
  keys: readonly SshPublicKey[],
  waitSeconds = 0,
): Promise<SshPublicKey> {
  const all = await scan(host, waitSeconds);
  const wait = `bin/hostkey verify ${host.name} --wait 120`;
  if (all.length === 0) throw new ProgramError(`${host.name} doesn't answer`, wait);
  const served = keys.find((key) => all.some((each) => isSameSshKey(each, key)));
  if (served !== undefined) return served;
  throw new ProgramError(
    `${host.name} serves none of the keys of its state`,
    `bin/hostkey verify ${host.name}`,
  );
}

/**
 * Installs key pairs on a running host in the place of those that it has, and has sshd serve them.
 *
 * The private halves go through the connection, whose other end has proven that it holds one of `trusted`, into files
 * that root alone reads; each replaces the old one by renaming, so that whoever reads the key meanwhile gets the one
 * or the other. sshd makes the public half itself where the two don't fit for a moment.
 *
 * @throws ProgramError where the host can't be reached or doesn't serve the key afterwards.
 */
export async function installKeys(
  host: Host,
  trusted: readonly SshPublicKey[],
  keys: readonly StateKey[],
  login: GuestLogin = {},
): Promise<void> {
  const lines = keys.flatMap(({ type, privateKey, publicKey }) => {
    const name = `ssh_host_${type}_key`;
    const encoded = (text: string) => Buffer.from(`${text.trim()}\n`).toString('base64');
    return [
      `${name} 0600 ${encoded(privateKey)}`,
      `${name}.pub 0644 ${encoded(formatSshPublicKey(publicKey))}`,
    ];
  });
  const ended = await runInGuest(
    host,
    trusted,
    installScript(host.hostKeyDirectory),
    `${lines.join('\n')}\n`,
    login,
  );
  if (ended.status !== 0)
    throw new ProgramError(
      `the key could not be installed on ${host.name}: ${lastWords(ended)}`,
      `look at the guest: journalctl -u ssh (or sshd)`,
    );
  const [first] = keys;
  if (first === undefined) return;
  // sshd takes a moment to listen again.
  for (let attempt = 0; ; attempt++) {
    const served = await scan(host, 20);
    if (keys.every(({ publicKey }) => served.some((each) => isSameSshKey(each, publicKey)))) break;
    if (attempt >= 20)
      throw new ProgramError(
        `${host.name} doesn't serve ${fingerprint(first.publicKey)}, which was installed`,
        `look at the guest: journalctl -u ssh (or sshd)`,
      );
    await sleep(500);
  }
  // A scan sees what is served; a login proves who holds it.
  const proof = await runInGuest(host, [first.publicKey], 'true', '', login);
  if (proof.status !== 0) throw new ProgramError(`${host.name}: ${lastWords(proof)}`, '');
}

const installScript = (directory: string): string => `set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/run/current-system/sw/bin
umask 077
cd ${directory}
trap 'rm -f ssh_host_*.hostkey-new' EXIT
names=
while read -r name mode data; do
  printf %s "$data" | base64 -d >"$name.hostkey-new"
  chmod "$mode" "$name.hostkey-new"
  names="$names $name"
done
test -n "$names"
sync
for name in $names; do mv -f "$name.hostkey-new" "$name"; done
sync
sshd -t
for unit in ssh sshd; do
  if systemctl is-active -q $unit.service 2>/dev/null; then systemctl reload-or-restart $unit.service; exit; fi
  # Started by its socket for each connection, it reads its keys anew each time.
  if systemctl is-active -q $unit.socket 2>/dev/null; then exit; fi
done
kill -HUP "$(cat /run/sshd.pid)"`;
