import { CHECKS, type DriftReport, type Finding, statusOf } from '../report';

/** Reports that don't belong together; the message names them. */
class MergeError extends Error {
  override readonly name = 'MergeError';
}

/**
 * The report of a fleet from those of its parts (`--shard i/n`). A part that is missing makes the whole unknown: what
 * nobody looked at is never fine.
 *
 * @param parts Each with the name of its file, for messages.
 * @throws MergeError for reports of several fleets, of different numbers of parts, or of one part twice.
 */
export function mergeReports(
  parts: readonly { readonly file: string; readonly report: DriftReport }[],
): DriftReport {
  const [first, ...others] = parts;
  if (first === undefined) throw new MergeError('there is no report to merge');
  if (others.length === 0 && first.report.shard === undefined) return first.report;
  const of = first.report.shard?.of;
  const seen = new Map<number, string>();
  for (const { file, report } of parts) {
    if (report.fleet !== first.report.fleet) {
      throw new MergeError(`${file} is of ${report.fleet}, and ${first.file} of ${first.report.fleet}`);
    }
    if (report.shard === undefined || report.shard.of !== of) {
      throw new MergeError(
        `${file} and ${first.file} are no parts of one run: one is ${part(report)}, the other ${part(first.report)}`,
      );
    }
    const twin = seen.get(report.shard.index);
    if (twin !== undefined) throw new MergeError(`${file} and ${twin} are the same part, ${part(report)}`);
    seen.set(report.shard.index, file);
  }
  const missing = Array.from({ length: of ?? 0 }, (_, i) => i + 1).filter((index) => !seen.has(index));
  const reports = parts
    .map(({ report }) => report)
    .sort((a, b) => (a.shard?.index ?? 0) - (b.shard?.index ?? 0));
  const findings: Finding[] = [
    ...distinct(reports.flatMap((report) => report.findings)),
    ...missing.map((index) => ({
      kind: 'unchecked' as const,
      severity: 'unknown' as const,
      check: 'terraform' as const,
      message: `part ${index} of ${of} of the fleet has no report: nobody looked at its hosts`,
      remedy: `hostkey drift --shard ${index}/${of}`,
    })),
  ];
  const hosts = interleave(reports.map((report) => report.hosts));
  return {
    version: 1,
    tool: first.report.tool,
    fleet: first.report.fleet,
    startedAt: reports.map(({ startedAt }) => startedAt).sort()[0] ?? first.report.startedAt,
    // They ran side by side.
    seconds: Math.max(...reports.map(({ seconds }) => seconds)),
    skipped: CHECKS.filter((check) => reports.some(({ skipped }) => skipped.includes(check))),
    status: statusOf([...findings, ...hosts.flatMap((host) => host.findings)]),
    hosts,
    findings,
  };
}

/** What concerns the fleet may have been seen by several parts. */
const distinct = (findings: readonly Finding[]): Finding[] => [
  ...new Map(findings.map((finding) => [JSON.stringify(finding), finding])).values(),
];

const part = ({ shard }: DriftReport): string =>
  shard === undefined ? 'a whole fleet' : `part ${shard.index} of ${shard.of}`;

/** Part i has every n-th host: in turn, they are in the order of the fleet again. */
function interleave<Item>(lists: readonly (readonly Item[])[]): Item[] {
  const longest = Math.max(0, ...lists.map(({ length }) => length));
  return Array.from({ length: longest }, (_, i) => lists.flatMap((list) => list.slice(i, i + 1))).flat();
}
