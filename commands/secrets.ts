import { existsSync, realpathSync } from 'node:fs';
import path from 'node:path';
import type { Command } from 'commander';
import { EXIT_CODES, type Finding, statusOf } from '../drift/report';
import { rulesFindings, withoutEchoes } from '../drift/rules';
import { findingsOfSecrets } from '../drift/secrets';
import type { Fleet } from '../fleet/fleet';
import { show } from '../fleet/problem';
import { lookAtSecrets } from '../sops/look';
import type { Secret, SecretsOptions } from '../sops/secrets';
import { needsSync, refusal, type Synced, syncSecrets } from '../sops/sync';
import { coloursOf } from './colours';
import { CommandError, type FleetOptions, hostsNamed, loadFleetFor, withFleet } from './fleet-option';
import { progress } from './progress';

const pc = coloursOf(process.stdout);

const CHECK_HELP = `
Looks through the hosts' folders of secrets, the shared ones, and every other sops file of the repository that a rule
of the root .sops.yaml is for. Whom a file is encrypted to, which sops keeps in the clear, is compared with that rule,
and with whom it should be: the host by its Terraform state, and the admins. Nothing is decrypted or written.

  ✗  somebody who should be can't decrypt it, or it isn't encrypted at all, or the rule itself is wrong
  !  somebody can decrypt it who shouldn't: an earlier key, or a host or an admin that is gone
  ?  it could not be told; the line says why

Exit codes: 0 all is right, 2 something differs, 1 could not tell, whatever else was found.

Examples:
  hostkey secrets check                          the whole repository
  hostkey secrets check mqtt-01                  what mqtt-01 reads, shared secrets included
  hostkey secrets check secrets/shared --json    the files of a folder, for a machine`;

const SYNC_HELP = `
Runs sops updatekeys on every file whose recipients differ from its rule, one after the other. Each file is replaced
as a whole, so that a kill or a power cut leaves it old or new; run again, it goes on with what is left. You need an
identity that can decrypt the files, such as an admin's in SOPS_AGE_KEY_FILE. What can't or mustn't be touched is left
as it is, byte for byte, and the others go on: a file that you can't decrypt, and one whose rule is wrong by the states.

Who is taken out can't decrypt the new file, and still knows what was in the old one: change those secrets.

Exit codes: 0 all is right now, 1 a file was left as it is (the line says why), 130 stopped by Ctrl-C.

Examples:
  hostkey secrets sync --dry-run                 who would gain and lose access, file by file
  hostkey secrets sync mqtt-01                   after mqtt-01 got a new key`;

interface Options extends FleetOptions {
  readonly json?: boolean;
  readonly dryRun?: boolean;
}

/** Adds `hostkey secrets check` and `hostkey secrets sync`. */
export function addSecretsCommands(program: Command): void {
  const secrets = program
    .command('secrets')
    .description('check whom the sops files are encrypted to, and mend it');
  withFleet(secrets.command('check'))
    .description('tell whom each sops file should be encrypted to, and is not')
    .argument('[hosts or files...]', 'only the secrets of these hosts, or these files and folders')
    .option('--json', 'print the findings as JSON')
    .addHelpText('after', CHECK_HELP)
    .action(check);
  withFleet(secrets.command('sync'))
    .description('encrypt the sops files to those whom the rules name')
    .argument('[hosts or files...]', 'only the secrets of these hosts, or these files and folders')
    .option('--dry-run', 'only tell what would be done')
    .option('--json', 'print what was done as JSON')
    .addHelpText('after', SYNC_HELP)
    .action(sync);
}

/** Hosts by name; everything else is a file or a folder. @throws CommandError for a name that is none of these. */
function chosen(fleet: Fleet, names: readonly string[]): SecretsOptions {
  const isFile = (name: string) => !fleet.hosts.some((host) => host.name === name) && existsSync(name);
  const files = names.filter(isFile);
  const hosts = names.filter((name) => !isFile(name));
  const gone = hosts.find((name) => name.includes('/'));
  if (gone !== undefined) throw new CommandError(`there is no ${show(gone)}`);
  return {
    ...(hosts.length === 0 ? {} : { hosts: new Set(hostsNamed(fleet, hosts).map(({ name }) => name)) }),
    ...(files.length === 0 ? {} : { files: new Set(files.map((file) => inRepository(fleet, file))) }),
  };
}

/** @throws CommandError for a path that no rule could be for. */
function inRepository({ root, file: fleetFile }: Fleet, name: string): string {
  const relative = (from: string, to: string) => path.relative(from, to).split(path.sep).join('/');
  const written = relative(root, path.resolve(name));
  const file = written.startsWith('..') ? relative(realpathSync(root), realpathSync(name)) : written;
  if (file.startsWith('..'))
    throw new CommandError(`${show(name)} lies outside the repository of ${fleetFile}`);
  return file;
}

async function check(names: readonly string[], options: Options): Promise<void> {
  const fleet = loadFleetFor(options);
  const looked = await lookAtSecrets(fleet, chosen(fleet, names));
  const { secrets, states } = looked;
  const hosts = fleet.hosts.filter(({ name }) => states.has(name));
  const findings = withoutEchoes([
    ...rulesFindings(fleet, hosts, states),
    ...findingsOfSecrets(looked, states),
  ]);
  process.exitCode = EXIT_CODES[statusOf(findings)];
  if (options.json) {
    const report = { status: statusOf(findings), files: secrets.length, findings };
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
    return;
  }
  process.stdout.write(findings.map(findingText).join('') + summary(secrets, findings));
}

/** A remedy stands once, below the findings that it is for. */
function findingText({ severity, message, remedy }: Finding, i: number, all: readonly Finding[]): string {
  const mark = severity === 'error' ? pc.red('✗') : severity === 'warning' ? pc.yellow('!') : pc.yellow('?');
  const isLast = remedy !== '' && all[i + 1]?.remedy !== remedy;
  return `${mark} ${message}\n${isLast ? `    ${remedy}\n` : ''}`;
}

function summary(secrets: readonly Secret[], findings: readonly Finding[]): string {
  const files = counted(secrets.length, 'sops file');
  if (secrets.length === 0) return 'There are no sops files here yet.\n';
  if (findings.length === 0)
    return `${pc.green('✓')} ${files}, each encrypted to those whom its rule names\n`;
  return `${files}, ${counted(findings.length, 'finding')}\n`;
}

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;

type Result = Synced | { readonly status: 'would sync' };

async function sync(names: readonly string[], options: Options): Promise<void> {
  const fleet = loadFleetFor(options);
  const looked = await lookAtSecrets(fleet, chosen(fleet, names));
  const todo = looked.secrets.filter(needsSync);
  const bySecret = new Map(todo.map((secret) => [secret.file, secret]));
  const { say, done } = progress();
  const print = (file: string, result: Result) => {
    done();
    const secret = bySecret.get(file);
    if (!options.json && secret !== undefined) process.stdout.write(resultText(secret, result));
  };
  const results = new Map<string, Result>();
  const stop = new AbortController();
  const interrupt = () => stop.abort();
  process.once('SIGINT', interrupt);
  try {
    if (options.dryRun) {
      for (const secret of todo) {
        const result = refusal(secret) ?? ({ status: 'would sync' } as const);
        results.set(secret.file, result);
        print(secret.file, result);
      }
    } else {
      const onStart = (file: string, index: number) => say(`${index + 1} of ${todo.length}: ${file}`);
      const ended = await syncSecrets(fleet, looked, { onStart, onEnd: print, signal: stop.signal });
      for (const [file, result] of ended) results.set(file, result);
    }
  } finally {
    done();
    process.off('SIGINT', interrupt);
  }
  const open = todo.length - results.size;
  if ([...results.values()].some(({ status }) => status === 'left')) process.exitCode = 1;
  if (open > 0) process.exitCode = 130;
  if (options.json) {
    const files = [...results].map(([file, result]) => ({ file, ...result, ...changes(bySecret.get(file)) }));
    process.stdout.write(`${JSON.stringify({ looked: looked.secrets.length, open, files }, null, 2)}\n`);
  } else if (open > 0) {
    process.stderr.write(`Stopped; ${counted(open, 'file')} left. Run it again to go on.\n`);
  } else if (todo.length === 0) {
    const files = counted(looked.secrets.length, 'sops file');
    process.stdout.write(`Nothing to do: ${files}, each encrypted to those whom its rule names.\n`);
  }
}

const changes = (secret: Secret | undefined) => ({
  gain: (secret?.missing ?? []).map(({ name }) => name),
  lose: (secret?.extra ?? []).map(({ name }) => name),
});

function resultText(secret: Secret, result: Result): string {
  if (result.status === 'left') {
    const remedy = result.remedy === '' ? '' : `    ${result.remedy}\n`;
    return `${pc.red('✗')} ${secret.file} left as it is: ${result.message}\n${remedy}`;
  }
  const { gain, lose } = changes(secret);
  const who = [...gain.map((name) => `+ ${name}`), ...lose.map((name) => `- ${name}`)].join(', ');
  return `${pc.green('✓')} ${secret.file} ${result.status}${who === '' ? '' : `: ${who}`}\n`;
}
