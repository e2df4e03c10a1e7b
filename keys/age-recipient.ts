import { ed25519 } from '@noble/curves/ed25519';
import { bech32 } from '@scure/base';
import { ed25519Bytes, KeyFormatError, parseSshPublicKey, type SshPublicKey } from './ssh-public-key';

/** bech32 allows 90 characters (BIP 173); age lifts that limit, and post-quantum recipients are far longer. */
const NO_LIMIT = false;

/**
 * The age recipient of an SSH host key, as `ssh-to-age` prints it: the Edwards point is mapped to Curve25519
 * (RFC 7748 section 4.1, u = (1 + y) / (1 - y)) and written in bech32 with the prefix `age` (age-encryption.org/v1).
 *
 * @throws KeyFormatError for a key that isn't ed25519, or isn't a point on the curve.
 */
export function ageRecipientOf(key: SshPublicKey): string {
  const bytes = ed25519Bytes(key);
  try {
    ed25519.ExtendedPoint.fromHex(bytes);
  } catch {
    throw new KeyFormatError(
      'the 32 bytes of this ed25519 key are no point on the curve; was a character changed?',
    );
  }
  return bech32.encodeFromBytes('age', ed25519.utils.toMontgomery(bytes));
}

/**
 * Checks what sops accepts in an `age:` list: a native recipient (`age1…`), a plugin's (`age1NAME1…`) or an SSH
 * public key.
 *
 * @throws KeyFormatError saying what is wrong: a wrong checksum, a wrong length, or an identity (a private key)
 * where a recipient belongs. An identity is never quoted.
 */
export function checkAgeRecipient(recipient: string): void {
  if (/^AGE-(SECRET-KEY|PLUGIN)-/i.test(recipient)) {
    throw new KeyFormatError(
      'this is an age identity, a private key; write the recipient that age-keygen -y prints',
    );
  }
  if (recipient.startsWith('ssh-')) {
    parseSshPublicKey(recipient);
    return;
  }
  if (!recipient.startsWith('age1')) {
    throw new KeyFormatError(`"${recipient}" is no age recipient; it starts with "age1"`);
  }
  let decoded: { prefix: string; bytes: Uint8Array };
  try {
    decoded = bech32.decodeToBytes(recipient);
  } catch {
    decoded = decodeLong(recipient);
  }
  if (decoded.prefix === 'age' && decoded.bytes.length !== 32) {
    throw new KeyFormatError(`an age recipient holds 32 bytes, and this one holds ${decoded.bytes.length}`);
  }
  if (decoded.prefix === 'age' && LOW_ORDER.has(Buffer.from(decoded.bytes).toString('hex'))) {
    throw new KeyFormatError('this age recipient is a point of low order; nothing may be encrypted to it');
  }
}

function decodeLong(recipient: string): { prefix: string; bytes: Uint8Array } {
  try {
    const { prefix, words } = bech32.decode(recipient as `${string}1${string}`, NO_LIMIT);
    return { prefix, bytes: bech32.fromWords(words) };
  } catch {
    throw new KeyFormatError(`the checksum of "${recipient}" is wrong; was a character changed or lost?`);
  }
}

/** The u-coordinates of small order on Curve25519 (RFC 7748 section 6.1 asks to reject what they produce). */
const LOW_ORDER = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
]);
