import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type Scalar,
  type YAMLError,
  type YAMLMap,
} from 'yaml';
import type { Place } from './fleet';
import { FleetError, isSecret, type Path, type Problems } from './problem';

/** Enough for thousands of hosts that share anchors, too little for a file that multiplies itself. */
const MAX_ALIASES = 20_000;

/** A YAML file that was read: its value, and where each part of it is written. */
export class YamlSource {
  /** The file as plain data: aliases and merge keys (`<<`) resolved, an explicit key before a merged one. */
  readonly value: unknown;

  private constructor(
    readonly file: string,
    private readonly document: Document.Parsed,
    private readonly lines: LineCounter,
    private readonly targets: ReadonlyMap<Alias, Node>,
  ) {
    this.value = document.toJS({ maxAliasCount: MAX_ALIASES });
  }

  /**
   * Reads YAML 1.2. A leading byte order mark and CRLF are fine.
   *
   * YAML that readers understand differently goes to `problems`: a key that stands twice, a name that is a number, a
   * number that looks octal. So does a private key in the file.
   *
   * @param around Where the file's content belongs, as problems name it.
   * @throws FleetError for what has no clear value at all, and so no further problems worth telling.
   */
  static parse(text: string, file: string, problems: Problems, around: Path = []): YamlSource {
    const lines = new LineCounter();
    const fail = () => new FleetError(problems.sorted(file));
    const document = parseDocument(text.replace(/^\uFEFF/, ''), {
      merge: true,
      uniqueKeys: false,
      prettyErrors: false,
      lineCounter: lines,
    });
    const errors = [...document.errors, ...document.warnings];
    for (const error of errors) problems.add(placeAt(file, lines, error.pos[0]), [], explain(error));
    if (errors.length > 0) throw fail();
    const inspector = new Inspector(problems, (offset) => placeAt(file, lines, offset));
    inspector.visit(document.contents, around);
    if (inspector.fatal) throw fail();
    try {
      return new YamlSource(file, document, lines, inspector.targets);
    } catch (error) {
      if (!(error instanceof ReferenceError)) throw error;
      problems.add(
        { file, line: 1, column: 1 },
        [],
        'the aliases of this file multiply it; write it without them',
      );
      throw fail();
    }
  }

  /** Whether nothing but comments stands in the file. */
  get empty(): boolean {
    return this.document.contents === null || (isScalar(this.document.contents) && this.value === null);
  }

  /**
   * Where the value at a path is written: inside the anchor, where an alias or a merge key brings it in. Where nothing
   * is written, it is the place of the nearest thing around it.
   */
  place(path: Path): Place {
    const { key, node } = this.find(path);
    const written = node && isScalar(node) && node.source === '' ? key : (node ?? key);
    return this.placeOf(written);
  }

  /** Where the key at the end of a path is written. */
  keyPlace(path: Path): Place {
    const { key, node } = this.find(path);
    return this.placeOf(key ?? node);
  }

  private placeOf(node: Node | undefined): Place {
    return placeAt(this.file, this.lines, node?.range?.[0] ?? this.document.contents?.range[0] ?? 0);
  }

  private find(path: Path): { key?: Node; node?: Node } {
    let node: Node | undefined = this.document.contents ?? undefined;
    let key: Node | undefined;
    for (const part of path) {
      const around = this.resolve(node);
      if (isMap<Node, Node>(around)) {
        const pair = this.pair(around, String(part));
        if (pair === undefined) break;
        key = pair.key;
        node = pair.value ?? undefined;
      } else if (isSeq<Node>(around) && typeof part === 'number' && around.items[part] !== undefined) {
        node = around.items[part];
        key = node;
      } else break;
    }
    return { key, node: this.resolve(node) };
  }

  private resolve(node: Node | undefined): Node | undefined {
    return isAlias(node) ? this.targets.get(node) : node;
  }

  private pair(map: YAMLMap<Node, Node>, key: string): Pair<Node, Node> | undefined {
    const pairs = this.index(map);
    const own = pairs.get(key);
    if (own !== undefined) return own;
    for (const pair of map.items) {
      if (!isMergeKey(pair.key)) continue;
      const value = this.resolve(pair.value ?? undefined);
      for (const source of isSeq<Node>(value) ? value.items.map((item) => this.resolve(item)) : [value]) {
        const merged = isMap<Node, Node>(source) ? this.pair(source, key) : undefined;
        if (merged !== undefined) return merged;
      }
    }
    return undefined;
  }

  private readonly indexes = new WeakMap<YAMLMap, Map<string, Pair<Node, Node>>>();

  private index(map: YAMLMap<Node, Node>): Map<string, Pair<Node, Node>> {
    const known = this.indexes.get(map);
    if (known !== undefined) return known;
    const index = new Map(
      map.items.filter((pair) => !isMergeKey(pair.key)).map((pair) => [keyText(pair.key), pair]),
    );
    this.indexes.set(map, index);
    return index;
  }
}

/**
 * Walks the file once, in its order, and finds what would be read otherwise by another reader of YAML, or silently
 * lost. It also learns what each alias stands for: the last anchor of that name before it.
 */
class Inspector {
  readonly targets = new Map<Alias, Node>();
  /** Something was found that leaves the file without a value. */
  fatal = false;
  private readonly anchors = new Map<string, Node>();
  private readonly open = new Set<Node>();

  constructor(
    private readonly problems: Problems,
    private readonly placeOf: (offset: number) => Place,
  ) {}

  visit(node: Node | null, path: Path): void {
    if (node === null) return;
    if (isAlias(node)) {
      this.visitAlias(node, path);
      return;
    }
    if ('anchor' in node && typeof node.anchor === 'string') this.anchors.set(node.anchor, node);
    this.open.add(node);
    if (isMap<Node, Node | null>(node)) this.visitMap(node, path);
    else if (isSeq<Node>(node)) for (const [i, item] of node.items.entries()) this.visit(item, [...path, i]);
    else if (isScalar(node)) this.visitScalar(node, path);
    this.open.delete(node);
  }

  private visitAlias(alias: Alias, path: Path): void {
    const target = this.anchors.get(alias.source);
    if (target === undefined) {
      this.fail(
        alias,
        path,
        `*${alias.source} has no anchor before it; write &${alias.source} at the first place`,
      );
      return;
    }
    if (this.open.has(target))
      this.fail(alias, path, `*${alias.source} stands inside its own anchor; take it out`);
    this.targets.set(alias, target);
  }

  private visitMap(map: YAMLMap<Node, Node | null>, path: Path): void {
    const first = new Map<string, Node>();
    for (const { key, value } of map.items) {
      if (isMergeKey(key)) {
        this.visit(value, path);
        this.checkMerge(key, value, path);
        continue;
      }
      const name = keyText(key);
      this.checkKey(key, name, path, first.get(name));
      first.set(name, key);
      this.visit(value, [...path, name]);
    }
  }

  private checkKey(key: Node, name: string, path: Path, earlier: Node | undefined): void {
    const here = [...path, name];
    if (!isScalar(key)) this.fail(key, path, 'a key here is no plain text; write a name, then a colon');
    else if (isSecret(name))
      this.report(key, path, 'a private key stands here (not shown); take it out of this file');
    else if (key.value === null) this.fail(key, path, 'the name before this colon is missing; write it');
    else if (typeof key.value !== 'string') {
      const kind = typeof key.value === 'boolean' ? 'true or false' : 'a number';
      this.report(key, here, `this name is read as ${kind}; put it in quotes: "${key.source ?? name}"`);
    } else if (name === '__proto__') this.fail(key, here, 'this name is reserved; choose another one');
    else if (earlier !== undefined) {
      const line = this.placeOf(earlier.range?.[0] ?? 0).line;
      this.report(key, here, `this key stands twice, first on line ${line}; keep one of them`);
    }
  }

  private checkMerge(key: Node, value: Node | null, path: Path): void {
    const target = (node: Node | null | undefined) => (isAlias(node) ? this.targets.get(node) : node);
    const source = target(value);
    const parts = isSeq<Node>(source) ? source.items.map(target) : [source];
    if (!parts.every((part) => isMap(part))) {
      this.fail(key, [...path, '<<'], '<< merges mappings only; write an alias of one, such as *small');
    }
  }

  private visitScalar(scalar: Scalar, path: Path): void {
    const { value, source = '', type } = scalar;
    if (typeof value === 'string' && isSecret(value)) {
      this.report(
        scalar,
        path,
        'a private key stands here (not shown); take it out of this file, and replace it by a new one',
      );
    } else if (typeof value === 'number' && /^[-+]?0o?[0-9]/i.test(source)) {
      const remedy = path.includes('cloudConfig') ? `write it in quotes: "${source}"` : `write ${value}`;
      this.report(scalar, path, `${source} is another number to some readers of YAML; ${remedy}`);
    } else if (type === 'PLAIN' && typeof value === 'string' && path.includes('cloudConfig')) {
      checkAgreed(value, (message) => this.report(scalar, path, message));
    }
  }

  private report(node: Node, path: Path, message: string): void {
    this.problems.settle(this.placeOf(node.range?.[0] ?? 0), path, message);
  }

  private fail(node: Node, path: Path, message: string): void {
    this.fatal = true;
    this.report(node, path, message);
  }
}

/** cloud-init reads YAML 1.1, where these words are booleans; here they are text. */
function checkAgreed(word: string, report: (message: string) => void): void {
  if (!/^(y|n|yes|no|on|off)$/i.test(word)) return;
  const meant = /^(y|yes|on)$/i.test(word);
  report(`${word} is ${meant} to cloud-init and text to others; write ${meant}, or "${word}" in quotes`);
}

function placeAt(file: string, lines: LineCounter, offset: number): Place {
  const { line, col } = lines.linePos(offset);
  return { file, line: Math.max(1, line), column: Math.max(1, col) };
}

function isMergeKey(key: unknown): boolean {
  return isScalar(key) && typeof key.value === 'symbol';
}

function keyText(key: Node): string {
  return isScalar(key) ? String(key.value) : '';
}

/** YAML's errors in this program's words. What the file says isn't quoted: it may be anything. */
function explain(error: YAMLError): string {
  if (/must be sufficiently indented and end with/.test(error.message)) {
    return 'a { or [ before this place is not closed; close it, or indent this line';
  }
  const known = EXPLANATIONS[error.code];
  if (known !== undefined) return known;
  const plain = (error.message.split(/[:\n]/)[0] ?? '').replace(/["'`].*/, '').trim();
  return `this is no YAML (${plain}); compare it with the lines around it`;
}

const EXPLANATIONS: Partial<Record<YAMLError['code'], string>> = {
  ALIAS_PROPS: 'an alias has an anchor or a tag of its own; write the alias alone',
  BAD_DQ_ESCAPE: 'a backslash in double quotes starts an escape that YAML has not; use single quotes',
  BAD_INDENT: 'this line is indented otherwise than the lines around it; align them',
  BAD_SCALAR_START: 'no plain text starts with this character; put the value in quotes',
  BLOCK_AS_IMPLICIT_KEY:
    'two colons follow each other on this line; put the value in quotes, or start a new line',
  BLOCK_IN_FLOW: 'inside { } or [ ] everything is in flow form; separate by commas',
  MISSING_CHAR: 'a character is missing here; look for a colon, comma, bracket or quote that is not there',
  MULTILINE_IMPLICIT_KEY: 'this line is no "name: value"; look for a missing colon',
  MULTIPLE_DOCS: 'a second document starts here; keep one, without a line "---" in the middle',
  TAB_AS_INDENT: 'a tab indents this line; indent with spaces',
  TAG_RESOLVE_FAILED: 'this tag (!…) means nothing here; leave it out',
};
