import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Fleet, Host } from '../fleet/fleet';
import { sharedFoldersOf } from '../fleet/folders';
import { git } from '../fleet/git';
import { applyHosts, recipientIn } from '../sops/rules';
import { SopsRulesError } from '../sops/yaml-text';
import type { StateReading } from '../terraform/state';
import type { Finding } from './report';

const RULES = '.sops.yaml';
const REMEDY = 'bin/hostkey sops apply --all';

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
    return reading?.status === 'deployed' ? [{ host, recipient: reading.state.recipient }] : [];
  });
  if (deployed.length === 0) return [];
  const file = path.join(fleet.root, RULES);
  const text = existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  const about = (host: Host) => ({ host: host.name, check: 'rules', resource: RULES }) as const;
  try {
    const { hosts: edits } = applyHosts(
      text,
      deployed.map(({ host, recipient }) => ({
        host: host.name,
        recipient,
        admins: fleet.admins,
        path: host.secrets,
        shared: sharedFoldersOf(fleet, host.name),
      })),
    );
    return deployed.flatMap(({ host, recipient }, i): Finding[] => {
      const edit = edits[i];
      if (edit === undefined) return [];
      const { outcome, warnings } = edit;
      if (outcome === 'added') {
        const message = `${RULES} has no entry for ${host.name}: sops would encrypt its secrets to others`;
        return [
          {
            ...about(host),
            kind: 'root-rules-missing',
            severity: 'error',
            expected: recipient,
            message,
            remedy: REMEDY,
          },
        ];
      }
      if (outcome === 'updated') {
        const actual = text === undefined ? undefined : recipientWritten(text, host.name);
        const isOther = actual !== recipient;
        const message = isOther
          ? `${RULES} has another recipient for ${host.name} than the state`
          : `the rules for ${host.name} in ${RULES} aren't what its deployment wrote: a recipient or a rule is missing or changed`;
        const values = isOther ? { expected: recipient, ...(actual === undefined ? {} : { actual }) } : {};
        return [
          {
            ...about(host),
            kind: 'root-rules-changed',
            severity: 'error',
            ...values,
            message,
            remedy: REMEDY,
          },
        ];
      }
      return warnings.map(({ line, message }) => ({
        ...about(host),
        kind: 'root-rules-shadowed',
        severity: 'error',
        line,
        message: `${RULES}:${line}: ${message}`,
        remedy: `edit ${RULES}, line ${line}`,
      }));
    });
  } catch (error) {
    if (!(error instanceof SopsRulesError)) throw error;
    const { message } = error;
    return deployed.map(({ host }) => ({
      ...about(host),
      kind: 'unchecked',
      severity: 'unknown',
      message,
      remedy: `edit ${RULES}`,
    }));
  }
}

function recipientWritten(text: string, host: string): string | undefined {
  try {
    return recipientIn(text, host, RULES);
  } catch {
    return undefined;
  }
}

/** Rules that are right and that git doesn't have yet: nobody else would encrypt to these hosts. No drift. */
export function uncommitted(fleet: Fleet, hosts: readonly Host[], wrong: ReadonlySet<string>): Finding[] {
  const own = hosts.map(({ secrets }) => `${secrets}/${RULES}`);
  // What is wrong needn't be committed.
  const files = gitStatus(fleet.root, [RULES, ...own]).filter((file) => !wrong.has(file));
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
