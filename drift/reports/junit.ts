import { create } from 'xmlbuilder2';
import { CHECKS, type Check, type DriftReport, type Finding } from '../report';
import { isOpen, placeOf, valuesOf } from './words';

/**
 * JUnit's XML, as CI servers read it (the Ant JUnit schema): a suite a host, a case a check. Drift is a failure, what
 * could not be told an error, what was left out or is accepted is skipped.
 */
export function junitReport(report: DriftReport): string {
  const document = create({ version: '1.0', encoding: 'UTF-8' });
  const suites = document.ele('testsuites', { name: 'hostkey drift', time: String(report.seconds) });
  const hosts = [
    ...report.hosts.map(({ host, findings }) => ({ name: host, findings })),
    ...(report.findings.length > 0 ? [{ name: report.fleet, findings: report.findings }] : []),
  ];
  for (const { name, findings } of hosts) {
    const cases = CHECKS.map((check) => ({ check, ...verdict(check, findings, report.skipped) }));
    const count = (kind: string) => String(cases.filter((each) => each.kind === kind).length);
    const suite = suites.ele('testsuite', {
      name: xmlText(name),
      tests: String(cases.length),
      failures: count('failure'),
      errors: count('error'),
      skipped: count('skipped'),
      timestamp: report.startedAt.replace(/\.\d+Z$/, ''),
      time: '0',
    });
    for (const { check, kind, message, detail } of cases) {
      const element = suite.ele('testcase', { classname: xmlText(name), name: check, time: '0' });
      if (kind === 'passed') continue;
      const child = element.ele(kind, {
        message: xmlText(message),
        ...(kind === 'skipped' ? {} : { type: kind }),
      });
      if (detail !== '') child.txt(xmlText(detail));
    }
  }
  return `${document.end({ prettyPrint: true })}\n`;
}

interface Verdict {
  readonly kind: 'passed' | 'failure' | 'error' | 'skipped';
  readonly message: string;
  readonly detail: string;
}

function verdict(check: Check, findings: readonly Finding[], skipped: readonly Check[]): Verdict {
  if (skipped.includes(check)) return { kind: 'skipped', message: 'not looked at', detail: '' };
  const own = findings.filter((finding) => finding.check === check && finding.severity !== 'info');
  const open = own.filter(isOpen);
  const worst = open.find(({ severity }) => severity === 'unknown') ?? open[0];
  const detail = (open.length > 0 ? open : own)
    .map((finding) =>
      [finding.message, placeOf(finding), valuesOf(finding), finding.remedy]
        .filter((part) => part !== '')
        .join('\n'),
    )
    .join('\n\n');
  if (worst !== undefined) {
    return { kind: worst.severity === 'unknown' ? 'error' : 'failure', message: worst.message, detail };
  }
  return own.length > 0
    ? { kind: 'skipped', message: 'accepted', detail }
    : { kind: 'passed', message: '', detail: '' };
}

/** XML 1.0 section 2.2 knows no control characters, escaped or not, and no lone surrogates. */
const xmlText = (text: string): string =>
  text.replaceAll(/[^\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]/gu, '\uFFFD');
