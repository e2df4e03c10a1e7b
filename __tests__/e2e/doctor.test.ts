import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { askCluster } from '../../doctor/cluster-facts';
import { writeProbe } from '../../doctor/node-ssh';
import { needsOf } from '../../doctor/privileges';
import type { Result } from '../../doctor/result';
import { loadFleet } from '../../fleet/load';
import { ProxmoxApi } from '../../proxmox/api';
import { Checkout, succeeded } from '../../sandbox/checkout';
import { sleep } from '../../sandbox/processes';
import type { Sandbox } from '../../sandbox/sandbox';
import { toolEnvironment } from '../../tools/env';

jest.setTimeout(300_000);

const USER = 'tester@pve';
const SECRETS = /PRIVATE\sKEY|AGE-SECRET-KEY|[0-9a-f]{8}-[0-9a-f]{4}-4/;

interface Written {
  /** Settings of web-01, which is not deployed. */
  readonly web?: object;
  readonly proxmox?: object;
}

describe('hostkey doctor', () => {
  const tools = toolEnvironment();
  let sandbox: Sandbox;
  let checkout: Checkout;
  let env: NodeJS.ProcessEnv;
  let ops: { readonly recipient: string; readonly file: string };

  beforeAll(async () => {
    checkout = new Checkout(tools);
    sandbox = await checkout.startSandbox('127.97.0.1');
    ops = identity('ops');
    env = { ...tools, ...sandbox.env, SOPS_AGE_KEY_FILE: ops.file };
    checkout.use(env);
    writeFleet();
    succeeded(await checkout.run('.', 'git', 'init', '-q'));
    succeeded(await checkout.cdktf('deploy', 'mqtt-01', '--auto-approve'));
  });

  afterAll(async () => {
    await sandbox?.stop();
    checkout?.remove();
  });

  beforeEach(() => writeFleet());

  function identity(name: string) {
    const file = checkout.path(`${name}.key`);
    const text = execFileSync('age-keygen', {
      env: tools,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    writeFileSync(file, text, { mode: 0o600 });
    return { file, recipient: text.match(/public key: (\S+)/)?.[1] ?? '' };
  }

  function writeFleet({ web = {}, proxmox = {} }: Written = {}): void {
    checkout.writeFleet(sandbox, { 'mqtt-01': { vmId: 283 }, 'web-01': { vmId: 284, ...web } });
    const fleet = JSON.parse(checkout.read('fleet.yaml'));
    const written = {
      ...fleet,
      proxmox: { ...fleet.proxmox, ...proxmox },
      admins: { ops: ops.recipient },
    };
    writeFileSync(checkout.path('fleet.yaml'), JSON.stringify(written));
  }

  interface Told {
    readonly status: number | null;
    /** What is not well: mark and id. */
    readonly findings: readonly string[];
    readonly results: readonly Result[];
  }

  async function doctor(more: NodeJS.ProcessEnv = {}, ...args: string[]): Promise<Told> {
    const { status, output } = await checkout.with(more, () =>
      checkout.run('.', process.execPath, 'bin/hostkey', 'doctor', '--json', ...args),
    );
    expect(output).not.toMatch(SECRETS);
    const { results } = JSON.parse(output) as { results: Result[] };
    const findings = results
      .filter((result) => result.status !== 'ok')
      .map((result) => `${result.status} ${result.id}`);
    for (const result of results) {
      if (result.status === 'problem' || result.status === 'warning') expect(result.remedy).toMatch(/\S/);
    }
    return { status, findings, results };
  }

  const WELL = { status: 0, findings: [] };
  const NOT_ASKED = ['nodes', 'privileges', 'datastores', 'bridges', 'templates', 'vm-ids'].map(
    (what) => `skipped api.${what}`,
  );
  const SILENT = ['problem api.answers', ...NOT_ASKED, 'skipped ssh.pve1.local'];

  test('has nothing to say where all is well, and leaves nothing behind', async () => {
    const before = [
      checkout.files(),
      readdirSync(tmpdir()).filter((name) => name.startsWith('hostkey-doctor')),
    ];
    expect(await doctor()).toMatchObject(WELL);
    expect(await doctor({}, '--read-only')).toMatchObject(WELL);
    expect([
      checkout.files(),
      readdirSync(tmpdir()).filter((name) => name.startsWith('hostkey-doctor')),
    ]).toEqual(before);
  });

  test('for people: groups, marks, what to type, and no colours in a pipe', async () => {
    const { output } = await checkout.with({ PROXMOX_VE_SSH_USERNAME: 'stranger' }, () =>
      checkout.run('.', process.execPath, 'bin/hostkey', 'doctor'),
    );
    expect(output).toMatch(/^Programs\n {2}✓ node \d/);
    expect(output).toMatch(
      /\nSSH to the nodes, for snippets\n {2}✗ stranger@127\.97\.0\.1 port 2222 doesn't let this key in\n {4}ssh-copy-id -p 2222 stranger@127\.97\.0\.1\n/,
    );
    expect(output).toMatch(/\n1 problem, \d+ well\n$/);
    expect(output).not.toContain('\u001b');
  });

  describe('one thing is wrong, and is the one finding', () => {
    test.each<[string, NodeJS.ProcessEnv, string[]]>([
      [
        'no credentials',
        { PROXMOX_VE_API_TOKEN: '' },
        ['problem credentials', ...NOT_ASKED, 'skipped ssh.pve1.local'],
      ],
      [
        'a token that is none',
        { PROXMOX_VE_API_TOKEN: 'secret' },
        ['problem credentials', ...NOT_ASKED, 'skipped ssh.pve1.local'],
      ],
      ['a token that nobody gave', { PROXMOX_VE_API_TOKEN: `nobody@pve!x=${randomUUID()}` }, SILENT],
      ['an authority that nobody named', { SSL_CERT_FILE: '' }, SILENT],
      ['an authority that is not there', { SSL_CERT_FILE: '/nowhere/ca.pem' }, SILENT],
      [
        'a certificate that is not checked',
        { PROXMOX_VE_INSECURE: 'true' },
        ['warning credentials.insecure'],
      ],
      ['a login that the node does not know', { PROXMOX_VE_SSH_USERNAME: 'stranger' }, ['problem ssh.pve1']],
      ['no login', { PROXMOX_VE_SSH_USERNAME: '' }, ['problem ssh.pve1']],
      ['no SSH key', { PROXMOX_VE_SSH_PRIVATE_KEY: '' }, ['problem ssh.pve1']],
      [
        'the name of a key instead of the key',
        { PROXMOX_VE_SSH_PRIVATE_KEY: '~/.ssh/id_ed25519' },
        ['problem ssh.pve1'],
      ],
      [
        'an agent that is not there',
        { PROXMOX_VE_SSH_PRIVATE_KEY: '', PROXMOX_VE_SSH_AGENT: 'true', SSH_AUTH_SOCK: '' },
        ['problem ssh.pve1'],
      ],
      [
        'a password alone, which is not tried',
        { PROXMOX_VE_SSH_PRIVATE_KEY: '', PROXMOX_VE_SSH_PASSWORD: 'hunter2' },
        ['unknown ssh.pve1'],
      ],
      ['a program that is missing', { TERRAFORM_BINARY_NAME: 'terrafarm' }, ['problem program.terrafarm']],
      ['settings that are gone', { TF_CLI_CONFIG_FILE: '/nowhere/rc' }, ['problem terraform.settings']],
      ['a lock file that is gone', { HOSTKEY_LOCK_FILE: '/nowhere/lock' }, ['warning terraform.lock']],
      ['nobody who can decrypt', { SOPS_AGE_KEY_FILE: '' }, ['warning sops.identity']],
    ])('%s', async (_what, more, findings) => {
      const status = findings.some((each) => each.startsWith('problem'))
        ? 2
        : findings.some((each) => each.startsWith('unknown'))
          ? 1
          : 0;
      const started = Date.now();
      expect(await doctor(more)).toMatchObject({ status, findings });
      // A program that isn't there has no time limit to wait for.
      expect(Date.now() - started).toBeLessThan(9_000);
    });

    test.each<[string, Written, string[]]>([
      ['a VM id that is taken', { web: { vmId: 9001 } }, ['problem api.vm-id.9001']],
      ['a VM id that a deployed host has', { web: { vmId: 283 } }, ['problem fleet.file', 'skipped api']],
      [
        'a template without that disk',
        { web: { diskInterface: 'virtio0', diskSize: 8 } },
        ['problem api.template.9000'],
      ],
      ['a disk that is too large', { web: { diskSize: 600 } }, ['warning api.space.pve1.local-lvm']],
      ['an API that is gone', { proxmox: { endpoint: 'https://127.97.0.1:1/' } }, SILENT],
      [
        'a node that is gone from the network',
        { proxmox: { nodes: { pve1: { address: '127.97.0.1', port: 1 } } } },
        ['problem ssh.pve1'],
      ],
      [
        'a node that Proxmox does not know, and nobody uses',
        {
          proxmox: { nodes: { pve1: { address: '127.97.0.1', port: 2222 }, pve9: { address: '192.0.2.9' } } },
        },
        ['warning api.node.pve9'],
      ],
    ])('%s', async (_what, written, findings) => {
      writeFleet(written);
      const status = findings.some((each) => each.startsWith('problem')) ? 2 : 0;
      expect(await doctor()).toMatchObject({ status, findings });
    });

    test.each<[string, object, object, string]>([
      [
        'a template that is missing',
        { template: 9099 },
        { path: '/vms/9099', privileges: ['VM.Audit', 'VM.Clone'] },
        'problem api.template.9099',
      ],
      [
        'a datastore that is missing',
        { disk: 'tank' },
        { path: '/storage/tank', privileges: ['Datastore.AllocateSpace', 'Datastore.Audit'] },
        'problem api.datastore.pve1.tank.images',
      ],
      [
        'a datastore that takes no snippets',
        { snippets: 'local-lvm' },
        { path: '/storage/local-lvm', privileges: ['Datastore.Allocate'] },
        'problem api.datastore.pve1.local-lvm.snippets',
      ],
      [
        'a bridge that is missing',
        { bridge: 'vmbr7' },
        { path: '/sdn/zones/localnetwork/vmbr7', privileges: ['SDN.Use'] },
        'problem api.bridge.pve1.vmbr7',
      ],
    ])('%s, which the token might see', async (_what, web, grant, finding) => {
      writeFleet({ web });
      const { status, findings } = await as([
        ...needsOf(loadFleet(checkout.path('fleet.yaml')), false),
        grant,
      ]);
      // A datastore without a path has no folder for snippets that could be looked into.
      expect({ status, findings: findings.filter((each) => !each.startsWith('skipped ssh.')) }).toEqual({
        status: 2,
        findings: [finding],
      });
    });
  });

  async function as(grants: readonly object[], ...args: string[]): Promise<Told> {
    const secret = randomUUID();
    await sandbox.control('token', { user: USER, token: 't', secret, grants });
    return doctor({ PROXMOX_VE_API_TOKEN: `${USER}!t=${secret}` }, ...args);
  }

  test('a program that is a broken shim, or hangs, is not taken for one that works', async () => {
    const shims = checkout.path('shims');
    mkdirSync(shims);
    const shim = (name: string, script: string) =>
      writeFileSync(path.join(shims, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    shim('sops', 'echo "shim: no version of sops is set" >&2; exit 126');
    shim('age-keygen', 'echo v1.0.0');
    const { status, findings, results } = await doctor({ PATH: `${shims}:${env.PATH}` });
    expect({ status, findings }).toEqual({
      status: 2,
      findings: ['problem program.sops', 'warning program.age-keygen'],
    });
    expect(results.find(({ id }) => id === 'program.sops')?.message).toBe(
      'sops is on PATH, and fails: shim: no version of sops is set',
    );
    shim('sops', 'sleep 60');
    rmSync(path.join(shims, 'age-keygen'));
    const hung = await doctor({ PATH: `${shims}:${env.PATH}` });
    expect(hung).toMatchObject({ status: 2, findings: ['problem program.sops'] });
    rmSync(shims, { recursive: true });
  });

  test('names each privilege that is missing, and what grants it', async () => {
    const needs = needsOf(loadFleet(checkout.path('fleet.yaml')), false);
    expect(await as(needs)).toMatchObject(WELL);
    for (const { path: at, privileges } of needs) {
      for (const missing of privileges) {
        const grants = needs.map((need) => ({
          ...need,
          privileges: need.privileges.filter((each) => need.path !== at || each !== missing),
        }));
        const { status, findings, results } = await as(grants);
        const found = results.find(({ id }) => id === 'api.privileges');
        expect({ status, message: found?.message }).toEqual({
          status: 2,
          message: `${USER} lacks ${missing} on ${at}`,
        });
        // What it can't see for want of it is said not to have been looked at.
        expect(findings.filter((each) => !each.startsWith('skipped'))).toEqual(['problem api.privileges']);
        expect(found?.remedy).toContain(`pveum acl modify`);
      }
    }
  });

  test('--read-only is content with what hostkey drift needs', async () => {
    const needs = needsOf(loadFleet(checkout.path('fleet.yaml')), true);
    expect(await as(needs, '--read-only')).toMatchObject(WELL);
    const less = needs.map((need) => ({
      ...need,
      privileges: need.privileges.filter((each) => each !== 'VM.Audit'),
    }));
    expect(await as(less, '--read-only')).toMatchObject({ status: 2, findings: ['problem api.privileges'] });
    expect((await as(needs)).findings).toContain('problem api.privileges');
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

  test("a template's drives: without cloud-init's it gets one, and a disk must not make place", async () => {
    const change = (values: Record<string, string>) =>
      sandbox.request('PUT', '/nodes/pve1/qemu/9002/config', values);
    writeFleet({ web: { template: 9002 } });
    await change({ delete: 'ide2' });
    const { status, results } = await doctor();
    expect(status).toBe(0);
    expect(results.find(({ id }) => id === 'api.template.9002')?.message).toBe(
      'template 9002 on pve1 has room for a cloud-init drive',
    );
    await change({ ide2: 'local-lvm:1' });
    expect(await doctor()).toMatchObject({ status: 2, findings: ['problem api.template.9002'] });
  });

  describe('the cluster', () => {
    afterEach(async () => {
      await sandbox.control('clear_failures');
      await sandbox.control('flaky_network', {});
    });

    test('without a quorum', async () => {
      await sandbox.control('lose_quorum');
      const found = [await doctor(), await doctor({}, '--read-only')];
      await sandbox.control('regain_quorum');
      expect(found).toMatchObject([
        { status: 2, findings: ['problem api.quorum'] },
        { status: 0, findings: ['warning api.quorum'] },
      ]);
    });

    test('whose quorum the token may not ask for', async () => {
      await sandbox.control('fail', { method: 'GET', suffix: '/cluster/status', status: 403, message: 'no' });
      expect(await doctor()).toMatchObject(WELL);
    });

    test('where a question fails, which is not taken for an answer', async () => {
      await sandbox.control('fail', {
        method: 'GET',
        suffix: '/nodes/pve1/storage',
        status: 595,
        message: 'no route to host',
      });
      expect(await doctor()).toMatchObject({ status: 1, findings: ['unknown api.datastores.pve1'] });
    });

    test('with a datastore that takes no snippets, and after what the remedy says', async () => {
      const content = (list: string) => sandbox.request('PUT', '/storage/local', { content: list });
      const { content: before } = (await sandbox.request('GET', '/storage/local')) as { content: string };
      await content('backup,iso,vztmpl');
      const { status, findings, results } = await doctor();
      expect({ status, findings }).toEqual({
        status: 2,
        findings: ['problem api.datastore.pve1.local.snippets'],
      });
      const remedy = results.find(({ id }) => id === 'api.datastore.pve1.local.snippets')?.remedy;
      await content(remedy?.match(/--content (\S+)$/)?.[1] ?? '');
      expect(await doctor()).toMatchObject(WELL);
      await content(before);
    });

    test('behind a proxy that answers for it', async () => {
      await sandbox.control('fail', {
        method: 'GET',
        suffix: '/version',
        status: 502,
        message: 'Bad Gateway',
        html: true,
      });
      expect(await doctor()).toMatchObject({ status: 2, findings: SILENT });
    });

    test('that never answers: it ends all the same', async () => {
      await sandbox.control('flaky_network', { hang_rate: 1 });
      const started = Date.now();
      expect(await doctor()).toMatchObject({ status: 2, findings: SILENT });
      expect(Date.now() - started).toBeLessThan(40_000);
    });
  });

  describe('SSH to the node', () => {
    const home = () => checkout.path('another-home');

    function knownHosts(text: string): NodeJS.ProcessEnv {
      mkdirSync(path.join(home(), '.ssh'), { recursive: true });
      writeFileSync(path.join(home(), '.ssh', 'known_hosts'), text);
      return { HOME: home() };
    }

    test('a node that known_hosts does not know, by the fingerprint that it shows; nothing is written', async () => {
      const more = knownHosts('');
      const { status, findings, results } = await doctor(more);
      expect({ status, findings }).toEqual({ status: 0, findings: ['warning ssh.pve1.known'] });
      const key = execFileSync('ssh-keygen', ['-lf', path.join(sandbox.dir, 'ssh', 'host.pub')], {
        encoding: 'utf8',
      });
      expect(results.find(({ id }) => id === 'ssh.pve1.known')?.remedy).toContain(key.split(' ')[1]);
      expect(readFileSync(path.join(home(), '.ssh', 'known_hosts'), 'utf8')).toBe('');
    });

    test('a node that shows another key than known_hosts has', async () => {
      const other = readFileSync(path.join(sandbox.dir, 'ssh', 'client.pub'), 'utf8');
      const more = knownHosts(`[127.97.0.1]:2222 ${other}`);
      const { status, findings, results } = await doctor(more);
      expect({ status, findings }).toEqual({ status: 2, findings: ['problem ssh.pve1'] });
      expect(results.find(({ id }) => id === 'ssh.pve1')?.remedy).toBe(
        "if that is right: ssh-keygen -R '[127.97.0.1]:2222'",
      );
    });

    test('a key with a passphrase, which the provider asks nobody for', async () => {
      const file = checkout.path('locked');
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', 'hunter2', '-f', file]);
      const { findings, results } = await doctor({ PROXMOX_VE_SSH_PRIVATE_KEY: readFileSync(file, 'utf8') });
      expect(findings).toEqual(['problem ssh.pve1']);
      expect(results.find(({ id }) => id === 'ssh.pve1')?.message).toContain('passphrase');
    });

    test("an agent's key, and with an empty agent none of the user's own", async () => {
      const socket = checkout.path('agent.sock');
      const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' });
      try {
        const more = {
          PROXMOX_VE_SSH_PRIVATE_KEY: '',
          PROXMOX_VE_SSH_AGENT: 'true',
          SSH_AUTH_SOCK: socket,
        };
        for (let waited = 0; !readdirSync(checkout.folder).includes('agent.sock') && waited < 100; waited++)
          await sleep(50);
        // The key lies where ssh would find it by itself, and the provider wouldn't.
        const own = checkout.path('.ssh', 'id_ed25519');
        writeFileSync(own, readFileSync(path.join(sandbox.dir, 'ssh', 'client')), { mode: 0o600 });
        expect(await doctor(more)).toMatchObject({ status: 2, findings: ['problem ssh.pve1'] });
        execFileSync('ssh-add', ['-q', own], { env: { ...process.env, SSH_AUTH_SOCK: socket } });
        rmSync(own);
        expect(await doctor(more)).toMatchObject(WELL);
      } finally {
        agent.kill();
      }
    });

    test('a datastore without its folder for snippets', async () => {
      renameSync(sandbox.snippets, `${sandbox.snippets}.away`);
      try {
        expect(await doctor()).toMatchObject({ status: 2, findings: ['problem ssh.pve1.local'] });
      } finally {
        renameSync(`${sandbox.snippets}.away`, sandbox.snippets);
      }
    });

    test('a folder that the login may not write, asked by who is not root', () => {
      const folder = checkout.path("it's");
      mkdirSync(folder);
      const open = [checkout.folder, folder];
      for (const each of open) chmodSync(each, 0o755);
      const isRoot = process.getuid?.() === 0;
      const drop = isRoot ? ['setpriv', '--reuid=65534', '--clear-groups'] : [];
      const ask = (mode: number) => {
        chmodSync(folder, mode);
        const [program = '', ...args] = [...drop, '/bin/sh', '-c', writeProbe([folder, `${folder}/none`])];
        return spawnSync(program, args, { encoding: 'utf8' }).stdout;
      };
      expect(ask(0o777)).toBe('writable\nmissing\n');
      expect(ask(0o555)).toBe('closed\nmissing\n');
      chmodSync(checkout.folder, 0o700);
    });
  });

  test('a state that others may read, and what git would take, or has', async () => {
    chmodSync(checkout.path('state'), 0o755);
    expect(await doctor()).toMatchObject({ status: 2, findings: ['problem mode.state'] });
    chmodSync(checkout.path('state'), 0o700);
    const ignored = checkout.read('.gitignore');
    writeFileSync(checkout.path('.gitignore'), ignored.replace('state/\n', ''));
    expect(await doctor()).toMatchObject({ status: 2, findings: ['problem git.ignore'] });
    writeFileSync(checkout.path('.gitignore'), ignored.replace(/^\.sops.*\n/gm, ''));
    expect(await doctor()).toMatchObject({ status: 0, findings: ['warning git.ignore'] });
    writeFileSync(checkout.path('.gitignore'), ignored);
    succeeded(await checkout.run('.', 'git', 'add', '-f', 'state/mqtt-01.tfstate'));
    expect(await doctor()).toMatchObject({ status: 2, findings: ['problem git.tracked'] });
    succeeded(await checkout.run('.', 'git', 'rm', '-q', '--cached', 'state/mqtt-01.tfstate'));
    expect(await doctor()).toMatchObject(WELL);
  });

  test('a state that is damaged', async () => {
    const file = checkout.path('state', 'mqtt-01.tfstate');
    const text = readFileSync(file);
    writeFileSync(file, text.subarray(0, 100));
    expect(await doctor()).toMatchObject({ status: 2, findings: ['problem state.mqtt-01'] });
    writeFileSync(file, text);
  });

  test('the root .sops.yaml: gone, and no longer what sops reads', async () => {
    const file = checkout.path('.sops.yaml');
    const text = readFileSync(file);
    rmSync(file);
    expect(await doctor()).toMatchObject({ status: 0, findings: ['warning sops.rules'] });
    writeFileSync(file, 'creation_rules: 1\n');
    expect(await doctor()).toMatchObject({ status: 2, findings: ['problem sops.rules'] });
    writeFileSync(file, text);
  });

  test('an identity of somebody else, and one in a place that sops knows', async () => {
    const other = identity('other');
    const { findings, results } = await doctor({ SOPS_AGE_KEY_FILE: other.file });
    expect(findings).toEqual(['warning sops.identity']);
    expect(results.find(({ id }) => id === 'sops.identity')?.message).toContain('(ops)');
    expect(
      await doctor({ SOPS_AGE_KEY_FILE: '', SOPS_AGE_KEY: readFileSync(ops.file, 'utf8') }),
    ).toMatchObject(WELL);
    const config = checkout.path('config');
    mkdirSync(path.join(config, 'sops', 'age'), { recursive: true });
    writeFileSync(path.join(config, 'sops', 'age', 'keys.txt'), readFileSync(ops.file));
    expect(await doctor({ SOPS_AGE_KEY_FILE: '', XDG_CONFIG_HOME: config })).toMatchObject(WELL);
  });

  test('a fleet with mistakes, and no fleet at all: the rest is still looked at', async () => {
    writeFileSync(checkout.path('fleet.yaml'), 'hosts: 1\n');
    const { status, findings, results } = await doctor();
    expect({ status, findings }).toEqual({ status: 2, findings: ['problem fleet.file', 'skipped api'] });
    expect(results.find(({ id }) => id === 'fleet.file')?.remedy).toMatch(/^fleet\.yaml:1:/);
    expect(await doctor({}, '--fleet', 'nowhere.yaml')).toMatchObject({ status: 2 });
  });

  test('a thousand hosts are no more questions than one', async () => {
    const asked: string[] = [];
    class Counting extends ProxmoxApi {
      override get(at: string, query?: Readonly<Record<string, string>>): Promise<unknown> {
        asked.push(at);
        return super.get(at, query);
      }
    }
    const many = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`h-${i}`, { vmId: 10_000 + i }]));
    checkout.writeFleet(sandbox, many);
    const fleet = loadFleet(checkout.path('fleet.yaml'));
    const api = new Counting(sandbox.endpoint, env);
    try {
      await askCluster(api, fleet);
    } finally {
      await api.close();
    }
    expect(asked).toHaveLength(8);
    const started = Date.now();
    const { status, findings } = await doctor();
    expect({ status, findings }).toEqual({
      status: 0,
      // 3 GiB each, and the fleet has no admins.
      findings: ['warning fleet.admins', 'warning api.space.pve1.local-lvm'],
    });
    expect(Date.now() - started).toBeLessThan(20_000);
  });
});
