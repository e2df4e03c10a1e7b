import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { type DriftReport, driftReportSchema, EXIT_CODES } from '../drift/report';
import { REPORT_FORMATS, type ReportFormat } from '../drift/reports/format';
import { mergeReports } from '../drift/reports/merge';
import { CommandError } from './fleet-option';
import { writeReport } from './write-report';

const HELP = `
Takes what hostkey drift --format json wrote. The reports of all parts of one fleet (--shard 1/5 … 5/5) become one; a
part that is missing is told, and makes the whole "could not tell".

Exit codes: those of hostkey drift, for the whole: 0 no drift, 2 drift, 1 could not tell.

Example:
  hostkey report part-*.json --format html -o drift.html`;

interface Options {
  readonly format: ReportFormat;
  readonly output?: string;
  readonly verbose?: boolean;
  readonly exitZero?: boolean;
}

/** Adds `hostkey report`. */
export function addReportCommand(program: Command): void {
  program
    .command('report')
    .description('write a JSON report of hostkey drift in another form, or merge those of many parts')
    .argument('<files...>', 'reports, as hostkey drift --format json writes them')
    .addOption(new Option('--format <format>', 'how to write it').choices(REPORT_FORMATS).default('table'))
    .option('-o, --output <file>', 'write to a file instead of standard output')
    .option('--verbose', 'in the table, list clean hosts, too')
    .option('--exit-zero', 'exit with 0 whatever the report says')
    .addHelpText('after', HELP)
    .action(run);
}

function run(files: readonly string[], options: Options): void {
  const report = readReports(files);
  writeReport(report, options);
  process.exitCode = options.exitZero ? 0 : EXIT_CODES[report.status];
}

/** The one report that some files make. @throws CommandError, or MergeError where they don't belong together */
export function readReports(files: readonly string[]): DriftReport {
  return mergeReports(files.map((file) => ({ file, report: readReport(file) })));
}

function readReport(file: string): DriftReport {
  let data: unknown;
  try {
    data = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new CommandError(`${file} can't be read as JSON: ${(error as Error).message}`);
  }
  const read = driftReportSchema.safeParse(data);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  throw new CommandError(
    `${file} is no report of hostkey drift: ${issue?.path.join('.')}: ${issue?.message}`,
  );
}
