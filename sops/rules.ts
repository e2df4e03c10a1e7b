import { isAlias, isMap, isScalar, isSeq, type Node, visit, type YAMLMap, type YAMLSeq } from 'yaml';
import { checkAgeRecipient } from '../keys/age-recipient';
import { KeyFormatError } from '../keys/ssh-public-key';
import { checkAdmins, checkEntry, checkFolder, checkHostName, type HostEntry } from './entry';
import { folderOf, folderRegex, matchedFile, reach } from './path-regex';
import { ROOT_RULES } from './root-rules';
import {
  aboveComments,
  appendListPair,
  columnOf,
  contentEnd,
  insertItems,
  isFlow,
  keyStart,
  type ListStyle,
  lineEnd,
  lineOf,
  lineStart,
  listOf,
  listPairText,
  type NewItem,
  type Place,
  pairOf,
  parseYaml,
  refuse,
  removeItems,
  replaceScalar,
  SopsRulesError,
  type Splice,
  scalarText,
  seqList,
  splice,
  type TextList,
  type TextPair,
  type YamlText,
} from './yaml-text';

/**
 * The root `.sops.yaml`, which people and twenty hosts write into.
 *
 * Ours is recognised by its structure, so that what people wrote by hand before us is adopted and no marker is needed:
 * an anchor named `host_<name>` or `admin_<name>` below `keys`, and a rule whose `path_regex` is exactly the one that
 * we write for a folder. Everything else is theirs and keeps its bytes.
 */

/** Something a person should know; the edit was made all the same. */
interface RuleWarning {
  /** The line in the new text, from 1. */
  readonly line: number;
  /** The expression of the rule in question, where one is. */
  readonly pathRegex?: string;
  /** What is the matter and what to do, in a sentence. */
  readonly message: string;
}

/** What an edit made of a text. */
export interface Edit<Text> {
  readonly text: Text;
  readonly changed: boolean;
  readonly outcome: 'added' | 'updated' | 'removed' | 'unchanged';
  readonly warnings: readonly RuleWarning[];
}

const OUR_NAME = /^(admin|host)_/;

/**
 * Puts a host's anchor and rules into the text of the root `.sops.yaml`; `undefined` is a file that isn't there yet.
 * Doing it twice changes nothing more, and hosts with the same admins may come in any order.
 *
 * @throws SopsRulesError where the text can't be edited safely, HostEntryError where the entry is wrong.
 */
export function applyHost(text: string | undefined, entry: HostEntry, file = ROOT_RULES): Edit<string> {
  const step = compose(readRules(text ?? '', file), entry);
  const { after, outcome } = step;
  return {
    text: after.source,
    changed: after.source !== text,
    outcome,
    warnings: warningsOf(step, after),
  };
}

/** What an edit made of a text for many hosts, and of each of them. */
export interface HostsEdit extends Edit<string | undefined> {
  readonly hosts: readonly (Pick<HostEntry, 'host' | 'recipient'> & Pick<Edit<string>, 'outcome'>)[];
}

/**
 * `applyHost` for many hosts in one edit. The lines of all warnings are those of the final text; without hosts, the
 * text stays what it is, also where there is none.
 */
export function applyHosts(
  text: string | undefined,
  entries: readonly HostEntry[],
  file = ROOT_RULES,
): HostsEdit {
  const steps: Step[] = [];
  let rules = readRules(text ?? '', file);
  for (const entry of entries) {
    const { after, ...step } = compose(rules, entry);
    steps.push(step);
    rules = after;
  }
  const changed = rules.source !== (text ?? '');
  return {
    text: changed ? rules.source : text,
    changed,
    outcome: !changed ? 'unchanged' : text === undefined ? 'added' : 'updated',
    warnings: steps.flatMap((step) => warningsOf(step, rules)),
    hosts: steps.map(({ wanted: { host, recipient }, outcome }) => ({ host, recipient, outcome })),
  };
}

/** What `applyHost` would do for one host to a text as it stands. */
export type HostCheck =
  | (Pick<Edit<string>, 'outcome' | 'warnings'> & { readonly host: string })
  | { readonly host: string; readonly error: SopsRulesError };

/**
 * Judges each host against the text by itself, with the same edits as `applyHost`, and makes none of them.
 *
 * @throws SopsRulesError where the text can't be read at all, HostEntryError where an entry is wrong.
 */
export function checkHosts(
  text: string | undefined,
  entries: readonly HostEntry[],
  file = ROOT_RULES,
): readonly HostCheck[] {
  const rules = readRules(text ?? '', file);
  return entries.map((entry) => {
    const wanted = checkEntry(entry);
    const { host } = wanted;
    try {
      const isDone = unwantedMembers(rules, wanted).length + additions(rules, wanted).length === 0;
      const outcome = isDone ? 'unchanged' : rules.anchors.has(`host_${host}`) ? 'updated' : 'added';
      return { host, outcome, warnings: isDone ? shadows(rules, wanted) : [] };
    } catch (error) {
      if (error instanceof SopsRulesError) return { host, error };
      throw error;
    }
  });
}

/** One host's way into the file, without the file: a thousand of those would fill the memory. */
interface Step {
  readonly wanted: HostEntry;
  readonly outcome: Edit<string>['outcome'];
  /** Folder → the admins that left its rule. */
  readonly departed: ReadonlyMap<string, readonly string[]>;
}

function compose(before: Rules, entry: HostEntry): Step & { readonly after: Rules } {
  const wanted = checkEntry(entry);
  const names = wantedNames(wanted);
  // Without the admins that are no longer wanted, and the key that the host was to get next.
  const removed = edit(before, (rules) => unwantedMembers(rules, wanted));
  const added = edit(removed, (rules) => additions(rules, wanted));
  if (added === before) return { wanted, outcome: 'unchanged', departed: new Map(), after: before };
  const after = edit(added, (rules) => orphans(rules, before, new Set(names.keys()), wanted.host));
  const touched = new Set([...names.keys(), nextName(wanted.host)]);
  verify(before, after, { names: touched, folders: foldersOf(wanted), emptied: false });
  verifyEntry(after, wanted);
  const outcome = before.anchors.has(`host_${wanted.host}`) ? 'updated' : 'added';
  return {
    wanted,
    outcome: after.source === before.source ? 'unchanged' : outcome,
    departed: departed(before, removed, wanted),
    after,
  };
}

function warningsOf({ wanted, departed }: Step, final: Rules): RuleWarning[] {
  return [...departures(final, departed), ...shadows(final, wanted)];
}

/**
 * Takes a host's anchor and rules out again, and the admins' that nothing uses any more: the opposite of `applyHost`.
 * The text is `undefined` where nothing is left, and the file should go.
 *
 * @throws SopsRulesError where the text can't be edited safely.
 */
export function removeHost(text: string, host: string, file = ROOT_RULES): Edit<string | undefined> {
  checkHostName(host);
  const before = readRules(text, file);
  const names = namesOf(host);
  const folders = before.rules.filter(
    (rule) => rule.ours && memberNames(rule).some((name) => names.has(name)),
  );
  const dropped = edit(before, (rules) => membership(rules, names));
  const unlisted = edit(dropped, (rules) => unusedAnchors(rules, names));
  const orphaned = edit(unlisted, (rules) => orphans(rules, before, new Set(), host));
  const after = edit(orphaned, (rules) => emptySections(rules, before));
  verify(before, after, {
    names,
    folders: new Set(folders.flatMap((rule) => rule.folder ?? [])),
    emptied: true,
  });
  const changed = after.source !== text;
  return {
    text: changed && after.source.trim() === '' ? undefined : after.source,
    changed,
    outcome: changed ? 'removed' : 'unchanged',
    warnings: [...names].flatMap((name) => leftovers(after, name)),
  };
}

/**
 * Takes a host out of the rule for one folder of shared secrets, and the rule with it where that was the last host.
 * Its anchor and its other rules stay.
 *
 * @throws SopsRulesError where the text can't be edited safely, HostEntryError where the folder is none.
 */
export function leaveFolder(text: string, host: string, folder: string, file = ROOT_RULES): Edit<string> {
  checkHostName(host);
  checkFolder('folder', folder);
  const before = readRules(text, file);
  const left = edit(before, (rules) => membership(rules, namesOf(host), folder));
  const after = edit(left, (rules) => orphans(rules, before, new Set(), host));
  verify(before, after, { names: new Set([nextName(host)]), folders: new Set([folder]), emptied: false });
  const changed = after.source !== text;
  return { text: after.source, changed, outcome: changed ? 'removed' : 'unchanged', warnings: [] };
}

/**
 * The text of a host's own `secrets/<host>/.sops.yaml`: the same recipients for every file beside it. sops takes it
 * when it runs in that folder, or is given it with `--config`. The recipient may be a Terraform expression.
 */
export function hostRulesFile(entry: Pick<HostEntry, 'host' | 'recipient' | 'next' | 'admins'>): string {
  checkHostName(entry.host);
  const names = wantedNames({ ...entry, admins: checkAdmins(entry.admins) });
  const all = [...names].map(
    ([name, key]) => [name, name.startsWith('admin_') ? scalarText(key) : key] as const,
  );
  return [
    'keys:',
    ...all.map(([name, recipient]) => `  - &${name} ${recipient}`),
    'creation_rules:',
    '  - key_groups:',
    '      - age:',
    ...all.map(([name]) => `          - *${name}`),
    '',
  ].join('\n');
}

/**
 * The host's recipient in the text of its own `secrets/<host>/.sops.yaml`: what `hostRulesFile` wrote there.
 *
 * @throws SopsRulesError where none stands there.
 */
export function recipientIn(text: string, host: string, file: string): string {
  return recipientAt(readRules(text, file), `host_${host}`, host);
}

/** The same with that of the key that the host gets next, where it gets one. @throws SopsRulesError */
export function recipientsIn(
  text: string,
  host: string,
  file: string,
): Pick<HostEntry, 'recipient' | 'next'> {
  const rules = readRules(text, file);
  const next = nextName(host);
  return {
    recipient: recipientAt(rules, `host_${host}`, host),
    next: rules.anchors.has(next) ? recipientAt(rules, next, host) : undefined,
  };
}

function recipientAt({ yaml, anchors }: Rules, name: string, host: string): string {
  const node = anchors.get(name);
  const no = (found: string): never =>
    refuse(yaml, node?.range?.[0] ?? 0, found, `bring it back: npx cdktf deploy ${host}`);
  if (!isScalar(node) || typeof node.value !== 'string') return no(`no recipient &${name} stands here`);
  try {
    checkAgeRecipient(node.value);
  } catch (error) {
    if (error instanceof KeyFormatError) no(error.message);
    throw error;
  }
  return node.value;
}

// ---------------------------------------------------------------- reading

interface Rules {
  readonly source: string;
  readonly yaml: YamlText;
  /** Every anchor of ours by name. */
  readonly anchors: ReadonlyMap<string, Node>;
  /** How often each name is used as an alias. */
  readonly uses: ReadonlyMap<string, number>;
  /** The list that our anchors stand in or will; undefined where the file has no `keys`. */
  readonly keys: TextList | undefined;
  readonly rules: readonly Rule[];
  readonly byRegex: ReadonlyMap<string | undefined, readonly Rule[]>;
  /** The list of the rules; undefined where the file has no `creation_rules`. */
  readonly ruleList: TextList | undefined;
}

interface Rule {
  readonly index: number;
  readonly node: Node | null;
  readonly start: number;
  /** The expression as sops reads it, through aliases and merge keys. */
  readonly regex: string | undefined;
  /** The folder of an expression of ours. */
  readonly folder: string | undefined;
  /** Whether the expression is one of ours and a host of ours is among its recipients. */
  readonly ours: boolean;
  readonly lists: readonly YAMLSeq[];
}

function readRules(source: string, file: string): Rules {
  const yaml = parseYaml(source, file);
  const { anchors, uses, nodes } = readNames(yaml);
  const keysPair = yaml.root && pairOf(yaml.root, 'keys');
  const rulesPair = yaml.root && pairOf(yaml.root, 'creation_rules');
  const ruleList = yaml.root && rulesPair && listOf(yaml, yaml.root, rulesPair, '"creation_rules"');
  const keys = yaml.root && keysPair && keysList(yaml, yaml.root, keysPair);
  if (keysPair && rulesPair && keyStart(keysPair) > keyStart(rulesPair)) {
    refuse(
      yaml,
      keyStart(keysPair),
      '"keys" stands below "creation_rules", and an anchor must stand above what uses it',
      'move "keys" above "creation_rules"',
    );
  }
  checkAnchors(yaml, anchors, keysPair);
  const rules = (ruleList?.items ?? []).map((item, index) => readRule(item.node, item.start, index, nodes));
  const byRegex = new Map<string | undefined, Rule[]>();
  for (const rule of rules) byRegex.set(rule.regex, [...(byRegex.get(rule.regex) ?? []), rule]);
  return { source, yaml, anchors, uses, keys, rules, byRegex, ruleList };
}

/** Anchors and aliases in the order of the text. */
function readNames(yaml: YamlText) {
  const anchors = new Map<string, Node>();
  const nodes = new Map<string, Node>();
  const uses = new Map<string, number>();
  if (!yaml.root) return { anchors, uses, nodes };
  visit(yaml.root, {
    Alias: (_key, node) => {
      uses.set(node.source, (uses.get(node.source) ?? 0) + 1);
      if (!nodes.has(node.source)) {
        refuse(
          yaml,
          node.range?.[0] ?? 0,
          `the alias *${node.source} has no anchor &${node.source} above it`,
          'define it, or remove the alias',
        );
      }
    },
    Value: (_key, node) => {
      if (!node.anchor) return;
      if (OUR_NAME.test(node.anchor)) {
        const first = anchors.get(node.anchor);
        if (first) {
          refuse(
            yaml,
            node.range?.[0] ?? 0,
            `the anchor &${node.anchor} is defined twice, first on line ${lineOf(yaml, first.range?.[0] ?? 0)}`,
            'remove or rename one of the two',
          );
        }
        anchors.set(node.anchor, node);
      }
      nodes.set(node.anchor, node);
    },
  });
  return { anchors, uses, nodes };
}

/** `keys` is a list; some people group it (`keys: { admins: […], hosts: […] }`), and then hosts join the hosts. */
function keysList(yaml: YamlText, root: YAMLMap, pair: TextPair): TextList {
  if (!isMap(pair.value)) return listOf(yaml, root, pair, '"keys"');
  const groups = (pair.value.items as TextPair[]).filter((group) => isSeq(group.value));
  const chosen =
    groups.find(
      (group) => isScalar(group.key) && /host|server|machine|system/i.test(String(group.key.value)),
    ) ?? groups.at(-1);
  if (!chosen) return listOf(yaml, root, pair, '"keys"');
  return listOf(yaml, pair.value, chosen, '"keys"');
}

/** An anchor with a name of ours must be a recipient in a list below `keys`: else it is something of other people's. */
function checkAnchors(yaml: YamlText, anchors: ReadonlyMap<string, Node>, keys: TextPair | undefined): void {
  const [from = 0, , to = 0] = keys?.value?.range ?? [];
  for (const [name, node] of anchors) {
    const at = node.range?.[0] ?? 0;
    if (!keys || at < from || at >= to) {
      refuse(
        yaml,
        at,
        `the anchor &${name} is defined outside of "keys"`,
        `move it into the list "keys", or rename it if it is something else than the ${describe(name)}`,
      );
    }
  }
}

function describe(name: string): string {
  return `key of the ${name.replace('_', ' ')}`;
}

function readRule(node: Node | null, start: number, index: number, nodes: ReadonlyMap<string, Node>): Rule {
  const map = isAlias(node) ? nodes.get(node.source) : node;
  const regex = isMap(map) ? regexOf(map, nodes) : undefined;
  const folder = regex === undefined ? undefined : folderOf(regex);
  const lists = isMap(node) ? ageLists(node) : [];
  const ours =
    folder !== undefined && lists.some((list) => aliasNames(list).some((name) => /^host_/.test(name)));
  return { index, node, start, regex, folder, ours, lists };
}

function regexOf(map: YAMLMap, nodes: ReadonlyMap<string, Node>): string | undefined {
  const value = pairOf(map, 'path_regex')?.value;
  const node = isAlias(value) ? nodes.get(value.source) : value;
  if (isScalar(node)) return node.value === null ? undefined : String(node.value);
  const merged = pairOf(map, '<<')?.value;
  for (const part of isSeq(merged) ? (merged.items as Node[]) : merged ? [merged] : []) {
    const source = isAlias(part) ? nodes.get(part.source) : part;
    const regex = isMap(source) ? regexOf(source, nodes) : undefined;
    if (regex !== undefined) return regex;
  }
  return undefined;
}

/** The lists of age recipients of a rule: one a key group, or (without groups) the rule's own. */
function ageLists(rule: YAMLMap): YAMLSeq[] {
  const groups = groupsOf(rule).flatMap((group) => (isMap(group) ? (pairOf(group, 'age')?.value ?? []) : []));
  const own = pairOf(rule, 'age')?.value;
  return [...groups, own].filter((list): list is YAMLSeq => isSeq(list));
}

function groupsOf(rule: YAMLMap): readonly unknown[] {
  const groups = pairOf(rule, 'key_groups')?.value;
  return isSeq(groups) ? groups.items : [];
}

function aliasNames(list: YAMLSeq): string[] {
  return list.items.flatMap((item) => (isAlias(item) ? [item.source] : []));
}

function memberNames(rule: Rule | undefined): string[] {
  return (rule?.lists ?? []).flatMap(aliasNames);
}

// ---------------------------------------------------------------- what an entry wants

/** Anchor → recipient: the admins', then the host's. */
function wantedNames(entry: Pick<HostEntry, 'host' | 'recipient' | 'next' | 'admins'>): Map<string, string> {
  const admins = Object.entries(entry.admins).map(
    ([name, recipient]) => [`admin_${name}`, recipient] as const,
  );
  const next = entry.next === undefined ? [] : [[nextName(entry.host), entry.next] as const];
  return new Map([
    ...admins.sort(([a], [b]) => compare(a, b)),
    [`host_${entry.host}`, entry.recipient],
    ...next,
  ]);
}

/** The anchor of the key that a host gets next. No host's name has an underscore. */
const nextName = (host: string): string => `host_${host}_next`;

/** Whether a name leaves a host's rules when it isn't wanted any more: an admin's, and that of the host's next key. */
const isPassing = (name: string, host: string): boolean =>
  name.startsWith('admin_') || name === nextName(host);

const namesOf = (host: string): ReadonlySet<string> => new Set([`host_${host}`, nextName(host)]);

function foldersOf(entry: HostEntry): Set<string> {
  return new Set([entry.path, ...entry.shared]);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A folder below another must come first, because the first rule that matches wins. */
function compareFolders(a: string, b: string): number {
  return compare(`${a}/\uFFFF`, `${b}/\uFFFF`);
}

/** The one rule for a folder; undefined where there is none yet. */
function ruleFor(rules: Rules, folder: string): Rule | undefined {
  const [rule, second] = rules.byRegex.get(folderRegex(folder)) ?? [];
  if (second) {
    refuse(
      rules.yaml,
      second.start,
      `a second rule for ${folderRegex(folder)}, of which sops uses only the first, on line ${lineOf(rules.yaml, rule?.start ?? 0)}`,
      'put the two together',
    );
  }
  return rule;
}

// ---------------------------------------------------------------- editing

function edit(rules: Rules, change: (rules: Rules) => Splice[]): Rules {
  const splices = change(rules);
  if (splices.length === 0) return rules;
  return readRules(splice(rules.yaml, splices), rules.yaml.file);
}

/** Takes admins who are no longer wanted, and the host's next key where it gets none, out of the entry's rules. */
function unwantedMembers(rules: Rules, entry: HostEntry): Splice[] {
  const names = wantedNames(entry);
  return [...foldersOf(entry)].flatMap((folder) =>
    (ruleFor(rules, folder)?.lists ?? []).flatMap((list) =>
      removeMembers(rules, list, (name) => isPassing(name, entry.host) && !names.has(name)),
    ),
  );
}

function removeMembers(rules: Rules, list: YAMLSeq, gone: (name: string) => boolean): Splice[] {
  const indexes = list.items.flatMap((item, index) => (isAlias(item) && gone(item.source) ? [index] : []));
  if (indexes.length === 0) return [];
  return removeItems(rules.yaml, seqList(rules.yaml, list, 'the recipients'), indexes);
}

function additions(rules: Rules, entry: HostEntry): Splice[] {
  const names = wantedNames(entry);
  const style = styleOf(rules);
  const updated = [...names].flatMap(([name, recipient]) => updateAnchor(rules, name, recipient));
  const newKeys = [...names].filter(([name]) => !rules.anchors.has(name));
  const keys = newKeys.map(([name, recipient]) => ({
    name,
    item: line(`&${name} ${scalarText(recipient)}`),
  }));
  const folders = [...foldersOf(entry)].sort(compareFolders);
  const members = folders.flatMap((folder) => {
    const rule = ruleFor(rules, folder);
    return rule ? joinRule(rules, rule, names, style) : [];
  });
  const newFolders = folders.filter((folder) => !ruleFor(rules, folder));
  const newRules = newFolders.map((folder) => ({ folder, item: ruleItem(folder, [...names.keys()], style) }));
  return [...updated, ...members, ...addKeys(rules, keys, style), ...addRules(rules, newRules, style)];
}

function line(text: string): NewItem {
  return { block: [text], flow: text };
}

function ruleItem(folder: string, names: readonly string[], style: RuleStyle): NewItem {
  const regex = scalarText(folderRegex(folder));
  const dash = `-${' '.repeat(style.gap)}`;
  const group = ' '.repeat(style.groups);
  const member = `${group}${' '.repeat(dash.length + style.members)}`;
  return {
    block: [
      `path_regex: ${regex}`,
      'key_groups:',
      `${group}${dash}age:`,
      ...names.map((name) => `${member}${dash}*${name}`),
    ],
    flow: `{ path_regex: ${regex}, key_groups: [{ age: [${names.map((name) => `*${name}`).join(', ')}] }] }`,
  };
}

/** Adopts an anchor that is there already: its recipient becomes ours. */
function updateAnchor(rules: Rules, name: string, recipient: string): Splice[] {
  const node = rules.anchors.get(name);
  if (!node) return [];
  const at = node.range?.[0] ?? 0;
  const value = isScalar(node) ? node.value : undefined;
  const oneLine = isScalar(node) && !/^BLOCK/.test(node.type ?? '');
  if (!isScalar(node) || !oneLine || typeof value !== 'string' || !/^(age1|ssh-)/.test(value.trim())) {
    refuse(
      rules.yaml,
      at,
      `the anchor &${name} is ${typeof value === 'string' ? JSON.stringify(value) : 'no text'}, which is no age recipient`,
      `rename it, or write the ${describe(name)} there as "age1…" on one line`,
    );
  }
  return value === recipient ? [] : [replaceScalar(rules.yaml, node, recipient)];
}

/** Where each of the sorted new names goes in a list that may hold some of ours already; `admin_` sorts before `host_`. */
function namePlaces(existing: readonly (string | undefined)[], names: readonly string[]): Place[] {
  return names.map((name) => {
    const greater = existing.findIndex((other) => other !== undefined && compare(other, name) > 0);
    if (greater >= 0) return { before: greater };
    const smaller = existing.findLastIndex((other) => other !== undefined && compare(other, name) < 0);
    return smaller >= 0 ? { after: smaller } : 'end';
  });
}

function ourName(name: string | undefined): string | undefined {
  return name !== undefined && OUR_NAME.test(name) ? name : undefined;
}

function addKeys(
  rules: Rules,
  keys: readonly { readonly name: string; readonly item: NewItem }[],
  style: RuleStyle,
): Splice[] {
  if (keys.length === 0) return [];
  const { yaml } = rules;
  const list = rules.keys;
  if (!list) {
    const items = keys.map(({ item }) => item);
    return [{ at: keysOffset(rules), cut: 0, put: sectionText(rules, 'keys', items, style) }];
  }
  const existing = list.items.map(({ node }) =>
    ourName((isAlias(node) ? undefined : node?.anchor) ?? undefined),
  );
  const places = namePlaces(
    existing,
    keys.map(({ name }) => name),
  );
  return insertAll(
    yaml,
    list,
    keys.map(({ item }) => item),
    places,
    style,
  );
}

/** Adds sorted items, each at its place; those for the same place go in together. */
function insertAll(
  yaml: YamlText,
  list: TextList,
  items: readonly NewItem[],
  places: readonly Place[],
  style: ListStyle,
): Splice[] {
  const byPlace = new Map<string, { place: Place; items: NewItem[] }>();
  for (const [index, item] of items.entries()) {
    const place = places[index] ?? 'end';
    const same = byPlace.get(JSON.stringify(place)) ?? { place, items: [] };
    same.items.push(item);
    byPlace.set(JSON.stringify(place), same);
  }
  return [...byPlace.values()].flatMap((group) => insertItems(yaml, list, group.place, group.items, style));
}

/** The section `keys:` is missing: it goes above `creation_rules:` and its comments, but below the file's heading. */
function keysOffset(rules: Rules): number {
  const { yaml } = rules;
  const pair = yaml.root && pairOf(yaml.root, 'creation_rules');
  if (!yaml.root || !pair) return sectionOffset(rules);
  const start = lineStart(yaml, keyStart(pair));
  const above = aboveComments(yaml, keyStart(pair), columnOf(yaml, keyStart(pair)));
  const heading = above === 0 || /^(---|%)/.test(yaml.text.slice(lineStart(yaml, above - 1)));
  return heading ? start : above;
}

/** Behind the last section, or below the comments of a file that has none. */
function sectionOffset({ yaml }: Rules): number {
  if (yaml.root) return lineEnd(yaml, contentEnd(yaml, yaml.root));
  const end = /^\.\.\.\s*$/m.exec(yaml.text);
  return end ? end.index : yaml.text.length;
}

function sectionText(rules: Rules, key: string, items: readonly NewItem[], style: ListStyle): string {
  const { root } = rules.yaml;
  if (root && isFlow(root)) {
    refuse(
      rules.yaml,
      root.range?.[0] ?? 0,
      `the file is written in braces and has no "${key}"`,
      `add "${key}": [] to it${key === 'keys' ? ', before "creation_rules"' : ''}`,
    );
  }
  const first = root?.items[0] as TextPair | undefined;
  const column = first ? columnOf(rules.yaml, keyStart(first)) : 0;
  return listPairText(rules.yaml, key, column, items, style);
}

interface NewRule {
  readonly folder: string;
  readonly item: NewItem;
}

/**
 * New rules go right before the first rule that would catch their files among everything else, so that people's more
 * specific rules keep their precedence; among ours that stand there already, in order.
 */
function addRules(rules: Rules, news: readonly NewRule[], style: RuleStyle): Splice[] {
  if (news.length === 0) return [];
  const items = news.map(({ item }) => item);
  const list = rules.ruleList;
  if (!list) {
    return [{ at: sectionOffset(rules), cut: 0, put: sectionText(rules, 'creation_rules', items, style) }];
  }
  const places = news.map(({ folder }) => rulePlace(rules, folder));
  return insertAll(rules.yaml, list, items, places, style);
}

function rulePlace(rules: Rules, folder: string): Place {
  const all = rules.rules;
  const caught = all.findIndex((rule) => rule.folder !== folder && reach(rule.regex, folder) === 'catch-all');
  const slot = caught >= 0 ? caught : all.length;
  const first = all.slice(0, slot).findLastIndex((rule) => !isOurKind(rule)) + 1;
  const greater = all.findIndex(
    (rule, index) => index >= first && index < slot && compareFolders(rule.folder ?? '', folder) > 0,
  );
  if (greater >= 0) return { before: greater };
  if (slot > first) return { after: slot - 1 };
  return caught >= 0 ? { before: caught } : 'end';
}

/** A rule that looks as if we wrote it: new rules are sorted among such, and never cross another. */
function isOurKind(rule: Rule): boolean {
  return rule.folder !== undefined && isMap(rule.node) && isPlain(rule.node);
}

/** Puts the wanted names into the age list of a rule that is there already. */
function joinRule(rules: Rules, rule: Rule, names: ReadonlyMap<string, string>, style: RuleStyle): Splice[] {
  const { yaml } = rules;
  if (!isMap(rule.node)) {
    refuse(yaml, rule.start, `the rule for ${rule.regex} is an alias`, 'write the rule out here');
  }
  const missing = (present: readonly string[]) => [...names.keys()].filter((name) => !present.includes(name));
  const home = homeOf(rules, rule, rule.node);
  if (!home.pair) {
    const items = missing([]).map((name) => line(`*${name}`));
    return [appendListPair(yaml, home.map, 'age', items, style)];
  }
  const list = listOf(yaml, home.map, home.pair, `"age" of the rule for ${rule.regex}`);
  const existing = list.items.map(({ node }) => ourName(isAlias(node) ? node.source : undefined));
  const news = missing(existing.flatMap((name) => name ?? []));
  return insertAll(
    yaml,
    list,
    news.map((name) => line(`*${name}`)),
    namePlaces(existing, news),
    style,
  );
}

/** The mapping whose `age` our members belong to: the group that has some already, else the first that has a list. */
function homeOf(rules: Rules, rule: Rule, node: YAMLMap): { map: YAMLMap; pair: TextPair | undefined } {
  const groups = groupsOf(node);
  if (groups.length === 0) return ownHome(rules, rule, node);
  const maps = groups.filter((group): group is YAMLMap => isMap(group));
  const pairs = maps.map((map) => ({ map, pair: pairOf(map, 'age') }));
  const joined = pairs.find(
    ({ pair }) => isSeq(pair?.value) && aliasNames(pair.value).some((name) => ourName(name)),
  );
  const home = joined ?? pairs.find(({ pair }) => isSeq(pair?.value)) ?? pairs[0];
  if (!home || (maps.length < groups.length && !joined)) {
    refuse(
      rules.yaml,
      rule.start,
      `the key groups of the rule for ${rule.regex} are aliases`,
      'write the first group out here, with a list "age"',
    );
  }
  return home;
}

/** A rule without groups: sops then reads the rule's own `age`, a list or names between commas. */
function ownHome(rules: Rules, rule: Rule, node: YAMLMap): { map: YAMLMap; pair: TextPair | undefined } {
  const merged = pairOf(node, '<<');
  if (merged) {
    refuse(
      rules.yaml,
      keyStart(merged),
      `the rule for ${rule.regex} takes its recipients from "<<"`,
      'write the rule out here',
    );
  }
  const pair = pairOf(node, 'age');
  if (isScalar(pair?.value) && typeof pair.value.value === 'string') {
    refuse(
      rules.yaml,
      keyStart(pair),
      `"age" of the rule for ${rule.regex} is one text with recipients between commas`,
      'write it as a list, one recipient a line, each behind a dash',
    );
  }
  return { map: node, pair };
}

/** How lists are indented here: taken from the file's own rules, else from its other lists, else two spaces. */
interface RuleStyle extends ListStyle {
  /** Below `key_groups:`, and below `age:`. */
  readonly groups: number;
  readonly members: number;
}

function styleOf(rules: Rules): RuleStyle {
  const known = styles.get(rules) ?? readStyle(rules);
  styles.set(rules, known);
  return known;
}

const styles = new WeakMap<Rules, RuleStyle>();

function readStyle({ yaml }: Rules): RuleStyle {
  const found: { key: string; step: number; gap: number }[] = [];
  if (yaml.root && !isFlow(yaml.root)) {
    visit(yaml.root, {
      Pair: (_key, pair) => {
        const seq = pair.value;
        if (!isSeq(seq) || isFlow(seq) || seq.items.length === 0) return undefined;
        const start = keyStart(pair as TextPair);
        const list = seqList(yaml, seq, 'a list');
        if (list.kind !== 'block') return undefined;
        const step = list.column - columnOf(yaml, start);
        if (step >= 0) found.push({ key: String(pair.key), step, gap: list.gap });
        return found.length > 20 ? visit.BREAK : undefined;
      },
    });
  }
  const of = (...keys: string[]) => found.find(({ key }) => keys.includes(key));
  const top = of('creation_rules', 'keys') ?? found[0];
  const step = top?.step ?? 2;
  const groups = (of('key_groups', 'age', 'pgp') ?? top)?.step ?? 2;
  const members = (of('age', 'pgp', 'key_groups') ?? top)?.step ?? 2;
  return { step, gap: top?.gap ?? 1, groups, members };
}

// ---------------------------------------------------------------- removing

/** Takes a host out of our rules, and a rule that has no host any more out of the file. */
function membership(rules: Rules, names: ReadonlySet<string>, folder?: string): Splice[] {
  const joined = rules.rules.filter(
    (rule) =>
      rule.ours &&
      memberNames(rule).some((name) => names.has(name)) &&
      (folder === undefined || rule.folder === folder),
  );
  const gone = joined.filter((rule) => isSpent(rule, names));
  const whole = rules.ruleList
    ? removeItems(
        rules.yaml,
        rules.ruleList,
        gone.map(({ index }) => index),
      )
    : [];
  const single = joined
    .filter((rule) => !gone.includes(rule))
    .flatMap((rule) =>
      rule.lists.flatMap((list) => removeMembers(rules, list, (member) => names.has(member))),
    );
  return [...whole, ...single];
}

/** Whether a rule would hold no host any more, and nothing that people added to it. */
function isSpent(rule: Rule, names: ReadonlySet<string>): boolean {
  const others = memberNames(rule).filter((member) => member.startsWith('host_') && !names.has(member));
  return others.length === 0 && isMap(rule.node) && isPlain(rule.node);
}

/** A rule with nothing in it but an expression, and one group of nothing but age recipients of ours. */
function isPlain(rule: YAMLMap): boolean {
  const [own, ...more] = rule.items.filter((pair) => String(pair.key) !== 'path_regex') as TextPair[];
  if (!own) return true;
  if (more.length > 0 || !['age', 'key_groups'].includes(String(own.key))) return false;
  if (isNull(own.value)) return true;
  if (!isSeq(own.value)) return false;
  if (String(own.key) === 'age') return isOurList(own.value);
  const [group, ...groups] = own.value.items;
  if (groups.length > 0 || !isMap(group)) return false;
  return group.items.every(({ key, value }) => String(key) === 'age' && (isNull(value) || isOurList(value)));
}

function isOurList(list: unknown): boolean {
  return isSeq(list) && list.items.every((item) => isAlias(item) && OUR_NAME.test(item.source));
}

function isNull(node: unknown): boolean {
  return node === null || (isScalar(node) && node.value === null);
}

/** Takes anchors out of `keys` that nothing uses. */
function unusedAnchors(rules: Rules, names: ReadonlySet<string>): Splice[] {
  if (!rules.yaml.root) return [];
  const splices: Splice[] = [];
  const keys = pairOf(rules.yaml.root, 'keys')?.value;
  visit(keys ?? null, {
    Seq: (_key, seq) => {
      const indexes = seq.items.flatMap((item, index) => {
        const anchor = isScalar(item) ? item.anchor : undefined;
        return anchor !== undefined && names.has(anchor) && !rules.uses.has(anchor) ? [index] : [];
      });
      if (indexes.length > 0) {
        splices.push(...removeItems(rules.yaml, seqList(rules.yaml, seq, '"keys"'), indexes));
      }
    },
  });
  return splices;
}

/** Takes out the admins, and the host's next key, that were used before this edit and aren't any more. */
function orphans(rules: Rules, before: Rules, wanted: ReadonlySet<string>, host: string): Splice[] {
  const gone = [...before.uses.keys()].filter(
    (name) => isPassing(name, host) && !wanted.has(name) && !rules.uses.has(name),
  );
  return unusedAnchors(rules, new Set(gone));
}

/** Takes out a section that this edit emptied, unless somebody's comment stands in it. */
function emptySections(rules: Rules, before: Rules): Splice[] {
  const { yaml } = rules;
  if (!yaml.root || isFlow(yaml.root)) return [];
  return ['keys', 'creation_rules'].flatMap((key) => {
    const pair = yaml.root && pairOf(yaml.root, key);
    const old = before.yaml.root && pairOf(before.yaml.root, key)?.value;
    if (!pair || !isSeq(old) || old.items.length === 0 || isFlow(old)) return [];
    const at = lineStart(yaml, keyStart(pair));
    const end = lineEnd(yaml, contentEnd(yaml, pair));
    const empty = isNull(pair.value);
    const bare = yaml.text.slice(at, end).trim() === `${key}:`;
    const commented = /^(\s*\n)*[ \t]+#/.test(yaml.text.slice(end));
    return empty && bare && !commented ? [{ at, cut: end - at, put: '' }] : [];
  });
}

// ---------------------------------------------------------------- warnings

function departed(before: Rules, removed: Rules, entry: HostEntry): Map<string, string[]> {
  if (before === removed) return new Map();
  return new Map(
    [...foldersOf(entry)].map((folder) => {
      const kept = memberNames(ruleFor(removed, folder));
      return [folder, memberNames(ruleFor(before, folder)).filter((name) => !kept.includes(name))];
    }),
  );
}

/** Admins that were taken out of a rule: somebody who could read new secrets can't any more, so it is said. */
function departures(final: Rules, gone: Step['departed']): RuleWarning[] {
  return [...gone].flatMap(([folder, members]) => {
    const rule = ruleFor(final, folder);
    if (members.length === 0 || !rule) return [];
    const names = members.map((name) => `*${name}`).join(', ');
    const message = `${names} left the rule for ${folder}, being none of the admins any more; run "hostkey secrets sync" on its files`;
    return [{ line: lineOf(final.yaml, rule.start), pathRegex: rule.regex, message }];
  });
}

/** Rules that come before ours and match the same files: sops would use them. */
function shadows(rules: Rules, entry: HostEntry): RuleWarning[] {
  const names = [...wantedNames(entry).keys()];
  return [...foldersOf(entry)].flatMap((folder) => {
    const own = ruleFor(rules, folder);
    if (!own) return [];
    const earlier = rules.rules
      .slice(0, own.index)
      .flatMap((rule) => shadow(rules, rule, own, folder, names));
    return [...earlier, ...thresholds(rules, own, entry.host)];
  });
}

function shadow(
  rules: Rules,
  rule: Rule,
  own: Rule,
  folder: string,
  names: readonly string[],
): RuleWarning[] {
  // Most rules of a large fleet are for one other folder each.
  if (rule.folder !== undefined && !`${folder}/sub/`.startsWith(`${rule.folder}/`)) return [];
  const far = reach(rule.regex, folder);
  if (far === 'none' || names.every((name) => memberNames(rule).includes(name))) return [];
  const here = lineOf(rules.yaml, rule.start);
  const there = lineOf(rules.yaml, own.start);
  const members = names.map((name) => `*${name}`).join(', ');
  if (far === 'unknown') {
    const message = `the rule "${rule.regex}" comes before the one for ${folder} on line ${there}, and whether it matches the same files could not be checked; if it does, move it below line ${there}`;
    return [{ line: here, pathRegex: rule.regex, message }];
  }
  const which = rule.regex ? `the rule "${rule.regex}"` : 'a rule without path_regex';
  const example = (rule.regex && matchedFile(rule.regex, folder)) || `${folder}/secrets.yaml`;
  const message = `${which} comes first and also matches ${example}, so sops uses it and not the rule on line ${there}; move it below line ${there}, or put ${members} into it`;
  return [{ line: here, pathRegex: rule.regex, message }];
}

/** With several key groups, sops splits the data key among them, and one group alone can't decrypt. */
function thresholds(rules: Rules, rule: Rule, host: string): RuleWarning[] {
  const count = isMap(rule.node) ? groupsOf(rule.node).length : 0;
  if (count < 2) return [];
  const message = `the rule for ${rule.regex} has ${count} key groups, so ${host} alone can't decrypt its files and sops takes no shamir_threshold below 2; keep one group`;
  return [{ line: lineOf(rules.yaml, rule.start), pathRegex: rule.regex, message }];
}

/** What a removed host leaves behind because people refer to it. */
function leftovers(rules: Rules, name: string): RuleWarning[] {
  const warnings: RuleWarning[] = [];
  const node = rules.anchors.get(name);
  if (node) {
    const message = `&${name} stays, because a rule of yours still uses *${name}; take it out there, then here`;
    warnings.push({ line: lineOf(rules.yaml, node.range?.[0] ?? 0), message });
  }
  return warnings;
}

// ---------------------------------------------------------------- proof

interface Touched {
  readonly names: ReadonlySet<string>;
  readonly folders: ReadonlySet<string>;
  readonly emptied: boolean;
}

/**
 * Reads both texts without what is ours, and refuses an edit that changed anything else. The edits above are meant to
 * make this impossible; a file written in a way that nobody thought of is better left alone than damaged.
 */
function verify(before: Rules, after: Rules, touched: Touched): void {
  const old = JSON.stringify(foreign(before, before, after, touched));
  const now = JSON.stringify(foreign(after, before, after, touched));
  if (old !== now) internal(before, 'the edit would have changed something that is not ours');
}

function internal(rules: Rules, what: string): never {
  refuse(
    rules.yaml,
    0,
    `internal error: ${what}`,
    'write the file in a simpler way, and report this with the file',
  );
}

/** The whole tree as data, with anchors and aliases, in order; what this edit may touch is left out. */
function foreign(rules: Rules, before: Rules, after: Rules, touched: Touched): unknown {
  const ruleNodes = new Map(rules.rules.map((rule) => [rule.node, rule]));
  const dropped = (name: string) =>
    touched.names.has(name) ||
    (before.anchors.has(name) && !after.anchors.has(name) && name.startsWith('admin_'));
  const plain = (node: unknown, rule?: Rule): unknown => {
    if (isAlias(node)) return { alias: node.source };
    if (isScalar(node)) return { anchor: node.anchor, value: node.value };
    if (isSeq(node)) {
      const items = node.items.flatMap((item) => {
        if (isScalar(item) && item.anchor !== undefined && dropped(item.anchor)) return [];
        if (rule && isAlias(item) && OUR_NAME.test(item.source)) return [];
        const inner = rule ?? ruleNodes.get(item as Node);
        const touchedRule =
          inner?.folder !== undefined && touched.folders.has(inner.folder) ? inner : undefined;
        if (!rule && touchedRule && isMap(item) && isPlain(item)) return [];
        return [plain(item, touchedRule)];
      });
      return { anchor: node.anchor, items };
    }
    if (isMap(node)) {
      const pairs = node.items.flatMap(({ key, value }) => {
        const content = plain(value, rule);
        const optional = rule ? String(key) === 'age' : node === rules.yaml.root && isSection(String(key));
        return optional && isNothing(content) ? [] : [[plain(key), content]];
      });
      return { anchor: node.anchor, pairs };
    }
    return null;
  };
  const tree = plain(rules.yaml.root ?? null);
  return tree && typeof tree === 'object' && 'pairs' in tree && (tree.pairs as unknown[]).length === 0
    ? null
    : tree;
}

function isSection(key: string): boolean {
  return key === 'keys' || key === 'creation_rules';
}

function isNothing(content: unknown): boolean {
  if (content === null) return true;
  const { items, value } = content as { items?: unknown[]; value?: unknown };
  return items ? items.length === 0 : value === null;
}

function verifyEntry(rules: Rules, entry: HostEntry): void {
  const names = wantedNames(entry);
  for (const [name, recipient] of names) {
    const node = rules.anchors.get(name);
    if (!isScalar(node) || node.value !== recipient) internal(rules, `&${name} did not become ${recipient}`);
  }
  for (const folder of foldersOf(entry)) {
    const rule = ruleFor(rules, folder);
    const members = memberNames(rule);
    if (![...names.keys()].every((name) => members.includes(name))) {
      internal(rules, `the rule for ${folder} did not get all its recipients`);
    }
  }
}
