import { z } from 'zod';
import type { Fleet } from '../fleet/fleet';
import { ApiError, type ProxmoxApi } from '../proxmox/api';
import type { StateReading } from '../terraform/state';
import { grantCommands, type Held, missingPrivileges, needsOf } from './privileges';
import { ok, problem, type Result, skipped, unknown, warning } from './result';

const version = z.looseObject({ version: z.string() });
const nodes = z.array(z.looseObject({ node: z.string(), status: z.string().optional() }));
const resources = z.array(
  z.looseObject({
    vmid: z.number(),
    name: z.string().optional(),
    node: z.string(),
    template: z.coerce.number().optional(),
  }),
);
const storages = z.array(
  z.looseObject({
    storage: z.string(),
    content: z.string(),
    enabled: z.coerce.number().optional(),
    active: z.coerce.number().optional(),
  }),
);
const held: z.ZodType<Held> = z.record(z.string(), z.record(z.string(), z.coerce.number()));
const config = z.record(z.string(), z.unknown());

/** The oldest Proxmox VE whose privileges and answers these stacks were written for. */
const OLDEST = 8;

/**
 * What the API says of what the fleet needs: it answers, the token may do what is needed, and nodes, datastores,
 * templates and VM ids are as fleet.yaml has them.
 *
 * @param readOnly Only what `hostkey drift` needs.
 */
export async function checkCluster(
  api: ProxmoxApi,
  fleet: Fleet,
  states: ReadonlyMap<string, StateReading>,
  user: string,
  readOnly: boolean,
): Promise<Result[]> {
  const first = await checkVersion(api, fleet);
  if (first.status !== 'ok' && first.status !== 'warning') {
    const later = ['nodes', 'privileges', 'datastores', 'templates', 'VM ids'];
    return [
      first,
      ...later.map((what) => skipped(`api.${what}`, `${what}: not asked, since the API gives no answer`)),
    ];
  }
  const others = await Promise.all([
    asked('api.nodes', () => checkNodes(api, fleet)),
    asked('api.privileges', () => checkPrivileges(api, fleet, user, readOnly)),
    asked('api.datastores', () => checkDatastores(api, fleet)),
    ...(readOnly
      ? []
      : [
          asked('api.templates', () => checkTemplates(api, fleet)),
          asked('api.vm-ids', () => checkVmIds(api, fleet, states)),
        ]),
  ]);
  return [first, ...others.flat()];
}

/** One question: what keeps it from an answer is told in its place. */
async function asked(id: string, question: () => Promise<Result[]>): Promise<Result[]> {
  try {
    return await question();
  } catch (error) {
    if (error instanceof ApiError) return [unknown(id, error.message, error.remedy)];
    if (error instanceof z.ZodError)
      return [unknown(id, 'the API answers something that this program does not know')];
    throw error;
  }
}

async function checkVersion(api: ProxmoxApi, { proxmox: { endpoint } }: Fleet): Promise<Result> {
  const id = 'api.answers';
  try {
    const { version: number } = version.parse(await api.get('/version'));
    const what = `Proxmox VE ${number} at ${endpoint}`;
    return Number.parseInt(number, 10) < OLDEST
      ? warning(
          id,
          `${what} is older than what this was made for`,
          `upgrade to Proxmox VE ${OLDEST} or newer`,
        )
      : ok(id, what);
  } catch (error) {
    if (error instanceof ApiError) return problem(id, error.message, error.remedy);
    if (error instanceof z.ZodError)
      return problem(id, `${endpoint} is no API of Proxmox VE's`, 'correct proxmox.endpoint in fleet.yaml');
    throw error;
  }
}

async function checkNodes(api: ProxmoxApi, fleet: Fleet): Promise<Result[]> {
  const found = new Map(nodes.parse(await api.get('/nodes')).map(({ node, status }) => [node, status]));
  return Object.keys(fleet.proxmox.nodes).map((name) => {
    const id = `api.node.${name}`;
    if (!found.has(name))
      return problem(
        id,
        `the cluster has no node ${name}; it has ${[...found.keys()].join(', ')}`,
        'correct proxmox.nodes in fleet.yaml',
      );
    const status = found.get(name);
    return status === undefined || status === 'online'
      ? ok(id, `node ${name} is there`)
      : problem(id, `node ${name} is ${status}`, `start node ${name}`);
  });
}

async function checkPrivileges(
  api: ProxmoxApi,
  fleet: Fleet,
  user: string,
  readOnly: boolean,
): Promise<Result[]> {
  const id = 'api.privileges';
  const missing = missingPrivileges(
    needsOf(fleet, readOnly),
    held.parse(await api.get('/access/permissions')),
  );
  const what = readOnly ? 'what hostkey drift needs' : 'what this fleet needs';
  if (missing.length === 0) return [ok(id, `${user} may do ${what}`)];
  const list = missing.slice(0, 5).map(({ path, privileges }) => `${privileges.join(' ')} on ${path}`);
  const more = missing.length > list.length ? `, and on ${missing.length - list.length} more paths` : '';
  return [
    problem(
      id,
      `${user} lacks ${list.join('; ')}${more}`,
      ['on a node, as root:', ...grantCommands(missing, user)].join('\n'),
    ),
  ];
}

async function checkDatastores(api: ProxmoxApi, { hosts }: Fleet): Promise<Result[]> {
  const uses = new Map<
    string,
    { readonly node: string; readonly name: string; readonly content: 'snippets' | 'images' }
  >();
  for (const { node, snippets, disk } of hosts) {
    uses.set(`${node}/${snippets}/snippets`, { node, name: snippets, content: 'snippets' });
    uses.set(`${node}/${disk}/images`, { node, name: disk, content: 'images' });
  }
  const onNode = new Map<string, z.infer<typeof storages>>();
  for (const node of new Set([...uses.values()].map((use) => use.node))) {
    onNode.set(node, storages.parse(await api.get(`/nodes/${node}/storage`)));
  }
  return [...uses.values()].map(({ node, name, content }) => {
    const id = `api.datastore.${node}.${name}.${content}`;
    const found = onNode.get(node)?.find(({ storage }) => storage === name);
    if (found === undefined) {
      const names = (onNode.get(node) ?? []).map(({ storage }) => storage).join(', ') || 'none';
      return problem(
        id,
        `${node} has no datastore ${name} that this token may see; it sees ${names}`,
        'correct fleet.yaml, or give the token Datastore.Audit there',
      );
    }
    if (found.enabled === 0 || found.active === 0)
      return problem(id, `datastore ${name} is not active on ${node}`, `pvesm status --storage ${name}`);
    const contents = found.content.split(',');
    return contents.includes(content)
      ? ok(id, `datastore ${name} on ${node} takes ${content}`)
      : problem(
          id,
          `datastore ${name} on ${node} takes no ${content}`,
          `on a node, as root: pvesm set ${name} --content ${[...contents, content].join(',')}`,
        );
  });
}

async function checkTemplates(api: ProxmoxApi, { hosts }: Fleet): Promise<Result[]> {
  const found = resources.parse(await api.get('/cluster/resources', { type: 'vm' }));
  const wanted = new Map(hosts.map((host) => [host.template, host]));
  return Promise.all(
    [...wanted].map(async ([vmId, host]): Promise<Result> => {
      const id = `api.template.${vmId}`;
      const vm = found.find(({ vmid }) => vmid === vmId);
      const node = host.templateNode ?? host.node;
      if (vm === undefined)
        return problem(
          id,
          `there is no template ${vmId} that this token may see`,
          'make it, correct fleet.yaml, or give the token VM.Audit and VM.Clone there',
        );
      if (vm.template !== 1)
        return problem(id, `VM ${vmId} is no template`, `on ${vm.node}, as root: qm template ${vmId}`);
      if (vm.node !== node)
        return problem(
          id,
          `template ${vmId} lies on ${vm.node}, not on ${node}`,
          `write templateNode: ${vm.node} into fleet.yaml`,
        );
      const settings = config.parse(await api.get(`/nodes/${vm.node}/qemu/${vmId}/config`));
      return templateSlot(id, vmId, vm.node, host.diskInterface, settings);
    }),
  );
}

/** Where the cloud-init drive of a clone goes: the one that the template has, or ide2. */
function templateSlot(
  id: string,
  vmId: number,
  node: string,
  disk: string,
  settings: Readonly<Record<string, unknown>>,
): Result {
  const drives = Object.entries(settings).filter(([key]) => /^(ide|sata|scsi|virtio)\d+$/.test(key));
  const cloudInit = drives.find(([, drive]) => /cloudinit/.test(String(drive)));
  const taken = drives.find(([key]) => key === 'ide2');
  if (cloudInit === undefined && taken !== undefined) {
    return problem(
      id,
      `template ${vmId} has another drive at ide2, where the cloud-init drive goes`,
      `on ${node}, as root: qm set ${vmId} --delete ide2`,
    );
  }
  if (!drives.some(([key]) => key === disk)) {
    const names = drives.map(([key]) => key).join(', ') || 'none';
    return problem(
      id,
      `template ${vmId} has no disk at ${disk}; its drives are ${names}`,
      'write the right diskInterface into fleet.yaml',
    );
  }
  return ok(
    id,
    `template ${vmId} on ${node} has ${cloudInit === undefined ? 'room for a cloud-init drive' : `a cloud-init drive at ${cloudInit[0]}`}`,
  );
}

async function checkVmIds(
  api: ProxmoxApi,
  { hosts }: Fleet,
  states: ReadonlyMap<string, StateReading>,
): Promise<Result[]> {
  const planned = hosts.filter(({ name }) => states.get(name)?.status === 'absent');
  const found = resources.parse(await api.get('/cluster/resources', { type: 'vm' }));
  const taken = planned.flatMap((host) => {
    const vm = found.find(({ vmid }) => vmid === host.vmId);
    return vm === undefined
      ? []
      : [
          problem(
            `api.vm-id.${host.vmId}`,
            `VM id ${host.vmId} of ${host.name} is taken by ${vm.name ?? 'a VM without a name'} on ${vm.node}`,
            `give ${host.name} another vmId in fleet.yaml`,
          ),
        ];
  });
  const twins = planned.flatMap((host) => {
    const vm = found.find(({ name, vmid }) => name === host.name && vmid !== host.vmId);
    return vm === undefined
      ? []
      : [
          warning(
            `api.vm-name.${host.name}`,
            `VM ${vm.vmid} on ${vm.node} is called ${host.name}, too`,
            'rename one of them',
          ),
        ];
  });
  if (taken.length > 0) return [...taken, ...twins];
  return [
    ok(
      'api.vm-ids',
      planned.length === 0
        ? 'every host is deployed'
        : `the VM ids of ${planned.length} hosts to come are free, as far as this token sees`,
    ),
    ...twins,
  ];
}
