import type { Fleet, Host } from '../fleet/fleet';
import type { Credentials } from '../proxmox/environment';
import { answerOf, type ClusterFacts, type Vm, type VmConfig } from './cluster-facts';
import { grantCommands, holds, needsOf } from './privileges';
import { ok, problem, type Result, skipped, unknown } from './result';
import { diskSize, GIB, inGib } from './sizes';

interface Drive {
  /** Where it is plugged in: `scsi0`. */
  readonly slot: string;
  /** `local-lvm:base-9000-disk-0`. */
  readonly volume: string;
  readonly kind: 'disk' | 'cloud-init' | 'CD-ROM';
  /** Bytes. */
  readonly size: number | undefined;
}

/**
 * Whether the templates can be cloned into these hosts: they are templates, lie where fleet.yaml says, have the disk
 * that is to grow, and a place for the cloud-init drive.
 */
export function judgeTemplates(
  { hosts }: Pick<Fleet, 'hosts'>,
  vms: readonly Vm[],
  facts: ClusterFacts,
  credentials: Credentials,
): Result[] {
  const uses = new Map<number, Host[]>();
  for (const host of hosts) uses.set(host.template, [...(uses.get(host.template) ?? []), host]);
  return [...uses].flatMap(([vmId, users]) => {
    const vm = vms.find(({ vmid }) => vmid === vmId);
    if (vm === undefined) return [unseen(vmId, facts)];
    const found = judgeTemplate(vm, users, facts);
    return found.length > 0 ? found : judgeClone(vm, users, facts, credentials);
  });
}

const idOf = (vmId: number): string => `api.template.${vmId}`;

function unseen(vmId: number, { held: asked }: ClusterFacts): Result {
  const held = answerOf(asked);
  return held !== undefined && !holds(held, `/vms/${vmId}`, 'VM.Audit')
    ? skipped(idOf(vmId), `template ${vmId}: not seen, since the token may not look at it`)
    : problem(
        idOf(vmId),
        `there is no template ${vmId}`,
        'make one (qm template), or correct template in fleet.yaml',
      );
}

/** What is wrong with the VM as such; nothing where it can be looked into. */
function judgeTemplate(
  { vmid, node, template, name }: Vm,
  users: readonly Host[],
  facts: ClusterFacts,
): Result[] {
  const id = idOf(vmid);
  if (template !== 1) {
    return [
      problem(
        id,
        `VM ${vmid} (${name ?? 'without a name'}) is no template`,
        `on ${node}, as root: qm template ${vmid}`,
      ),
    ];
  }
  const elsewhere = users.find((host) => (host.templateNode ?? host.node) !== node);
  if (elsewhere !== undefined) {
    return [
      problem(
        id,
        `template ${vmid} lies on ${node}, and ${elsewhere.name} looks for it on ${elsewhere.templateNode ?? elsewhere.node}`,
        `write templateNode: ${node} into fleet.yaml`,
      ),
    ];
  }
  const asked = facts.templates.get(vmid);
  if (asked === undefined) return [skipped(id, `template ${vmid}: not asked, since ${node} is not online`)];
  return 'failure' in asked ? [unknown(id, asked.failure.message, asked.failure.remedy)] : [];
}

/** Whether the template's drives are such that these hosts can be made of it. */
function judgeClone(
  { vmid, node }: Vm,
  users: readonly Host[],
  facts: ClusterFacts,
  credentials: Credentials,
): Result[] {
  const id = idOf(vmid);
  const drives = drivesOf(answerOf(facts.templates.get(vmid)) ?? {});
  const disks = drives.filter(({ kind }) => kind === 'disk');
  if (disks.length === 0) {
    return [
      problem(id, `template ${vmid} has no disk`, 'make it from an image: qm importdisk, then qm template'),
    ];
  }
  const cloudInit = drives.find(({ kind }) => kind === 'cloud-init');
  // The provider takes the place of a CD-ROM there, and of a disk, too.
  if (cloudInit === undefined && disks.some(({ slot }) => slot === 'ide2')) {
    return [
      problem(
        id,
        `template ${vmid} has a disk at ide2, which the cloud-init drive would take the place of`,
        `on ${node}, as root: qm set ${vmid} --scsi1 ${disks.find(({ slot }) => slot === 'ide2')?.volume} --delete ide2`,
      ),
    ];
  }
  const wrong = users.flatMap((host) => growing(host, disks) ?? [])[0];
  if (wrong !== undefined) return [problem(id, `template ${vmid} ${wrong.message}`, wrong.remedy)];
  const migration = migrating(vmid, node, users, disks, facts, credentials);
  if (migration !== undefined) return [migration];
  const place =
    cloudInit === undefined ? 'room for a cloud-init drive' : `a cloud-init drive at ${cloudInit.slot}`;
  return [ok(id, `template ${vmid} on ${node} has ${place}`)];
}

/** A disk is named only where it is to grow. */
function growing(
  { name, diskInterface, diskSize: wanted }: Host,
  disks: readonly Drive[],
): { message: string; remedy: string } | undefined {
  if (wanted === undefined) return undefined;
  const disk = disks.find(({ slot }) => slot === diskInterface);
  if (disk === undefined) {
    const slots = disks.map(({ slot }) => slot).join(', ');
    return {
      message: `has no disk at ${diskInterface}, which ${name} grows; it has ${slots}`,
      remedy: `write diskInterface: ${disks[0]?.slot} into fleet.yaml`,
    };
  }
  return disk.size === undefined || disk.size <= wanted * GIB
    ? undefined
    : {
        message: `has ${inGib(disk.size)} at ${diskInterface}, and ${name} wants ${wanted} GiB: a disk can't shrink`,
        remedy: `write diskSize: ${Math.ceil(disk.size / GIB)} or more into fleet.yaml`,
      };
}

/**
 * A clone for another node is made beside its template and migrated, unless all datastores of the template are shared
 * (bpg/proxmox 0.111, proxmoxtf/resource/vm/vm.go, vmCreateClone).
 */
function migrating(
  vmId: number,
  node: string,
  users: readonly Host[],
  disks: readonly Drive[],
  facts: ClusterFacts,
  credentials: Credentials,
): Result | undefined {
  const held = answerOf(facts.held);
  const datastores = answerOf(facts.datastores.get(node));
  if (held === undefined || datastores === undefined) return undefined;
  const names = disks.map(({ volume }) => volume.split(':')[0] ?? '');
  const local = names.find((name) => datastores.find(({ storage }) => storage === name)?.shared !== 1);
  const lacking = users.filter(
    (host) => host.node !== node && !holds(held, `/vms/${host.vmId}`, 'VM.Migrate'),
  );
  if (local === undefined || lacking.length === 0) return undefined;
  const missing = lacking.map((host) => ({ path: `/vms/${host.vmId}`, privileges: ['VM.Migrate'] }));
  return problem(
    idOf(vmId),
    `template ${vmId} lies on ${node}, on ${local}, which is not shared: ${lacking[0]?.name} is made there and migrated, which takes VM.Migrate`,
    [
      'on a node, as root:',
      ...grantCommands(missing, [...needsOf({ hosts: users }, false), ...missing], held, credentials),
    ].join('\n'),
  );
}

function drivesOf(config: VmConfig): Drive[] {
  return Object.entries(config).flatMap(([slot, value]) => {
    if (!/^(ide|sata|scsi|virtio)\d+$/.test(slot)) return [];
    const text = String(value);
    const [volume = ''] = text.split(',');
    const kind = /(:|-)cloudinit(\.\w+)?$/.test(volume)
      ? 'cloud-init'
      : /,media=cdrom/.test(text)
        ? 'CD-ROM'
        : 'disk';
    return [{ slot, volume, kind, size: diskSize(text) } satisfies Drive];
  });
}

/** The disk that a host's VM starts from: the one that it names, else the first. */
export function bootDisk(config: VmConfig, slot: string): Drive | undefined {
  const disks = drivesOf(config).filter(({ kind }) => kind === 'disk');
  return disks.find((disk) => disk.slot === slot) ?? disks[0];
}
