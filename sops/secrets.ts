import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Fleet } from '../fleet/fleet';
import type { StateReading } from '../terraform/state';
import {
  type CreationRule,
  type CreationRules,
  holder,
  isSameKey,
  type KeyGroup,
  readCreationRules,
} from './creation-rules';
import { KeyHolders, type Party } from './key-holders';
import { ROOT_RULES } from './root-rules';
import { formatOf, readSecretFile, type SecretFile } from './secret-file';
import { ignoredOf, type Owner, type SecretPath, secretPaths } from './secret-paths';

/** One file of secrets, and whom it is and should be encrypted to. */
export interface Secret {
  /** Relative to the fleet's root, forward slashes. */
  readonly file: string;
  /** The host whose folder it lies in; undefined for shared files and others. */
  readonly host: string | undefined;
  readonly read: SecretFile;
  /** The rule that sops uses for it; undefined where none matches. */
  readonly rule: CreationRule | undefined;
  /** Who can't decrypt and should: whom the rule names, the hosts that read the file, the admins. */
  readonly missing: readonly Party[];
  /** Who can decrypt and shouldn't. */
  readonly extra: readonly Party[];
  /** Everybody who can decrypt. */
  readonly holders: readonly Party[];
  /** Whether `sops updatekeys` would change it (sops v3.13, updatekeys.go: DiffKeyGroups, and the threshold). */
  readonly differs: boolean;
  /** How many of its groups are needed, where the rule says otherwise: `sops updatekeys` never changes that. */
  readonly threshold: { readonly actual: number; readonly wanted: number } | undefined;
  /** What the rule has wrong, by the states and the fleet's file: the ends of a sentence that starts with it. */
  readonly doubts: readonly string[];
  /** Hosts that read it and whose recipient nobody knows, as their state can't be read. */
  readonly unknown: readonly string[];
}

/** What is looked through. */
export interface SecretsOptions {
  /** The files in the folders of these hosts, and those that they share. @default all, or `files` alone */
  readonly hosts?: ReadonlySet<string>;
  /** These files, and those in these folders, relative to the root. @default all, or those of `hosts` alone */
  readonly files?: ReadonlySet<string>;
}

/** Secrets, and the text of the rules that they were compared with. */
export interface Secrets {
  /** Undefined where there is no root `.sops.yaml`. */
  readonly rulesText: string | undefined;
  /** Whether that holds any `creation_rules`; without them nobody knows whom to encrypt to. */
  readonly hasRules: boolean;
  readonly secrets: readonly Secret[];
}

/** Bytes; a sops file elsewhere in a repository is never that large, and other things are. */
const LARGE = 32 * 2 ** 20;

/**
 * Every sops file of a fleet: those in the hosts' and the shared folders, and what else in the repository the root
 * `.sops.yaml` has a rule for and sops has encrypted. Files are read, and nothing is decrypted or written.
 *
 * @throws CreationRulesError where the root `.sops.yaml` can't be read.
 */
export function readSecrets(
  fleet: Fleet,
  states: ReadonlyMap<string, StateReading>,
  options: SecretsOptions = {},
): Secrets {
  const rulesText = textOf(path.join(fleet.root, ROOT_RULES));
  const rules = readCreationRules(rulesText);
  const judge = new Judge(fleet, states, rules);
  const found = secretPaths(fleet)
    .filter((file) => isAsked(file, options))
    .flatMap((file) => judge.judge(file, options.files?.has(file.file) ?? false));
  const drafts = found.filter(({ at, secret }) => !at.listed && secret.read.status === 'plain');
  const ignored = ignoredOf(
    fleet.root,
    drafts.map(({ at }) => at.file),
  );
  const secrets = found.flatMap(({ at, secret }) => (ignored.has(at.file) ? [] : [secret]));
  return { rulesText, hasRules: rules.rules !== undefined, secrets };
}

/** The hosts whose states are needed to judge these files. */
export function readersOf(fleet: Fleet, options: SecretsOptions): ReadonlySet<string> {
  const asked = secretPaths(fleet).filter((file) => isAsked(file, options));
  return new Set([...(options.hosts ?? []), ...asked.flatMap(({ owner }) => owner?.readers ?? [])]);
}

function isAsked({ file, owner }: SecretPath, { hosts, files }: SecretsOptions): boolean {
  if (hosts === undefined && files === undefined) return true;
  if (owner?.readers.some((name) => hosts?.has(name))) return true;
  if (files === undefined) return false;
  for (let at = file.length; at > 0; at = file.lastIndexOf('/', at - 1)) {
    if (files.has(file.slice(0, at))) return true;
  }
  return files.has('');
}

interface Judged {
  readonly at: SecretPath;
  readonly secret: Secret;
}

/** Compares files with the rules and the states. */
class Judge {
  private readonly holders: KeyHolders;
  private readonly admins: ReadonlySet<string>;
  private readonly wide = new Map<number, boolean>();

  constructor(
    fleet: Fleet,
    private readonly states: ReadonlyMap<string, StateReading>,
    private readonly rules: CreationRules,
  ) {
    this.root = fleet.root;
    this.holders = new KeyHolders(fleet, states, rules);
    this.admins = new Set(Object.values(fleet.admins).map((recipient) => holder(`age:${recipient}`)));
  }

  private readonly root: string;

  /** @param named whether somebody asked for this very file: then it isn't passed over. */
  judge(at: SecretPath, named: boolean): Judged[] {
    const { file, owner } = at;
    const rule = this.rules.ruleFor(file);
    if (owner === undefined && rule === undefined && !named) return [];
    const text = textOf(path.join(this.root, file), owner === undefined && !named ? LARGE : undefined);
    if (text === undefined) return [];
    const read = readSecretFile(file, text);
    if (read.status === 'plain' && !this.isExposed(file, text, owner, rule)) return [];
    return [{ at, secret: this.compare(file, owner, rule, read) }];
  }

  /** Whether people would want to know that this file isn't encrypted. */
  private isExposed(
    file: string,
    text: string,
    owner: Owner | undefined,
    rule: CreationRule | undefined,
  ): boolean {
    if (text.trim() === '' || NO_SECRET.test(file) || isOtherwiseKept(text)) return false;
    if (owner !== undefined) return true;
    // Elsewhere only where a rule was written for such files: many have one for all that is left.
    return formatOf(file) !== 'binary' && rule !== undefined && !rule.partial && !this.isWide(rule);
  }

  /** Whether a rule is for everything, or for every file of a kind. */
  private isWide(rule: CreationRule): boolean {
    const known = this.wide.get(rule.line);
    if (known !== undefined) return known;
    const wide = EVERYDAY.some((file) => this.rules.ruleFor(file)?.line === rule.line);
    this.wide.set(rule.line, wide);
    return wide;
  }

  private compare(
    file: string,
    owner: Owner | undefined,
    rule: CreationRule | undefined,
    read: SecretFile,
  ): Secret {
    const readers = owner?.readers ?? [];
    const unknown = readers.filter((name) => this.states.get(name)?.status === 'unreadable');
    const usable = rule?.problem === undefined ? rule : undefined;
    const needed = owner === undefined ? new Set<string>() : this.needed(readers);
    const { ruled, mistaken, doubts } = this.trust(usable, needed);
    const about = { file, host: owner?.host, read, rule, doubts, unknown };
    if (read.status !== 'encrypted') {
      return { ...about, missing: [], extra: [], holders: [], differs: false, threshold: undefined };
    }
    const actual = byHolder(read.groups);
    const wanted = new Map([...needed].map((key) => [key, key] as const));
    for (const [key, written] of ruled) if (!mistaken.has(key)) wanted.set(key, written);
    const missing = [...wanted].filter(([key]) => !has(actual, key)).map(([, written]) => written);
    const extra = usable === undefined ? [] : [...actual].filter(([key]) => !isWanted(wanted, key));
    const differs = usable !== undefined && wouldUpdate(usable, read);
    return {
      ...about,
      missing: missing.map((key) => this.holders.party(key)),
      extra: extra.map(([, key]) => this.holders.party(key)),
      holders: [...actual.values()].map((key) => this.holders.party(key)),
      differs,
      threshold: usable === undefined || differs ? undefined : thresholds(usable, read),
    };
  }

  /** Who has to be able to decrypt, whatever the rules say: the hosts that read it, by their states, and the admins. */
  private needed(readers: readonly string[]): Set<string> {
    return new Set([...readers.flatMap((name) => this.holders.keysOf(name)), ...this.admins]);
  }

  private trust(rule: CreationRule | undefined, needed: ReadonlySet<string>) {
    const ruled = byHolder(rule?.groups ?? []);
    const mistaken = new Map<string, readonly string[]>();
    for (const [key, written] of ruled) {
      const hosts = this.holders.mistakenFor(written);
      if (hosts.length > 0) mistaken.set(key, hosts);
    }
    const replaced = new Set([...mistaken.values()].flat().flatMap((host) => this.holders.keysOf(host)));
    const left = rule === undefined ? [] : [...needed].filter((key) => !ruled.has(key) && !replaced.has(key));
    const doubts = [
      ...[...mistaken.values()].flat().map((host) => `has another recipient for host ${host} than the state`),
      ...left.map((key) => `leaves out ${this.holders.party(key).name}`),
    ];
    return { ruled, mistaken, doubts };
  }
}

/** Keys by who holds them. */
function byHolder(groups: readonly KeyGroup[]): Map<string, string> {
  return new Map(groups.flatMap((group) => [...group].map((key) => [holder(key), key] as const)));
}

const has = (actual: ReadonlyMap<string, string>, wanted: string): boolean =>
  actual.has(wanted) || [...actual.keys()].some((key) => isSameKey(wanted, key));

const isWanted = (wanted: ReadonlyMap<string, string>, key: string): boolean =>
  wanted.has(key) || [...wanted.keys()].some((ruled) => isSameKey(ruled, key));

type Encrypted = Extract<SecretFile, { status: 'encrypted' }>;

/** What `sops updatekeys` decides by: the keys group by group, as they are spelt, and whether the threshold still fits. */
function wouldUpdate({ groups: ruled }: CreationRule, { groups: actual, threshold }: Encrypted): boolean {
  const count = Math.max(ruled.length, actual.length);
  const isDifferent = Array.from({ length: count }, (_, i) => {
    const [wanted, present] = [[...(ruled[i] ?? [])], [...(actual[i] ?? [])]];
    const matches = (key: string) => present.some((other) => isSameKey(key, other));
    return !wanted.every(matches) || !present.every((key) => wanted.some((other) => isSameKey(other, key)));
  });
  return isDifferent.includes(true) || Math.min(threshold, ruled.length) !== threshold;
}

function thresholds(rule: CreationRule, { groups, threshold }: Encrypted): Secret['threshold'] {
  if (groups.length < 2) return undefined;
  const [actual, wanted] = [threshold || groups.length, rule.threshold || groups.length];
  return actual === wanted ? undefined : { actual, wanted };
}

/** Undefined for what is gone meanwhile, or larger than is worth a look. */
function textOf(file: string, limit = Number.POSITIVE_INFINITY): string | undefined {
  try {
    const bytes = readFileSync(file);
    return bytes.length > limit ? undefined : bytes.toString('utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** What lies about in every repository; a rule that is for one of them isn't about secrets alone. */
const EVERYDAY = [
  'fleet.yaml',
  'docs/example.yml',
  'package.json',
  'config/settings.json',
  'apps/web/values.yaml',
  'setup.ini',
  'web/example.env',
];

/** What people keep beside secrets, and nobody encrypts. */
const NO_SECRET =
  /(^|\/)(\.git[^/]*|\.editorconfig|\.DS_Store|\.?keep|(README|LICEN[CS]E|CHANGELOG|CONTRIBUTING|NOTICE|Makefile|justfile)(\.[^/]*)?|[^/]*\.(md|markdown|rst|adoc|nix|tf|pub|crt|cer|schema\.json|example|sample|template|tmpl|dist)|[^/]*[.-](example|sample|template)\.[^/.]+)$/i;

const PUBLIC_PEM =
  /-----BEGIN ([A-Z ]*(?:CERTIFICATE|PUBLIC KEY|PUBLIC KEY BLOCK))-----[^-]*-----END \1-----/g;
const OTHER_CIPHERTEXT =
  /^(age-encryption\.org\/v1\n|-----BEGIN (AGE ENCRYPTED FILE|PGP MESSAGE)-----|\0GITCRYPT\0|\$ANSIBLE_VAULT;)/;

/** Whether a file is nothing but public keys and certificates, or was encrypted by age, GnuPG, git-crypt or Ansible. */
const isOtherwiseKept = (text: string): boolean =>
  OTHER_CIPHERTEXT.test(text) || text.replace(PUBLIC_PEM, '').trim() === '';
