import { TerraformBackend, type TerraformRemoteState } from 'cdktf';
import type { Construct } from 'constructs';
import type { StateSettings } from '../fleet/fleet';
import { settingsFor } from '../fleet/state';

type RemoteSettings = Exclude<StateSettings, { readonly kind: 'local' }>;

/** A remote backend with Terraform's own settings, `{host}` in them standing for the stack's host. */
export class RemoteState extends TerraformBackend {
  private readonly settings: Record<string, unknown>;

  constructor(scope: Construct, state: RemoteSettings, host: string) {
    super(scope, 'backend', state.kind);
    this.settings = settingsFor(state, host);
  }

  protected override synthesizeAttributes(): Record<string, unknown> {
    return this.settings;
  }

  protected override synthesizeHclAttributes(): Record<string, unknown> {
    return this.settings;
  }

  /** Stacks of a fleet stand alone (`cdktf deploy <host>`), so that none reads another's state. */
  override getRemoteStateDataSource(): TerraformRemoteState {
    throw new Error('a host stack stands alone; nothing reads its state from another stack');
  }
}
