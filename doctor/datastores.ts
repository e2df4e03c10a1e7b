import type { Fleet, Host } from '../fleet/fleet';
import { answerOf, type ClusterFacts, type Datastore } from './cluster-facts';
import { holds } from './privileges';
import { ok, problem, type Result, skipped, unknown, warning } from './result';
import { GIB, inGib } from './sizes';
import { bootDisk } from './templates';

interface Use {
  readonly node: string;
  readonly name: string;
  readonly content: 'snippets' | 'images';
}

/**
 * Whether the datastores that the hosts use are on their nodes and take what is put there.
 *
 * @param planned The hosts that are not deployed yet: their disks have to fit.
 * @param readOnly Only what `hostkey drift` looks into: the datastores of the snippets.
 */
export function judgeDatastores(
  { hosts }: Pick<Fleet, 'hosts'>,
  facts: ClusterFacts,
  planned: readonly Host[],
  readOnly: boolean,
): Result[] {
  const uses = usesOf(hosts).filter(({ content }) => !readOnly || content === 'snippets');
  const nodes = [...new Set(uses.map(({ node }) => node))];
  return nodes.flatMap((node) => {
    const asked = facts.datastores.get(node);
    const id = `api.datastores.${node}`;
    if (asked === undefined) {
      return [skipped(id, `datastores of ${node}: not asked, since the node is not online`)];
    }
    if ('failure' in asked) return [unknown(id, asked.failure.message, asked.failure.remedy)];
    return uses
      .filter((use) => use.node === node)
      .flatMap((use) => {
        const result = judgeUse(use, asked.answer, facts, readOnly);
        return [result, ...(result.status === 'ok' ? judgeSpace(use, asked.answer, facts, planned) : [])];
      });
  });
}

function usesOf(hosts: readonly Host[]): Use[] {
  const uses = new Map<string, Use>();
  const use = (each: Use) => uses.set(idOf(each), each);
  for (const { node, snippets, disk } of hosts) {
    use({ node, name: snippets, content: 'snippets' });
    use({ node, name: disk, content: 'images' });
  }
  return [...uses.values()];
}

const idOf = ({ node, name, content }: Use): string => `api.datastore.${node}.${name}.${content}`;

function judgeUse(use: Use, found: readonly Datastore[], facts: ClusterFacts, readOnly: boolean): Result {
  const { node, name, content } = use;
  const id = idOf(use);
  const datastore = found.find(({ storage }) => storage === name);
  if (datastore === undefined) {
    const held = answerOf(facts.held);
    const mayLook = ['Datastore.Audit', 'Datastore.AllocateSpace'].some(
      (privilege) => held === undefined || holds(held, `/storage/${name}`, privilege),
    );
    const others = found.map(({ storage }) => storage).join(', ') || 'none';
    return mayLook
      ? problem(
          id,
          `${node} has no datastore ${name}; this token sees ${others}`,
          'correct fleet.yaml, or on a node, as root: pvesm status',
        )
      : skipped(id, `datastore ${name} on ${node}: not seen; the token may not look at it, if it is there`);
  }
  if (datastore.enabled === 0) {
    return problem(id, `datastore ${name} is disabled`, `on a node, as root: pvesm set ${name} --disable 0`);
  }
  if (datastore.active === 0) {
    return problem(
      id,
      `datastore ${name} is not active on ${node}`,
      `on ${node}, as root: pvesm status --storage ${name}`,
    );
  }
  if (readOnly || datastore.content.includes(content)) {
    return ok(id, `datastore ${name} on ${node} ${readOnly ? 'is seen' : `takes ${content}`}`);
  }
  return problem(
    id,
    `datastore ${name} on ${node} takes no ${content}, only ${datastore.content.join(', ')}`,
    `on a node, as root: pvesm set ${name} --content ${[...datastore.content, content].join(',')}`,
  );
}

/** Whether the disks of the hosts to come fit. Thin pools hold more than they have, so this is only worth a look. */
function judgeSpace(
  use: Use,
  found: readonly Datastore[],
  { templates }: ClusterFacts,
  planned: readonly Host[],
): Result[] {
  const { node, name, content } = use;
  const avail = found.find(({ storage }) => storage === name)?.avail;
  if (content !== 'images' || avail === undefined) return [];
  const sizes = planned
    // A linked clone shares its template's disk.
    .filter((host) => host.node === node && host.disk === name && host.fullClone)
    .map((host) => {
      const config = answerOf(templates.get(host.template));
      const template = config && bootDisk(config, host.diskInterface)?.size;
      return host.diskSize === undefined ? (template ?? 0) : host.diskSize * GIB;
    });
  const wanted = sizes.reduce((sum, size) => sum + size, 0);
  if (wanted <= avail) return [];
  const hosts = sizes.length === 1 ? 'the host to come takes' : `the ${sizes.length} hosts to come take`;
  return [
    warning(
      `api.space.${node}.${name}`,
      `datastore ${name} on ${node} has ${inGib(avail)} free, and ${hosts} up to ${inGib(wanted)}`,
      `on ${node}, as root: pvesm status --storage ${name}`,
    ),
  ];
}
