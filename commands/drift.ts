import { type Command, InvalidArgumentError, Option } from 'commander';
import { findDrift } from '../drift/drift';
import { CHECKS, type Check, EXIT_CODES } from '../drift/report';
import { REPORT_FORMATS, type ReportFormat } from '../drift/reports/format';
import { version } from '../package.json';
import { type FleetOptions, hostsNamed, loadFleetFor, withFleet } from './fleet-option';
import { progress } from './progress';
import { writeReport } from './write-report';

const HELP = `
Looks, and changes nothing: no state is written, no lock held, no plan left behind, and no file of the repository
touched. A token that may only read (VM.Audit, Datastore.Audit) is enough.

  terraform  what was changed or removed outside Terraform, what is written and not applied, what was never deployed
  rules      the host's entry in the root .sops.yaml: missing, changed, or shadowed by a rule before it
  live       the key that sshd serves, against the state's
  secrets    whom each sops file is encrypted to, against the rules and the states

Known drift can be accepted until a date, by drift.ignore in fleet.yaml; it stays in the report.

Exit codes: 0 no drift, 2 drift, 1 could not tell: something could not be looked at, whatever else was found.

Examples:
  hostkey drift                            the whole fleet
  hostkey drift mqtt-01 --skip live        one host, from where its SSH port can't be reached
  hostkey drift --shard 2/5 --format json  the second of five parts, for a CI runner`;

interface Options extends FleetOptions {
  readonly skip?: readonly Check[];
  readonly shard?: { readonly index: number; readonly of: number };
  readonly format: ReportFormat;
  readonly json?: boolean;
  readonly output?: string;
  readonly verbose?: boolean;
}

/** Adds `hostkey drift`. */
export function addDriftCommand(program: Command): void {
  withFleet(program.command('drift'))
    .description('tell whether fleet.yaml, the states, Proxmox, sshd and the secrets still agree')
    .argument('[hosts...]', 'only these hosts')
    .addOption(new Option('--skip <checks...>', 'leave these out').choices(CHECKS))
    .option('--shard <i/n>', 'only the i-th of n parts of the fleet', shard)
    .addOption(
      new Option('--format <format>', 'how to write the report').choices(REPORT_FORMATS).default('table'),
    )
    .option('--json', 'the same as --format json')
    .option('-o, --output <file>', 'write the report to a file instead of standard output')
    .option('--verbose', 'in the table, list clean hosts, too')
    .addHelpText('after', HELP)
    .action(run);
}

function shard(text: string): { index: number; of: number } {
  const [index, of] = (text.match(/^([1-9]\d*)\/([1-9]\d*)$/) ?? []).slice(1).map(Number);
  if (index === undefined || of === undefined || index > of) {
    throw new InvalidArgumentError('write it as 2/5: the second of five parts');
  }
  return { index, of };
}

async function run(names: readonly string[], options: Options): Promise<void> {
  const fleet = loadFleetFor(options);
  const hosts = hostsNamed(fleet, names);
  const { say, done } = progress();
  try {
    const report = await findDrift(fleet, {
      ...(names.length === 0 ? {} : { hosts }),
      shard: options.shard,
      skip: options.skip,
      tool: `hostkey ${version}`,
      say,
    });
    done();
    writeReport(report, { ...options, format: options.json ? 'json' : options.format });
    process.exitCode = EXIT_CODES[report.status];
  } finally {
    done();
  }
}
