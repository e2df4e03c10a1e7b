import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

/**
 * The text of a `known_hosts` file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), edited so that some names have exactly the
 * keys that they should have, and all that is others' keeps its bytes.
 */

/** What some names have, or should have. */
export interface KnownHost {
  /** Names as the file spells them: `name`, or `[name]:port` for another port than 22. */
  readonly names: readonly string[];
  /** `TYPE BASE64` of a key; names with several keys are given once for each. */
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
export function withKnownHosts(text: string, wanted: readonly KnownHost[], hash = false): KnownHostsEdit {
  const keysOf = keysByName(wanted);
  const missing = new Set([...keysOf].flatMap(([name, keys]) => [...keys].map((key) => `${name} ${key}`)));
  const kept = withoutNames(text, (name, key) => {
    const ours = nameIn(name, keysOf);
    if (ours === undefined) return false;
    if (!keysOf.get(ours)?.has(key)) return true;
    missing.delete(`${ours} ${key}`);
    return false;
  });
  const added = wanted.flatMap(({ names, key }) => {
    const lacking = [...new Set(names)].filter((name) => missing.has(`${name.toLowerCase()} ${key}`));
    if (lacking.length === 0) return [];
    return hash ? lacking.map((name) => `${hashedName(name)} ${key}\n`) : [`${lacking.join(',')} ${key}\n`];
  });
  const gap = kept === '' || kept.endsWith('\n') || added.length === 0 ? '' : '\n';
  const after = kept + gap + added.join('');
  return { text: after, changed: after !== text };
}

/** Takes away what `withKnownHosts` gave: these names where they have these keys. Another key is somebody else's. */
export function withoutKnownHosts(text: string, unwanted: readonly KnownHost[]): KnownHostsEdit {
  const keysOf = keysByName(unwanted);
  const after = withoutNames(text, (name, key) => {
    const ours = nameIn(name, keysOf);
    return ours !== undefined && keysOf.get(ours)?.has(key) === true;
  });
  return { text: after, changed: after !== text };
}

/** Names are compared in lower case, as ssh does (match_pattern_list and host_hash of openssh-portable). */
function keysByName(hosts: readonly KnownHost[]): KeysByName {
  const keysOf = new Map<string, Set<string>>();
  for (const { names, key } of hosts) {
    for (const name of names.map((each) => each.toLowerCase()))
      keysOf.set(name, (keysOf.get(name) ?? new Set()).add(key));
  }
  return keysOf;
}

type KeysByName = ReadonlyMap<string, ReadonlySet<string>>;

/** The text without the names that `isOut` picks, and without the lines that have no other. */
function withoutNames(text: string, isOut: (name: string, key: string) => boolean): string {
  return text
    .split(/(?<=\n)/)
    .map((line) => {
      // A marker or a comment, or an option of somebody's: not a plain line `NAMES TYPE BASE64 [COMMENT]`.
      const [, indent = '', field = '', gap = '', type = '', base64 = ''] =
        line.match(/^([ \t]*)([^@#\s]\S*)([ \t]+)(\S+)[ \t]+(\S+)/) ?? [];
      if (base64 === '') return line;
      const names = field.split(',');
      const left = names.filter((name) => !isOut(name, `${type} ${base64}`));
      if (left.length === names.length) return line;
      if (left.every((name) => name.startsWith('!'))) return '';
      return `${indent}${left.join(',')}${gap}${line.slice(indent.length + field.length + gap.length)}`;
    })
    .join('');
}

/** Which of our names a written one is: the same, or its hash. A pattern is nobody's name. */
function nameIn(written: string, keysOf: KeysByName): string | undefined {
  if (!written.startsWith('|')) {
    const name = written.toLowerCase();
    return keysOf.has(name) ? name : undefined;
  }
  const [, version, salt = '', digest = ''] = written.split('|');
  if (version !== '1') return undefined;
  const expected = Buffer.from(digest, 'base64');
  const salted = Buffer.from(salt, 'base64');
  return [...keysOf.keys()].find((name) => {
    const actual = hmac(name, salted);
    return actual.length === expected.length && timingSafeEqual(actual, expected);
  });
}

const hmac = (name: string, salt: Buffer): Buffer => createHmac('sha1', salt).update(name).digest();

/** A name as `HashKnownHosts` writes it: `|1|SALT|HMAC-SHA1` (openssh-portable, hostfile.c). */
export function hashedName(name: string): string {
  const salt = randomBytes(20);
  return `|1|${salt.toString('base64')}|${hmac(name.toLowerCase(), salt).toString('base64')}`;
}
