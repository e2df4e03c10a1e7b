import { parse } from 'yaml';
import { z } from 'zod';
import { type KeyGroup, normal } from './creation-rules';

/** Whom a sops file is encrypted to, from what sops keeps in the clear at its end. */
export type SecretFile =
  | { readonly status: 'encrypted'; readonly groups: readonly KeyGroup[]; readonly threshold: number }
  | { readonly status: 'plain' }
  /** It looks like a sops file, and its metadata can't be read. */
  | { readonly status: 'damaged' };

const keys = {
  age: z.array(z.looseObject({ recipient: z.string() })).nullish(),
  pgp: z.array(z.looseObject({ fp: z.string() })).nullish(),
  kms: z.array(z.looseObject({ arn: z.string() })).nullish(),
  gcp_kms: z.array(z.looseObject({ resource_id: z.string() })).nullish(),
  azure_kv: z.array(z.unknown()).nullish(),
  hc_vault: z.array(z.unknown()).nullish(),
};

const groupOfKeys = z.looseObject(keys);

/** sops v3.13, stores/stores.go: Metadata. One group is written without `key_groups`. */
const metadata = z.looseObject({
  ...keys,
  key_groups: z.array(groupOfKeys).nullish(),
  shamir_threshold: z.coerce.number().nullish(),
  version: z.string(),
});

/** Reads a file of any of sops' formats; the values in it aren't looked at. */
export function readSecretFile(text: string): SecretFile {
  const found = metadataOf(text);
  if (found === undefined) return { status: 'plain' };
  const read = metadata.safeParse(found);
  if (!read.success) return { status: 'damaged' };
  const { key_groups, shamir_threshold } = read.data;
  const groups = (key_groups?.length ? key_groups : [read.data]).map(groupOf);
  return { status: 'encrypted', groups, threshold: shamir_threshold ?? 0 };
}

function groupOf({ age, pgp, kms, gcp_kms, azure_kv, hc_vault }: z.infer<typeof groupOfKeys>): KeyGroup {
  return new Set([
    ...(age ?? []).map(({ recipient }) => normal('age', recipient)),
    ...(pgp ?? []).map(({ fp }) => normal('pgp', fp)),
    ...(kms ?? []).map(({ arn }) => normal('kms', arn)),
    ...(gcp_kms ?? []).map(({ resource_id }) => normal('gcp_kms', resource_id)),
    ...(azure_kv?.length ? ['other:azure_kv'] : []),
    ...(hc_vault?.length ? ['other:hc_vault'] : []),
  ]);
}

/** What stands under `sops`, as data; undefined for a file that sops didn't write. */
function metadataOf(text: string): unknown {
  if (/^\s*\{/.test(text)) {
    const json = attempt(() => JSON.parse(text) as { sops?: unknown });
    if (json !== undefined) return json.sops;
  }
  const yaml = text.match(/^sops:[ \t]*\r?\n(?:(?:[ \t#].*)?(?:\r?\n|$))*/m)?.[0];
  // Only this part: a file's values may be large, and nobody asks for them here.
  if (yaml !== undefined) return attempt(() => (parse(yaml) as { sops?: unknown }).sops) ?? {};
  if (/^sops_version=/m.test(text)) return unflatten(entries(text, /^sops_([^=]+)=(.*)$/gm));
  const ini = text.split(/^\[sops\]\s*$/m)[1]?.split(/^\[/m)[0];
  return ini === undefined ? undefined : unflatten(entries(ini, /^([\w.]+)\s*=\s*(.*)$/gm));
}

function attempt<Result>(action: () => Result): Result | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}

const entries = (text: string, line: RegExp): [string, string][] =>
  [...text.matchAll(line)].map(([, key = '', value = '']) => [key, value.trim()]);

/** `age__list_0__map_recipient` and its like (sops v3.13, stores/flatten.go), as the tree that they stand for. */
function unflatten(flat: readonly (readonly [string, string])[]): unknown {
  const root: Record<string, unknown> = {};
  for (const [key, value] of flat) {
    const steps = key.split(/__(?:map|list)_/);
    let at = root;
    steps.forEach((step, i) => {
      if (i === steps.length - 1) at[step] = value;
      else {
        at[step] ??= {};
        at = at[step] as Record<string, unknown>;
      }
    });
  }
  return listsIn(root);
}

/** Objects whose keys are 0, 1, 2… as lists. */
function listsIn(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const pairs = Object.entries(value).map(([key, member]) => [key, listsIn(member)] as const);
  const isList = pairs.length > 0 && pairs.every(([key]) => /^\d+$/.test(key));
  return isList ? pairs.map(([, member]) => member) : Object.fromEntries(pairs);
}
