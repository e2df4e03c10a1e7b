import { closeSync, constants, openSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { basename, dirname } from 'node:path';

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** What a caller may send: parameters of the API's, or fakepve's arguments. */
export type Values = Readonly<Record<string, string | number | boolean | readonly string[]>>;

/** How a request proves who sends it. */
type Login = { readonly token: string } | { readonly username: string; readonly password: string };

export interface Api {
  /** `https://127.83.0.1:8006/` */
  readonly endpoint: string;
  /** The authority that has signed the API's certificate, in PEM. */
  readonly ca: string;
  readonly login: Login;
}

/** One request to the Proxmox VE API; answers its `data`, or throws what Proxmox VE says is wrong. */
export async function callApi(api: Api, method: string, path: string, values: Values = {}): Promise<unknown> {
  const headers =
    'token' in api.login ? { Authorization: `PVEAPIToken=${api.login.token}` } : await ticket(api, api.login);
  return send(api, method, path, values, headers);
}

async function ticket(
  api: Api,
  login: { username: string; password: string },
): Promise<Record<string, string>> {
  const data = (await send(api, 'POST', '/access/ticket', login, {})) as Record<string, string>;
  return { Cookie: `PVEAuthCookie=${data.ticket}`, CSRFPreventionToken: data.CSRFPreventionToken ?? '' };
}

async function send(api: Api, method: string, path: string, values: Values, headers: Record<string, string>) {
  const form = new URLSearchParams(
    Object.entries(values).flatMap(([key, value]) =>
      typeof value === 'object'
        ? value.map((each): [string, string] => [key, each])
        : [[key, asText(value)] as [string, string]],
    ),
  );
  const inQuery = method === 'GET' || method === 'DELETE';
  const query = inQuery && form.size > 0 ? `?${form}` : '';
  const url = new URL(`api2/json${path}${query}`, api.endpoint);
  const { status, text } = await exchange(
    // No pool: a connection kept open would keep a program alive, or meet the next sandbox at this address.
    httpsRequest(url, {
      method,
      ca: api.ca,
      agent: false,
      timeout: 10_000,
      headers: { ...headers, ...formType(inQuery) },
    }),
    inQuery ? '' : form.toString(),
  );
  const body = JSON.parse(text || '{}') as { data?: unknown; message?: string; errors?: unknown };
  if (status < 400) return body.data;
  const details = body.errors ? ` ${JSON.stringify(body.errors)}` : '';
  throw new Error(`${method} ${path}: HTTP ${status} ${(body.message ?? '').trim()}${details}`);
}

const asText = (value: string | number | boolean): string =>
  typeof value === 'boolean' ? String(Number(value)) : String(value);

const formType = (inQuery: boolean): Record<string, string> =>
  inQuery ? {} : { 'Content-Type': 'application/x-www-form-urlencoded' };

/** One request over the adapter's control socket. */
export async function callControl(
  socket: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<unknown> {
  // A unix socket's path may have 107 bytes. Through a descriptor of its folder it always has fewer.
  const folder = openSync(dirname(socket), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const socketPath = `/proc/self/fd/${folder}/${basename(socket)}`;
    const { status, text } = await exchange(
      httpRequest({
        socketPath,
        method,
        path,
        agent: false,
        headers: { 'Content-Type': 'application/json' },
      }),
      body === undefined ? '' : JSON.stringify(body),
    );
    const answer = JSON.parse(text) as { error?: string };
    if (status >= 400) throw new Error(answer.error ?? `HTTP ${status}`);
    return answer;
  } finally {
    closeSync(folder);
  }
}

function exchange(request: ReturnType<typeof httpRequest>, body: string): Promise<Answer> {
  return new Promise((done, fail) => {
    request.on('error', fail);
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('response', (response: IncomingMessage) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.on('error', fail);
      response.on('end', () => done({ status: response.statusCode ?? 0, text }));
    });
    request.end(body);
  });
}
