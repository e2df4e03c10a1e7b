import { createHmac, randomBytes } from 'node:crypto';

const disguise = randomBytes(32);

/**
 * A state's text with every private key in it replaced by other characters, the same ones wherever the key stands. So
 * a plan finds what it would find, and no file on the way to it holds a key.
 *
 * Keys are written in lines of base64 (RFC 7468), which no quoting changes: what stands between two quoted line feeds
 * is found again in a cloud-config inside a JSON string.
 */
export function withoutKeys(text: string): string {
  const words = new Set<string>();
  for (const [block] of text.matchAll(/-----BEGIN [A-Z0-9 ]*PRIVATE\sKEY-----[^-]*-----END/g)) {
    const body = block.replaceAll(/-----[^-]*-----|-----END|\\+[nr]/g, ' ');
    for (const word of body.match(LINE_OF_KEY) ?? []) words.add(word);
  }
  let without = text;
  for (const word of words) {
    const mac = createHmac('sha512', disguise).update(word).digest('base64');
    without = without.replaceAll(word, mac.repeat(Math.ceil(word.length / mac.length)).slice(0, word.length));
  }
  return without;
}

/** A shorter rest of a key tells nobody anything, and may stand elsewhere by chance. */
const LINE_OF_KEY = /[A-Za-z0-9+/=]{12,}/g;
