import { chmodSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { App } from 'cdktf';
import { OUTDIR_CONTEXT } from '../constructs/outdir';
import type { Fleet } from '../fleet/fleet';
import { copyLockFile } from '../fleet/lock-file';
import { HostStack } from './host-stack';

/** A CDKTF app with one stack for every host of a fleet, named after the host. */
export class FleetApp extends App {
  private readonly hosts: readonly string[];

  constructor(private readonly fleet: Fleet) {
    super();
    this.hosts = withoutStackTraces(() =>
      fleet.hosts.map((host) => new HostStack(this, { fleet, host }).node.id),
    );
  }

  /**
   * Writes the stacks, and prepares the folders that Terraform works in.
   *
   * `cdktf diff` leaves its plan beside the stack, and Terraform the state under `state/`, both with the umask's mode
   * and both with the private key inside: only a folder that nobody else can enter keeps them.
   */
  override synth(): void {
    makePrivate(this.outdir);
    withoutStackTraces(() => super.synth());
    const { root, state } = this.fleet;
    // Synthesized for a look (hostkey drift), it leaves the repository as it is.
    const onlyLooking = this.node.tryGetContext(OUTDIR_CONTEXT) !== undefined;
    if (state.kind === 'local' && !onlyLooking) makePrivate(path.join(root, state.path));
    for (const host of this.hosts) copyLockFile(root, path.join(this.outdir, 'stacks', host));
  }
}

/** cdktf notes with every attribute where it was made, which takes a third of the time and which nobody reads here. */
function withoutStackTraces<Result>(action: () => Result): Result {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return action();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

function makePrivate(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  chmodSync(folder, 0o700);
}
