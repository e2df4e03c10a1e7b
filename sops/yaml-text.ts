import {
  type CST,
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  type ParsedNode,
  parseAllDocuments,
  type Scalar,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml';

/**
 * Editing YAML as text. A YAML library that prints a document again loses what people care about: their quoting,
 * indentation, blank lines, line ends. So the library only tells where things are (YAML 1.2.2, as `yaml` parses it),
 * and everything here is cut out of, or put into, the text at those places. Whole lines where a list is written with
 * dashes; between the commas where it is written in brackets.
 */

/** Something in the file can't be understood or edited safely. Nothing was changed. */
export class SopsRulesError extends Error {
  override readonly name = 'SopsRulesError';
  constructor(
    readonly file: string,
    readonly line: number,
    readonly column: number,
    /** What stands there. */
    readonly found: string,
    /** What a person does about it. */
    readonly remedy: string,
  ) {
    super(`${file}:${line}:${column}: ${found}; ${remedy}. Nothing was changed`);
  }
}

/** A parsed file, with its text made to end in a newline, so that every line can be handled as a whole. */
export interface YamlText {
  readonly file: string;
  readonly text: string;
  /** The line end that the file uses, for the lines that we add. */
  readonly eol: '\n' | '\r\n';
  /** The top-level mapping; undefined where the file holds only comments, or nothing. */
  readonly root: YAMLMap | undefined;
  readonly lines: LineCounter;
  /** What the file lacked or had around the text: put back by `finish`. */
  readonly bom: string;
  readonly unfinished: boolean;
}

/** The position of an offset, counted from 1 as editors do. */
export function lineOf(yaml: YamlText, offset: number): number {
  return yaml.lines.linePos(offset).line;
}

export function refuse(yaml: YamlText, offset: number, found: string, remedy: string): never {
  const { line, col } = yaml.lines.linePos(offset);
  throw new SopsRulesError(yaml.file, Math.max(line, 1), Math.max(col, 1), found, remedy);
}

/** @throws SopsRulesError where the text isn't one YAML document with a mapping at its top. */
export function parseYaml(source: string, file: string): YamlText {
  const bom = source.startsWith('\uFEFF') ? '\uFEFF' : '';
  const body = source.slice(bom.length);
  const eol = /^[^\n]*\r\n/.test(body) ? '\r\n' : '\n';
  const unfinished = body !== '' && !body.endsWith('\n');
  const text = unfinished ? body + eol : body;
  const lines = new LineCounter();
  const documents = parseAllDocuments<ParsedNode>(text, {
    keepSourceTokens: true,
    lineCounter: lines,
    prettyErrors: false,
    logLevel: 'silent',
  });
  if (lines.lineStarts.length === 0) lines.addNewLine(0);
  const list = Array.isArray(documents) ? documents : [];
  const yaml = { file, text, eol, root: undefined, lines, bom, unfinished } satisfies YamlText;
  for (const document of list) {
    const error = document.errors[0];
    if (error) refuse(yaml, error.pos[0], `this is not YAML: ${sentence(error.message)}`, 'repair it');
  }
  const second = list[1];
  if (second) {
    refuse(
      yaml,
      second.contents?.range[0] ?? second.range[0],
      'a second YAML document begins here, and sops reads only the first',
      'remove it, or remove the "---" before it',
    );
  }
  const contents = list[0]?.contents;
  if (!contents || (isScalar(contents) && contents.value === null)) return yaml;
  if (!isMap(contents)) {
    refuse(
      yaml,
      contents.range[0],
      'the top of the file is no mapping',
      'sops expects "creation_rules:" at the top level',
    );
  }
  return { ...yaml, root: contents as YAMLMap };
}

function sentence(message: string): string {
  const text = message.trim().replace(/[.:]$/, '');
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** One change: what to cut out at an offset, and what to put there. */
export interface Splice {
  readonly at: number;
  readonly cut: number;
  readonly put: string;
}

/** The text with all changes made; changes at one offset are made in the order given, insertions first. */
export function splice(yaml: YamlText, splices: readonly Splice[]): string {
  let text = '';
  let from = 0;
  for (const { at, cut, put } of [...splices].sort((a, b) => a.at - b.at || a.cut - b.cut)) {
    text += yaml.text.slice(from, at) + put;
    from = at + cut;
  }
  return finish(yaml, text + yaml.text.slice(from));
}

function finish(yaml: YamlText, text: string): string {
  const end = yaml.unfinished ? text.replace(/\r?\n$/, '') : text;
  return yaml.bom + end;
}

/** A list as it stands in the text. */
export type TextList = BlockList | FlowList | EmptyList;

interface BlockList {
  readonly kind: 'block';
  readonly items: readonly ListItem[];
  /** The column of the dashes, from 0, and how many spaces follow each. */
  readonly column: number;
  readonly gap: number;
}

interface FlowList {
  readonly kind: 'flow';
  readonly items: readonly ListItem[];
  /** Right behind the opening bracket. */
  readonly open: number;
}

/** A key without items: `keys:`, `keys: null` or `keys: []`. Items go below it, with dashes. */
interface EmptyList {
  readonly kind: 'empty';
  readonly items: readonly ListItem[];
  /** What stands for the empty list, to be cut out, and the start of the line below it. */
  readonly from: number;
  readonly to: number;
  readonly below: number;
  /** The column of the key. */
  readonly keyColumn: number;
}

interface ListItem {
  readonly node: Node | null;
  /** The dash, or the first character of an item in brackets. */
  readonly start: number;
  /** Right behind the last character of the item that isn't white space or a comment. */
  readonly end: number;
}

/** An item to add, in both ways of writing it. */
export interface NewItem {
  /** Lines relative to the column behind the dash; indentation within them is theirs. */
  readonly block: readonly string[];
  readonly flow: string;
}

/** How far this file indents a list below its key, and what follows a dash. */
export interface ListStyle {
  readonly step: number;
  readonly gap: number;
}

export function lineStart(yaml: YamlText, offset: number): number {
  return offset <= 0 ? 0 : yaml.text.lastIndexOf('\n', offset - 1) + 1;
}

/** The start of the next line behind what ends at `end`. */
export function lineEnd(yaml: YamlText, end: number): number {
  return yaml.text.indexOf('\n', Math.max(end - 1, 0)) + 1;
}

export function columnOf(yaml: YamlText, offset: number): number {
  return offset - lineStart(yaml, offset);
}

/** A pair of a mapping whose key is a node: what a parsed document holds. */
export type TextPair = Pair<Node, Node | null>;

/** The pair of a mapping by its key's name. */
export function pairOf(map: YAMLMap, key: string): TextPair | undefined {
  const found = map.items.find((pair) => isScalar(pair.key) && pair.key.value === key);
  return found as TextPair | undefined;
}

/** Where a pair's key begins. */
export function keyStart(pair: TextPair): number {
  return pair.key.range?.[0] ?? 0;
}

/** Right behind the last character of a node or pair that isn't white space or a comment. */
export function contentEnd(yaml: YamlText, part: unknown): number {
  let end = 0;
  if (isPair(part)) {
    const value = part.value as Node | null;
    end = Math.max(contentEnd(yaml, part.key), value ? contentEnd(yaml, value) : 0, indicatorEnd(part));
  } else if ((isMap(part) || isSeq(part)) && !isFlow(part)) {
    const ends = part.items.map((item) => contentEnd(yaml, item));
    end = Math.max(part.range?.[0] ?? 0, ...ends);
  } else {
    end = (part as Node | null)?.range?.[1] ?? 0;
  }
  while (end > 0 && /\s/.test(yaml.text.charAt(end - 1))) end--;
  return end;
}

/** Right behind a pair's colon, and behind an anchor or tag that follows it. */
function indicatorEnd(pair: Pair<unknown, unknown>): number {
  const tokens = (pair.srcToken?.sep ?? []).filter(
    (token) => token.type === 'map-value-ind' || token.type === 'anchor' || token.type === 'tag',
  );
  const last = tokens.at(-1);
  return last ? last.offset + last.source.length : 0;
}

/**
 * Finds the list that is the value of a mapping's pair.
 *
 * @throws SopsRulesError where the value is something else, or is written so that lines can't be added to it.
 */
export function listOf(yaml: YamlText, map: YAMLMap, pair: TextPair, what: string): TextList {
  const { value } = pair;
  const start = keyStart(pair);
  const isNull = value === null || (isScalar(value) && value.value === null);
  if (!isFlow(map) && (isNull || (isSeq(value) && isFlow(value) && value.items.length === 0))) {
    return emptyList(yaml, pair, what);
  }
  if (isAlias(value)) {
    refuse(
      yaml,
      value.range?.[0] ?? start,
      `${what} is the alias *${value.source}`,
      'write the list out here',
    );
  }
  if (!isSeq(value)) {
    refuse(
      yaml,
      value?.range?.[0] ?? start,
      `${what} is no list`,
      'write it as a list, one item a line, each behind a dash',
    );
  }
  return seqList(yaml, value, what);
}

/** The text's view of a sequence node. */
export function seqList(yaml: YamlText, seq: YAMLSeq, what: string): TextList {
  const token = seq.srcToken;
  if (token?.type === 'flow-collection') {
    return {
      kind: 'flow',
      items: flowItems(yaml, seq, token),
      open: token.offset + token.start.source.length,
    };
  }
  const dashes = ((token as CST.BlockSequence | undefined)?.items ?? []).flatMap((item) =>
    item.start.filter((part) => part.type === 'seq-item-ind').map((part) => part.offset),
  );
  const items = seq.items.map((node, index) => {
    const start = dashes[index] ?? 0;
    const end = Math.max(start + 1, contentEnd(yaml, node), propsEnd(token as CST.BlockSequence, start));
    return { node: node as Node | null, start, end };
  });
  for (const { start } of items) {
    if (yaml.text.slice(lineStart(yaml, start), start).trim() !== '') {
      refuse(
        yaml,
        start,
        `an item of ${what} doesn't begin its line`,
        'write each item of this list on lines of its own',
      );
    }
  }
  const first = items[0]?.start ?? 0;
  const gap = /^-( *)[^\s#]/.exec(yaml.text.slice(first, lineEnd(yaml, first + 1)))?.[1]?.length ?? 1;
  return { kind: 'block', items, column: columnOf(yaml, first), gap: Math.max(gap, 1) };
}

/** Behind an anchor or tag that stands alone behind a dash (`- &name` with nothing else). */
function propsEnd(token: CST.BlockSequence, dash: number): number {
  const item = token.items.find(({ start }) => start.some((part) => part.offset === dash));
  const props = item?.start.filter((part) => part.type === 'anchor' || part.type === 'tag') ?? [];
  const last = props.at(-1);
  return last ? last.offset + last.source.length : 0;
}

function flowItems(yaml: YamlText, seq: YAMLSeq, token: CST.FlowCollection): ListItem[] {
  const starts = token.items.flatMap((item) => {
    const first = item.start.find((part) => part.type === 'anchor' || part.type === 'tag');
    const start = first?.offset ?? item.key?.offset ?? item.value?.offset;
    return start === undefined ? [] : [start];
  });
  return seq.items.map((node, index) => ({
    node: node as Node | null,
    start: starts[index] ?? 0,
    end: contentEnd(yaml, node),
  }));
}

function emptyList(yaml: YamlText, pair: TextPair, what: string): EmptyList {
  const sep = pair.srcToken?.sep ?? [];
  const colon = sep.find((part) => part.type === 'map-value-ind');
  const props = sep.find((part) => part.type === 'anchor' || part.type === 'tag');
  const start = keyStart(pair);
  if (!colon || props) {
    refuse(yaml, props?.offset ?? start, `${what} is empty in an unusual way`, 'write "[]" or leave it out');
  }
  const from = colon.offset + 1;
  const to = Math.max(from, contentEnd(yaml, pair.value));
  return { kind: 'empty', items: [], from, to, below: lineEnd(yaml, to), keyColumn: columnOf(yaml, start) };
}

export function isFlow(node: unknown): boolean {
  return (isMap(node) || isSeq(node)) && node.srcToken?.type === 'flow-collection';
}

/** Where a new item goes: before an item, after an item, or (where neither is given) below the last one. */
export type Place = { readonly before: number } | { readonly after: number } | 'end';

/** Adds items at one place of a list, in the order given. */
export function insertItems(
  yaml: YamlText,
  list: TextList,
  place: Place,
  items: readonly NewItem[],
  style: ListStyle,
): Splice[] {
  if (items.length === 0) return [];
  if (list.kind === 'flow')
    return [
      insertFlow(
        list,
        place,
        items.map((item) => item.flow),
      ),
    ];
  if (list.kind === 'empty') {
    const put = blockText(yaml, items, list.keyColumn + style.step, style.gap);
    const cut = list.to - list.from;
    return [...(cut > 0 ? [{ at: list.from, cut, put: '' }] : []), { at: list.below, cut: 0, put }];
  }
  const put = blockText(yaml, items, list.column, list.gap);
  return [{ at: blockOffset(yaml, list, place), cut: 0, put }];
}

function blockOffset(yaml: YamlText, list: BlockList, place: Place): number {
  if (place !== 'end' && 'before' in place) {
    const item = list.items[place.before];
    if (item) return aboveComments(yaml, item.start, list.column);
  }
  const index = place !== 'end' && 'after' in place ? place.after : list.items.length - 1;
  return lineEnd(yaml, list.items[index]?.end ?? 0);
}

/** The start of the comment lines that stand directly above a line and belong to it, else of the line itself. */
export function aboveComments(yaml: YamlText, offset: number, column: number): number {
  let start = lineStart(yaml, offset);
  while (start > 0) {
    const above = lineStart(yaml, start - 1);
    const comment = /^( *)#/.exec(yaml.text.slice(above, start));
    if (!comment || (comment[1] ?? '').length > column) break;
    start = above;
  }
  return start;
}

/** Items as lines, each behind a dash at `column`. */
function blockText(yaml: YamlText, items: readonly NewItem[], column: number, gap: number): string {
  const dash = `${' '.repeat(column)}-${' '.repeat(gap)}`;
  const inner = ' '.repeat(column + 1 + gap);
  return items
    .flatMap((item) => item.block.map((line, index) => (index === 0 ? dash : inner) + line + yaml.eol))
    .join('');
}

function insertFlow(list: FlowList, place: Place, items: readonly string[]): Splice {
  const before = place !== 'end' && 'before' in place ? place.before : undefined;
  const index = place !== 'end' && 'after' in place ? place.after : (before ?? list.items.length) - 1;
  const previous = list.items[index];
  const text = items.join(', ');
  if (previous) return { at: previous.end, cut: 0, put: `, ${text}` };
  const first = list.items[0];
  return first ? { at: first.start, cut: 0, put: `${text}, ` } : { at: list.open, cut: 0, put: text };
}

/** Takes items out of a list: the exact opposite of `insertItems`. Comments on lines of their own stay. */
export function removeItems(yaml: YamlText, list: TextList, indexes: readonly number[]): Splice[] {
  if (list.kind === 'flow') return removeFlow(yaml, list, new Set(indexes));
  return indexes.flatMap((index) => {
    const item = list.items[index];
    if (!item) return [];
    const at = lineStart(yaml, item.start);
    return [{ at, cut: lineEnd(yaml, item.end) - at, put: '' }];
  });
}

function removeFlow(yaml: YamlText, list: FlowList, gone: ReadonlySet<number>): Splice[] {
  const splices: Splice[] = [];
  let kept: number | undefined;
  for (const [index, item] of list.items.entries()) {
    if (!gone.has(index)) {
      kept = index;
      continue;
    }
    const previous = list.items[index - 1];
    const comma = /^\s*,[^\S\r\n]*/.exec(yaml.text.slice(item.end))?.[0].length ?? 0;
    const gapBefore = previous ? yaml.text.slice(previous.end, item.start) : '';
    if (kept !== undefined && previous && /^,[^\S\r\n]*$/.test(gapBefore)) {
      splices.push({ at: previous.end, cut: item.end - previous.end, put: '' });
    } else if (comma > 0) {
      splices.push({ at: item.start, cut: item.end + comma - item.start, put: '' });
    } else {
      const before = kept === undefined ? -1 : gapBefore.indexOf(',');
      if (previous && before >= 0) splices.push({ at: previous.end + before, cut: 1, put: '' });
      splices.push({ at: item.start, cut: item.end - item.start, put: '' });
    }
  }
  return splices;
}

/** Adds `key:` with a list below it as the last pair of a mapping. */
export function appendListPair(
  yaml: YamlText,
  map: YAMLMap,
  key: string,
  items: readonly NewItem[],
  style: ListStyle,
): Splice {
  const end = contentEnd(yaml, map);
  if (isFlow(map)) {
    const put = `${key}: [${items.map((item) => item.flow).join(', ')}]`;
    const last = map.items.at(-1);
    if (!last) return { at: (map.range?.[0] ?? 0) + 1, cut: 0, put };
    return { at: contentEnd(yaml, last), cut: 0, put: `, ${put}` };
  }
  const first = map.items[0] as TextPair;
  const column = columnOf(yaml, keyStart(first));
  return { at: lineEnd(yaml, end), cut: 0, put: listPairText(yaml, key, column, items, style) };
}

/** `key:` and its items as lines, the key at `column`. */
export function listPairText(
  yaml: YamlText,
  key: string,
  column: number,
  items: readonly NewItem[],
  style: ListStyle,
): string {
  const head = `${' '.repeat(column)}${key}:${yaml.eol}`;
  return head + blockText(yaml, items, column + style.step, style.gap);
}

/**
 * A scalar for the text: plain where YAML 1.2.2 section 7.3.3 allows it also within brackets, and where no other
 * parser takes it for a number, a boolean or an alias; else in single quotes.
 */
export function scalarText(value: string): string {
  const plain = /^[A-Za-z^][A-Za-z0-9_./\\$()*+?|^=@-]*( [A-Za-z0-9_./+=@-]+)*$/;
  if (plain.test(value) && !/^(null|true|false|yes|no|on|off|y|n)$/i.test(value)) return value;
  return `'${value.replaceAll("'", "''")}'`;
}

/** A scalar's new text in the quotes that the old one has. */
export function replaceScalar(yaml: YamlText, scalar: Scalar, value: string): Splice {
  const [at = 0, end = 0] = scalar.range ?? [];
  const quote = yaml.text.charAt(at);
  const put = quote === '"' || quote === "'" ? `${quote}${value}${quote}` : scalarText(value);
  return { at, cut: end - at, put };
}
