import { RE2JS } from 're2js';
import { isScalar, parseDocument, visit } from 'yaml';
import { z } from 'zod';

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
  /** How many groups are needed to decrypt; 0 where all are. */
  readonly threshold: number;
  readonly matches: (path: string) => boolean;
}

/**
 * The keys of a group, each with its kind before it: `age:age1…`, `pgp:FINGERPRINT`, `kms:ARN`, `gcp_kms:RESOURCE`.
 * A kind that this program can't compare is `other:`.
 */
export type KeyGroup = ReadonlySet<string>;

/** Creation rules, and what people call the keys in them. */
export interface CreationRules {
  readonly rules: readonly CreationRule[];
  /** Key → the name of its anchor. */
  readonly names: ReadonlyMap<string, string>;
}

/** The file can't be read as creation rules; the message says where. */
export class CreationRulesError extends Error {
  override readonly name = 'CreationRulesError';
}

const texts = z.union([z.string().transform((text) => text.split(',')), z.array(z.string())]);
const kmsKey = z.union([z.string(), z.looseObject({ arn: z.string() }).transform(({ arn }) => arn)]);
const gcpKey = z.union([
  z.string(),
  z.looseObject({ resource_id: z.string() }).transform((key) => key.resource_id),
]);

const keyFields = {
  age: texts.nullish(),
  pgp: texts.nullish(),
  kms: z.union([z.string().transform((text) => text.split(',')), z.array(kmsKey)]).nullish(),
  gcp_kms: z.union([z.string().transform((text) => text.split(',')), z.array(gcpKey)]).nullish(),
  azure_keyvault: z.unknown().optional(),
  azure_kv: z.unknown().optional(),
  hc_vault: z.unknown().optional(),
  hc_vault_transit_uri: z.unknown().optional(),
};

interface WrittenGroup {
  readonly [key: string]: unknown;
}

const group: z.ZodType<WrittenGroup> = z.looseObject({
  ...keyFields,
  merge: z.array(z.lazy(() => group)).nullish(),
});
const rule = z.looseObject({
  ...keyFields,
  path_regex: z.string().nullish(),
  shamir_threshold: z.number().nullish(),
  key_groups: z.array(group).nullish(),
});
const file = z.looseObject({ creation_rules: z.array(rule).nullish() });

/** @throws CreationRulesError for what sops couldn't read either. */
export function readCreationRules(text: string, shown = '.sops.yaml'): CreationRules {
  const document = parseDocument(text, { merge: true });
  const [error] = document.errors;
  if (error !== undefined) throw new CreationRulesError(`${shown}: ${error.message}`);
  const read = file.safeParse(document.toJS() ?? {});
  if (!read.success) {
    const [issue] = read.error.issues;
    throw new CreationRulesError(`${shown}: ${issue?.path.join('.')}: ${issue?.message}`);
  }
  const lineOf = (index: number): number => {
    const node = document.getIn(['creation_rules', index], true) as { range?: readonly number[] } | undefined;
    return text.slice(0, node?.range?.[0] ?? 0).split('\n').length;
  };
  const rules = (read.data.creation_rules ?? []).map((written, index) => {
    const pathRegex = written.path_regex || undefined;
    return {
      line: lineOf(index),
      pathRegex,
      groups: written.key_groups?.length ? written.key_groups.map(keysOf) : [keysOf(written)],
      threshold: written.shamir_threshold ?? 0,
      matches: matcher(pathRegex, shown),
    };
  });
  const names = new Map<string, string>();
  visit(document, {
    Scalar: (_key, node) => {
      if (isScalar(node) && node.anchor !== undefined)
        names.set(normal('age', String(node.value)), node.anchor);
    },
  });
  return { rules, names };
}

/** The rule that sops uses for a file: the first that matches its path, relative to the folder of `.sops.yaml`. */
export function ruleFor({ rules }: CreationRules, path: string): CreationRule | undefined {
  return rules.find(({ matches }) => matches(path));
}

/** sops compiles expressions with Go's regexp, whose syntax is RE2's, and searches them anywhere in the path. */
function matcher(regex: string | undefined, shown: string): (path: string) => boolean {
  if (regex === undefined) return () => true;
  try {
    const compiled = RE2JS.compile(regex);
    return (path) => compiled.matcher(path).find();
  } catch (error) {
    throw new CreationRulesError(`${shown}: path_regex "${regex}": ${(error as Error).message}`);
  }
}

function keysOf(written: WrittenGroup): Set<string> {
  const keys = new Set<string>();
  for (const kind of ['age', 'pgp', 'kms', 'gcp_kms'] as const) {
    for (const id of (written[kind] as string[] | null | undefined) ?? []) {
      if (id.trim() !== '') keys.add(normal(kind, id));
    }
  }
  for (const kind of ['azure_keyvault', 'azure_kv', 'hc_vault', 'hc_vault_transit_uri']) {
    if (written[kind] != null) keys.add(`other:${kind}`);
  }
  for (const merged of (written.merge as WrittenGroup[] | null | undefined) ?? []) {
    for (const key of keysOf(merged)) keys.add(key);
  }
  return keys;
}

/** A key as it is compared: an SSH recipient without its comment, a fingerprint without blanks. */
export function normal(kind: string, id: string): string {
  const trimmed = id.trim();
  if (kind === 'pgp') return `pgp:${trimmed.replaceAll(' ', '').toUpperCase()}`;
  return `${kind}:${trimmed.startsWith('ssh-') ? trimmed.split(/\s+/).slice(0, 2).join(' ') : trimmed}`;
}
