/**
 * A fleet as the rest of the program sees it: read, checked, and with `defaults` merged into every host, so that
 * nobody downstream asks again whether something is set, valid or unique.
 */
export interface Fleet {
  /** The file it was read from, as the caller named it. */
  readonly file: string;
  /** Absolute folder of that file: the repository that relative paths in it start from. */
  readonly root: string;
  readonly proxmox: ProxmoxSettings;
  /** Who can decrypt every secret beside the host: name to age recipient. */
  readonly admins: Readonly<Record<string, string>>;
  /** The hosts, in the order of the file. */
  readonly hosts: readonly Host[];
  readonly shared: readonly SharedSecrets[];
  readonly state: StateSettings;
  /** Known drift that raises no alarm. */
  readonly ignoredDrift: readonly IgnoredDrift[];
  /** What is legal and yet worth a look. */
  readonly warnings: readonly FleetProblem[];
}

/** The cluster, without any credential: those come from `PROXMOX_VE_*` in the environment. */
export interface ProxmoxSettings {
  /** Address of the API, such as `https://pve1.example.net:8006/`. */
  readonly endpoint: string;
  /** The nodes by the names that Proxmox knows them by; snippets are uploaded to them over SSH. */
  readonly nodes: Readonly<Record<string, SshServer>>;
  /** Login of the SSH upload; left to `PROXMOX_VE_SSH_USERNAME` where it isn't set. */
  readonly sshUsername?: string;
  /** The oldest TLS version to speak with the API; left to the provider where it isn't set. */
  readonly minTls?: '1.2' | '1.3';
}

/** One VM, and where its host key comes from. */
export interface Host {
  /** A DNS label; also the name of the stack. */
  readonly name: string;
  /** Where the host stands in the file, for messages of later steps. */
  readonly place: Place;

  readonly vmId: number;
  /** The node that it runs on; one of `proxmox.nodes`. */
  readonly node: string;
  /** VM id of the template that it is cloned from. */
  readonly template: number;
  /** The node that the template lies on, where that is another one than `node`. */
  readonly templateNode?: string;
  /** A full copy of the template's disk, rather than a linked clone. */
  readonly fullClone: boolean;

  /** Datastore of the cloned disk and of the cloud-init drive. */
  readonly disk: string;
  /** GiB to grow the disk to; the template's size where it isn't set. */
  readonly diskSize?: number;
  readonly diskInterface: string;
  /** Datastore of the cloud-init snippet. */
  readonly snippets: string;

  readonly bridge: string;
  readonly vlan?: number;
  /** Upper case, with colons. */
  readonly mac?: string;
  /** IPv4 in CIDR notation or `dhcp`; not set for a host that has IPv6 only. */
  readonly address?: string;
  readonly gateway?: string;
  /** IPv6 in CIDR notation (RFC 5952 spelling), `dhcp` or `auto`. */
  readonly address6?: string;
  readonly gateway6?: string;
  readonly dns?: DnsSettings;

  readonly cores: number;
  readonly sockets: number;
  readonly cpuType: string;
  /** MiB. */
  readonly memory: number;
  /** MiB that the balloon may shrink it to. */
  readonly balloon?: number;

  /** Sorted and without duplicates, as Proxmox keeps them. */
  readonly tags: readonly string[];
  readonly description?: string;
  readonly onBoot: boolean;
  readonly started: boolean;
  readonly protect: boolean;
  readonly agent: boolean;

  /** The login that gets `authorizedKeys`; the image's default user where it isn't set. */
  readonly user?: string;
  readonly authorizedKeys: readonly string[];
  /** Absolute path in the guest. */
  readonly hostKeyDirectory: string;
  readonly cloudConfig?: CloudConfig;

  readonly hostKey: HostKeySource;
  /** The key that takes over, while the host is rotated: secrets are for both, and sshd may serve either. */
  readonly nextKey?: HostKeySource;
  /** The types of the keys that are made here; always has ed25519. */
  readonly hostKeyTypes: readonly HostKeyType[];
  /** Folder of its secrets: relative to `root`, forward slashes, no slash at the end. */
  readonly secrets: string;
  /** Further names, as the file gives them. */
  readonly aliases: readonly string[];
  /** Where its sshd is reached: `ssh:` of the file, else its fixed address or its name, port 22. */
  readonly ssh: SshServer;
  /** Every name for `known_hosts`: the host's own, its aliases, its fixed addresses, where its sshd is reached. */
  readonly knownAs: readonly string[];
}

/** An SSH server, as somebody on this machine reaches it. */
export interface SshServer {
  /** IP address or DNS name. */
  readonly address: string;
  readonly port: number;
}

/** A rule of `drift.ignore`. */
export interface IgnoredDrift {
  readonly place: Place;
  /** A host of this fleet, or `*`. */
  readonly host: string;
  readonly resource: string;
  /** The attribute or its beginning; all of the resource where it isn't set. */
  readonly attribute?: string;
  readonly reason: string;
  /** The last day on which it holds, `YYYY-MM-DD` in UTC. */
  readonly expires: string;
}

interface DnsSettings {
  readonly servers: readonly string[];
  readonly domain?: string;
}

/** The user's own cloud-config, to be merged into the first-boot data. */
export interface CloudConfig {
  readonly settings: Readonly<Record<string, unknown>>;
  /** Where it starts: in the fleet's file, or in the YAML file that it names. */
  readonly place: Place;
}

type HostKeyType = 'ed25519' | 'rsa';

/** Decision 10 of the design: where a key comes from is a property of the host. */
export type HostKeySource =
  | {
      readonly source: 'generated';
      /** From 1; another number is another key. */
      readonly generation: number;
    }
  | {
      readonly source: 'public';
      /** One line, `ssh-ed25519 AAAA…`, a comment kept. */
      readonly publicKey: string;
    };

/** A folder of secrets that several hosts read. */
export interface SharedSecrets {
  /** Relative to the fleet's root, forward slashes, no slash at the end. */
  readonly path: string;
  /** Names of hosts in this fleet. */
  readonly hosts: readonly string[];
}

/** Where Terraform keeps the states, one a host. */
export type StateSettings =
  | {
      readonly kind: 'local';
      /** Folder of the files `<host>.tfstate`, relative to the fleet's root. */
      readonly path: string;
    }
  | {
      readonly kind: RemoteBackend;
      /** Terraform's own settings of that backend; `{host}` stands in those that tell the hosts apart. */
      readonly settings: Readonly<Record<string, unknown>>;
    };

export type RemoteBackend = 's3' | 'http' | 'pg' | 'gcs' | 'azurerm';

/** A place in a file; line and column count from 1. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** One thing that is wrong in a fleet's file, with what to write instead. */
export interface FleetProblem extends Place {
  /** Where it is in the file's own terms, such as `hosts.mqtt-01.vmId`; empty for the file as a whole. */
  readonly path: string;
  /** What stands there; never a secret, and empty where nothing does. */
  readonly found: string;
  readonly message: string;
  readonly remedy: string;
}
