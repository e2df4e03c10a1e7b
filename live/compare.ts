import type { Host } from '../fleet/fleet';
import { fingerprint, isSameSshKey, type SshPublicKey } from '../keys/ssh-public-key';
import { declaredKeys, type StateReading } from '../terraform/state';
import type { Scan, Silence } from './scan';

/** How what a host serves compares with what the state says it has. */
export type Verdict =
  | { readonly status: 'same'; readonly key: SshPublicKey }
  /** It serves the right key, and others beside it that nobody declared. */
  | { readonly status: 'extra'; readonly key: SshPublicKey; readonly others: readonly SshPublicKey[] }
  /** It serves another ed25519 key, or none. */
  | { readonly status: 'different'; readonly key: SshPublicKey; readonly served: readonly SshPublicKey[] }
  /** It could not be told. */
  | { readonly status: 'unknown'; readonly message: string; readonly remedy: string }
  /** `started: false`: nobody expects it to answer. */
  | { readonly status: 'off' };

/** Compares a scan with the state's key. The network is never asked what the key should be. */
export function compare(host: Host, state: StateReading, scan: Scan | undefined): Verdict {
  if (!host.started) return { status: 'off' };
  if (state.status === 'absent') {
    return {
      status: 'unknown',
      message: 'it was never deployed, so there is no key to compare with',
      remedy: `npx cdktf deploy ${host.name}`,
    };
  }
  if (state.status === 'unreadable') {
    return { status: 'unknown', message: state.message, remedy: state.remedy };
  }
  if (scan === undefined) return { status: 'unknown', message: 'it was not scanned', remedy: '' };
  if (scan.status === 'silent') return { status: 'unknown', ...explain(host, scan.why) };
  const { key: first, next } = state.state;
  const isServed = (wanted: SshPublicKey) => scan.keys.some((served) => isSameSshKey(served, wanted));
  // While a host is rotated, it serves the one or the other.
  const pair = [state.state, ...(next === undefined ? [] : [next])].find(({ key }) => isServed(key));
  if (pair === undefined) return { status: 'different', key: first, served: scan.keys };
  const { key } = pair;
  if (pair.rsa !== undefined && !isServed(pair.rsa))
    return { status: 'different', key: pair.rsa, served: scan.keys };
  const declared = declaredKeys(state.state);
  const others = scan.keys.filter((served) => !declared.some((each) => isSameSshKey(served, each)));
  // A host that made its own keys made the other types, too; where ours were injected, nobody made others.
  return others.length === 0 || host.hostKey.source === 'public'
    ? { status: 'same', key }
    : { status: 'extra', key, others };
}

function explain({ ssh: { address, port }, name }: Host, why: Silence): { message: string; remedy: string } {
  const where = `${address} port ${port}`;
  const wait = `hostkey verify ${name} --wait 120`;
  switch (why) {
    case 'refused':
      return {
        message: `${where} refuses the connection: it may be booting, or its sshd is off`,
        remedy: `wait for it: ${wait}`,
      };
    case 'timeout':
      return {
        message: `${where} doesn't answer in time: it is off, or a firewall drops what is sent`,
        remedy: `is it running? Else wait for it: ${wait}`,
      };
    case 'mute':
      return {
        message: `${where} accepts the connection and says nothing: sshd hangs, or something else listens`,
        remedy: `wait for it: ${wait}; else look at the guest: journalctl -u ssh (or sshd)`,
      };
    case 'unreachable':
      return {
        message: `there is no way to ${where} from this machine`,
        remedy: `connect the network, or write hosts.${name}.ssh into fleet.yaml`,
      };
    case 'unknown-name':
      return {
        message: `the name ${address} leads nowhere`,
        remedy: `give it a DNS entry, or write hosts.${name}.ssh.address into fleet.yaml`,
      };
    case 'not-ssh':
      return {
        message: `what answers at ${where} is no SSH server, or one that hangs up`,
        remedy: `is this the right port? Else look at the guest: journalctl -u ssh (or sshd)`,
      };
    case 'no-key':
      return {
        message: `an SSH server answers at ${where}, and serves no ed25519, ECDSA or RSA host key`,
        remedy: `look at the guest: journalctl -u ssh (or sshd)`,
      };
  }
}

/** What to do about a verdict; empty where nothing has to be done. */
export function remedyOf({ name, hostKeyDirectory }: Host, verdict: Verdict): string {
  switch (verdict.status) {
    case 'same':
    case 'off':
      return '';
    case 'unknown':
      return verdict.remedy;
    case 'different':
      return `trust nothing that it says until you know whether another machine answers or somebody changed the key; to build the VM anew with its key: terraform -chdir=cdktf.out/stacks/${name} apply -replace=proxmox_virtual_environment_vm.proxmox_vm`;
    case 'extra':
      return `remove them in the guest: rm ${hostKeyDirectory}/ssh_host_{rsa,ecdsa}_key*, and restart sshd`;
  }
}

/** A key as people compare it: type and fingerprint. */
export const shownKey = (key: SshPublicKey): string => `${key.type} ${fingerprint(key)}`;
