/**
 * The `path_regex` of a creation rule. sops compiles it with Go's regexp (RE2 syntax, github.com/google/re2/wiki/Syntax)
 * and searches it, unanchored, in the file's path relative to the folder of `.sops.yaml`; the first rule that matches
 * wins, and a rule without a `path_regex` matches everything (sops v3.13, config/config.go, parseCreationRuleForFile).
 */

/** The rule's expression for a folder of secrets: everything below it, and nothing else. */
export function folderRegex(folder: string): string {
  return `^${folder.replace(/[\\.+*?()|[\]{}^$]/g, '\\$&')}/`;
}

/** The folder that an expression of ours is for; undefined for an expression that isn't one that we write. */
export function folderOf(regex: string): string | undefined {
  if (!/^\^.+\/$/.test(regex)) return undefined;
  const folder = regex.slice(1, -1).replace(/\\(.)/g, '$1');
  return folderRegex(folder) === regex ? folder : undefined;
}

/** What an expression does to a folder's files. */
export type Reach =
  /** It matches none of the files that secrets are usually kept in. */
  | 'none'
  /** It matches some of them, and is about this folder or its like. */
  | 'specific'
  /** It matches them, and unrelated files too. */
  | 'catch-all'
  /** It can't be told: the expression has no counterpart in JavaScript, or Go can't compile it either. */
  | 'unknown';

/** How far a rule's expression reaches, seen from a folder. `undefined` is a rule without an expression. */
export function reach(regex: string | undefined, folder: string): Reach {
  if (regex === undefined || regex === '') return 'catch-all';
  const expression = toJavaScript(regex);
  if (!expression) return 'unknown';
  if (!usualFiles(folder).some((probe) => expression.test(probe))) return 'none';
  return unrelated(folder).some((probe) => expression.test(probe)) ? 'catch-all' : 'specific';
}

/** A file of the folder that the expression matches, to show it to a person. */
export function matchedFile(regex: string, folder: string): string | undefined {
  const expression = toJavaScript(regex);
  return expression && usualFiles(folder).find((probe) => expression.test(probe));
}

const NAMES = [
  'secrets.yaml',
  'default.yml',
  'secrets.json',
  'secrets.env',
  'secrets.ini',
  'key.bin',
  'sub/x.yaml',
];

/** Files of a folder, one of every kind that secrets are usually kept in. */
export function usualFiles(folder: string): string[] {
  return NAMES.map((name) => `${folder}/${name}`);
}

/** Folders beside this one that have nothing to do with it: another name, and one of the same shape. */
function unrelated(folder: string): string[] {
  const parent = folder.slice(0, folder.lastIndexOf('/') + 1);
  const other = folder
    .slice(parent.length)
    .replace(/[a-z]/gi, (letter) => (/[a-m]/i.test(letter) ? 'z' : 'a'))
    .replace(/\d/g, (digit) => String((Number(digit) + 5) % 10));
  return [...usualFiles(`${parent}zz-unrelated-zz`), ...usualFiles(parent + other)];
}

const POSIX_CLASSES: Readonly<Record<string, string>> = {
  '[:alnum:]': '0-9A-Za-z',
  '[:alpha:]': 'A-Za-z',
  '[:digit:]': '0-9',
  '[:lower:]': 'a-z',
  '[:upper:]': 'A-Z',
  '[:word:]': '0-9A-Za-z_',
  '[:space:]': '\\s',
  '[:xdigit:]': '0-9A-Fa-f',
};

/**
 * The same expression for JavaScript, where there is one. Strict (`u`) mode makes an unknown escape an error instead
 * of a letter, so what isn't understood is reported as such and never guessed. What only JavaScript knows (looking
 * ahead or behind, back references) is unknown too: sops would refuse it.
 */
function toJavaScript(regex: string): RegExp | undefined {
  if (/\(\?(=|!|<=|<!)/.test(regex) || /\\[1-9k]/.test(regex)) return undefined;
  const flags = /^\(\?([ims]+)\)/.exec(regex)?.[1] ?? '';
  const source = regex
    .replace(/^\(\?[ims]+\)/, '')
    .replaceAll('(?P<', '(?<')
    .replace(/\[:\w+:\]/g, (name) => POSIX_CLASSES[name] ?? name)
    .replace(/\\([\s\S])/g, (escaped, character: string) => {
      if (character === 'A') return '^';
      if (character === 'z') return '$';
      return /[\w.+*?()|[\]{}^$\\/]/.test(character) ? escaped : hexEscape(character);
    });
  try {
    return new RegExp(source, [...new Set([...flags, 'u'])].join(''));
  } catch {
    return undefined;
  }
}

function hexEscape(character: string): string {
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}
