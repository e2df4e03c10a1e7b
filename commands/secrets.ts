import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Command } from 'commander';
import pc from 'picocolors';
import type { Finding } from '../drift/report';
import { EXIT_CODES, statusOf } from '../drift/report';
import { secretFindings } from '../drift/secrets';
import type { Fleet } from '../fleet/fleet';
import { readSecrets, type SecretsOptions } from '../sops/secrets';
import { needsSync, type Synced, syncSecret } from '../sops/sync';
import { readStates } from '../terraform/state';
import { type FleetOptions, hostsNamed, loadFleetFor, withFleet } from './fleet-option';
import { progress } from './progress';

const CHECK_HELP = `
Looks through the hosts' folders of secrets, the shared ones, and every other sops file of the repository that a rule
of the root .sops.yaml is for. Nothing is decrypted: sops keeps in the clear whom a file is encrypted to.

  missing  somebody whom the rule names, or a host that reads the file, can't decrypt it
  extra    somebody can decrypt it whom no rule names: an earlier key, or a host that is gone
  plain    it isn't encrypted at all

Exit codes: 0 all is right, 2 something differs, 1 could not tell.`;

const SYNC_HELP = `
Runs sops updatekeys on every file whose recipients differ from its rule. Each file is replaced as a whole, so that a
kill leaves it old or new; run again, it goes on with what is left. You need an identity that can decrypt the files,
such as an admin's in SOPS_AGE_KEY_FILE; a file that you can't decrypt is left as it is.

Exit codes: 0 all is right now, 1 a file was left as it is; the line says why.`;

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
    .argument('[hosts or files...]', 'only the secrets of these hosts, or these files')
    .option('--json', 'print the findings as JSON')
    .addHelpText('after', CHECK_HELP)
    .action(check);
  withFleet(secrets.command('sync'))
    .description('encrypt the sops files to those whom the rules name')
    .argument('[hosts or files...]', 'only the secrets of these hosts, or these files')
    .option('--dry-run', 'only tell what would be done')
    .option('--json', 'print what was done as JSON')
    .addHelpText('after', SYNC_HELP)
    .action(sync);
}

/** Hosts by name; everything else that exists is a file. */
function chosen(fleet: Fleet, names: readonly string[]): SecretsOptions {
  if (names.length === 0) return {};
  const isHost = (name: string) => fleet.hosts.some((host) => host.name === name);
  const files = names.filter((name) => !isHost(name) && existsSync(name));
  const hosts = hostsNamed(
    fleet,
    names.filter((name) => !files.includes(name)),
  );
  return {
    ...(files.length === names.length ? {} : { hosts: new Set(hosts.map(({ name }) => name)) }),
    ...(files.length === 0
      ? {}
      : {
          files: new Set(
            files.map((file) => path.relative(fleet.root, path.resolve(file)).split(path.sep).join('/')),
          ),
        }),
  };
}

async function check(names: readonly string[], options: Options): Promise<void> {
  const fleet = loadFleetFor(options);
  const states = await readStates(fleet, fleet.hosts);
  const findings = [...unreadable(states), ...secretFindings(fleet, states, chosen(fleet, names))];
  process.exitCode = EXIT_CODES[statusOf(findings)];
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ status: statusOf(findings), findings }, null, 2)}\n`);
    return;
  }
  for (const { severity, message, remedy } of findings) {
    const mark = severity === 'error' ? pc.red('✗') : severity === 'warning' ? pc.yellow('!') : '?';
    process.stdout.write(`${mark} ${message}\n${remedy === '' ? '' : `    ${remedy}\n`}`);
  }
  if (findings.length === 0)
    process.stdout.write('Every sops file is encrypted to those whom the rules name.\n');
}

/** Where a state can't be read, nobody knows who its host is. */
function unreadable(states: Awaited<ReturnType<typeof readStates>>): Finding[] {
  return [...states].flatMap(([host, state]) =>
    state.status === 'unreadable'
      ? [
          {
            host,
            kind: 'unchecked',
            severity: 'unknown',
            check: 'secrets',
            message: state.message,
            remedy: state.remedy,
          },
        ]
      : [],
  );
}

async function sync(names: readonly string[], options: Options): Promise<void> {
  const fleet = loadFleetFor(options);
  const states = await readStates(fleet, fleet.hosts);
  const todo = readSecrets(fleet, states, chosen(fleet, names)).filter(needsSync);
  const results: ({ readonly file: string } & (Synced | { readonly status: 'would sync' }))[] = [];
  const { say, done } = progress();
  try {
    for (const [i, secret] of todo.entries()) {
      say(`${i + 1} of ${todo.length}: ${secret.file}`);
      const result = options.dryRun ? ({ status: 'would sync' } as const) : await syncSecret(fleet, secret);
      results.push({ file: secret.file, ...result });
      done();
      if (!options.json) process.stdout.write(line(secret.file, result));
      if (result.status === 'left') process.exitCode = 1;
    }
  } finally {
    done();
  }
  if (options.json) process.stdout.write(`${JSON.stringify({ files: results }, null, 2)}\n`);
  else if (todo.length === 0)
    process.stdout.write('Nothing to do: every sops file is encrypted as its rule says.\n');
}

function line(file: string, result: Synced | { readonly status: 'would sync' }): string {
  if (result.status !== 'left') return `${pc.green('✓')} ${file} ${result.status}\n`;
  return `${pc.red('✗')} ${file} left as it is: ${result.message}\n    ${result.remedy}\n`;
}
