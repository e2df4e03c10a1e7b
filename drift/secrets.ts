import type { Fleet } from '../fleet/fleet';
import { type Party, readSecrets, type Secret, type SecretsOptions } from '../sops/secrets';
import type { StateReading } from '../terraform/state';
import type { Finding } from './report';

/** Whom the sops files are encrypted to, against the rules and the states, as findings. */
export function secretFindings(
  fleet: Fleet,
  states: ReadonlyMap<string, StateReading>,
  options: SecretsOptions = {},
): Finding[] {
  return readSecrets(fleet, states, options).flatMap(findingsOf);
}

function findingsOf(secret: Secret): Finding[] {
  const { file, host, status, missing, extra, regrouped, notInRule } = secret;
  const about = { ...(host === undefined ? {} : { host }), check: 'secrets', resource: file } as const;
  const sync = `bin/hostkey secrets sync ${file}`;
  if (status === 'plain') {
    const message = `${file} is not encrypted`;
    return [
      {
        ...about,
        kind: 'secret-plain',
        severity: 'error',
        message,
        remedy: `sops encrypt -i ${file}, and consider what was in it known`,
      },
    ];
  }
  if (status === 'damaged') {
    const message = `${file} looks like a sops file, and what sops wrote at its end can't be read`;
    return [{ ...about, kind: 'unchecked', severity: 'unknown', message, remedy: `git log -p ${file}` }];
  }
  const findings: Finding[] = [];
  if (missing.length > 0) {
    const byRule = missing.filter(({ key }) => !notInRule.some((party) => party.key === key));
    findings.push({
      ...about,
      kind: 'secret-missing-recipient',
      severity: 'error',
      expected: named(missing),
      message: `${named(missing)} can't decrypt ${file}`,
      remedy: byRule.length === missing.length ? sync : `bin/hostkey sops apply --all, then ${sync}`,
    });
  }
  if (extra.length > 0) {
    const strangers = extra.filter(({ known }) => !known);
    const who =
      strangers.length === 0
        ? ''
        : ` (${named(strangers)}: in no rule and of no host, so an earlier key, or a host's that is gone)`;
    findings.push({
      ...about,
      kind: 'secret-extra-recipient',
      severity: 'warning',
      actual: named(extra),
      message: `${named(extra)} can decrypt ${file}, and shouldn't${who}`,
      remedy: sync,
    });
  }
  if (regrouped) {
    const message = `${file} has its keys in other groups than its rule`;
    findings.push({ ...about, kind: 'secret-missing-recipient', severity: 'warning', message, remedy: sync });
  }
  return findings;
}

const named = (parties: readonly Party[]): string => parties.map(({ name }) => name).join(', ');
