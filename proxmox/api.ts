import { existsSync, readFileSync } from 'node:fs';
import { rootCertificates } from 'node:tls';
import { Agent, request } from 'undici';

/** Why the API didn't answer what it was asked. */
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

/** Where Go programs, the provider among them, look for the authorities they trust (crypto/x509, root_linux.go). */
const SYSTEM_CAS = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/**
 * Proxmox VE's API, only ever read from, with the credentials that the provider takes from the environment
 * (`PROXMOX_VE_*`), and trusting whom the provider trusts (`SSL_CERT_FILE`).
 */
export class ProxmoxApi {
  private dispatcher: Agent | undefined;
  private login: Promise<Readonly<Record<string, string>>> | undefined;

  constructor(
    private readonly endpoint: string,
    private readonly env: NodeJS.ProcessEnv = process.env,
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
    const { PROXMOX_VE_API_TOKEN: token, PROXMOX_VE_AUTH_TICKET: ticket } = this.env;
    if (token) return { authorization: `PVEAPIToken=${token}` };
    if (ticket) return { cookie: `PVEAuthCookie=${ticket}` };
    const { PROXMOX_VE_USERNAME: username, PROXMOX_VE_PASSWORD: password } = this.env;
    if (!username || !password) {
      throw new ApiError(
        'refused',
        'no credentials for the API are set',
        "export PROXMOX_VE_API_TOKEN='user@realm!name=…'",
      );
    }
    const data = await this.send('POST', '/access/ticket', { form: { username, password } });
    return { cookie: `PVEAuthCookie=${(data as { ticket?: string }).ticket ?? ''}` };
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
    this.dispatcher ??= connections(this.env);
    const url = new URL(`api2/json${path}`, this.endpoint);
    url.search = new URLSearchParams(query).toString();
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
      const text = await body.text();
      if (statusCode < 400) return (JSON.parse(text) as { data?: unknown }).data;
      throw answered(statusCode, path, text);
    } catch (error) {
      throw error instanceof ApiError ? error : unanswered(error, this.endpoint);
    }
  }
}

/** Connections to the API that trust whom the provider trusts. @throws ApiError where that can't be read. */
export function connections(env: NodeJS.ProcessEnv): Agent {
  const insecure = /^(1|t|true)$/i.test(env.PROXMOX_VE_INSECURE ?? '');
  return new Agent({ connect: { ca: authorities(env), rejectUnauthorized: !insecure } });
}

function authorities({ SSL_CERT_FILE: own }: NodeJS.ProcessEnv): string[] {
  const file = own || SYSTEM_CAS.find((each) => existsSync(each));
  try {
    return file === undefined ? [...rootCertificates] : [readFileSync(file, 'utf8')];
  } catch {
    throw new ApiError(
      'untrusted',
      `SSL_CERT_FILE names ${file}, which can't be read`,
      'correct or unset SSL_CERT_FILE',
    );
  }
}

function answered(status: number, path: string, text: string): ApiError {
  const why = reason(text);
  if (status === 401) {
    return new ApiError(
      'refused',
      `the API doesn't accept the credentials: ${why}`,
      'make a token: pveum user token add terraform@pve hostkey --privsep 0',
    );
  }
  if (status === 403) return new ApiError('forbidden', `the token may not ask for ${path}: ${why}`, '');
  return new ApiError('failed', `${path}: HTTP ${status} ${why}`, '');
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
export function unanswered(error: unknown, endpoint: string): ApiError {
  const { code = '', message } = error as NodeJS.ErrnoException;
  if (UNTRUSTED.test(code)) {
    return new ApiError(
      'untrusted',
      `the certificate of ${endpoint} isn't trusted: ${message}`,
      "fetch the cluster's authority, and name it: scp root@NODE:/etc/pve/pve-root-ca.pem . && export SSL_CERT_FILE=$PWD/pve-root-ca.pem",
    );
  }
  return new ApiError(
    'unreachable',
    `${endpoint} doesn't answer: ${code || message}`,
    `is it right in fleet.yaml (proxmox.endpoint), and reachable: curl -k ${endpoint}`,
  );
}
