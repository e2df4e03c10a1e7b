import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Fleet } from '../fleet/fleet';
import { git } from '../fleet/git';
import type { StateReading } from '../terraform/state';
import { type CreationRule, type CreationRules, normal, readCreationRules, ruleFor } from './creation-rules';
import { readSecretFile, type SecretFile } from './secret-file';

/** One file of secrets, and whom it is and should be encrypted to. */
export interface Secret {
  /** Relative to the fleet's root, forward slashes. */
  readonly file: string;
  /** The host whose folder it lies in; undefined for shared files and others. */
  readonly host: string | undefined;
  readonly status: SecretFile['status'];
  /** The rule that sops uses for it; undefined where none matches. */
  readonly rule: CreationRule | undefined;
  /** Who can't decrypt and should, by name. */
  readonly missing: readonly Party[];
  /** Who can decrypt and shouldn't. */
  readonly extra: readonly Party[];
  /** The same keys, in other groups or with another threshold. */
  readonly regrouped: boolean;
  /** Hosts that read it by the fleet's file, and that its rule leaves out: the rule is wrong, not the file. */
  readonly notInRule: readonly Party[];
}

/** Somebody who can decrypt. */
export interface Party {
  /** As `normal` of creation-rules.ts writes it: `age:age1…`. */
  readonly key: string;
  /** Who that is: `host mqtt-01`, `admin ops`, an anchor's name, or the key itself. */
  readonly name: string;
  /** Whether a host of this fleet has that key now, or a rule names it. A stranger is neither. */
  readonly known: boolean;
}

/** What is looked through. */
export interface SecretsOptions {
  /** The files in the folders of these hosts, and those that they share. @default all, or `files` alone */
  readonly hosts?: ReadonlySet<string>;
  /** These files, relative to the root. @default all, or those of `hosts` alone */
  readonly files?: ReadonlySet<string>;
}

const RULES = '.sops.yaml';

/**
 * Every sops file of a fleet: those in the hosts' and the shared folders, and what else in the repository the root
 * `.sops.yaml` has a rule for and sops has encrypted. Files are read, and nothing is decrypted.
 *
 * @throws CreationRulesError where the root `.sops.yaml` can't be read.
 */
export function readSecrets(
  fleet: Fleet,
  states: ReadonlyMap<string, StateReading>,
  options: SecretsOptions = {},
): Secret[] {
  const rulesFile = path.join(fleet.root, RULES);
  const rules = readCreationRules(existsSync(rulesFile) ? readFileSync(rulesFile, 'utf8') : '');
  const who = new Names(fleet, states, rules);
  return filesOf(fleet).flatMap((file) => {
    const { host, readers } = readersOf(fleet, file);
    const all = options.files === undefined && options.hosts === undefined;
    if (!all && !options.files?.has(file) && !readers.some((name) => options.hosts?.has(name))) return [];
    const rule = ruleFor(rules, file);
    const ours = readers.length > 0;
    if (!ours && rule === undefined) return [];
    const text = readText(path.join(fleet.root, file));
    if (text === undefined) return [];
    const read = readSecretFile(text);
    if (read.status === 'plain' && (!ours || text.trim() === '' || isNoSecret(file))) return [];
    return [compare({ file, host, rule, read, needed: who.hosts(readers), who })];
  });
}

function compare({
  file,
  host,
  rule,
  read,
  needed,
  who,
}: {
  readonly file: string;
  readonly host: string | undefined;
  readonly rule: CreationRule | undefined;
  readonly read: SecretFile;
  readonly needed: readonly string[];
  readonly who: Names;
}): Secret {
  const ruled = new Set(rule?.groups.flatMap((group) => [...group]));
  const notInRule = rule === undefined ? [] : needed.filter((key) => !ruled.has(key));
  const about = { file, host, rule, status: read.status, notInRule: notInRule.map((key) => who.party(key)) };
  if (read.status !== 'encrypted') return { ...about, missing: [], extra: [], regrouped: false };
  const actual = new Set(read.groups.flatMap((group) => [...group]));
  // A rule that leaves out a host is itself wrong, and says nothing about the file.
  const trusted = notInRule.length === 0;
  const wanted = new Set([...(trusted ? ruled : who.admins), ...needed]);
  // sops writes keys of these kinds in more ways than can be compared here.
  const compared = (key: string) => !key.startsWith('other:');
  const missing = [...wanted].filter((key) => !actual.has(key) && compared(key));
  const extra =
    rule === undefined || !trusted ? [] : [...actual].filter((key) => !wanted.has(key) && compared(key));
  const same = trusted && missing.length + extra.length === 0;
  return {
    ...about,
    missing: missing.map((key) => who.party(key)),
    extra: extra.map((key) => who.party(key)),
    regrouped: same && rule !== undefined && shape(rule) !== shape(read),
  };
}

/** Groups and threshold, for a comparison; one group needs no threshold. */
const shape = ({ groups, threshold }: Pick<CreationRule, 'groups' | 'threshold'>): string =>
  JSON.stringify([
    groups.map((group) => [...group].sort()),
    groups.length > 1 ? threshold || groups.length : 0,
  ]);

/** Who the keys belong to. */
class Names {
  readonly admins: readonly string[];
  private readonly byHost = new Map<string, string>();
  private readonly names = new Map<string, string>();

  constructor({ admins }: Fleet, states: ReadonlyMap<string, StateReading>, rules: CreationRules) {
    this.admins = Object.values(admins).map((recipient) => normal('age', recipient));
    for (const [key, anchor] of rules.names) this.names.set(key, anchor.replace(/^(host|admin)_/, '$1 '));
    for (const group of rules.rules.flatMap(({ groups }) => groups)) {
      for (const key of group) if (!this.names.has(key)) this.names.set(key, key.replace(/^age:/, ''));
    }
    for (const [name, recipient] of Object.entries(admins))
      this.names.set(normal('age', recipient), `admin ${name}`);
    for (const [host, reading] of states) {
      if (reading.status !== 'deployed') continue;
      const key = normal('age', reading.state.recipient);
      this.byHost.set(host, key);
      this.names.set(key, `host ${host}`);
    }
  }

  /** The keys of hosts that are deployed. */
  hosts(names: readonly string[]): string[] {
    return names.flatMap((name) => this.byHost.get(name) ?? []);
  }

  party(key: string): Party {
    const name = this.names.get(key);
    return { key, name: name ?? key.replace(/^age:/, ''), known: name !== undefined };
  }
}

function readersOf(
  { hosts, shared }: Fleet,
  file: string,
): { host: string | undefined; readers: readonly string[] } {
  const own = hosts.find(({ secrets }) => file.startsWith(`${secrets}/`));
  if (own !== undefined) return { host: own.name, readers: [own.name] };
  return {
    host: undefined,
    readers: shared.find(({ path: folder }) => file.startsWith(`${folder}/`))?.hosts ?? [],
  };
}

/** The repository's files, as git has them or would; without git, those in the folders of secrets. */
function filesOf({ root, hosts, shared }: Fleet): string[] {
  const names =
    gitFiles(root) ??
    [...hosts.map(({ secrets }) => secrets), ...shared.map(({ path: folder }) => folder)].flatMap((folder) =>
      filesBelow(root, folder),
    );
  return [...new Set(names)].filter((name) => path.posix.basename(name) !== RULES).sort();
}

function gitFiles(root: string): string[] | undefined {
  return git(root, 'ls-files', '-z', '--cached', '--others', '--exclude-standard')
    ?.split('\0')
    .filter((name) => name !== '');
}

function filesBelow(root: string, folder: string): string[] {
  try {
    return readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'));
  } catch {
    return []; // no such folder: no secrets yet
  }
}

/** Undefined for what is no file: gone meanwhile, or a link, whose target stands for itself. */
function readText(file: string): string | undefined {
  try {
    return lstatSync(file).isFile() ? readFileSync(file, 'utf8') : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** What people keep beside secrets, and nobody encrypts. */
const isNoSecret = (file: string): boolean =>
  /(^|\/)(\.[^/]*|README[^/]*|LICENSE[^/]*|[^/]*\.(md|nix|pub|crt|example|sample))$/i.test(file);
