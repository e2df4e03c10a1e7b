import { lstatSync, readdirSync, realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import type { Fleet } from '../fleet/fleet';
import { git } from '../fleet/git';

/** A file that may hold secrets, by the path that the rules know it by. */
export interface SecretPath {
  /** Relative to the fleet's root, forward slashes. */
  readonly file: string;
  /** Whose folder it lies in. */
  readonly owner: Owner | undefined;
  /** Whether git has it, or would: everything is, where there is no git. */
  readonly listed: boolean;
}

/** A folder of secrets that the fleet knows. */
export interface Owner {
  readonly folder: string;
  /** The host that it is for; undefined for a shared one. */
  readonly host: string | undefined;
  /** The hosts that read it. */
  readonly readers: readonly string[];
}

/** What sync works in, beside the file: nothing of it is a secret of its own. */
export const STAGING = '.hostkey-sync-';

/** Folders that hold no secrets of the repository's; git doesn't list them anyway. */
const NO_SECRETS = /^(\.git|\.hg|\.terraform|\.tools|\.sandbox|node_modules|cdktf\.out|dist)$/;
const RULES = /(^|\/)\.sops\.ya?ml$/;

/**
 * Every file in the folders of the fleet's hosts and in the shared ones, and what else the repository has, as git
 * lists it or, without git, as it lies there. Each file once, by the name that it has in a folder of the fleet.
 */
export function secretPaths(fleet: Fleet): SecretPath[] {
  const owners = new Owners(fleet);
  const ofGit = gitFiles(fleet.root);
  const listed = new Set(ofGit);
  const inFolders = owners.folders.flatMap((folder) => filesBelow(fleet.root, folder));
  const others = ofGit ?? filesBelow(fleet.root, '', stateFolder(fleet));
  const links = new Links(fleet.root);
  const seen = new Set<string>();
  const files: SecretPath[] = [];
  for (const file of [...inFolders, ...others]) {
    if (RULES.test(file) || file.includes(STAGING)) continue;
    const real = links.target(file);
    if (real === undefined || seen.has(real)) continue;
    seen.add(real);
    files.push({ file, owner: owners.of(file), listed: ofGit === undefined || listed.has(file) });
  }
  return files.sort((a, b) => (a.file < b.file ? -1 : 1));
}

/** Files of these that git is told to ignore: copies and drafts that people keep to themselves. */
export function ignoredOf(root: string, files: readonly string[]): Set<string> {
  const ignored = new Set<string>();
  for (let i = 0; i < files.length; i += 500) {
    const options = ['-z', '--others', '--ignored', '--exclude-standard'];
    const some = files.slice(i, i + 500);
    const found = git(root, '--literal-pathspecs', 'ls-files', ...options, '--', ...some);
    for (const file of found?.split('\0') ?? []) ignored.add(file);
  }
  return ignored;
}

/** Finds the folder of the fleet that a file lies in; none lies in another. */
class Owners {
  private readonly byFolder: ReadonlyMap<string, Owner>;

  constructor({ hosts, shared }: Fleet) {
    const owners: Owner[] = [
      ...hosts.map(({ name, secrets }) => ({ folder: secrets, host: name, readers: [name] })),
      ...shared.map(({ path: folder, hosts: readers }) => ({ folder, host: undefined, readers })),
    ];
    this.byFolder = new Map(owners.map((owner) => [owner.folder, owner]));
  }

  get folders(): readonly string[] {
    return [...this.byFolder.keys()];
  }

  of(file: string): Owner | undefined {
    for (let at = file.lastIndexOf('/'); at > 0; at = file.lastIndexOf('/', at - 1)) {
      const owner = this.byFolder.get(file.slice(0, at));
      if (owner !== undefined) return owner;
    }
    return undefined;
  }
}

/** Undefined outside a repository of git's. */
function gitFiles(root: string): string[] | undefined {
  return git(root, 'ls-files', '-z', '--cached', '--others', '--exclude-standard')
    ?.split('\0')
    .filter((name) => name !== '');
}

const stateFolder = ({ state }: Fleet): string | undefined =>
  state.kind === 'local' ? state.path : undefined;

/** The files below a folder; links to folders aren't followed, but the folder itself may be one. */
function filesBelow(root: string, folder: string, except?: string): string[] {
  const files: string[] = [];
  const open = [folder];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    for (const entry of entriesOf(path.join(root, at))) {
      const name = at === '' ? entry.name : `${at}/${entry.name}`;
      if (!entry.isDirectory()) files.push(name);
      else if (!NO_SECRETS.test(entry.name) && name !== except) open.push(name);
    }
  }
  return files;
}

function entriesOf(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return []; // no such folder: no secrets yet
    throw error;
  }
}

/** Tells files apart by where they really lie. */
class Links {
  private readonly folders = new Map<string, string>();
  private readonly realRoot: string;

  constructor(private readonly root: string) {
    this.realRoot = realpathSync(root);
  }

  /**
   * Where a file lies; undefined for what is none, or is gone. A link to another file of the repository is none of its
   * own: that file stands for itself, under its own rule.
   */
  target(file: string): string | undefined {
    const absolute = path.join(this.root, file);
    try {
      const stat = lstatSync(absolute);
      if (stat.isFile()) return path.join(this.folder(path.dirname(absolute)), path.basename(absolute));
      if (!stat.isSymbolicLink() || !statSync(absolute).isFile()) return undefined;
      const real = realpathSync(absolute);
      return real.startsWith(this.realRoot + path.sep) ? undefined : real;
    } catch {
      return undefined;
    }
  }

  private folder(absolute: string): string {
    const known = this.folders.get(absolute) ?? realpathSync(absolute);
    this.folders.set(absolute, known);
    return known;
  }
}
