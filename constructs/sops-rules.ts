import { File } from '@cdktf/provider-local/lib/file';
import { type ITerraformDependable, TerraformIterator } from 'cdktf';
import { Construct } from 'constructs';
import type { HostEntry } from '../sops/entry';
import { hostRulesFile } from '../sops/rules';
import { fromStack, packageRoot } from './paths';
import { TerraformData } from './terraform-data';

/** Who can decrypt the secrets of a host, and where they lie. */
export interface SopsRulesProps {
  /** The host's name: a DNS label. It names the anchor `host_<name>`. */
  readonly host: string;
  /** The host's age recipient. */
  readonly recipient: string;
  /** The recipient of the key that the host gets next, while it is rotated. @default none */
  readonly next?: string;
  /** The folder that holds the root `.sops.yaml`: the root of the repository, as sops is run from there. */
  readonly root: string;
  /**
   * The people who can decrypt every secret, name → age recipient. They become the anchors `admin_<name>`.
   * @default none: only the host can decrypt
   */
  readonly admins?: Readonly<Record<string, string>>;
  /**
   * The folder of the host's secrets, relative to `root`.
   * @default 'secrets/<host>'
   */
  readonly directory?: string;
  /**
   * Folders of secrets that several hosts read, this one among them, relative to `root`.
   * @default none
   */
  readonly shared?: readonly string[];
}

/**
 * The creation rules that encrypt a host's secrets to the host.
 *
 * `<directory>/.sops.yaml` belongs to Terraform alone, so that a plan shows when somebody changed it. The root
 * `.sops.yaml`, which sops finds and people edit, is not Terraform's to own: in the same apply, `hostkey sops apply`
 * puts this host's entry into it and leaves everything else alone; destroying takes the entry out again.
 */
export class SopsRules extends Construct {
  /** What stands when both files do; a VM that depends on it leaves the right recipient behind even if it fails. */
  readonly ready: readonly ITerraformDependable[];

  constructor(scope: Construct, id: string, props: SopsRulesProps) {
    super(scope, id);
    const directory = props.directory ?? `secrets/${props.host}`;
    const entry: HostEntry = {
      host: props.host,
      recipient: props.recipient,
      next: props.next,
      admins: { ...props.admins },
      path: directory,
      shared: [...(props.shared ?? [])],
    };
    const file = new File(this, 'file', {
      filename: fromStack(this, `${props.root}/${directory}/.sops.yaml`),
      content: hostRulesFile(entry),
      filePermission: '0644',
      directoryPermission: '0755',
    });

    const hostkey = `node ${fromStack(this, `${packageRoot()}/bin/hostkey`)}`;
    const root = fromStack(this, props.root);
    // Two resources, not one: were the removal a part of the entry, then a changed recipient would first take the
    // host's rules away, and leave none if the second half failed.
    const removal = new TerraformData(this, 'root_entry_removal', {
      input: { host: props.host },
      provisioners: [
        {
          type: 'local-exec',
          when: 'destroy',
          command: `${hostkey} sops remove --root ${root} --host ${props.host}`,
        },
      ],
    });
    // One a folder, declared even where there is none: a host that leaves a folder leaves its rule, too.
    const membership = new TerraformData(this, 'root_entry_shared', {
      forEach: TerraformIterator.fromList([...entry.shared]),
      provisioners: [
        {
          type: 'local-exec',
          when: 'destroy',
          command: `${hostkey} sops remove --root ${root} --host ${props.host}`,
          environment: { HOSTKEY_SOPS_FOLDER: '${each.key}' },
        },
      ],
    });
    const json = JSON.stringify(entry);
    const composed = new TerraformData(this, 'root_entry', {
      triggersReplace: { entry: json },
      dependsOn: [file, removal, membership],
      provisioners: [
        {
          type: 'local-exec',
          command: `${hostkey} sops apply --root ${root}`,
          environment: { HOSTKEY_SOPS_ENTRY: json },
        },
      ],
    });
    this.ready = [file, composed];
  }
}
