import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { parse } from 'yaml';
import { addHost, editFleetFile, removeHostFrom, renameHostIn, setHostSetting } from '../../fleet/edit';

const FLOW = `# ours
hosts:
  # the broker
  mqtt-01: { vmId: 283, address: 192.0.2.83/24 } # in the cellar
  web-01: { vmId: 284 }

# shared ones
shared:
  - { path: secrets/shared, hosts: [mqtt-01, web-01] }
`;

const BLOCK = `hosts:
    mqtt-01:
        vmId: 283 # never change
        hostKey:
            public: ssh-ed25519 AAAA
        cores: 4

    web-01:
        vmId: 284
state: { local: state }
`;

const set = (text: string, host: string, key: string, value: unknown) =>
  setHostSetting(text, 'fleet.yaml', host, key, value);

test('adds a setting to a host in braces', () => {
  expect(set(FLOW, 'mqtt-01', 'escrow', true)).toBe(
    FLOW.replace('192.0.2.83/24 }', '192.0.2.83/24, escrow: true }'),
  );
});

test('adds a setting to a host on lines, at its indentation', () => {
  expect(set(BLOCK, 'mqtt-01', 'hostKey', { generation: 1, next: 2 })).toBe(
    BLOCK.replace('hostKey:\n            public: ssh-ed25519 AAAA', 'hostKey: { generation: 1, next: 2 }'),
  );
  expect(set(BLOCK, 'mqtt-01', 'escrow', true)).toBe(
    BLOCK.replace('        cores: 4\n', '        cores: 4\n        escrow: true\n'),
  );
});

test('replaces and removes', () => {
  expect(set(FLOW, 'mqtt-01', 'vmId', 300)).toBe(FLOW.replace('283', '300'));
  expect(set(FLOW, 'mqtt-01', 'vmId', undefined)).toBe(FLOW.replace('vmId: 283, ', ''));
  expect(set(FLOW, 'mqtt-01', 'address', undefined)).toBe(FLOW.replace(', address: 192.0.2.83/24', ''));
  expect(set(BLOCK, 'mqtt-01', 'vmId', undefined)).toBe(
    BLOCK.replace('        vmId: 283 # never change\n', ''),
  );
  expect(set(FLOW, 'web-01', 'cores', undefined)).toBe(FLOW);
});

test('writes what needs quotes with quotes', () => {
  const text = set(FLOW, 'web-01', 'description', 'a: b, {c} # d');
  expect(parse(text).hosts['web-01'].description).toBe('a: b, {c} # d');
});

test('adds a host as the last one is written', () => {
  const settings = { vmId: 300, address: '192.0.2.3/24' };
  expect(addHost(FLOW, 'f', 'db-01', settings)).toBe(
    FLOW.replace(
      '  web-01: { vmId: 284 }\n',
      '  web-01: { vmId: 284 }\n  db-01: { vmId: 300, address: 192.0.2.3/24 }\n',
    ),
  );
  expect(addHost(BLOCK, 'f', 'db-01', settings)).toBe(
    BLOCK.replace('vmId: 284\n', 'vmId: 284\n    db-01:\n      vmId: 300\n      address: 192.0.2.3/24\n'),
  );
});

test.each([
  'hosts: {}\nstate: { local: s }\n',
  'hosts:\nstate: { local: s }\n',
  'state: { local: s }\n',
  'hosts: {} # none\nstate: { local: s }\n',
])('adds the first host to %j', (text) => {
  expect(parse(addHost(text, 'f', 'db-01', { vmId: 300 }))).toEqual({
    hosts: { 'db-01': { vmId: 300 } },
    state: { local: 's' },
  });
});

test('removes a host, and the last one', () => {
  expect(removeHostFrom(FLOW, 'f', 'web-01')).toBe(FLOW.replace('  web-01: { vmId: 284 }\n', ''));
  const one = removeHostFrom(BLOCK, 'f', 'web-01');
  expect(parse(removeHostFrom(one, 'f', 'mqtt-01'))).toEqual({ hosts: {}, state: { local: 'state' } });
  expect(removeHostFrom(FLOW, 'f', 'nobody')).toBe(FLOW);
});

test('renames a host wherever it is named', () => {
  expect(renameHostIn(FLOW, 'f', 'mqtt-01', 'mqtt-02')).toBe(FLOW.replaceAll('mqtt-01', 'mqtt-02'));
});

test('keeps CRLF and a missing last line feed', () => {
  const text = FLOW.replaceAll('\n', '\r\n').trimEnd();
  const after = set(text, 'web-01', 'cores', 4);
  expect(after).toBe(text.replace('{ vmId: 284 }', '{ vmId: 284, cores: 4 }'));
});

test('refuses what it can not edit, and says where', () => {
  const alias = 'x: &a { vmId: 1 }\nhosts:\n  web-01: *a\n';
  expect(() => set(alias, 'web-01', 'cores', 4)).toThrow('fleet.yaml:3:3: web-01 is no mapping of its own');
  expect(() => set(FLOW, 'nobody', 'cores', 4)).toThrow('hosts has no nobody');
  expect(() => addHost(FLOW, 'f', 'web-01', {})).toThrow('hosts has web-01 already');
});

test('a setting that is set and taken out leaves the text as it was', () => {
  const value = fc.oneof(
    fc.integer(),
    fc.boolean(),
    fc.string(),
    fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), fc.string()),
  );
  fc.assert(
    fc.property(
      fc.constantFrom(FLOW, BLOCK),
      fc.constantFrom('mqtt-01', 'web-01'),
      value,
      (text, host, each) => {
        const there = set(text, host, 'extra', each);
        expect(set(there, host, 'extra', each)).toBe(there);
        expect(set(there, host, 'extra', undefined)).toBe(text);
      },
    ),
  );
});

test('edits a file, and leaves it alone where that fails', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'edit-'));
  try {
    const file = path.join(folder, 'fleet.yaml');
    writeFileSync(file, FLOW);
    await editFleetFile(file, (text) => set(text, 'web-01', 'cores', 4));
    expect(readFileSync(file, 'utf8')).toBe(FLOW.replace('284 }', '284, cores: 4 }'));
    await expect(editFleetFile(file, (text) => set(text, 'nobody', 'cores', 4))).rejects.toThrow('no nobody');
    expect(readFileSync(file, 'utf8')).toContain('cores: 4');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
