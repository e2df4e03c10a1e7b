import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { checkHostName, type HostEntry, HostEntryError } from '../sops/entry';
import { ROOT_RULES } from '../sops/root-rules';
import { applyHost, type Edit, leaveFolder, removeHost } from '../sops/rules';
import { TextFileError, updateTextFile } from '../sops/text-file';
import { SopsRulesError } from '../sops/yaml-text';
import { coloursOf } from './colours';

/** What `hostkey sops apply` and `remove` do, once the command line is read. */
export interface Request {
  readonly root: string;
  readonly json: boolean;
  /** The host to remove; an entry is needed where it isn't given. */
  readonly host?: string;
  /** The folder of shared secrets whose rule the host leaves; without one it is removed altogether. */
  readonly folder?: string;
  /** The entry's text, and where it comes from; without a text, `from` is a file, or "-" for standard input. */
  readonly entry: { readonly text?: string; readonly from: string };
}

/** Changes the root `.sops.yaml` and says what was done. @returns the exit code. */
export async function changeRootRules(action: 'apply' | 'remove', request: Request): Promise<number> {
  const file = join(request.root, ROOT_RULES);
  try {
    const { host, edit, recipient } = await plan(action, request);
    const result = await updateTextFile(file, edit);
    report(request, host, result, recipient);
    return 0;
  } catch (error) {
    if (!isExpected(error)) throw error;
    reportError(request, error);
    return 1;
  }
}

interface Plan {
  readonly host: string;
  readonly recipient?: string;
  readonly edit: (text: string | undefined) => Edit<string | undefined>;
}

async function plan(action: 'apply' | 'remove', request: Request): Promise<Plan> {
  if (action === 'apply') {
    const entry = await readEntry(request);
    return { host: entry.host, recipient: entry.recipient, edit: (text) => applyHost(text, entry) };
  }
  const host = request.host ?? (await readEntry(request)).host;
  checkHostName(host);
  const { folder } = request;
  const remove = (text: string) =>
    folder === undefined ? removeHost(text, host) : leaveFolder(text, host, folder);
  return { host, edit: (text) => (text === undefined ? NOTHING_TO_REMOVE : remove(text)) };
}

const NOTHING_TO_REMOVE: Edit<undefined> = {
  text: undefined,
  changed: false,
  outcome: 'unchanged',
  warnings: [],
};

/** @throws HostEntryError naming the field that is missing, unknown or of the wrong type. */
async function readEntry({ entry }: Request): Promise<HostEntry> {
  const from = entry.from === '-' ? 'standard input' : entry.from;
  const text = entry.text ?? (await readFrom(entry.from));
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new HostEntryError(`${from}: this is not JSON: ${(error as Error).message}`);
  }
  const problems = findProblems(json);
  if (problems.length > 0) throw new HostEntryError(`${from}: ${problems.join('; ')}`);
  return json as HostEntry;
}

async function readFrom(from: string): Promise<string> {
  if (/^[A-Z_]+$/.test(from)) {
    throw new HostEntryError(`no entry: set the environment variable ${from}, or use --entry FILE`);
  }
  try {
    return from === '-' ? await readAll(process.stdin) : await readFile(from, 'utf8');
  } catch (error) {
    throw new HostEntryError(`the entry can't be read: ${(error as Error).message}`);
  }
}

const isText = (value: unknown) => typeof value === 'string';
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The fields of an entry. By hand, because loading zod takes as long as all the rest of a run. */
const FIELDS: Readonly<Record<keyof HostEntry, readonly [what: string, test: (value: unknown) => boolean]>> =
  {
    host: ['text', isText],
    recipient: ['text', isText],
    next: ['text', (value) => value === undefined || isText(value)],
    admins: [
      'object with a text for each name',
      (value) => isObject(value) && Object.values(value).every(isText),
    ],
    path: ['text', isText],
    shared: ['list of texts', (value) => Array.isArray(value) && value.every(isText)],
  };

function findProblems(json: unknown): string[] {
  if (!isObject(json)) return ['the entry is no object'];
  const wrong = Object.entries(FIELDS).flatMap(([field, [what, test]]) => {
    if (test(json[field])) return [];
    return [json[field] === undefined ? `"${field}" is missing` : `"${field}" is no ${what}`];
  });
  const unknown = Object.keys(json).filter((field) => !Object.hasOwn(FIELDS, field));
  return [...wrong, ...unknown.map((field) => `the field "${field}" is unknown`)];
}

function report(request: Request, host: string, result: Edit<string | undefined>, recipient?: string): void {
  const { outcome, warnings } = result;
  const { folder } = request;
  const deleted = result.changed && result.text === undefined;
  if (request.json) {
    const line = { file: ROOT_RULES, host, folder, outcome, recipient, deleted, warnings };
    process.stdout.write(`${JSON.stringify(line)}\n`);
    return;
  }
  printWarnings(warnings);
  const from = folder === undefined || outcome !== 'removed' ? '' : ` from the rule for ${folder}`;
  const more = deleted ? ', and the file with it, as it held nothing else' : '';
  process.stdout.write(`${ROOT_RULES}: ${host} ${outcomeText(outcome, recipient)}${from}${more}\n`);
}

/** Tells people what to look at in the root `.sops.yaml`. */
export function printWarnings(warnings: Edit<unknown>['warnings']): void {
  for (const { line, message } of warnings) {
    const head = coloursOf(process.stderr).yellow('warning:');
    process.stderr.write(`${head} ${ROOT_RULES}:${line}: ${message}\n`);
  }
}

/** What became of a host, as people read it. */
export function outcomeText(outcome: Edit<unknown>['outcome'], recipient: string | undefined): string {
  return outcome === 'added' || outcome === 'updated' ? `${outcome} (recipient ${recipient})` : outcome;
}

type Expected = SopsRulesError | TextFileError | HostEntryError;

/** Whether an error is about what it was given to work on, and its message is all that a person needs. */
export function isExpected(error: unknown): error is Expected {
  return error instanceof SopsRulesError || error instanceof TextFileError || error instanceof HostEntryError;
}

export function reportError({ json }: Pick<Request, 'json'>, error: Error): void {
  if (json) {
    const { name, message } = error;
    const place = error instanceof SopsRulesError ? { line: error.line, column: error.column } : {};
    process.stdout.write(`${JSON.stringify({ error: { name, message, ...place } })}\n`);
    return;
  }
  const head = coloursOf(process.stderr).red('error:');
  process.stderr.write(`${head} ${error.message}\n`);
}
