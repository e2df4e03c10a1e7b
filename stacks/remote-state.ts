import { TerraformBackend, type TerraformRemoteState } from 'cdktf';
import type { Construct } from 'constructs';
import type { StateSettings } from '../fleet/fleet';

type RemoteSettings = Exclude<StateSettings, { readonly kind: 'local' }>;

/** A remote backend with Terraform's own settings, `{host}` in them standing for the stack's host. */
export class RemoteState extends TerraformBackend {
  private readonly settings: Record<string, unknown>;

  constructor(scope: Construct, { kind, settings }: RemoteSettings, host: string) {
    super(scope, 'backend', kind);
    this.settings = withHost(settings, host) as Record<string, unknown>;
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

function withHost(value: unknown, host: string): unknown {
  if (typeof value === 'string') return value.replaceAll('{host}', host);
  if (Array.isArray(value)) return value.map((item) => withHost(item, host));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withHost(item, host)]));
  }
  return value;
}
