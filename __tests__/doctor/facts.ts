import type { ClusterFacts, Datastore, VmConfig } from '../../doctor/cluster-facts';
import { needsOf } from '../../doctor/privileges';
import type { Fleet } from '../../fleet/fleet';
import { fleetOf, parse } from '../fleet/samples';

/** A fleet of hosts in flow form on the nodes pve1 and pve2. */
export const fleet = (...hosts: string[]): Fleet => parse(fleetOf(...hosts));

/** A token that may do all that a fleet needs, and nothing else. */
export function heldFor(of: Fleet): Record<string, Record<string, number>> {
  return Object.fromEntries(
    needsOf(of, false).map(({ path, privileges }) => [
      path,
      Object.fromEntries(privileges.map((each) => [each, 1])),
    ]),
  );
}

export const GIB = 2 ** 30;

export const datastore = (storage: string, more: Partial<Datastore> = {}): Datastore => ({
  storage,
  content: storage === 'local' ? ['snippets', 'iso'] : ['images'],
  enabled: 1,
  active: 1,
  shared: 0,
  avail: 100 * GIB,
  ...more,
});

export const TEMPLATE: VmConfig = {
  ide2: 'local-lvm:vm-9000-cloudinit,media=cdrom',
  scsi0: 'local-lvm:base-9000-disk-0,discard=on,size=3G',
  scsihw: 'virtio-scsi-single',
};

export const CREDENTIALS = {
  kind: 'token',
  user: 'terraform@pve',
  token: 'terraform@pve!hostkey',
} as const;

/** A cluster in which all is well for a fleet. */
export function factsFor(of: Fleet, more: Partial<ClusterFacts> = {}): ClusterFacts {
  const nodes = ['pve1', 'pve2'];
  const on = <T>(value: T) => new Map(nodes.map((node) => [node, { answer: value }]));
  return {
    nodes: { answer: nodes.map((node) => ({ node, status: 'online' })) },
    quorate: { answer: true },
    held: { answer: heldFor(of) },
    vms: { answer: [{ vmid: 9000, name: 'debian', node: 'pve1', template: 1 }] },
    datastores: on([datastore('local'), datastore('local-lvm')]),
    bridges: on(['vmbr0']),
    templates: new Map([[9000, { answer: TEMPLATE }]]),
    zones: new Map(),
    ...more,
  };
}
