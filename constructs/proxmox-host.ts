import {
  VirtualEnvironmentVm,
  type VirtualEnvironmentVmConfig,
  type VirtualEnvironmentVmInitializationIpConfig,
  type VirtualEnvironmentVmNetworkDevice,
} from '@cdktf/provider-proxmox/lib/virtual-environment-vm';
import { type ITerraformDependable, Token } from 'cdktf';
import { Construct } from 'constructs';
import type { FirstBoot } from './first-boot';

/** The template that a VM is cloned from. */
export interface TemplateRef {
  /** The template's VM id. */
  readonly vmId: number;
  /**
   * The node that the template lies on.
   * @default the node of the VM
   */
  readonly node?: string;
  /**
   * A full copy, or a linked clone that needs its template for ever.
   * @default true
   */
  readonly full?: boolean;
}

/** A VM's network device and addresses; cloud-init in the guest sets the addresses. */
export interface NetworkProps {
  /** @default 'vmbr0' */
  readonly bridge?: string;
  /** The VLAN tag, 1 to 4094. @default untagged */
  readonly vlan?: number;
  /** @default Proxmox chooses one and keeps it */
  readonly macAddress?: string;
  /** IPv4 address in CIDR notation, or `dhcp`. @default 'dhcp', or none where `address6` is set */
  readonly address?: string;
  /** IPv4 gateway. @default none */
  readonly gateway?: string;
  /** IPv6 address in CIDR notation, `dhcp` or `auto`. @default none */
  readonly address6?: string;
  /** IPv6 gateway. @default none */
  readonly gateway6?: string;
  /** Name servers. @default the node's */
  readonly nameServers?: readonly string[];
  /** Search domain. @default the node's */
  readonly searchDomain?: string;
}

/** A VM on Proxmox VE. */
export interface ProxmoxHostProps {
  /** The VM's name: a DNS label. */
  readonly name: string;
  /** The VM id: 100 to 999999999. */
  readonly vmId: number;
  /** The node that the VM runs on. Another node later migrates the VM. */
  readonly node: string;
  readonly template: TemplateRef;
  /** What the VM is told at its first boot. The VM waits for it. */
  readonly firstBoot: FirstBoot;
  /** The datastore of the VM's disks and of its cloud-init drive. @default 'local-lvm' */
  readonly datastore?: string;
  /** Size of the boot disk in GiB; a disk can grow and never shrink. @default the template's */
  readonly diskSize?: number;
  /** The boot disk's slot in the template; needed with `diskSize`. @default 'scsi0' */
  readonly diskInterface?: string;
  /** @default one device on vmbr0 with DHCP */
  readonly network?: NetworkProps;
  /** @default 2 */
  readonly cores?: number;
  /** @default 1 */
  readonly sockets?: number;
  /** The CPU model that the guest sees. @default 'x86-64-v2-AES', as Proxmox's own for new VMs */
  readonly cpuType?: string;
  /** Memory in MiB. @default 2048 */
  readonly memory?: number;
  /** The least memory in MiB that ballooning may leave the guest. @default no ballooning */
  readonly balloon?: number;
  /** Whether the QEMU guest agent runs in the guest. @default true */
  readonly agent?: boolean;
  /** Whether the VM starts with its node. @default true */
  readonly onBoot?: boolean;
  /** Whether the VM runs. @default true */
  readonly started?: boolean;
  /** Whether Proxmox and Terraform both refuse to destroy the VM. @default false */
  readonly protect?: boolean;
  /** Proxmox keeps tags in lower case and sorted, and so does this. @default none */
  readonly tags?: readonly string[];
  /** Shown in Proxmox's summary (Markdown). @default none */
  readonly description?: string;
  /** What must be there before the VM, beside its first boot. @default none */
  readonly dependsOn?: readonly ITerraformDependable[];
  /** Anything else that bpg/proxmox can set; wins over what this construct sets. @default none */
  readonly overrides?: Partial<VirtualEnvironmentVmConfig>;
}

/** A VM, cloned from a template, that boots with its declared host key. */
export class ProxmoxHost extends Construct {
  readonly vm: VirtualEnvironmentVm;

  constructor(scope: Construct, id: string, props: ProxmoxHostProps) {
    super(scope, id);
    const datastore = props.datastore ?? 'local-lvm';
    const network = props.network ?? {};
    const memory = props.memory ?? 2048;
    const agent = props.agent ?? true;
    const protect = props.protect ?? false;
    this.vm = new VirtualEnvironmentVm(this, 'vm', {
      name: props.name,
      vmId: props.vmId,
      nodeName: props.node,
      migrate: true,
      description: props.description,
      tags: props.tags && [...new Set(props.tags.map((tag) => tag.toLowerCase()))].sort(),
      onBoot: props.onBoot ?? true,
      started: props.started ?? true,
      protection: protect,
      // A host without an agent can't be asked to shut down for sure, and one that is destroyed has nothing to save.
      stopOnDestroy: true,
      clone: {
        vmId: props.template.vmId,
        nodeName: props.template.node,
        full: props.template.full ?? true,
        datastoreId: (props.template.full ?? true) ? datastore : undefined,
        retries: 3,
      },
      // Waiting for the agent's addresses would hold up every plan while a guest is down, and nobody reads them here.
      agent: { enabled: agent, waitForIp: { disabled: true } },
      cpu: {
        cores: props.cores ?? 2,
        sockets: props.sockets ?? 1,
        type: props.cpuType ?? 'x86-64-v2-AES',
      },
      memory: { dedicated: memory, floating: props.balloon ?? 0 },
      disk:
        props.diskSize === undefined
          ? undefined
          : [{ datastoreId: datastore, interface: props.diskInterface ?? 'scsi0', size: props.diskSize }],
      networkDevice: [networkDevice(network)],
      operatingSystem: { type: 'l26' },
      initialization: {
        datastoreId: datastore,
        userDataFileId: props.firstBoot.volumeId,
        dns:
          network.nameServers === undefined && network.searchDomain === undefined
            ? undefined
            : { servers: network.nameServers && [...network.nameServers], domain: network.searchDomain },
        ipConfig: [ipConfig(network)],
      },
      dependsOn: [props.firstBoot.snippet, ...(props.dependsOn ?? [])],
      lifecycle: protect ? { preventDestroy: true } : undefined,
      ...props.overrides,
    });
  }
}

function ipConfig(network: NetworkProps): VirtualEnvironmentVmInitializationIpConfig {
  const { address6, gateway6, gateway } = network;
  const address = network.address ?? (address6 === undefined ? 'dhcp' : undefined);
  return {
    ipv4: address === undefined ? undefined : { address, gateway },
    ipv6: address6 === undefined ? undefined : { address: address6, gateway: gateway6 },
  };
}

/**
 * The provider declares network devices as an attribute (SDKv2's SchemaConfigModeAttr), and in JSON Terraform then
 * wants every member of it: these are the provider's own defaults, and null where it has none.
 */
function networkDevice(network: NetworkProps): VirtualEnvironmentVmNetworkDevice {
  return {
    bridge: network.bridge ?? 'vmbr0',
    disconnected: false,
    enabled: Token.nullValue(),
    firewall: false,
    macAddress: network.macAddress ?? Token.asString(Token.nullValue()),
    model: 'virtio',
    mtu: 0,
    queues: 0,
    rateLimit: 0,
    trunks: '',
    vlanId: network.vlan ?? 0,
  };
}
