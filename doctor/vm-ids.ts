import type { Host } from '../fleet/fleet';
import type { Vm } from './cluster-facts';
import { ok, problem, type Result, warning } from './result';

/**
 * Whether the VM ids of the hosts that aren't deployed yet are free, and no other VM has their name. A VM that the
 * token may not look at isn't seen; that it may look at these ids is among the privileges.
 */
export function judgeVmIds(planned: readonly Host[], vms: readonly Vm[]): Result[] {
  const byId = new Map(vms.map((vm) => [vm.vmid, vm]));
  const byName = new Map(vms.map((vm) => [vm.name, vm]));
  const taken = planned.flatMap((host): Result[] => {
    const vm = byId.get(host.vmId);
    if (vm === undefined) return [];
    const known = vm.name === host.name ? `, and there is no state of it` : '';
    return [
      problem(
        `api.vm-id.${host.vmId}`,
        `VM id ${host.vmId} of ${host.name} is taken by ${vm.name ?? 'a VM without a name'} on ${vm.node}${known}`,
        known === ''
          ? `give ${host.name} another vmId in fleet.yaml`
          : `bring its state back, or on ${vm.node}, as root, if nobody needs this VM: qm destroy ${vm.vmid}`,
      ),
    ];
  });
  const twins = planned.flatMap((host): Result[] => {
    const vm = byName.get(host.name);
    return vm === undefined || vm.vmid === host.vmId
      ? []
      : [
          warning(
            `api.vm-name.${host.name}`,
            `VM ${vm.vmid} on ${vm.node} is called ${host.name}, too`,
            `rename one of them, on ${vm.node}, as root: qm set ${vm.vmid} --name NAME`,
          ),
        ];
  });
  if (taken.length > 0 || planned.length === 0) return [...taken, ...twins];
  const what =
    planned.length === 1 ? `VM id ${planned[0]?.vmId} is free` : `${planned.length} VM ids are free`;
  return [ok('api.vm-ids', `${what} for the hosts to come`), ...twins];
}
