import type { Fleet, Host } from '../fleet/fleet';
import { answerOf, type ClusterFacts } from './cluster-facts';
import { bridgePath, holds } from './privileges';
import { ok, problem, type Result, skipped, unknown } from './result';

/** Whether the bridges and VNets that the hosts are plugged into are on their nodes. */
export function judgeBridges({ hosts }: Pick<Fleet, 'hosts'>, facts: ClusterFacts): Result[] {
  const nodes = [...new Set(hosts.map(({ node }) => node))];
  return nodes.flatMap((node) => {
    const asked = facts.bridges.get(node);
    const id = `api.bridges.${node}`;
    if (asked === undefined)
      return [skipped(id, `bridges of ${node}: not asked, since the node is not online`)];
    if ('failure' in asked) return [unknown(id, asked.failure.message, asked.failure.remedy)];
    const uses = new Map(hosts.filter((host) => host.node === node).map((host) => [host.bridge, host]));
    return [...uses.values()].map((host) => judgeBridge(host, asked.answer, facts));
  });
}

function judgeBridge({ node, bridge, vlan }: Host, found: readonly string[], facts: ClusterFacts): Result {
  const id = `api.bridge.${node}.${bridge}`;
  if (found.includes(bridge)) return ok(id, `bridge ${bridge} is on ${node}`);
  const held = answerOf(facts.held);
  const path = bridgePath(bridge, vlan, facts.zones);
  if (held !== undefined && !holds(held, path, 'SDN.Use')) {
    return skipped(id, `bridge ${bridge} on ${node}: not seen; the token may not use it, if it is there`);
  }
  return problem(
    id,
    `${node} has no bridge ${bridge}; it has ${found.join(', ') || 'none that this token sees'}`,
    `make it (${node} → System → Network), or correct bridge in fleet.yaml`,
  );
}
