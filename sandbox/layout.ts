import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

/**
 * Where things lie in a sandbox's folder. Everything a sandbox makes is in there (mode 0700), so that
 * removing the folder removes the sandbox.
 */
export interface Layout {
  readonly dir: string;
  /** Says that the folder is ours: nothing is ever deleted from a folder that lacks it. */
  readonly marker: string;
  readonly lock: string;
  /** For machines: who runs, where it answers, how to log in. */
  readonly status: string;
  /** For shells to source. */
  readonly env: string;
  readonly settings: string;
  readonly control: string;
  readonly tls: string;
  readonly caBundle: string;
  readonly ssh: string;
  readonly clientKey: string;
  /** The path of storage `local`, as the node sees it. */
  readonly storage: string;
  readonly snippets: string;
  readonly logs: string;
  /** The guests' disks, cloud-init drives and serial logs, a folder a VM. */
  readonly guests: string;
}

export function layout(dir: string): Layout {
  const at = (...parts: string[]) => join(resolve(dir), ...parts);
  return {
    dir: resolve(dir),
    marker: at('SANDBOX'),
    lock: at('lock'),
    status: at('status.json'),
    env: at('env'),
    settings: at('pve.json'),
    control: at('control.sock'),
    tls: at('tls'),
    caBundle: at('tls', 'bundle.pem'),
    ssh: at('ssh'),
    clientKey: at('ssh', 'client'),
    storage: at('node', 'var', 'lib', 'vz'),
    snippets: at('node', 'var', 'lib', 'vz', 'snippets'),
    logs: at('logs'),
    guests: at('guests'),
  };
}

/** The programs whose logs a sandbox keeps. */
export const PARTS = ['api', 'sshd', 'supervisor'] as const;
export type Part = (typeof PARTS)[number];

export const logFile = (paths: Layout, part: Part): string => join(paths.logs, `${part}.log`);

/** The checkout that this file belongs to. */
export const projectRoot = dirname(__dirname);

/** The folder that `npm run sandbox` uses where none is named. */
export const defaultDir = join(projectRoot, '.sandbox');

const MARKER =
  'A sandboxed Proxmox VE, made by `npm run sandbox -- up`; `npm run sandbox -- down` removes it.\n';

/** Whether a folder at this path is a sandbox's. */
export const isOurs = (paths: Layout): boolean => existsSync(paths.marker);

/**
 * Makes the folder, or takes over an empty one. Refuses a folder with somebody else's files: `down` would
 * delete them.
 */
export function claimDir(paths: Layout): void {
  // The node's shell gets the storage's path from the provider without quotes.
  if (!/^[\w./@%+=:,-]+$/.test(paths.dir)) {
    throw new Error(
      `${paths.dir}: the path of a sandbox may hold letters, digits and ._-+@%=:, only, since the provider hands it ` +
        "to the node's shell as it is; name another with --dir",
    );
  }
  mkdirSync(paths.dir, { recursive: true, mode: 0o700 });
  if (!isOurs(paths)) {
    if (readdirSync(paths.dir).length > 0) throw new Error(notOurs(paths));
    writeFileSync(paths.marker, MARKER, { mode: 0o600 });
  }
}

export const notOurs = (paths: Layout): string =>
  `${paths.dir} holds files that no sandbox made; name another folder with --dir, or empty this one`;
