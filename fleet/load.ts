import { existsSync, lstatSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { brokenPaths, misspeltPaths, reportIssues } from './explain';
import type { Fleet, FleetProblem } from './fleet';
import type { RepositoryFiles } from './folders';
import { FleetError, type Path, Problems, show } from './problem';
import { resolveFleet, type UsableFleet } from './resolve';
import { badNames, fleetSchema } from './schema';
import { YamlSource } from './source';

/**
 * Reads a fleet from its file.
 *
 * @throws FleetError with everything that is wrong in it, each with its place and with what to write instead.
 */
export function loadFleet(file: string): Fleet {
  return parseFleet(readUtf8(file), { file, root: dirname(resolve(file)), ...DISK });
}

/** What `parseFleet` needs to know beside the text. Without `readFile` and `realPath` it sees an empty disk. */
export interface ParseOptions extends Partial<RepositoryFiles> {
  /** The file's name, as messages show it. */
  readonly file: string;
  /** Absolute folder that relative paths in the file start from. */
  readonly root: string;
}

/** As `loadFleet`, from a text. */
export function parseFleet(text: string, options: ParseOptions): Fleet {
  const { file, root } = options;
  const problems = new Problems();
  const fail = () => new FleetError(problems.sorted(file));
  const source = YamlSource.parse(text, file, problems);
  if (source.empty) {
    const what = text.trim() === '' ? 'this file is empty' : 'nothing but comments stands in this file';
    problems.add({ file, line: 1, column: 1 }, [], `${what}; write at least "proxmox:" and "hosts:"`);
    throw fail();
  }
  const result = fleetSchema.safeParse(source.value);
  const issues = result.success ? [] : result.error.issues;
  reportIssues(issues, source, problems);
  const names = badNames(source.value);
  for (const { path, message } of names)
    problems.add(source.keyPlace(path), path, message, show(path.at(-1)));
  const broken = [...brokenPaths(issues), ...names.map(({ path }) => path)];
  const refused = new Set([...broken, ...misspeltPaths(issues)].map((path) => JSON.stringify(path)));
  const fleet = resolveFleet(
    broken.length === 0 && result.success ? result.data : usable(source.value, broken),
    {
      file,
      root,
      source,
      problems,
      files: {
        readFile: options.readFile ?? EMPTY_DISK.readFile,
        realPath: options.realPath ?? EMPTY_DISK.realPath,
      },
      refused: (path) => refused.has(JSON.stringify(path)),
    },
  );
  if (!problems.none) throw fail();
  return { ...fleet, warnings: warningsOf(fleet, source) };
}

/** What of a bad file can still be checked: all but the values that the schema refused. */
function usable(value: unknown, broken: readonly Path[]): UsableFleet {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return {};
  const copy: object = structuredClone(value);
  for (const path of broken) {
    const target = path.slice(0, unitOf(path));
    const last = target.at(-1);
    const around = target
      .slice(0, -1)
      .reduce<unknown>((at, part) => (isObject(at) ? at[part] : undefined), copy);
    // In a list this leaves a hole, so that the other entries keep their numbers.
    if (last !== undefined && isObject(around)) delete around[last];
  }
  return copy;
}

/** How much goes when something in it is bad: one setting of a host, one node, one shared entry. */
function unitOf(path: Path): number {
  if (path[0] === 'hosts' || (path[0] === 'proxmox' && path[1] === 'nodes')) return 3;
  return path[0] === 'state' ? 1 : 2;
}

function isObject(value: unknown): value is Record<string | number, unknown> {
  return typeof value === 'object' && value !== null;
}

function warningsOf(fleet: Omit<Fleet, 'warnings'>, source: YamlSource): FleetProblem[] {
  const warnings = new Problems();
  if (Object.keys(fleet.admins).length === 0) {
    warnings.add(
      source.keyPlace(['admins']),
      ['admins'],
      'no admins: only the host itself can decrypt; write the recipient that age-keygen prints under admins',
    );
  }
  if (fleet.hosts.length === 0) {
    warnings.add(
      source.keyPlace(['hosts']),
      ['hosts'],
      'no hosts: there is nothing to deploy; write one under hosts',
    );
  }
  return warnings.sorted(fleet.file);
}

function readUtf8(file: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === undefined) throw error;
    throw fileError(file, UNREADABLE[code] ?? `this file can't be read (${code}); look at what it is`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw fileError(file, 'this file is not UTF-8; save it in that encoding');
  }
}

const UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT:
    'there is no such file; go to the folder that holds it, or bring the shipped one back: git checkout fleet.yaml',
  EISDIR: 'this is a folder; name the file in it, such as fleet.yaml',
  EACCES: 'you may not read this file; give yourself the right: chmod u+r fleet.yaml',
};

function fileError(file: string, message: string): FleetError {
  const problems = new Problems();
  problems.add({ file, line: 1, column: 1 }, [], message);
  return new FleetError(problems.sorted(file));
}

const DISK: RepositoryFiles = {
  readFile: (path) => readFileSync(path, 'utf8'),
  realPath: (path) => {
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return undefined;
    // A link to nowhere leads somewhere all the same, as soon as something is written through it.
    const dangling = stat.isSymbolicLink() && !existsSync(path);
    return dangling ? resolve(dirname(path), readlinkSync(path)) : realpathSync.native(path);
  },
};

const EMPTY_DISK: RepositoryFiles = {
  readFile: () => {
    throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
  },
  realPath: () => undefined,
};
