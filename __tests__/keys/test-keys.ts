import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';

/** An ed25519 key made for a test: nothing of it is ever committed. */
export interface TestKey {
  /** The public key's line, `ssh-ed25519 AAAA…`. */
  readonly line: string;
  /** The 32 bytes of the private seed. */
  readonly seed: Uint8Array;
}

const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex');
const PKCS8_X25519 = Buffer.from('302e020100300506032b656e04220420', 'hex');

/** A new key, or the key of a seed. */
export function testKey(seed?: Uint8Array): TestKey {
  const privateKey =
    seed === undefined
      ? generateKeyPairSync('ed25519').privateKey
      : createPrivateKey({ key: Buffer.concat([PKCS8_ED25519, seed]), format: 'der', type: 'pkcs8' });
  const publicBytes = createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-32);
  const der = privateKey.export({ format: 'der', type: 'pkcs8' });
  return { line: sshLine('ssh-ed25519', publicBytes), seed: new Uint8Array(der.subarray(-32)) };
}

/** A public key line of any type, made of its wire format's fields. */
export function sshLine(type: string, ...fields: Uint8Array[]): string {
  return `${type} ${Buffer.concat([Buffer.from(type), ...fields].map(wireString)).toString('base64')}`;
}

/**
 * The X25519 public key that belongs to an ed25519 seed, by the private way (RFC 8032 section 5.1.5 and RFC 7748
 * section 5): hash, clamp, multiply. It shares no step with the public way that the product takes.
 */
export function x25519OfSeed(seed: Uint8Array): Uint8Array {
  const scalar = createHash('sha512').update(seed).digest().subarray(0, 32);
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_X25519, scalar]), format: 'der', type: 'pkcs8' });
  return new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32));
}

function wireString(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
