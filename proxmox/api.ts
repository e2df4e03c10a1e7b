import { existsSync } from 'node:fs';
import { createSecureContext, type SecureVersion } from 'node:tls';
import { Agent, type Dispatcher, EnvHttpProxyAgent, request } from 'undici';
import { authorities, credentialsIn, isOn, oldestTls, proxyFor } from './environment';

/**
 * Why the API didn't answer what it was asked: `unreachable`: nobody answers there; `untrusted`: TLS is refused;
 * `refused`: the login isn't accepted (401); `forbidden`: who logged in may not ask for this (403); `failed`: anything
 * else that Proxmox VE says, such as a node that it can't reach itself (595).
 */
export type ApiFailure = 'unreachable' | 'untrusted' | 'refused' | 'forbidden' | 'failed';

/** The message says what is wrong and never holds a credential; the remedy says what to type. */
export class ApiError extends Error {
  override readonly name = 'ApiError';

  constructor(
    readonly failure: ApiFailure,
    message: string,
    readonly remedy: string,
  ) {
    super(message);
  }
}

const TIMEOUT_MS = 10_000;

/**
 * Proxmox VE's API, only ever read from, with the credentials that the provider takes from the environment
 * (`PROXMOX_VE_*`), and trusting whom the provider trusts (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
 */
export class ProxmoxApi {
  private dispatcher: Dispatcher | undefined;
  private login: Promise<Readonly<Record<string, string>>> | undefined;

  /** @param minTls The oldest TLS version to speak. @default what the provider takes */
  constructor(
    private readonly endpoint: string,
    private readonly env: NodeJS.ProcessEnv = process.env,
    private readonly minTls: SecureVersion = oldestTls(undefined, env),
  ) {}

  /**
   * The `data` that the API answers to a GET.
   *
   * @param path Such as `/nodes`; below `/api2/json`.
   * @throws ApiError
   */
  async get(path: string, query: Readonly<Record<string, string>> = {}): Promise<unknown> {
    this.login ??= this.headers();
    return this.send('GET', path, { headers: await this.login, query });
  }

  async close(): Promise<void> {
    await this.dispatcher?.close();
  }

  private async headers(): Promise<Readonly<Record<string, string>>> {
    const credentials = credentialsIn(this.env);
    switch (credentials.kind) {
      case 'none':
        throw new ApiError('refused', credentials.message, credentials.remedy);
      case 'token':
        return { authorization: `PVEAPIToken=${this.env.PROXMOX_VE_API_TOKEN}` };
      case 'ticket':
        return { cookie: `PVEAuthCookie=${this.env.PROXMOX_VE_AUTH_TICKET}` };
      case 'password':
        return this.logIn(credentials.user, this.env.PROXMOX_VE_PASSWORD ?? '');
    }
  }

  private async logIn(username: string, password: string): Promise<Readonly<Record<string, string>>> {
    const data = await this.send('POST', '/access/ticket', { form: { username, password } });
    const { ticket = '', NeedTFA: second } = data as { ticket?: string; NeedTFA?: unknown };
    if (!second) return { cookie: `PVEAuthCookie=${ticket}` };
    throw new ApiError(
      'refused',
      `${username} logs in with a second factor, which nobody can type here`,
      `use a token: ${MAKE_TOKEN}`,
    );
  }

  private async send(
    method: 'GET' | 'POST',
    path: string,
    {
      headers = {},
      query = {},
      form,
    }: {
      readonly headers?: Readonly<Record<string, string>>;
      readonly query?: Readonly<Record<string, string>>;
      readonly form?: Readonly<Record<string, string>>;
    },
  ): Promise<unknown> {
    this.dispatcher ??= connections(this.endpoint, this.env, this.minTls);
    const url = new URL(`api2/json${path}`, this.endpoint);
    url.search = new URLSearchParams(query).toString();
    let answer: { readonly status: number; readonly text: string };
    try {
      const { statusCode, body } = await request(url, {
        method,
        dispatcher: this.dispatcher,
        headers: {
          ...headers,
          ...(form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
        },
        ...(form === undefined ? {} : { body: new URLSearchParams(form).toString() }),
        headersTimeout: TIMEOUT_MS,
        bodyTimeout: TIMEOUT_MS,
      });
      answer = { status: statusCode, text: await body.text() };
    } catch (error) {
      throw unanswered(error, this.endpoint, this.env);
    }
    if (answer.status >= 400) throw answered(answer.status, path, answer.text);
    return dataOf(answer.text, this.endpoint);
  }
}

/** Connections to the API that trust whom the provider trusts, through the proxy that it would go through. */
export function connections(
  endpoint: string,
  env: NodeJS.ProcessEnv,
  minVersion: SecureVersion = oldestTls(undefined, env),
): Dispatcher {
  // Made once: it takes longer to read the authorities than to connect.
  const secureContext = createSecureContext({ ca: authorities(env), minVersion });
  const tls = { secureContext, rejectUnauthorized: !isOn(env.PROXMOX_VE_INSECURE), timeout: TIMEOUT_MS };
  const httpsProxy = proxyFor(new URL(endpoint).hostname, env);
  return httpsProxy === undefined
    ? new Agent({ connect: tls })
    : new EnvHttpProxyAgent({
        httpsProxy,
        noProxy: env.NO_PROXY || env.no_proxy || '',
        connect: tls,
        requestTls: tls,
      });
}

const MAKE_TOKEN = 'pveum user token add terraform@pve hostkey --privsep 0';

function dataOf(text: string, endpoint: string): unknown {
  try {
    const answer: unknown = JSON.parse(text);
    if (typeof answer === 'object' && answer !== null && 'data' in answer) return answer.data;
  } catch {
    // Told below.
  }
  throw new ApiError(
    'failed',
    `${endpoint} answers, and is no API of Proxmox VE's`,
    'correct proxmox.endpoint in fleet.yaml',
  );
}

function answered(status: number, path: string, text: string): ApiError {
  const why = reason(text);
  if (status === 401) {
    return new ApiError(
      'refused',
      `the API doesn't accept the credentials: ${why}`,
      `make a token: ${MAKE_TOKEN}`,
    );
  }
  if (status === 403) return new ApiError('forbidden', `the token may not ask for ${path}: ${why}`, '');
  // What pveproxy answers where another node of the cluster doesn't (PVE/HTTPServer.pm, proxy_request).
  if (status === 595 || status === 596) {
    return new ApiError(
      'failed',
      `${path}: the API doesn't reach that node (HTTP ${status}): ${why}`,
      'on another node of the cluster: pvecm status',
    );
  }
  const remedy = status >= 500 ? 'on the node: journalctl -u pveproxy -u pvedaemon --since -10min' : '';
  return new ApiError('failed', `${path}: HTTP ${status}: ${why}`, remedy);
}

function reason(text: string): string {
  try {
    return ((JSON.parse(text) as { message?: string }).message ?? '').trim() || 'no reason given';
  } catch {
    return 'no reason given';
  }
}

const UNTRUSTED = /CERT|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|ALTNAME/;

/** An answer that didn't come, told apart. */
export function unanswered(error: unknown, endpoint: string, env: NodeJS.ProcessEnv = process.env): ApiError {
  const { code = '', message } = error as NodeJS.ErrnoException;
  if (/PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL/.test(code)) {
    return new ApiError(
      'untrusted',
      `${endpoint} speaks only TLS versions that are older than what is accepted`,
      'write minTls: 1.2 under proxmox in fleet.yaml',
    );
  }
  if (UNTRUSTED.test(code)) {
    return new ApiError(
      'untrusted',
      `the certificate of ${endpoint} isn't trusted: ${message}`,
      trustRemedy(code, env.SSL_CERT_FILE),
    );
  }
  return new ApiError(
    'unreachable',
    `${endpoint} doesn't answer: ${code || message}`,
    `is it right in fleet.yaml (proxmox.endpoint), and reachable: curl -k ${endpoint}`,
  );
}

function trustRemedy(code: string, file: string | undefined): string {
  if (/ALTNAME/.test(code))
    return 'write a name that the certificate has into proxmox.endpoint of fleet.yaml';
  if (/EXPIRED|NOT_YET/.test(code)) {
    return 'look at both clocks; else, on the node, as root: pvecm updatecerts --force && systemctl restart pveproxy';
  }
  const now = file ? ` (now it names ${file}${existsSync(file) ? '' : ", which isn't there"})` : '';
  return `fetch the cluster's authority, and name it${now}: scp root@NODE:/etc/pve/pve-root-ca.pem . && export SSL_CERT_FILE=$PWD/pve-root-ca.pem`;
}
