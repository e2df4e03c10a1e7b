import fc from 'fast-check';
import { stringify } from 'yaml';
import { networkOf, readCidr } from '../../fleet/formats';
import { BUILT_IN } from '../../fleet/schema';
import { parse, problemsOf } from './samples';

const proxmox = { endpoint: 'https://pve1.example.net:8006/', nodes: { pve1: { address: '192.0.2.11' } } };
const required = { node: 'pve1', template: 9000, disk: 'local-lvm' };

const label = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}[a-z0-9]$/);

/** Settings that may stand in `defaults` and in a host alike. */
const settings = fc.record(
  {
    cores: fc.integer({ min: 1, max: 2304 }),
    memory: fc.integer({ min: 64, max: 65536 }),
    fullClone: fc.boolean(),
    onBoot: fc.boolean(),
    bridge: fc.constantFrom('vmbr0', 'vmbr1', 'vnet1'),
    vlan: fc.integer({ min: 1, max: 4094 }),
    user: fc.constantFrom('ops', 'root'),
    description: fc.string({ maxLength: 40 }),
    cpuType: fc.constantFrom('host', 'x86-64-v2-AES'),
  },
  { requiredKeys: [] },
);

const fleets = fc.record({
  defaults: settings,
  hosts: fc
    .dictionary(label, settings, { minKeys: 1, maxKeys: 12 })
    .map((hosts) =>
      Object.fromEntries(
        Object.entries(hosts).map(([name, host], i) => [
          name,
          { vmId: 1000 + i, address: `10.0.${i}.5/16`, ...host },
        ]),
      ),
    ),
});

type Written = { defaults: object; hosts: Record<string, object> };

/** The same fleet in block form, in flow form, and on one line. */
const layouts = fc.constantFrom(
  (fleet: object) => stringify(fleet),
  (fleet: object) => stringify(fleet, { collectionStyle: 'flow' }),
  (fleet: object) => JSON.stringify(fleet),
  (fleet: object) => stringify(fleet).replaceAll('\n', '\r\n'),
);

function whole({ defaults, hosts }: Written) {
  return { proxmox, defaults: { ...required, ...defaults }, hosts };
}

test('every host says what it wrote, else what defaults say, else what is built in', () => {
  fc.assert(
    fc.property(fleets, layouts, (written, layout) => {
      const { hosts } = parse(layout(whole(written)));
      expect(hosts.map(({ name }) => name)).toEqual(Object.keys(written.hosts));
      for (const host of hosts) {
        expect(host).toMatchObject({
          ...BUILT_IN,
          secrets: `secrets/${host.name}`,
          ...required,
          ...written.defaults,
          ...written.hosts[host.name],
        });
      }
    }),
    { numRuns: 60 },
  );
});

test('moving what all hosts say into defaults changes nothing', () => {
  fc.assert(
    fc.property(fleets, (written) => {
      const hosts = Object.fromEntries(
        Object.entries(written.hosts).map(([name, host]) => [
          name,
          { ...required, ...written.defaults, ...host },
        ]),
      );
      const places = (text: string) => parse(text).hosts.map(({ place: _, ...host }) => host);
      expect(places(stringify({ proxmox, hosts }))).toEqual(places(stringify(whole(written))));
    }),
    { numRuns: 60 },
  );
});

test('a mistake is reported once, at the line and column where it is written', () => {
  fc.assert(
    fc.property(fleets, fc.nat(), fc.constantFrom('\n', '\r\n'), (written, pick, newline) => {
      const names = Object.keys(written.hosts);
      const name = names[pick % names.length] ?? '';
      const hosts = { ...written.hosts, [name]: { ...written.hosts[name], sockets: 'MISTAKE' } };
      const text = stringify(whole({ ...written, hosts })).replaceAll('\n', newline);
      const before = text.slice(0, text.indexOf('MISTAKE')).split(newline);
      const place = `${before.length}:${(before.at(-1)?.length ?? 0) + 1}`;
      expect(problemsOf(() => parse(text))).toEqual([
        `${place}: hosts.${name}.sockets: "MISTAKE" is no number; write a whole number, such as 1`,
      ]);
    }),
    { numRuns: 60 },
  );
});

test('whatever the text, there is a fleet or a FleetError, and never a crash', () => {
  const scraps = fc.constantFrom(
    'hosts:',
    'proxmox: ',
    '\n',
    '  ',
    '{',
    '}',
    '[',
    ']',
    '&a ',
    '*a',
    '<<: ',
    '- ',
    '"',
    "'",
    '\t',
    ': ',
    'vmId',
    '283',
    '~',
    '!x ',
    '? ',
    '|',
    '#',
    '\uFEFF',
  );
  const texts = fc.oneof(
    fc.string(),
    fc.array(scraps, { maxLength: 30 }).map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(texts, (text) => {
      problemsOf(() => parse(text));
    }),
    { numRuns: 500 },
  );
});

test('whatever stands in place of a value, there is a fleet or a FleetError', () => {
  const path = fc.constantFrom(
    'proxmox',
    'admins',
    'defaults',
    'hosts',
    'shared',
    'state',
    'a',
    'nodes',
    'dns',
    'hostKey',
    'cloudConfig',
  );
  const value = fc.jsonValue({ maxDepth: 3 });
  fc.assert(
    fc.property(path, value, (key, junk) => {
      const fleet = { proxmox, defaults: required, hosts: { a: { vmId: 283 } } };
      const host = { vmId: 283, [key]: junk };
      problemsOf(() => parse(JSON.stringify({ ...fleet, [key]: junk })));
      problemsOf(() => parse(JSON.stringify({ ...fleet, hosts: { a: host } })));
      problemsOf(() => parse(JSON.stringify({ ...fleet, proxmox: { ...proxmox, [key]: junk } })));
    }),
    { numRuns: 300 },
  );
});

test('a network is what its addresses have in common', () => {
  const numbers = fc.integer({ min: 0, max: 0xffffffff });
  const dotted = (n: number) => [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join('.');
  fc.assert(
    fc.property(numbers, fc.integer({ min: 0, max: 32 }), (n, prefix) => {
      const mask = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0;
      expect(networkOf(readCidr(`${dotted(n)}/${prefix}`))).toBe(dotted((n & mask) >>> 0));
    }),
  );
});
