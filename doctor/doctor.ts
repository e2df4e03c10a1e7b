import type { Fleet, Host } from '../fleet/fleet';
import { loadFleet } from '../fleet/load';
import { FleetError } from '../fleet/problem';
import { ProxmoxApi } from '../proxmox/api';
import { credentialsIn, oldestTls } from '../proxmox/environment';
import { readStates } from '../terraform/state';
import { checkCluster, notAsked } from './cluster';
import { askPaths } from './cluster-facts';
import { judgeCredentials } from './credentials';
import { checkIdentity } from './identity';
import { checkNodeSsh, type SnippetPaths } from './node-ssh';
import { checkPrograms } from './programs';
import { checkGit, checkModes, checkTerraformFiles, judgeStates } from './repository';
import { ok, problem, type Result, skipped, warning } from './result';
import { checkRootRules } from './rules';

/** What was looked at, for people: a heading and its results. */
export interface Section {
  readonly title: string;
  readonly results: readonly Result[];
}

export interface Examination {
  /** The fleet's file. */
  readonly file: string;
  /** Only what `hostkey drift` needs: no SSH to the nodes, no right to change anything. */
  readonly readOnly: boolean;
  readonly env?: NodeJS.ProcessEnv;
}

/** Looks for whatever is missing for a fleet to work. It changes nothing, and every question has its time limit. */
export async function examine({ file, readOnly, env = process.env }: Examination): Promise<Section[]> {
  const programs = checkPrograms(env);
  const fleet = load(file);
  if (!('hosts' in fleet)) {
    return [
      { title: 'Programs', results: await programs },
      { title: 'Fleet', results: fleet.results },
    ];
  }
  const states = await readStates(fleet, sampleOf(fleet));
  const planned = fleet.hosts.filter(({ name }) => states.get(name)?.status === 'absent');
  const [cluster, ssh] = await Promise.all(askProxmox(fleet, planned, readOnly, env));
  return [
    { title: 'Programs', results: [...(await programs), ...checkTerraformFiles(fleet, env)] },
    { title: 'Fleet', results: judgeFleet(fleet) },
    { title: 'Proxmox VE', results: cluster },
    ...(readOnly ? [] : [{ title: 'SSH to the nodes, for snippets', results: ssh }]),
    { title: 'State', results: [...judgeStates(fleet, states), ...checkModes(fleet)] },
    { title: 'Secrets', results: [...checkRootRules(fleet, states), ...checkIdentity(fleet, env)] },
    { title: 'Git', results: checkGit(fleet) },
  ];
}

function load(file: string): Fleet | { readonly results: readonly Result[] } {
  try {
    return loadFleet(file);
  } catch (error) {
    if (!(error instanceof FleetError)) throw error;
    const { length } = error.problems;
    const count = length === 1 ? 'a mistake' : `${length} mistakes`;
    return {
      results: [
        problem('fleet.file', `${file} has ${count}`, error.message),
        skipped('api', 'Proxmox, state and secrets: not looked at, since the fleet is not known'),
      ],
    };
  }
}

function judgeFleet({ file, hosts, warnings }: Fleet): Result[] {
  const count = hosts.length === 1 ? '1 host' : `${hosts.length} hosts`;
  return [
    ok('fleet.file', `${file} has ${count}`),
    ...warnings.map(({ line, path, message, remedy }) =>
      warning(`fleet.${path}`, `${file}:${line}: ${message}`, remedy),
    ),
  ];
}

/** Terraform takes a second or two for each remote state: of a large fleet, some stand for all. */
const REMOTE_STATES = 20;

function sampleOf({ hosts, state }: Fleet): readonly Host[] {
  return state.kind === 'local' ? hosts : hosts.slice(0, REMOTE_STATES);
}

/** The API, and SSH to the nodes: where snippets lie on a node, the API knows. */
function askProxmox(
  fleet: Fleet,
  planned: readonly Host[],
  readOnly: boolean,
  env: NodeJS.ProcessEnv,
): [Promise<Result[]>, Promise<Result[]>] {
  const credentials = credentialsIn(env);
  const told = judgeCredentials(credentials, fleet, env);
  const ssh = (paths: () => Promise<SnippetPaths | undefined>) =>
    readOnly ? Promise.resolve([]) : checkNodeSsh(fleet, paths, env);
  if (credentials.kind === 'none') {
    const cluster = [...told, ...notAsked(readOnly, 'since there are no credentials')];
    return [Promise.resolve(cluster), ssh(async () => undefined)];
  }
  const api = new ProxmoxApi(fleet.proxmox.endpoint, env, oldestTls(fleet.proxmox.minTls, env));
  const cluster = checkCluster(api, { fleet, credentials, planned, readOnly });
  const datastores = [...new Set(fleet.hosts.map(({ snippets }) => snippets))];
  const paths = async () => {
    const silent = (await cluster).some(({ id, status }) => id === 'api.answers' && status === 'problem');
    return silent ? undefined : askPaths(api, datastores);
  };
  const both = Promise.all([cluster, ssh(paths)]).finally(() => api.close());
  return [both.then(([found]) => [...told, ...found]), both.then(([, found]) => found)];
}
