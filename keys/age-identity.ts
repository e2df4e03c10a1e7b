import { x25519 } from '@noble/curves/ed25519';
import { bech32 } from '@scure/base';

/**
 * The recipients of the identities in a text, as `age-keygen -y` prints them: what belongs to the private keys of a
 * `keys.txt` (age-encryption.org/v1, X25519 recipient type).
 */
export interface Identities {
  readonly recipients: readonly string[];
  /** Identities whose recipient only other programs can tell: a plugin's, a post-quantum key, an encrypted file. */
  readonly others: number;
}

export function identitiesIn(text: string): Identities {
  if (/^(age-encryption\.org\/v1|-----BEGIN AGE ENCRYPTED FILE)/.test(text.trimStart())) {
    return { recipients: [], others: 1 };
  }
  // SOPS_AGE_KEY takes several on one line.
  const words = text
    .split('\n')
    .filter((line) => !line.trimStart().startsWith('#'))
    .flatMap((line) => line.split(/\s+/));
  const recipients = words.flatMap((word) => recipientOf(word) ?? []);
  const others = words.filter((word) => /^AGE-(PLUGIN|SECRET-KEY-PQ)-/.test(word)).length;
  return { recipients, others };
}

function recipientOf(identity: string): string | undefined {
  if (!identity.startsWith('AGE-SECRET-KEY-1')) return undefined;
  try {
    const { prefix, bytes } = bech32.decodeToBytes(identity);
    return prefix === 'age-secret-key-'
      ? bech32.encodeFromBytes('age', x25519.getPublicKey(bytes))
      : undefined;
  } catch {
    return undefined; // Cut short or mistyped; never quoted.
  }
}
