import fc from 'fast-check';
import {
  CHECKS,
  type DriftReport,
  FINDING_KINDS,
  type Finding,
  type HostReport,
  SEVERITIES,
  statusOf,
} from '../../drift/report';

/** What somebody might write into a VM's description to see what a report makes of it. */
const hostile = fc.constantFrom(
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  '| a | b |\n\n# title',
  '`code` @everyone [link](https://example.net) ![x](http://example.net/x.png)',
  '</code></details><h1>',
  ']]></failure>',
  '::error::x\n::set-output name=a::b',
  '%0A::error::x',
  '\u001b[2J\u0000\u0007',
  '\ud800',
  "' onmouseover='alert(1)",
);

const text = fc.oneof(fc.string({ unit: 'grapheme' }), hostile);

const finding: fc.Arbitrary<Finding> = fc.record(
  {
    kind: fc.constantFrom(...FINDING_KINDS),
    severity: fc.constantFrom(...SEVERITIES),
    check: fc.constantFrom(...CHECKS),
    resource: text,
    attribute: text,
    line: fc.integer({ min: 1, max: 9999 }),
    expected: text,
    actual: text,
    message: text,
    remedy: text,
    accepted: fc.record({ reason: text, expires: fc.constant('2027-01-01') }),
  },
  { requiredKeys: ['kind', 'severity', 'check', 'message', 'remedy'] },
);

const hostReport = (host: string): fc.Arbitrary<HostReport> =>
  fc.array(finding, { maxLength: 4 }).map((findings) => ({
    host,
    vmId: 100,
    node: 'pve1',
    status: statusOf(findings),
    fingerprint: 'SHA256:x',
    findings: findings.map((each) => ({ ...each, host })),
  }));

/** Reports as the program makes them: the statuses follow from the findings. */
export const reports: fc.Arbitrary<DriftReport> = fc
  .uniqueArray(fc.stringMatching(/^[a-z][a-z0-9-]{0,6}$/), { maxLength: 6 })
  .chain((names) =>
    fc.record({
      hosts: fc.tuple(...names.map(hostReport)),
      findings: fc.array(finding, { maxLength: 2 }),
      skipped: fc.subarray([...CHECKS]),
      fleet: fc.oneof(fc.constant('fleet.yaml'), text),
    }),
  )
  .map(({ hosts, findings, ...rest }) => ({
    version: 1,
    tool: 'hostkey 0.0.0',
    startedAt: '2026-11-24T03:17:00.000Z',
    seconds: 1.5,
    status: statusOf([...findings, ...hosts.flatMap((host) => host.findings)]),
    hosts,
    findings,
    ...rest,
  }));
