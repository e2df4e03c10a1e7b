import type { DriftReport, Finding, Severity } from '../report';
import { allFindings, byUrgency, isOpen, placeOf, STATUS_WORDS, summary } from './words';

/** GitHub takes no longer comment (`body is too long (maximum is 65536 characters)`). */
const LIMIT = 65_000;

const MARKS: Readonly<Record<Severity, string>> = { error: '🔴', warning: '🟡', unknown: '❓', info: 'ℹ️' };

/** The report for a comment or a job's summary, in GitHub's Markdown; findings that don't fit are counted. */
export function markdownReport(report: DriftReport, limit: number = LIMIT): string {
  const head = `## Fleet ${code(report.fleet)}: ${STATUS_WORDS[report.status]}\n\n${text(summary(report))}.\n`;
  const foot = `\n<sub>${text(report.tool)}, ${report.startedAt}, ${report.seconds} s</sub>\n`;
  const sections = [
    ...byUrgency(report.hosts).map(({ host, vmId, findings }) => ({
      title: `\n### ${text(host)} (VM ${vmId})\n\n`,
      rows: findings.filter(isOpen),
    })),
    { title: '\n### The fleet itself\n\n', rows: report.findings.filter(isOpen) },
    { title: '\n### Accepted\n\n', rows: allFindings(report).filter((finding) => !isOpen(finding)) },
  ].filter(({ rows }) => rows.length > 0);
  let body = '';
  let left = 0;
  for (const { title, rows } of sections) {
    let shown = title + TABLE_HEAD;
    let count = 0;
    for (const each of rows) {
      const next = row(each);
      if (head.length + body.length + shown.length + next.length + foot.length + 200 > limit) break;
      shown += next;
      count++;
    }
    if (count > 0) body += shown;
    left += rows.length - count;
  }
  const rest =
    left === 0 ? '' : `\n**${left} more findings are left out here; the JSON report has them all.**\n`;
  return head + body + rest + foot;
}

const TABLE_HEAD = '| | finding | expected | is | what to do |\n| --- | --- | --- | --- | --- |\n';

function row(finding: Finding): string {
  const { severity, message, expected, actual, remedy, accepted } = finding;
  const place = placeOf(finding);
  const todo =
    accepted === undefined
      ? remedy === ''
        ? ''
        : code(remedy)
      : text(`accepted until ${accepted.expires}: ${accepted.reason}`);
  const cells = [
    MARKS[severity],
    text(message) + (place === '' ? '' : `<br>${code(place)}`),
    expected === undefined ? '' : code(expected),
    actual === undefined ? '' : code(actual),
    todo,
  ];
  return `| ${cells.join(' | ')} |\n`;
}

/** Text that stays text: no markup, no link, nobody mentioned, no cell ended. */
function text(value: string): string {
  return oneLine(value)
    .replaceAll(/[&<>]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[sign] ?? sign)
    .replaceAll(/[\\`*_{}[\]()#!|~]/g, (sign) => `\\${sign}`)
    .replaceAll('@', '@\u200b')
    .replaceAll(/(https?|ftp):\/\//gi, '$1:\u200b//')
    .replaceAll(/\bwww\./gi, 'www\u200b.');
}

/** A code span, by HTML: backticks inside one can't be escaped, and a table's cell ends at a `|` even there. */
function code(value: string): string {
  const escaped = oneLine(value).replaceAll(
    /[^\p{L}\p{N} ,;/=+→…-]/gu,
    (sign) => `&#${sign.codePointAt(0)};`,
  );
  return `<code>${escaped}</code>`;
}

const oneLine = (value: string): string => value.replaceAll(/[\p{Cc}\s]+/gu, ' ').trim();
