import { isIP } from 'node:net';
import { posix } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { formatSshPublicKey, parseSshPublicKey } from '../keys/ssh-public-key';
import type {
  CloudConfig,
  Fleet,
  Host,
  HostKeySource,
  IgnoredDrift,
  ProxmoxSettings,
  SharedSecrets,
} from './fleet';
import { checkFolders, Links, type RepositoryFiles } from './folders';
import { broadcastOf, canonicalIp, canonicalPath, networkOf, readCidr } from './formats';
import { didYouMean, FleetError, nearest, type Path, type Problems, show } from './problem';
import { BUILT_IN, type WrittenDefaults, type WrittenFleet, type WrittenHost } from './schema';
import { YamlSource } from './source';
import { resolveState } from './state';

/** What could be used of a file: the whole of a good one, and of a bad one what the schema had nothing against. */
export interface UsableFleet {
  readonly proxmox?: Partial<WrittenFleet['proxmox']>;
  readonly admins?: WrittenFleet['admins'];
  readonly defaults?: WrittenDefaults;
  readonly hosts?: Readonly<Record<string, Partial<WrittenHost>>>;
  readonly shared?: WrittenFleet['shared'];
  readonly state?: WrittenFleet['state'];
  readonly drift?: WrittenFleet['drift'];
}

/** What a resolver works with: the file, where its parts are written, and where problems go. */
export interface Reading {
  readonly file: string;
  readonly root: string;
  readonly source: YamlSource;
  readonly problems: Problems;
  readonly files: RepositoryFiles;
  /** Whether the schema has already refused the value at this path. */
  readonly refused: (path: Path) => boolean;
}

/** A host under construction: what a bad file leaves out is missing, and its problem is noted. */
type Draft = Partial<Host> & Pick<Host, 'name' | 'place' | 'secrets'>;

/**
 * Merges `defaults` into the hosts, and checks what takes more than one value to see.
 *
 * What it returns is whole only where `reading.problems` stayed empty.
 */
export function resolveFleet(written: UsableFleet, reading: Reading): Omit<Fleet, 'warnings'> {
  const { file, root, source, problems } = reading;
  const links = new Links(reading);
  const hosts = new HostResolver(written, reading, links);
  const drafts = Object.entries(written.hosts ?? {}).map(([name, host]) => hosts.resolve(name, host));
  checkNoTwo(drafts, reading);
  const shared = resolveShared(written, reading);
  const state = resolveState(written.state, source, problems);
  checkFolders(drafts, written, shared, state, reading, links);
  return {
    file,
    root,
    proxmox: resolveProxmox(written.proxmox ?? {}),
    admins: written.admins ?? {},
    hosts: drafts as Host[],
    shared,
    state,
    ignoredDrift: resolveIgnored(written, reading),
  };
}

function resolveIgnored({ drift, hosts = {} }: UsableFleet, { source, problems }: Reading): IgnoredDrift[] {
  const known = Object.keys(hosts);
  return (drift?.ignore ?? []).map((rule, i) => {
    const path = ['drift', 'ignore', i, 'host'];
    // A host that the schema refused is told of already.
    if (rule.host !== undefined && rule.host !== '*' && !known.includes(rule.host)) {
      const message = `${show(rule.host)} is no host of this fleet; ${didYouMean(rule.host, known)}`;
      problems.add(source.place(path), path, message, show(rule.host));
    }
    return { ...rule, place: source.place(['drift', 'ignore', i]) };
  });
}

function resolveProxmox(written: Partial<WrittenFleet['proxmox']>): ProxmoxSettings {
  const { endpoint = '', nodes = {}, sshUsername, minTls } = written;
  return {
    endpoint: endpoint.endsWith('/') ? endpoint : `${endpoint}/`,
    nodes: Object.fromEntries(
      Object.entries(nodes).map(([name, { address, port = 22 }]) => [name, { address, port }]),
    ),
    ...(sshUsername === undefined ? {} : { sshUsername }),
    ...(minTls === undefined ? {} : { minTls: String(minTls) as '1.2' | '1.3' }),
  };
}

class HostResolver {
  private readonly defaults: WrittenDefaults;
  private readonly nodes: readonly string[];
  private readonly cloudConfigs = new Map<string, CloudConfig | undefined>();

  constructor(
    private readonly written: UsableFleet,
    private readonly reading: Reading,
    private readonly links: Links,
  ) {
    this.defaults = written.defaults ?? {};
    // As they are written: a node with a bad address is still a node, and one problem is enough.
    const { proxmox } = reading.source.value as { proxmox?: { nodes?: object } | null };
    this.nodes = Object.keys(proxmox?.nodes ?? {});
  }

  resolve(name: string, written: Partial<WrittenHost>): Draft {
    const { source } = this.reading;
    // The order of precedence, in one line: what the host says, what the fleet says, what this program says.
    const all = { ...BUILT_IN, ...this.defaults, ...written };
    const node = this.required('node', name, all.node);
    this.checkNode(name, 'node', all.node);
    this.checkNode(name, 'templateNode', all.templateNode);
    this.checkBalloon(name, all.balloon, all.memory);
    const address = canonicalAddress(all.address ?? (all.address6 === undefined ? 'dhcp' : undefined));
    const address6 = canonicalAddress(all.address6);
    const ips = fixedIps(address, address6);
    const ssh = { address: all.ssh?.address ?? ips[0] ?? name, port: all.ssh?.port ?? 22 };
    return withoutUndefined({
      name,
      place: source.keyPlace(['hosts', name]),
      vmId: all.vmId,
      node,
      template: this.required('template', name, all.template),
      templateNode: all.templateNode === node ? undefined : all.templateNode,
      fullClone: all.fullClone,
      disk: this.required('disk', name, all.disk),
      diskSize: all.diskSize,
      diskInterface: all.diskInterface,
      snippets: all.snippets,
      bridge: all.bridge,
      vlan: all.vlan,
      mac: all.mac?.toUpperCase(),
      address,
      gateway: this.gateway(name, written, 'address', 'gateway', address),
      address6,
      gateway6: this.gateway(name, written, 'address6', 'gateway6', address6),
      dns: all.dns && { ...all.dns, servers: all.dns.servers.map(canonicalIp) },
      cores: all.cores,
      sockets: all.sockets,
      cpuType: all.cpuType,
      memory: all.memory,
      balloon: all.balloon,
      tags: [...new Set(all.tags)].sort(),
      description: all.description,
      onBoot: all.onBoot,
      started: all.started,
      protect: all.protect,
      agent: all.agent,
      user: all.user,
      authorizedKeys: [...new Set(all.authorizedKeys.map((key) => key.trim()))],
      hostKeyDirectory: all.hostKeyDirectory,
      cloudConfig: this.cloudConfig(name, all.cloudConfig),
      hostKey: hostKeySource(all.hostKey),
      nextKey: this.nextKey(name, all.hostKey, all.nextKey),
      hostKeyTypes: [...new Set(all.hostKeyTypes)],
      secrets: canonicalPath(all.secrets.replaceAll('{host}', name)),
      aliases: all.aliases ?? [],
      ssh,
      knownAs: [...new Set([name, ...(all.aliases ?? []), ...ips, ssh.address])],
    });
  }

  /** A setting that has no built-in default. */
  private required<T>(key: 'node' | 'template' | 'disk', name: string, value: T | undefined): T | undefined {
    const { source, problems, refused } = this.reading;
    const path = ['hosts', name, key];
    if (value === undefined && ![path, ['defaults', key], ['defaults']].some(refused)) {
      problems.add(
        source.keyPlace(path),
        path,
        `${key} is missing; write it here, or in defaults for every host`,
      );
    }
    return value;
  }

  private checkNode(name: string, key: 'node' | 'templateNode', node: string | undefined): void {
    const { source, problems, refused } = this.reading;
    if (node === undefined || this.nodes.includes(node)) return;
    if (refused(['proxmox']) || refused(['proxmox', 'nodes'])) return;
    const path = this.whereSet(name, key);
    const message = `${show(node)} is none of proxmox.nodes; ${didYouMean(node, this.nodes)}`;
    problems.add(source.place(path), path, message, show(node));
  }

  private nextKey(
    name: string,
    hostKey: WrittenHost['hostKey'],
    written: WrittenHost['nextKey'],
  ): HostKeySource | undefined {
    if (written === undefined) return undefined;
    const next = hostKeySource(written);
    if (isDeepStrictEqual(next, hostKeySource(hostKey))) {
      const path = ['hosts', name, 'nextKey'];
      const message = `this is the key that ${name} has already; write another generation, or leave it out`;
      this.reading.problems.add(this.reading.source.place(path), path, message);
    }
    return next;
  }

  private checkBalloon(name: string, balloon: number | undefined, memory: number): void {
    if (balloon === undefined || balloon <= memory) return;
    const path = this.whereSet(name, 'balloon');
    const message = `${balloon} is more than the memory of ${name}, ${memory} MiB; write less, or 0`;
    this.reading.problems.add(this.reading.source.place(path), path, message, show(balloon));
  }

  /** A default gateway is for those hosts that have a fixed address. */
  private gateway(
    name: string,
    written: Partial<WrittenHost>,
    addressKey: 'address' | 'address6',
    key: 'gateway' | 'gateway6',
    address: string | undefined,
  ): string | undefined {
    const { source, problems, refused } = this.reading;
    const gateway = written[key] ?? this.defaults[key];
    if (gateway === undefined || refused(['hosts', name, addressKey])) return undefined;
    const path = this.whereSet(name, key);
    const fixed = address?.includes('/') ? address : undefined;
    const complain = (message: string) => problems.add(source.place(path), path, message, show(gateway));
    if (fixed !== undefined) {
      const message = gatewayComplaint(canonicalIp(gateway), fixed, name);
      if (message !== undefined) complain(message);
      return canonicalIp(gateway);
    }
    if (written[key] === undefined) return undefined;
    if (address === undefined) complain(`a gateway without ${addressKey}; write that too, or leave this out`);
    else complain(`with ${addressKey} ${address} the network names the gateway; leave this out`);
    return undefined;
  }

  private cloudConfig(name: string, written: WrittenHost['cloudConfig']): CloudConfig | undefined {
    if (written === undefined) return undefined;
    const path = this.whereSet(name, 'cloudConfig');
    if (typeof written !== 'string') return { settings: written, place: this.reading.source.place(path) };
    const file = canonicalPath(written.replaceAll('{host}', name));
    if (!this.cloudConfigs.has(file))
      this.cloudConfigs.set(file, readCloudConfig(file, path, this.reading, this.links));
    return this.cloudConfigs.get(file);
  }

  /** Where the setting of a host is written: at the host, or in `defaults`. */
  private whereSet(name: string, key: keyof WrittenDefaults): Path {
    const own = this.written.hosts?.[name]?.[key];
    return own === undefined && this.defaults[key] !== undefined ? ['defaults', key] : ['hosts', name, key];
  }
}

function canonicalAddress(address: string | undefined): string | undefined {
  if (!address?.includes('/')) return address;
  const { ip, prefix } = readCidr(address);
  return `${ip}/${prefix}`;
}

function fixedIps(...addresses: (string | undefined)[]): string[] {
  return addresses.flatMap((address) => (address?.includes('/') ? [readCidr(address).ip] : []));
}

function hostKeySource(written: WrittenHost['hostKey']): HostKeySource {
  if (written === undefined || written === 'generated') return { source: 'generated', generation: 1 };
  return 'public' in written
    ? { source: 'public', publicKey: written.public.trim() }
    : { source: 'generated', generation: written.generation };
}

/** A router stands in the host's own network, unless the host is alone in it (/32, /128) or it is link-local. */
function gatewayComplaint(gateway: string, address: string, name: string): string | undefined {
  const { ip, prefix } = readCidr(address);
  const bits = gateway.includes(':') ? 128 : 32;
  if (gateway === ip) return `${gateway} is the address of ${name} itself; write the router's`;
  if (prefix === bits || /^fe[89ab]/i.test(gateway)) return undefined;
  const network = networkOf({ ip, prefix });
  if (networkOf({ ip: gateway, prefix }) !== network) {
    return `${gateway} lies outside ${network}/${prefix}, the network of ${name}; write a gateway inside it`;
  }
  if (bits === 128 || prefix >= 31) return undefined;
  if (gateway === network)
    return `${gateway} is the address of the network ${network}/${prefix} itself; write the router's`;
  return gateway === broadcastOf({ ip, prefix })
    ? `${gateway} is the broadcast address of ${network}/${prefix}; write the router's`
    : undefined;
}

/** What no two hosts may have in common. */
function checkNoTwo(drafts: readonly Draft[], reading: Reading): void {
  const vmIds = new Claims('the vmId', 'give each host its own', reading);
  const macs = new Claims('the MAC address', 'give each host its own', reading);
  const ips = new Claims('the address', 'give each host its own', reading);
  const keys = new Claims('the host key', 'each host has a key of its own', reading);
  const names = new Claims('a name', 'one name leads to one host', reading);
  for (const draft of drafts) {
    const { name, vmId, mac, hostKey, template } = draft;
    const own = (key: string) => ['hosts', name, key];
    if (vmId !== undefined && vmId === template) {
      const message = `${vmId} is the template that ${name} is cloned from; give the host a number of its own`;
      reading.problems.add(reading.source.place(own('vmId')), own('vmId'), message, show(vmId));
    }
    vmIds.claim(vmId, name, own('vmId'));
    macs.claim(mac, name, own('mac'));
    for (const key of ['address', 'address6'] as const) {
      ips.claim(fixedIps(draft[key])[0], name, own(key));
      names.note(fixedIps(draft[key])[0], name, own(key));
    }
    if (hostKey?.source === 'public') {
      const line = formatSshPublicKey(parseSshPublicKey(hostKey.publicKey));
      keys.claim(line, name, [...own('hostKey'), 'public'], 'this key');
    }
    names.note(name, name, ['hosts', name]);
  }
  for (const { name, aliases = [] } of drafts) {
    aliases.forEach((alias, i) => {
      const spelled = isIP(alias) === 0 ? alias.toLowerCase() : canonicalIp(alias);
      names.claim(spelled, name, ['hosts', name, 'aliases', i]);
    });
  }
}

/** Values that only one host may have, by the host that has it. */
class Claims {
  private readonly owners = new Map<string | number, { name: string; path: Path }>();

  constructor(
    private readonly what: string,
    private readonly remedy: string,
    private readonly reading: Reading,
  ) {}

  /** Notes an owner without complaint. */
  note(value: string | number | undefined, name: string, path: Path): void {
    if (value !== undefined && !this.owners.has(value)) this.owners.set(value, { name, path });
  }

  claim(value: string | number | undefined, name: string, path: Path, shown = String(value)): void {
    if (value === undefined) return;
    const owner = this.owners.get(value);
    this.note(value, name, path);
    if (owner === undefined) return;
    const { source, problems } = this.reading;
    const whose = owner.name === name ? `${name} itself` : owner.name;
    const message = `${shown} is also ${this.what} of ${whose} (line ${source.place(owner.path).line}); ${this.remedy}`;
    problems.add(source.place(path), path, message, shown);
  }
}

function resolveShared(written: UsableFleet, reading: Reading): SharedSecrets[] {
  const { source, problems } = reading;
  const known = Object.keys(written.hosts ?? {});
  const names = new Set(known);
  const shared: SharedSecrets[] = [];
  written.shared?.forEach(({ path, hosts }, i) => {
    hosts.forEach((name, j) => {
      const here = ['shared', i, 'hosts', j];
      if (reading.refused(['hosts']) || reading.refused(['hosts', name])) return;
      if (!names.has(name)) {
        const remedy =
          nearest(name, known) === undefined && known.length > 8
            ? 'write a name from hosts'
            : didYouMean(name, known);
        problems.add(source.place(here), here, `${show(name)} is none of hosts; ${remedy}`, show(name));
      } else if (hosts.indexOf(name) < j) {
        problems.add(source.place(here), here, `${name} stands twice in this list; take one out`, show(name));
      }
    });
    shared.push({ path: canonicalPath(path), hosts });
  });
  return shared;
}

/** User data of other kinds has a first line of its own (cloud-init, "User-data formats"). */
const OTHER_USER_DATA = /^(#!|## *template:|#include|#cloud-boothook|#part-handler|Content-Type:)/i;

function readCloudConfig(file: string, path: Path, reading: Reading, links: Links): CloudConfig | undefined {
  const { source, problems, files, root } = reading;
  const complain = (message: string) => problems.add(source.place(path), path, message, show(file));
  if (!links.check(file, path)) return undefined;
  let text: string;
  try {
    text = files.readFile(posix.join(root, file));
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    complain(
      missing
        ? `there is no file ${file}; write it, or correct the path`
        : `${file} can't be read (${(error as NodeJS.ErrnoException).code ?? 'unknown error'}); look at what it is`,
    );
    return undefined;
  }
  const shown = posix.join(posix.dirname(reading.file), file);
  const place = { file: shown, line: 1, column: 1 };
  if (OTHER_USER_DATA.test(text)) {
    problems.add(
      place,
      ['cloudConfig'],
      'this first line announces user data of another kind; write cloud-config, which is YAML',
    );
    return undefined;
  }
  try {
    const config = YamlSource.parse(text, shown, problems, ['cloudConfig']);
    const { value } = config;
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      return { settings: value as Record<string, unknown>, place: config.place([]) };
    }
    problems.add(
      place,
      ['cloudConfig'],
      config.empty
        ? 'this file is empty; write cloud-config into it'
        : `${show(value)} stands here; cloud-config is a mapping, lines of "name: value"`,
    );
  } catch (error) {
    // Its problems are noted; the other hosts are still worth checking.
    if (!(error instanceof FleetError)) throw error;
  }
  return undefined;
}

function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as T;
}
