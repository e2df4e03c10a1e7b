import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { tethered } from '../processes';
import type { GuestImages } from './images';

export type Accelerator = 'kvm' | 'tcg';

const PROBE_SECONDS = 20;

/**
 * KVM where it works, else QEMU's own emulation, which is some ten times slower.
 *
 * That /dev/kvm is there says little: on machines that are virtual themselves, a guest may stop with an internal
 * error seconds into its boot. So a kernel is booted, once in each boot of this machine.
 * HOSTKEY_SANDBOX_ACCEL=kvm|tcg chooses without a probe.
 */
export async function chooseAccelerator(
  images: GuestImages,
  python: string,
  say: (line: string) => void,
): Promise<Accelerator> {
  const chosen = process.env.HOSTKEY_SANDBOX_ACCEL;
  if (chosen === 'kvm' || chosen === 'tcg') return chosen;
  if (chosen) throw new Error(`HOSTKEY_SANDBOX_ACCEL is "${chosen}"; it can be kvm or tcg`);
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch {
    return 'tcg';
  }
  const file = join(dirname(images.dir), 'accelerator');
  const machine = `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${qemuVersion()}`;
  const known = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
  if (known[0] === machine && (known[1] === 'kvm' || known[1] === 'tcg')) return known[1];
  say('Trying whether KVM works here (once)');
  const found: Accelerator = (await kvmBoots(images, python)) ? 'kvm' : 'tcg';
  if (found === 'tcg') say('It does not; guests will be emulated, which is slower');
  writeFileSync(file, `${machine}\n${found}\n`);
  return found;
}

const qemuVersion = (): string =>
  (spawnSync('qemu-system-x86_64', ['--version'], { encoding: 'utf8' }).stdout ?? '').split('\n')[0] ?? '';

/** Boots a kernel up to its first program. */
function kvmBoots({ kernel, initrd }: GuestImages, python: string): Promise<boolean> {
  const machine = ['-nodefaults', '-no-user-config', '-display', 'none', '-machine', 'q35', '-accel', 'kvm'];
  const [program, args] = tethered(python, process.pid, [
    ...['qemu-system-x86_64', ...machine, '-cpu', 'host', '-smp', '2', '-m', '512', '-no-reboot'],
    // A first program that ends makes the kernel panic, and a panic resets at once, which ends QEMU.
    ...['-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0 panic=-1 rdinit=/bin/false'],
    ...['-serial', 'stdio'],
  ]);
  return new Promise((done) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const end = (answer: boolean) => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      done(answer);
    };
    const look = (data: Buffer) => {
      output += data;
      if (output.includes('Run /bin/false as init process')) end(true);
      else if (output.includes('KVM internal error')) end(false);
    };
    const timer = setTimeout(() => end(false), PROBE_SECONDS * 1000);
    child.stdout.on('data', look);
    child.stderr.on('data', look);
    child.on('error', () => end(false));
    child.on('close', () => end(false));
  });
}
