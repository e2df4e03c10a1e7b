import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Agent, request } from 'undici';
import { ReadOnlyApi } from '../../proxmox/read-only';
import { type Sandbox, startSandbox } from '../../sandbox/sandbox';

jest.setTimeout(120_000);

const SNIPPET = 'local:snippets/mqtt-01.user-data.yaml';

describe('the door that only lets one look', () => {
  let folder: string;
  let sandbox: Sandbox;
  let door: ReadOnlyApi;
  const agent = new Agent({ connect: { rejectUnauthorized: false } });

  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'hostkey-door-'));
    sandbox = await startSandbox({ dir: path.join(folder, '.sandbox'), home: folder, address: '127.92.0.1' });
    door = await ReadOnlyApi.open(sandbox.endpoint, [SNIPPET], sandbox.env);
  });

  afterAll(async () => {
    await door?.close();
    await agent.close();
    await sandbox?.stop();
    rmSync(folder, { recursive: true });
  });

  async function ask(
    method: 'GET' | 'PUT' | 'POST' | 'DELETE',
    where: string,
    token = sandbox.env.PROXMOX_VE_API_TOKEN,
    body?: string,
  ) {
    const { statusCode, body: answer } = await request(new URL(`api2/json${where}`, door.endpoint), {
      method,
      dispatcher: agent,
      headers: {
        authorization: `PVEAPIToken=${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
      },
      ...(body === undefined ? {} : { body }),
    });
    return {
      status: statusCode,
      body: JSON.parse(await answer.text()) as { data: unknown; message?: string },
    };
  }

  const template = '/nodes/pve1/qemu/9000';

  test('answers as the API does', async () => {
    const { status, body } = await ask('GET', `${template}/config`);
    expect({ status, data: body.data }).toMatchObject({ status: 200, data: { name: expect.any(String) } });
  });

  test.each([
    ['PUT', `${template}/config`, 'memory=512'],
    ['POST', `${template}/clone`, 'newid=283'],
    ['DELETE', template, undefined],
    ['POST', '/access/ticketx', 'username=a'],
  ] as const)('lets no %s %s through, whatever the token may do', async (method, where, body) => {
    const before = await sandbox.guests();
    const answer = await ask(method, where, undefined, body);
    expect(answer.status).toBe(403);
    expect(answer.body.message).toContain('only looks');
    expect(await sandbox.guests()).toEqual(before);
  });

  test('asks for no credentials of its own: without a good token nobody sees anything', async () => {
    expect((await ask('GET', '/nodes', `nobody@pve!x=${randomUUID()}`)).status).toBe(401);
    expect((await ask('GET', '/nodes', `nobody@pve!x=${randomUUID()}`)).body.data).toBeNull();
  });

  test('shows who may only look the format of a disk, and takes snippets that it may not see to be there', async () => {
    const secret = randomUUID();
    const grants = [
      { path: '/vms', privileges: ['VM.Audit'] },
      { path: '/storage', privileges: ['Datastore.Audit'] },
    ];
    await sandbox.control('token', { user: 'audit@pve', token: 'x', secret, grants });
    const token = `audit@pve!x=${secret}`;
    const content = '/nodes/pve1/storage/local/content';
    expect(
      (await ask('GET', '/nodes/pve1/storage/local-lvm/content/local-lvm:base-9000-disk-0', token)).body.data,
    ).toMatchObject({ format: 'raw' });
    expect(door.unseen.size).toBe(0);
    expect((await ask('GET', content, token)).body.data).toEqual([
      expect.objectContaining({ volid: SNIPPET }),
    ]);
    expect([...door.unseen]).toEqual(['local']);
    // Who may see them sees what is there: nothing.
    expect((await ask('GET', content)).body.data).toEqual([]);
  });
});
