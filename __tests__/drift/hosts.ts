import type { Fleet, Host } from '../../fleet/fleet';
import { parseFleet } from '../../fleet/load';

/** A fleet as the loader makes it, on an empty disk. */
export function fleetWith(hosts: Readonly<Record<string, object>>, more: object = {}): Fleet {
  const fleet = {
    proxmox: { endpoint: 'https://pve1.example.net:8006/', nodes: { pve1: { address: '192.0.2.11' } } },
    defaults: { node: 'pve1', template: 9000, disk: 'local-lvm', snippets: 'local' },
    hosts,
    ...more,
  };
  return parseFleet(JSON.stringify(fleet, null, 2), { file: 'fleet.yaml', root: '/repo' });
}

export function aHost(): Host {
  const [host] = fleetWith({ 'mqtt-01': { vmId: 283, address: '192.0.2.83/24' } }).hosts;
  if (host === undefined) throw new Error('no host');
  return host;
}
