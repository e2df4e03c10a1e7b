import type { Command } from 'commander';
import pc from 'picocolors';
import { checkCluster } from '../doctor/cluster';
import { checkNodeSsh } from '../doctor/node-ssh';
import { checkPrograms } from '../doctor/programs';
import { checkAdmins, checkRepository, checkTerraformFiles } from '../doctor/repository';
import { ok, problem, type Result } from '../doctor/result';
import type { Fleet } from '../fleet/fleet';
import { ProxmoxApi } from '../proxmox/api';
import { readStates } from '../terraform/state';
import { type FleetOptions, loadFleetFor, withFleet } from './fleet-option';
import { progress } from './progress';

const HELP = `
Looks at the programs, the credentials, the API and what the token may do there, the datastores and templates, SSH to
the nodes, the states and git, and says what to type where something is missing. It changes nothing.

Exit codes: 0 all is well, or only worth a look; 2 something is missing; 1 something could not be told.`;

interface Options extends FleetOptions {
  readonly readOnly?: boolean;
  readonly json?: boolean;
}

/** Adds `hostkey doctor`. */
export function addDoctorCommand(program: Command): void {
  withFleet(program.command('doctor'))
    .description('tell what is missing for this fleet to work')
    .option('--read-only', 'only what hostkey drift needs: no SSH to the nodes, no right to change anything')
    .option('--json', 'print the results as JSON')
    .addHelpText('after', HELP)
    .action(run);
}

async function run({ readOnly = false, json = false, ...options }: Options): Promise<void> {
  const { say, done } = progress();
  try {
    say('looking');
    const results = await look(loadFleetFor(options), readOnly);
    done();
    if (json) process.stdout.write(`${JSON.stringify({ results }, null, 2)}\n`);
    else process.stdout.write(results.map(line).join(''));
    const has = (status: Result['status']) => results.some((result) => result.status === status);
    process.exitCode = has('problem') ? 2 : has('unknown') ? 1 : 0;
  } finally {
    done();
  }
}

async function look(fleet: Fleet, readOnly: boolean): Promise<Result[]> {
  const states = await readStates(fleet, fleet.hosts);
  const parts = await Promise.all([
    checkPrograms(),
    [ok('fleet.file', `${fleet.file} has ${fleet.hosts.length} hosts`), ...checkAdmins(fleet)],
    cluster(fleet, states, readOnly),
    readOnly ? [] : checkNodeSsh(fleet),
    checkTerraformFiles(fleet),
    checkRepository(fleet, states),
  ]);
  return parts.flat();
}

async function cluster(
  fleet: Fleet,
  states: Awaited<ReturnType<typeof readStates>>,
  readOnly: boolean,
): Promise<Result[]> {
  const { PROXMOX_VE_API_TOKEN: token = '', PROXMOX_VE_USERNAME: username } = process.env;
  const user = token.split('!')[0] || username || 'nobody';
  if (token !== '' && !/^[^@\s]+@[^!\s]+![^=\s]+=\S+$/.test(token)) {
    return [
      problem(
        'credentials.token',
        'PROXMOX_VE_API_TOKEN is no token',
        'it looks like user@realm!name=secret, in quotes: the shell takes ! for something else',
      ),
    ];
  }
  const api = new ProxmoxApi(fleet.proxmox.endpoint);
  try {
    return await checkCluster(api, fleet, states, user, readOnly);
  } finally {
    await api.close();
  }
}

const MARKS: Readonly<Record<Result['status'], string>> = {
  ok: pc.green('✓'),
  warning: pc.yellow('!'),
  problem: pc.red('✗'),
  unknown: pc.magenta('?'),
  skipped: pc.dim('-'),
};

const line = ({ status, message, remedy }: Result): string =>
  `${MARKS[status]} ${message}\n${(remedy ?? '').replaceAll(/^(?=.)/gm, '    ').replace(/(?<=.)$/, '\n')}`;
