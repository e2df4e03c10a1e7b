import { mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { TemporaryFolder } from './temporary-folder';

/**
 * A folder outside the repository in which Terraform plans the repository's stacks, so that nothing in the repository
 * is written: no plan, no `.terraform`, no lock.
 *
 * The stacks name files relative to the folder they lie in (`../../../secrets/…`), and Terraform would take a change
 * of those names for a change of the files. So this folder repeats the repository's place, with links to what lies
 * there: `<temporary>/<absolute path of the repository>/cdktf.out/stacks/<stack>`.
 */
export class Workshop {
  /** Where stacks are synthesized to: stands for the repository's own `cdktf.out`. */
  readonly outdir: string;
  private readonly base = new TemporaryFolder('hostkey-plan-');

  /**
   * @param repository The folder with cdktf.json, which cdktf is run in.
   * @param others Further folders that stacks may name, such as the fleet's where that is another one.
   */
  constructor(
    readonly repository: string,
    others: readonly string[] = [],
  ) {
    const mirrored = this.mirror(repository);
    mkdirSync(mirrored, { recursive: true });
    for (const entry of readdirSync(repository)) {
      if (entry !== 'cdktf.out') symlinkSync(path.join(repository, entry), path.join(mirrored, entry));
    }
    for (const other of others.filter((folder) => isOutside(folder, repository))) {
      mkdirSync(path.dirname(this.mirror(other)), { recursive: true });
      symlinkSync(other, this.mirror(other));
    }
    this.outdir = path.join(mirrored, 'cdktf.out');
    mkdirSync(path.join(this.outdir, 'stacks'), { recursive: true });
  }

  /** For what programs write in passing, such as the provider's lock; it goes with the rest. */
  get temporary(): string {
    return this.base.path;
  }

  /** A new folder beside the stacks, as deep as theirs, for Terraform to work in. */
  folder(name: string): string {
    const folder = path.join(this.outdir, 'stacks', name);
    mkdirSync(folder);
    return folder;
  }

  remove(): void {
    this.base.remove();
  }

  private mirror(folder: string): string {
    return path.join(this.base.path, folder);
  }
}

const isOutside = (folder: string, of: string): boolean => {
  const relative = path.relative(of, folder);
  return relative.startsWith('..') || path.isAbsolute(relative);
};
