import type { Fleet } from '../fleet/fleet';

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

/**
 * What the stacks of a fleet need; the e2e tests deploy with exactly this.
 *
 * @param readOnly What `hostkey drift` needs.
 */
export function needsOf({ hosts }: Fleet, readOnly: boolean): Need[] {
  const needs = new Map<string, Set<string>>();
  const need = (path: string, ...privileges: readonly string[]) => {
    needs.set(path, new Set([...(needs.get(path) ?? []), ...privileges]));
  };
  for (const host of hosts) {
    need(`/vms/${host.vmId}`, ...(readOnly ? ['VM.Audit'] : VM));
    need(`/storage/${host.snippets}`, 'Datastore.Audit');
    if (readOnly) continue;
    need(`/vms/${host.template}`, 'VM.Audit', 'VM.Clone');
    need(`/storage/${host.snippets}`, 'Datastore.Allocate');
    need(`/storage/${host.disk}`, 'Datastore.AllocateSpace', 'Datastore.Audit');
    const zone = `/sdn/zones/localnetwork/${host.bridge}`;
    need(host.vlan === undefined ? zone : `${zone}/${host.vlan}`, 'SDN.Use');
  }
  return [...needs].map(([path, privileges]) => ({ path, privileges: [...privileges].sort() }));
}

/** `GET /access/permissions`: path → privilege → whether it holds for what is below, too. */
export type Held = Readonly<Record<string, Readonly<Record<string, number>>>>;

/** What of the needs isn't held. */
export function missingPrivileges(needs: readonly Need[], held: Held): Need[] {
  return needs.flatMap(({ path, privileges }) => {
    const missing = privileges.filter((privilege) => !isHeld(path, privilege, held));
    return missing.length === 0 ? [] : [{ path, privileges: missing }];
  });
}

/** The path itself, and what is above it as far as it is handed down. */
function isHeld(path: string, privilege: string, held: Held): boolean {
  if (held[path]?.[privilege] !== undefined) return true;
  const steps = path.split('/').slice(1, -1);
  const above = ['/', ...steps.map((_, i) => `/${steps.slice(0, i + 1).join('/')}`)];
  return above.some((each) => (held[each]?.[privilege] ?? 0) > 0);
}

const ROLES: readonly [RegExp, string, string][] = [
  [/^\/vms\//, 'HostkeyVM', '/vms'],
  [/^\/sdn\//, 'HostkeyNetwork', ''],
  [/^\/storage\//, 'HostkeyStorage', ''],
];

/** What to type on a node, as root, so that somebody is allowed what is missing. */
export function grantCommands(missing: readonly Need[], user: string): string[] {
  const wanted = new Map<string, { role: string; privileges: Set<string> }>();
  for (const { path, privileges } of missing) {
    const [, role = 'Hostkey', above = ''] = ROLES.find(([pattern]) => pattern.test(path)) ?? [];
    const where = above || path;
    const entry = wanted.get(where) ?? {
      role: where === above ? role : `${role}-${path.split('/').at(-1)}`,
      privileges: new Set(),
    };
    for (const privilege of privileges) entry.privileges.add(privilege);
    wanted.set(where, entry);
  }
  return [...wanted].map(([path, { role, privileges }]) => {
    const names = [...privileges].sort().join(' ');
    const make = `pveum role add ${role} --privs "${names}" || pveum role modify ${role} --append 1 --privs "${names}"`;
    return `${make}; pveum acl modify ${path} --users ${user} --roles ${role}`;
  });
}
