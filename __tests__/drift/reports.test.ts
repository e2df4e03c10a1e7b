import fc from 'fast-check';
import { convert } from 'xmlbuilder2';
import { type DriftReport, driftReportSchema } from '../../drift/report';
import { formatReport, REPORT_FORMATS } from '../../drift/reports/format';
import { markdownReport } from '../../drift/reports/markdown';
import { mergeReports } from '../../drift/reports/merge';
import { schemaText } from '../../fleet/generate-schema';
import { reports } from './arbitrary';

const clean: DriftReport = {
  version: 1,
  tool: 'hostkey 0.0.0',
  fleet: 'fleet.yaml',
  startedAt: '2026-11-24T03:17:00.000Z',
  seconds: 2.5,
  skipped: [],
  status: 'clean',
  hosts: Array.from({ length: 300 }, (_, i) => ({
    host: `h-${i}`,
    vmId: 100 + i,
    node: 'pve1',
    status: 'clean',
    findings: [],
  })),
  findings: [],
};

test('every form takes every report', () => {
  fc.assert(
    fc.property(reports, fc.constantFrom(...REPORT_FORMATS), (report, format) => {
      const text = formatReport(report, format);
      expect(text.endsWith('\n')).toBe(true);
      expect(formatReport(report, format)).toBe(text);
    }),
  );
});

test('JSON is the report, and fits its schema', () => {
  fc.assert(
    fc.property(reports, (report) => {
      expect(driftReportSchema.parse(JSON.parse(formatReport(report, 'json')))).toEqual(report);
    }),
  );
  expect(schemaText('drift.schema.json')).toContain('"title": "What hostkey drift found"');
});

test('300 clean hosts are one line of a terminal', () => {
  expect(formatReport(clean, 'table')).toBe('300 hosts: 300 clean (2.5 s)\n');
  expect(formatReport(clean, 'table', { verbose: true }).split('\n')).toHaveLength(302);
});

describe('what somebody wrote into a value', () => {
  test('sends a terminal no control characters', () => {
    fc.assert(
      fc.property(reports, (report) =>
        expect(formatReport(report, 'table').replaceAll('\n', '')).not.toMatch(/\p{Cc}/u),
      ),
    );
  });

  test('is inert in HTML', () => {
    fc.assert(
      fc.property(reports, (report) => {
        const tags = formatReport(report, 'html').match(/<[^>]*>/g) ?? [];
        const names = new Set(tags.map((tag) => tag.match(/^<\/?([a-z0-9]+|!doctype)/i)?.[1]));
        for (const bad of ['img', 'iframe', 'a', 'object']) expect(names).not.toContain(bad);
        expect(tags.filter((tag) => /^<script/.test(tag))).toHaveLength(1);
        expect(tags.filter((tag) => /\son\w+=/.test(tag.replaceAll(/"[^"]*"/g, '')))).toEqual([]);
      }),
    );
  });

  test('is inert in Markdown: a cell stays a cell, and nobody is mentioned', () => {
    fc.assert(
      fc.property(reports, (report) => {
        const text = markdownReport(report);
        expect(text).not.toMatch(/@[a-z]/i);
        expect(text).not.toMatch(/<(?!\/?(code|sub|br)>)/);
        for (const line of text
          .split('\n')
          .filter((each) => each.startsWith('| ') && !each.startsWith('| ---'))) {
          expect(line.replaceAll('\\|', '').split('|')).toHaveLength(7);
        }
      }),
    );
  });

  test('gives GitHub no command of its own', () => {
    fc.assert(
      fc.property(reports, (report) => {
        const lines = formatReport(report, 'github').trimEnd().split('\n');
        for (const line of lines.slice(0, -1)) expect(line).toMatch(/^::(error|warning|notice) /);
        for (const level of ['error', 'warning', 'notice']) {
          expect(lines.filter((line) => line.startsWith(`::${level} `)).length).toBeLessThanOrEqual(10);
        }
      }),
    );
  });

  test('leaves XML well-formed', () => {
    fc.assert(
      fc.property(reports, (report) => {
        const { testsuites } = convert(formatReport(report, 'junit'), { format: 'object' }) as {
          testsuites: object;
        };
        expect(testsuites).toHaveProperty('@name', 'hostkey drift');
      }),
    );
  });
});

test('a comment is never longer than GitHub takes, and says what it leaves out', () => {
  const many: DriftReport = {
    ...clean,
    hosts: clean.hosts.map((host) => ({
      ...host,
      findings: [
        {
          host: host.host,
          kind: 'vm-changed',
          severity: 'warning',
          check: 'terraform',
          message: 'x'.repeat(1000),
          remedy: '',
        },
      ],
    })),
  };
  const text = markdownReport(many);
  expect(text.length).toBeLessThan(65_536);
  const shown = text.split('\n').filter((line) => line.startsWith('| 🟡')).length;
  expect(text).toContain(`**${300 - shown} more findings`);
});

describe('reports of parts', () => {
  const split = (report: DriftReport, of: number): { file: string; report: DriftReport }[] =>
    Array.from({ length: of }, (_, i) => ({
      file: `part-${i + 1}.json`,
      report: {
        ...report,
        shard: { index: i + 1, of },
        hosts: report.hosts.filter((_host, at) => at % of === i),
        findings: i === 0 ? report.findings : [],
      },
    }));

  test('make the whole again, in whatever order they come', () => {
    fc.assert(
      fc.property(reports, fc.integer({ min: 1, max: 4 }), (report, of) => {
        const distinct = {
          ...report,
          findings: report.findings.filter(
            (each, i, all) => all.findIndex((other) => JSON.stringify(other) === JSON.stringify(each)) === i,
          ),
        };
        expect(mergeReports(split(distinct, of).reverse())).toEqual(distinct);
      }),
    );
  });

  test('of which one is missing are never clean', () => {
    const [, ...others] = split(clean, 3);
    expect(mergeReports(others)).toMatchObject({
      status: 'unknown',
      findings: [{ kind: 'unchecked', severity: 'unknown' }],
    });
  });

  test.each([
    ['of another fleet', { fleet: 'other.yaml' }],
    ['of another split', { shard: { index: 2, of: 5 } }],
    ['twice', { shard: { index: 1, of: 2 } }],
    ['of a whole fleet', { shard: undefined }],
  ])('are refused: %s', (_what, change) => {
    const [first, second] = split(clean, 2);
    if (first === undefined || second === undefined) throw new Error('no parts');
    expect(() => mergeReports([first, { ...second, report: { ...second.report, ...change } }])).toThrow(
      'part-2.json',
    );
  });
});
