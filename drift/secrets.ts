import type { Fleet } from '../fleet/fleet';
import { quoted } from '../fleet/shell';
import type { Party } from '../sops/key-holders';
import { APPLY_ALL, ROOT_RULES } from '../sops/root-rules';
import { readSecrets, type Secret, type SecretsOptions } from '../sops/secrets';
import type { StateReading } from '../terraform/state';
import type { Finding } from './report';

type States = ReadonlyMap<string, StateReading>;

/**
 * Whom the sops files are encrypted to, against the rules and the states, as findings.
 *
 * @throws CreationRulesError where the root `.sops.yaml` can't be read.
 */
export function secretFindings(fleet: Fleet, states: States, options: SecretsOptions = {}): Finding[] {
  return findingsOfSecrets(readSecrets(fleet, states, options), states);
}

/** The same, of secrets that were read already. */
export function findingsOfSecrets(
  { secrets, hasRules }: ReturnType<typeof readSecrets>,
  states: States,
): Finding[] {
  const isEncrypted = ({ read }: Secret) => read.status === 'encrypted';
  return [
    ...(!hasRules && secrets.some(isEncrypted) ? [noRules()] : []),
    ...unknownHosts(secrets, states),
    ...wrongRules(secrets),
    ...secrets.flatMap((secret) => [...findingsOf(secret), ...(hasRules ? ruleProblem(secret, states) : [])]),
  ];
}

const noRules = (): Finding => ({
  kind: 'root-rules-missing',
  severity: 'error',
  check: 'secrets',
  resource: ROOT_RULES,
  message: `there are no creation rules in ${ROOT_RULES}, so nobody knows whom the sops files are to be encrypted to`,
  remedy: APPLY_ALL,
});

/** A host whose state can't be read may have any recipient: its files are compared with the rules alone. */
function unknownHosts(secrets: readonly Secret[], states: States): Finding[] {
  return [...new Set(secrets.flatMap(({ unknown }) => unknown))].flatMap((host): Finding[] => {
    const state = states.get(host);
    if (state?.status !== 'unreadable') return [];
    const message = `whether its secrets are encrypted to ${host} itself can't be told: ${state.message}`;
    // What was begun is known to be unfinished; about anything else nothing is known.
    const severity = state.begun ? 'warning' : 'unknown';
    return [{ host, kind: 'unchecked', severity, check: 'secrets', message, remedy: state.remedy }];
  });
}

/** A wrong rule is told once, and not for every file that is right in spite of it. */
function wrongRules(secrets: readonly Secret[]): Finding[] {
  const findings = new Map<string, Finding>();
  for (const { host, rule, doubts } of secrets) {
    for (const doubt of rule === undefined ? [] : doubts) {
      const key = JSON.stringify([host, rule?.line, doubt]);
      if (findings.has(key)) continue;
      findings.set(key, {
        ...(host === undefined ? {} : { host }),
        kind: 'root-rules-changed',
        severity: 'error',
        check: 'secrets',
        resource: ROOT_RULES,
        line: rule?.line,
        message: `the rule at ${ROOT_RULES}:${rule?.line} ${doubt}: whoever saves a secret by it locks somebody out`,
        remedy: APPLY_ALL,
      });
    }
  }
  return [...findings.values()];
}

/** That sops wouldn't know what to do with a file. */
function ruleProblem({ file, host, read, rule }: Secret, states: States): Finding[] {
  if (read.status !== 'encrypted' || (rule !== undefined && rule.problem === undefined)) return [];
  const about = { ...(host === undefined ? {} : { host }), check: 'secrets', resource: file } as const;
  if (rule === undefined) {
    const message = `no rule of ${ROOT_RULES} matches ${file}, so nobody knows whom it is to be encrypted to`;
    const isDeployed = host === undefined || states.get(host)?.status !== 'absent';
    const remedy = isDeployed ? APPLY_ALL : `npx cdktf deploy ${host}`;
    return [{ ...about, kind: 'root-rules-missing', severity: 'error', message, remedy }];
  }
  const message = `the rule for ${file} (${ROOT_RULES}:${rule.line}) can't be used: ${rule.problem}`;
  const remedy = `edit ${ROOT_RULES}, line ${rule.line}`;
  return [{ ...about, kind: 'unchecked', severity: 'unknown', message, remedy }];
}

function findingsOf(secret: Secret): Finding[] {
  const { file, host, read, missing, extra, differs, threshold, doubts } = secret;
  const about = { ...(host === undefined ? {} : { host }), check: 'secrets', resource: file } as const;
  if (read.status === 'plain') {
    const message = `${file} is not encrypted`;
    const remedy = `sops encrypt -i ${quoted(file)}; where git has it already, take what is in it for known, and change it`;
    return [{ ...about, kind: 'secret-plain', severity: 'error', message, remedy }];
  }
  if (read.status === 'damaged') {
    const message = `${file} can't be decrypted by anybody: ${read.reason}`;
    const remedy = `look for a whole one: git log -p -- ${quoted(file)}`;
    return [{ ...about, kind: 'unchecked', severity: 'unknown', message, remedy }];
  }
  const sync = `bin/hostkey secrets sync ${quoted(file)}`;
  const remedy = doubts.length === 0 ? sync : `${APPLY_ALL}; then ${sync}`;
  const findings: Finding[] = [];
  if (missing.length > 0) {
    findings.push({
      ...about,
      kind: 'secret-missing-recipient',
      severity: 'error',
      expected: keys(missing),
      message: `${named(missing)} can't decrypt ${file}`,
      remedy,
    });
  }
  if (extra.length > 0) {
    const strangers = extra.filter(({ standing }) => standing === 'unknown');
    const who =
      strangers.length === 0
        ? ''
        : `; ${strangers.length === extra.length ? 'that' : named(strangers)} is in no rule, and of nobody whom the fleet knows`;
    findings.push({
      ...about,
      kind: 'secret-extra-recipient',
      severity: 'warning',
      actual: keys(extra),
      message: `${named(extra)} can decrypt ${file}, and shouldn't${who}`,
      remedy,
    });
  }
  if (findings.length === 0 && differs && doubts.length === 0) {
    const message = `${file} has the right keys, and in other groups or spelt otherwise than its rule`;
    findings.push({ ...about, kind: 'secret-missing-recipient', severity: 'warning', message, remedy: sync });
  }
  if (threshold !== undefined) findings.push({ ...about, ...thresholdFinding(secret, threshold) });
  return findings;
}

function thresholdFinding(
  { file, read }: Secret,
  { actual, wanted }: NonNullable<Secret['threshold']>,
): Pick<Finding, 'kind' | 'severity' | 'expected' | 'actual' | 'message' | 'remedy'> {
  return {
    kind: actual < wanted ? 'secret-extra-recipient' : 'secret-missing-recipient',
    severity: 'warning',
    expected: String(wanted),
    actual: String(actual),
    message: `${actual} of the key groups of ${file} are needed to decrypt it, and its rule says ${wanted}`,
    remedy: thresholdRemedy(file, wanted, read.status === 'encrypted' ? read.groups.length : 0),
  };
}

/** `sops updatekeys` keeps the threshold that a file has; taking a group away may set it. */
function thresholdRemedy(file: string, wanted: number, groups: number): string {
  const name = quoted(file);
  const option = `--shamir-secret-sharing-threshold ${wanted}`;
  if (wanted >= groups) return `encrypt it anew: sops decrypt -i ${name} && sops encrypt -i ${name}`;
  return `sops groups delete -i --file ${name} ${option} ${groups - 1}; then bin/hostkey secrets sync ${name}`;
}

/** `a`, `a and b`, `a, b and c`. */
function named(parties: readonly Party[]): string {
  const names = parties.map(({ name }) => name);
  const last = names.pop() ?? '';
  return names.length === 0 ? last : `${names.join(', ')} and ${last}`;
}

const keys = (parties: readonly Party[]): string =>
  parties.map(({ key }) => key.replace(/^age:/, '')).join(', ');
