import { sync as writeFileAtomic } from 'write-file-atomic';
import type { DriftReport } from '../drift/report';
import { formatReport, type ReportFormat } from '../drift/reports/format';
import { coloursOf } from './colours';

export interface Target {
  readonly format: ReportFormat;
  readonly output?: string;
  readonly verbose?: boolean;
}

/** Prints a report, or writes it to a file. */
export function writeReport(report: DriftReport, { format, output, verbose }: Target): void {
  const colour = output === undefined && coloursOf(process.stdout).isColorSupported;
  const text = formatReport(report, format, { colour, verbose });
  if (output === undefined) process.stdout.write(text);
  else writeFileAtomic(output, text);
}
