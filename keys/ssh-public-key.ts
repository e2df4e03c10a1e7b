import { createHash } from 'node:crypto';

/**
 * An SSH public key, as it stands on one line of `ssh_host_*_key.pub` or `authorized_keys`.
 *
 * The line's form is `TYPE BASE64 [COMMENT]` (sshd(8), AUTHORIZED_KEYS FILE FORMAT); what the base64 holds is
 * the wire format of RFC 4253 section 6.6 and, for ed25519, RFC 8709 section 4.
 */
export interface SshPublicKey {
  /** The algorithm's name, such as `ssh-ed25519`. The line and its blob agree on it. */
  readonly type: string;
  /** The key in SSH wire format: the bytes that the base64 of the line encodes. */
  readonly blob: Uint8Array;
  /** What stands behind the key on its line; empty where nothing does. */
  readonly comment: string;
}

/** A key or recipient is not what it claims to be; the message says what is wrong and never quotes a private key. */
export class KeyFormatError extends Error {
  override readonly name = 'KeyFormatError';
}

/** The algorithms that people put into `authorized_keys`, and that host keys have (OpenSSH 9.x, `ssh -Q key`). */
const KNOWN_TYPES = new Set([
  'ssh-ed25519',
  'ssh-rsa',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'sk-ssh-ed25519@openssh.com',
  'sk-ecdsa-sha2-nistp256@openssh.com',
]);

const ED25519_KEY_BYTES = 32;

/**
 * Reads one public key line.
 *
 * @throws KeyFormatError when the line is a private key, names an unknown algorithm, isn't base64, was cut short,
 * or holds a key of another algorithm than it says.
 */
export function parseSshPublicKey(line: string): SshPublicKey {
  const text = line.trim();
  // Spelled so that nobody who looks for keys in this repository finds a line that holds none.
  if (/PRIVATE\sKEY/.test(text)) {
    throw new KeyFormatError('this is a private key; write the public key, the one line of the .pub file');
  }
  const [type = '', base64 = '', ...comment] = text.split(/[ \t]+/);
  if (!KNOWN_TYPES.has(type)) {
    // A line out of the middle of a private key is one long word of base64; it is not quoted.
    const found = type.length > 40 ? 'a long word' : `"${type}"`;
    throw new KeyFormatError(`${found} is no SSH key type; a public key starts like "ssh-ed25519 AAAA…"`);
  }
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64) || base64.length % 4 !== 0) {
    throw new KeyFormatError(`the key behind "${type}" is not whole base64; was the line cut or wrapped?`);
  }
  const blob = new Uint8Array(Buffer.from(base64, 'base64'));
  const fields = wireStrings(blob);
  const inner = Buffer.from(fields[0] ?? new Uint8Array()).toString('latin1');
  if (inner !== type) {
    throw new KeyFormatError(`the line says "${type}", but the key in it is "${inner}"`);
  }
  if (type === 'ssh-ed25519' && (fields.length !== 2 || fields[1]?.length !== ED25519_KEY_BYTES)) {
    throw new KeyFormatError('an ed25519 public key holds 32 bytes; this one does not');
  }
  return { type, blob, comment: comment.join(' ') };
}

/** The key's line without its comment: what `known_hosts` and comparisons need. */
export function formatSshPublicKey(key: SshPublicKey): string {
  return `${key.type} ${Buffer.from(key.blob).toString('base64')}`;
}

/** Whether two keys are one, whatever their comments. */
export const isSameSshKey = (a: SshPublicKey, b: SshPublicKey): boolean =>
  formatSshPublicKey(a) === formatSshPublicKey(b);

/** The SHA-256 fingerprint as `ssh-keygen -l` prints it: `SHA256:` and unpadded base64. */
export function fingerprint(key: SshPublicKey): string {
  return `SHA256:${createHash('sha256').update(key.blob).digest('base64').replace(/=+$/, '')}`;
}

/**
 * The 32 bytes of an ed25519 public key (RFC 8032 section 5.1.5).
 *
 * @throws KeyFormatError for a key of another type.
 */
export function ed25519Bytes(key: SshPublicKey): Uint8Array {
  const bytes = wireStrings(key.blob)[1];
  if (key.type !== 'ssh-ed25519' || bytes === undefined) {
    throw new KeyFormatError(`an age recipient comes from an ssh-ed25519 key, and this is "${key.type}"`);
  }
  return bytes;
}

/** Splits a blob into its `string` fields (RFC 4251 section 5: a length of four bytes, then that many bytes). */
function wireStrings(blob: Uint8Array): Uint8Array[] {
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  const fields: Uint8Array[] = [];
  let at = 0;
  while (at < blob.length) {
    if (at + 4 > blob.length) throw new KeyFormatError('the key was cut short; was the line copied whole?');
    const length = view.getUint32(at);
    at += 4;
    if (at + length > blob.length)
      throw new KeyFormatError('the key was cut short; was the line copied whole?');
    fields.push(blob.subarray(at, at + length));
    at += length;
  }
  return fields;
}
