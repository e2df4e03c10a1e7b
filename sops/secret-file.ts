import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { azureKeyOf, type KeyGroup, kmsKeyOf } from './creation-rules';

/** Whom a sops file is encrypted to, from what sops keeps in the clear beside the values. */
export type SecretFile =
  | {
      readonly status: 'encrypted';
      readonly groups: readonly KeyGroup[];
      /** As it is written; 0 where it isn't: one group has none. */
      readonly threshold: number;
      /** The authentication code over the values and the time of the last edit: the same as long as the values are. */
      readonly seal: string;
    }
  | { readonly status: 'plain' }
  /** sops wrote it, and can't read it any more; the reason is the end of a sentence. */
  | { readonly status: 'damaged'; readonly reason: string };

/** The formats of sops, each told by the file's name alone (sops v3.13, cmd/sops/formats). */
export type SecretFormat = 'yaml' | 'json' | 'dotenv' | 'ini' | 'binary';

export function formatOf(file: string): SecretFormat {
  if (/\.ya?ml$/.test(file)) return 'yaml';
  if (file.endsWith('.json')) return 'json';
  if (file.endsWith('.env')) return 'dotenv';
  return file.endsWith('.ini') ? 'ini' : 'binary';
}

const text = z.string();
const enc = text.min(1);
const keys = {
  age: z.array(z.looseObject({ recipient: text, enc })).nullish(),
  pgp: z.array(z.looseObject({ fp: text, enc })).nullish(),
  kms: z
    .array(
      z.looseObject({
        arn: text,
        enc,
        role: text.nullish(),
        context: z.record(z.string(), text.nullable()).nullish(),
        aws_profile: text.nullish(),
      }),
    )
    .nullish(),
  gcp_kms: z.array(z.looseObject({ resource_id: text, enc })).nullish(),
  hckms: z.array(z.looseObject({ key_id: text, enc })).nullish(),
  azure_kv: z.array(z.looseObject({ vault_url: text, name: text, version: text.nullish(), enc })).nullish(),
  hc_vault: z.array(z.looseObject({ vault_address: text, engine_path: text, key_name: text, enc })).nullish(),
};
const groupOfKeys = z.looseObject(keys);
type GroupOfKeys = z.infer<typeof groupOfKeys>;

/** sops v3.13, stores/stores.go: metadata. One group is written without `key_groups`, and wins over it. */
const metadata = z.looseObject({
  ...keys,
  key_groups: z.array(groupOfKeys).nullish(),
  shamir_threshold: z.coerce.number().int().nullish(),
  lastmodified: text.regex(/^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/),
  mac: text.min(1),
  version: text.min(1),
});

/** Fields that only sops writes: a mapping called `sops` without them is somebody's own. */
const MARKS = ['mac', 'lastmodified', 'key_groups', 'age', 'pgp', 'kms', 'gcp_kms', 'azure_kv', 'hc_vault'];

const CIPHERTEXT = /ENC\[AES256_GCM,data:[^,\]]*,iv:[^,\]]+,tag:[^,\]]+,type:\w+\]/;
const CONFLICT = /^(<{7}|>{7})( |$)/m;

/** Reads a file as sops would by its name; the values in it aren't looked at, nor decrypted. */
export function readSecretFile(file: string, content: string): SecretFile {
  const hasCiphertext = CIPHERTEXT.test(content);
  if (!hasCiphertext && !content.includes('sops')) return { status: 'plain' };
  if (hasCiphertext && CONFLICT.test(content))
    return { status: 'damaged', reason: 'a merge conflict stands in it' };
  const found = METADATA[formatOf(file)](content.replace(/^\uFEFF/, ''));
  const isOurs = hasCiphertext || content.includes('-----BEGIN AGE ENCRYPTED FILE-----');
  if (found.status === 'unreadable')
    return isOurs ? { status: 'damaged', reason: found.reason } : { status: 'plain' };
  if (found.status === 'found' && MARKS.some((mark) => Object.hasOwn(found.data, mark)))
    return readMetadata(found.data);
  return hasCiphertext
    ? { status: 'damaged', reason: 'the part that sops writes at its end is gone' }
    : { status: 'plain' };
}

function readMetadata(data: object): SecretFile {
  const read = metadata.safeParse(data);
  if (!read.success) {
    const path = read.error.issues[0]?.path.join('.') ?? '';
    return { status: 'damaged', reason: `"${path}" of what sops wrote is missing or changed` };
  }
  const { key_groups, shamir_threshold, mac, lastmodified } = read.data;
  const own = keysOf(read.data);
  const groups = own.size > 0 ? [own] : (key_groups ?? []).map(keysOf);
  if (groups.length === 0) return { status: 'damaged', reason: 'it names nobody who can decrypt it' };
  return { status: 'encrypted', groups, threshold: shamir_threshold ?? 0, seal: `${mac} ${lastmodified}` };
}

function keysOf({ age, pgp, kms, gcp_kms, hckms, azure_kv, hc_vault }: GroupOfKeys): KeyGroup {
  return new Set([
    ...(kms ?? []).map((key) => kmsKeyOf(key.arn, key.role ?? '', key.context ?? {}, key.aws_profile ?? '')),
    ...(gcp_kms ?? []).map((key) => `gcp_kms:${key.resource_id}`),
    ...(hckms ?? []).map((key) => `hckms:${key.key_id}`),
    ...(azure_kv ?? []).map((key) => azureKeyOf(key.vault_url, key.name, key.version ?? '')),
    ...(hc_vault ?? []).map(
      (key) => `hc_vault:${key.vault_address}/v1/${key.engine_path}/keys/${key.key_name}`,
    ),
    ...(pgp ?? []).map((key) => `pgp:${key.fp}`),
    ...(age ?? []).map((key) => `age:${key.recipient}`),
  ]);
}

/** What stands under `sops` in a file, as data whose leaves are texts. */
type Found =
  | { readonly status: 'found'; readonly data: object }
  | { readonly status: 'none' }
  | { readonly status: 'unreadable'; readonly reason: string };

const NONE: Found = { status: 'none' };

const METADATA: Readonly<Record<SecretFormat, (content: string) => Found>> = {
  yaml: inYaml,
  json: inJson,
  binary: inJson,
  dotenv: inDotenv,
  ini: inIni,
};

/**
 * sops writes its part as a block at the end of each document, and reads that of the first. Where it stands so, only
 * it is parsed: the values may be large, and nobody asks for them here.
 */
function inYaml(content: string): Found {
  const first = content.split(/^(?=---(?:\s|$))/m).find((part) => !/^(---)?\s*$/.test(part)) ?? '';
  const blocks = [...first.matchAll(/^sops:[ \t]*(?:#.*)?\r?\n(?:(?:[ \t#-].*)?(?:\r?\n|$))*/gm)];
  if (blocks.length > 1) return { status: 'unreadable', reason: 'it has two parts of sops' };
  const document = parseYaml(blocks[0]?.[0] ?? content);
  if (document === undefined) return { status: 'unreadable', reason: 'it is not YAML' };
  return under(document, 'sops');
}

function parseYaml(content: string): unknown {
  const documents = parseAllDocuments(content, {
    schema: 'failsafe',
    prettyErrors: false,
    logLevel: 'silent',
  });
  const document = Array.isArray(documents) ? documents[0] : undefined;
  if (document === undefined) return {};
  if (document.errors.length > 0) return undefined;
  try {
    return document.toJS() ?? {};
  } catch {
    return undefined;
  }
}

function inJson(content: string): Found {
  if (!/^\s*\{/.test(content)) return NONE;
  try {
    return under(JSON.parse(content, leafAsText), 'sops');
  } catch {
    return { status: 'unreadable', reason: 'it is not JSON' };
  }
}

const leafAsText = (_key: string, value: unknown): unknown =>
  typeof value === 'number' || typeof value === 'boolean' ? String(value) : value;

function under(document: unknown, key: string): Found {
  if (typeof document !== 'object' || document === null || !Object.hasOwn(document, key)) return NONE;
  const data = (document as Record<string, unknown>)[key];
  return typeof data === 'object' && data !== null ? { status: 'found', data } : NONE;
}

function inDotenv(content: string): Found {
  const lines = content.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const own = lines.filter((line) => line.startsWith('sops_') && line.includes('='));
  if (own.length === 0) return NONE;
  if (lines.some((line) => !line.includes('='))) return { status: 'unreadable', reason: 'a line has no "="' };
  return unflatten(own.map((line) => entry(line.slice('sops_'.length))));
}

function inIni(content: string): Found {
  const section = content.split(/^[ \t]*(?=\[)/m).find((part) => part.startsWith('[sops]'));
  if (section === undefined) return NONE;
  const lines = section.split(/\r?\n/).slice(1);
  return unflatten(lines.filter((line) => /^\s*[^#;\s].*=/.test(line)).map(entry));
}

/** go-ini puts back quotes around values that hold what it would read otherwise. */
function entry(line: string): readonly [string, string] {
  const at = line.indexOf('=');
  const value = line.slice(at + 1).trim();
  return [line.slice(0, at).trim(), /^(`?)([\s\S]*)\1$/.exec(value)?.[2] ?? value];
}

/** `age__list_0__map_recipient` and its like (sops v3.13, stores/flatten.go), as the tree that they stand for. */
function unflatten(flat: readonly (readonly [string, string])[]): Found {
  const root: Branch = new Map();
  for (const [key, value] of flat) {
    const steps = key.split(/__(?:map|list)_/);
    const last = steps.pop() ?? '';
    let at = root;
    for (const step of steps) {
      const next = at.get(step) ?? new Map<string, string | Branch>();
      if (typeof next === 'string') return { status: 'unreadable', reason: 'its keys contradict each other' };
      at.set(step, next);
      at = next;
    }
    at.set(last, value);
  }
  return { status: 'found', data: plainOf(root) as object };
}

type Branch = Map<string, string | Branch>;

/** A branch whose keys are 0, 1, 2… is a list. `fromEntries` defines members, also one that is called __proto__. */
function plainOf(value: string | Branch): unknown {
  if (typeof value === 'string') return value;
  const isList = value.size > 0 && [...value.keys()].every((key) => /^\d+$/.test(key));
  if (isList) {
    const members = [...value].sort(([a], [b]) => Number(a) - Number(b));
    return members.map(([, member]) => plainOf(member));
  }
  return Object.fromEntries([...value].map(([key, member]) => [key, plainOf(member)]));
}
