import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';
import { Checkout, succeeded } from '../../sandbox/checkout';
import { runInGuest } from '../../sandbox/guests/run';
import { guestAddress } from '../../sandbox/guests/setup';
import { cloudInitEnded } from '../../sandbox/guests/watch';
import { sleep } from '../../sandbox/processes';
import type { Sandbox } from '../../sandbox/sandbox';
import { toolEnvironment } from '../../tools/env';

// Without KVM a boot takes a minute on a quiet machine.
jest.setTimeout(600_000);

const ADDRESS = '127.105.0.1';
const VMID = 283;
const HOST_KEY = '/etc/ssh/ssh_host_ed25519_key';

/** What a whole rotation tells, written out here: taken from the program it would prove nothing. */
const TOLD = [
  'declared',
  'made',
  'secrets for both',
  'delivered',
  'installed',
  'retired',
  'secrets for the new one',
];

describe('a booted host that is rotated', () => {
  const tools = toolEnvironment();
  let sandbox: Sandbox;
  let checkout: Checkout;
  let env: NodeJS.ProcessEnv;

  const inGuest = async (script: string): Promise<string> => {
    const { status, stdout, stderr } = await runInGuest(sandbox, VMID, ['/bin/sh', '-c', script]);
    if (status !== 0) throw new Error(`${script}: exit ${status}: ${stderr}`);
    return stdout.trim();
  };
  const hostkey = (...args: string[]) => checkout.run('.', process.execPath, 'bin/hostkey', ...args);
  const ROTATE = ['rotate', 'mqtt-01', '-i', 'login', '--deliver', './deliver'];
  const status = async (): Promise<{ next: string; present: { fingerprint: string }; served?: string }> =>
    JSON.parse((await hostkey('rotate', 'mqtt-01', '--status', '--json')).output);
  const output = async (name: string): Promise<string> =>
    succeeded(await checkout.terraform('mqtt-01', 'output', '-raw', name)).trim();
  const recipients = (): string[] =>
    parse(checkout.read('secrets/mqtt-01/broker.yaml')).sops.age.map(
      ({ recipient }: { recipient: string }) => recipient,
    );

  beforeAll(async () => {
    checkout = new Checkout(tools);
    sandbox = await checkout.startSandbox(ADDRESS, { guests: true });
    await sandbox.control('time_scale', { value: 0 }).catch(() => undefined);
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', checkout.path('login')]);
    execFileSync('age-keygen', ['-o', checkout.path('ops')], { env: tools, stdio: 'ignore' });
    const ops = execFileSync('age-keygen', ['-y', checkout.path('ops')], { env: tools, encoding: 'utf8' });
    env = { ...tools, ...sandbox.env, SOPS_AGE_KEY_FILE: checkout.path('ops') };
    checkout.use(env);
    const address = guestAddress(ADDRESS, VMID);
    checkout.writeFleet(sandbox, {
      'mqtt-01': {
        vmId: VMID,
        address: '192.0.2.83/24',
        memory: 512,
        user: 'root',
        ssh: { address },
        authorizedKeys: [readFileSync(checkout.path('login.pub'), 'utf8').trim()],
      },
    });
    const fleet = JSON.parse(checkout.read('fleet.yaml'));
    writeFileSync(
      checkout.path('fleet.yaml'),
      JSON.stringify({ ...fleet, admins: { ops: ops.trim() } }, null, 2),
    );
    succeeded(await checkout.cdktf('deploy', 'mqtt-01', '--auto-approve'));
    mkdirSync(checkout.path('secrets/mqtt-01'), { recursive: true });
    writeFileSync(checkout.path('secrets/mqtt-01/broker.yaml'), 'password: correct horse\n');
    succeeded(await checkout.run('.', 'sops', 'encrypt', '-i', 'secrets/mqtt-01/broker.yaml'));
    // Brings the encrypted secret to the host as a deployer does: whole, by renaming, to a host that it knows.
    writeFileSync(
      checkout.path('deliver'),
      `#!/bin/sh
set -e
node bin/hostkey known-hosts --write known "$HOSTKEY_HOST" >/dev/null 2>&1 || node bin/hostkey known-hosts --write known >/dev/null
ssh -F none -i login -o UserKnownHostsFile=known -o StrictHostKeyChecking=yes -o BatchMode=yes root@${address} \\
  'cat >/root/broker.yaml.new && mv /root/broker.yaml.new /root/broker.yaml' <secrets/mqtt-01/broker.yaml
`,
      { mode: 0o755 },
    );
    for (const { template, guest } of await sandbox.guests()) {
      if (!template && guest !== null) await cloudInitEnded(guest, 550);
    }
    succeeded(await checkout.with({ HOSTKEY_HOST: 'mqtt-01' }, () => checkout.run('.', './deliver')));
    // Decrypts ten times a second with whatever key the host has, and counts.
    await inGuest(`cat >/root/loop <<'END'
#!/bin/sh
while :; do
  if out=$(SOPS_AGE_KEY=$(ssh-to-age -private-key -i ${HOST_KEY}) sops decrypt /root/broker.yaml 2>&1) && [ "$out" = 'password: correct horse' ]
  then echo ok; else echo "failed: $out"; fi
  sleep 0.1
done
END
chmod +x /root/loop; nohup /root/loop >/root/log 2>&1 </dev/null &`);
  });

  afterAll(async () => {
    await sandbox?.stop();
    checkout?.remove();
  });

  /** How often the loop in the guest has decrypted since it started; it must never have failed. */
  async function decrypted(): Promise<number> {
    expect(await inGuest('grep -v ^ok /root/log || true')).toBe('');
    return Number(await inGuest('grep -c ^ok /root/log'));
  }

  test('has no rotation under way, and stops where nobody delivers', async () => {
    expect((await hostkey('rotate', 'mqtt-01', '--status')).status).toBe(0);
    const first = await output('host_public_key');
    const { status: code, output: said } = await hostkey('rotate', 'mqtt-01', '-i', 'login');
    expect({ code, said }).toMatchObject({ code: 2, said: expect.stringContaining('--delivered') });
    expect(await status()).toMatchObject({ next: 'delivered' });
    expect(recipients()).toHaveLength(3);
    expect(await output('host_public_key')).toBe(first);
  });

  test('goes back to its old key', async () => {
    const first = await output('host_public_key');
    succeeded(await hostkey('rotate', 'mqtt-01', '-i', 'login', '--abort'));
    expect(await output('host_public_key')).toBe(first);
    expect(recipients()).toHaveLength(2);
    expect(checkout.read('fleet.yaml')).not.toContain('nextKey');
    expect((await hostkey('rotate', 'mqtt-01', '--abort')).output).toContain(
      'no rotation of mqtt-01 is under way',
    );
  });

  test('gets a new key, and decrypts all the while', async () => {
    const before = await decrypted();
    const first = await output('host_public_key');
    const said = succeeded(await hostkey(...ROTATE));
    expect(said.match(/✓ [^:]+/g)).toEqual(TOLD.map((step) => `✓ ${step}`));
    const second = await output('host_public_key');
    expect(second).not.toBe(first);
    expect(await inGuest(`cat ${HOST_KEY}.pub`)).toBe(second);
    expect(await inGuest(`stat -c '%a %U:%G %n' /etc/ssh/ssh_host_*`)).toBe(
      `600 root:root ${HOST_KEY}\n644 root:root ${HOST_KEY}.pub`,
    );
    succeeded(await hostkey('verify', 'mqtt-01'));
    succeeded(await hostkey('secrets', 'check'));
    expect(await status()).toMatchObject({ next: 'none' });
    await sleep(2000);
    expect(await decrypted()).toBeGreaterThan(before);
    // The snippet, which a rebuild would boot with, has the new key.
    expect(readFileSync(path.join(sandbox.snippets, 'mqtt-01.user-data.yaml'), 'utf8')).toContain(second);
  });

  test('goes on wherever it was killed', async () => {
    const before = await decrypted();
    const first = await output('host_public_key');
    const steps: string[] = [];
    for (let attempt = 0; attempt < 20; attempt++) {
      const step = await killedAfterStep(new Set(steps));
      if (step === undefined) break;
      steps.push(step);
      expect(await decrypted()).toBeGreaterThanOrEqual(before);
    }
    expect(steps).toEqual(TOLD);
    expect(await output('host_public_key')).not.toBe(first);
    succeeded(await hostkey('verify', 'mqtt-01'));
    succeeded(await hostkey('secrets', 'check'));
    expect(recipients()).toHaveLength(2);
    expect(checkout.transcript).not.toMatch(/PRIVATE\sKEY/);
  });

  /** Kills the rotation right behind the first step that is new. @returns that step; undefined where it ended */
  function killedAfterStep(seen: ReadonlySet<string>): Promise<string | undefined> {
    return new Promise((resolve) => {
      const child = spawn(process.execPath, ['bin/hostkey', ...ROTATE], {
        cwd: checkout.folder,
        env,
        detached: true,
      });
      let step: string | undefined;
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        if (step !== undefined) return;
        step = [...text.matchAll(/✓ ([^:]+)/g)].map(([, each = '']) => each).find((each) => !seen.has(each));
        if (step !== undefined && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      });
      child.on('close', (code) => resolve(code === 0 ? undefined : step));
    });
  }
});
