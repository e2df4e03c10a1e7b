import { join } from 'node:path';
import { type Command, Option } from 'commander';

/** Where Terraform puts a host's entry: public data, and no part of the command line, which has limits and quoting. */
const ENTRY_VARIABLE = 'HOSTKEY_SOPS_ENTRY';

/** Where Terraform puts the folder that a host leaves: no shell reads it there. */
const FOLDER_VARIABLE = 'HOSTKEY_SOPS_FOLDER';

const ENTRY_HELP = `
The entry is JSON, from the environment variable ${ENTRY_VARIABLE} or from --entry. It holds public data only:
  {
    "host": "mqtt-01",                        a DNS label
    "recipient": "age1…",                     the host's age recipient
    "admins": { "ops": "age1…" },             who else can decrypt
    "path": "secrets/mqtt-01",                the folder of the host's secrets, below the root
    "shared": ["secrets/shared/mqtt"]         folders of secrets that several hosts read
  }`;

const APPLY_HELP = `${ENTRY_HELP}

Comments, order and everything else that people wrote stay as they are. An anchor &host_<host> that is there already
gets the new recipient. Running it twice changes nothing more; many may run at once.

With --all there is no entry: fleet.yaml (or the file that HOSTKEY_FLEET names) tells hosts, admins and shared folders,
and secrets/<host>/.sops.yaml beside it, which Terraform keeps, the recipient of each host. This brings .sops.yaml back
where somebody deleted it, or a part of it, since then Terraform's state still says that all is done.

Examples:
  hostkey sops apply --entry mqtt-01.json
  hostkey sops apply --all`;

const REMOVE_HELP = `${ENTRY_HELP}

Only "host" matters here, so --host alone does. With --folder the host leaves the rule for that folder, and nothing
else happens; ${FOLDER_VARIABLE} says the same in the environment.

Examples:
  hostkey sops remove --host mqtt-01
  hostkey sops remove --host mqtt-01 --folder secrets/shared/mqtt`;

interface Options {
  readonly root: string;
  readonly entry?: string;
  readonly host?: string;
  readonly folder?: string;
  readonly all?: boolean;
  readonly json?: boolean;
}

/** Adds `hostkey sops apply` and `hostkey sops remove`. */
export function addSopsCommands(program: Command): void {
  const sops = program
    .command('sops')
    .description("put hosts into the root .sops.yaml, among people's own rules");
  withOptions(sops.command('apply'))
    .description("put a host's recipient and rules into .sops.yaml, or bring them up to date")
    .addOption(new Option('--all', 'do so for every deployed host of fleet.yaml').conflicts('entry'))
    .addHelpText('after', APPLY_HELP)
    .action((options: Options, command: Command) =>
      options.all ? runAll(options, command) : run('apply', options),
    );
  withOptions(sops.command('remove'))
    .description("take exactly a host's recipient and rules out of .sops.yaml")
    .option('--host <name>', 'the host, instead of an entry')
    .option('--folder <dir>', 'only from the rule for this folder of shared secrets')
    .addHelpText('after', REMOVE_HELP)
    .action((options: Options) => run('remove', options));
}

function withOptions(command: Command): Command {
  return command
    .option('--root <dir>', 'the folder of the root .sops.yaml', '.')
    .option('--entry <file>', `read the entry from a file, or from standard input with "-"`)
    .option('--json', 'print the result as one line of JSON');
}

async function run(action: 'apply' | 'remove', options: Options): Promise<void> {
  // `require`, since `import()` would bypass tsx's loader; what it loads is most of the start-up time.
  const { changeRootRules } = require('./sops-change') as typeof import('./sops-change');
  process.exitCode = await changeRootRules(action, {
    root: options.root,
    json: options.json ?? false,
    host: options.host,
    folder: action === 'remove' ? (options.folder ?? process.env[FOLDER_VARIABLE]) : undefined,
    entry: options.entry
      ? { from: options.entry }
      : { text: process.env[ENTRY_VARIABLE], from: ENTRY_VARIABLE },
  });
}

async function runAll({ root, json = false }: Options, command: Command): Promise<void> {
  const given = command.getOptionValueSource('root') !== 'default';
  // As main.ts has it, unless the command line says where.
  const fleet = given ? join(root, 'fleet.yaml') : (process.env.HOSTKEY_FLEET ?? 'fleet.yaml');
  const { applyAll } = require('./sops-all') as typeof import('./sops-all');
  process.exitCode = await applyAll({ fleet, json });
}
