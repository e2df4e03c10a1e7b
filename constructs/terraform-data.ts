import { type TerraformMetaArguments, TerraformResource } from 'cdktf';
import type { Construct } from 'constructs';

/** The arguments of a `terraform_data` resource (Terraform 1.4 and newer). */
export interface TerraformDataProps extends TerraformMetaArguments {
  /** Kept in the state, and known to a destroy-time provisioner as `self.input`. */
  readonly input?: Readonly<Record<string, string>>;
  /** Values whose change replaces the resource. */
  readonly triggersReplace?: Readonly<Record<string, string>>;
}

/**
 * A `terraform_data` resource.
 *
 * Not cdktf's `DataResource`: that one runs `terraform version` for every instance at every synth, which was four
 * fifths of the time that a fleet took. `required_version` of the stack says what is needed, and Terraform checks it.
 */
export class TerraformData extends TerraformResource {
  private readonly attributes: Record<string, unknown>;

  constructor(scope: Construct, id: string, { input, triggersReplace, ...meta }: TerraformDataProps) {
    super(scope, id, { ...meta, terraformResourceType: 'terraform_data' });
    this.attributes = { input, triggers_replace: triggersReplace };
  }

  /** A value of `input`, as the state keeps it. */
  output(key: string): string {
    return this.interpolationForAttribute(`output.${key}`).toString();
  }

  protected override synthesizeAttributes(): Record<string, unknown> {
    return this.attributes;
  }
}
