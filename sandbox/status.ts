import { readFileSync } from 'node:fs';
import { sync as writeFileAtomic } from 'write-file-atomic';
import type { GuestSetup } from './guests/setup';
import type { Layout } from './layout';
import { isAlive, type ProcessIdentity } from './processes';

/** `status.json`: everything that one has to know of a sandbox to use it, watch it and end it. */
export interface SandboxRecord {
  /** Random; marks the sandbox's processes (see processes.ts). */
  readonly id: string;
  readonly state: 'starting' | 'up' | 'failed';
  /** Why it failed, with the last lines of the log that says so. */
  readonly failure?: string;
  readonly supervisor?: ProcessIdentity;
  readonly address: string;
  readonly apiPort: number;
  readonly sshPort: number;
  /** As fleet.yaml has it under `proxmox.endpoint`. */
  readonly endpoint: string;
  readonly node: string;
  /** How its VMs boot real guests; undefined where they only count as running. */
  readonly guests?: GuestSetup;
  /** The account at the node: the one that runs the sandbox. */
  readonly sshUser: string;
  /** Whose `.ssh/known_hosts` has the node's key. */
  readonly home: string;
  /** `terraform@pve!hostkey=SECRET` */
  readonly token: string;
  /** The node's root@pam, for tests that change things behind Terraform's back. */
  readonly rootPassword: string;
}

export function readRecord(paths: Layout): SandboxRecord | undefined {
  try {
    return JSON.parse(readFileSync(paths.status, 'utf8')) as SandboxRecord;
  } catch {
    return undefined;
  }
}

export function writeRecord(paths: Layout, record: SandboxRecord): void {
  writeFileAtomic(paths.status, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 });
}

/** A sandbox is up while its supervisor lives: whichever part ends, the supervisor ends with it. */
export const isUp = (record: SandboxRecord | undefined): record is SandboxRecord =>
  record?.state === 'up' && isAlive(record.supervisor);
