import { Command, CommanderError } from 'commander';
import { told } from './told';

/**
 * The `hostkey` program. A command is a file beside this one: a function that adds it to the program.
 *
 * Only the command that is asked for is loaded, since Terraform starts this program once for every host; help,
 * completion, and what isn't known, loads them all. (`require`: `import()` would bypass tsx's loader.)
 */
type Add = (program: Command) => void;

const COMMANDS: Readonly<Record<string, () => Add>> = {
  doctor: () => (require('./doctor') as typeof import('./doctor')).addDoctorCommand,
  list: () => (require('./list') as typeof import('./list')).addListCommand,
  verify: () => (require('./verify') as typeof import('./verify')).addVerifyCommand,
  'known-hosts': () => (require('./known-hosts') as typeof import('./known-hosts')).addKnownHostsCommand,
  drift: () => (require('./drift') as typeof import('./drift')).addDriftCommand,
  changed: () => (require('./changed') as typeof import('./changed')).addChangedCommand,
  publish: () => (require('./publish') as typeof import('./publish')).addPublishCommands,
  rotate: () => (require('./rotate') as typeof import('./rotate')).addRotateCommand,
  report: () => (require('./report') as typeof import('./report')).addReportCommand,
  secrets: () => (require('./secrets') as typeof import('./secrets')).addSecretsCommands,
  completion: () => (require('./completion') as typeof import('./completion')).addCompletionCommand,
  sops: () => (require('./sops') as typeof import('./sops')).addSopsCommands,
};

/** EX_USAGE of sysexits.h: 2 means drift, and a scheduled job must not take a misspelt option for that. */
const USAGE_ERROR = 64;

const HELP = `
Exit codes: 0 done and well; 1 could not be done, or could not be told (the message says why); 2 something differs
(drift, verify, secrets check, doctor); 64 called wrongly.
Each command explains itself: hostkey COMMAND --help`;

function createProgram([name = '']: readonly string[]): Command {
  const program = new Command('hostkey')
    .description(
      'Deterministic SSH host keys for Proxmox VMs, and the sops recipients that follow from them.',
    )
    .addHelpText('after', HELP)
    .showHelpAfterError('(hostkey --help tells what there is)')
    .exitOverride();
  const alone = Object.hasOwn(COMMANDS, name) && name !== 'completion';
  const asked = alone ? [COMMANDS[name]] : Object.values(COMMANDS);
  for (const load of asked) load?.()(program);
  return program;
}

/** Sub-commands inherit `exitOverride` only if they are made after it is set, as they are above. */
async function main(args: readonly string[]): Promise<number> {
  try {
    await createProgram(args).parseAsync([...args], { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE_ERROR;
    process.stderr.write(`hostkey: ${error instanceof Error ? told(error) : String(error)}\n`);
    return 1;
  }
}

void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
