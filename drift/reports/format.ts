import type { DriftReport } from '../report';
import { githubReport } from './github';
import { htmlReport } from './html';
import { junitReport } from './junit';
import { markdownReport } from './markdown';
import { type TableOptions, tableReport } from './table';

export const REPORT_FORMATS = ['table', 'json', 'markdown', 'github', 'junit', 'html'] as const;
export type ReportFormat = (typeof REPORT_FORMATS)[number];

/** The report as text, ending in a line feed. */
export function formatReport(report: DriftReport, format: ReportFormat, options: TableOptions = {}): string {
  switch (format) {
    case 'table':
      return tableReport(report, options);
    case 'json':
      return `${JSON.stringify(report, null, 2)}\n`;
    case 'markdown':
      return markdownReport(report);
    case 'github':
      return githubReport(report);
    case 'junit':
      return junitReport(report);
    case 'html':
      return htmlReport(report);
  }
}
