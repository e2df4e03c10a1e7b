import type { RemoteBackend, StateSettings } from './fleet';
import { canonicalPath } from './formats';
import type { Path, Problems } from './problem';
import type { WrittenState } from './schema';
import type { YamlSource } from './source';

const HOST = '{host}';

/**
 * How a backend tells the hosts' states apart: the setting that holds `{host}`, and what it is where nobody wrote it.
 * An http address can't be guessed.
 */
const APART: Record<
  RemoteBackend,
  { readonly setting: string; readonly usual?: string; readonly also?: string[] }
> = {
  s3: { setting: 'key', usual: '{host}.tfstate' },
  http: { setting: 'address', also: ['lock_address', 'unlock_address'] },
  pg: { setting: 'schema_name', usual: '{host}' },
  gcs: { setting: 'prefix', usual: '{host}' },
  azurerm: { setting: 'key', usual: '{host}.tfstate' },
};

/** The environment variables that Terraform's backends read credentials from. */
const VARIABLES: Record<RemoteBackend, Readonly<Record<string, string>>> = {
  s3: {
    access_key: 'AWS_ACCESS_KEY_ID',
    secret_key: 'AWS_SECRET_ACCESS_KEY',
    token: 'AWS_SESSION_TOKEN',
    sse_customer_key: 'AWS_SSE_CUSTOMER_KEY',
    web_identity_token: 'AWS_WEB_IDENTITY_TOKEN_FILE',
  },
  http: {
    username: 'TF_HTTP_USERNAME',
    password: 'TF_HTTP_PASSWORD',
    client_private_key_pem: 'TF_HTTP_CLIENT_PRIVATE_KEY_PEM',
    authorization: 'TF_HTTP_USERNAME and TF_HTTP_PASSWORD',
  },
  pg: { password: 'PGPASSWORD' },
  gcs: {
    credentials: 'GOOGLE_CREDENTIALS',
    access_token: 'GOOGLE_OAUTH_ACCESS_TOKEN',
    encryption_key: 'GOOGLE_ENCRYPTION_KEY',
  },
  azurerm: {
    access_key: 'ARM_ACCESS_KEY',
    sas_token: 'ARM_SAS_TOKEN',
    client_secret: 'ARM_CLIENT_SECRET',
    client_certificate: 'ARM_CLIENT_CERTIFICATE',
    client_certificate_password: 'ARM_CLIENT_CERTIFICATE_PASSWORD',
    oidc_token: 'ARM_OIDC_TOKEN',
    oidc_request_token: 'ARM_OIDC_REQUEST_TOKEN',
  },
};

/** Names that hold a credential in whatever backend. */
const CREDENTIAL =
  /(^|_)(password|passwd|secret|secret_key|access_key|private_key(_pem)?|token|sas|authorization)$/i;

/** Checks `state:` and completes it. */
export function resolveState(
  written: WrittenState | undefined,
  source: YamlSource,
  problems: Problems,
): StateSettings {
  const local = (path = 'state'): StateSettings => ({ kind: 'local', path: canonicalPath(path) });
  const kinds = Object.keys(written ?? {}) as (keyof WrittenState)[];
  const [kind, second] = kinds;
  if (written === undefined || kind === undefined) return local();
  if (second !== undefined) {
    const line = source.keyPlace(['state', kind]).line;
    const message = `state is kept in one place, and ${kind} (line ${line}) is one already; keep one of them`;
    problems.add(source.keyPlace(['state', second]), ['state', second], message);
  }
  if (kind === 'local') return local(written.local);
  const settings = written[kind] ?? {};
  refuseCredentials(kind, settings, ['state', kind], source, problems);
  return { kind, settings: tellApart(kind, settings, source, problems) };
}

/** The settings of a host's own state: `{host}` replaced everywhere. */
export function settingsFor(
  { settings }: Exclude<StateSettings, { readonly kind: 'local' }>,
  host: string,
): Record<string, unknown> {
  return withHost(settings, host) as Record<string, unknown>;
}

function withHost(value: unknown, host: string): unknown {
  if (typeof value === 'string') return value.replaceAll(HOST, host);
  if (Array.isArray(value)) return value.map((item) => withHost(item, host));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withHost(item, host)]));
  }
  return value;
}

function tellApart(
  kind: RemoteBackend,
  settings: Readonly<Record<string, unknown>>,
  source: YamlSource,
  problems: Problems,
): Record<string, unknown> {
  const { setting, usual, also = [] } = APART[kind];
  const example = usual ?? `https://state.example.net/${HOST}`;
  if (settings[setting] === undefined && usual === undefined) {
    const path = ['state', kind, setting];
    problems.add(
      source.keyPlace(['state', kind]),
      path,
      `${setting} is missing; write it with ${HOST} in it, such as "${example}"`,
    );
  }
  for (const name of [setting, ...also]) {
    const value = settings[name];
    if (value === undefined) continue;
    const path = ['state', kind, name];
    if (typeof value !== 'string')
      problems.add(source.place(path), path, `this is no text; write one with ${HOST} in it`);
    else if (!value.includes(HOST)) {
      const message = `without ${HOST} every host would write over the others' state; write it in, such as "${example}"`;
      problems.add(source.place(path), path, message);
    }
  }
  return usual === undefined ? { ...settings } : { [setting]: usual, ...settings };
}

function refuseCredentials(
  kind: RemoteBackend,
  settings: object,
  path: Path,
  source: YamlSource,
  problems: Problems,
): void {
  for (const [key, value] of Object.entries(settings)) {
    const here = [...path, key];
    const variable = VARIABLES[kind][key.toLowerCase()];
    if (variable !== undefined) {
      problems.add(
        source.keyPlace(here),
        here,
        `a credential is no part of this file; set ${variable} in the environment`,
      );
    } else if (CREDENTIAL.test(key)) {
      problems.add(
        source.keyPlace(here),
        here,
        `a credential is no part of this file; give it to Terraform's ${kind} backend by its environment variable`,
      );
    } else if (typeof value === 'string' && holdsPassword(value)) {
      const instead =
        kind === 'pg'
          ? 'PGPASSWORD (or PG_CONN_STR)'
          : kind === 'http'
            ? 'TF_HTTP_USERNAME and TF_HTTP_PASSWORD'
            : "the backend's own variable";
      problems.add(
        source.place(here),
        here,
        `this holds a password; take it out, and set ${instead} in the environment`,
      );
    } else if (value === null) {
      problems.add(
        source.keyPlace(here),
        here,
        'nothing stands behind this name; write a value, or leave the line out',
      );
    } else if (typeof value === 'object') refuseCredentials(kind, value, here, source, problems);
  }
}

/** `postgres://user:password@host/db`, `…?password=…`, `host=db password=…`. */
function holdsPassword(value: string): boolean {
  return /:\/\/[^/@\s]*:[^/@\s]+@/.test(value) || /(^|[\s?&])(password|sslpassword|sig)\s*=/i.test(value);
}
