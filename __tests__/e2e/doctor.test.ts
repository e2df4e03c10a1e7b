import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { needsOf } from '../../doctor/privileges';
import type { Result } from '../../doctor/result';
import { loadFleet } from '../../fleet/load';
import { Checkout, succeeded } from '../../sandbox/checkout';
import { type Sandbox, startSandbox } from '../../sandbox/sandbox';
import { toolEnvironment } from '../../tools/env';

jest.setTimeout(300_000);

const USER = 'tester@pve';

describe('hostkey doctor', () => {
  const tools = toolEnvironment();
  let sandbox: Sandbox;
  let checkout: Checkout;
  let env: NodeJS.ProcessEnv;

  beforeAll(async () => {
    checkout = new Checkout(tools);
    sandbox = await startSandbox({
      dir: checkout.path('.sandbox'),
      home: checkout.folder,
      address: '127.97.0.1',
    });
    env = { ...tools, ...sandbox.env };
    checkout.use(env);
    writeFleet({});
    succeeded(await checkout.run('.', 'git', 'init', '-q'));
    succeeded(await checkout.cdktf('deploy', 'mqtt-01', '--auto-approve'));
  });

  afterAll(async () => {
    await sandbox?.stop();
    checkout?.remove();
  });

  function writeFleet({
    hosts = {},
    ...web
  }: {
    readonly hosts?: object;
    readonly [setting: string]: unknown;
  }): void {
    checkout.writeFleet(sandbox, { 'mqtt-01': { vmId: 283 }, 'web-01': { vmId: 284, ...web }, ...hosts });
    const fleet = JSON.parse(checkout.read('fleet.yaml'));
    const identity = execFileSync('age-keygen', {
      env: tools,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const ops = identity.match(/public key: (\S+)/)?.[1];
    writeFileSync(checkout.path('fleet.yaml'), JSON.stringify({ ...fleet, admins: { ops } }));
  }

  /** What is not all right, and the exit code. */
  async function doctor(
    more: NodeJS.ProcessEnv = {},
    ...args: string[]
  ): Promise<{ status: number | null; ids: string[]; results: Result[] }> {
    const { status, output } = await checkout.with(more, () =>
      checkout.run('.', process.execPath, 'bin/hostkey', 'doctor', '--json', ...args),
    );
    const { results } = JSON.parse(output) as { results: Result[] };
    return { status, results, ids: results.filter((result) => result.status !== 'ok').map(({ id }) => id) };
  }

  const WELL = { status: 0, ids: [] };

  test('has nothing to say where all is well', async () => {
    expect(await doctor()).toMatchObject(WELL);
  });

  test.each<[string, NodeJS.ProcessEnv, string[]]>([
    ['no credentials', { PROXMOX_VE_API_TOKEN: '' }, ['api.answers']],
    ['a token that is none', { PROXMOX_VE_API_TOKEN: 'secret' }, ['credentials.token']],
    ['a token that nobody gave', { PROXMOX_VE_API_TOKEN: `nobody@pve!x=${randomUUID()}` }, ['api.answers']],
    ['an authority that nobody named', { SSL_CERT_FILE: '' }, ['api.answers']],
    ['a login that the node does not know', { PROXMOX_VE_SSH_USERNAME: 'stranger' }, ['ssh.pve1']],
    ['no SSH key', { PROXMOX_VE_SSH_PRIVATE_KEY: '' }, ['ssh.pve1']],
    ['a program that is missing', { TERRAFORM_BINARY_NAME: 'terrafarm' }, ['program.terrafarm']],
    ['settings that are gone', { TF_CLI_CONFIG_FILE: '/nowhere/terraformrc' }, ['terraform.settings']],
  ])('%s is a problem, and the only one', async (_what, more, ids) => {
    const { status, results } = await doctor(more);
    const problems = results.filter((result) => result.status === 'problem');
    expect({ status, ids: problems.map(({ id }) => id) }).toEqual({ status: 2, ids });
    for (const { remedy } of problems) expect(remedy).not.toBe('');
    expect(JSON.stringify(results)).not.toMatch(/PRIVATE\sKEY|[0-9a-f]{8}-[0-9a-f]{4}-4/);
  });

  test.each([
    ['a VM id that is taken', { vmId: 9001 }, 'api.vm-id.9001'],
    ['a template that is missing', { template: 9099 }, 'api.template.9099'],
    ['a template without that disk', { diskInterface: 'virtio0', template: 9001 }, 'api.template.9001'],
    ['a datastore that is missing', { disk: 'tank' }, 'api.datastore.pve1.tank.images'],
    [
      'a datastore that takes no snippets',
      { snippets: 'local-lvm' },
      'api.datastore.pve1.local-lvm.snippets',
    ],
  ])('%s', async (_what, web, id) => {
    writeFleet(web);
    const { status, results } = await doctor();
    writeFleet({});
    expect(status).toBe(2);
    expect(results.filter((result) => result.status === 'problem').map((result) => result.id)).toContain(id);
  });

  test('names each privilege that is missing, and what grants it', async () => {
    const fleet = loadFleet(checkout.path('fleet.yaml'));
    const needs = needsOf(fleet, false);
    const secret = randomUUID();
    const as = async (grants: readonly object[]) => {
      await sandbox.control('token', { user: USER, token: 't', secret, grants });
      return doctor({ PROXMOX_VE_API_TOKEN: `${USER}!t=${secret}` });
    };
    expect(await as(needs)).toMatchObject(WELL);
    for (const { path, privileges } of needs) {
      for (const missing of privileges) {
        const grants = needs.map((need) => ({
          ...need,
          privileges: need.privileges.filter((each) => need.path !== path || each !== missing),
        }));
        const { status, results } = await as(grants);
        const found = results.find(({ id }) => id === 'api.privileges');
        expect({ status, message: found?.message }).toEqual({
          status: 2,
          message: `${USER} lacks ${missing} on ${path}`,
        });
        expect(found?.remedy).toContain(`pveum acl modify`);
      }
    }
  });

  test('what it asks for is what a deployment takes', async () => {
    const secret = randomUUID();
    const grants = needsOf(loadFleet(checkout.path('fleet.yaml')), false);
    const may = { PROXMOX_VE_API_TOKEN: `${USER}!t=${secret}` };
    await sandbox.control('token', { user: USER, token: 't', secret, grants });
    await checkout.with(may, async () => {
      succeeded(await checkout.cdktf('deploy', 'web-01', '--auto-approve'));
      succeeded(await checkout.cdktf('destroy', 'web-01', '--auto-approve'));
    });
    for (const missing of ['VM.Clone', 'VM.Config.Memory', 'Datastore.AllocateSpace', 'SDN.Use']) {
      const less = grants.map((need) => ({
        ...need,
        privileges: need.privileges.filter((each) => each !== missing),
      }));
      await sandbox.control('token', { user: USER, token: 't', secret, grants: less });
      const { status, output } = await checkout.with(may, () =>
        checkout.cdktf('deploy', 'web-01', '--auto-approve'),
      );
      expect({ missing, status }).toEqual({ missing, status: 1 });
      expect(output).toContain(missing);
      await sandbox.control('token', { user: USER, token: 't', secret, grants });
      await checkout.with(may, async () =>
        succeeded(await checkout.cdktf('destroy', 'web-01', '--auto-approve')),
      );
    }
  });

  test('a state that others may read, and one that git would take', async () => {
    chmodSync(checkout.path('state'), 0o755);
    expect(await doctor()).toMatchObject({ status: 2, ids: ['mode.state'] });
    chmodSync(checkout.path('state'), 0o700);
    const ignored = readFileSync(checkout.path('.gitignore'), 'utf8');
    writeFileSync(checkout.path('.gitignore'), ignored.replace('state/\n', ''));
    expect(await doctor()).toMatchObject({ status: 2, ids: ['git.ignore'] });
    writeFileSync(checkout.path('.gitignore'), ignored);
    expect(await doctor()).toMatchObject(WELL);
  });

  test('an API that is gone, and what is not asked then', async () => {
    await sandbox.stop();
    const { status, results } = await doctor({}, '--read-only');
    expect(status).toBe(2);
    expect(results.filter((result) => result.status === 'problem').map(({ id }) => id)).toEqual([
      'api.answers',
    ]);
    expect(results.filter((result) => result.status === 'skipped')).toHaveLength(5);
  });
});
