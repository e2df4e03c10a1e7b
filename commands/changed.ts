import { appendFileSync } from 'node:fs';
import path from 'node:path';
import type { Command } from 'commander';
import { changedHosts } from '../ci/changed';
import { CommandError, type FleetOptions, withFleet } from './fleet-option';

const HELP = `
Both revisions are synthesized and their stacks compared, so that exactly those hosts are told that a deployment would
look at differently. The packages are those that are installed now, for both.

With --github the names also go to $GITHUB_OUTPUT, as hosts (separated by spaces), and removed.

Exit codes: 0 done, whether there are any or not; 1 could not be told.

Example:
  hostkey drift $(hostkey changed --since origin/main) --skip live secrets`;

interface Options extends FleetOptions {
  readonly since: string;
  readonly json?: boolean;
  readonly github?: boolean;
}

/** Adds `hostkey changed`. */
export function addChangedCommand(program: Command): void {
  withFleet(program.command('changed'))
    .description('name the hosts whose stack differs from that of a revision')
    .requiredOption('--since <revision>', 'the commit, branch or tag to compare the work tree with')
    .option('--json', 'print hosts that were added, changed and removed as JSON')
    .option('--github', 'also write them to $GITHUB_OUTPUT')
    .addHelpText('after', HELP)
    .action(run);
}

async function run({ since, json, github, ...options }: Options): Promise<void> {
  const fleet = options.fleet ?? process.env.HOSTKEY_FLEET ?? 'fleet.yaml';
  const result = await changedHosts(process.cwd(), path.relative(process.cwd(), path.resolve(fleet)), since);
  const hosts = [...result.added, ...result.changed].sort();
  for (const host of result.removed) {
    process.stderr.write(
      `hostkey: ${host} is no longer in ${fleet}: destroy it first, from the revision that has it: npx cdktf destroy ${host}\n`,
    );
  }
  if (github) {
    const file = process.env.GITHUB_OUTPUT;
    if (!file) throw new CommandError('--github needs $GITHUB_OUTPUT, which GitHub Actions sets');
    appendFileSync(file, `hosts=${hosts.join(' ')}\nremoved=${result.removed.join(' ')}\n`);
  }
  process.stdout.write(
    json ? `${JSON.stringify(result, null, 2)}\n` : hosts.map((host) => `${host}\n`).join(''),
  );
}
