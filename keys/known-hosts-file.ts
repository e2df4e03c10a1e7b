import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

/**
 * The text of a `known_hosts` file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), edited so that some names have exactly the
 * keys that they should have, and all that is others' keeps its bytes.
 */

/** The lines that some names should have. */
export interface Wanted {
  /** Names as the file spells them: `name`, or `[name]:port` for another port than 22. */
  readonly names: readonly string[];
  /** `TYPE BASE64` of the one key. */
  readonly key: string;
}

export interface KnownHostsEdit {
  readonly text: string;
  readonly changed: boolean;
}

/**
 * Gives names their keys: lines with another key for them go, a name at a time where a line has several names, and
 * what is missing is added at the end. Lines that say what we would say stay as they are, hashed or not, and so do
 * comments, `@cert-authority` and `@revoked` lines, patterns, and lines that no one can read.
 *
 * @param hash Whether new lines hide their names, as `HashKnownHosts yes` does; each name then has its own line.
 */
export function withKnownHosts(text: string, wanted: readonly Wanted[], hash = false): KnownHostsEdit {
  const keyOf = new Map(wanted.flatMap(({ names, key }) => names.map((name) => [name, key] as const)));
  const missing = new Set(keyOf.keys());
  const lines = text.split(/(?<=\n)/).map((line) => withoutWrong(line, keyOf, missing));
  const kept = lines.join('');
  const added = wanted.flatMap(({ names, key }) => {
    const lacking = [...new Set(names)].filter((name) => missing.has(name));
    if (lacking.length === 0) return [];
    return hash ? lacking.map((name) => `${hashedName(name)} ${key}\n`) : [`${lacking.join(',')} ${key}\n`];
  });
  const gap = kept === '' || kept.endsWith('\n') || added.length === 0 ? '' : '\n';
  const after = kept + gap + added.join('');
  return { text: after, changed: after !== text };
}

/** The line without the names that it gives a wrong key; empty where none is left. Ticks off what it says rightly. */
function withoutWrong(line: string, keyOf: ReadonlyMap<string, string>, missing: Set<string>): string {
  // A marker or a comment, or an option of somebody's: not a plain line `NAMES TYPE BASE64 [COMMENT]`.
  const [, indent = '', field = '', gap = '', type = '', base64 = ''] =
    line.match(/^([ \t]*)([^@#\s]\S*)([ \t]+)(\S+)[ \t]+(\S+)/) ?? [];
  if (base64 === '') return line;
  const key = `${type} ${base64}`;
  const isWrong = (name: string): boolean => {
    const ours = nameIn(name, keyOf);
    if (ours === undefined) return false;
    if (keyOf.get(ours) === key) {
      missing.delete(ours);
      return false;
    }
    return true;
  };
  const names = field.split(',');
  const right = names.filter((name) => !isWrong(name));
  if (right.length === names.length) return line;
  if (right.length === 0 || right.every((name) => name.startsWith('!'))) return '';
  return `${indent}${right.join(',')}${gap}${line.slice(indent.length + field.length + gap.length)}`;
}

/** Which of our names a written one is: the same, or its hash. A pattern is nobody's name. */
function nameIn(written: string, keyOf: ReadonlyMap<string, string>): string | undefined {
  if (!written.startsWith('|')) return keyOf.has(written) ? written : undefined;
  const [, version, salt = '', digest = ''] = written.split('|');
  if (version !== '1') return undefined;
  const expected = Buffer.from(digest, 'base64');
  const salted = Buffer.from(salt, 'base64');
  return [...keyOf.keys()].find((name) => {
    const actual = hmac(name, salted);
    return actual.length === expected.length && timingSafeEqual(actual, expected);
  });
}

const hmac = (name: string, salt: Buffer): Buffer => createHmac('sha1', salt).update(name).digest();

/** A name as `HashKnownHosts` writes it: `|1|SALT|HMAC-SHA1` (openssh-portable, hostfile.c). */
export function hashedName(name: string): string {
  const salt = randomBytes(20);
  return `|1|${salt.toString('base64')}|${hmac(name, salt).toString('base64')}`;
}
