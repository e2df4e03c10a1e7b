import { differences, planFindings } from '../../drift/plan';
import type { Finding } from '../../drift/report';
import type { ResourceChange } from '../../terraform/plan';
import { aHost } from './hosts';

const VM = 'proxmox_virtual_environment_vm.proxmox_vm';
const SNIPPET = 'proxmox_virtual_environment_file.first_boot_snippet';
const RULES = 'local_file.sops_file';

function change(
  address: string,
  actions: string[],
  parts: Partial<ResourceChange['change']> = {},
): ResourceChange {
  const [type = '', name = ''] = address.split('.');
  return { address, mode: 'managed', type, name, change: { actions, ...parts } };
}

const update = (address: string, before: object, after: object, marks = {}): ResourceChange =>
  change(address, ['update'], { before, after, ...marks });

const found = (drift: ResourceChange[], changes: ResourceChange[]): Finding[] =>
  planFindings(aHost(), { status: 'planned', drift, changes });

/** What a reader sees of a finding, in one line. */
const short = ({ kind, attribute = '', expected = '', actual = '' }: Finding): string =>
  [kind, attribute, expected, actual].filter((part) => part !== '').join(' ');

const memory = (dedicated: number) => ({ memory: [{ dedicated }] });

describe('a plan', () => {
  const cases: [string, ResourceChange[], ResourceChange[], string[]][] = [
    ['without changes', [], [], []],
    [
      'of what was changed outside, which an apply sets back',
      [update(VM, memory(2048), memory(4096))],
      [update(VM, memory(4096), memory(2048))],
      ['vm-changed memory[0].dedicated 2048 4096'],
    ],
    [
      'of what was changed outside and written since',
      [update(VM, memory(2048), memory(4096))],
      [update(VM, memory(4096), memory(8192))],
      ['vm-changed memory[0].dedicated 8192 4096'],
    ],
    [
      'of what was changed outside, and nobody sets back',
      [update(VM, { boot_order: ['scsi0'] }, { boot_order: ['net0'] })],
      [],
      ['vm-changed boot_order ["scsi0"] ["net0"]'],
    ],
    [
      'of what is written and not applied',
      [],
      [update(VM, memory(2048), memory(4096))],
      ['not-applied memory[0].dedicated 4096 2048'],
    ],
    [
      'of a change outside beside one that is not applied',
      [update(VM, { ...memory(2048), on_boot: true }, { ...memory(2048), on_boot: false })],
      [update(VM, { ...memory(2048), on_boot: false }, { ...memory(4096), on_boot: true })],
      ['vm-changed on_boot true false', 'not-applied memory[0].dedicated 4096 2048'],
    ],
    [
      'in which a provider only spells nothing otherwise',
      [
        update(
          VM,
          { cpu: [{ flags: null }], tags: null, note: '' },
          { cpu: [{ flags: [] }], tags: [], note: null },
        ),
      ],
      [],
      [],
    ],
    [
      'of what changes with every boot',
      [update(VM, { ipv4_addresses: [] }, { ipv4_addresses: [['127.0.0.1'], ['192.0.2.83']] })],
      [],
      [],
    ],
    ['of a VM that is gone', [change(VM, ['delete'])], [change(VM, ['create'])], ['vm-gone']],
    [
      'of a snippet that is gone',
      [change(SNIPPET, ['delete'], { before: { id: 'local:snippets/mqtt-01.user-data.yaml' } })],
      [change(SNIPPET, ['create'])],
      ['snippet-gone local:snippets/mqtt-01.user-data.yaml'],
    ],
    [
      'of rules that were edited',
      [change(RULES, ['delete'])],
      [change(RULES, ['create'])],
      ['host-rules-changed'],
    ],
    ['of a resource that is not made yet', [], [change('terraform_data.x', ['create'])], ['not-applied']],
    [
      'of a replacement, told by what forces it',
      [],
      [
        change(VM, ['delete', 'create'], {
          before: { vm_id: 283, name: 'a' },
          after: { vm_id: 383, name: 'b' },
          after_unknown: { id: true },
          replace_paths: [['vm_id']],
        }),
      ],
      ['not-applied vm_id 383 283'],
    ],
    [
      'of a second network card',
      [
        update(
          VM,
          { network_device: [] },
          { network_device: [{ bridge: 'vmbr0', vlan_id: 0, enabled: true }] },
        ),
      ],
      [],
      ['vm-changed network_device[0] (not set) bridge=vmbr0, enabled=true'],
    ],
    [
      'of what only follows from another change',
      [],
      [update(VM, memory(1), memory(2), { after_unknown: { ipv4_addresses: true } })],
      ['not-applied memory[0].dedicated 2 1'],
    ],
  ];
  test.each(cases)('%s', (_what, drift, changes, expected) => {
    expect(found(drift, changes).map(short)).toEqual(expected);
  });

  test('that could not be made is told as such', () => {
    expect(planFindings(aHost(), { status: 'failed', message: 'no answer', remedy: 'wait' })).toEqual([
      expect.objectContaining({ kind: 'unchecked', severity: 'unknown', host: 'mqtt-01', remedy: 'wait' }),
    ]);
  });

  test('names the VM that is to be destroyed, not the one that is written', () => {
    const [finding] = found(
      [],
      [
        change(VM, ['delete', 'create'], {
          before: { vm_id: 111 },
          after: { vm_id: 283 },
          replace_paths: [['vm_id']],
        }),
      ],
    );
    expect(finding).toMatchObject({
      severity: 'error',
      message: expect.stringContaining('VM 111 will be destroyed'),
    });
  });
});

describe('a sensitive value', () => {
  const secret = 'swordfish';
  test.each([
    [
      'by itself',
      { before: { a: secret }, after: { a: 'x' }, before_sensitive: { a: true }, after_sensitive: {} },
    ],
    [
      'that only becomes one',
      { before: { a: 'x' }, after: { a: secret }, before_sensitive: {}, after_sensitive: { a: true } },
    ],
    [
      'inside a list',
      { before: { a: [secret] }, after: { a: ['x'] }, before_sensitive: { a: [true] }, after_sensitive: {} },
    ],
    [
      'inside a new block',
      {
        before: { a: [] },
        after: { a: [{ b: secret, c: 1 }] },
        before_sensitive: {},
        after_sensitive: { a: [{ b: true }] },
      },
    ],
    [
      'around a block',
      {
        before: { a: { b: secret } },
        after: { a: { b: 'x' } },
        before_sensitive: { a: true },
        after_sensitive: { a: true },
      },
    ],
    [
      'of which all is',
      { before: { a: secret }, after: { a: 'x' }, before_sensitive: true, after_sensitive: true },
    ],
    [
      'before something unknown',
      {
        before: { a: secret },
        after: {},
        after_unknown: { a: true },
        before_sensitive: { a: true },
        after_sensitive: {},
      },
    ],
  ])('%s is never shown, and its change is', (_how, parts) => {
    const shown = differences(change(SNIPPET, ['update'], parts));
    expect(shown).not.toEqual([]);
    expect(JSON.stringify(shown)).not.toContain(secret);
  });
});
