import {
  type Document,
  isCollection,
  isScalar,
  LineCounter,
  type Node,
  type ParsedNode,
  parseAllDocuments,
  visit,
} from 'yaml';
import { z } from 'zod';
import { checkAgeRecipient } from '../keys/age-recipient';
import { KeyFormatError } from '../keys/ssh-public-key';
import { goRegex } from './go-regex';
import { folderOf } from './path-regex';

/**
 * The creation rules of a `.sops.yaml`, read as sops reads them to tell whom a file is to be encrypted to (sops v3.13,
 * config/config.go: parseCreationRuleForFile, getKeyGroupsFromCreationRule).
 */
export interface CreationRule {
  /** The line in the file, from 1. */
  readonly line: number;
  /** As it is written; undefined where the rule is for every file. */
  readonly pathRegex: string | undefined;
  readonly groups: readonly KeyGroup[];
  /** How many groups are needed to decrypt; 0 where the rule doesn't say, and then all are. */
  readonly threshold: number;
  /** Whether it encrypts only some of a file's values (`encrypted_regex` and its like). */
  readonly partial: boolean;
  /** Why sops can't use it; it stops at this rule all the same. */
  readonly problem: string | undefined;
}

/**
 * The keys of a group, each with its kind before it, and spelt as sops compares them (ToString of its keysource.go
 * files): `age:age1…`, `pgp:FINGERPRINT`, `kms:ARN+ROLE|CONTEXT|PROFILE`, `hc_vault:ADDRESS/v1/ENGINE/keys/NAME`…
 */
export type KeyGroup = ReadonlySet<string>;

/** Creation rules, and what people call the keys in them. */
export interface CreationRules {
  /** Undefined where there is no file, or no `creation_rules` in it. */
  readonly rules: readonly CreationRule[] | undefined;
  /** The anchors' names of a key; keys as `holder` writes them, without the kind. */
  readonly names: ReadonlyMap<string, readonly string[]>;
  /** The first rule that matches a path, relative to the folder of `.sops.yaml`; undefined where none does. */
  readonly ruleFor: (path: string) => CreationRule | undefined;
}

/** The file can't be read as creation rules; the message says where. */
export class CreationRulesError extends Error {
  override readonly name = 'CreationRulesError';
}

const text = z.string();
/** What sops takes as one text with commas, or as a list. */
const flat = z.union([text, z.array(text.nullable())]).nullish();
const azureKey = z.looseObject({ vaultUrl: text, key: text, version: text.nullish() });
const kmsKey = z.looseObject({
  arn: text,
  role: text.nullish(),
  context: z.record(z.string(), text.nullable()).nullish(),
  aws_profile: text.nullish(),
});

interface WrittenGroup {
  readonly merge?: readonly WrittenGroup[] | null | undefined;
  readonly age?: readonly string[] | null | undefined;
  readonly pgp?: readonly string[] | null | undefined;
  readonly kms?: readonly z.infer<typeof kmsKey>[] | null | undefined;
  readonly gcp_kms?: readonly { readonly resource_id: string }[] | null | undefined;
  readonly hckms?: readonly { readonly key_id: string }[] | null | undefined;
  readonly azure_keyvault?: readonly z.infer<typeof azureKey>[] | null | undefined;
  readonly hc_vault?: readonly string[] | null | undefined;
}

const writtenGroup: z.ZodType<WrittenGroup> = z.looseObject({
  merge: z.array(z.lazy(() => writtenGroup)).nullish(),
  age: z.array(text).nullish(),
  pgp: z.array(text).nullish(),
  kms: z.array(kmsKey).nullish(),
  gcp_kms: z.array(z.looseObject({ resource_id: text })).nullish(),
  hckms: z.array(z.looseObject({ key_id: text })).nullish(),
  azure_keyvault: z.array(azureKey).nullish(),
  hc_vault: z.array(text).nullish(),
});

const writtenRule = z.looseObject({
  path_regex: text.nullish(),
  age: flat,
  pgp: flat,
  kms: flat,
  aws_profile: text.nullish(),
  gcp_kms: flat,
  hckms: z.array(text).nullish(),
  azure_keyvault: flat,
  hc_vault_transit_uri: flat,
  key_groups: z.array(writtenGroup).nullish(),
  shamir_threshold: z.coerce.number().int().nullish(),
});
type WrittenRule = z.infer<typeof writtenRule>;

const writtenFile = z.looseObject({ creation_rules: z.array(writtenRule).nullish() });

/** At most one of these may stand in a rule. */
const PARTIAL = [
  'unencrypted_suffix',
  'encrypted_suffix',
  'unencrypted_regex',
  'encrypted_regex',
  'unencrypted_comment_regex',
  'encrypted_comment_regex',
];

/**
 * @param source the text of a `.sops.yaml`; undefined where there is none.
 * @throws CreationRulesError for what sops couldn't read either.
 */
export function readCreationRules(source: string | undefined, shown = '.sops.yaml'): CreationRules {
  const lines = new LineCounter();
  const place = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${shown}:${Math.max(line, 1)}:${Math.max(col, 1)}`;
  };
  const document = firstDocument(source ?? '', lines, place);
  const nodeAt = (path: readonly unknown[]): Node | undefined =>
    document?.getIn(path, true) as Node | undefined;
  const read = writtenFile.safeParse(document === undefined ? {} : (asData(document, place) ?? {}));
  if (!read.success) {
    const { path, message } = read.error.issues[0] ?? { path: [], message: 'unknown' };
    const at = path.map((_, i) => nodeAt(path.slice(0, path.length - i))).find((node) => node?.range);
    const what = path.length === 0 ? 'the top of the file' : path.join('.');
    throw new CreationRulesError(`${place(at?.range?.[0] ?? 0)}: ${what}: ${message}`);
  }
  const rules = read.data.creation_rules?.map((written, index) =>
    ruleOf(written, lines.linePos(nodeAt(['creation_rules', index])?.range?.[0] ?? 0).line),
  );
  const finder = new RuleFinder(rules ?? []);
  return { rules, names: anchorNames(document), ruleFor: (path) => finder.find(path) };
}

/** sops reads the first document of a file and never looks at others. */
function firstDocument(
  source: string,
  lines: LineCounter,
  place: (offset: number) => string,
): Document.Parsed<ParsedNode> | undefined {
  // Texts stay texts: a fingerprint such as 1234… is no number.
  const documents = parseAllDocuments<ParsedNode>(source.replace(/^\uFEFF/, ''), {
    schema: 'failsafe',
    merge: true,
    lineCounter: lines,
    prettyErrors: false,
    logLevel: 'silent',
  });
  if (lines.lineStarts.length === 0) lines.addNewLine(0);
  const document = Array.isArray(documents) ? documents[0] : undefined;
  const error = document?.errors[0];
  if (error !== undefined)
    throw new CreationRulesError(`${place(error.pos[0])}: this is not YAML: ${error.message}`);
  return document;
}

function asData(document: Document.Parsed<ParsedNode>, place: (offset: number) => string): unknown {
  visit(document, {
    Scalar: (_key, node) => {
      const isNull = node.type === 'PLAIN' && /^(|~|null|Null|NULL)$/.test(String(node.value));
      if (isNull) node.value = null;
    },
  });
  try {
    // No limit: twenty admins in a thousand hosts' rules are many aliases, and no attack.
    return document.toJS({ maxAliasCount: -1 });
  } catch (error) {
    throw new CreationRulesError(`${place(0)}: ${(error as Error).message}`);
  }
}

function anchorNames(document: Document.Parsed<ParsedNode> | undefined): Map<string, string[]> {
  const names = new Map<string, string[]>();
  if (document === undefined) return names;
  visit(document, {
    Node: (_key, node) => {
      const { anchor } = node as { anchor?: string };
      if (anchor === undefined || isCollection(node) || !isScalar(node)) return;
      const key = holderText(String(node.value));
      names.set(key, [...(names.get(key) ?? []), anchor]);
    },
  });
  return names;
}

function ruleOf(written: WrittenRule, line: number): CreationRule {
  const partial = PARTIAL.filter((field) => Boolean(written[field]));
  const rule = {
    line,
    pathRegex: written.path_regex || undefined,
    threshold: written.shamir_threshold ?? 0,
    partial: partial.length > 0,
  };
  try {
    const groups = written.key_groups?.length ? written.key_groups.map(groupKeys) : [flatKeys(written)];
    return { ...rule, groups: groups.map((keys) => new Set(keys)), problem: problemOf(partial, groups) };
  } catch (error) {
    if (!(error instanceof KeyFormatError)) throw error;
    return { ...rule, groups: [], problem: error.message };
  }
}

function problemOf(partial: readonly string[], groups: readonly (readonly string[])[]): string | undefined {
  if (partial.length > 1) return `it has both ${partial.slice(0, 2).join(' and ')}`;
  return groups.some((keys) => keys.length === 0) ? 'it names nobody to encrypt to' : undefined;
}

function groupKeys(written: WrittenGroup): string[] {
  return [
    ...(written.merge ?? []).flatMap(groupKeys),
    ...(written.age ?? []).flatMap((item) => (item === '' ? [] : item.split(',').map(ageKey))),
    ...(written.pgp ?? []).map((fingerprint) => `pgp:${fingerprint.replaceAll(' ', '')}`),
    ...(written.kms ?? []).map(({ arn, role, context, aws_profile }) =>
      kmsKeyOf(arn, role ?? '', context ?? {}, aws_profile ?? ''),
    ),
    ...(written.gcp_kms ?? []).map((key) => `gcp_kms:${key.resource_id.replaceAll(' ', '')}`),
    ...(written.hckms ?? []).map((key) => `hckms:${key.key_id}`),
    ...(written.azure_keyvault ?? []).map(({ vaultUrl, key, version }) =>
      azureKeyOf(vaultUrl, key, version ?? ''),
    ),
    ...(written.hc_vault ?? []).filter((uri) => uri !== '').map(vaultKey),
  ];
}

function flatKeys(written: WrittenRule): string[] {
  return [
    ...listed(written.age, 'age').map(ageKey),
    ...listed(written.pgp, 'pgp').map((fingerprint) => `pgp:${fingerprint.replaceAll(' ', '')}`),
    ...listed(written.kms, 'kms').map((item) => {
      const [arn = '', role = ''] = item.replaceAll(' ', '').split(/\+(?=arn:)/);
      return kmsKeyOf(arn, role, {}, written.aws_profile ?? '');
    }),
    ...listed(written.gcp_kms, 'gcp_kms').map((id) => `gcp_kms:${id.replaceAll(' ', '')}`),
    ...listed(written.hckms, 'hckms').flatMap((id) => (id.trim() === '' ? [] : [`hckms:${id.trim()}`])),
    ...listed(written.azure_keyvault, 'azure_keyvault').map((item) => {
      const [, vault, name, version = ''] =
        /^(https:\/\/[^/]+)\/keys\/([^/]+)(\/[^/]*)?$/.exec(item.trim()) ?? [];
      if (vault === undefined || name === undefined)
        throw new KeyFormatError(`"${item}" is no key of Azure Key Vault: https://…/keys/NAME/VERSION`);
      return azureKeyOf(vault, name, version.slice(1));
    }),
    ...listed(written.hc_vault_transit_uri, 'hc_vault_transit_uri')
      .filter((uri) => uri !== '')
      .map(vaultKey),
  ];
}

/** One text is split at its commas, and blanks around them don't count; so are the texts of a list, once joined. */
function listed(value: z.infer<typeof flat>, field: string): string[] {
  if (value === null || value === undefined) return [];
  if (typeof value === 'string') {
    return value
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== '');
  }
  if (value.includes(null)) throw new KeyFormatError(`an item of ${field} is empty`);
  const joined = value.join(',');
  return joined === '' ? [] : joined.split(',');
}

function ageKey(recipient: string): string {
  checkAgeRecipient(recipient.trim());
  return `age:${recipient.trim()}`;
}

/** A key of AWS KMS as sops spells it: ARN, role, encryption context and profile. */
export function kmsKeyOf(
  arn: string,
  role: string,
  context: Readonly<Record<string, string | null>>,
  profile: string,
): string {
  const key = role === '' ? arn : `${arn}+${role}`;
  const pairs = Object.entries(context)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}:${value ?? ''}`)
    .join(',');
  if (profile !== '') return `kms:${key}|${pairs}|${profile}`;
  return pairs === '' ? `kms:${key}` : `kms:${key}|${pairs}`;
}

/** Without a version it ends in a slash: sops then asks Azure for the newest, and any version counts as equal here. */
export function azureKeyOf(vault: string, name: string, version: string): string {
  return `azure_kv:${vault}/keys/${name}/${version}`;
}

function vaultKey(uri: string): string {
  const [, address, path = ''] = /^([a-z][a-z0-9+.-]*:\/\/[^/]+)(\/.*)$/i.exec(uri) ?? [];
  const parts = path.split('/').filter((part) => part !== '');
  if (address === undefined || parts.length < 4 || !/^v\d+$/.test(parts[0] ?? ''))
    throw new KeyFormatError(`"${uri}" is no key of Vault: https://…/v1/ENGINE/keys/NAME`);
  return `hc_vault:${address}/v1/${parts.slice(1, -2).join('/')}/keys/${parts.at(-1)}`;
}

/** Whether a key of a rule is the key of a file. */
export function isSameKey(ruled: string, actual: string): boolean {
  const anyVersion = ruled.startsWith('azure_kv:') && ruled.endsWith('/');
  return anyVersion ? actual.startsWith(ruled) : actual === ruled;
}

/**
 * Who holds a key, whatever its spelling: an SSH recipient without its comment, a fingerprint in capitals. sops takes
 * two spellings for two keys, and whoever holds one holds the other.
 */
export function holder(key: string): string {
  const at = key.indexOf(':') + 1;
  return key.slice(0, at) + holderText(key.slice(at));
}

function holderText(id: string): string {
  const trimmed = id.trim();
  if (trimmed.startsWith('ssh-')) return trimmed.split(/\s+/).slice(0, 2).join(' ');
  return /^[0-9a-f ]{8,}$/i.test(trimmed) ? trimmed.replaceAll(' ', '').toUpperCase() : trimmed;
}

/**
 * sops compiles expressions with Go's regexp, whose syntax is RE2's, searches them anywhere in the path, and compiles
 * one only when it comes to it: a bad one spoils the files that no rule before it matches. Those that are for one
 * folder, as ours are, are looked up instead of tried, since a fleet has a thousand.
 */
class RuleFinder {
  private readonly byFolder = new Map<string, number>();
  private readonly others: { readonly index: number; readonly matches: (path: string) => Match }[] = [];

  constructor(private readonly rules: readonly CreationRule[]) {
    for (const [index, { pathRegex }] of rules.entries()) {
      const folder = pathRegex === undefined ? undefined : folderOf(pathRegex);
      if (folder === undefined) this.others.push({ index, matches: matcher(pathRegex) });
      else if (!this.byFolder.has(folder)) this.byFolder.set(folder, index);
    }
  }

  find(path: string): CreationRule | undefined {
    let first = this.rules.length;
    for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) {
      first = Math.min(first, this.byFolder.get(path.slice(0, at)) ?? first);
    }
    for (const { index, matches } of this.others) {
      if (index > first) break;
      const match = matches(path);
      const rule = this.rules[index];
      if (match === true) return rule;
      if (match !== false && rule !== undefined) return { ...rule, groups: [], problem: match.problem };
    }
    return this.rules[first];
  }
}

type Match = boolean | { readonly problem: string };

function matcher(regex: string | undefined): (path: string) => Match {
  if (regex === undefined) return () => true;
  try {
    return goRegex(regex);
  } catch (error) {
    const problem = `its path_regex "${regex}" is none: ${(error as Error).message}`;
    return () => ({ problem });
  }
}
