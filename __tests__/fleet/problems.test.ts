import { DEFAULTS, fleetOf, hostWith, KEY, PROXMOX, parse, problemsOf } from './samples';

/** From the age specification's examples. */
const RECIPIENT = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p';
/** The number 2 is the y of no point on the curve. */
const OFF_CURVE = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';
/** A well-formed key of 2048 bits. */
const RSA = `ssh-rsa ${wire('ssh-rsa', '\x01\x00\x01', `\x00${'k'.repeat(256)}`)}`;

/** Strings in SSH's wire format, in base64. */
function wire(...strings: string[]): string {
  const fields = strings.map((text) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(text.length);
    return Buffer.concat([length, Buffer.from(text, 'latin1')]);
  });
  return Buffer.concat(fields).toString('base64');
}

type Case = readonly [name: string, text: string, ...problems: string[]];

/** What is wrong with a fleet, and all that is said about it: line, column, path, what was found, what to write. */
describe('the file as a whole', () => {
  const cases: Case[] = [
    ['empty', '', '1:1: this file is empty; write at least "proxmox:" and "hosts:"'],
    ['a byte order mark alone', '\uFEFF', '1:1: this file is empty; write at least "proxmox:" and "hosts:"'],
    [
      'comments only',
      '# hosts:\n',
      '1:1: nothing but comments stands in this file; write at least "proxmox:" and "hosts:"',
    ],
    [
      'a document start alone',
      '---\n',
      '1:1: nothing but comments stands in this file; write at least "proxmox:" and "hosts:"',
    ],
    ['a list', '- a\n', '1:1: a list is no mapping; write lines of "name: value" here'],
    ['a word', 'fleet\n', '1:1: "fleet" is no mapping; write lines of "name: value" here'],
    [
      'a section missing',
      'hosts: {}\n',
      '1:1: proxmox: proxmox is missing; write it, such as {endpoint: "https://pve1.example.net:8006/", nodes: {pve1: {address: "192.0.2.11"}}}',
    ],
    [
      'sections with nothing in them',
      'proxmox:\nhosts:\n',
      '1:1: proxmox: nothing stands behind "proxmox:"; write a value, such as {endpoint: "https://pve1.example.net:8006/", nodes: {pve1: {address: "192.0.2.11"}}}',
      '2:1: hosts: nothing stands behind "hosts:"; write a value, such as {mqtt-01: {vmId: 283, address: "192.0.2.83/24"}}',
    ],
    [
      'a number where a text belongs',
      hostWith('description: 5'),
      '6:38: hosts.mqtt-01.description: 5 is read as a number; put it in quotes: "5"',
    ],
    [
      'nothing behind a name',
      hostWith('cores:'),
      '6:25: hosts.mqtt-01.cores: nothing stands behind "cores:"; write a value, such as 2, or leave the line out',
    ],
  ];
  test.each(cases)('%s', (_name, text, ...problems) => {
    expect(problemsOf(() => parse(text))).toEqual(problems);
  });
});

describe('YAML', () => {
  const cases: Case[] = [
    ['a tab', `${PROXMOX}hosts:\n\ta: 1\n`, '5:1: a tab indents this line; indent with spaces'],
    [
      'an open bracket',
      `${PROXMOX}hosts: { a: 1\n`,
      '5:1: a { or [ before this place is not closed; close it, or indent this line',
    ],
    [
      'an open quote',
      `${PROXMOX}hosts: { a: "1 }\n`,
      '5:1: a character is missing here; look for a colon, comma, bracket or quote that is not there',
      '5:1: a { or [ before this place is not closed; close it, or indent this line',
    ],
    [
      'two documents',
      `${PROXMOX}---\nhosts: {}\n`,
      '4:1: a second document starts here; keep one, without a line "---" in the middle',
    ],
    ['a tag', hostWith('description: !secret x'), '6:38: this tag (!…) means nothing here; leave it out'],
    [
      'bad indentation',
      `${PROXMOX}hosts:\n  a:\n    vmId: 283\n   node: pve1\n`,
      '7:1: this line is indented otherwise than the lines around it; align them',
    ],
    [
      'two colons',
      hostWith('').replace('https', 'a: https'),
      '2:13: two colons follow each other on this line; put the value in quotes, or start a new line',
    ],
    [
      'a key twice',
      `${PROXMOX}${DEFAULTS}hosts:\n  a:\n    vmId: 283\n    cores: 1\n    vmId: 284\n`,
      '9:5: hosts.a.vmId: this key stands twice, first on line 7; keep one of them',
    ],
    [
      'a host twice',
      fleetOf('a: { vmId: 283 }', 'a: { vmId: 284 }'),
      '7:3: hosts.a: this key stands twice, first on line 6; keep one of them',
    ],
    [
      'CRLF',
      hostWith('memry: 1').replaceAll('\n', '\r\n'),
      '6:25: hosts.mqtt-01.memry: "memry" is no setting here; did you mean memory?',
    ],
    [
      'a byte order mark',
      `\uFEFFzzz: 1\n${hostWith('')}`,
      '1:1: zzz: "zzz" is no setting here; known are proxmox, admins, defaults, hosts, shared, state, drift',
    ],
    [
      'an alias without an anchor',
      fleetOf('a: *nope'),
      '6:6: hosts.a: *nope has no anchor before it; write &nope at the first place',
    ],
    [
      'an alias inside its anchor',
      fleetOf('a: &a { vmId: 283, dns: *a }'),
      '6:27: hosts.a.dns: *a stands inside its own anchor; take it out',
    ],
    [
      'a merge of a number',
      fleetOf('a: { <<: 5 }'),
      '6:8: hosts.a.<<: << merges mappings only; write an alias of one, such as *small',
    ],
    [
      'a list as a key',
      fleetOf('? [a]', ': 1'),
      '6:5: hosts: a key here is no plain text; write a name, then a colon',
    ],
    ['no key', fleetOf(': 1'), '6:3: hosts: the name before this colon is missing; write it'],
    [
      'a reserved key',
      fleetOf('__proto__: { vmId: 283 }'),
      '6:3: hosts.__proto__: this name is reserved; choose another one',
    ],
    [
      'a number as a key',
      fleetOf('1e3: { vmId: 283 }'),
      '6:3: hosts.1000: this name is read as a number; put it in quotes: "1e3"',
    ],
    [
      'a boolean as a key',
      fleetOf('true: { vmId: 283 }'),
      '6:3: hosts.true: this name is read as true or false; put it in quotes: "true"',
    ],
    [
      'a bad value in an anchor',
      fleetOf('a: &a { vmId: 283, cores: "4" }', 'b: { <<: *a, vmId: 284 }'),
      '6:29: hosts.a.cores: "4" is text; write the number without quotes: 4',
    ],
    [
      'a bad value in a merged anchor, overridden',
      `${PROXMOX}defaults: &d { node: pve1, template: 9000, disk: local-lvm, memory: 1 }\nhosts:\n  a: { <<: *d, vmId: 283, memory: 512 }\n`,
      '4:69: defaults.memory: 1 is out of range; write a whole number from 64 to 268435456',
    ],
    [
      'what an anchor lacks',
      fleetOf('a: &a { vmId: 283 }', 'b: { <<: *a, vmId: }', 'c: { <<: [*a], vmId: 283 }'),
      '7:16: hosts.b.vmId: nothing stands behind "vmId:"; write a value, such as 283',
      '8:24: hosts.c.vmId: 283 is also the vmId of a (line 6); give each host its own',
    ],
  ];
  test.each(cases)('%s', (_name, text, ...problems) => {
    expect(problemsOf(() => parse(text))).toEqual(problems);
  });
});

describe('unknown keys', () => {
  const cases: Case[] = [
    [
      'at the top',
      hostWith('').replace('hosts:', 'host:'),
      '5:1: host: "host" is no setting here; did you mean hosts?',
    ],
    [
      'in proxmox',
      hostWith('').replace('endpoint', 'endpint'),
      '2:3: proxmox.endpint: "endpint" is no setting here; did you mean endpoint?',
    ],
    [
      'in a node',
      hostWith('').replace('address: 192.0.2.12', 'adress: 192.0.2.12'),
      '3:51: proxmox.nodes.pve2.adress: "adress" is no setting here; did you mean address?',
    ],
    [
      'in defaults',
      hostWith('').replace('template', 'tempalte'),
      '4:25: defaults.tempalte: "tempalte" is no setting here; did you mean template?',
    ],
    [
      'in a host',
      hostWith('memry: 3'),
      '6:25: hosts.mqtt-01.memry: "memry" is no setting here; did you mean memory?',
    ],
    [
      "in Terraform's spelling",
      hostWith('on_boot: true'),
      '6:25: hosts.mqtt-01.on_boot: "on_boot" is no setting here; did you mean onBoot?',
    ],
    [
      'in dns',
      hostWith('dns: { server: [192.0.2.53] }'),
      '6:32: hosts.mqtt-01.dns.server: "server" is no setting here; did you mean servers?',
    ],
    [
      'in hostKey',
      hostWith('hostKey: { publik: x }'),
      '6:36: hosts.mqtt-01.hostKey.publik: "publik" is no setting here; did you mean public?',
    ],
    [
      'in shared',
      `${hostWith('')}shared: [{ paht: secrets/a, hosts: [mqtt-01] }]\n`,
      '7:12: shared[0].paht: "paht" is no setting here; did you mean path?',
    ],
    [
      'in state',
      `${hostWith('')}state: { s4: {} }\n`,
      '7:10: state.s4: "s4" is no setting here; did you mean s3?',
    ],
    [
      'far from all',
      hostWith('zzz: 1'),
      '6:25: hosts.mqtt-01.zzz: "zzz" is no setting here; fleet.schema.json lists those that are',
    ],
    [
      'a backend that is not there',
      `${hostWith('')}state: { consul: { path: x } }\n`,
      '7:10: state.consul: "consul" is no setting here; known are local, s3, http, pg, gcs, azurerm',
    ],
    [
      'a source of keys that is not there yet',
      hostWith('hostKey: { sops: secrets/key }'),
      '6:36: hosts.mqtt-01.hostKey.sops: "sops" is no source of a host key; write generated, or { public: "ssh-ed25519 AAAA…" }',
    ],
    [
      'its short form',
      hostWith('hostKey: sops'),
      '6:34: hosts.mqtt-01.hostKey: "sops" is no source of a host key; write generated, or { public: "ssh-ed25519 AAAA…" }',
    ],
    [
      'a setting of hosts at the top',
      `${hostWith('')}vmId: 3\nmemory: 3\n`,
      '7:1: vmId: vmId is a setting of hosts; write it under a host',
      '8:1: memory: memory is a setting of hosts; write it under defaults, or under a host',
    ],
    [
      "a host's own setting in defaults",
      fleetOf('a: { vmId: 283 }').replace('node: pve1', 'node: pve1, vmId: 283'),
      '4:25: defaults.vmId: vmId differs from host to host; write it in each host',
    ],
  ];
  test.each(cases)('%s', (_name, text, ...problems) => {
    expect(problemsOf(() => parse(text))).toEqual(problems);
  });
});

describe('names', () => {
  const cases: Case[] = [
    [
      'letter case',
      fleetOf('Web-01: { vmId: 283 }'),
      '6:3: hosts.Web-01: "Web-01" has upper-case letters, and a host name has none; write web-01',
    ],
    [
      'letter case only',
      fleetOf('Web-01: { vmId: 283 }', 'web-01: { vmId: 284 }'),
      '6:3: hosts.Web-01: "Web-01" differs from web-01 in case only, and DNS knows no case; give it another name',
    ],
    [
      'an underscore',
      fleetOf('web_01: { vmId: 283 }'),
      '6:3: hosts.web_01: "web_01" is no DNS label; use lower-case letters, digits and inner hyphens, such as mqtt-01',
    ],
    [
      'a dot',
      fleetOf('web.example.net: { vmId: 283 }'),
      '6:3: hosts.web.example.net: "web.example.net" is no DNS label; use lower-case letters, digits and inner hyphens, such as mqtt-01',
    ],
    [
      'a hyphen in front',
      fleetOf('-a: { vmId: 283 }'),
      '6:3: hosts.-a: "-a" is no DNS label; use lower-case letters, digits and inner hyphens, such as mqtt-01',
    ],
    [
      'too long',
      fleetOf(`${'x'.repeat(64)}: { vmId: 283 }`),
      '6:3: hosts.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…: this name has 64 characters; a DNS label has at most 63',
    ],
    [
      'digits',
      fleetOf('"12": { vmId: 283 }'),
      '6:3: hosts.12: "12" is a number to DNS; give the name a letter, such as host-12',
    ],
    [
      'an umlaut',
      fleetOf('müller: { vmId: 283 }'),
      '6:3: hosts.müller: "müller" is no DNS label; use lower-case letters, digits and inner hyphens, such as mqtt-01',
    ],
    [
      'beside a bad value',
      fleetOf('web_01: { vmId: 283 }', 'b: { vmId: 1 }'),
      '6:3: hosts.web_01: "web_01" is no DNS label; use lower-case letters, digits and inner hyphens, such as mqtt-01',
      '7:14: hosts.b.vmId: 1 is out of range; write a whole number from 100 to 999999999',
    ],
    [
      'of a node',
      fleetOf('a: { vmId: 283 }').replace('pve2:', 'pve_2:'),
      '3:43: proxmox.nodes.pve_2: "pve_2" is no name of a Proxmox node; write it as the web interface shows it',
    ],
    [
      'of an admin',
      `${fleetOf()}admins: { 'o p': AGE }\n`.replace('AGE', RECIPIENT),
      '6:11: admins.o p: "o p" is no name of an admin; use letters, digits, - and _',
    ],
  ];
  test.each(cases)('%s', (_name, text, ...problems) => {
    expect(problemsOf(() => parse(text))).toEqual(problems);
  });
});

describe('missing settings', () => {
  const cases: Case[] = [
    ['vmId', fleetOf('a: { memory: 512 }'), '6:3: hosts.a.vmId: vmId is missing; write it, such as 283'],
    [
      'node, template and disk',
      `${PROXMOX}hosts:\n  a: { vmId: 283 }\n`,
      '5:3: hosts.a.node: node is missing; write it here, or in defaults for every host',
      '5:3: hosts.a.template: template is missing; write it here, or in defaults for every host',
      '5:3: hosts.a.disk: disk is missing; write it here, or in defaults for every host',
    ],
    [
      'one of them',
      `${PROXMOX}defaults: { node: pve1, template: 9000 }\nhosts:\n  a: { vmId: 283, disk: local-lvm }\n  b: { vmId: 284 }\n`,
      '7:3: hosts.b.disk: disk is missing; write it here, or in defaults for every host',
    ],
    [
      'not when it is there and wrong',
      `${PROXMOX}defaults: { node: pve1, template: "9000", disk: local-lvm }\nhosts:\n  a: { vmId: 283 }\n`,
      '4:35: defaults.template: "9000" is text; write the number without quotes: 9000',
    ],
  ];
  test.each(cases)('%s', (_name, text, ...problems) => {
    expect(problemsOf(() => parse(text))).toEqual(problems);
  });
});

describe('what no two hosts share', () => {
  const cases: Case[] = [
    [
      'vmId',
      fleetOf('a: { vmId: 283 }', 'b: { vmId: 283 }'),
      '7:14: hosts.b.vmId: 283 is also the vmId of a (line 6); give each host its own',
    ],
    [
      'vmId of a template',
      fleetOf('a: { vmId: 9000 }'),
      '6:14: hosts.a.vmId: 9000 is the template that a is cloned from; give the host a number of its own',
    ],
    [
      'address',
      fleetOf('a: { vmId: 283, address: 192.0.2.5/24 }', 'b: { vmId: 284, address: 192.0.2.5/25 }'),
      '7:28: hosts.b.address: 192.0.2.5 is also the address of a (line 6); give each host its own',
    ],
    [
      'IPv6 address, spelled otherwise',
      fleetOf(
        'a: { vmId: 283, address6: "2001:db8::5/64" }',
        'b: { vmId: 284, address6: "2001:0DB8:0:0::0005/64" }',
      ),
      '7:29: hosts.b.address6: 2001:db8::5 is also the address of a (line 6); give each host its own',
    ],
    [
      'MAC address',
      fleetOf('a: { vmId: 283, mac: "BC:24:11:00:02:83" }', 'b: { vmId: 284, mac: "bc:24:11:00:02:83" }'),
      '7:24: hosts.b.mac: BC:24:11:00:02:83 is also the MAC address of a (line 6); give each host its own',
    ],
    [
      'host key',
      fleetOf(
        `a: { vmId: 283, hostKey: { public: ${KEY} } }`,
        `b: { vmId: 284, hostKey: { public: ${KEY} other } }`,
      ),
      '7:38: hosts.b.hostKey.public: this key is also the host key of a (line 6); each host has a key of its own',
    ],
    [
      'alias',
      fleetOf(
        'a: { vmId: 283, aliases: [b, web.example.net] }',
        'b: { vmId: 284, aliases: [WEB.example.net] }',
      ),
      '6:29: hosts.a.aliases[0]: b is also a name of b (line 7); one name leads to one host',
      '7:29: hosts.b.aliases[0]: web.example.net is also a name of a (line 6); one name leads to one host',
    ],
    [
      'alias that is an address',
      fleetOf('a: { vmId: 283, address: 192.0.2.5/24 }', 'b: { vmId: 284, aliases: [192.0.2.5] }'),
      '7:29: hosts.b.aliases[0]: 192.0.2.5 is also a name of a (line 6); one name leads to one host',
    ],
  ];
  test.each(cases)('%s', (_name, text, ...problems) => {
    expect(problemsOf(() => parse(text))).toEqual(problems);
  });
});

describe('nodes', () => {
  const cases: Case[] = [
    [
      'unknown',
      hostWith('node: pve3'),
      '6:31: hosts.mqtt-01.node: "pve3" is none of proxmox.nodes; did you mean pve1?',
    ],
    [
      'in other letter case',
      hostWith('node: PVE1'),
      '6:31: hosts.mqtt-01.node: "PVE1" is none of proxmox.nodes; did you mean pve1?',
    ],
    [
      "a template's",
      hostWith('templateNode: pv1'),
      '6:39: hosts.mqtt-01.templateNode: "pv1" is none of proxmox.nodes; did you mean pve1?',
    ],
    [
      'in defaults',
      fleetOf('a: { vmId: 283 }').replace('node: pve1', 'node: pve9'),
      '4:19: defaults.node: "pve9" is none of proxmox.nodes; did you mean pve1?',
    ],
  ];
  test.each(cases)('%s', (_name, text, ...problems) => {
    expect(problemsOf(() => parse(text))).toEqual(problems);
  });
});

describe('addresses', () => {
  const cases: Case[] = [
    [
      'no address',
      hostWith('address: foo'),
      '6:34: hosts.mqtt-01.address: "foo" is no address in CIDR notation; write one such as 192.0.2.83/24, or dhcp',
    ],
    [
      'without a prefix',
      hostWith('address: 192.0.2.83'),
      '6:34: hosts.mqtt-01.address: "192.0.2.83" lacks the length of its network\'s prefix; write 192.0.2.83/24 for a /24 network',
    ],
    [
      'prefix too long',
      hostWith('address: 192.0.2.83/33'),
      '6:34: hosts.mqtt-01.address: /33 is no length of a prefix; write a number from 0 to 32',
    ],
    [
      'octal look',
      hostWith('address: 192.0.2.083/24'),
      '6:34: hosts.mqtt-01.address: "192.0.2.083" has a number with a leading zero; write 192.0.2.83',
    ],
    [
      'four numbers too large',
      hostWith('address: 192.0.2.256/24'),
      '6:34: hosts.mqtt-01.address: "192.0.2.256/24" is no address in CIDR notation; write one such as 192.0.2.83/24, or dhcp',
    ],
    [
      'the network',
      hostWith('address: 192.0.2.0/24'),
      "6:34: hosts.mqtt-01.address: 192.0.2.0 is the address of the network 192.0.2.0/24 itself; write a host's",
    ],
    [
      'the broadcast address',
      hostWith('address: 192.0.2.255/24'),
      "6:34: hosts.mqtt-01.address: 192.0.2.255 is the broadcast address of 192.0.2.0/24; write a host's",
    ],
    [
      'of a small network',
      hostWith('address: 192.0.2.7/30'),
      "6:34: hosts.mqtt-01.address: 192.0.2.7 is the broadcast address of 192.0.2.4/30; write a host's",
    ],
    [
      'multicast',
      hostWith('address: 224.0.0.5/24'),
      "6:34: hosts.mqtt-01.address: 224.0.0.5 is the address of no single host; write one of the host's own",
    ],
    [
      'IPv6 as IPv4',
      hostWith('address: "2001:db8::1/64"'),
      '6:34: hosts.mqtt-01.address: "2001:db8::1/64" is IPv6; write it as address6',
    ],
    [
      'IPv4 as IPv6',
      hostWith('address6: 192.0.2.5/24'),
      '6:35: hosts.mqtt-01.address6: "192.0.2.5/24" is IPv4; write it as address',
    ],
    [
      'the IPv6 network',
      hostWith('address6: "2001:db8::/64"'),
      "6:35: hosts.mqtt-01.address6: 2001:db8:: is the address of the network 2001:db8::/64 itself; write a host's",
    ],
    [
      'with a zone',
      hostWith('address6: "fe80::1%eth0/64"'),
      '6:35: hosts.mqtt-01.address6: "fe80::1%eth0/64" is no address in CIDR notation; write one such as 2001:db8::83/64, dhcp, or auto',
    ],
    [
      'gateway outside',
      hostWith('address: 192.0.2.5/24, gateway: 192.0.3.1'),
      '6:57: hosts.mqtt-01.gateway: 192.0.3.1 lies outside 192.0.2.0/24, the network of mqtt-01; write a gateway inside it',
    ],
    [
      'gateway6 outside',
      hostWith('address6: "2001:db8::5/64", gateway6: "2001:db8:1::1"'),
      '6:63: hosts.mqtt-01.gateway6: 2001:db8:1::1 lies outside 2001:db8::/64, the network of mqtt-01; write a gateway inside it',
    ],
    [
      'gateway of defaults outside',
      fleetOf('a: { vmId: 283, address: 198.51.100.5/24 }').replace(
        'node: pve1',
        'node: pve1, gateway: 192.0.2.1',
      ),
      '4:34: defaults.gateway: 192.0.2.1 lies outside 198.51.100.0/24, the network of a; write a gateway inside it',
    ],
    [
      'gateway itself',
      hostWith('address: 192.0.2.5/24, gateway: 192.0.2.5'),
      "6:57: hosts.mqtt-01.gateway: 192.0.2.5 is the address of mqtt-01 itself; write the router's",
    ],
    [
      'gateway the broadcast address',
      hostWith('address: 192.0.2.5/24, gateway: 192.0.2.255'),
      "6:57: hosts.mqtt-01.gateway: 192.0.2.255 is the broadcast address of 192.0.2.0/24; write the router's",
    ],
    [
      'gateway the network',
      hostWith('address: 192.0.2.5/24, gateway: 192.0.2.0'),
      "6:57: hosts.mqtt-01.gateway: 192.0.2.0 is the address of the network 192.0.2.0/24 itself; write the router's",
    ],
    [
      'gateway with dhcp',
      hostWith('gateway: 192.0.2.1'),
      '6:34: hosts.mqtt-01.gateway: with address dhcp the network names the gateway; leave this out',
    ],
    [
      'gateway6 without address6',
      hostWith('gateway6: "fe80::1"'),
      '6:35: hosts.mqtt-01.gateway6: a gateway without address6; write that too, or leave this out',
    ],
    [
      'gateway with a prefix',
      hostWith('address: 192.0.2.5/24, gateway: 192.0.2.1/24'),
      '6:57: hosts.mqtt-01.gateway: "192.0.2.1/24" has a prefix; write the address alone: 192.0.2.1',
    ],
    [
      'gateway of the other kind',
      hostWith('address: 192.0.2.5/24, gateway: "2001:db8::1"'),
      '6:57: hosts.mqtt-01.gateway: "2001:db8::1" is IPv6; write it as gateway6',
    ],
    [
      'a group MAC',
      hostWith('mac: "01:00:5e:00:00:01"'),
      '6:30: hosts.mqtt-01.mac: "01:00:5e:00:00:01" is a group\'s MAC address; the first pair of a single device\'s is even',
    ],
    [
      'no MAC',
      hostWith('mac: bc-24-11-00-02-83'),
      '6:30: hosts.mqtt-01.mac: "bc-24-11-00-02-83" is no MAC address; write one such as BC:24:11:00:02:83',
    ],
    [
      'name server',
      hostWith('dns: { servers: [dns.example.net] }'),
      '6:42: hosts.mqtt-01.dns.servers[0]: "dns.example.net" is no IP address; write one such as 192.0.2.1',
    ],
    [
      'no name servers',
      hostWith('dns: { servers: [] }'),
      '6:41: hosts.mqtt-01.dns.servers: this list is empty; name a server, or leave dns out',
    ],
    [
      'of a node',
      fleetOf('a: { vmId: 283 }').replace('192.0.2.12', '192.0.2.300'),
      '3:60: proxmox.nodes.pve2.address: "192.0.2.300" is no IP address; write one such as 192.0.2.1',
    ],
    [
      'alias',
      hostWith('aliases: ["a b"]'),
      '6:35: hosts.mqtt-01.aliases[0]: "a b" is no DNS name; write one such as mqtt.example.net',
    ],
  ];
  test.each(cases)('%s', (_name, text, ...problems) => {
    expect(problemsOf(() => parse(text))).toEqual(problems);
  });
});

describe('numbers and booleans', () => {
  const cases: Case[] = [
    [
      'a number in quotes',
      fleetOf('a: { vmId: "283" }'),
      '6:14: hosts.a.vmId: "283" is text; write the number without quotes: 283',
    ],
    [
      'too small',
      fleetOf('a: { vmId: 99 }'),
      '6:14: hosts.a.vmId: 99 is out of range; write a whole number from 100 to 999999999',
    ],
    [
      'too large',
      fleetOf('a: { vmId: 1000000000 }'),
      '6:14: hosts.a.vmId: 1000000000 is out of range; write a whole number from 100 to 999999999',
    ],
    [
      'a fraction',
      hostWith('cores: 1.5'),
      '6:32: hosts.mqtt-01.cores: 1.5 is no whole number; write one without a point',
    ],
    [
      'a word',
      hostWith('cores: many'),
      '6:32: hosts.mqtt-01.cores: "many" is no number; write a whole number, such as 2',
    ],
    [
      'octal look',
      fleetOf('a: { vmId: 0283 }'),
      '6:14: hosts.a.vmId: 0283 is another number to some readers of YAML; write 283',
    ],
    [
      'octal',
      hostWith('cores: 0o4'),
      '6:32: hosts.mqtt-01.cores: 0o4 is another number to some readers of YAML; write 4',
    ],
    [
      'vlan',
      hostWith('vlan: 4095'),
      '6:31: hosts.mqtt-01.vlan: 4095 is out of range; write a whole number from 1 to 4094',
    ],
    ['yes', hostWith('onBoot: yes'), '6:33: hosts.mqtt-01.onBoot: "yes" is text in YAML 1.2; write true'],
    ['off', hostWith('onBoot: off'), '6:33: hosts.mqtt-01.onBoot: "off" is text in YAML 1.2; write false'],
    [
      'one',
      hostWith('onBoot: 1'),
      '6:33: hosts.mqtt-01.onBoot: 1 is neither true nor false; write one of them',
    ],
    [
      'more balloon than memory',
      hostWith('balloon: 4096'),
      '6:34: hosts.mqtt-01.balloon: 4096 is more than the memory of mqtt-01, 2048 MiB; write less, or 0',
    ],
  ];
  test.each(cases)('%s', (_name, text, ...problems) => {
    expect(problemsOf(() => parse(text))).toEqual(problems);
  });
});

describe('words', () => {
  const cases: Case[] = [
    [
      'tag',
      hostWith('tags: [IoT]'),
      '6:32: hosts.mqtt-01.tags[0]: "IoT" is no tag (Proxmox keeps them in lower case); write one such as iot',
    ],
    [
      'no list',
      hostWith('tags: iot'),
      '6:31: hosts.mqtt-01.tags: "iot" is no list; write a list, such as ["iot"]',
    ],
    [
      'bridge',
      hostWith('bridge: "vmbr 0"'),
      '6:33: hosts.mqtt-01.bridge: "vmbr 0" is no name of a bridge; write one such as vmbr0',
    ],
    [
      'disk',
      hostWith('disk: "-x"'),
      '6:31: hosts.mqtt-01.disk: "-x" is no name of a datastore; write one such as local-lvm',
    ],
    [
      'diskInterface',
      hostWith('diskInterface: scsi31'),
      '6:40: hosts.mqtt-01.diskInterface: "scsi31" is no disk of a VM; write one such as scsi0 or virtio0',
    ],
    [
      'user',
      hostWith('user: Ops'),
      '6:31: hosts.mqtt-01.user: "Ops" is no login name; write one such as ops',
    ],
    [
      'a next key that is the present one',
      hostWith('nextKey: generated'),
      '6:34: hosts.mqtt-01.nextKey: this is the key that mqtt-01 has already; write another generation, or leave it out',
    ],
    [
      'generation',
      hostWith('nextKey: { generation: 0 }'),
      '6:48: hosts.mqtt-01.nextKey.generation: 0 is out of range; write a whole number from 1 to 999999',
    ],
    [
      'hostKeyTypes',
      hostWith('hostKeyTypes: [rsa]'),
      '6:39: hosts.mqtt-01.hostKeyTypes: ed25519 is missing, and the age recipient is derived from it; write [ed25519, rsa]',
    ],
    [
      'hostKeyDirectory',
      hostWith('hostKeyDirectory: etc/ssh'),
      '6:43: hosts.mqtt-01.hostKeyDirectory: "etc/ssh" is no plain absolute path; write one such as /persist/etc/ssh',
    ],
    [
      'hostKeyDirectory with dots',
      hostWith('hostKeyDirectory: /etc/../ssh'),
      '6:43: hosts.mqtt-01.hostKeyDirectory: "/etc/../ssh" is no plain absolute path; write one such as /persist/etc/ssh',
    ],
    [
      'minTls',
      hostWith('').replace('endpoint', 'minTls: 1.1\n  endpoint'),
      '2:11: proxmox.minTls: 1.1 is no TLS version that Proxmox speaks safely; write 1.2 or 1.3',
    ],
    [
      'endpoint without TLS',
      hostWith('').replace('https', 'http'),
      '2:13: proxmox.endpoint: "http://pve1.example.net:8006/" would send the token in clear text; write https://',
    ],
    [
      'endpoint with a path',
      hostWith('').replace('8006/', '8006/api2/json'),
      '2:13: proxmox.endpoint: "https://pve1.example.net:8006/api2/json" has a path, and the provider adds its own; write https://pve1.example.net:8006/',
    ],
    [
      'endpoint without a scheme',
      hostWith('').replace('https://', ''),
      '2:13: proxmox.endpoint: "pve1.example.net:8006/" is no https URL; write one such as https://pve1.example.net:8006/',
    ],
  ];
  test.each(cases)('%s', (_name, text, ...problems) => {
    expect(problemsOf(() => parse(text))).toEqual(problems);
  });
});

describe('keys', () => {
  const cases: Case[] = [
    [
      'SSH key cut short',
      hostWith('authorizedKeys: [ssh-ed25519 AAAA]'),
      '6:42: hosts.mqtt-01.authorizedKeys[0]: the key was cut short; was the line copied whole?',
    ],
    [
      'no SSH key',
      hostWith('authorizedKeys: [me@laptop]'),
      '6:42: hosts.mqtt-01.authorizedKeys[0]: this is no SSH public key; write the one line of the .pub file, such as "ssh-ed25519 AAAA… me"',
    ],
    [
      'not on the curve',
      hostWith(`authorizedKeys: [${OFF_CURVE}]`),
      '6:42: hosts.mqtt-01.authorizedKeys[0]: the 32 bytes of this ed25519 key are no point on the curve; was a character changed?',
    ],
    [
      'another type within',
      hostWith(`authorizedKeys: [${KEY.replace('ssh-ed25519', 'ssh-rsa')}]`),
      '6:42: hosts.mqtt-01.authorizedKeys[0]: the line says "ssh-rsa", but the key in it is "ssh-ed25519"',
    ],
    [
      'host key of another type',
      hostWith(`hostKey: { public: ${RSA} }`),
      '6:44: hosts.mqtt-01.hostKey.public: an age recipient comes from an ssh-ed25519 key, and this is "ssh-rsa"',
    ],
    [
      'host key not on the curve',
      hostWith(`hostKey: { public: ${OFF_CURVE} }`),
      '6:44: hosts.mqtt-01.hostKey.public: the 32 bytes of this ed25519 key are no point on the curve; was a character changed?',
    ],
    [
      'recipient with a typo',
      `${fleetOf()}admins: { ops: ${RECIPIENT.slice(0, -1)}q }\n`,
      '6:16: admins.ops: the checksum of "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8q" is wrong; was a character changed or lost?',
    ],
    [
      'no recipient',
      `${fleetOf()}admins: { ops: foo }\n`,
      '6:16: admins.ops: "foo" is no age recipient; write the line that age-keygen -y prints, age1…',
    ],
    [
      'a key that age has no use for',
      `${fleetOf()}admins: { ops: ssh-dss AAAA }\n`,
      '6:16: admins.ops: age encrypts to ssh-ed25519 and ssh-rsa keys only; write one of them',
    ],
  ];
  test.each(cases)('%s', (_name, text, ...problems) => {
    expect(problemsOf(() => parse(text))).toEqual(problems);
  });
});

describe('paths', () => {
  const cases: Case[] = [
    [
      'absolute',
      hostWith('secrets: /srv/secrets'),
      '6:34: hosts.mqtt-01.secrets: "/srv/secrets" is an absolute path; write a path relative to the folder of fleet.yaml',
    ],
    [
      'at home',
      hostWith('secrets: ~/secrets'),
      '6:34: hosts.mqtt-01.secrets: "~/secrets" is an absolute path; write a path relative to the folder of fleet.yaml',
    ],
    [
      'on a drive',
      hostWith('secrets: "C:/secrets"'),
      '6:34: hosts.mqtt-01.secrets: "C:/secrets" is an absolute path; write a path relative to the folder of fleet.yaml',
    ],
    [
      'upward',
      hostWith('secrets: secrets/../../x'),
      '6:34: hosts.mqtt-01.secrets: "secrets/../../x" leads outside the repository; write a path relative to the folder of fleet.yaml, without ".."',
    ],
    [
      'the repository',
      hostWith('secrets: ./'),
      '6:34: hosts.mqtt-01.secrets: "./" is the repository itself; name a folder in it',
    ],
    [
      'with backslashes',
      hostWith('secrets: secrets\\a'),
      '6:34: hosts.mqtt-01.secrets: "secrets\\\\a" has a backslash; write a path relative to the folder of fleet.yaml, with forward slashes',
    ],
    [
      'with a star',
      hostWith('secrets: "secrets/*"'),
      '6:34: hosts.mqtt-01.secrets: "secrets/*" has a character that paths here don\'t have; use letters, digits, and . _ - /',
    ],
    [
      "git's",
      hostWith('secrets: .git/secrets'),
      '6:34: hosts.mqtt-01.secrets: ".git/secrets" lies in git\'s own folder; name another one',
    ],
    [
      "a host's in the state",
      hostWith('secrets: state/a'),
      "6:34: hosts.mqtt-01.secrets: state/a lies in state, Terraform's state; choose a folder apart from it",
    ],
    [
      "two hosts' own",
      fleetOf('a: { vmId: 283, secrets: secrets/x }', 'b: { vmId: 284, secrets: ./secrets//x/ }'),
      '7:28: hosts.b.secrets: secrets/x is also the folder of the secrets of a (line 6); choose a folder apart from it',
    ],
    [
      "in another host's",
      fleetOf('a: { vmId: 283 }', 'b: { vmId: 284, secrets: secrets/a/b }'),
      '7:28: hosts.b.secrets: secrets/a/b lies in secrets/a, the secrets of a (line 6); choose a folder apart from it',
    ],
    [
      "around another host's",
      fleetOf('a: { vmId: 283, secrets: secrets }', 'b: { vmId: 284 }'),
      '6:28: hosts.a.secrets: secrets holds secrets/b, the secrets of b (line 7); choose a folder apart from it',
    ],
    [
      'one for all',
      fleetOf('a: { vmId: 283 }', 'b: { vmId: 284 }').replace(
        'node: pve1',
        'node: pve1, secrets: secrets/all',
      ),
      '4:34: defaults.secrets: secrets/all is also the folder of the secrets of a (line 4); write secrets/{host}',
    ],
  ];
  test.each(cases)('%s', (_name, text, ...problems) => {
    expect(problemsOf(() => parse(text))).toEqual(problems);
  });
});

describe('shared', () => {
  const cases: Case[] = [
    [
      'unknown host',
      `${hostWith('')}shared:\n  - { path: secrets/shared, hosts: [mqt-01] }\n`,
      '8:37: shared[0].hosts[0]: "mqt-01" is none of hosts; did you mean mqtt-01?',
    ],
    [
      'host twice',
      `${hostWith('')}shared:\n  - { path: secrets/shared, hosts: [mqtt-01, mqtt-01] }\n`,
      '8:46: shared[0].hosts[1]: mqtt-01 stands twice in this list; take one out',
    ],
    [
      'nobody',
      `${hostWith('')}shared:\n  - { path: secrets/shared, hosts: [] }\n`,
      '8:36: shared[0].hosts: this list is empty; name the hosts that read these secrets',
    ],
    [
      "a host's folder",
      `${hostWith('')}shared:\n  - { path: ./secrets/mqtt-01, hosts: [mqtt-01] }\n`,
      '8:13: shared[0].path: secrets/mqtt-01 is also the folder of the secrets of mqtt-01 (line 6); choose a folder apart from it',
    ],
    [
      "in a host's folder",
      `${hostWith('')}shared:\n  - { path: secrets/mqtt-01/a, hosts: [mqtt-01] }\n`,
      '8:13: shared[0].path: secrets/mqtt-01/a lies in secrets/mqtt-01, the secrets of mqtt-01 (line 6); choose a folder apart from it',
    ],
    [
      "around a host's folder",
      `${hostWith('')}shared:\n  - { path: secrets, hosts: [mqtt-01] }\n`,
      '8:13: shared[0].path: secrets holds secrets/mqtt-01, the secrets of mqtt-01 (line 6); choose a folder apart from it',
    ],
    [
      'twice',
      `${hostWith('')}shared:\n  - { path: secrets/a, hosts: [mqtt-01] }\n  - { path: secrets/a/, hosts: [mqtt-01] }\n`,
      '9:13: shared[1].path: secrets/a is also the folder of secrets that are shared (line 8); choose a folder apart from it',
    ],
    [
      'by host',
      `${hostWith('')}shared:\n  - { path: 'secrets/{host}', hosts: [mqtt-01] }\n`,
      '8:13: shared[0].path: "secrets/{host}" differs from host to host; write one folder',
    ],
    [
      'outside',
      `${hostWith('')}shared:\n  - { path: ../x, hosts: [mqtt-01] }\n`,
      '8:13: shared[0].path: "../x" leads outside the repository; write a path relative to the folder of fleet.yaml, without ".."',
    ],
    [
      'no mapping',
      `${hostWith('')}shared: [secrets/a]\n`,
      '7:10: shared[0]: "secrets/a" is no mapping; write lines of "name: value" here',
    ],
  ];
  test.each(cases)('%s', (_name, text, ...problems) => {
    expect(problemsOf(() => parse(text))).toEqual(problems);
  });
});

describe('cloudConfig', () => {
  const cases: Case[] = [
    [
      'a number',
      hostWith('cloudConfig: 5'),
      '6:38: hosts.mqtt-01.cloudConfig: 5 is no cloud-config; write its settings, or the path of a YAML file',
    ],
    [
      'a file that is not there',
      hostWith('cloudConfig: cloud/base.yaml'),
      '6:38: hosts.mqtt-01.cloudConfig: there is no file cloud/base.yaml; write it, or correct the path',
    ],
    [
      'a file outside',
      hostWith('cloudConfig: ../base.yaml'),
      '6:38: hosts.mqtt-01.cloudConfig: "../base.yaml" leads outside the repository; write a path relative to the folder of fleet.yaml, without ".."',
    ],
    [
      'words that cloud-init reads as booleans',
      hostWith('cloudConfig: { ssh_pwauth: no }'),
      '6:52: hosts.mqtt-01.cloudConfig.ssh_pwauth: no is false to cloud-init and text to others; write false, or "no" in quotes',
    ],
    [
      'an octal mode',
      hostWith('cloudConfig: { write_files: [{ path: /x, permissions: 0644 }] }'),
      '6:79: hosts.mqtt-01.cloudConfig.write_files[0].permissions: 0644 is another number to some readers of YAML; write it in quotes: "0644"',
    ],
  ];
  test.each(cases)('%s', (_name, text, ...problems) => {
    expect(problemsOf(() => parse(text))).toEqual(problems);
  });
});

describe('state', () => {
  const cases: Case[] = [
    [
      'two places',
      `${hostWith('')}state: { local: state, s3: {} }\n`,
      '7:24: state.s3: state is kept in one place, and local (line 7) is one already; keep one of them',
    ],
    [
      'a word',
      `${hostWith('')}state: local\n`,
      '7:8: state: "local" is no mapping; write lines of "name: value" here',
    ],
    [
      'nothing',
      `${hostWith('')}state: { s3: }\n`,
      '7:10: state.s3: nothing stands behind "s3:"; write a value, or leave the line out',
    ],
    [
      'outside',
      `${hostWith('')}state: { local: /var/state }\n`,
      '7:17: state.local: "/var/state" is an absolute path; write a path relative to the folder of fleet.yaml',
    ],
    [
      's3 without {host}',
      `${hostWith('')}state: { s3: { bucket: b, key: state } }\n`,
      '7:32: state.s3.key: without {host} every host would write over the others\' state; write it in, such as "{host}.tfstate"',
    ],
    [
      'http without an address',
      `${hostWith('')}state: { http: {} }\n`,
      '7:10: state.http.address: address is missing; write it with {host} in it, such as "https://state.example.net/{host}"',
    ],
    [
      'http with one lock for all',
      `${hostWith('')}state: { http: { address: 'https://s/{host}', lock_address: https://s/lock } }\n`,
      '7:61: state.http.lock_address: without {host} every host would write over the others\' state; write it in, such as "https://state.example.net/{host}"',
    ],
    [
      'no text',
      `${hostWith('')}state: { azurerm: { key: 3 } }\n`,
      '7:26: state.azurerm.key: this is no text; write one with {host} in it',
    ],
  ];
  test.each(cases)('%s', (_name, text, ...problems) => {
    expect(problemsOf(() => parse(text))).toEqual(problems);
  });
});

describe('credentials', () => {
  const SECRET = 'hunter2-s3cr3t';
  const api = 'PROXMOX_VE_API_TOKEN (or PROXMOX_VE_USERNAME and PROXMOX_VE_PASSWORD)';
  const ssh = (name: string) => `a credential is no part of this file; set ${name} in the environment`;
  const inProxmox = (key: string) => hostWith('').replace('endpoint', `${key}: ${SECRET}\n  endpoint`);
  const inState = (state: string) => `${hostWith('')}state: { ${state.replaceAll('SECRET', SECRET)} }\n`;

  const cases: Case[] = [
    ['password', inProxmox('password'), `2:3: proxmox.password: ${ssh(api)}`],
    ['username', inProxmox('username'), `2:3: proxmox.username: ${ssh(api)}`],
    ['apiToken', inProxmox('apiToken'), `2:3: proxmox.apiToken: ${ssh('PROXMOX_VE_API_TOKEN')}`],
    ['api_token', inProxmox('api_token'), `2:3: proxmox.api_token: ${ssh('PROXMOX_VE_API_TOKEN')}`],
    ['sshPassword', inProxmox('sshPassword'), `2:3: proxmox.sshPassword: ${ssh('PROXMOX_VE_SSH_PASSWORD')}`],
    [
      'in the endpoint',
      hostWith('').replace('https://', `https://root:${SECRET}@`),
      '2:13: proxmox.endpoint: this URL holds credentials; take them out, and set PROXMOX_VE_API_TOKEN in the environment',
    ],
    [
      'of a host',
      hostWith(`password: ${SECRET}`),
      '6:25: hosts.mqtt-01.password: a password is no part of this file; log in with authorizedKeys',
    ],
    [
      'insecure',
      inProxmox('insecure'),
      '2:3: proxmox.insecure: TLS is always verified; let Terraform trust the CA by SSL_CERT_FILE in the environment',
    ],
    [
      's3',
      inState('s3: { access_key: SECRET, secret_key: SECRET, token: SECRET }'),
      `7:16: state.s3.access_key: ${ssh('AWS_ACCESS_KEY_ID')}`,
      `7:44: state.s3.secret_key: ${ssh('AWS_SECRET_ACCESS_KEY')}`,
      `7:72: state.s3.token: ${ssh('AWS_SESSION_TOKEN')}`,
    ],
    [
      'http',
      inState("http: { address: 'https://s/{host}', username: SECRET, password: SECRET }"),
      `7:47: state.http.username: ${ssh('TF_HTTP_USERNAME')}`,
      `7:73: state.http.password: ${ssh('TF_HTTP_PASSWORD')}`,
    ],
    [
      'http, in the address',
      inState("http: { address: 'https://u:SECRET@s/{host}' }"),
      '7:27: state.http.address: this holds a password; take it out, and set TF_HTTP_USERNAME and TF_HTTP_PASSWORD in the environment',
    ],
    [
      'pg, as a URL',
      inState('pg: { conn_str: postgres://u:SECRET@h/db }'),
      '7:26: state.pg.conn_str: this holds a password; take it out, and set PGPASSWORD (or PG_CONN_STR) in the environment',
    ],
    [
      'pg, as words',
      inState('pg: { conn_str: "host=h password=SECRET" }'),
      '7:26: state.pg.conn_str: this holds a password; take it out, and set PGPASSWORD (or PG_CONN_STR) in the environment',
    ],
    [
      'gcs',
      inState('gcs: { credentials: SECRET, encryption_key: SECRET }'),
      `7:17: state.gcs.credentials: ${ssh('GOOGLE_CREDENTIALS')}`,
      `7:46: state.gcs.encryption_key: ${ssh('GOOGLE_ENCRYPTION_KEY')}`,
    ],
    [
      'azurerm',
      inState('azurerm: { sas_token: SECRET, client_secret: SECRET }'),
      `7:21: state.azurerm.sas_token: ${ssh('ARM_SAS_TOKEN')}`,
      `7:48: state.azurerm.client_secret: ${ssh('ARM_CLIENT_SECRET')}`,
    ],
    [
      'further in',
      inState('s3: { assume_role: { web_identity_token: SECRET, my_password: SECRET } }'),
      `7:31: state.s3.assume_role.web_identity_token: ${ssh('AWS_WEB_IDENTITY_TOKEN_FILE')}`,
      "7:67: state.s3.assume_role.my_password: a credential is no part of this file; give it to Terraform's s3 backend by its environment variable",
    ],
  ];
  test.each(cases)('%s', (_name, text, ...problems) => {
    expect(problemsOf(() => parse(text))).toEqual(problems);
    expect(everythingSaid(text)).not.toContain(SECRET);
  });
});

describe('a private key pasted by mistake', () => {
  const BODY = 'b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW';
  const MIDDLE = 'QyNTUxOQAAACAsq5EXAMPLEexampleEXAMPLEexampleEXAMPLEexampleAAAAoIGoXamBqF';
  const IDENTITY = 'AGE-SECRET-KEY-1QQPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQXAMPLE';
  const places: [string, (secret: string) => string][] = [
    ['as a recipient', (secret) => `${fleetOf()}admins: { ops: "${secret}" }\n`],
    ['as an SSH key', (secret) => hostWith(`authorizedKeys: ["${secret}"]`)],
    ['as a host key', (secret) => hostWith(`hostKey: { public: "${secret}" }`)],
    ['as the source of a host key', (secret) => hostWith(`hostKey: "${secret}"`)],
    ['as a number', (secret) => hostWith(`cores: "${secret}"`)],
    ['as a list', (secret) => hostWith(`tags: "${secret}"`)],
    ['as a node', (secret) => hostWith(`node: "${secret}"`)],
    ['as a path', (secret) => hostWith(`secrets: "/${secret}"`)],
    ['as an address', (secret) => hostWith(`address: "${secret}/24"`)],
    ['as a key', (secret) => hostWith(`"${secret}": 1`)],
    ['as a host', (secret) => fleetOf(`"${secret}": { vmId: 1 }`)],
    [
      'as the host of shared secrets',
      (secret) => `${hostWith('')}shared: [{ path: s, hosts: ["${secret}"] }]\n`,
    ],
    ['as a block that is no YAML', (secret) => `${fleetOf('a:')}    hostKey: |\n  ${secret}\n${secret}\n`],
    ['on a line of its own', (secret) => `${fleetOf('a:')}    vmId: 283\n    ${secret}\n`],
  ];
  const secrets = [
    ['PEM', `${['-----BEGIN OPENSSH', 'PRIVATE', 'KEY-----'].join(' ')} ${BODY}`, BODY],
    ['first line', BODY, BODY],
    ['middle line', MIDDLE, MIDDLE],
    ['age identity', IDENTITY, IDENTITY.slice(20)],
  ] as const;
  test.each(places)('%s', (_name, at) => {
    for (const [, secret, telling] of secrets) {
      const said = everythingSaid(at(secret));
      expect(said).not.toBe('');
      expect(said).not.toContain(telling.slice(0, 20));
    }
  });

  test('is called what it is', () => {
    expect(problemsOf(() => parse(`${fleetOf()}admins: { ops: ${IDENTITY} }\n`))).toEqual([
      '6:16: admins.ops: a private key stands here (not shown); take it out of this file, and replace it by a new one',
    ]);
  });
});

test('a thousand mistakes are counted, and twenty printed', () => {
  const hosts = Array.from({ length: 1000 }, (_, i) => `host-${i}: { vmId: ${1000 + i}, memry: 1 }`);
  const lines = problemsOf(() => parse(fleetOf(...hosts)));
  expect(lines).toHaveLength(21);
  expect(lines[19]).toBe('25:26: hosts.host-19.memry: "memry" is no setting here; did you mean memory?');
  expect(lines[20]).toBe('and 980 more');
});

test('a problem says its place, what was found and what to write', () => {
  try {
    parse(fleetOf('web-01: { vmId: 283 }', 'mqtt-01: { vmId: 283 }'));
    throw new Error('no problem');
  } catch (error) {
    expect(error).toMatchObject({
      name: 'FleetError',
      message:
        'fleet.yaml:7:20: hosts.mqtt-01.vmId: 283 is also the vmId of web-01 (line 6); give each host its own',
      problems: [
        {
          file: 'fleet.yaml',
          line: 7,
          column: 20,
          path: 'hosts.mqtt-01.vmId',
          found: '283',
          message: '283 is also the vmId of web-01 (line 6)',
          remedy: 'give each host its own',
        },
      ],
    });
  }
});

/** The message, and whatever else the error carries. */
function everythingSaid(text: string): string {
  try {
    parse(text);
    return '';
  } catch (error) {
    return `${String(error)} ${(error as Error).stack} ${JSON.stringify(error)}`;
  }
}
