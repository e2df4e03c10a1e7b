import path from 'node:path';
import { LocalProvider } from '@cdktf/provider-local/lib/provider';
import { ProxmoxProvider } from '@cdktf/provider-proxmox/lib/provider';
import { TlsProvider } from '@cdktf/provider-tls/lib/provider';
import { LocalBackend, TerraformElement, TerraformOutput, TerraformStack } from 'cdktf';
import type { Construct, Node } from 'constructs';
import { AgeRecipient } from '../constructs/age-recipient';
import { CloudConfigConflict } from '../constructs/cloud-config';
import { FirstBoot } from '../constructs/first-boot';
import { HostKey } from '../constructs/host-key';
import { fromStack } from '../constructs/paths';
import { ProxmoxHost, type ProxmoxHostProps } from '../constructs/proxmox-host';
import { SopsRules } from '../constructs/sops-rules';
import type { Fleet, Host, HostKeySource } from '../fleet/fleet';
import { sharedFoldersOf } from '../fleet/folders';
import { generatedKeyId } from '../fleet/generated-key';
import { FleetError } from '../fleet/problem';
import { knownHostsNames } from '../keys/known-hosts';
import { RemoteState } from './remote-state';

/** What a {@link HostStack} takes beside the fleet and the host. */
export interface HostStackProps {
  readonly fleet: Fleet;
  readonly host: Host;
  /** Whatever bpg/proxmox can set and fleet.yaml can't. @default none */
  readonly overrides?: ProxmoxHostProps['overrides'];
}

/**
 * Everything about one host, in one stack of its own: `cdktf deploy <host>` needs no other.
 *
 * The data goes one way: key → recipient → rules, and key → first boot → VM. The VM comes last, so that a VM that
 * fails to come up leaves the right recipient behind.
 */
export class HostStack extends TerraformStack {
  private readonly paths = new Map<string, string>();

  constructor(scope: Construct, { fleet, host, overrides }: HostStackProps) {
    super(scope, host.name);
    this.keepState(fleet, host);
    this.requireProviders(fleet);

    const hostKey = this.hostKey(host, host.hostKey);
    const { recipient } = new AgeRecipient(this, 'age', { publicKey: hostKey.publicKey });
    const next = host.nextKey && this.hostKey(host, host.nextKey);
    const nextRecipient = next && new AgeRecipient(this, 'age_next', { publicKey: next.publicKey }).recipient;
    const rules = new SopsRules(this, 'sops', {
      host: host.name,
      recipient,
      next: nextRecipient,
      root: fleet.root,
      admins: fleet.admins,
      directory: host.secrets,
      shared: sharedFoldersOf(fleet, host.name),
    });
    const firstBoot = this.firstBoot(host, hostKey);
    new ProxmoxHost(this, 'proxmox', {
      name: host.name,
      vmId: host.vmId,
      node: host.node,
      template: { vmId: host.template, node: host.templateNode, full: host.fullClone },
      firstBoot,
      datastore: host.disk,
      diskSize: host.diskSize,
      diskInterface: host.diskInterface,
      network: {
        bridge: host.bridge,
        vlan: host.vlan,
        macAddress: host.mac,
        address: host.address,
        gateway: host.gateway,
        address6: host.address6,
        gateway6: host.gateway6,
        nameServers: host.dns?.servers,
        searchDomain: host.dns?.domain,
      },
      cores: host.cores,
      sockets: host.sockets,
      cpuType: host.cpuType,
      memory: host.memory,
      balloon: host.balloon,
      agent: host.agent,
      onBoot: host.onBoot,
      started: host.started,
      protect: host.protect,
      tags: host.tags,
      description: host.description,
      dependsOn: rules.ready,
      overrides,
    });

    this.output(
      'age_recipient',
      'The age recipient to encrypt secrets to; known before the host boots.',
      recipient,
    );
    this.output('host_public_key', 'The one public host key that the host serves.', hostKey.publicKey);
    if (hostKey.madeAt !== undefined) {
      this.output('host_key_made_at', 'When the host key was made.', hostKey.madeAt);
    }
    const served = [hostKey.publicKey, hostKey.rsa?.publicKey, next?.publicKey, next?.rsa?.publicKey];
    const names = knownHostsNames(host.knownAs, host.ssh.port);
    const lines = served.flatMap((key) => (key === undefined ? [] : [`${names} ${key}`]));
    this.output('known_hosts', 'The lines for known_hosts.', lines.join('\n'));
    const more = {
      host_rsa_public_key: [
        'The public RSA host key that the host serves beside it.',
        hostKey.rsa?.publicKey,
      ],
      next_public_key: ['The public host key that takes over at the end of the rotation.', next?.publicKey],
      next_rsa_public_key: ['The public RSA host key that takes over with it.', next?.rsa?.publicKey],
    } as const;
    for (const [id, [description, key]] of Object.entries(more)) {
      if (key !== undefined) this.output(id, description, key);
    }
  }

  private hostKey({ hostKeyTypes }: Host, source: HostKeySource): HostKey {
    if (source.source === 'public') return HostKey.adopted(this, 'adopted_key', source.publicKey);
    return HostKey.generated(this, generatedKeyId(source.generation), { rsa: hostKeyTypes.includes('rsa') });
  }

  private firstBoot(host: Host, hostKey: HostKey): FirstBoot {
    try {
      return new FirstBoot(this, 'first_boot', {
        hostName: host.name,
        hostKey,
        node: host.node,
        datastore: host.snippets,
        hostKeyDirectory: host.hostKeyDirectory,
        user: host.user,
        authorizedKeys: host.authorizedKeys,
        cloudConfig: host.cloudConfig?.settings,
      });
    } catch (error) {
      if (!(error instanceof CloudConfigConflict) || host.cloudConfig === undefined) throw error;
      const path = `hosts.${host.name}.cloudConfig`;
      throw new FleetError([
        { ...host.cloudConfig.place, path, found: '', message: error.message, remedy: '' },
      ]);
    }
  }

  /**
   * Names resources by their place in the stack (`proxmox_virtual_environment_vm.proxmox_vm`) without cdktf's hash:
   * operators type these names after `-replace` and `-target`.
   */
  protected override allocateLogicalId(element: TerraformElement | Node): string {
    const { path } = element instanceof TerraformElement ? element.node : element;
    const name = path.split('/').slice(1).join('_');
    const taken = this.paths.get(name);
    if (taken !== undefined && taken !== path) {
      throw new Error(`${path} and ${taken} would both be "${name}" in Terraform; give one another id`);
    }
    this.paths.set(name, path);
    return name;
  }

  private output(id: string, description: string, value: string): void {
    new TerraformOutput(this, id, { description, value, staticId: true });
  }

  private keepState({ root, state }: Fleet, host: Host): void {
    if (state.kind === 'local') {
      new LocalBackend(this, { path: fromStack(this, path.join(root, state.path, `${host.name}.tfstate`)) });
    } else {
      new RemoteState(this, state, host.name);
    }
  }

  private requireProviders({ proxmox }: Fleet): void {
    new TlsProvider(this, 'tls');
    new LocalProvider(this, 'local');
    new ProxmoxProvider(this, 'proxmox_provider', {
      endpoint: proxmox.endpoint,
      minTls: proxmox.minTls,
      ssh: {
        username: proxmox.sshUsername,
        nodeAttribute: Object.entries(proxmox.nodes).map(([name, { address, port }]) => ({
          name,
          address,
          port,
        })),
      },
    });
    // The bindings ask for the very version that they were generated from. These constructs use what has not changed
    // in years, and a wider range lets a site with providers of its own building take part.
    this.addOverride('terraform.required_providers.tls.version', '>= 4.0.4, < 5.0.0');
    this.addOverride('terraform.required_providers.local.version', '>= 1.4.0, < 3.0.0');
    this.addOverride('terraform.required_version', '>= 1.6.0');
  }
}
