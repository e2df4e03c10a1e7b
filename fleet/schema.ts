import { z } from 'zod';
import {
  address4,
  address6,
  addressOrName,
  ageRecipient,
  type Complaint,
  commonFolder,
  DNS_LABEL,
  dnsName,
  endpointUrl,
  gateway4,
  gateway6,
  guestDirectory,
  hostNameComplaint,
  hostPublicKey,
  ipAddress,
  macAddress,
  repositoryPath,
  sshPublicKey,
} from './formats';
import { didYouMean, nearest, show } from './problem';

/**
 * The form of `fleet.yaml` as people write it. `fleet.schema.json` is generated from this file, so every description
 * here is what an editor shows: plain words, with the unit and what holds where the setting isn't written.
 *
 * Messages are sentences about the value that was found, then `; `, then what to write. Only what a single value tells
 * is checked here; what takes two of them to see (a duplicate, an unknown node) is in `resolve.ts`.
 */

/** What holds where neither the host nor `defaults` says anything. */
export const BUILT_IN = {
  fullClone: true,
  diskInterface: 'scsi0',
  snippets: 'local',
  bridge: 'vmbr0',
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
  secrets: 'secrets/{host}',
} as const;

/** What editors show and complete: the description, the built-in default if there is one, an example. */
interface Shown {
  readonly default?: unknown;
  readonly example?: unknown;
  readonly pattern?: RegExp;
}

function described<T extends z.ZodType>(schema: T, description: string, shown: Shown = {}): T {
  const { example, pattern, ...rest } = shown;
  return schema.meta({
    description,
    ...rest,
    ...(example === undefined ? {} : { examples: [example] }),
    ...(pattern === undefined ? {} : { pattern: pattern.source }),
  });
}

/** Text that a function judges. */
function text(complaint: Complaint) {
  return z.string().check((context) => {
    const message = complaint(context.value);
    if (message !== undefined) context.issues.push({ code: 'custom', message, input: context.value });
  });
}

/** Text of a fixed form, which editors check too. */
function word(pattern: RegExp, what: string, example: string) {
  return z.string().regex(pattern, {
    error: ({ input }) => `${show(input)} is no ${what}; write one such as ${example}`,
  });
}

function wholeNumber(min: number, max: number) {
  const error = ({ input }: { input?: unknown }) =>
    `${show(input)} is out of range; write a whole number from ${min} to ${max}`;
  return z.number().int({ error }).min(min, { error }).max(max, { error });
}

/** Settings by names that users choose. `badNames` judges the names; editors check their pattern. */
function named<T extends z.ZodType>(value: T, pattern: RegExp) {
  return z.record(z.string(), value).meta({ propertyNames: { pattern: pattern.source } });
}

const NODE_NAME = /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/;
const ADMIN_NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/;
const USER_NAME = /^[a-z_][a-z0-9_-]{0,31}$/;

const nodeName = () => word(NODE_NAME, 'name of a Proxmox node', 'pve1');
const datastore = (example: string) =>
  word(/^[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]$/, 'name of a datastore', example);
const vmId = () => wholeNumber(100, 999_999_999);

const proxmox = z.strictObject({
  endpoint: described(
    text(endpointUrl),
    "Address of Proxmox's API and web interface. The credentials aren't written in this file: set PROXMOX_VE_API_TOKEN in the environment.",
    { example: 'https://pve1.example.net:8006/', pattern: /^https:\/\// },
  ),
  nodes: described(
    named(
      z.strictObject({
        address: described(
          text(addressOrName),
          "IP address or DNS name of the node's SSH server, over which snippets are uploaded.",
          { example: '192.0.2.11' },
        ),
        port: described(wholeNumber(1, 65_535), "Port of the node's SSH server. Default: 22.", {
          default: 22,
        }).optional(),
      }),
      NODE_NAME,
    ),
    'The nodes of the cluster that hosts run on, by the names that Proxmox shows.',
    { example: { pve1: { address: '192.0.2.11' } } },
  ),
  sshUsername: described(
    word(USER_NAME, 'login name', 'root'),
    'Login on the nodes for uploading snippets over SSH. Default: PROXMOX_VE_SSH_USERNAME in the environment.',
    { example: 'root' },
  ).optional(),
  minTls: described(
    z.literal([1.2, 1.3, '1.2', '1.3'], {
      error: ({ input }) => `${show(input)} is no TLS version that Proxmox speaks safely; write 1.2 or 1.3`,
    }),
    'The oldest version of TLS to speak with the API. Default: 1.3.',
    { example: 1.2 },
  ).optional(),
});

/** What a host and `defaults` may both say. A host's own word replaces the default as a whole. */
const settings = {
  node: described(nodeName(), 'The Proxmox node that the VM runs on; one of proxmox.nodes.', {
    example: 'pve1',
  }).optional(),
  template: described(vmId(), 'VM id of the template that the VM is cloned from.', {
    example: 9000,
  }).optional(),
  templateNode: described(
    nodeName(),
    'The node that the template lies on; one of proxmox.nodes. Default: the node of the VM.',
    { example: 'pve1' },
  ).optional(),
  fullClone: described(z.boolean(), "Copy the template's disk, rather than link to it. Default: true.", {
    default: BUILT_IN.fullClone,
  }).optional(),
  disk: described(datastore('local-lvm'), "Datastore of the VM's disk and of its cloud-init drive.", {
    example: 'local-lvm',
  }).optional(),
  diskSize: described(
    wholeNumber(1, 131_072),
    "Size to grow the disk to, in GiB. It can't shrink. Default: the size that the template's disk has.",
    { example: 32 },
  ).optional(),
  diskInterface: described(
    word(
      /^(scsi([0-9]|[12][0-9]|30)|virtio([0-9]|1[0-5])|sata[0-5]|ide[0-3])$/,
      'disk of a VM',
      'scsi0 or virtio0',
    ),
    "Name of the template's disk in Proxmox. Default: scsi0.",
    { default: BUILT_IN.diskInterface },
  ).optional(),
  snippets: described(
    datastore('local'),
    'Datastore of the cloud-init snippet; its content types must include snippets. Default: local.',
    { default: BUILT_IN.snippets },
  ).optional(),
  bridge: described(
    word(/^[A-Za-z][A-Za-z0-9_]{0,19}([:.][0-9]+)?$/, 'name of a bridge', 'vmbr0'),
    'Bridge or VNet of the network card. Default: vmbr0.',
    { default: BUILT_IN.bridge },
  ).optional(),
  vlan: described(wholeNumber(1, 4094), 'VLAN tag of the network card. Default: none.', {
    example: 42,
  }).optional(),
  gateway: described(text(gateway4), 'IPv4 gateway, in the network of address. Default: none.', {
    example: '192.0.2.1',
  }).optional(),
  gateway6: described(
    text(gateway6),
    'IPv6 gateway, in the network of address6 or link-local. Default: none.',
    { example: '2001:db8::1' },
  ).optional(),
  dns: described(
    z.strictObject({
      servers: described(
        z.array(text(ipAddress)).min(1, { error: 'this list is empty; name a server, or leave dns out' }),
        'IP addresses of the name servers.',
        { example: ['192.0.2.53'] },
      ),
      domain: described(text(dnsName), 'Search domain. Default: none.', {
        example: 'example.net',
      }).optional(),
    }),
    'Name servers of the VM. Default: those of the Proxmox node, or what DHCP says.',
  ).optional(),
  cores: described(wholeNumber(1, 2304), 'CPU cores in each socket. Default: 2.', {
    default: BUILT_IN.cores,
  }).optional(),
  sockets: described(wholeNumber(1, 16), 'CPU sockets. Default: 1.', {
    default: BUILT_IN.sockets,
  }).optional(),
  cpuType: described(
    word(/^[A-Za-z0-9][A-Za-z0-9_.+-]*$/, 'CPU type', 'host or x86-64-v2-AES'),
    'CPU that the VM sees, as Proxmox names it. Default: x86-64-v2-AES.',
    { default: BUILT_IN.cpuType },
  ).optional(),
  memory: described(wholeNumber(64, 268_435_456), 'Memory in MiB. Default: 2048.', {
    default: BUILT_IN.memory,
  }).optional(),
  balloon: described(
    wholeNumber(0, 268_435_456),
    'MiB that Proxmox may shrink the memory to when it runs short; 0 turns that off. Default: off.',
    { example: 1024 },
  ).optional(),
  tags: described(
    z.array(word(/^[a-z0-9_][a-z0-9_.+-]*$/, 'tag (Proxmox keeps them in lower case)', 'iot')),
    'Tags of the VM in Proxmox. Default: none.',
    { default: BUILT_IN.tags },
  ).optional(),
  description: described(
    z
      .string()
      .max(8192, { error: 'this text is longer than the 8192 characters that Proxmox keeps; shorten it' }),
    'Note on the VM in Proxmox. Default: none.',
  ).optional(),
  onBoot: described(z.boolean(), 'Start the VM when its node boots. Default: true.', {
    default: BUILT_IN.onBoot,
  }).optional(),
  started: described(z.boolean(), 'Keep the VM running. Default: true.', {
    default: BUILT_IN.started,
  }).optional(),
  protect: described(z.boolean(), 'Let Proxmox refuse to remove the VM or its disks. Default: false.', {
    default: BUILT_IN.protect,
  }).optional(),
  agent: described(z.boolean(), 'The image runs the QEMU guest agent. Default: true.', {
    default: BUILT_IN.agent,
  }).optional(),
  user: described(
    word(USER_NAME, 'login name', 'ops'),
    "Login in the guest that gets authorizedKeys. Default: the image's own default user.",
    { example: 'ops' },
  ).optional(),
  authorizedKeys: described(
    z.array(text(sshPublicKey)),
    'SSH public keys that may log in: lines of .pub files. Default: none.',
    { default: BUILT_IN.authorizedKeys },
  ).optional(),
  hostKeyDirectory: described(
    text(guestDirectory),
    'Folder in the guest that the host key goes to; /persist/etc/ssh for a host whose root is wiped at boot. Default: /etc/ssh.',
    { default: BUILT_IN.hostKeyDirectory, pattern: /^\// },
  ).optional(),
  hostKeyTypes: described(
    z
      .array(
        z.literal(['ed25519', 'rsa'], {
          error: ({ input }) => `${show(input)} is no type of a host key here; write ed25519 or rsa`,
        }),
      )
      .refine((types) => types.includes('ed25519'), {
        error: 'ed25519 is missing, and the age recipient is derived from it; write [ed25519, rsa]',
      }),
    'Types of the host keys that are made for the host: ed25519, and rsa (4096 bits) for old clients. Default: ed25519.',
    { default: BUILT_IN.hostKeyTypes, example: ['ed25519', 'rsa'] },
  ).optional(),
  cloudConfig: described(
    z.union([text(repositoryPath), z.record(z.string(), z.unknown())], {
      error: ({ input }) =>
        `${show(input)} is no cloud-config; write its settings, or the path of a YAML file`,
    }),
    'Further cloud-config: its settings, or the path of a YAML file in this repository, with {host} for the name of the host. Default: none.',
    { example: { packages: ['mosquitto'] } },
  ).optional(),
  secrets: described(
    text(repositoryPath),
    "Folder of the host's secrets in this repository; {host} stands for the host's name. Default: secrets/{host}.",
    { default: BUILT_IN.secrets },
  ).optional(),
};

/** What only a host can say, because no two of them may say the same. */
const generation = z.strictObject({
  generation: described(
    wholeNumber(1, 999_999),
    'Which key of the host it is: 1 is what "generated" makes, and another number is another key.',
    { example: 2 },
  ),
});

const own = {
  vmId: described(vmId(), 'Number of the VM in Proxmox, from 100 on; no other VM of the cluster has it.', {
    example: 283,
  }),
  mac: described(text(macAddress), 'MAC address of the network card. Default: Proxmox makes one up.', {
    example: 'BC:24:11:00:02:83',
  }).optional(),
  address: described(
    text(address4),
    'IPv4 address with the length of its prefix, or dhcp. Default: dhcp, or none where address6 is written.',
    { example: '192.0.2.83/24' },
  ).optional(),
  address6: described(
    text(address6),
    'IPv6 address with the length of its prefix, dhcp (DHCPv6), or auto (SLAAC). Default: none.',
    { example: '2001:db8::83/64' },
  ).optional(),
  aliases: described(
    z.array(text(addressOrName)),
    'Further names and addresses of the host in known_hosts. Default: none.',
    { example: ['mqtt.example.net'] },
  ).optional(),
  ssh: described(
    z.strictObject({
      address: described(
        text(addressOrName),
        "IP address or DNS name. Default: the host's fixed address, else its name.",
        { example: 'mqtt.example.net' },
      ).optional(),
      port: described(wholeNumber(1, 65_535), 'TCP port. Default: 22.', { default: 22 }).optional(),
    }),
    'Where its SSH server is reached from here, if elsewhere than at its own address, port 22. Default: there.',
    { example: { port: 2222 } },
  ).optional(),
  hostKey: described(
    z.union(
      [
        z.literal('generated'),
        generation,
        z.strictObject({
          public: described(
            text(hostPublicKey),
            'The ed25519 public key of the host: the line of ssh_host_ed25519_key.pub.',
            {
              example: 'ssh-ed25519 AAAA…',
            },
          ),
        }),
      ],
      {
        error: ({ input }) =>
          `${show(input)} is no source of a host key; write generated, or { public: "ssh-ed25519 AAAA…" }`,
      },
    ),
    'Where the host key comes from: generated (made here, and injected at first boot), or the public key of a host that has one already. Default: generated.',
    { default: 'generated' },
  ).optional(),
  nextKey: described(
    z.union([z.literal('generated'), generation], {
      error: ({ input }) => `${show(input)} is no key that can be made; write { generation: 2 }`,
    }),
    'The key that takes over, while the host is rotated. It is made, and secrets are encrypted to both keys; the host boots with hostKey. Default: none.',
    { example: { generation: 2 } },
  ).optional(),
};

const remote = (description: string) => described(z.record(z.string(), z.unknown()), description).optional();

const state = z
  .strictObject({
    local: described(text(commonFolder), 'A folder in this repository, one file a host. Default: state.', {
      default: 'state',
    }).optional(),
    s3: remote("Settings of Terraform's s3 backend. key holds {host}. Default of key: {host}.tfstate."),
    http: remote("Settings of Terraform's http backend. address and the lock addresses hold {host}."),
    pg: remote(
      "Settings of Terraform's pg backend. schema_name holds {host}. Default of schema_name: {host}.",
    ),
    gcs: remote("Settings of Terraform's gcs backend. prefix holds {host}. Default of prefix: {host}."),
    azurerm: remote(
      "Settings of Terraform's azurerm backend. key holds {host}. Default of key: {host}.tfstate.",
    ),
  })
  .meta({ maxProperties: 1 });

const DATE = /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/;

const drift = z.strictObject({
  ignore: described(
    z.array(
      z.strictObject({
        host: described(z.string().min(1), "The host's name, or * for every host.", { example: 'mqtt-01' }),
        resource: described(
          z.string().min(1),
          "The finding's resource, as hostkey drift names it: a Terraform address, or a file.",
          { example: 'proxmox_virtual_environment_vm.proxmox_vm' },
        ),
        attribute: described(
          z.string().min(1),
          'The attribute as hostkey drift names it, or its beginning. Default: all of the resource.',
          { example: 'memory' },
        ).optional(),
        reason: described(z.string().min(1), 'Why this is accepted; reports show it.', {
          example: 'more memory for the import, back in May',
        }),
        expires: described(
          word(DATE, 'date', '2027-05-31'),
          'The last day on which it is accepted: YYYY-MM-DD, UTC.',
          { example: '2027-05-31' },
        ),
      }),
    ),
    'Known drift that raises no alarm until a date. Default: none.',
  ).optional(),
});

export const fleetSchema = z.strictObject({
  proxmox: described(proxmox, 'The Proxmox cluster, without credentials.', {
    example: { endpoint: 'https://pve1.example.net:8006/', nodes: { pve1: { address: '192.0.2.11' } } },
  }),
  admins: described(
    named(
      described(text(ageRecipient), 'age recipient, as age-keygen -y prints it; or an SSH public key.', {
        example: 'age1…',
      }),
      ADMIN_NAME,
    ),
    'Who can decrypt every secret, beside the host itself: name and age recipient. Default: nobody.',
  ).optional(),
  defaults: described(
    z.strictObject(settings),
    "Settings of every host that doesn't write its own.",
  ).optional(),
  hosts: described(
    named(z.strictObject({ ...own, ...settings }), DNS_LABEL),
    'The hosts, by name. A name is a DNS label, and also the name of the stack.',
    { example: { 'mqtt-01': { vmId: 283, address: '192.0.2.83/24' } } },
  ),
  shared: described(
    z.array(
      z.strictObject({
        path: described(text(commonFolder), 'Folder of the secrets in this repository.', {
          example: 'secrets/shared/mqtt',
        }),
        hosts: described(
          z.array(z.string()).min(1, { error: 'this list is empty; name the hosts that read these secrets' }),
          'Names of the hosts that read them.',
          { example: ['mqtt-01', 'web-01'] },
        ),
      }),
    ),
    'Secrets that several hosts read. Default: none.',
  ).optional(),
  state: described(
    state,
    "Where Terraform keeps its state: one of these, without credentials. It holds the hosts' private keys. Default: { local: state }.",
  ).optional(),
  drift: described(drift, 'What hostkey drift accepts. Default: nothing.').optional(),
});

/** `fleet.yaml` as it is written. */
export type WrittenFleet = z.infer<typeof fleetSchema>;
export type WrittenHost = WrittenFleet['hosts'][string];
export type WrittenDefaults = NonNullable<WrittenFleet['defaults']>;
export type WrittenState = NonNullable<WrittenFleet['state']>;

/** A name that users chose badly. */
export interface BadName {
  readonly path: readonly string[];
  readonly message: string;
}

/** Judges the names that users choose, whatever stands behind them. */
export function badNames(fleet: unknown): BadName[] {
  return NAMED.flatMap(({ path, complaint }) => {
    const names = Object.keys(mappingAt(fleet, path));
    return names.flatMap((name) => {
      const message = complaint(name, names);
      return message === undefined ? [] : [{ path: [...path, name], message }];
    });
  });
}

const NAMED: readonly {
  readonly path: readonly string[];
  readonly complaint: (name: string, all: readonly string[]) => string | undefined;
}[] = [
  {
    path: ['proxmox', 'nodes'],
    complaint: (name) =>
      NODE_NAME.test(name)
        ? undefined
        : `${show(name)} is no name of a Proxmox node; write it as the web interface shows it`,
  },
  {
    path: ['admins'],
    complaint: (name) =>
      ADMIN_NAME.test(name)
        ? undefined
        : `${show(name)} is no name of an admin; use letters, digits, - and _`,
  },
  { path: ['hosts'], complaint: hostNameComplaint },
];

function mappingAt(value: unknown, path: readonly string[]): object {
  const found = path.reduce<unknown>((around, part) => (isMapping(around) ? around[part] : undefined), value);
  return isMapping(found) ? found : {};
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The schema of the value at a path, for saying what is known there. */
function schemaAt(path: readonly PropertyKey[]): z.core.$ZodType | undefined {
  return path.reduce<z.core.$ZodType | undefined>(
    (schema, part) => schema && inner(schema, part),
    fleetSchema,
  );
}

/** The keys that a mapping at this path may have; undefined where users choose them. */
export function knownKeys(path: readonly PropertyKey[]): string[] | undefined {
  const schema = schemaAt(path);
  return schema && objectIn(schema).flatMap((object) => Object.keys(object.shape));
}

function inner(schema: z.core.$ZodType, part: PropertyKey): z.core.$ZodType | undefined {
  if (schema instanceof z.ZodOptional) return inner(schema.unwrap(), part);
  if (schema instanceof z.ZodObject) return schema.shape[String(part)];
  if (schema instanceof z.ZodRecord) return schema.valueType;
  if (schema instanceof z.ZodArray) return schema.element;
  if (!(schema instanceof z.ZodUnion)) return undefined;
  return schema.options.map((option) => inner(option, part)).find((found) => found !== undefined);
}

function objectIn(schema: z.core.$ZodType): z.ZodObject[] {
  if (schema instanceof z.ZodOptional) return objectIn(schema.unwrap());
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((option) => objectIn(option));
  return schema instanceof z.ZodObject ? [schema] : [];
}

/** Whether a mapping may do without this setting. */
export function isOptional(path: readonly PropertyKey[]): boolean {
  return schemaAt(path) instanceof z.ZodOptional;
}

/** An example of the value at a path, from its description. */
export function exampleAt(path: readonly PropertyKey[]): unknown {
  const schema = schemaAt(path);
  const plain = schema instanceof z.ZodOptional ? schema.unwrap() : schema;
  const meta = plain && z.globalRegistry.get(plain);
  const examples: unknown = meta?.examples;
  return Array.isArray(examples) ? examples[0] : meta?.default;
}

/** Whether only a host can have this setting. */
export function isHostsOwn(key: string): boolean {
  return key in own;
}

/** What to say of a key that isn't known at a path. */
export function unknownKey(path: readonly PropertyKey[], key: string): string {
  const known = knownKeys(path) ?? [];
  const many = known.length > 12 && nearest(key, known) === undefined;
  return `${show(key)} is no setting here; ${many ? 'fleet.schema.json lists those that are' : didYouMean(key, known)}`;
}
