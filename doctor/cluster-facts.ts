import { z } from 'zod';
import type { Fleet } from '../fleet/fleet';
import { ApiError, type ProxmoxApi } from '../proxmox/api';

/** What was answered, or why there is no answer. */
export type Asked<T> =
  | { readonly answer: T }
  | { readonly failure: { readonly message: string; readonly remedy: string } };

/** The answer, if there is one. */
export const answerOf = <T>(asked: Asked<T> | undefined): T | undefined =>
  asked !== undefined && 'answer' in asked ? asked.answer : undefined;

const flag = z.coerce.number().optional();

const nodeList = z.array(z.looseObject({ node: z.string(), status: z.string().optional() }));
export type ClusterNode = z.infer<typeof nodeList>[number];

const vmList = z.array(
  z.looseObject({ vmid: z.number(), name: z.string().optional(), node: z.string(), template: flag }),
);
export type Vm = z.infer<typeof vmList>[number];

const datastoreList = z.array(
  z.looseObject({
    storage: z.string(),
    content: z.string().transform((text) => text.split(',')),
    enabled: flag,
    active: flag,
    shared: flag,
    /** Bytes. */
    avail: z.coerce.number().optional(),
  }),
);
export type Datastore = z.infer<typeof datastoreList>[number];

/** `GET /access/permissions`: path → privilege → whether it is handed down to what is below, too. */
const heldPrivileges = z.record(z.string(), z.record(z.string(), z.coerce.number()));
export type Held = Readonly<Record<string, Readonly<Record<string, number>>>>;

const vmConfig = z.record(z.string(), z.unknown());
export type VmConfig = Readonly<Record<string, unknown>>;

const versionAnswer = z.looseObject({ version: z.string() });
const interfaceList = z.array(z.looseObject({ iface: z.string(), type: z.string().optional() }));
const vnetList = z.array(z.looseObject({ vnet: z.string(), zone: z.string().optional() }));
const statusList = z.array(z.looseObject({ type: z.string(), quorate: flag }));
const datastoreSettings = z.looseObject({ path: z.string().optional() });

/** What a cluster says of itself, as far as whoever asks may know it. */
export interface ClusterFacts {
  readonly nodes: Asked<readonly ClusterNode[]>;
  /** Undefined where a node stands alone, or where the token may not ask. */
  readonly quorate: Asked<boolean | undefined>;
  readonly held: Asked<Held>;
  readonly vms: Asked<readonly Vm[]>;
  /** By node; only those that are online are asked. */
  readonly datastores: ReadonlyMap<string, Asked<readonly Datastore[]>>;
  /** Bridges and VNets that may be used, by node. */
  readonly bridges: ReadonlyMap<string, Asked<readonly string[]>>;
  /** The configs of the templates that were seen, by VM id. */
  readonly templates: ReadonlyMap<number, Asked<VmConfig>>;
  /** VNet → the zone that it lies in. */
  readonly zones: ReadonlyMap<string, string>;
}

/** The version of Proxmox VE. @throws ApiError, also where this is no Proxmox VE. */
export async function askVersion(api: ProxmoxApi, { proxmox: { endpoint } }: Fleet): Promise<string> {
  const answer = versionAnswer.safeParse(await api.get('/version'));
  if (answer.success) return answer.data.version;
  throw new ApiError(
    'failed',
    `${endpoint} is no API of Proxmox VE's`,
    'correct proxmox.endpoint in fleet.yaml',
  );
}

/**
 * Asks what the checks go by: a few questions for the cluster, and for each node and template that the fleet uses; none
 * for each host.
 */
export async function askCluster(api: ProxmoxApi, { hosts, proxmox }: Fleet): Promise<ClusterFacts> {
  const nodes = await asked(async () => nodeList.parse(await api.get('/nodes')));
  const isOnline = ({ status }: ClusterNode) => status === undefined || status === 'online';
  const online = new Set(
    answerOf(nodes)
      ?.filter(isOnline)
      .map(({ node }) => node),
  );
  const used = new Set(hosts.flatMap(({ node, templateNode = node }) => [node, templateNode]));
  const here = Object.keys(proxmox.nodes).filter((name) => online.has(name) && used.has(name));
  const [quorate, held, vms, zones, datastores, bridges] = await Promise.all([
    askQuorum(api),
    asked(async () => heldPrivileges.parse(await api.get('/access/permissions'))),
    asked(async () => vmList.parse(await api.get('/cluster/resources', { type: 'vm' }))),
    askZones(api),
    each(here, async (node) => datastoreList.parse(await api.get(`/nodes/${node}/storage`))),
    each(here, async (node) =>
      interfaceList
        .parse(await api.get(`/nodes/${node}/network`, { type: 'any_bridge' }))
        .map(({ iface }) => iface),
    ),
  ]);
  const wanted = new Set(hosts.map(({ template }) => template));
  const seen = (answerOf(vms) ?? []).filter(({ vmid, node }) => wanted.has(vmid) && online.has(node));
  const templates = await each(seen, async ({ node, vmid }) =>
    vmConfig.parse(await api.get(`/nodes/${node}/qemu/${vmid}/config`)),
  );
  const byId = new Map([...templates].map(([{ vmid }, config]) => [vmid, config]));
  return { nodes, quorate, held, vms, datastores, bridges, templates: byId, zones };
}

/**
 * Where datastores lie on a node, such as `/var/lib/vz`; undefined for one that has no path. The provider asks the
 * same before it uploads a snippet.
 */
export async function askPaths(
  api: ProxmoxApi,
  datastores: readonly string[],
): Promise<ReadonlyMap<string, Asked<string | undefined>>> {
  return each(datastores, async (name) => datastoreSettings.parse(await api.get(`/storage/${name}`)).path);
}

async function askQuorum(api: ProxmoxApi): Promise<Asked<boolean | undefined>> {
  try {
    const found = statusList.parse(await api.get('/cluster/status'));
    const cluster = found.find(({ type }) => type === 'cluster');
    return { answer: cluster?.quorate === undefined ? undefined : cluster.quorate === 1 };
  } catch (error) {
    // It takes Sys.Audit on /, which these stacks don't.
    if (error instanceof ApiError && error.failure === 'forbidden') return { answer: undefined };
    return failed(error);
  }
}

/** Without SDN there is nothing to ask, and who may not see a VNet can't use it either. */
async function askZones(api: ProxmoxApi): Promise<ReadonlyMap<string, string>> {
  const found = await asked(async () => vnetList.parse(await api.get('/cluster/sdn/vnets')));
  const pairs = (answerOf(found) ?? []).map(({ vnet, zone }): [string, string | undefined] => [vnet, zone]);
  return new Map(pairs.filter((pair): pair is [string, string] => pair[1] !== undefined));
}

async function each<Key, T>(
  keys: readonly Key[],
  ask: (key: Key) => Promise<T>,
): Promise<ReadonlyMap<Key, Asked<T>>> {
  return new Map(
    await Promise.all(keys.map(async (key): Promise<[Key, Asked<T>]> => [key, await asked(() => ask(key))])),
  );
}

async function asked<T>(question: () => Promise<T>): Promise<Asked<T>> {
  try {
    return { answer: await question() };
  } catch (error) {
    return failed(error);
  }
}

function failed(error: unknown): { failure: { message: string; remedy: string } } {
  if (error instanceof ApiError) return { failure: { message: error.message, remedy: error.remedy } };
  if (!(error instanceof z.ZodError)) throw error;
  return { failure: { message: 'the API answers something that this program does not know', remedy: '' } };
}
