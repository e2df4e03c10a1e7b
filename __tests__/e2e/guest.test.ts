import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { Checkout, succeeded } from '../../sandbox/checkout';
import { runInGuest } from '../../sandbox/guests/run';
import { guestAddress } from '../../sandbox/guests/setup';
import { cloudInitEnded, KeyWatch, scanKey } from '../../sandbox/guests/watch';
import { identify, signal, sleep, waitFor } from '../../sandbox/processes';
import { type BootedGuest, type Sandbox, sandboxRecord, startSandbox } from '../../sandbox/sandbox';
import { toolEnvironment } from '../../tools/env';

// Without KVM a boot takes a minute on a quiet machine.
jest.setTimeout(600_000);

const ADDRESS = '127.87.0.1';
const VMID = 283;
/** The template whose cloud-init installs keys after sshd has started, and that was built with host keys. */
const NIXOS_ORDER = 9002;
const HOST_KEY = '/etc/ssh/ssh_host_ed25519_key';

describe('a guest of the NixOS order, whose template has host keys', () => {
  const tools = toolEnvironment();
  let sandbox: Sandbox;
  let checkout: Checkout;
  let guest: BootedGuest;
  let watch: KeyWatch;
  let login: string;

  const inGuest = async (script: string): Promise<string> => {
    const { status, stdout, stderr } = await runInGuest(sandbox, VMID, ['/bin/sh', '-c', script]);
    if (status !== 0) throw new Error(`${script}: exit ${status}: ${stderr}`);
    return stdout.trim();
  };

  const output = async (name: string): Promise<string> =>
    succeeded(await checkout.terraform('mqtt-01', 'output', '-raw', name)).trim();

  const writeFleet = (cloudConfig: object): void =>
    checkout.writeFleet(sandbox, {
      'mqtt-01': {
        vmId: VMID,
        address: '192.0.2.83/24',
        gateway: '192.0.2.1',
        template: NIXOS_ORDER,
        user: 'root',
        authorizedKeys: [readFileSync(`${login}.pub`, 'utf8').trim()],
        cloudConfig,
      },
    });

  beforeAll(async () => {
    checkout = new Checkout(tools);
    sandbox = await checkout.startSandbox(ADDRESS, { guests: true });
    checkout.use({ ...tools, ...sandbox.env });
    login = checkout.path('login');
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', login]);
    watch = new KeyWatch({ address: guestAddress(ADDRESS, VMID), port: 22 });

    // The rules first, and the secret with nothing but them: there is no VM yet.
    writeFleet({});
    succeeded(await checkout.cdktf('synth'));
    succeeded(await checkout.terraform('mqtt-01', 'init', '-input=false'));
    const rules = ['-target=local_file.sops_file', '-target=terraform_data.sops_root_entry'];
    succeeded(await checkout.terraform('mqtt-01', 'apply', '-auto-approve', '-input=false', ...rules));
    expect((await sandbox.guests()).filter(({ template }) => !template)).toEqual([]);
    mkdirSync(checkout.path('secrets/mqtt-01'), { recursive: true });
    writeFileSync(checkout.path('secrets/mqtt-01/broker.yaml'), 'password: correct horse\n');
    succeeded(await checkout.run('.', 'sops', 'encrypt', '-i', 'secrets/mqtt-01/broker.yaml'));

    // The encrypted secret goes along, and is decrypted at first boot, as sops-nix does.
    writeFleet({
      write_files: [{ path: '/root/broker.yaml', content: checkout.read('secrets/mqtt-01/broker.yaml') }],
      runcmd: [
        'mkdir -m 0700 /run/secrets',
        `umask 077; SOPS_AGE_KEY=$(ssh-to-age -private-key -i ${HOST_KEY}) sops decrypt /root/broker.yaml >/run/secrets/broker`,
      ],
    });
    succeeded(await checkout.cdktf('deploy', 'mqtt-01', '--auto-approve'));
    const found = (await sandbox.guests()).find(({ vmid }) => vmid === VMID)?.guest;
    if (!found) throw new Error('no guest was started');
    guest = found;
    await cloudInitEnded(guest, 500);
    await sleep(2000);
    await watch.end();
  });

  afterAll(async () => {
    await watch?.end();
    await sandbox?.stop();
    checkout?.remove();
  });

  test('served one key from power-on until cloud-init had ended, the declared one', async () => {
    const declared = (await output('host_public_key')).split(' ')[1];
    expect(watch.keys).toEqual([declared]);
  });

  test('decrypted at first boot what was encrypted before it existed', async () => {
    expect(await inGuest('cat /run/secrets/broker')).toBe('password: correct horse');
  });

  test('finished its first boot without an error', async () => {
    expect(await inGuest('cloud-init status')).toBe('status: done');
  });

  test('is known to ssh by what the stack says', async () => {
    writeFileSync(checkout.path('known_hosts'), `${await output('known_hosts')}\n`);
    const options = [
      'StrictHostKeyChecking=yes',
      'GlobalKnownHostsFile=/dev/null',
      'HostKeyAlias=mqtt-01',
    ].concat([
      `UserKnownHostsFile=${checkout.path('known_hosts')}`,
      'BatchMode=yes',
      'IdentitiesOnly=yes',
      'IdentityAgent=none',
    ]);
    const args = [
      '-F',
      'none',
      '-i',
      login,
      '-p',
      String(guest.port),
      ...options.flatMap((each) => ['-o', each]),
    ];
    const uname = execFileSync('ssh', [...args, `root@${guest.address}`, 'hostname'], { encoding: 'utf8' });
    expect(uname).toBe('mqtt-01\n');
  });

  test('has its key files as sshd wants them, and no key of another type', async () => {
    expect(await inGuest(`stat -c '%a %U:%G %n' /etc/ssh/ssh_host_*`)).toBe(
      `600 root:root ${HOST_KEY}\n644 root:root ${HOST_KEY}.pub`,
    );
    await expect(inGuest('/usr/sbin/sshd -t')).resolves.toBe('');
    expect(await scanKey(guest, 'rsa,ecdsa')).toBeUndefined();
  });

  test('keeps the private key where root alone can read it, and out of every log', async () => {
    const line = await inGuest(`sed -n 3p ${HOST_KEY}`);
    // cloud-init keeps data in base64, too, where a text looks one of three ways.
    const encoded = [0, 1, 2].map((shift) =>
      Buffer.from('x'.repeat(shift) + line)
        .toString('base64')
        .slice(4, -4),
    );
    const patterns = [line, ...encoded];
    const search = (command: string) =>
      runInGuest(sandbox, VMID, ['/bin/sh', '-c', command], `${patterns.join('\n')}\n`);
    const { stdout: copies } = await search(
      "grep -rlsF -f - /etc /home /root /run /srv /tmp /usr/local /var /dev/shm | xargs stat -c '%a %U %n'",
    );
    const files = copies
      .trim()
      .split('\n')
      .map((line) => line.split(' ') as [string, string, string]);
    expect(files.map(([, , name]) => name)).toContain(HOST_KEY);
    for (const [mode, owner, name] of files) {
      expect({ name, owner, others: Number.parseInt(mode, 8) & 0o077 }).toEqual({
        name,
        owner: 'root',
        others: 0,
      });
    }
    expect(files.filter(([, , name]) => name.startsWith('/var/log/'))).toEqual([]);
    // What is left, by name: the threat model says the same.
    expect(
      files.map(([, , name]) => name.replace(/\/instances\/[0-9a-f]{40}\//, '/instances/ID/')).sort(),
    ).toEqual([
      HOST_KEY,
      '/var/lib/cloud/instances/ID/cloud-config.txt',
      '/var/lib/cloud/instances/ID/obj.pkl',
      '/var/lib/cloud/instances/ID/user-data.txt',
      '/var/lib/cloud/instances/ID/user-data.txt.i',
    ]);
    expect(
      (
        await search('cat >/run/needles; journalctl --no-pager | grep -cF -f /run/needles; rm /run/needles')
      ).stdout.trim(),
    ).toBe('0');
    const serial = readFileSync(guest.serial, 'latin1');
    for (const pattern of patterns) expect(serial).not.toContain(pattern);
    // The seed drive: the group `disk` is as good as root.
    expect(await inGuest("stat -c '%a %U:%G' /dev/vdb; getent group disk | cut -d: -f4")).toBe(
      '660 root:disk',
    );
  });

  test('has no more than 1 GiB of memory, whatever its VM has', async () => {
    expect(Number(await inGuest("awk '/MemTotal/ {print $2}' /proc/meminfo"))).toBeLessThan(1024 * 1024);
  });

  test('serves the same key after a power cut that left its file empty', async () => {
    const before = await scanKey(guest);
    await inGuest(`: >${HOST_KEY}; sync`);
    const status = `/nodes/${sandbox.node.name}/qemu/${VMID}/status`;
    await sandbox.request('POST', `${status}/stop`);
    const next = new KeyWatch(guest);
    await sandbox.request('POST', `${status}/start`);
    try {
      await cloudInitEnded(guest, 500, 2);
    } finally {
      await next.end();
    }
    expect(next.keys).toEqual([before]);
  });

  test('ends with its sandbox, and the next sandbox starts', async () => {
    const running = (await sandbox.guests()).find(({ vmid }) => vmid === VMID)?.guest;
    const qemu = identify(running?.pid as number);
    const { supervisor } = sandboxRecord(sandbox.dir) ?? {};
    if (!qemu || !supervisor) throw new Error('the sandbox is not up');
    signal(supervisor, 'SIGKILL');
    expect(await waitFor(() => (identify(qemu.pid) ? undefined : true), 5)).toBe(true);
    const next = await startSandbox({ dir: sandbox.dir, home: checkout.folder, address: ADDRESS });
    expect(existsSync(guest.serial)).toBe(false);
    await next.stop();
  });
});
