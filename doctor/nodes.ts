import type { Fleet } from '../fleet/fleet';
import type { ClusterNode } from './cluster-facts';
import { ok, problem, type Result, warning } from './result';

/** Whether the nodes of the fleet are there and online. A node that no host uses is only worth a look. */
export function judgeNodes({ hosts, proxmox }: Fleet, nodes: readonly ClusterNode[]): Result[] {
  const found = new Map(nodes.map(({ node, status }) => [node, status]));
  const used = new Set(hosts.flatMap(({ node, templateNode = node }) => [node, templateNode]));
  return Object.keys(proxmox.nodes).map((name) => {
    const id = `api.node.${name}`;
    const bad = used.has(name) ? problem : warning;
    if (!found.has(name)) {
      return bad(
        id,
        `the cluster has no node ${name}; it has ${[...found.keys()].join(', ')}`,
        'correct proxmox.nodes in fleet.yaml',
      );
    }
    const status = found.get(name);
    return status === undefined || status === 'online'
      ? ok(id, `node ${name} is online`)
      : bad(id, `node ${name} is ${status}`, `start ${name}, or on another node: pvecm status`);
  });
}

/** Without a quorum a cluster can be looked at, and nothing more. */
export function judgeQuorum(quorate: boolean | undefined, readOnly: boolean): Result[] {
  if (quorate === undefined) return [];
  if (quorate) return [ok('api.quorum', 'the cluster has its quorum')];
  const bad = readOnly ? warning : problem;
  return [
    bad('api.quorum', 'the cluster has no quorum, and so refuses every change', 'on a node: pvecm status'),
  ];
}
