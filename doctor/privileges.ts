import type { Fleet } from '../fleet/fleet';
import type { Credentials } from '../proxmox/environment';
import type { Held } from './cluster-facts';
import { ok, problem, type Result } from './result';

/** What somebody has to be allowed, where. */
export interface Need {
  /** A path of Proxmox VE's access control: `/vms/283`. */
  readonly path: string;
  readonly privileges: readonly string[];
}

const VM = [
  'VM.Allocate',
  'VM.Audit',
  'VM.Config.CDROM',
  'VM.Config.CPU',
  'VM.Config.Cloudinit',
  'VM.Config.Disk',
  'VM.Config.Memory',
  'VM.Config.Network',
  'VM.Config.Options',
  'VM.PowerMgmt',
];

/** The zone of every bridge that is no VNet. */
const LOCAL_ZONE = 'localnetwork';

/**
 * What the stacks of a fleet need; the e2e tests deploy with exactly this.
 *
 * @param readOnly What `hostkey drift` needs.
 * @param zones VNet → the zone that it lies in.
 */
export function needsOf(
  { hosts }: Pick<Fleet, 'hosts'>,
  readOnly: boolean,
  zones: ReadonlyMap<string, string> = new Map(),
): Need[] {
  const needs = new Map<string, Set<string>>();
  const need = (path: string, ...privileges: readonly string[]) => {
    const known = needs.get(path) ?? new Set();
    for (const privilege of privileges) known.add(privilege);
    needs.set(path, known);
  };
  for (const host of hosts) {
    need(`/vms/${host.vmId}`, ...(readOnly ? ['VM.Audit'] : VM));
    need(`/storage/${host.snippets}`, 'Datastore.Audit');
    if (readOnly) continue;
    need(`/vms/${host.template}`, 'VM.Audit', 'VM.Clone');
    need(`/storage/${host.snippets}`, 'Datastore.Allocate');
    need(`/storage/${host.disk}`, 'Datastore.AllocateSpace', 'Datastore.Audit');
    need(bridgePath(host.bridge, host.vlan, zones), 'SDN.Use');
  }
  return [...needs].map(([path, privileges]) => ({ path, privileges: [...privileges].sort() }));
}

/** Where the use of a bridge, or of a VLAN on it, is allowed. */
export function bridgePath(
  bridge: string,
  vlan: number | undefined,
  zones: ReadonlyMap<string, string>,
): string {
  const path = `/sdn/zones/${zones.get(bridge) ?? LOCAL_ZONE}/${bridge}`;
  return vlan === undefined ? path : `${path}/${vlan}`;
}

/** What of the needs isn't held. */
export function missingPrivileges(needs: readonly Need[], held: Held): Need[] {
  return needs.flatMap(({ path, privileges }) => {
    const missing = privileges.filter((privilege) => !holds(held, path, privilege));
    return missing.length === 0 ? [] : [{ path, privileges: missing }];
  });
}

/**
 * Whether a privilege is held on a path: on the path itself, or, where nothing is said about that, on the nearest path
 * above, if it is handed down. What is further up doesn't count: a role on `/vms` replaces those from `/` (pveum(1),
 * Inheritance), and the API lists for each path what holds there in the end.
 */
export function holds(held: Held, path: string, privilege: string): boolean {
  const here = held[path];
  if (here !== undefined) return here[privilege] !== undefined;
  for (let above = parentOf(path); above !== undefined; above = parentOf(above)) {
    const found = held[above];
    if (found !== undefined) return (found[privilege] ?? 0) > 0;
  }
  return false;
}

function parentOf(path: string): string | undefined {
  if (path === '/') return undefined;
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

/** Whether who asks may do what the fleet needs, and what to type where not. */
export function judgePrivileges(
  needs: readonly Need[],
  held: Held,
  credentials: Credentials,
  readOnly: boolean,
): Result[] {
  const id = 'api.privileges';
  const missing = missingPrivileges(needs, held);
  const who = credentials.kind === 'none' ? 'nobody' : credentials.user;
  const what = readOnly ? 'what hostkey drift needs' : 'what this fleet needs';
  if (missing.length === 0) return [ok(id, `${who} may do ${what}`)];
  const groups = grouped(missing);
  const list = groups.slice(0, 5).map(({ privileges, paths }) => {
    const more = paths.length > 3 ? `, and ${paths.length - 3} more` : '';
    return `${privileges.join(' ')} on ${paths.slice(0, 3).join(', ')}${more}`;
  });
  const rest = groups.length > list.length ? '; and more' : '';
  return [
    problem(
      id,
      `${who} lacks ${list.join('; ')}${rest}`,
      ['on a node, as root:', ...grantCommands(missing, needs, held, credentials)].join('\n'),
    ),
  ];
}

/** A thousand hosts lack the same on a thousand paths: that is said once. */
function grouped(missing: readonly Need[]): { privileges: readonly string[]; paths: string[] }[] {
  const groups = new Map<string, { privileges: readonly string[]; paths: string[] }>();
  for (const { path, privileges } of missing) {
    const key = `${path.split('/')[1]} ${privileges.join(' ')}`;
    const group = groups.get(key) ?? { privileges, paths: [] };
    group.paths.push(path);
    groups.set(key, group);
  }
  return [...groups.values()];
}

/**
 * What to type on a node, as root, so that somebody is allowed what is missing. VMs are allowed all together on
 * `/vms`, unless somebody has allowed this VM something of its own, which hides what holds for all. For the same reason
 * a role holds all that is needed on its path, rather than what is missing there.
 */
export function grantCommands(
  missing: readonly Need[],
  needs: readonly Need[],
  held: Held,
  credentials: Credentials,
): string[] {
  const roles = new Map<string, Set<string>>();
  for (const { path } of missing) {
    const place = placeOf(path, held);
    const role = roleOf(place);
    roles.set(role, (roles.get(role) ?? new Set()).add(place));
  }
  return [...roles].flatMap(([role, places]) => {
    const here = needs.filter(({ path }) => places.has(placeOf(path, held)));
    const names = [...new Set(here.flatMap(({ privileges }) => privileges))].sort().join(' ');
    const give = (path: string) => `pveum acl modify ${path} ${subject(credentials)} --roles ${role}`;
    const all = [...places];
    return [
      `pveum role add ${role} --privs "${names}" || pveum role modify ${role} --append 1 --privs "${names}"`,
      all.length === 1 ? give(all.join()) : `for path in ${all.join(' ')}; do ${give('$path')}; done`,
    ];
  });
}

function placeOf(path: string, held: Held): string {
  return path.startsWith('/vms/') && held[path] === undefined ? '/vms' : path;
}

/** `/storage/local` → `HostkeyStorage-local`, `/sdn/zones/localnetwork/vmbr0/42` → `HostkeyNetwork-vmbr0`. */
function roleOf(place: string): string {
  const [, kind, name, , bridge] = place.split('/');
  if (kind === 'vms') return 'HostkeyVM';
  return kind === 'sdn' ? `HostkeyNetwork-${bridge}` : `HostkeyStorage-${name}`;
}

/** A token with privilege separation may do what both it and its user may; for one without, the user's is enough. */
function subject(credentials: Credentials): string {
  if (credentials.kind === 'none') return '--users USER';
  const users = `--users ${credentials.user}`;
  return credentials.kind === 'token' ? `${users} --tokens '${credentials.token}'` : users;
}
