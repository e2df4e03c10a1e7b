import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { callApi } from '../../sandbox/http';
import { processesOf, sleep } from '../../sandbox/processes';
import {
  type Guest,
  openSandbox,
  type Sandbox,
  sandboxRecord,
  startSandbox,
  stopSandbox,
} from '../../sandbox/sandbox';
import { toolEnvironment } from '../../tools/env';

jest.setTimeout(180_000);

const PROJECT = resolve(__dirname, '../..');

let folder: string;
let next = 1;
/** Each sandbox of this run has a loopback address of its own. */
const freshAddress = () => `127.91.${1 + (process.pid % 250)}.${next++}`;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sandbox-e2e-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const start = (name: string, address = freshAddress()) =>
  startSandbox({ dir: join(folder, name), home: join(folder, `${name}-home`), address });

interface Named {
  readonly id: string;
  readonly dir: string;
}

/** Taken while the sandbox is there: its id goes with its folder. */
const named = (dir: string): Named => ({ id: sandboxRecord(dir)?.id ?? 'none', dir });

const partsOf = ({ id, dir }: Named) =>
  processesOf(id, join(dir, 'logs')).map(({ pid }) => ({ pid, command: commandOf(pid) }));

const commandOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
  } catch {
    return '';
  }
};

/** No process of the sandbox is there, at the latest after some seconds. */
async function expectNothingLeft(sandbox: Named, seconds = 3): Promise<void> {
  for (let waited = 0; partsOf(sandbox).length > 0 && waited < seconds * 20; waited++) await sleep(50);
  expect(partsOf(sandbox)).toEqual([]);
}

async function kill(sandbox: Named, part: string): Promise<void> {
  const victim = partsOf(sandbox).find(({ command }) => command.includes(part));
  process.kill(victim?.pid as number, 'SIGKILL');
}

describe('the real provider', () => {
  let sandbox: Sandbox;
  let workdir: string;
  let machine: Guest;

  const configuration = (change: { memory?: number; snippet?: string } = {}) => ({
    terraform: { required_providers: { proxmox: { source: 'bpg/proxmox', version: '0.111.1' } } },
    provider: {
      proxmox: { endpoint: sandbox.endpoint, ssh: { node: [sandbox.node] } },
    },
    resource: {
      proxmox_virtual_environment_file: {
        snippet: {
          node_name: sandbox.node.name,
          datastore_id: 'local',
          content_type: 'snippets',
          source_raw: { file_name: 'mqtt-01.user-data.yaml', data: change.snippet ?? '#cloud-config\n' },
        },
      },
      proxmox_virtual_environment_vm: {
        host: {
          depends_on: ['proxmox_virtual_environment_file.snippet'],
          name: 'mqtt-01',
          node_name: sandbox.node.name,
          vm_id: 283,
          tags: ['hostkey', 'mqtt'],
          on_boot: true,
          stop_on_destroy: true,
          clone: { vm_id: 9000, full: true, datastore_id: 'local-lvm' },
          agent: { enabled: true, wait_for_ip: { disabled: true } },
          cpu: { cores: 2, type: 'x86-64-v2-AES' },
          memory: { dedicated: change.memory ?? 2048 },
          disk: { datastore_id: 'local-lvm', interface: 'scsi0', size: 20 },
          network_device: [{ bridge: 'vmbr0', model: 'virtio', ...NOT_SET }],
          initialization: {
            datastore_id: 'local-lvm',
            user_data_file_id: 'local:snippets/mqtt-01.user-data.yaml',
            ip_config: { ipv4: { address: '192.0.2.83/24', gateway: '192.0.2.1' } },
          },
        },
      },
    },
  });

  /** Terraform's JSON wants every attribute of this list, or null. */
  const NOT_SET = Object.fromEntries(
    [
      'disconnected',
      'enabled',
      'firewall',
      'mac_address',
      'mtu',
      'queues',
      'rate_limit',
      'trunks',
      'vlan_id',
    ].map((key) => [key, null]),
  );

  const main = () => join(workdir, 'main.tf.json');
  const write = (change?: Parameters<typeof configuration>[0]) =>
    writeFileSync(main(), JSON.stringify(configuration(change)));

  function terraform(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const { status, stdout, stderr } = spawnSync('terraform', [...args, '-no-color'], {
      cwd: workdir,
      env: { ...toolEnvironment(), ...sandbox.env, ...env },
      encoding: 'utf8',
      timeout: 60_000,
    });
    return { status, output: stdout + stderr };
  }

  const apply = () => expect(terraform(['apply', '-auto-approve'])).toMatchObject({ status: 0 });
  /** Asked for on a status that says whether a plan has changes: 0 none, 2 some. */
  const plan = () => terraform(['plan', '-detailed-exitcode', '-input=false']);
  const guest = async () => (await sandbox.guests()).find(({ vmid }) => vmid === 283);

  beforeAll(async () => {
    workdir = join(folder, 'terraform');
    mkdirSync(workdir);
    sandbox = await start('provider');
    write();
    expect(terraform(['init'])).toMatchObject({ status: 0 });
  });
  afterAll(() => sandbox?.stop());

  test('checks the API’s certificate', () => {
    const system = { SSL_CERT_FILE: '/etc/ssl/certs/ca-certificates.crt', SSL_CERT_DIR: '/nowhere' };
    const { terraform: required, provider } = configuration();
    // Reading one thing: the resources would try again for a minute.
    writeFileSync(
      main(),
      JSON.stringify({ terraform: required, provider, data: { proxmox_version: { it: {} } } }),
    );
    expect(terraform(['plan'])).toMatchObject({ status: 0 });
    const { status, output } = terraform(['plan'], system);
    expect(status).toBe(1);
    expect(output).toContain('certificate signed by unknown authority');
    write();
  });

  test('deploys: the snippet over SSH, the VM over the API', async () => {
    apply();
    expect(readFileSync(join(sandbox.snippets, 'mqtt-01.user-data.yaml'), 'utf8')).toBe('#cloud-config\n');
    machine = (await guest()) as Guest;
    expect(machine.status).toBe('running');
    expect(machine.config).toMatchObject({
      cicustom: 'user=local:snippets/mqtt-01.user-data.yaml',
      cores: 2,
      ide2: 'local-lvm:vm-283-cloudinit,media=cdrom',
      ipconfig0: 'gw=192.0.2.1,ip=192.0.2.83/24',
      memory: '2048',
      onboot: 1,
      scsi0: expect.stringMatching(/^local-lvm:vm-283-disk-0,.*size=20G/),
      tags: 'hostkey;mqtt',
    });
  });

  test('then has nothing left to do', () => {
    expect(plan()).toMatchObject({ status: 0 });
  });

  test('replaces a changed snippet and leaves the VM alone', async () => {
    write({ snippet: '#cloud-config\nhostname: mqtt-01\n' });
    apply();
    expect(readFileSync(join(sandbox.snippets, 'mqtt-01.user-data.yaml'), 'utf8')).toContain('hostname');
    expect(await guest()).toEqual(machine);
  });

  test('changes memory in place', async () => {
    write({ snippet: '#cloud-config\nhostname: mqtt-01\n', memory: 4096 });
    apply();
    const { config } = (await guest()) as Guest;
    expect(config).toEqual({ ...machine.config, memory: '4096' });
    expect(plan()).toMatchObject({ status: 0 });
  });

  test('notices what happened behind its back', async () => {
    await sandbox.request('PUT', '/nodes/pve1/qemu/283/config', { tags: 'hostkey;other' });
    const { status, output } = plan();
    expect(status).toBe(2);
    expect(output).toMatch(/"other"/);
    apply();
  });

  test('destroys everything that it made', async () => {
    expect(terraform(['destroy', '-auto-approve'])).toMatchObject({ status: 0 });
    expect((await sandbox.guests()).map(({ vmid }) => vmid)).toEqual([9000, 9001, 9002, 9003]);
    expect(readdirSync(sandbox.snippets)).toEqual([]);
    const volumes = (await sandbox.request('GET', '/nodes/pve1/storage/local-lvm/content')) as {
      vmid: number;
    }[];
    expect(volumes.filter(({ vmid }) => vmid < 9000)).toEqual([]);
  });
});

describe('a sandbox', () => {
  let sandbox: Sandbox;
  beforeAll(async () => {
    sandbox = await start('one');
  });
  afterAll(() => sandbox?.stop());

  test('gives the token what it needs and no more', async () => {
    const ca = readFileSync(sandbox.caFile, 'utf8');
    const api = {
      endpoint: sandbox.endpoint,
      ca,
      login: { token: sandbox.env.PROXMOX_VE_API_TOKEN as string },
    };
    await expect(callApi(api, 'GET', '/nodes/pve1/qemu/9000/config')).resolves.toMatchObject({ template: 1 });
    await expect(callApi(api, 'GET', '/nodes/pve1/status')).rejects.toThrow(
      'HTTP 403 Permission check failed (/nodes/pve1, Sys.Audit)',
    );
  });

  test('shows faults until they are cleared', async () => {
    await sandbox.control('fail', { method: 'GET', suffix: '/version', status: 500, message: 'boom' });
    await expect(sandbox.request('GET', '/version')).rejects.toThrow('HTTP 500 boom');
    await sandbox.control('clear_failures');
    await expect(sandbox.request('GET', '/version')).resolves.toHaveProperty('version');
    await expect(sandbox.control('no_such')).rejects.toThrow("unknown call 'no_such'; known: fail,");
  });

  test('refuses a change that it would not remember', async () => {
    const request = sandbox.request('POST', '/nodes/pve1/qemu/9000/move_disk', {
      disk: 'scsi0',
      storage: 'local',
    });
    await expect(request).rejects.toThrow(
      "501 the sandbox has no model of 'POST /nodes/{node}/qemu/{vmid}/move_disk'",
    );
  });

  test('keeps its secrets to its owner', () => {
    const mode = (...parts: string[]) => (statSync(join(sandbox.dir, ...parts)).mode & 0o777).toString(8);
    expect(mode()).toBe('700');
    for (const file of ['env', 'status.json', 'pve.json', 'tls/server.key', 'ssh/client', 'ssh/host']) {
      expect([file, mode(file)]).toEqual([file, '600']);
    }
  });

  test('writes a file that a plain sh can source', () => {
    const print =
      '. "$0"; printf %s "$PROXMOX_VE_SSH_PRIVATE_KEY"; test -z "${PROXMOX_VE_INSECURE-}"; test -r "$SSL_CERT_FILE"';
    const env = { ...process.env, PROXMOX_VE_INSECURE: 'true' };
    const key = execFileSync('sh', ['-euc', print, sandbox.envFile], { env, encoding: 'utf8' });
    expect(key).toBe(readFileSync(join(sandbox.dir, 'ssh', 'client'), 'utf8').trimEnd());
    expect(readFileSync(sandbox.envFile, 'utf8')).not.toMatch(/PRIVATE\sKEY-/);
  });

  test('is found up by a second up, and refused at another address', async () => {
    const again = await start('one', sandbox.node.address);
    expect(again).toMatchObject({ wasUp: true, env: sandbox.env });
    await expect(start('one')).rejects.toThrow(/is up on 127\.91\.\S+ \(API 8006, sshd 2222\), not on/);
  });

  test('has neighbours at other addresses', async () => {
    const [two, three] = await Promise.all([start('two'), start('three')]);
    expect(await two.guests()).toEqual(await sandbox.guests());
    expect(await three.guests()).toEqual(await sandbox.guests());
    await Promise.all([two.stop(), three.stop()]);
  });

  test('says which address is taken, and leaves nothing running', async () => {
    const dir = join(folder, 'taken');
    await expect(start('taken', sandbox.node.address)).rejects.toThrow(
      new RegExp(
        `${sandbox.node.address.replaceAll('.', '\\.')}\\D+(8006|2222)[^]*address already in use`,
        'i',
      ),
    );
    await expectNothingLeft(named(dir));
    await stopSandbox(dir);
  });

  test('refuses an address that others can reach', async () => {
    await expect(start('open', '0.0.0.0')).rejects.toThrow('loopback addresses only');
  });
});

test('one sandbox comes of several ups at once', async () => {
  const address = freshAddress();
  const all = await Promise.all([1, 2, 3].map(() => start('same', address)));
  expect(all.filter(({ wasUp }) => !wasUp)).toHaveLength(1);
  const before = named(join(folder, 'same'));
  await Promise.all(all.map((each) => each.stop()));
  expect(existsSync(join(folder, 'same'))).toBe(false);
  expect(readdirSync(folder).filter((name) => name.startsWith('same'))).toEqual(['same-home']);
  expect(readdirSync(join(folder, 'same-home'))).toEqual([]);
  await expectNothingLeft(before);
});

describe('whatever is killed', () => {
  const dir = () => join(folder, 'killed');

  test.each(['supervisor.ts', 'adapter.py', 'sshd: '])(
    '%s: all ends, and the next up works',
    async (part) => {
      const address = freshAddress();
      const sandbox = await start('killed', address);
      const before = named(sandbox.dir);
      await kill(before, part);
      await expectNothingLeft(before);
      expect(openSandbox(sandbox.dir)).toBeUndefined();
      const again = await start('killed', address);
      expect(again.wasUp).toBe(false);
      await again.request('GET', '/version');
      await again.stop();
      expect(existsSync(sandbox.dir)).toBe(false);
    },
  );

  test('the supervisor, while a session is open: down ends the session too', async () => {
    const sandbox = await start('killed');
    const before = named(sandbox.dir);
    const session = login(sandbox, 'exec sleep 600');
    await until(() => partsOf(before).some(({ command }) => command.startsWith('sleep 600')));
    await kill(before, 'supervisor.ts');
    await until(() => !openSandbox(sandbox.dir));
    await stopSandbox(sandbox.dir);
    await expectNothingLeft(before, 0);
    session.kill('SIGKILL');
  });

  test.each([100, 400, 700, 1000, 1400])(
    'an up after %i ms: down leaves nothing, and the next up works',
    async (ms) => {
      const address = freshAddress();
      const args = ['bin/run', 'sandbox/cli.ts', 'up', '--dir', dir(), '--address', address];
      const env = { ...process.env, HOME: join(folder, 'killed-home') };
      const up = spawn(process.execPath, args, { cwd: PROJECT, env, stdio: 'ignore' });
      await sleep(ms);
      up.kill('SIGKILL');
      await sleep(100);
      const before = named(dir());
      await stopSandbox(dir());
      expect(existsSync(dir())).toBe(false);
      await expectNothingLeft(before, 1);
      await (await start('killed', address)).stop();
    },
  );

  function login(sandbox: Sandbox, command: string): ChildProcess {
    const options = [
      '-o',
      'StrictHostKeyChecking=yes',
      '-o',
      `UserKnownHostsFile=${join(sandbox.dir, 'ssh', 'known_hosts')}`,
    ];
    const key = ['-F', 'none', '-o', 'IdentityAgent=none', '-i', join(sandbox.dir, 'ssh', 'client')];
    const target = [
      `${sandbox.env.PROXMOX_VE_SSH_USERNAME}@${sandbox.node.address}`,
      '-p',
      String(sandbox.node.port),
    ];
    return spawn('ssh', [...key, ...options, ...target, command], { stdio: 'ignore' });
  }

  async function until(condition: () => boolean): Promise<void> {
    for (let waited = 0; !condition(); waited++) {
      if (waited > 100) throw new Error('it did not come true');
      await sleep(50);
    }
  }
});

describe('on the command line', () => {
  const run = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['bin/run', 'sandbox/cli.ts', ...args], {
      cwd: PROJECT,
      env: { ...process.env, HOME: join(folder, 'cli-home'), NO_COLOR: '1' },
      encoding: 'utf8',
    });
    return { status, stdout, stderr };
  };

  test('up, status, logs, down', () => {
    const dir = ['--dir', join(folder, 'cli')];
    expect(run('down', ...dir)).toMatchObject({ status: 0, stdout: 'There is no sandbox\n' });
    expect(run('status', ...dir)).toMatchObject({ status: 3, stdout: 'The sandbox is down.\n' });
    // Without guests: whose images take a minute to build, and are another test's.
    const up = run('up', ...dir, '--address', freshAddress(), '--no-guests', '--json');
    if (up.status !== 0) throw new Error(`exit ${up.status}: ${up.stderr}`);
    expect(up.stderr).not.toContain('template images');
    expect(JSON.parse(up.stdout)).toMatchObject({
      up: true,
      guests: [9000, 9001, 9002, 9003].map((vmid) => ({ vmid, template: true })),
    });
    expect(run('status', ...dir).stdout).toContain('9000   template  debian-with-host-keys');
    expect(run('logs', 'sshd', ...dir).stdout).toContain('Accepted publickey');
    expect(run('down', ...dir)).toMatchObject({ status: 0, stdout: '✓ The sandbox is gone\n' });
    expect(existsSync(join(folder, 'cli'))).toBe(false);
  });

  test('down leaves a folder alone that is not a sandbox', () => {
    const dir = join(folder, 'precious');
    mkdirSync(dir);
    writeFileSync(join(dir, 'file'), 'precious');
    const down = run('down', '--dir', dir);
    expect(down.status).toBe(1);
    expect(down.stderr).toContain('holds files that no sandbox made');
    expect(readdirSync(dir)).toEqual(['file']);
  });
});
