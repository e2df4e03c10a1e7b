import pc from 'picocolors';
import type { DriftReport, Finding, Severity } from '../report';
import { allFindings, byUrgency, isOpen, placeOf, STATUS_WORDS, summary, valuesOf } from './words';

/** How the table is drawn. */
export interface TableOptions {
  readonly colour?: boolean;
  /** Also list hosts without a finding. @default only those with one */
  readonly verbose?: boolean;
}

/** The report for a terminal. Hosts without a finding are only counted, so that 300 clean ones take one line. */
export function tableReport(
  report: DriftReport,
  { colour = false, verbose = false }: TableOptions = {},
): string {
  const paint = pc.createColors(colour);
  const marks: Record<Severity, string> = {
    error: paint.red('✗'),
    warning: paint.yellow('!'),
    unknown: paint.magenta('?'),
    info: paint.blue('i'),
  };
  const block = (finding: Finding): string[] => {
    const { severity, message, remedy, accepted } = finding;
    const details = [
      [placeOf(finding), valuesOf(finding)].filter((part) => part !== '').join(': '),
      ...(accepted === undefined ? [remedy] : [`accepted until ${accepted.expires}: ${accepted.reason}`]),
    ].filter((line) => line !== '');
    return [
      `  ${marks[severity]} ${plain(message)}`,
      ...details.map((line) => paint.dim(`      ${plain(line)}`)),
    ];
  };
  const section = (title: string, findings: readonly Finding[]): string[] =>
    findings.length === 0 ? [] : [paint.bold(title), ...findings.flatMap(block), ''];
  const lines = [
    ...byUrgency(report.hosts).flatMap(({ host, vmId, node, status, findings }) => {
      const open = findings.filter(isOpen);
      if (open.length === 0 && !verbose) return [];
      return [
        `${paint.bold(host)}  VM ${vmId} on ${node}: ${STATUS_WORDS[status]}`,
        ...open.flatMap(block),
        ...(open.length > 0 ? [''] : []),
      ];
    }),
    ...section('The fleet itself', report.findings.filter(isOpen)),
    ...section(
      'Accepted',
      allFindings(report).filter((finding) => !isOpen(finding)),
    ),
    `${summary(report)} (${report.seconds} s)`,
  ];
  return `${lines.join('\n')}\n`;
}

/** Control characters that somebody wrote into a VM's description don't reach the terminal. */
const plain = (text: string): string => text.replaceAll(/\p{Cc}/gu, ' ');
