import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { loadFleet, parseFleet } from '../../fleet/load';
import { DEFAULTS, errorOf, fleetOf, hostWith, KEY, PROXMOX, parse, problemsOf } from './samples';

const RECIPIENT = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p';

function hostOf(text: string) {
  const [host] = parse(text).hosts;
  if (host === undefined) throw new Error('the fleet has no host');
  return host;
}

describe('a fleet', () => {
  test('is whole, with what nobody wrote filled in', () => {
    expect(parse(fleetOf('mqtt-01: { vmId: 283, address: 192.0.2.83/24, gateway: 192.0.2.1 }'))).toEqual({
      file: 'fleet.yaml',
      root: '/repo',
      proxmox: {
        endpoint: 'https://pve1.example.net:8006/',
        nodes: { pve1: { address: '192.0.2.11', port: 22 }, pve2: { address: '192.0.2.12', port: 22 } },
      },
      admins: {},
      hosts: [
        {
          name: 'mqtt-01',
          place: { file: 'fleet.yaml', line: 6, column: 3 },
          vmId: 283,
          node: 'pve1',
          template: 9000,
          fullClone: true,
          disk: 'local-lvm',
          diskInterface: 'scsi0',
          snippets: 'local',
          bridge: 'vmbr0',
          address: '192.0.2.83/24',
          gateway: '192.0.2.1',
          cores: 2,
          sockets: 1,
          cpuType: 'x86-64-v2-AES',
          memory: 2048,
          tags: [],
          onBoot: true,
          started: true,
          protect: false,
          agent: true,
          authorizedKeys: [],
          hostKeyDirectory: '/etc/ssh',
          hostKeyTypes: ['ed25519'],
          hostKey: { source: 'generated', generation: 1 },
          secrets: 'secrets/mqtt-01',
          aliases: [],
          ssh: { address: '192.0.2.83', port: 22 },
          knownAs: ['mqtt-01', '192.0.2.83'],
        },
      ],
      shared: [],
      state: { kind: 'local', path: 'state' },
      ignoredDrift: [],
      warnings: [
        {
          file: 'fleet.yaml',
          line: 1,
          column: 1,
          path: 'admins',
          found: '',
          message: 'no admins: only the host itself can decrypt',
          remedy: 'write the recipient that age-keygen prints under admins',
        },
      ],
    });
  });

  test('keeps the order of its hosts', () => {
    expect(parse(fleetOf('b: { vmId: 283 }', 'a: { vmId: 284 }')).hosts.map(({ name }) => name)).toEqual([
      'b',
      'a',
    ]);
  });

  test('without hosts is legal, and warned of', () => {
    const { hosts, warnings } = parse(`${fleetOf()}admins: { ops: ${RECIPIENT} }\n`);
    expect(hosts).toEqual([]);
    expect(warnings).toMatchObject([
      { line: 5, path: 'hosts', message: 'no hosts: there is nothing to deploy' },
    ]);
  });

  test('with hosts and admins gives no warning', () => {
    const fleet = parse(`${hostWith('')}admins: { ops: ${RECIPIENT}, me: ${KEY} me@laptop }\n`);
    expect(fleet.warnings).toEqual([]);
    expect(fleet.admins).toEqual({ ops: RECIPIENT, me: `${KEY} me@laptop` });
  });

  test('reads TLS versions as numbers and as texts', () => {
    for (const written of ['1.2', '"1.2"']) {
      const text = hostWith('').replace('endpoint', `minTls: ${written}\n  endpoint`);
      expect(parse(text).proxmox.minTls).toBe('1.2');
    }
  });

  test('is the same with CRLF and a byte order mark', () => {
    const text = hostWith('address: 192.0.2.83/24');
    expect(parse(`\uFEFF${text.replaceAll('\n', '\r\n')}`)).toEqual(parse(text));
  });
});

describe('a host', () => {
  test('has canonical addresses, names and keys', () => {
    expect(
      hostOf(
        hostWith(
          `address6: "2001:0DB8::0083/64", gateway6: "FE80::1", mac: "bc:24:11:00:02:83", tags: [b, a, b], aliases: [MQTT.example.net], authorizedKeys: [" ${KEY} "]`,
        ),
      ),
    ).toMatchObject({
      address6: '2001:db8::83/64',
      gateway6: 'fe80::1',
      mac: 'BC:24:11:00:02:83',
      tags: ['a', 'b'],
      authorizedKeys: [KEY],
      knownAs: ['mqtt-01', 'MQTT.example.net', '2001:db8::83'],
    });
  });

  test('takes dhcp where it has no address, and none where it has IPv6', () => {
    expect(hostOf(hostWith('')).address).toBe('dhcp');
    expect(hostOf(hostWith('address6: auto'))).not.toHaveProperty('address');
  });

  test('has a default gateway only where it has a fixed address', () => {
    const { hosts } = parse(
      fleetOf('a: { vmId: 283, address: 192.0.2.5/24 }', 'b: { vmId: 284 }').replace(
        'node:',
        'gateway: 192.0.2.1, node:',
      ),
    );
    expect(hosts.map(({ gateway }) => gateway)).toEqual(['192.0.2.1', undefined]);
  });

  test.each([
    ['alone in its network', 'address: 203.0.113.5/32, gateway: 192.0.2.1'],
    ['on a link of two', 'address: 192.0.2.0/31, gateway: 192.0.2.1'],
    ['with a link-local router', 'address6: "2001:db8::5/64", gateway6: "fe80::1"'],
  ])('may have a gateway when it is %s', (_name, settings) => {
    expect(() => parse(hostWith(settings))).not.toThrow();
  });

  test('names the node of its template only where that is another', () => {
    expect(hostOf(hostWith('templateNode: pve2')).templateNode).toBe('pve2');
    expect(hostOf(hostWith('templateNode: pve1'))).not.toHaveProperty('templateNode');
  });

  test('can be adopted by its public key', () => {
    const rotated = hostOf(hostWith('hostKey: { generation: 2 }, nextKey: { generation: 3 }'));
    expect([rotated.hostKey, rotated.nextKey]).toEqual([
      { source: 'generated', generation: 2 },
      { source: 'generated', generation: 3 },
    ]);
    expect(hostOf(hostWith('hostKeyTypes: [rsa, ed25519, rsa]')).hostKeyTypes).toEqual(['rsa', 'ed25519']);
    expect(hostOf(hostWith(`hostKey: { public: ${KEY} root@mqtt }`)).hostKey).toEqual({
      source: 'public',
      publicKey: `${KEY} root@mqtt`,
    });
  });

  test('has its name put into folders', () => {
    const text = hostWith('').replace('node:', "secrets: './vault//{host}/', node:");
    expect(hostOf(text).secrets).toBe('vault/mqtt-01');
  });

  test('can be written with anchors, aliases and merge keys, its own word first', () => {
    const { hosts } = parse(
      fleetOf(
        'a: &a { vmId: 283, cores: 4, tags: &t [iot] }',
        'b: { <<: *a, vmId: 284 }',
        'c: { vmId: 285, cores: 1, <<: [*a], tags: *t }',
      ),
    );
    expect(hosts.map(({ vmId, cores, tags, place }) => [vmId, cores, tags, place.line])).toEqual([
      [283, 4, ['iot'], 6],
      [284, 4, ['iot'], 7],
      [285, 1, ['iot'], 8],
    ]);
  });
});

describe('state', () => {
  const stateOf = (state: string) => parse(`${hostWith('')}state: ${state}\n`).state;

  test.each([
    ['{}', { kind: 'local', path: 'state' }],
    ['{ local: ./var/state/ }', { kind: 'local', path: 'var/state' }],
    ['{ s3: { bucket: b } }', { kind: 's3', settings: { key: '{host}.tfstate', bucket: 'b' } }],
    [
      '{ s3: { key: "a/{host}", use_lockfile: true } }',
      { kind: 's3', settings: { key: 'a/{host}', use_lockfile: true } },
    ],
    ['{ pg: {} }', { kind: 'pg', settings: { schema_name: '{host}' } }],
    [
      '{ pg: { conn_str: postgres://ops@db/tf } }',
      { kind: 'pg', settings: { schema_name: '{host}', conn_str: 'postgres://ops@db/tf' } },
    ],
    ['{ gcs: { bucket: b } }', { kind: 'gcs', settings: { prefix: '{host}', bucket: 'b' } }],
    [
      '{ azurerm: { use_oidc: true } }',
      { kind: 'azurerm', settings: { key: '{host}.tfstate', use_oidc: true } },
    ],
    [
      '{ http: { address: "https://s/{host}" } }',
      { kind: 'http', settings: { address: 'https://s/{host}' } },
    ],
  ])('%s', (written, expected) => {
    expect(stateOf(written)).toEqual(expected);
  });
});

describe('cloudConfig', () => {
  const files = (content: Record<string, string>) => ({
    file: 'infra/fleet.yaml',
    root: '/repo/infra',
    readFile: (file: string) => {
      const text = content[file];
      if (text === undefined) throw Object.assign(new Error('none'), { code: 'ENOENT' });
      return text;
    },
  });

  test('may stand in place', () => {
    expect(hostOf(hostWith('cloudConfig: { packages: [mosquitto] }')).cloudConfig).toEqual({
      settings: { packages: ['mosquitto'] },
      place: { file: 'fleet.yaml', line: 6, column: 38 },
    });
  });

  test('may stand in a file, one for each host too', () => {
    const { hosts } = parseFleet(
      fleetOf('a: { vmId: 283 }', 'b: { vmId: 284, cloudConfig: cloud/base.yaml }').replace(
        'node:',
        "cloudConfig: 'cloud/{host}.yaml', node:",
      ),
      files({
        '/repo/infra/cloud/a.yaml': '#cloud-config\npackages: [a]\n',
        '/repo/infra/cloud/base.yaml': '\n\npackages: [base]\n',
      }),
    );
    expect(hosts.map(({ cloudConfig }) => cloudConfig)).toEqual([
      { settings: { packages: ['a'] }, place: { file: 'infra/cloud/a.yaml', line: 2, column: 1 } },
      { settings: { packages: ['base'] }, place: { file: 'infra/cloud/base.yaml', line: 3, column: 1 } },
    ]);
  });

  test.each([
    ['not YAML', 'a: 1\n\tb: 2\n', '2:1: a tab indents this line; indent with spaces'],
    [
      'a key twice',
      'a: 1\na: 2\n',
      '2:1: cloudConfig.a: this key stands twice, first on line 1; keep one of them',
    ],
    [
      'a mode in octal',
      'write_files:\n  - { path: /x, permissions: 0600 }\n',
      '2:30: cloudConfig.write_files[0].permissions: 0600 is another number to some readers of YAML; write it in quotes: "0600"',
    ],
    [
      'a boolean of YAML 1.1',
      'ssh_pwauth: off\n',
      '1:13: cloudConfig.ssh_pwauth: off is false to cloud-init and text to others; write false, or "off" in quotes',
    ],
    [
      'a list',
      '- a\n',
      '1:1: cloudConfig: a list stands here; cloud-config is a mapping, lines of "name: value"',
    ],
    ['nothing', '#cloud-config\n', '1:1: cloudConfig: this file is empty; write cloud-config into it'],
    [
      'a script',
      '#!/bin/sh\necho\n',
      '1:1: cloudConfig: this first line announces user data of another kind; write cloud-config, which is YAML',
    ],
    [
      'a template',
      '## template: jinja\n#cloud-config\n{}\n',
      '1:1: cloudConfig: this first line announces user data of another kind; write cloud-config, which is YAML',
    ],
  ])('in a file, %s', (_name, content, problem) => {
    const text = fleetOf(
      'a: { vmId: 283, cloudConfig: base.yaml }',
      'b: { vmId: 284, cloudConfig: base.yaml }',
    );
    const error = errorOf(() => parseFleet(text, files({ '/repo/infra/base.yaml': content })));
    expect(error).toBe(`infra/base.yaml:${problem}`);
  });
});

describe('on disk', () => {
  let root: string;
  beforeEach(() => {
    root = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'fleet-')));
  });
  afterEach(() => {
    rmSync(root, { recursive: true });
  });

  const inRoot = (name: string) => path.join(root, name);
  const write = (name: string, content: string | Buffer) => {
    mkdirSync(path.dirname(inRoot(name)), { recursive: true });
    writeFileSync(inRoot(name), content);
    return inRoot(name);
  };
  const problems = (file: string) =>
    problemsOf(() => loadFleet(file)).map((line) => line.replace(`${file}:`, ''));

  test('the shipped fleet loads', () => {
    const shipped = loadFleet(path.join(__dirname, '../../fleet.yaml'));
    expect(shipped.hosts.map(({ name, vmId, address }) => [name, vmId, address])).toEqual([
      ['mqtt-01', 283, '192.0.2.83/24'],
      ['web-01', 284, '192.0.2.84/24'],
    ]);
    expect(shipped.shared).toEqual([{ path: 'secrets/shared/mqtt', hosts: ['mqtt-01', 'web-01'] }]);
    expect(shipped.warnings.map(({ path }) => path)).toEqual(['admins']);
  });

  test('the root is the folder of the file', () => {
    expect(loadFleet(write('infra/fleet.yaml', hostWith(''))).root).toBe(inRoot('infra'));
  });

  test('a file that is not there', () => {
    expect(problems(inRoot('fleet.yaml'))).toEqual([
      '1:1: there is no such file; go to the folder that holds it, or bring the shipped one back: git checkout fleet.yaml',
    ]);
  });

  test('a folder', () => {
    expect(problems(root)).toEqual(['1:1: this is a folder; name the file in it, such as fleet.yaml']);
  });

  test('another encoding', () => {
    const file = write('fleet.yaml', Buffer.from(`\uFEFF${hostWith('')}`, 'utf16le'));
    expect(problems(file)).toEqual(['1:1: this file is not UTF-8; save it in that encoding']);
  });

  test('a cloud-config', () => {
    write('cloud/base.yaml', 'packages: [mosquitto]\n');
    const file = write('fleet.yaml', hostWith('cloudConfig: cloud/base.yaml'));
    expect(loadFleet(file).hosts[0]?.cloudConfig).toEqual({
      settings: { packages: ['mosquitto'] },
      place: { file: inRoot('cloud/base.yaml'), line: 1, column: 1 },
    });
  });

  test('links that stay in the repository are followed', () => {
    mkdirSync(inRoot('vault'));
    symlinkSync('vault', inRoot('secrets'));
    expect(() => loadFleet(write('fleet.yaml', hostWith('')))).not.toThrow();
  });

  test.each([
    ['a folder', '/'],
    ['nothing yet', '/nonexistent/vault'],
  ])('a link out of the repository, to %s', (_name, target) => {
    symlinkSync(target, inRoot('out'));
    const file = write(
      'fleet.yaml',
      `${hostWith('secrets: out/a, cloudConfig: out/b.yaml')}state: { local: out/state }\n`,
    );
    const link = 'out is a link that leads outside the repository; write a path that stays inside it';
    expect(problems(file)).toEqual([
      `6:34: hosts.mqtt-01.secrets: ${link}`,
      `6:54: hosts.mqtt-01.cloudConfig: ${link}`,
      `7:17: state.local: ${link}`,
    ]);
  });

  test('a repository that is itself reached by a link', () => {
    write('real/fleet.yaml', hostWith(''));
    mkdirSync(inRoot('real/secrets'));
    symlinkSync('real', inRoot('link'));
    expect(() => loadFleet(inRoot('link/fleet.yaml'))).not.toThrow();
  });
});

describe('where sshd is reached', () => {
  const ssh = (host: string) => parse(fleetOf(`a: { vmId: 283, ${host} }`)).hosts[0];
  test.each([
    ['the name, without a fixed address', 'address: dhcp', 'a', 22],
    ['the fixed address', 'address: 192.0.2.83/24', '192.0.2.83', 22],
    ['that with another port', 'address: 192.0.2.83/24, ssh: { port: 2222 }', '192.0.2.83', 2222],
    [
      'what the file says',
      'address: 192.0.2.83/24, ssh: { address: gate.example.net, port: 22083 }',
      'gate.example.net',
      22083,
    ],
  ])('%s', (_case, host, address, port) => {
    expect(ssh(host)?.ssh).toEqual({ address, port });
    expect(ssh(host)?.knownAs).toContain(address);
  });
});

describe('accepted drift', () => {
  const ignoring = (rule: string) => `${fleetOf('a: { vmId: 283 }')}drift: { ignore: [${rule}] }\n`;
  test('is kept with its place', () => {
    const rule = '{ host: a, resource: vm, attribute: memory, reason: an import, expires: 2027-05-31 }';
    expect(parse(ignoring(rule)).ignoredDrift).toEqual([
      expect.objectContaining({
        host: 'a',
        attribute: 'memory',
        expires: '2027-05-31',
        place: expect.anything(),
      }),
    ]);
  });
  test.each([
    [
      'a host that is none',
      '{ host: b, resource: vm, reason: x, expires: 2027-05-31 }',
      'ignore[0].host: "b" is no host of this fleet',
    ],
    [
      'no date',
      '{ host: a, resource: vm, reason: x, expires: soon }',
      'ignore[0].expires: "soon" is no date; write one such as 2027-05-31',
    ],
    ['no reason', '{ host: a, resource: vm, expires: 2027-05-31 }', 'ignore[0].reason: reason is missing'],
  ])('%s is refused', (_case, rule, problem) => {
    expect(problemsOf(() => parse(ignoring(rule))).join('\n')).toContain(problem);
  });
});

test('aliases that multiply each other are refused', () => {
  const levels = Array.from(
    { length: 9 },
    (_, i) => `  l${i + 1}: &l${i + 1} [${Array(9).fill(`*l${i}`).join(', ')}]\n`,
  );
  const text = `${PROXMOX}${DEFAULTS}hosts:\n  a: { vmId: 283, cloudConfig: { l0: &l0 [x] } }\nbomb:\n${levels.join('')}`;
  expect(problemsOf(() => parse(text))).toEqual([
    '1:1: the aliases of this file multiply it; write it without them',
  ]);
});

test('a thousand hosts load well under a second', () => {
  const hosts = Array.from(
    { length: 1000 },
    (_, i) => `host-${i}: { vmId: ${1000 + i}, address: 10.1.${Math.floor(i / 250)}.${(i % 250) + 1}/16 }`,
  );
  const text = fleetOf(...hosts);
  const before = process.cpuUsage();
  expect(parse(text).hosts).toHaveLength(1000);
  const { user, system } = process.cpuUsage(before);
  // The processor's time, which other programs on the machine don't lengthen much.
  expect((user + system) / 1000).toBeLessThan(1500);
});
