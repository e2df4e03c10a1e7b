import { sync as writeFileAtomic } from 'write-file-atomic';
import type { DriftReport } from '../drift/report';

interface Target {
  readonly format: string;
  readonly output?: string;
  readonly verbose?: boolean;
}

/** Prints a report, or writes it to a file. */
export function writeReport(report: DriftReport, { output }: Target): void {
  const text = `${JSON.stringify(report, null, 2)}\n`;
  if (output === undefined) process.stdout.write(text);
  else writeFileAtomic(output, text);
}
