import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Fleet, Host } from '../fleet/fleet';
import { sharedFoldersOf } from '../fleet/folders';
import { git } from '../fleet/git';
import { hostEntry } from '../fleet/host-entry';
import { HostEntryError } from '../sops/entry';
import { goRegex } from '../sops/go-regex';
import { usualFiles } from '../sops/path-regex';
import { APPLY_ALL, ROOT_RULES } from '../sops/root-rules';
import { checkHosts, recipientIn } from '../sops/rules';
import { SopsRulesError } from '../sops/yaml-text';
import type { StateReading } from '../terraform/state';
import type { Finding } from './report';

/**
 * The root `.sops.yaml` against the states: what `hostkey sops apply` would still have to change is what differs.
 * Nothing is locked or written.
 */
export function rulesFindings(
  fleet: Fleet,
  hosts: readonly Host[],
  states: ReadonlyMap<string, StateReading>,
): Finding[] {
  const deployed = hosts.flatMap((host) => {
    const reading = states.get(host.name);
    return reading?.status === 'deployed' ? [{ host, state: reading.state }] : [];
  });
  if (deployed.length === 0) return [];
  const about = (host: Host) => ({ host: host.name, check: 'rules', resource: ROOT_RULES }) as const;
  const untold = (message: string, remedy: string) =>
    deployed.map(
      ({ host }): Finding => ({ ...about(host), kind: 'unchecked', severity: 'unknown', message, remedy }),
    );
  let text: string | undefined;
  try {
    text = readRules(path.join(fleet.root, ROOT_RULES));
  } catch (error) {
    return untold(
      `${ROOT_RULES} can't be read: ${(error as Error).message}`,
      `make ${ROOT_RULES} readable for you`,
    );
  }
  const entries = deployed.map(({ host, state: { recipient, next } }) =>
    hostEntry(fleet, host, { recipient, next: next?.recipient }),
  );
  try {
    const checks = checkHosts(text, entries);
    return deployed.flatMap(({ host, state: { recipient } }, i): Finding[] => {
      const check = checks[i];
      if (check === undefined) return [];
      if ('error' in check) {
        const { line, message } = check.error;
        const remedy = `edit ${ROOT_RULES}, line ${line}`;
        return [{ ...about(host), kind: 'unchecked', severity: 'unknown', line, message, remedy }];
      }
      const { outcome, warnings } = check;
      if (outcome === 'added') {
        const message = `${ROOT_RULES} has no entry for ${host.name}: sops would encrypt its secrets to others`;
        const kind = 'root-rules-missing';
        return [{ ...about(host), kind, severity: 'error', expected: recipient, message, remedy: APPLY_ALL }];
      }
      if (outcome === 'updated') {
        const actual = text === undefined ? undefined : recipientWritten(text, host.name);
        const isOther = actual !== recipient;
        const message = isOther
          ? `${ROOT_RULES} has another recipient for ${host.name} than the state`
          : `the rules for ${host.name} in ${ROOT_RULES} aren't what its deployment wrote: a recipient or a rule is missing or changed`;
        const values = isOther ? { expected: recipient, ...(actual === undefined ? {} : { actual }) } : {};
        const kind = 'root-rules-changed';
        return [{ ...about(host), kind, severity: 'error', ...values, message, remedy: APPLY_ALL }];
      }
      const folders = [host.secrets, ...sharedFoldersOf(fleet, host.name)];
      return warnings
        .filter(({ pathRegex }) => matchesBelow(pathRegex, folders))
        .map(({ line, message }) => ({
          ...about(host),
          kind: 'root-rules-shadowed',
          severity: 'error',
          line,
          message: `${ROOT_RULES}:${line}: ${message}`,
          remedy: `edit ${ROOT_RULES}, line ${line}`,
        }));
    });
  } catch (error) {
    if (!(error instanceof SopsRulesError || error instanceof HostEntryError)) throw error;
    return untold(error.message, `edit ${error instanceof HostEntryError ? fleet.file : ROOT_RULES}`);
  }
}

/** Undefined where there is no such file. */
function readRules(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Whether the expression of a rule before ours matches files in these folders. Terraform's runs warn wherever that
 * can't be told without Go's regexp, which they do without to start quickly; here there is time to make sure.
 */
function matchesBelow(pathRegex: string | undefined, folders: readonly string[]): boolean {
  if (pathRegex === undefined || pathRegex === '') return true;
  try {
    return folders.flatMap(usualFiles).some(goRegex(pathRegex));
  } catch {
    return true; // sops gives up at such a rule
  }
}

/** Without what the secrets say of a host's rule or state, where those were looked at themselves and it was told. */
export function withoutEchoes(findings: readonly Finding[]): Finding[] {
  const isOfRules = ({ kind }: Finding) => kind.startsWith('root-rules-');
  const isOfState = ({ kind, resource }: Finding) =>
    (kind === 'unchecked' || kind === 'not-applied') && resource === undefined;
  const hostsWith = (check: Finding['check'], what: (finding: Finding) => boolean) =>
    new Set(findings.filter((each) => each.check === check && what(each)).map(({ host }) => host));
  const rules = hostsWith('rules', isOfRules);
  const states = hostsWith('terraform', isOfState);
  const isEcho = (each: Finding) =>
    // A shared file's rule is missing with some host's.
    (isOfRules(each) && (rules.has(each.host) || (each.host === undefined && rules.size > 0))) ||
    (isOfState(each) && states.has(each.host));
  return findings.filter((each) => each.check !== 'secrets' || !isEcho(each));
}

function recipientWritten(text: string, host: string): string | undefined {
  try {
    return recipientIn(text, host, ROOT_RULES);
  } catch {
    return undefined;
  }
}

/** Rules that are right and that git doesn't have yet: nobody else would encrypt to these hosts. No drift. */
export function uncommitted(fleet: Fleet, hosts: readonly Host[], wrong: ReadonlySet<string>): Finding[] {
  const own = hosts.map(({ secrets }) => `${secrets}/${ROOT_RULES}`);
  // What is wrong needn't be committed.
  const files = gitStatus(fleet.root, [ROOT_RULES, ...own]).filter((file) => !wrong.has(file));
  if (files.length === 0) return [];
  const several = files.length > 1;
  return [
    {
      kind: 'not-committed',
      severity: 'info',
      check: 'rules',
      resource: files.join(' '),
      message: `git doesn't have ${several ? 'these rules as they are' : 'this file as it is'}: others would encrypt by older rules`,
      remedy: `git add ${files.join(' ')}, and commit ${several ? 'them' : 'it'}`,
    },
  ];
}

/** Files of these that git doesn't have as they are; none outside a repository. */
function gitStatus(root: string, files: readonly string[]): string[] {
  const options = ['--porcelain=v1', '-z', '--no-renames', '--untracked-files=all'];
  const status = git(root, 'status', ...options, '--', ...files);
  // Its paths start at the top of the repository, wherever it is asked.
  const prefix = git(root, 'rev-parse', '--show-prefix')?.trim() ?? '';
  return (status ?? '')
    .split('\0')
    .filter((line) => line !== '')
    .map((line) => line.slice(3 + prefix.length));
}
