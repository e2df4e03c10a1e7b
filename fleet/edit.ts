import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { isMap, isScalar, type Node, type Scalar, stringify, type YAMLMap } from 'yaml';
import { updateTextFile } from '../sops/text-file';
import {
  columnOf,
  contentEnd,
  isFlow,
  keyStart,
  lineEnd,
  lineStart,
  pairOf,
  parseYaml,
  refuse,
  replaceScalar,
  type Splice,
  splice,
  type TextPair,
  type YamlText,
} from '../sops/yaml-text';
import { FleetError, Problems } from './problem';
import { YamlSource } from './source';

/**
 * Changes of `fleet.yaml` that programs make: one setting, or one host. People's comments, order and quoting keep
 * their bytes. Each change is read back: a text that would say anything else than what was wanted is not handed out.
 */

/** What a host says in the file, setting by setting. */
export type WrittenSettings = Readonly<Record<string, unknown>>;

type Content = { hosts?: Record<string, Record<string, unknown>> };

/**
 * Sets one setting of a host, or takes it out where the value is undefined.
 *
 * @param file The file's name for messages.
 * @throws SopsRulesError naming the place where the text can't be edited safely.
 */
export function setHostSetting(
  text: string,
  file: string,
  host: string,
  key: string,
  value: unknown,
): string {
  const yaml = parseYaml(text, file);
  const map = hostMap(yaml, host);
  const pair = pairOf(map, key);
  const splices =
    pair === undefined
      ? value === undefined
        ? []
        : [addPair(yaml, map, key, value)]
      : value === undefined
        ? [removePair(yaml, map, pair)]
        : replaceValue(yaml, pair, key, value);
  return checked(yaml, splices, (content) => {
    const settings = content.hosts?.[host] ?? {};
    if (value === undefined) delete settings[key];
    else settings[key] = value;
  });
}

/**
 * Adds a host below the others, written as the last one is.
 *
 * @throws SopsRulesError where the text can't be edited safely, or has such a host.
 */
export function addHost(text: string, file: string, host: string, settings: WrittenSettings): string {
  const yaml = parseYaml(text, file);
  const { root } = yaml;
  const pair = root && pairOf(root, 'hosts');
  const change = (content: Content): void => {
    content.hosts = { ...content.hosts, [host]: { ...settings } };
  };
  if (root === undefined || isFlow(root))
    return refuse(yaml, 0, 'this is no fleet that lines can be added to', 'write its sections on lines');
  if (pair === undefined) {
    const put = `hosts:${yaml.eol}  ${host}: ${flow(settings)}${yaml.eol}`;
    return checked(yaml, [{ at: yaml.text.length, cut: 0, put }], change);
  }
  const { value } = pair;
  if (isMap(value) && value.items.length > 0) {
    const hosts = value as YAMLMap;
    if (pairOf(hosts, host) !== undefined)
      refuse(yaml, keyStart(pair), `hosts has ${host} already`, 'choose another name');
    return checked(yaml, [addPair(yaml, hosts, host, settings)], change);
  }
  const from = contentEnd(yaml, pair.key) + 1;
  const to = Math.max(from, contentEnd(yaml, pair));
  const put = `${yaml.eol}  ${host}: ${flow(settings)}`;
  return checked(yaml, [{ at: from, cut: to - from, put }], change);
}

/** Takes a host out. Comments on lines of their own stay. @throws SopsRulesError */
export function removeHostFrom(text: string, file: string, host: string): string {
  const yaml = parseYaml(text, file);
  const hosts = hostsMap(yaml);
  const pair = hosts && pairOf(hosts, host);
  if (hosts === undefined || pair === undefined) return text;
  const splices = hosts.items.length === 1 ? onlyHost(yaml, hosts, pair) : [removePair(yaml, hosts, pair)];
  return checked(yaml, splices, (content) => {
    delete content.hosts?.[host];
  });
}

/** `hosts:` without a host must still be a mapping. */
function onlyHost(yaml: YamlText, hosts: YAMLMap, pair: TextPair): Splice[] {
  if (isFlow(hosts)) return [removePair(yaml, hosts, pair)];
  const above = pairOf(yaml.root as YAMLMap, 'hosts') as TextPair;
  const colon = contentEnd(yaml, above.key) + 1;
  return [{ at: colon, cut: 0, put: ' {}' }, removePair(yaml, hosts, pair)];
}

/** Gives a host another name, in `hosts` and wherever `shared` and `drift` name it. @throws SopsRulesError */
export function renameHostIn(text: string, file: string, host: string, name: string): string {
  const yaml = parseYaml(text, file);
  const hosts = hostsMap(yaml);
  const pair = hosts && pairOf(hosts, host);
  if (pair === undefined) return refuse(yaml, 0, `hosts has no ${host}`, 'write it there first');
  const splices = [pair.key as Scalar, ...mentions(yaml, host)].map((node) =>
    replaceScalar(yaml, node, name),
  );
  return checked(yaml, splices, (content) => {
    const renamed = Object.entries(content.hosts ?? {}).map(([key, value]) => [
      key === host ? name : key,
      value,
    ]);
    content.hosts = Object.fromEntries(renamed);
    const { shared, drift } = content as {
      shared?: { hosts?: string[] }[];
      drift?: { ignore?: { host?: string }[] };
    };
    for (const each of shared ?? []) {
      if (each.hosts) each.hosts = each.hosts.map((other) => (other === host ? name : other));
    }
    for (const each of drift?.ignore ?? []) if (each.host === host) each.host = name;
  });
}

function mentions({ root }: YamlText, host: string): Scalar[] {
  const items = (node: unknown): Node[] => ((node as YAMLMap | undefined)?.items ?? []) as unknown as Node[];
  const value = (map: Node | undefined, key: string) =>
    isMap(map) ? pairOf(map as YAMLMap, key)?.value : undefined;
  const shared = items(value(root, 'shared')).flatMap((each) => items(value(each, 'hosts')));
  const drift = value(root, 'drift') ?? undefined;
  const ignored = items(value(drift, 'ignore')).flatMap((each) => value(each, 'host') ?? []);
  return [...shared, ...ignored].filter((node): node is Scalar => isScalar(node) && node.value === host);
}

/**
 * Edits the fleet's file under a lock, and writes it as a whole.
 *
 * @throws SopsRulesError, TextFileError; the file is then what it was.
 */
export async function editFleetFile(file: string, edit: (text: string) => string): Promise<void> {
  await updateTextFile(file, (before = '') => {
    const text = edit(before);
    return { text, changed: text !== before };
  });
}

/** Sets some settings of a host in the fleet's file, all or none; undefined takes one out. @throws as `editFleetFile` */
export function declare(file: string, host: string, settings: WrittenSettings): Promise<void> {
  return editFleetFile(file, (text) =>
    Object.entries(settings).reduce(
      (edited, [key, value]) => setHostSetting(edited, path.basename(file), host, key, value),
      text,
    ),
  );
}

function hostsMap({ root }: YamlText): YAMLMap | undefined {
  const hosts = root && pairOf(root, 'hosts')?.value;
  return isMap(hosts) ? (hosts as YAMLMap) : undefined;
}

function hostMap(yaml: YamlText, host: string): YAMLMap {
  const hosts = hostsMap(yaml);
  const pair = hosts && pairOf(hosts, host);
  if (pair === undefined) return refuse(yaml, 0, `hosts has no ${host}`, 'write it there first');
  if (!isMap(pair.value))
    return refuse(yaml, keyStart(pair), `${host} is no mapping of its own`, 'write its settings out here');
  return pair.value as YAMLMap;
}

function addPair(yaml: YamlText, map: YAMLMap, key: string, value: unknown): Splice {
  const last = map.items.at(-1) as TextPair | undefined;
  if (isFlow(map) || last === undefined) {
    const put = `${key}: ${flow(value)}`;
    if (last === undefined) return { at: (map.range?.[0] ?? 0) + 1, cut: 0, put: ` ${put} ` };
    return { at: contentEnd(yaml, last), cut: 0, put: `, ${put}` };
  }
  const indent = ' '.repeat(columnOf(yaml, keyStart(map.items[0] as TextPair)));
  const lines = written(key, value, isMap(last.value) && !isFlow(last.value));
  const put = lines.map((line) => `${indent}${line}${yaml.eol}`).join('');
  return { at: lineEnd(yaml, contentEnd(yaml, last)), cut: 0, put };
}

/** A pair as lines; a mapping is spelt out below its key where its siblings are. */
function written(key: string, value: unknown, spelt: boolean): string[] {
  if (!spelt || typeof value !== 'object' || value === null) return [`${key}: ${flow(value)}`];
  return [`${key}:`, ...Object.entries(value).map(([name, each]) => `  ${name}: ${flow(each)}`)];
}

function removePair(yaml: YamlText, map: YAMLMap, pair: TextPair): Splice {
  const end = contentEnd(yaml, pair);
  if (!isFlow(map)) {
    const at = lineStart(yaml, keyStart(pair));
    return { at, cut: lineEnd(yaml, end) - at, put: '' };
  }
  const index = map.items.indexOf(pair);
  const previous = map.items[index - 1] as TextPair | undefined;
  const next = map.items[index + 1] as TextPair | undefined;
  if (previous !== undefined) {
    const at = contentEnd(yaml, previous);
    return { at, cut: end - at, put: '' };
  }
  const at = keyStart(pair);
  return { at, cut: (next === undefined ? end : keyStart(next)) - at, put: '' };
}

function replaceValue(yaml: YamlText, pair: TextPair, key: string, value: unknown): Splice[] {
  const from = contentEnd(yaml, pair.key) + 1;
  const end = contentEnd(yaml, pair);
  const node = pair.value;
  if (isScalar(node) || (isFlow(node) && node !== null)) {
    const at = node.range?.[0] ?? from;
    return [{ at, cut: end - at, put: flow(value) }];
  }
  if (node !== null && !isMap(node))
    refuse(yaml, keyStart(pair), `${key} is written in an unusual way`, 'write it out');
  return [{ at: from, cut: Math.max(end, from) - from, put: ` ${flow(value)}` }];
}

/** A value on one line, as it may stand within braces too. */
function flow(value: unknown): string {
  const text = stringify([value], {
    collectionStyle: 'flow',
    lineWidth: 0,
    flowCollectionPadding: true,
  }).trim();
  return text.slice(1, -1).trim();
}

function checked(yaml: YamlText, splices: readonly Splice[], change: (content: Content) => void): string {
  const text = splice(yaml, splices);
  const content = structuredClone(read(splice(yaml, []), yaml.file));
  change(content);
  let after: unknown;
  try {
    after = read(text, yaml.file);
  } catch (error) {
    if (!(error instanceof FleetError)) throw error;
  }
  const plain = (value: unknown) => JSON.parse(JSON.stringify(value ?? null));
  if (!isDeepStrictEqual(plain(after), plain(content))) {
    refuse(
      yaml,
      splices[0]?.at ?? 0,
      "a program can't edit what stands here",
      'write this part on plain lines',
    );
  }
  return text;
}

function read(text: string, file: string): Content {
  return (YamlSource.parse(text, file, new Problems()).value ?? {}) as Content;
}
