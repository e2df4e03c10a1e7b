import { existsSync, readFileSync, watchFile } from 'node:fs';
import { relative } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import colors from 'picocolors';
import { defaultDir, layout, logFile, PARTS, type Part } from './layout';
import { type Guest, openSandbox, type Sandbox, sandboxRecord, startSandbox, stopSandbox } from './sandbox';

const DOWN = 3;

interface Common {
  readonly dir: string;
  readonly json?: boolean;
}

interface UpOptions extends Common {
  readonly address: string;
  readonly apiPort: number;
  readonly sshPort: number;
  readonly guests?: boolean;
}

const program = new Command('sandbox')
  .description(
    'A Proxmox VE on this machine, for trying things out: a fake of its API and a real SSH server, on loopback only.',
  )
  .addHelpText(
    'after',
    `\nExit codes: 0 done (status: it is up), 1 it failed, 2 wrong usage, ${DOWN} status: it is down.`,
  )
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));

const command = (name: string, text: string): Command =>
  program
    .command(name)
    .description(text)
    .addOption(
      new Option('--dir <folder>', 'the folder of the sandbox').default(
        defaultDir,
        '.sandbox in the project',
      ),
    )
    .option('--json', 'for machines: one JSON object on standard output');

command('up', 'start it, or find that it is up')
  .option('--address <address>', 'an address in 127.0.0.0/8', '127.83.0.1')
  .option('--api-port <port>', "the API's port", port, 8006)
  .option('--ssh-port <port>', "the node's SSH port", port, 2222)
  .option(
    '--guests',
    'boot a real guest in QEMU for every VM that is started (default: where QEMU can be had)',
  )
  .option('--no-guests', 'let VMs only count as running')
  .action(async (given: UpOptions) => {
    const options = { ...given, guests: given.guests ?? ('if possible' as const) };
    const begun = Date.now();
    const say = (line: string) => process.stderr.write(`${colors.dim('•')} ${line}\n`);
    const sandbox = await startSandbox({ ...options, detached: true, say });
    if (options.json) return print(await describe(sandbox));
    const seconds = ((Date.now() - begun) / 1000).toFixed(1);
    const happened = sandbox.wasUp ? 'The sandbox is up already' : `The sandbox is up after ${seconds} s`;
    console.log(`${colors.green('✓')} ${happened}: ${sandbox.endpoint}, node ${nodeOf(sandbox)}\n`);
    console.log(`To use it in this shell:\n  . ${short(sandbox.envFile)}`);
  });

command('status', 'say whether it is up, and show its VMs').action(async (options: Common) => {
  const sandbox = openSandbox(options.dir);
  const failure = sandboxRecord(options.dir)?.failure;
  if (options.json)
    print(sandbox ? await describe(sandbox) : { up: false, dir: layout(options.dir).dir, failure });
  else if (sandbox) await show(sandbox);
  else console.log(failure ? `The sandbox is down. ${failure}` : 'The sandbox is down.');
  process.exitCode = sandbox ? 0 : DOWN;
});

command('down', 'end its processes and remove its folder').action(async (options: Common) => {
  const wasThere = await stopSandbox(options.dir);
  if (options.json) return print({ up: false, removed: wasThere });
  console.log(wasThere ? `${colors.green('✓')} The sandbox is gone` : 'There is no sandbox');
});

program
  .command('logs')
  .description('print what its parts have logged')
  .argument('[part]', `one of ${PARTS.join(', ')}; all of them otherwise`, knownPart)
  .addOption(
    new Option('--dir <folder>', 'the folder of the sandbox').default(defaultDir, '.sandbox in the project'),
  )
  .option('-f, --follow', 'go on printing')
  .action((part: Part | undefined, options: Common & { follow?: boolean }) => {
    const paths = layout(options.dir);
    if (!existsSync(paths.logs)) throw new Error('There is no sandbox, and so no log');
    const parts = part ? [part] : PARTS;
    for (const each of parts)
      printLog(logFile(paths, each), parts.length > 1 ? each : undefined, options.follow ?? false);
  });

function port(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1 || number > 65535)
    throw new InvalidArgumentError('A port is 1 to 65535.');
  return number;
}

function knownPart(text: string): Part {
  const part = PARTS.find((each) => each === text);
  if (!part) throw new InvalidArgumentError(`One of ${PARTS.join(', ')}.`);
  return part;
}

const print = (value: unknown): void => console.log(JSON.stringify(value, null, 2));
const nodeOf = ({ node }: Sandbox): string => `${node.name} at ${node.address}:${node.port}`;
const short = (file: string): string => relative(process.cwd(), file) || file;

async function describe(sandbox: Sandbox) {
  const { dir, endpoint, node, envFile, snippets, bootsGuests, wasUp } = sandbox;
  return {
    up: true,
    dir,
    endpoint,
    node,
    envFile,
    snippets,
    bootsGuests,
    wasUp,
    guests: await sandbox.guests(),
  };
}

async function show(sandbox: Sandbox): Promise<void> {
  console.log(`${colors.green('●')} up: ${sandbox.endpoint}, node ${nodeOf(sandbox)}`);
  for (const guest of await sandbox.guests())
    console.log(
      `  ${String(guest.vmid).padEnd(6)} ${powerOf(guest).padEnd(9)} ${guest.name}${whereToFind(guest)}`,
    );
}

const whereToFind = ({ guest }: Guest): string =>
  guest?.pid
    ? `  ssh: ${guest.address}${guest.port === 22 ? '' : `:${guest.port}`}  console: ${short(guest.serial)}`
    : '';

const powerOf = ({ template, status }: Guest): string => (template ? 'template' : status);

/** Prints a log from its beginning, and what is added to it while one follows. */
function printLog(file: string, label: string | undefined, follow: boolean): void {
  let printed = 0;
  const more = () => {
    const text = existsSync(file) ? readFileSync(file) : Buffer.alloc(0);
    // Whole lines only: the rest of one is printed when it's there.
    const until = follow ? text.lastIndexOf(10) + 1 : text.length;
    const lines = text.subarray(printed, until).toString();
    printed = Math.max(printed, until);
    if (lines) process.stdout.write(label ? lines.replace(/^(?=.)/gm, colors.dim(`${label}: `)) : lines);
  };
  more();
  if (follow) watchFile(file, { interval: 200 }, more);
}

program.parseAsync().catch((error: Error) => {
  console.error(`${colors.red('✗')} ${error.message}`);
  process.exit(1);
});
