import { mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { Fleet, Host } from '../fleet/fleet';
import { type ResourceChange, readPlan } from './plan';
import { type Ended, lastWords, ProgramError, runTerraform } from './program';
import { synthesize } from './synth';

/**
 * A plan of one host's stack, in the folder that `cdktf deploy` works in, which is looked at before it is applied.
 *
 * The plan file holds the private key. It lies where only its owner enters, and goes with `discard`.
 */
export class Deployment {
  private constructor(
    private readonly folder: string,
    private readonly file: string,
    /** What applying it would do; resources that stay as they are left out. */
    readonly changes: readonly ResourceChange[],
  ) {}

  /**
   * Synthesizes the stacks, and plans this host's.
   *
   * @throws ProgramError with Terraform's own words where that fails.
   */
  static async plan(fleet: Fleet, host: Host): Promise<Deployment> {
    const repository = process.cwd();
    const outdir = path.join(repository, 'cdktf.out');
    mkdirSync(outdir, { recursive: true, mode: 0o700 });
    await synthesize(repository, path.resolve(fleet.file), outdir);
    const folder = path.join(outdir, 'stacks', host.name);
    const file = path.join(folder, `hostkey-${process.pid}.tfplan`);
    const run = async (what: string, args: readonly string[]): Promise<Ended> => {
      const ended = await runTerraform([what, ...args], { cwd: folder });
      if (ended.status === 0) return ended;
      throw new ProgramError(`terraform ${what} of ${host.name}: ${lastWords(ended)}`, '');
    };
    try {
      await run('init', ['-input=false', '-no-color']);
      await run('plan', ['-input=false', '-no-color', '-lock-timeout=60s', `-out=${file}`]);
      const shown = await run('show', ['-json', file]);
      return new Deployment(folder, file, readPlan(shown.stdout).changes);
    } catch (error) {
      rmSync(file, { force: true });
      throw error;
    }
  }

  /** @throws ProgramError with Terraform's own words; what was done until then is in the state. */
  async apply(): Promise<void> {
    const args = ['apply', '-input=false', '-no-color', '-lock-timeout=60s', this.file];
    const ended = await runTerraform(args, { cwd: this.folder });
    if (ended.status !== 0) throw new ProgramError(`terraform apply: ${lastWords(ended)}`, '');
  }

  discard(): void {
    rmSync(this.file, { force: true });
  }
}
