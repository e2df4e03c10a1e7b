import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { VARIANTS, type Variant } from '../../sandbox/guests/images';
import { until } from '../../sandbox/guests/watch';
import { type Bench, OursCheckout, type Row, Trial } from './bench';

/** A way to make a host and get a secret into it. */
export interface Way {
  readonly name: string;
  readonly image: Variant;
  run(bench: Bench, vmid: number): Promise<readonly Row[]>;
}

const on = (image: Variant, name: string, action: (trial: Trial) => Promise<void>): Way => ({
  name: `${name} (${image})`,
  image,
  run: async (bench, vmid) => {
    const trial = new Trial(bench, image, vmid);
    try {
      await action(trial);
      await trial.booted();
      return [trial.row(name)];
    } finally {
      await trial.end();
    }
  },
});

/** Scans, writes the rule, encrypts, deploys; and does it again while it fails. */
async function scanEncryptDeploy(trial: Trial): Promise<void> {
  let key = await trial.types('ssh-keyscan', () => trial.watch.firstKey(trial.bench.bootSeconds));
  for (let round = 0; round < 4; round++) {
    trial.trust(key);
    await trial.types('ssh-to-age, edit .sops.yaml', () => trial.writeRule(key));
    await trial.types('sops encrypt', () => trial.encrypt());
    const problem = await trial.types('deploy', () => trial.deploy());
    if (problem === undefined) return;
    trial.retried(problem);
    key = await trial.types('ssh-keygen -R, ssh-keyscan', async () => {
      const seen = key;
      // Somebody who is told that the key changed looks at once; one who isn't, looks when cloud-init has ended.
      if (trial.watch.sightings.at(-1)?.key === seen) await trial.booted();
      return trial.watch.sightings.at(-1)?.key as string;
    });
  }
}

/** Creates a VM by hand, with further settings of it, and scans it at its first answer. */
const scanned =
  (name: string, settings: (trial: Trial) => Record<string, string> = () => ({})) =>
  (image: Variant): Way =>
    on(image, name, async (trial) => {
      await trial.types('create the VM', () => trial.create(settings(trial)));
      await scanEncryptDeploy(trial);
    });

const today = scanned('Today: scan at the first answer');
const optionB = scanned('Option B: template without keys');
const optionBKept = scanned('Option B, with `ssh_deletekeys: false`', (trial) => {
  const text = `#cloud-config\nuser: root\ndisable_root: false\nssh_deletekeys: false\nssh_authorized_keys: [${trial.bench.loginPublic}]\n`;
  return { cicustom: trial.snippet(text) };
});

const optionA = (image: Variant): Way =>
  on(image, 'Option A: log in, wait, then scan', async (trial) => {
    await trial.types('create the VM', () => trial.create({}));
    await trial.types('ssh: cloud-init status --wait', () =>
      until(
        async () => (await trial.ssh('cloud-init status --wait', undefined, false)).stdout.includes('done'),
        trial.bench.bootSeconds,
        'a login',
      ),
    );
    const key = await trial.types('ssh-keyscan', () => trial.watch.sightings.at(-1)?.key as string);
    trial.trust(key);
    await trial.types('ssh-to-age, edit .sops.yaml', () => trial.writeRule(key));
    await trial.types('sops encrypt', () => trial.encrypt());
    const problem = await trial.types('deploy', () => trial.deploy());
    if (problem) trial.retried(problem);
  });

const naiveD = (image: Variant): Way =>
  on(image, 'Naive Option D: `ssh_keys` alone', async (trial) => {
    const file = path.join(trial.folder, 'key');
    await trial.types('ssh-keygen', () =>
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file]),
    );
    const [, key] = readFileSync(`${file}.pub`, 'utf8').split(' ') as [string, string];
    trial.trust(key);
    await trial.types('ssh-to-age, edit .sops.yaml', () => trial.writeRule(key));
    await trial.types('sops encrypt', () => trial.encrypt());
    const user = {
      user: 'root',
      disable_root: false,
      ssh_authorized_keys: [trial.bench.loginPublic],
      ssh_keys: {
        ed25519_private: readFileSync(file, 'utf8'),
        ed25519_public: readFileSync(`${file}.pub`, 'utf8'),
      },
    };
    const cicustom = trial.snippet(`#cloud-config\n${JSON.stringify(user, null, 2)}\n`);
    await trial.types('create the VM', () => trial.create({ cicustom }));
    for (let round = 0; round < 4; round++) {
      await trial.watch.firstKey(trial.bench.bootSeconds);
      const problem = await trial.types('deploy', () => trial.deploy());
      if (problem === undefined) return;
      trial.retried(problem);
      await trial.types('wait', () => trial.booted());
    }
  });

/** Deploys, and encrypts before the guest has so much as answered. */
async function deployOurs(trial: Trial, checkout: OursCheckout): Promise<void> {
  checkout.fleet('192.0.2.83/24');
  await trial.types('cdktf deploy', () => checkout.deploy());
  const { output } = await checkout.terraform(trial.host, 'output', '-raw', 'host_public_key');
  const key = output.match(/^ssh-ed25519 (\S+)$/)?.[1];
  if (key === undefined) throw new Error(`the stack of ${trial.host} names no host key: ${output}`);
  trial.trust(key);
  await trial.types('sops encrypt', () => trial.encrypt(checkout.folder, `secrets/${trial.host}/token.yaml`));
}

async function mustDecrypt(trial: Trial): Promise<void> {
  const problem = await trial.types('deploy', () => trial.deploy());
  if (problem) trial.retried(problem);
}

const ours = (
  image: Variant,
  name: string,
  rows: (trial: Trial, checkout: OursCheckout) => Promise<readonly Row[]>,
): Way => ({
  name: `${name} (${image})`,
  image,
  run: async (bench, vmid) => {
    const trial = new Trial(bench, image, vmid);
    const checkout = new OursCheckout(trial);
    try {
      return await rows(trial, checkout);
    } finally {
      await trial.end();
      checkout.remove();
    }
  },
});

const first = (image: Variant): Way =>
  ours(image, 'Ours', async (trial, checkout) => {
    await deployOurs(trial, checkout);
    await mustDecrypt(trial);
    await trial.booted();
    return [trial.row('Ours')];
  });

/** One host's later life: the keys of every row are all that it served up to then. */
const life = (image: Variant): Way =>
  ours(image, 'Ours, later', async (trial, checkout) => {
    const rows: Row[] = [];
    const { sandbox } = trial.bench;
    const startedAt = async () => (await sandbox.guests()).find(({ vmid }) => vmid === trial.vmid)?.startedAt;
    const powerCycle = async () => {
      await sandbox.request('POST', `${trial.vm}/status/reboot`, { timeout: 120 });
    };
    let boots = 1;
    const event = async (name: string, steps: readonly string[], action: () => Promise<void>) => {
      trial.anew();
      trial.steps.push(...steps);
      const before = await startedAt();
      await action();
      await until(async () => (await startedAt()) !== before, 150, 'the restart');
      await trial.booted(++boots);
      const problem = await trial.deploy();
      if (problem) trial.retried(problem);
      rows.push(trial.row(`Ours, ${name}`));
    };
    /** A change that Proxmox shows the guest at its next start; the provider may or may not restart it. */
    const deployed = async () => {
      const before = await startedAt();
      await checkout.deploy();
      if ((await startedAt()) === before) await powerCycle();
    };

    await deployOurs(trial, checkout);
    await mustDecrypt(trial);
    await trial.booted();
    await event('rebooted', ['reboot'], powerCycle);
    await event('with another address', ['edit fleet.yaml', 'cdktf deploy'], async () => {
      checkout.fleet('192.0.2.84/24');
      await deployed();
    });
    await event('with another snippet', ['edit fleet.yaml', 'cdktf deploy', 'reboot'], async () => {
      checkout.fleet('192.0.2.84/24', { timezone: 'UTC' });
      await deployed();
    });
    boots = 0;
    await event('rebuilt', ['terraform apply -replace'], async () => {
      const { status, output } = await checkout.terraform(
        trial.host,
        ...['apply', '-auto-approve', '-input=false', '-replace=proxmox_virtual_environment_vm.proxmox_vm'],
      );
      if (status !== 0) throw new Error(`the rebuild failed:\n${output}`);
    });
    return rows;
  });

/** Power is lost in the first boot, and comes back. */
const powerCut = (
  image: Variant,
  when: string,
  moment: (trial: Trial, serial: () => string) => boolean,
): Way =>
  ours(image, `Ours, power cut ${when}`, async (trial, checkout) => {
    const { sandbox } = trial.bench;
    const status = `${trial.vm}/status`;
    await deployOurs(trial, checkout);
    const { serial } = await trial.guest();
    await until(() => moment(trial, () => readFileSync(serial, 'latin1')), trial.bench.bootSeconds, when);
    await sandbox.request('POST', `${status}/stop`);
    await trial.types('start', () => sandbox.request('POST', `${status}/start`));
    await mustDecrypt(trial);
    await trial.booted();
    return [trial.row(`Ours, power cut ${when}`)];
  });

const BAKED: readonly Variant[] = VARIANTS.filter((image) => image.endsWith('-keys'));
const BARE: readonly Variant[] = VARIANTS.filter((image) => image.endsWith('-bare'));

export const WAYS: readonly Way[] = [
  life('nixos-keys'),
  ...BAKED.map(today),
  ...BAKED.map(optionA),
  ...BARE.map(optionB),
  ...BARE.map(optionBKept),
  ...VARIANTS.map(naiveD),
  ...VARIANTS.map(first),
  powerCut('nixos-keys', 'when cloud-init begins', (_trial, serial) =>
    /Cloud-init v\. \S+ running 'init'/.test(serial()),
  ),
  powerCut('nixos-keys', 'at the first answer', (trial) => trial.watch.sightings.length > 0),
];
