import type { DriftReport, Finding, HostReport, Status } from '../report';

/** What the reports have in common: the same things are called the same in each. */

export const STATUS_WORDS: Readonly<Record<Status, string>> = {
  clean: 'no drift',
  drift: 'drift',
  unknown: 'could not tell',
};

/** Every finding, the fleet's own first. */
export const allFindings = (report: DriftReport): readonly Finding[] => [
  ...report.findings,
  ...report.hosts.flatMap(({ findings }) => findings),
];

export const isOpen = ({ accepted }: Finding): boolean => accepted === undefined;

/** `3 hosts: 1 clean, 1 with drift, 1 could not be told`, and what was left out. */
export function summary({ hosts, skipped, shard, findings }: DriftReport): string {
  const count = (status: Status) => hosts.filter((host) => host.status === status).length;
  const parts = [
    `${count('clean')} clean`,
    ...(count('drift') > 0 ? [`${count('drift')} with drift`] : []),
    ...(count('unknown') > 0 ? [`${count('unknown')} could not be told`] : []),
  ];
  const own = findings.filter((finding) => isOpen(finding) && finding.severity !== 'info').length;
  return [
    `${hosts.length} ${hosts.length === 1 ? 'host' : 'hosts'}: ${parts.join(', ')}`,
    ...(own > 0 ? [`${own} of the fleet itself`] : []),
    ...(shard === undefined ? [] : [`part ${shard.index} of ${shard.of}`]),
    ...(skipped.length === 0 ? [] : [`not looked at: ${skipped.join(', ')}`]),
  ].join('; ');
}

/** Where it is, for a person: `proxmox_virtual_environment_vm.proxmox_vm memory[0].dedicated`. */
export function placeOf({ resource, attribute, line }: Finding): string {
  const place = resource === undefined ? '' : line === undefined ? resource : `${resource}:${line}`;
  return [place, attribute ?? ''].filter((part) => part !== '').join(' ');
}

/** `2048 → 4096`, what should be before what is; empty where there are no values. */
export function valuesOf({ expected, actual }: Finding): string {
  if (expected === undefined && actual === undefined) return '';
  if (expected === undefined) return `is ${actual}`;
  return actual === undefined ? `expected ${expected}` : `expected ${expected}, is ${actual}`;
}

/** The hosts that somebody has to look at first. */
export function byUrgency(hosts: readonly HostReport[]): readonly HostReport[] {
  const rank: Record<Status, number> = { unknown: 1, drift: 0, clean: 2 };
  return [...hosts].sort((a, b) => rank[a.status] - rank[b.status]);
}
