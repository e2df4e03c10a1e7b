import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { parse } from 'yaml';
import { Checkout, succeeded } from '../../sandbox/checkout';
import type { Sandbox } from '../../sandbox/sandbox';
import { toolEnvironment } from '../../tools/env';

jest.setTimeout(300_000);

/** A server of Terraform's http backend: states by path, GET, POST, and LOCK. It notes what it was asked. */
class StateServer {
  readonly asked: string[] = [];
  private readonly states = new Map<string, string>();
  private server: Server | undefined;

  async start(): Promise<string> {
    this.server = createServer((request, response) => {
      const { method = '', url = '' } = request;
      const path = url.split('?')[0] ?? '';
      this.asked.push(`${method} ${path}`);
      let text = '';
      request.on('data', (data: Buffer) => (text += data));
      request.on('end', () => {
        if (method === 'POST') this.states.set(path, text);
        const state = this.states.get(path);
        response.writeHead(method === 'GET' && state === undefined ? 404 : 200);
        response.end(method === 'GET' ? state : undefined);
      });
    });
    await new Promise<void>((done) => this.server?.listen(0, '127.0.0.1', done));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server?.closeAllConnections();
    await new Promise((done) => this.server?.close(done));
  }
}

describe.each([
  ['a remote state', false, '127.94.0.1'],
  ["a state that OpenTofu's encryption keeps", true, '127.94.0.2'],
])('%s', (_kind, encrypted, address) => {
  const tools = toolEnvironment({ opentofu: encrypted });
  const server = new StateServer();
  let sandbox: Sandbox;
  let checkout: Checkout;
  let env: NodeJS.ProcessEnv;

  beforeAll(async () => {
    checkout = new Checkout(tools);
    sandbox = await checkout.startSandbox(address);
    await sandbox.control('time_scale', { value: 0 });
    const method = 'method "aes_gcm" "m" { keys = key_provider.pbkdf2.p }';
    const provider = 'key_provider "pbkdf2" "p" { passphrase = "correct horse battery staple" }';
    const encryption = `${provider}\n${method}\nstate { method = method.aes_gcm.m }\nplan { method = method.aes_gcm.m }`;
    env = {
      ...tools,
      ...sandbox.env,
      TMPDIR: checkout.path('tmp'),
      ...(encrypted ? { TF_ENCRYPTION: encryption } : {}),
    };
    succeeded(await checkout.run('.', 'mkdir', 'tmp'));
    checkout.use(env);
    const url = await server.start();
    checkout.writeFleet(sandbox, {
      'mqtt-01': { vmId: 283, started: false },
      'web-01': { vmId: 284, started: false },
    });
    const fleet = JSON.parse(checkout.read('fleet.yaml'));
    const http = {
      address: `${url}/{host}`,
      lock_address: `${url}/{host}/lock`,
      unlock_address: `${url}/{host}/lock`,
    };
    writeFileSync(
      checkout.path('fleet.yaml'),
      JSON.stringify({ ...fleet, state: encrypted ? { local: 'state' } : { http } }),
    );
    succeeded(await checkout.cdktf('deploy', 'mqtt-01', '--auto-approve'));
    server.asked.length = 0;
  });

  afterAll(async () => {
    await server.stop();
    await sandbox?.stop();
    checkout?.remove();
  });

  const hostkey = (...args: string[]) => checkout.run('.', process.execPath, 'bin/hostkey', ...args);

  test('says what key the host has, and whether it was deployed', async () => {
    const { hosts } = JSON.parse(succeeded(await hostkey('list', '--json')));
    const [recipient] = parse(checkout.read('secrets/mqtt-01/.sops.yaml')).keys;
    expect(hosts).toEqual([
      expect.objectContaining({ host: 'mqtt-01', recipient, keyMadeAt: expect.any(String) }),
      expect.objectContaining({ host: 'web-01', state: 'absent' }),
    ]);
  });

  test('is planned by what it says, and neither written nor locked', async () => {
    const { status, output } = await hostkey('drift', '--json', '--skip', 'live');
    const [mqtt, web] = JSON.parse(output).hosts;
    expect({ status, mqtt: mqtt.findings, web: web.findings }).toEqual({
      status: 2,
      mqtt: [],
      web: [expect.objectContaining({ kind: 'not-deployed' })],
    });
    await sandbox.request('PUT', `/nodes/${sandbox.node.name}/qemu/283/config`, { memory: 4096 });
    expect((await hostkey('drift', 'mqtt-01', '--skip', 'live')).output).toContain('expected 2048, is 4096');
    expect(server.asked.filter((each) => !each.startsWith('GET '))).toEqual([]);
  });

  test('leaves nothing behind, and shows no key', () => {
    expect(readdirSync(checkout.path('tmp')).filter((name) => name.startsWith('hostkey'))).toEqual([]);
    expect(checkout.transcript).not.toMatch(/PRIVATE\sKEY/);
    if (encrypted)
      expect(readFileSync(checkout.path('state/mqtt-01.tfstate'), 'utf8')).toContain('encrypted_data');
  });

  test('that can not be read is not taken for none', async () => {
    const more = encrypted
      ? { TF_ENCRYPTION: '' }
      : { http_proxy: 'http://127.0.0.1:9', HTTP_PROXY: 'http://127.0.0.1:9', NO_PROXY: '' };
    if (!encrypted) await server.stop();
    const { status, output } = await checkout.with(more, () =>
      hostkey('drift', 'mqtt-01', '--json', '--skip', 'live'),
    );
    expect(status).toBe(1);
    expect(JSON.parse(output).hosts[0].findings[0]).toMatchObject({ kind: 'unchecked', severity: 'unknown' });
  });
});
