import { isIPv4, isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';
import { ageRecipientOf, checkAgeRecipient } from '../keys/age-recipient';
import { ed25519Bytes, KeyFormatError, parseSshPublicKey } from '../keys/ssh-public-key';
import { show } from './problem';

/**
 * A check of one text. It returns undefined for a good one, and else what is wrong with it and, behind `; `, what to
 * write instead. A private key pasted by mistake is never part of that.
 */
export type Complaint = (text: string) => string | undefined;

/** An address with the length of its network's prefix, in canonical spelling. */
export interface Cidr {
  readonly ip: string;
  readonly prefix: number;
}

/** RFC 1123 section 2.1 in lower case; with a letter, since tools read a bare number as an address. */
export const DNS_LABEL = /^(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Why a text is no name of a host, beside the other names. */
export function hostNameComplaint(name: string, all: readonly string[]): string | undefined {
  if (DNS_LABEL.test(name)) return undefined;
  const lower = name.toLowerCase();
  const twin = all.find((other) => other !== name && other.toLowerCase() === lower);
  if (twin !== undefined) {
    return `${show(name)} differs from ${twin} in case only, and DNS knows no case; give it another name`;
  }
  if (lower !== name && DNS_LABEL.test(lower)) {
    return `${show(name)} has upper-case letters, and a host name has none; write ${lower}`;
  }
  if (name.length > 63) return `this name has ${name.length} characters; a DNS label has at most 63`;
  if (/^[0-9]+$/.test(name))
    return `${show(name)} is a number to DNS; give the name a letter, such as host-${name}`;
  return `${show(name)} is no DNS label; use lower-case letters, digits and inner hyphens, such as mqtt-01`;
}

export const dnsName: Complaint = (name) => {
  const labels = name.replace(/\.$/, '').split('.');
  const good = name.length <= 253 && labels.every((label) => /^(?!-)[A-Za-z0-9_-]{1,63}(?<!-)$/.test(label));
  return good ? undefined : `${show(name)} is no DNS name; write one such as mqtt.example.net`;
};

/** An IP address without a prefix. */
export const ipAddress: Complaint = (text) => {
  if (isIPv4(text) || (isIPv6(text) && !text.includes('%'))) return undefined;
  const plain = withoutLeadingZeros(text);
  if (plain !== undefined) return `${show(text)} has a number with a leading zero; write ${plain}`;
  if (text.includes('/')) return `${show(text)} has a prefix; write the address alone: ${text.split('/')[0]}`;
  return `${show(text)} is no IP address; write one such as 192.0.2.1`;
};

/** Where something can be reached: an IP address or a DNS name. A text of digits and dots can only be an address. */
export const addressOrName: Complaint = (text) =>
  /^[0-9.]+$/.test(text) || text.includes(':') ? ipAddress(text) : dnsName(text);

/** IPv4 in CIDR notation, or `dhcp`. */
export const address4: Complaint = (text) =>
  text === 'dhcp' ? undefined : cidrComplaint(text, 4, '192.0.2.83/24, or dhcp');

/** IPv6 in CIDR notation, `dhcp` (DHCPv6) or `auto` (SLAAC). */
export const address6: Complaint = (text) =>
  text === 'dhcp' || text === 'auto' ? undefined : cidrComplaint(text, 6, '2001:db8::83/64, dhcp, or auto');

export const gateway4: Complaint = (text) =>
  ipAddress(text) ?? (isIPv4(text) ? undefined : `${show(text)} is IPv6; write it as gateway6`);

export const gateway6: Complaint = (text) =>
  ipAddress(text) ?? (isIPv6(text) ? undefined : `${show(text)} is IPv4; write it as gateway`);

function cidrComplaint(text: string, version: 4 | 6, example: string): string | undefined {
  const [ip = '', prefix, ...more] = text.split('/');
  const wrong = ipAddress(ip);
  if (wrong !== undefined || more.length > 0) {
    return withoutLeadingZeros(ip) === undefined
      ? `${show(text)} is no address in CIDR notation; write one such as ${example}`
      : wrong;
  }
  if (isIPv4(ip) !== (version === 4)) {
    return version === 4
      ? `${show(text)} is IPv6; write it as address6`
      : `${show(text)} is IPv4; write it as address`;
  }
  const bits = version === 4 ? 32 : 128;
  if (prefix === undefined) {
    return `${show(text)} lacks the length of its network's prefix; write ${ip}/${version === 4 ? 24 : 64} for a /${version === 4 ? 24 : 64} network`;
  }
  if (!/^(0|[1-9][0-9]{0,2})$/.test(prefix) || Number(prefix) > bits) {
    return `/${prefix} is no length of a prefix; write a number from 0 to ${bits}`;
  }
  return hostPartComplaint(readCidr(text), version, bits);
}

/** A host can't have the address of the network itself, nor the one that reaches everybody. */
function hostPartComplaint({ ip, prefix }: Cidr, version: 4 | 6, bits: number): string | undefined {
  const range = ipaddr.parse(ip).range();
  if (range === 'multicast' || range === 'unspecified' || ip === '255.255.255.255') {
    return `${ip} is the address of no single host; write one of the host's own`;
  }
  if (bits - prefix < 2) return undefined;
  const network = networkOf({ ip, prefix });
  if (ip === network)
    return `${ip} is the address of the network ${network}/${prefix} itself; write a host's`;
  if (version === 4 && ip === broadcastOf({ ip, prefix })) {
    return `${ip} is the broadcast address of ${network}/${prefix}; write a host's`;
  }
  return undefined;
}

/** Reads a text that `address4` or `address6` found good. */
export function readCidr(text: string): Cidr {
  const [ip = '', prefix = ''] = text.split('/');
  return { ip: canonicalIp(ip), prefix: Number(prefix) };
}

/** One spelling for each address (RFC 5952 for IPv6), so that equal ones compare equal. */
export function canonicalIp(ip: string): string {
  const parsed = ipaddr.parse(ip);
  return parsed.kind() === 'ipv6' ? (parsed as ipaddr.IPv6).toRFC5952String() : parsed.toString();
}

/** First address of the network. */
export function networkOf({ ip, prefix }: Cidr): string {
  const bytes = ipaddr.parse(ip).toByteArray();
  return fromBytes(bytes.map((byte, i) => byte & maskByte(prefix, i)));
}

/** Last address of the network. */
export function broadcastOf({ ip, prefix }: Cidr): string {
  const bytes = ipaddr.parse(ip).toByteArray();
  return fromBytes(bytes.map((byte, i) => byte | (255 - maskByte(prefix, i))));
}

function maskByte(prefix: number, index: number): number {
  const bits = Math.min(8, Math.max(0, prefix - 8 * index));
  return 256 - 2 ** (8 - bits);
}

function fromBytes(bytes: number[]): string {
  return canonicalIp(ipaddr.fromByteArray(bytes).toString());
}

function withoutLeadingZeros(text: string): string | undefined {
  const plain = text.replace(/(^|\.)0+(?=[0-9])/g, '$1');
  return plain !== text && isIPv4(plain) ? plain : undefined;
}

export const macAddress: Complaint = (text) => {
  if (!/^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$/.test(text)) {
    return `${show(text)} is no MAC address; write one such as BC:24:11:00:02:83`;
  }
  return Number.parseInt(text.slice(0, 2), 16) % 2 === 1
    ? `${show(text)} is a group's MAC address; the first pair of a single device's is even`
    : undefined;
};

/** A folder or file inside the repository. Links are looked at later: that needs the disk. */
export const repositoryPath: Complaint = (text) => {
  const remedy = 'write a path relative to the folder of fleet.yaml';
  if (text === '') return `an empty path names nothing; ${remedy}`;
  if (text.includes('\\')) return `${show(text)} has a backslash; ${remedy}, with forward slashes`;
  if (/^(\/|~|[A-Za-z]:)/.test(text)) return `${show(text)} is an absolute path; ${remedy}`;
  if (!/^[\p{L}\p{N} ._@+=~/-]+$/u.test(text.replaceAll('{host}', 'host')))
    return `${show(text)} has a character that paths here don't have; use letters, digits, and . _ - /`;
  const parts = text.split('/');
  if (parts.includes('..')) return `${show(text)} leads outside the repository; ${remedy}, without ".."`;
  if (parts.every((part) => part === '' || part === '.'))
    return `${show(text)} is the repository itself; name a folder in it`;
  return parts.includes('.git') ? `${show(text)} lies in git's own folder; name another one` : undefined;
};

/** A folder that isn't one host's own. */
export const commonFolder: Complaint = (text) =>
  text.includes('{host}')
    ? `${show(text)} differs from host to host; write one folder`
    : repositoryPath(text);

/** `./secrets//mqtt/` and `secrets/mqtt` are one folder, spelled the second way. */
export function canonicalPath(path: string): string {
  return path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/');
}

/** An absolute folder in the guest, plain enough to stand unquoted in a shell's command. */
export const guestDirectory: Complaint = (text) => {
  const plain = /^(\/[A-Za-z0-9._-]+)+$/.test(text) && !/\/\.\.?(\/|$)/.test(text);
  return plain ? undefined : `${show(text)} is no plain absolute path; write one such as /persist/etc/ssh`;
};

export const endpointUrl: Complaint = (text) => {
  const example = 'https://pve1.example.net:8006/';
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return `this is no URL; write the address of Proxmox's web interface, such as ${example}`;
  }
  if (url.username !== '' || url.password !== '') {
    return 'this URL holds credentials; take them out, and set PROXMOX_VE_API_TOKEN in the environment';
  }
  if (url.protocol === 'http:') return `${show(text)} would send the token in clear text; write https://`;
  if (url.protocol !== 'https:') return `${show(text)} is no https URL; write one such as ${example}`;
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    return `${show(text)} has a path, and the provider adds its own; write ${url.origin}/`;
  }
  return undefined;
};

/** A fleet names the same few keys again and again, and a look at the curve costs a fifth of a millisecond. */
function remembered(complaint: Complaint): Complaint {
  const known = new Map<string, string | undefined>();
  return (text) => {
    if (!known.has(text)) known.set(text, complaint(text));
    return known.get(text);
  };
}

/** The line of a `.pub` file; an ed25519 key is a point on the curve. */
export const sshPublicKey: Complaint = remembered((line) => {
  if (!/^\s*(ssh-|ecdsa-|sk-)[a-z0-9@.-]+\s/.test(line)) {
    return 'this is no SSH public key; write the one line of the .pub file, such as "ssh-ed25519 AAAA… me"';
  }
  if (/[\r\n]/.test(line.trim())) return 'this is more than one line; write each key as an entry of its own';
  return keyComplaint(() => {
    const key = parseSshPublicKey(line);
    if (key.type === 'ssh-ed25519') ageRecipientOf(key);
  });
});

/** A host's public key, which has to be one that an age recipient can be made of. */
export const hostPublicKey: Complaint = (line) =>
  sshPublicKey(line) ?? keyComplaint(() => void ed25519Bytes(parseSshPublicKey(line)));

export const ageRecipient: Complaint = (recipient) => {
  if (recipient.startsWith('ssh-')) {
    const age = /^ssh-(ed25519|rsa) /.test(recipient);
    return age
      ? sshPublicKey(recipient)
      : 'age encrypts to ssh-ed25519 and ssh-rsa keys only; write one of them';
  }
  if (!/^age1/.test(recipient) && !/^AGE-/i.test(recipient)) {
    return `${show(recipient)} is no age recipient; write the line that age-keygen -y prints, age1…`;
  }
  return keyComplaint(() => checkAgeRecipient(recipient));
};

function keyComplaint(read: () => void): string | undefined {
  try {
    read();
    return undefined;
  } catch (error) {
    if (error instanceof KeyFormatError) return error.message;
    throw error;
  }
}
