import fc from 'fast-check';
import { grantCommands, holds, judgePrivileges, missingPrivileges, needsOf } from '../../doctor/privileges';
import permissions from '../../sandbox/pve/permissions.json';
import { CREDENTIALS, fleet, heldFor } from './facts';

const HELD = {
  '/': { 'Sys.Audit': 1, 'VM.Audit': 1 },
  '/vms': { 'VM.Clone': 1, 'VM.Config.Disk': 0 },
  '/vms/283': {},
};

test.each([
  ['/', 'Sys.Audit', true],
  ['/nodes/pve1', 'Sys.Audit', true],
  ['/vms', 'VM.Clone', true],
  ['/vms/284', 'VM.Clone', true],
  // A role on /vms replaces those from above.
  ['/vms/284', 'VM.Audit', false],
  // Not handed down.
  ['/vms', 'VM.Config.Disk', true],
  ['/vms/284', 'VM.Config.Disk', false],
  // What is said about a path itself hides what comes from above.
  ['/vms/283', 'VM.Clone', false],
  ['/vms/28', 'VM.Clone', true],
])('on %s, is %s held: %s', (path, privilege, expected) => {
  expect(holds(HELD, path, privilege)).toBe(expected);
});

test('the rights that the README and the sandbox give are enough for the fleet that is shipped', () => {
  const held = Object.fromEntries(
    permissions.grants.map(({ path, privileges }) => [
      path,
      Object.fromEntries(privileges.map((each) => [each, 1])),
    ]),
  );
  const of = fleet('mqtt-01: { vmId: 283 }', 'web-01: { vmId: 284, vlan: 42, diskSize: 8 }');
  expect(missingPrivileges(needsOf(of, false), held)).toEqual([]);
  expect(missingPrivileges(needsOf(of, true), held)).toEqual([]);
});

test('law: what is needed suffices, and no part of it is too much', () => {
  const hosts = fc.uniqueArray(
    fc.record({
      vmId: fc.integer({ min: 100, max: 200 }),
      disk: fc.constantFrom('local-lvm', 'tank'),
      snippets: fc.constantFrom('local', 'cephfs'),
      bridge: fc.constantFrom('vmbr0', 'vnet7'),
      vlan: fc.option(fc.constantFrom(7, 42), { nil: undefined }),
    }),
    { minLength: 1, maxLength: 5, selector: ({ vmId }) => vmId },
  );
  fc.assert(
    fc.property(hosts, fc.boolean(), fc.nat(), (written, readOnly, pick) => {
      const of = fleet(...written.map((host) => `h-${host.vmId}: ${JSON.stringify(host)}`));
      const needs = needsOf(of, readOnly, new Map([['vnet7', 'zone7']]));
      const all = needs.flatMap(({ path, privileges }) => privileges.map((each) => ({ path, each })));
      const held = (without?: { path: string; each: string }) =>
        Object.fromEntries(
          needs.map(({ path, privileges }) => {
            const kept = privileges.filter((each) => path !== without?.path || each !== without.each);
            return [path, Object.fromEntries(kept.map((each) => [each, 1]))];
          }),
        );
      expect(missingPrivileges(needs, held())).toEqual([]);
      const one = all[pick % all.length] as (typeof all)[number];
      expect(missingPrivileges(needs, held(one))).toEqual([{ path: one.path, privileges: [one.each] }]);
    }),
  );
});

test('a VNet belongs to its zone', () => {
  const of = fleet('mqtt-01: { vmId: 283, bridge: vnet7, vlan: 42 }');
  const paths = needsOf(of, false, new Map([['vnet7', 'zone7']])).map(({ path }) => path);
  expect(paths).toContain('/sdn/zones/zone7/vnet7/42');
});

describe('what to type', () => {
  const of = fleet('mqtt-01: { vmId: 283 }');
  const needs = needsOf(of, false);

  test('gives all that is needed on a path, since it hides what comes from above', () => {
    const held = { '/storage': { 'Datastore.Audit': 1 } };
    const missing = [{ path: '/storage/local', privileges: ['Datastore.Allocate'] }];
    expect(grantCommands(missing, needs, held, CREDENTIALS)).toEqual([
      'pveum role add HostkeyStorage-local --privs "Datastore.Allocate Datastore.Audit" || ' +
        'pveum role modify HostkeyStorage-local --append 1 --privs "Datastore.Allocate Datastore.Audit"',
      "pveum acl modify /storage/local --users terraform@pve --tokens 'terraform@pve!hostkey' --roles HostkeyStorage-local",
    ]);
  });

  test('is said for all VMs at once, but where one has rights of its own', () => {
    const missing = [
      { path: '/vms/283', privileges: ['VM.Clone'] },
      { path: '/vms/9000', privileges: ['VM.Clone'] },
    ];
    const give = (held: Parameters<typeof grantCommands>[2]) =>
      grantCommands(missing, needs, held, { kind: 'password', user: 'ops@pve' }).slice(1);
    expect(give({})).toEqual(['pveum acl modify /vms --users ops@pve --roles HostkeyVM']);
    expect(give({ '/vms/283': {} })).toEqual([
      'for path in /vms/283 /vms; do pveum acl modify $path --users ops@pve --roles HostkeyVM; done',
    ]);
  });

  test('a user without a token, and nobody', () => {
    const missing = [{ path: '/vms/283', privileges: ['VM.Clone'] }];
    const line = (credentials: Parameters<typeof grantCommands>[3]) =>
      grantCommands(missing, needs, {}, credentials).join();
    expect(line({ kind: 'password', user: 'root@pam' })).toContain('--users root@pam --roles');
    expect(line({ kind: 'none', message: '', remedy: '' })).toContain('--users USER --roles');
  });

  test('applied, it is enough: nothing is missing then', () => {
    const held = { '/': { 'VM.Audit': 1 }, '/vms/9000': { 'VM.Audit': 1 } };
    const [result] = judgePrivileges(needs, held, CREDENTIALS, false);
    const lines = (result?.remedy ?? '').split('\n').slice(1);
    const after = Object.fromEntries(
      lines.flatMap((line, i) => {
        const names = lines[i - 1]?.match(/privs "([^"]+)" \|\|/)?.[1]?.split(' ') ?? [];
        const places = line.match(/for path in (.*?);/)?.[1] ?? line.match(/^pveum acl modify (\S+)/)?.[1];
        const privileges = Object.fromEntries(names.map((each) => [each, 1]));
        return (places?.split(' ') ?? []).map((path) => [path, privileges]);
      }),
    );
    expect(Object.keys(after).length).toBeGreaterThan(3);
    expect(missingPrivileges(needs, { ...held, ...after })).toEqual([]);
  });
});

test('many hosts that lack the same are told in one line', () => {
  const of = fleet(...Array.from({ length: 50 }, (_, i) => `h-${i}: { vmId: ${1000 + i} }`));
  const held = heldFor(of);
  for (const path of Object.keys(held)) delete held[path]?.['VM.PowerMgmt'];
  const [{ message, remedy } = { message: '', remedy: '' }] = judgePrivileges(
    needsOf(of, false),
    held,
    CREDENTIALS,
    false,
  );
  expect(message).toBe('terraform@pve lacks VM.PowerMgmt on /vms/1000, /vms/1001, /vms/1002, and 47 more');
  expect(remedy?.split('\n')).toHaveLength(3);
});
