import type { z } from 'zod';
import { formatPath, isSecret, nearest, type Path, type Problems, show } from './problem';
import { exampleAt, isHostsOwn, isOptional, knownKeys, unknownKey } from './schema';
import type { YamlSource } from './source';

type Issue = z.core.$ZodIssue;

/** Says what zod found, in this program's words and at the place where it is written. */
export function reportIssues(issues: readonly Issue[], source: YamlSource, problems: Problems): void {
  const strays = issues.flatMap((issue) => strayPaths(issue, []));
  for (const issue of issues) reportIssue(issue, [], { source, problems, strays });
}

/** The path of what an issue makes unusable. */
export function brokenPaths(issues: readonly Issue[]): Path[] {
  return issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys' ? strayPaths(issue, []) : [pathOf(issue)],
  );
}

/** The paths of settings that stand there under a wrong name. */
export function misspeltPaths(issues: readonly Issue[]): Path[] {
  return issues.flatMap((issue) =>
    strayPaths(issue, []).flatMap((path) => {
      const around = path.slice(0, -1);
      const meant = nearest(String(path.at(-1)), knownKeys(around) ?? []);
      return meant === undefined ? [] : [[...around, meant]];
    }),
  );
}

interface Report {
  readonly source: YamlSource;
  readonly problems: Problems;
  /** The keys that mean nothing where they stand. */
  readonly strays: readonly Path[];
}

function reportIssue(issue: Issue, base: Path, report: Report): void {
  const { source, problems } = report;
  const path = [...base, ...pathOf(issue)];
  if (issue.code === 'unrecognized_keys') {
    for (const key of issue.keys) {
      const here = [...path, key];
      problems.add(source.keyPlace(here), here, strayKey(path, key));
    }
    return;
  }
  const branch = issue.code === 'invalid_union' ? branchMeant(issue) : undefined;
  if (branch !== undefined) {
    for (const inner of branch) reportIssue(inner, path, report);
    return;
  }
  const value = valueAt(source.value, path);
  if (value === undefined && isMisspelt(path, report.strays)) return;
  const place = value === undefined ? source.keyPlace(path) : source.place(path);
  const message =
    issue.code === 'invalid_type' || value === null ? typeMessage(issue, path, value) : issue.message;
  problems.add(place, path, message, show(value));
}

function strayPaths(issue: Issue, base: Path): Path[] {
  const path = [...base, ...pathOf(issue)];
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => [...path, key]);
  const branch = issue.code === 'invalid_union' ? branchMeant(issue) : undefined;
  return branch?.flatMap((inner) => strayPaths(inner, path)) ?? [];
}

/** Whether what is missing stands there under a wrong name, which is one mistake and not two. */
function isMisspelt(path: Path, strays: readonly Path[]): boolean {
  const around = formatPath(path.slice(0, -1));
  const name = String(path.at(-1));
  return strays.some(
    (stray) =>
      stray.length === path.length &&
      formatPath(stray.slice(0, -1)) === around &&
      (path.at(-2) === 'hostKey' || nearest(String(stray.at(-1)), [name]) !== undefined),
  );
}

/** The alternative of a union that the user was writing: one that fails inside, and knows what is written there. */
function branchMeant(issue: z.core.$ZodIssueInvalidUnion): Issue[] | undefined {
  const other = (inner: Issue) =>
    inner.path.length === 0 && (inner.code === 'invalid_type' || inner.code === 'invalid_value');
  const inside = issue.errors.filter((issues) => !issues.some(other));
  return inside.find((issues) => issues.every(({ code }) => code !== 'unrecognized_keys')) ?? inside.at(-1);
}

function typeMessage(issue: Issue, path: Path, value: unknown): string {
  const name = String(path.at(-1) ?? '');
  const example = exampleText(path);
  if (value === undefined) return `${name} is missing; write it${example && `, such as ${example}`}`;
  if (value === null) {
    const instead = isOptional(path) ? ', or leave the line out' : '';
    return `nothing stands behind "${name}:"; write a value${example && `, such as ${example}`}${instead}`;
  }
  const expected = issue.code === 'invalid_type' ? issue.expected : '';
  switch (expected) {
    case 'number':
    case 'int':
      return notNumber(value, example);
    case 'boolean':
      return notBoolean(value);
    case 'string':
      return typeof value === 'object'
        ? `${show(value)} stands here; write one text${example && `, such as ${example}`}`
        : `${show(value)} is read as a ${typeof value}; put it in quotes: "${show(value)}"`;
    case 'array':
      return `${show(value)} is no list; write a list, such as [${typeof value === 'object' || hidden(value) ? '…' : show(value)}]`;
    default:
      return `${show(value)} is no mapping; write lines of "name: value" here`;
  }
}

function notNumber(value: unknown, example: string): string {
  if (typeof value === 'string' && /^[0-9]+$/.test(value)) {
    return `${show(value)} is text; write the number without quotes: ${Number(value)}`;
  }
  if (typeof value === 'number') return `${value} is no whole number; write one without a point`;
  return `${show(value)} is no number; write a whole number${example && `, such as ${example}`}`;
}

function notBoolean(value: unknown): string {
  if (typeof value === 'string' && /^(y|yes|on|true)$/i.test(value))
    return `${show(value)} is text in YAML 1.2; write true`;
  if (typeof value === 'string' && /^(n|no|off|false)$/i.test(value))
    return `${show(value)} is text in YAML 1.2; write false`;
  return `${show(value)} is neither true nor false; write one of them`;
}

function hidden(value: unknown): boolean {
  return typeof value === 'string' && (isSecret(value) || !show(value).startsWith('"'));
}

/** A short example as YAML's flow form, which is what people can paste. */
function exampleText(path: Path): string {
  const example = exampleAt(path);
  if (example === undefined) return '';
  if (typeof example !== 'object' || example === null) return String(example);
  return JSON.stringify(example)
    .replaceAll(/"([A-Za-z0-9-]+)":/g, '$1: ')
    .replaceAll(',', ', ');
}

/** Where Proxmox's provider takes credentials from. */
const CREDENTIALS: Readonly<Record<string, string>> = {
  username: 'PROXMOX_VE_API_TOKEN (or PROXMOX_VE_USERNAME and PROXMOX_VE_PASSWORD)',
  password: 'PROXMOX_VE_API_TOKEN (or PROXMOX_VE_USERNAME and PROXMOX_VE_PASSWORD)',
  apitoken: 'PROXMOX_VE_API_TOKEN',
  apitokenid: 'PROXMOX_VE_API_TOKEN',
  apitokensecret: 'PROXMOX_VE_API_TOKEN',
  token: 'PROXMOX_VE_API_TOKEN',
  tokenid: 'PROXMOX_VE_API_TOKEN',
  tokensecret: 'PROXMOX_VE_API_TOKEN',
  authticket: 'PROXMOX_VE_AUTH_TICKET',
  csrfpreventiontoken: 'PROXMOX_VE_CSRF_PREVENTION_TOKEN',
  otp: 'PROXMOX_VE_AUTH_TICKET',
  sshpassword: 'PROXMOX_VE_SSH_PASSWORD',
  sshprivatekey: 'PROXMOX_VE_SSH_PRIVATE_KEY',
  privatekey: 'PROXMOX_VE_SSH_PRIVATE_KEY',
};

function strayKey(path: Path, key: string): string {
  const plain = key.toLowerCase().replace(/[^a-z]/g, '');
  const inHost = path[0] === 'hosts' || path[0] === 'defaults';
  if (inHost && plain === 'password') return 'a password is no part of this file; log in with authorizedKeys';
  const variable = inHost && plain === 'username' ? undefined : CREDENTIALS[plain];
  if (variable !== undefined)
    return `a credential is no part of this file; set ${variable} in the environment`;
  if (path[0] === 'proxmox' && plain === 'insecure') {
    return 'TLS is always verified; let Terraform trust the CA by SSL_CERT_FILE in the environment';
  }
  if (path.length === 1 && path[0] === 'defaults' && isHostsOwn(key)) {
    return `${key} differs from host to host; write it in each host`;
  }
  if (path.at(-1) === 'hostKey' && nearest(key, ['public', 'generation']) === undefined) {
    return `${show(key)} is no source of a host key; write generated, or { public: "ssh-ed25519 AAAA…" }`;
  }
  if (path.length === 0 && (isHostsOwn(key) || knownKeys(['defaults'])?.includes(key))) {
    return `${key} is a setting of hosts; write it under ${isHostsOwn(key) ? 'a host' : 'defaults, or under a host'}`;
  }
  return unknownKey(path, key);
}

function pathOf(issue: Issue): Path {
  return issue.path.map((part) => (typeof part === 'number' ? part : String(part)));
}

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (around, part) =>
      typeof around === 'object' && around !== null && Object.hasOwn(around, part)
        ? (around as Record<string | number, unknown>)[part]
        : undefined,
    value,
  );
}
