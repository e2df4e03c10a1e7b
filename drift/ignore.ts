import type { Fleet, IgnoredDrift } from '../fleet/fleet';
import type { Finding } from './report';

/** What drift.ignore made of the findings. */
export interface Accepted {
  /** The same findings, the accepted ones marked. */
  readonly findings: readonly Finding[];
  /** What is the matter with the rules themselves. */
  readonly rules: readonly Finding[];
}

/**
 * Marks what `drift.ignore` of fleet.yaml accepts. An accepted finding stays in the report; a rule whose day has
 * passed accepts nothing, and one that matches nothing is itself worth a word, since nobody misses it.
 *
 * What could not be told is never accepted: nobody knows what it is.
 *
 * @param today The day in UTC, `YYYY-MM-DD`.
 * @param looked The hosts that were looked at; a rule for others can't be judged.
 */
export function accept(
  findings: readonly Finding[],
  { ignoredDrift, file, hosts }: Pick<Fleet, 'ignoredDrift' | 'file' | 'hosts'>,
  today: string,
  looked: ReadonlySet<string>,
): Accepted {
  const used = new Set<IgnoredDrift>();
  const marked = findings.map((finding) => {
    if (finding.severity === 'unknown') return finding;
    const rules = ignoredDrift.filter((rule) => matches(rule, finding));
    for (const rule of rules) used.add(rule);
    const rule = rules.find(({ expires }) => expires >= today);
    return rule === undefined
      ? finding
      : { ...finding, accepted: { reason: rule.reason, expires: rule.expires } };
  });
  const blind = (rule: IgnoredDrift) =>
    findings.some(
      ({ severity, host }) =>
        severity === 'unknown' && (rule.host === '*' || (host ?? rule.host) === rule.host),
    );
  const rules = ignoredDrift
    .filter(({ host }) => (host === '*' ? hosts.every(({ name }) => looked.has(name)) : looked.has(host)))
    .flatMap((rule) => {
      if (rule.expires < today && used.has(rule)) return [expired(rule, file)];
      // Where something could not be looked at, a rule may match there.
      return used.has(rule) || blind(rule) ? [] : [unused(rule, file)];
    });
  return { findings: marked, rules };
}

function matches(rule: IgnoredDrift, { host, resource = '', attribute = '' }: Finding): boolean {
  if (rule.host !== '*' && rule.host !== host) return false;
  if (rule.resource !== resource) return false;
  if (rule.attribute === undefined || rule.attribute === attribute) return true;
  return attribute.startsWith(rule.attribute) && /^[.[]/.test(attribute.slice(rule.attribute.length));
}

const nameOf = ({ host, resource, attribute }: IgnoredDrift): string =>
  [host, resource, ...(attribute === undefined ? [] : [attribute])].join(', ');

const place = (rule: IgnoredDrift, file: string) =>
  ({
    ...(rule.host === '*' ? {} : { host: rule.host }),
    check: 'terraform',
    resource: file,
    line: rule.place.line,
  }) as const;

function expired(rule: IgnoredDrift, file: string): Finding {
  return {
    ...place(rule, file),
    kind: 'ignore-expired',
    severity: 'warning',
    message: `drift.ignore accepted ${nameOf(rule)} until ${rule.expires}: ${rule.reason}`,
    remedy: `mend the drift, or write a later date at ${file}:${rule.place.line}`,
  };
}

function unused(rule: IgnoredDrift, file: string): Finding {
  return {
    ...place(rule, file),
    kind: 'ignore-unused',
    severity: 'info',
    message: `drift.ignore accepts ${nameOf(rule)}, and nothing there differs any more`,
    remedy: `take it out at ${file}:${rule.place.line}`,
  };
}
