import type { Fleet, Host } from '../fleet/fleet';
import { ApiError, type ProxmoxApi } from '../proxmox/api';
import type { Credentials } from '../proxmox/environment';
import { judgeBridges } from './bridges';
import { type Asked, askCluster, askVersion, type ClusterFacts } from './cluster-facts';
import { judgeDatastores } from './datastores';
import { judgeNodes, judgeQuorum } from './nodes';
import { judgePrivileges, needsOf } from './privileges';
import { ok, problem, type Result, skipped, unknown, warning } from './result';
import { judgeTemplates } from './templates';
import { judgeVmIds } from './vm-ids';

/** The oldest Proxmox VE whose privileges and answers these stacks were written for. */
const OLDEST = 8;

export interface ClusterQuestion {
  readonly fleet: Fleet;
  readonly credentials: Credentials;
  /** The hosts that aren't deployed yet. */
  readonly planned: readonly Host[];
  /** Only what `hostkey drift` needs. */
  readonly readOnly: boolean;
}

/**
 * What the API says of what the fleet needs: it answers, the token may do what is needed, and nodes, datastores,
 * bridges, templates and VM ids are as fleet.yaml has them.
 */
export async function checkCluster(api: ProxmoxApi, question: ClusterQuestion): Promise<Result[]> {
  try {
    const version = await askVersion(api, question.fleet);
    return [
      judgeVersion(version, question.fleet),
      ...judgeCluster(await askCluster(api, question.fleet), question),
    ];
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return [
      problem('api.answers', error.message, error.remedy),
      ...notAsked(question.readOnly, 'since the API gives no answer'),
    ];
  }
}

function judgeVersion(version: string, { proxmox: { endpoint } }: Fleet): Result {
  const what = `Proxmox VE ${version} at ${endpoint}`;
  return Number.parseInt(version, 10) < OLDEST
    ? warning(
        'api.answers',
        `${what} is older than what this was made for`,
        `upgrade to Proxmox VE ${OLDEST} or newer`,
      )
    : ok('api.answers', what);
}

/** What becomes of the questions to the API where none can be asked. */
export function notAsked(readOnly: boolean, why: string): Result[] {
  const always = ['nodes', 'privileges', 'datastores'];
  const names = readOnly ? always : [...always, 'bridges', 'templates', 'vm-ids'];
  return names.map((name) =>
    skipped(`api.${name}`, `${name.replace('vm-ids', 'VM ids')}: not asked, ${why}`),
  );
}

/** The verdict on what a cluster says of itself. */
export function judgeCluster(
  facts: ClusterFacts,
  { fleet, credentials, planned, readOnly }: ClusterQuestion,
): Result[] {
  return [
    ...judged('api.nodes', facts.nodes, (nodes) => judgeNodes(fleet, nodes)),
    ...judged('api.quorum', facts.quorate, (quorate) => judgeQuorum(quorate, readOnly)),
    ...judged('api.privileges', facts.held, (held) =>
      judgePrivileges(needsOf(fleet, readOnly, facts.zones), held, credentials, readOnly),
    ),
    ...judgeDatastores(fleet, facts, planned, readOnly),
    ...(readOnly
      ? []
      : [
          ...judgeBridges(fleet, facts),
          ...judged('api.templates', facts.vms, (vms) => judgeTemplates(fleet, vms, facts, credentials)),
          ...judged('api.vm-ids', facts.vms, (vms) => judgeVmIds(planned, vms)),
        ]),
  ];
}

function judged<T>(id: string, asked: Asked<T>, judge: (answer: T) => Result[]): Result[] {
  return 'answer' in asked ? judge(asked.answer) : [unknown(id, asked.failure.message, asked.failure.remedy)];
}
