import { judgeCluster } from '../../doctor/cluster';
import type { ClusterFacts, VmConfig } from '../../doctor/cluster-facts';
import type { Result } from '../../doctor/result';
import type { Fleet } from '../../fleet/fleet';
import { CREDENTIALS, datastore, factsFor, fleet, GIB, heldFor, TEMPLATE } from './facts';

const HOSTS = ['mqtt-01: { vmId: 283 }', 'web-01: { vmId: 284, diskSize: 8 }'];

interface Case {
  readonly of?: Fleet;
  readonly facts?: Partial<ClusterFacts>;
  readonly planned?: readonly string[];
  readonly readOnly?: boolean;
}

function judge({ of = fleet(...HOSTS), facts, planned, readOnly = false }: Case): Result[] {
  return judgeCluster(factsFor(of, facts), {
    fleet: of,
    credentials: CREDENTIALS,
    planned: of.hosts.filter(({ name }) => planned?.includes(name) ?? true),
    readOnly,
  });
}

/** What is not well: mark, id and sentence. */
const findings = (of: Case): string[] =>
  judge(of)
    .filter(({ status }) => status !== 'ok')
    .map(({ status, id, message }) => `${status} ${id}: ${message}`);

const template = (config: VmConfig): Partial<ClusterFacts> => ({
  templates: new Map([[9000, { answer: config }]]),
});

const onPve1 = <T>(value: T) => new Map([['pve1', { answer: value }]]);

const NODES = { answer: [{ node: 'pve1', status: 'online' }] };

test('nothing where all is well, and with every check said', () => {
  expect(findings({})).toEqual([]);
  expect(judge({}).map(({ id }) => id)).toEqual([
    'api.node.pve1',
    'api.node.pve2',
    'api.quorum',
    'api.privileges',
    'api.datastore.pve1.local.snippets',
    'api.datastore.pve1.local-lvm.images',
    'api.bridge.pve1.vmbr0',
    'api.template.9000',
    'api.vm-ids',
  ]);
});

test.each<[string, Case, string[]]>([
  [
    'a node that no host uses is missing',
    { facts: { nodes: NODES } },
    ['warning api.node.pve2: the cluster has no node pve2; it has pve1'],
  ],
  [
    'a node that hosts use is off, and is not asked',
    {
      facts: {
        nodes: { answer: [{ node: 'pve1', status: 'offline' }, { node: 'pve2' }] },
        datastores: new Map(),
        bridges: new Map(),
        templates: new Map(),
      },
    },
    [
      'problem api.node.pve1: node pve1 is offline',
      'skipped api.datastores.pve1: datastores of pve1: not asked, since the node is not online',
      'skipped api.bridges.pve1: bridges of pve1: not asked, since the node is not online',
      'skipped api.template.9000: template 9000: not asked, since pve1 is not online',
    ],
  ],
  [
    'no quorum',
    { facts: { quorate: { answer: false } } },
    ['problem api.quorum: the cluster has no quorum, and so refuses every change'],
  ],
  ['a quorum that the token may not ask for', { facts: { quorate: { answer: undefined } } }, []],
  [
    'a question without an answer',
    { facts: { held: { failure: { message: 'it broke', remedy: 'mend it' } } } },
    ['unknown api.privileges: it broke'],
  ],
  [
    'a datastore that takes no snippets',
    { facts: { datastores: onPve1([datastore('local', { content: ['iso'] }), datastore('local-lvm')]) } },
    ['problem api.datastore.pve1.local.snippets: datastore local on pve1 takes no snippets, only iso'],
  ],
  [
    'a datastore that is disabled, and one that is not active',
    {
      facts: {
        datastores: onPve1([datastore('local', { enabled: 0 }), datastore('local-lvm', { active: 0 })]),
      },
    },
    [
      'problem api.datastore.pve1.local.snippets: datastore local is disabled',
      'problem api.datastore.pve1.local-lvm.images: datastore local-lvm is not active on pve1',
    ],
  ],
  [
    'a datastore that is missing',
    { facts: { datastores: onPve1([datastore('local')]) } },
    ['problem api.datastore.pve1.local-lvm.images: pve1 has no datastore local-lvm; this token sees local'],
  ],
  [
    'disks to come that take more than is free',
    { facts: { datastores: onPve1([datastore('local'), datastore('local-lvm', { avail: 10 * GIB })]) } },
    [
      'warning api.space.pve1.local-lvm: datastore local-lvm on pve1 has 10 GiB free, and the 2 hosts to come take up to 11 GiB',
    ],
  ],
  [
    'disks that are there already take nothing more',
    {
      facts: { datastores: onPve1([datastore('local'), datastore('local-lvm', { avail: 10 * GIB })]) },
      planned: ['web-01'],
    },
    [],
  ],
  [
    'a bridge that is missing',
    { facts: { bridges: onPve1(['vmbr1']) } },
    ['problem api.bridge.pve1.vmbr0: pve1 has no bridge vmbr0; it has vmbr1'],
  ],
  [
    'a template that is missing',
    { facts: { vms: { answer: [] } } },
    ['problem api.template.9000: there is no template 9000'],
  ],
  [
    'a template that is none',
    { facts: { vms: { answer: [{ vmid: 9000, name: 'debian', node: 'pve1', template: 0 }] } } },
    ['problem api.template.9000: VM 9000 (debian) is no template'],
  ],
  [
    'a template on another node',
    { facts: { vms: { answer: [{ vmid: 9000, name: 'debian', node: 'pve2', template: 1 }] } } },
    ['problem api.template.9000: template 9000 lies on pve2, and mqtt-01 looks for it on pve1'],
  ],
  [
    'a template without a disk',
    { facts: template({ ide2: TEMPLATE.ide2 }) },
    ['problem api.template.9000: template 9000 has no disk'],
  ],
  [
    'a template without a cloud-init drive, which gets one',
    { facts: template({ scsi0: TEMPLATE.scsi0 }) },
    [],
  ],
  [
    'a CD-ROM at ide2, which makes place',
    { facts: template({ scsi0: TEMPLATE.scsi0, ide2: 'none,media=cdrom' }) },
    [],
  ],
  [
    'a disk at ide2, which must not make place',
    { facts: template({ scsi0: TEMPLATE.scsi0, ide2: 'local-lvm:base-9000-disk-1,size=1G' }) },
    [
      'problem api.template.9000: template 9000 has a disk at ide2, which the cloud-init drive would take the place of',
    ],
  ],
  [
    'a disk of another name, which one host of two grows',
    { facts: template({ ide2: TEMPLATE.ide2, virtio0: 'local-lvm:base-9000-disk-0,size=3G' }) },
    ['problem api.template.9000: template 9000 has no disk at scsi0, which web-01 grows; it has virtio0'],
  ],
  [
    'a disk of another name, which nobody grows',
    {
      of: fleet('mqtt-01: { vmId: 283 }'),
      facts: template({ ide2: TEMPLATE.ide2, virtio0: 'local-lvm:base-9000-disk-0,size=3G' }),
    },
    [],
  ],
  [
    'a disk that would have to shrink',
    { facts: template({ ...TEMPLATE, scsi0: 'local-lvm:base-9000-disk-0,size=10G' }) },
    [
      "problem api.template.9000: template 9000 has 10 GiB at scsi0, and web-01 wants 8 GiB: a disk can't shrink",
    ],
  ],
  [
    'VM ids that are taken, and a name',
    {
      facts: {
        vms: {
          answer: [
            { vmid: 9000, name: 'debian', node: 'pve1', template: 1 },
            { vmid: 283, name: 'mail', node: 'pve2' },
            { vmid: 300, name: 'web-01', node: 'pve2' },
          ],
        },
      },
    },
    [
      'problem api.vm-id.283: VM id 283 of mqtt-01 is taken by mail on pve2',
      'warning api.vm-name.web-01: VM 300 on pve2 is called web-01, too',
    ],
  ],
  [
    'the VM of a host whose state is lost',
    {
      facts: {
        vms: {
          answer: [
            { vmid: 9000, node: 'pve1', template: 1 },
            { vmid: 283, name: 'mqtt-01', node: 'pve1' },
          ],
        },
      },
    },
    ['problem api.vm-id.283: VM id 283 of mqtt-01 is taken by mqtt-01 on pve1, and there is no state of it'],
  ],
  [
    'the VM of a host that is deployed',
    {
      facts: {
        vms: {
          answer: [
            { vmid: 9000, node: 'pve1', template: 1 },
            { vmid: 283, name: 'mqtt-01', node: 'pve1' },
          ],
        },
      },
      planned: ['web-01'],
    },
    [],
  ],
])('%s', (_what, of, expected) => {
  expect(findings(of)).toEqual(expected);
  for (const { status, remedy } of judge(of)) {
    if (status === 'problem' || status === 'warning') expect(remedy).toMatch(/\S/);
  }
});

describe('what the token may not see is one finding, that of the privileges', () => {
  const of = fleet(...HOSTS);
  const without = (path: string): ClusterFacts['held'] => {
    const { [path]: _, ...rest } = heldFor(of);
    return { answer: rest };
  };
  test.each<[string, Partial<ClusterFacts>, string]>([
    [
      'a datastore',
      { held: without('/storage/local'), datastores: onPve1([datastore('local-lvm')]) },
      'skipped api.datastore.pve1.local.snippets',
    ],
    ['a template', { held: without('/vms/9000'), vms: { answer: [] } }, 'skipped api.template.9000'],
    [
      'a bridge',
      { held: without('/sdn/zones/localnetwork/vmbr0'), bridges: onPve1([]) },
      'skipped api.bridge.pve1.vmbr0',
    ],
  ])('%s', (_what, facts, second) => {
    const [first, next, ...rest] = findings({ of, facts });
    expect(first).toMatch(/^problem api\.privileges: terraform@pve lacks /);
    expect(next).toMatch(new RegExp(`^${second}: `));
    expect(rest).toEqual([]);
  });
});

test('read-only: a token that may only look, and sees no disks', () => {
  const of = fleet(...HOSTS);
  const held = {
    answer: {
      '/vms/283': { 'VM.Audit': 1 },
      '/vms/284': { 'VM.Audit': 1 },
      '/storage/local': { 'Datastore.Audit': 1 },
    },
  };
  const facts = { held, datastores: onPve1([datastore('local')]), bridges: onPve1([]), vms: { answer: [] } };
  expect(findings({ of, facts, readOnly: true })).toEqual([]);
  expect(findings({ of, facts: { ...facts, quorate: { answer: false } }, readOnly: true })).toEqual([
    'warning api.quorum: the cluster has no quorum, and so refuses every change',
  ]);
});

describe('a template on another node than its host', () => {
  const of = fleet('mqtt-01: { vmId: 283, node: pve2, templateNode: pve1 }');
  test('is cloned there and migrated, where its datastore is not shared', () => {
    expect(findings({ of })).toEqual([
      'problem api.template.9000: template 9000 lies on pve1, on local-lvm, which is not shared: mqtt-01 is made there and migrated, which takes VM.Migrate',
    ]);
    const held = heldFor(of);
    const may = { ...held, '/vms/283': { ...held['/vms/283'], 'VM.Migrate': 1 } };
    expect(findings({ of, facts: { held: { answer: may } } })).toEqual([]);
  });
  test('is cloned to where it belongs, where it is', () => {
    const shared = [datastore('local'), datastore('local-lvm', { shared: 1 })];
    const datastores = new Map(['pve1', 'pve2'].map((node) => [node, { answer: shared }]));
    expect(findings({ of, facts: { datastores } })).toEqual([]);
  });
});

test('a thousand hosts are a thousand findings only where each differs', () => {
  const many = Array.from({ length: 1000 }, (_, i) => `h-${i}: { vmId: ${1000 + i} }`);
  const of = fleet(...many);
  const started = performance.now();
  const space =
    'warning api.space.pve1.local-lvm: datastore local-lvm on pve1 has 100 GiB free, and the 1000 hosts to come take up to 3000 GiB';
  expect(findings({ of })).toEqual([space]);
  expect(findings({ of, facts: { held: { answer: {} } } })).toEqual([
    expect.stringMatching(
      /^problem api\.privileges: .* on \/vms\/1000, \/vms\/1001, \/vms\/1002, and 997 more; /,
    ),
    space,
  ]);
  expect(performance.now() - started).toBeLessThan(2000);
});
