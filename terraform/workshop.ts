import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

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
  private readonly base: string;

  /**
   * @param repository The folder with cdktf.json, which cdktf is run in.
   * @param others Further folders that stacks may name, such as the fleet's where that is another one.
   */
  constructor(
    readonly repository: string,
    others: readonly string[] = [],
  ) {
    // Only its owner enters it (mkdtemp makes it 0700).
    this.base = mkdtempSync(path.join(tmpdir(), 'hostkey-plan-'));
    atExit(this.base);
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
    return this.base;
  }

  /** A new folder beside the stacks, as deep as theirs, for Terraform to work in. */
  folder(name: string): string {
    const folder = path.join(this.outdir, 'stacks', name);
    mkdirSync(folder);
    return folder;
  }

  remove(): void {
    rmSync(this.base, { recursive: true, force: true });
    folders.delete(this.base);
  }

  private mirror(folder: string): string {
    return path.join(this.base, folder);
  }
}

const isOutside = (folder: string, of: string): boolean => {
  const relative = path.relative(of, folder);
  return relative.startsWith('..') || path.isAbsolute(relative);
};

const folders = new Set<string>();
let watching = false;
const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** An interrupted run leaves nothing behind either. */
function atExit(folder: string): void {
  if (!watching) {
    watching = true;
    process.once('exit', () => {
      for (const each of folders) rmSync(each, { recursive: true, force: true });
    });
    for (const [signal, code] of Object.entries(SIGNALS)) process.once(signal, () => process.exit(code));
  }
  folders.add(folder);
}
