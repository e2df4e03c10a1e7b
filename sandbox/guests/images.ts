import { createHash, randomUUID } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { toolEnvironment } from '../../tools/env';
import guestPrograms from '../../tools/setup/guest-programs.json';
import { projectRoot } from '../layout';
import { runTethered } from '../processes';

/**
 * cloud-init's modules in Debian's or in NixOS's order; host keys that the template was built with, or none.
 */
export const VARIANTS = ['debian-keys', 'debian-bare', 'nixos-keys', 'nixos-bare'] as const;
export type Variant = (typeof VARIANTS)[number];

/** The templates' disks, and what QEMU starts on them. Paths. */
export interface GuestImages {
  readonly dir: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly disks: Readonly<Record<Variant, string>>;
}

const SUITE = 'bookworm';
const PACKAGES = [
  'systemd-sysv',
  'udev',
  'dbus',
  'linux-image-cloud-amd64',
  'initramfs-tools',
  'cloud-init',
  'openssh-server',
  'iproute2',
  'ifupdown',
  'isc-dhcp-client',
  'netbase',
  'qemu-guest-agent',
];
/** Programs that go into the guests, as a deployment would bring them. */
const INSIDE = ['sops', 'ssh-to-age'];
/** What set-up installs for guests, and what every Debian has. */
const NEEDED = [...guestPrograms, { name: 'mke2fs', debianPackage: 'e2fsprogs' }];
const BUILD_SCRIPT = join(__dirname, 'build-images.sh');
const CACHE = join(projectRoot, '.tools', 'guests');

/** Why this machine can't boot guests, and what to do about it; undefined where it can. */
export function whyNoGuests(path = searchPath()): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return `guests are x86-64 machines on Linux, and this is ${process.arch} on ${process.platform}`;
  }
  const missing = NEEDED.filter(({ name }) => !find(name, path));
  if (missing.length === 0) return undefined;
  const names = missing.map(({ name }) => name).join(', ');
  return `${names} not found; on Debian: apt-get install --no-install-recommends ${missing.map(({ debianPackage }) => debianPackage).join(' ')}`;
}

/** The images, from the cache or built from Debian's packages. */
export async function ensureImages(python: string, say: (line: string) => void): Promise<GuestImages> {
  const { PATH = '' } = toolEnvironment();
  const programs = INSIDE.map((name) => {
    const file = find(name, PATH);
    if (!file) throw new Error(`${name} not found; run: npm run setup`);
    return file;
  });
  const dir = join(CACHE, keyOf(programs));
  if (!existsSync(dir)) await build(python, dir, programs, say);
  const disks = Object.fromEntries(VARIANTS.map((name) => [name, join(dir, `${name}.raw`)]));
  return {
    dir,
    kernel: join(dir, 'vmlinuz'),
    initrd: join(dir, 'initrd'),
    disks: disks as Record<Variant, string>,
  };
}

/** What the images are made of: other contents, other images. */
function keyOf(programs: readonly string[]): string {
  const hash = createHash('sha256')
    .update([SUITE, ...PACKAGES].join(' '))
    .update(readFileSync(BUILD_SCRIPT));
  for (const program of programs) hash.update(readFileSync(program));
  return hash.digest('hex').slice(0, 16);
}

/** Built beside its place and moved there when complete: neither a kill nor a second builder leaves half of it. */
async function build(
  python: string,
  dir: string,
  programs: readonly string[],
  say: (line: string) => void,
): Promise<void> {
  const begun = Date.now();
  say("Building the guests' template images from Debian's packages (once, about two minutes)");
  removeAbandoned();
  const draft = `${dir}.${process.pid}.${randomUUID()}`;
  const [out, tmp, tree] = [join(draft, 'out'), join(draft, 'tmp'), join(draft, 'tree')];
  for (const folder of [out, tmp, tree]) mkdirSync(folder, { recursive: true });
  try {
    const excluded = ['man', 'doc', 'locale', 'info'].map(
      (name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`,
    );
    await run(
      python,
      [
        ...[
          'mmdebstrap',
          '--quiet',
          '--variant=minbase',
          '--aptopt=Acquire::Retries "3"',
          ...excluded,
          `--include=${PACKAGES.join(',')}`,
        ],
        // The drivers of QEMU's virtio devices are all that the initrd needs.
        '--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d" && printf \'MODULES=list\\nCOMPRESS=lz4\\n\' > "$1/etc/initramfs-tools/conf.d/guests" && printf \'virtio_pci\\nvirtio_blk\\next4\\n\' > "$1/etc/initramfs-tools/modules"',
        ...[SUITE, join(draft, 'tree.tar'), ...aptSources()],
      ],
      tmp,
    );
    // A tree of its own: while mmdebstrap's hooks run, /proc and /sys are mounted in it.
    await run(python, ['tar', '--extract', '--file', join(draft, 'tree.tar'), '--directory', tree], tmp);
    say('Writing their disks');
    await run(python, ['sh', BUILD_SCRIPT, tree, out, ...programs], tmp);
    try {
      renameSync(out, dir);
    } catch (error) {
      if (!existsSync(dir)) throw error;
    }
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  say(`The images are ready after ${Math.round((Date.now() - begun) / 1000)} s`);
}

/** On a Debian its own package sources: they may be a mirror that is nearer. */
function aptSources(): string[] {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  if (!/^ID=debian$/m.test(release) || !release.includes(`VERSION_CODENAME=${SUITE}`)) return [];
  const files = ['/etc/apt/sources.list.d/debian.sources', '/etc/apt/sources.list'];
  return files.filter((file) => existsSync(file)).slice(0, 1);
}

/** Removes what builders left that were killed. */
function removeAbandoned(): void {
  for (const name of existsSync(CACHE) ? readdirSync(CACHE) : []) {
    const builder = name.split('.')[1];
    if (builder && !existsSync(`/proc/${builder}`))
      rmSync(join(CACHE, name), { recursive: true, force: true });
  }
}

function run(python: string, command: readonly string[], tmp: string): Promise<void> {
  // Only as root do files keep their owners outside of a user namespace; and only there does mmdebstrap mount
  // anything that would outlive it.
  const wrapped =
    process.getuid?.() === 0
      ? ['unshare', '--mount', '--propagation', 'private', ...command]
      : command[0] === 'mmdebstrap'
        ? ['mmdebstrap', '--mode=unshare', ...command.slice(1)]
        : ['mmdebstrap', '--unshare-helper', ...command];
  const complaint = `${command[0]} failed while the guests' images were built`;
  return runTethered(python, wrapped, complaint, { ...process.env, TMPDIR: tmp, PATH: searchPath() });
}

/** Debian keeps mke2fs where only root looks. */
const searchPath = (): string => [process.env.PATH ?? '', '/usr/sbin', '/sbin'].join(delimiter);

function find(program: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .map((folder) => join(folder, program))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return statSync(file).isFile();
      } catch {
        return false;
      }
    });
}
