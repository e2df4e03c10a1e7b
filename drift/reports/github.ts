import type { DriftReport, Finding, Severity } from '../report';
import { allFindings, isOpen, placeOf, summary, valuesOf } from './words';

/** GitHub shows ten annotations of each kind a step, and drops the others. */
const MOST = 10;

const LEVEL: Readonly<Record<Severity, 'error' | 'warning' | 'notice'>> = {
  error: 'error',
  unknown: 'error',
  warning: 'warning',
  info: 'notice',
};

/** Workflow commands that GitHub Actions makes annotations of (GitHub docs, "Workflow commands"). */
export function githubReport(report: DriftReport): string {
  const open = allFindings(report).filter(isOpen);
  const lines = (['error', 'warning', 'notice'] as const).flatMap((level) => {
    const findings = open.filter(({ severity }) => LEVEL[severity] === level);
    const shown = findings.length > MOST ? findings.slice(0, MOST - 1) : findings;
    const left = findings.length - shown.length;
    const rest =
      left === 0 ? [] : [`::${level} title=hostkey drift::${left} more; the JSON report has them all`];
    return [...shown.map((finding) => command(level, finding)), ...rest];
  });
  return `${[...lines, data(summary(report))].join('\n')}\n`;
}

function command(level: string, finding: Finding): string {
  const { host, kind, message, remedy, resource, line } = finding;
  const properties = [
    ...(isFile(resource)
      ? [`file=${property(resource)}`, ...(line === undefined ? [] : [`line=${line}`])]
      : []),
    `title=${property([host, kind].filter((part) => part !== undefined).join(': '))}`,
  ];
  const body = [message, placeOf(finding), valuesOf(finding), remedy]
    .filter((part) => part !== '')
    .join('\n');
  return `::${level} ${properties.join(',')}::${data(body)}`;
}

const isFile = (resource: string | undefined): resource is string =>
  resource !== undefined && /\.(ya?ml|json|env|ini|tfstate)$/.test(resource);

const data = (text: string): string =>
  text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');

const property = (text: string): string => data(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
