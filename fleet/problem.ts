import { closest, distance } from 'fastest-levenshtein';
import type { FleetProblem, Place } from './fleet';

/** More problems than this aren't read anyway; the rest is counted. */
const PRINTED_PROBLEMS = 20;

/** A fleet that can't be used. Its message prints the problems, one a line, in the order of the file. */
export class FleetError extends Error {
  override readonly name = 'FleetError';

  constructor(readonly problems: readonly FleetProblem[]) {
    super(formatProblems(problems));
  }
}

/** Prints problems one a line; beyond the first twenty it says how many more there are. */
export function formatProblems(problems: readonly FleetProblem[]): string {
  const lines = problems.slice(0, PRINTED_PROBLEMS).map(formatProblem);
  const left = problems.length - lines.length;
  return left > 0 ? [...lines, `and ${left} more`].join('\n') : lines.join('\n');
}

/** `fleet.yaml:12:5: hosts.mqtt-01.vmId: 283 is also the vmId of web-01 (line 9); give each host its own` */
function formatProblem(problem: FleetProblem): string {
  const { file, line, column, path, message, remedy } = problem;
  const where = path === '' ? `${file}:${line}:${column}` : `${file}:${line}:${column}: ${path}`;
  return `${where}: ${remedy === '' ? message : `${message}; ${remedy}`}`;
}

/**
 * Collects what is wrong, each thing once: a default or an anchor that is wrong for a thousand hosts is one
 * mistake, at one place.
 */
export class Problems {
  private readonly all = new Map<string, FleetProblem>();
  private readonly settled = new Set<string>();

  /** Notes that `message` holds at `place`. A message may carry its remedy behind the first `; `. */
  add(place: Place, path: Path, message: string, found = ''): void {
    const spot = spotOf(place);
    const [what, remedy] = splitRemedy(message);
    const key = `${spot}:${what}`;
    if (this.settled.has(spot) || this.all.has(key)) return;
    const { file, line, column } = place;
    this.all.set(key, { file, line, column, path: formatPath(path), found, message: what, remedy });
  }

  /** Notes a problem beside which nothing else is worth saying about that place. */
  settle(place: Place, path: Path, message: string): void {
    this.add(place, path, message);
    this.settled.add(spotOf(place));
  }

  get none(): boolean {
    return this.all.size === 0;
  }

  /** In the order of the file, the fleet's own before those of files that it names. */
  sorted(fleetFile: string): FleetProblem[] {
    const rank = (problem: FleetProblem) => (problem.file === fleetFile ? 0 : 1);
    return [...this.all.values()].sort(
      (a, b) => rank(a) - rank(b) || a.file.localeCompare(b.file) || a.line - b.line || a.column - b.column,
    );
  }
}

/** The keys and indexes that lead to a value in the file. */
export type Path = readonly (string | number)[];

/** `hosts.mqtt-01.authorizedKeys[0]`, as messages name it. */
export function formatPath(path: Path): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    const name = show(part).startsWith('"') ? shorten(part) : '…';
    return text === '' ? name : `${text}.${name}`;
  }, '');
}

/** A value as a message quotes it: as JSON, in one line, cut where it is long, and never a secret. */
export function show(value: unknown): string {
  if (value === undefined) return '';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'a mapping';
  if (typeof value !== 'string') return String(value);
  if (isSecret(value)) return PRIVATE;
  if (/\/\/[^/\s]*@/.test(value)) return 'a URL with credentials (not shown)';
  return LONG_BASE64.test(value) ? 'a long text (not shown)' : JSON.stringify(shorten(value));
}

/** The known word that a user probably meant, if one is near: a typo, another case, or Terraform's snake_case. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  if (word.length > 64) return undefined;
  const meant = plain(word);
  const same = known.find((candidate) => plain(candidate) === meant);
  if (same !== undefined || known.length === 0) return same;
  // Letters in the wrong order count as one mistake, which Levenshtein's distance takes for two.
  const shuffled = known.find((candidate) => sorted(candidate) === sorted(word));
  if (shuffled !== undefined) return shuffled;
  const candidate = closest(meant, known.map(plain));
  const near = distance(meant, candidate) <= Math.max(1, Math.floor(word.length / 3));
  return near ? known.find((original) => plain(original) === candidate) : undefined;
}

function plain(word: string): string {
  return word.toLowerCase().replace(/[^a-z0-9]/g, '');
}

function sorted(word: string): string {
  return [...plain(word)].sort().join('');
}

/** The tail of a message about an unknown word: the one that was meant, or all that there are. */
export function didYouMean(word: string, known: readonly string[]): string {
  const meant = nearest(word, known);
  if (meant !== undefined) return `did you mean ${meant}?`;
  const shown = known.slice(0, 30).join(', ');
  return known.length === 0 ? 'there are none' : `known are ${shown}${known.length > 30 ? ', …' : ''}`;
}

const PRIVATE = 'a private key (not shown)';

/**
 * What a private key looks like when somebody pastes it into the wrong line: PEM armour, age identities, and the
 * first bytes of an OpenSSH (`openssh-key-v1`) or a PKCS #8 ed25519 key in base64, which stand on a line of their own.
 */
const SECRET =
  /-----BEGIN [A-Z0-9 ]*PRIVATE[ ]KEY|AGE-SECRET-KEY-|AGE-PLUGIN-[A-Z0-9]+-1|b3BlbnNzaC1rZXktdjE|MC4CAQAwBQYDK2Vw|MFECAQEwBQYDK2Vw/i;

/** A run of base64 as long as a line of a key; it may be the middle of one, which nothing else gives away. */
const LONG_BASE64 = /^(?=.*[a-z])(?=.*[A-Z])[A-Za-z0-9+/=_-]{40,}$/;

/** Whether a text holds a private key, or the beginning of one. */
export function isSecret(text: string): boolean {
  return SECRET.test(text);
}

function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

function splitRemedy(message: string): [string, string] {
  const at = message.indexOf('; ');
  return at < 0 ? [message, ''] : [message.slice(0, at), message.slice(at + 2)];
}

function spotOf({ file, line, column }: Place): string {
  return `${file}:${line}:${column}`;
}
