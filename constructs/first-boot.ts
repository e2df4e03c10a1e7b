import { VirtualEnvironmentFile } from '@cdktf/provider-proxmox/lib/virtual-environment-file';
import { Construct } from 'constructs';
import { type CloudConfig, composeCloudConfig, renderUserData } from './cloud-config';
import type { HostKey } from './host-key';
import { localReference } from './local-reference';

/** What a host needs to be told at its first boot. */
export interface FirstBootProps {
  /** The host's name: a DNS label. It names the snippet, too. */
  readonly hostName: string;
  /** The key that the host shall serve. Of an adopted key nothing is installed, and the host's own is kept. */
  readonly hostKey: HostKey;
  /** The Proxmox node whose datastore gets the snippet. */
  readonly node: string;
  /**
   * A file-based datastore with the content type `snippets` enabled.
   * @default 'local'
   */
  readonly datastore?: string;
  /**
   * The folder that the guest's sshd reads its host key from, an absolute path without characters that a shell or
   * YAML would change. Hosts whose root is wiped at boot keep theirs elsewhere, such as `/persist/etc/ssh`.
   * @default '/etc/ssh'
   */
  readonly hostKeyDirectory?: string;
  /**
   * The login user that gets `authorizedKeys`. `root` is let in.
   * @default the template's default user
   */
  readonly user?: string;
  /**
   * Public keys of the people who may log in.
   * @default none
   */
  readonly authorizedKeys?: readonly string[];
  /**
   * Further cloud-config, merged in: lists are joined, ours first; what would undo the host key is refused.
   * @default none
   */
  readonly cloudConfig?: CloudConfig;
}

const PRIVATE_KEY = '@@HOST_PRIVATE_KEY@@';
const PUBLIC_KEY = '@@HOST_PUBLIC_KEY@@';
const RSA_PRIVATE_KEY = '@@HOST_RSA_PRIVATE_KEY@@';
const RSA_PUBLIC_KEY = '@@HOST_RSA_PUBLIC_KEY@@';

/**
 * The cloud-init user data that gives a host its declared key before its sshd first starts, uploaded as a snippet.
 *
 * The document holds the private key, so a plan shows it as `(sensitive value)`, and only the node and the guest
 * get to see it.
 */
export class FirstBoot extends Construct {
  /** The snippet. A VM that is to boot with it depends on it, and names it by {@link volumeId}. */
  readonly snippet: VirtualEnvironmentFile;

  /**
   * The snippet's volume id, written out (`local:snippets/mqtt-01.user-data.yaml`). A reference to the snippet's own
   * `id` would make Terraform destroy the VM whenever a byte of the snippet changes.
   */
  readonly volumeId: string;

  constructor(scope: Construct, id: string, props: FirstBootProps) {
    super(scope, id);
    const directory = props.hostKeyDirectory ?? '/etc/ssh';
    if (!/^(\/[A-Za-z0-9._+-]+)+$/.test(directory)) {
      throw new Error(
        `hostKeyDirectory must be an absolute path without a trailing slash, and is "${directory}"`,
      );
    }
    const { privateKey, publicKey, rsa } = props.hostKey;
    const config = composeCloudConfig({
      hostName: props.hostName,
      hostKey:
        privateKey === undefined
          ? undefined
          : {
              privateKey: PRIVATE_KEY,
              publicKey: PUBLIC_KEY,
              ...(rsa === undefined
                ? {}
                : { rsa: { privateKey: RSA_PRIVATE_KEY, publicKey: RSA_PUBLIC_KEY } }),
            },
      hostKeyDirectory: directory,
      user: props.user,
      authorizedKeys: props.authorizedKeys ?? [],
      own: props.cloudConfig ?? {},
    });
    const datastore = props.datastore ?? 'local';
    const fileName = `${props.hostName}.user-data.yaml`;
    this.volumeId = `${datastore}:snippets/${fileName}`;
    this.snippet = new VirtualEnvironmentFile(this, 'snippet', {
      contentType: 'snippets',
      datastoreId: datastore,
      nodeName: props.node,
      sourceRaw: {
        fileName,
        data: renderUserData(
          config,
          privateKey === undefined
            ? {}
            : {
                [PRIVATE_KEY]: localReference(this, 'private_key', privateKey),
                [PUBLIC_KEY]: localReference(this, 'public_key', publicKey),
                ...(rsa === undefined
                  ? {}
                  : {
                      [RSA_PRIVATE_KEY]: localReference(this, 'rsa_private_key', rsa.privateKey),
                      [RSA_PUBLIC_KEY]: localReference(this, 'rsa_public_key', rsa.publicKey),
                    }),
              },
        ),
      },
    });
  }
}
