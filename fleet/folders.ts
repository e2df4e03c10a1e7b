import { posix } from 'node:path';
import type { Fleet, SharedSecrets, StateSettings } from './fleet';
import { type Path, show } from './problem';
import type { Reading, UsableFleet } from './resolve';

/** What loading needs of the disk, so that parsing can be tried without one. */
export interface RepositoryFiles {
  /** The text of a file; throws what `fs.readFileSync` throws. */
  readonly readFile: (absolutePath: string) => string;
  /** Where a path really leads, all links followed; undefined where nothing stands there. */
  readonly realPath: (absolutePath: string) => string | undefined;
}

/** The folders of shared secrets that a host reads. */
export function sharedFoldersOf({ shared }: Pick<Fleet, 'shared'>, host: string): string[] {
  return shared.filter(({ hosts }) => hosts.includes(host)).map(({ path }) => path);
}

interface Folder {
  readonly folder: string;
  /** Whose it is, as a message says it. */
  readonly whose: string;
  /** Where the user set it. */
  readonly path: Path;
  /** Of two folders that collide, the one with the higher rank is reported: people wrote it themselves. */
  readonly rank: number;
}

/**
 * Checks the folders that a fleet lays claim to. sops takes the first rule that matches a path, so no folder of
 * secrets may be another's, or lie in it; and each lies in the repository, also when links are followed.
 */
export function checkFolders(
  hosts: readonly { name: string; secrets: string }[],
  written: UsableFleet,
  shared: readonly SharedSecrets[],
  state: StateSettings,
  reading: Reading,
  links: Links,
): void {
  const folders = [
    ...hosts.map(({ name, secrets }) => ofHost(name, secrets, written)),
    ...ofShared(shared, written),
    ...(state.kind === 'local' ? [ofState(state.path, written)] : []),
  ];
  checkCollisions(folders, reading);
  for (const { folder, path } of folders) links.check(folder, path);
}

function ofHost(name: string, folder: string, written: UsableFleet): Folder {
  const whose = `the secrets of ${name}`;
  if (written.hosts?.[name]?.secrets !== undefined)
    return { folder, whose, path: ['hosts', name, 'secrets'], rank: 2 };
  return written.defaults?.secrets === undefined
    ? { folder, whose, path: ['hosts', name], rank: 0 }
    : { folder, whose, path: ['defaults', 'secrets'], rank: 1 };
}

function ofShared(shared: readonly SharedSecrets[], written: UsableFleet): Folder[] {
  // A bad entry left a hole, which forEach passes over and `shared` doesn't have.
  const indexes: number[] = [];
  written.shared?.forEach((_, i) => {
    indexes.push(i);
  });
  return shared.map(({ path }, i) => ({
    folder: path,
    whose: 'secrets that are shared',
    path: ['shared', indexes[i] ?? i, 'path'],
    rank: 3,
  }));
}

function ofState(folder: string, written: UsableFleet): Folder {
  const rank = written.state === undefined ? 0 : 1;
  return { folder, whose: "Terraform's state", path: ['state', 'local'], rank };
}

function checkCollisions(folders: readonly Folder[], reading: Reading): void {
  const first = new Map<string, Folder>();
  for (const folder of folders) {
    const same = first.get(folder.folder);
    if (same === undefined) first.set(folder.folder, folder);
    else reportCollision(same, folder, 'is also', 'is also', reading);
  }
  for (const folder of folders) {
    const outer = ancestorsOf(folder.folder)
      .map((name) => first.get(name))
      .find((found) => found !== undefined);
    if (outer !== undefined) reportCollision(folder, outer, 'lies in', 'holds', reading);
  }
}

function reportCollision(
  a: Folder,
  b: Folder,
  ofA: string,
  ofB: string,
  { source, problems }: Reading,
): void {
  const [folder, other, relation] = a.rank > b.rank ? [a, b, ofA] : [b, a, ofB];
  const whose = relation === 'is also' ? `the folder of ${other.whose}` : `${other.folder}, ${other.whose}`;
  const line =
    other.rank === 0 && other.path[0] === 'state' ? '' : ` (line ${source.place(other.path).line})`;
  const remedy = folder.path[0] === 'defaults' ? 'write secrets/{host}' : 'choose a folder apart from it';
  const message = `${folder.folder} ${relation} ${whose}${line}; ${remedy}`;
  problems.add(source.place(folder.path), folder.path, message, show(folder.folder));
}

/** Follows the links on the way to a path. */
export class Links {
  private readonly real = new Map<string, string | undefined>();

  constructor(private readonly reading: Reading) {}

  /** Whether a path stays in the repository, as far as it exists; where it doesn't, that is noted as a problem. */
  check(file: string, path: Path): boolean {
    const { root, source, problems } = this.reading;
    const realRoot = this.follow(root) ?? root;
    for (const step of [...ancestorsOf(file).reverse(), file]) {
      const real = this.follow(posix.join(root, step));
      if (real === undefined) return true;
      if (real.startsWith(posix.join(realRoot, '/'))) continue;
      const message = `${step} is a link that leads outside the repository; write a path that stays inside it`;
      problems.add(source.place(path), path, message, show(file));
      return false;
    }
    return true;
  }

  private follow(absolute: string): string | undefined {
    if (!this.real.has(absolute)) this.real.set(absolute, this.reading.files.realPath(absolute));
    return this.real.get(absolute);
  }
}

/** `a/b` and `a` for `a/b/c`: the nearest first. */
function ancestorsOf(folder: string): string[] {
  const parts = folder.split('/');
  return parts.slice(1).map((_, i) => parts.slice(0, parts.length - 1 - i).join('/'));
}
