import { Command, CommanderError } from 'commander';
import { addDriftCommand } from './drift';
import { addSopsCommands } from './sops';

/**
 * The `hostkey` program. A command is a file beside this one: a function that adds it to the program, and an action
 * that loads what it needs only when it runs, because Terraform starts this program once for every host.
 */

/** 0: done, or nothing was to do. 1: it couldn't be done. 2: it was called wrongly. */
const USAGE_ERROR = 2;

const HELP = `
Exit codes: 0 done, 1 could not be done (the message says why), 2 called wrongly.
Each command explains itself: hostkey COMMAND --help`;

function createProgram(): Command {
  const program = new Command('hostkey')
    .description(
      'Deterministic SSH host keys for Proxmox VMs, and the sops recipients that follow from them.',
    )
    .addHelpText('after', HELP)
    .showHelpAfterError('(hostkey --help tells what there is)')
    .exitOverride();
  addDriftCommand(program);
  addSopsCommands(program);
  return program;
}

/** Sub-commands inherit `exitOverride` only if they are made after it is set, as they are above. */
async function main(args: readonly string[]): Promise<number> {
  try {
    await createProgram().parseAsync([...args], { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE_ERROR;
    process.stderr.write(`hostkey: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
