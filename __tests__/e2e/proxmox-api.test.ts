import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttp, type Server as HttpServer } from 'node:http';
import { createServer, type Server, type ServerOptions } from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { generate } from 'selfsigned';
import { ApiError, ProxmoxApi } from '../../proxmox/api';
import { oldestTls } from '../../proxmox/environment';

/** Why the API doesn't answer, asked of real servers that each fail in their own way. */

const ADDRESS = '127.97.1.1';
const TOKEN = 'terraform@pve!hostkey=not-a-secret';

interface Certificate {
  readonly key: string;
  readonly cert: string;
  /** A file and a folder with the authority that signed it: itself. */
  readonly file: string;
  readonly folder: string;
}

let folder: string;
let good: Certificate;
const servers: { close(): unknown; closeAllConnections(): void }[] = [];

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'hostkey-api-'));
  good = await certificate('good', ADDRESS);
});

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function certificate(name: string, ip: string, notAfterDate?: Date): Promise<Certificate> {
  const { private: key, cert } = await generate([{ name: 'commonName', value: name }], {
    keyType: 'ec',
    algorithm: 'sha256',
    ...(notAfterDate ? { notBeforeDate: new Date(0), notAfterDate } : {}),
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'subjectAltName', altNames: [{ type: 7, ip }] },
    ],
  });
  const own = mkdtempSync(path.join(folder, `${name}-`));
  const file = path.join(own, 'ca.pem');
  writeFileSync(file, cert);
  return { key, cert, file, folder: own };
}

/** A server that answers everything alike; its endpoint. */
async function serve(
  options: ServerOptions,
  [status, text]: readonly [number, string] = [200, '{"data":{"version":"9.0.1"}}'],
): Promise<string> {
  const server: Server = createServer(options, (_request, response) => {
    response.writeHead(status, { location: 'https://elsewhere.example.net/' });
    response.end(text);
  });
  servers.push(server);
  await new Promise<void>((done) => server.listen(0, ADDRESS, done));
  return `https://${ADDRESS}:${portOf(server)}/`;
}

function portOf(server: Server | HttpServer): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Only these authorities count. */
const trusting = (file: string, more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
  PROXMOX_VE_API_TOKEN: TOKEN,
  SSL_CERT_FILE: file,
  SSL_CERT_DIR: '/nowhere',
  ...more,
});

async function ask(endpoint: string, env: NodeJS.ProcessEnv, minTls?: string): Promise<unknown> {
  const api = new ProxmoxApi(endpoint, env, oldestTls(minTls, env));
  try {
    return await api.get('/version');
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    expect(`${error.message}${error.remedy}`).not.toContain('not-a-secret');
    return [error.failure, error.message, error.remedy];
  } finally {
    await api.close();
  }
}

const WELL = { version: '9.0.1' };

describe('whom it trusts', () => {
  test('an authority that SSL_CERT_FILE names, and one in a folder of SSL_CERT_DIR', async () => {
    const endpoint = await serve(good);
    expect(await ask(endpoint, trusting(good.file))).toEqual(WELL);
    const byFolder = trusting('/nowhere/ca.pem', { SSL_CERT_DIR: `/nowhere:${good.folder}` });
    expect(await ask(endpoint, byFolder)).toEqual(WELL);
  });

  test.each(['true', '1'])('anybody, where PROXMOX_VE_INSECURE is %s', async (insecure) => {
    const endpoint = await serve(good);
    expect(await ask(endpoint, trusting('', { PROXMOX_VE_INSECURE: insecure }))).toEqual(WELL);
    const [failure] = (await ask(endpoint, trusting('', { PROXMOX_VE_INSECURE: 'yes' }))) as string[];
    expect(failure).toBe('untrusted');
  });

  test('nobody else, and says what to do', async () => {
    const endpoint = await serve(good);
    const other = await certificate('other', ADDRESS);
    expect(await ask(endpoint, trusting(other.file))).toEqual([
      'untrusted',
      expect.stringContaining("isn't trusted"),
      expect.stringContaining(`now it names ${other.file}`),
    ]);
  });

  test('not a certificate for another address, nor one that has expired', async () => {
    const strange = await certificate('strange', '192.0.2.1');
    expect(await ask(await serve(strange), trusting(strange.file))).toEqual([
      'untrusted',
      expect.stringContaining("isn't trusted"),
      'write a name that the certificate has into proxmox.endpoint of fleet.yaml',
    ]);
    const old = await certificate('old', ADDRESS, new Date(86_400_000));
    expect(await ask(await serve(old), trusting(old.file))).toEqual([
      'untrusted',
      expect.stringContaining('expired'),
      expect.stringContaining('pvecm updatecerts --force'),
    ]);
  });

  test('no TLS that is older than what the provider takes', async () => {
    const endpoint = await serve({ ...good, maxVersion: 'TLSv1.2' });
    expect(await ask(endpoint, trusting(good.file))).toEqual([
      'untrusted',
      expect.stringContaining('TLS versions that are older'),
      'write minTls: 1.2 under proxmox in fleet.yaml',
    ]);
    expect(await ask(endpoint, trusting(good.file), '1.2')).toEqual(WELL);
  });
});

test.each<[string, readonly [number, string], readonly [string, RegExp]]>([
  ['a page', [200, '<html>'], ['failed', /is no API of Proxmox VE's$/]],
  ['JSON of another kind', [200, '[]'], ['failed', /is no API of Proxmox VE's$/]],
  ['a redirection', [302, ''], ['failed', /is no API of Proxmox VE's$/]],
  ['401', [401, '{"message":"invalid token value!\\n"}'], ['refused', /: invalid token value!$/]],
  ['403', [403, '{"message":"Permission check failed"}'], ['forbidden', /Permission check failed$/]],
  ['500', [500, '{"message":"it broke"}'], ['failed', /HTTP 500: it broke$/]],
  ['595', [595, ''], ['failed', /the API doesn't reach that node \(HTTP 595\)/]],
])('an answer that is none: %s', async (_what, answer, [failure, message]) => {
  const told = await ask(await serve(good, answer), trusting(good.file));
  expect(told).toEqual([failure, expect.stringMatching(message), expect.any(String)]);
});

test('nobody there', async () => {
  expect(await ask(`https://${ADDRESS}:1/`, trusting(good.file))).toEqual([
    'unreachable',
    `https://${ADDRESS}:1/ doesn't answer: ECONNREFUSED`,
    expect.stringContaining(`curl -k https://${ADDRESS}:1/`),
  ]);
});

test('a login by password, once; a second factor is not asked for', async () => {
  const asked: string[] = [];
  const server = createServer(good, (request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.cookie ?? ''}`);
    const login = { data: { ticket: 'PVE:root@pam:1::x', CSRFPreventionToken: 'y' } };
    response.end(JSON.stringify(request.method === 'POST' ? login : { data: WELL }));
  });
  servers.push(server);
  await new Promise<void>((done) => server.listen(0, ADDRESS, done));
  const byPassword = trusting(good.file, {
    PROXMOX_VE_API_TOKEN: '',
    PROXMOX_VE_USERNAME: 'root@pam',
    PROXMOX_VE_PASSWORD: 'x',
  });
  const api = new ProxmoxApi(`https://${ADDRESS}:${portOf(server)}/`, byPassword);
  await Promise.all([api.get('/version'), api.get('/nodes')]);
  await api.close();
  expect(asked.sort()).toEqual([
    'GET /api2/json/nodes PVEAuthCookie=PVE:root@pam:1::x',
    'GET /api2/json/version PVEAuthCookie=PVE:root@pam:1::x',
    'POST /api2/json/access/ticket ',
  ]);
  const second = await serve(good, [200, '{"data":{"ticket":"PVE:!tfa!x","NeedTFA":1}}']);
  expect(await ask(second, byPassword)).toEqual([
    'refused',
    expect.stringContaining('second factor'),
    expect.stringContaining('pveum user token add'),
  ]);
});

test('goes through the proxy that the provider would go through', async () => {
  const endpoint = await serve(good);
  const { port } = new URL(endpoint);
  const tunnels: string[] = [];
  const proxy = createHttp();
  proxy.on('connect', (request, client) => {
    tunnels.push(request.url ?? '');
    const upstream = connect(Number(port), ADDRESS, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      upstream.pipe(client).pipe(upstream);
    });
    for (const socket of [upstream, client]) socket.on('error', () => socket.destroy());
  });
  servers.push(proxy);
  await new Promise<void>((done) => proxy.listen(0, ADDRESS, done));
  const env = trusting('', {
    HTTPS_PROXY: `http://${ADDRESS}:${portOf(proxy)}`,
    // Only the way is the question here: the name is in no certificate.
    PROXMOX_VE_INSECURE: 'true',
  });
  expect(await ask('https://pve1.invalid:8006/', env)).toEqual(WELL);
  expect(tunnels).toEqual(['pve1.invalid:8006']);
  const [failure] = (await ask('https://pve1.invalid:8006/', { ...env, NO_PROXY: '.invalid' })) as string[];
  expect(failure).toBe('unreachable');
  // Checked behind a proxy, too.
  const checked = (await ask('https://pve1.invalid:8006/', { ...env, PROXMOX_VE_INSECURE: '' })) as string[];
  expect(checked[0]).toBe('untrusted');
});
