import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { git } from '../fleet/git';
import { ProgramError } from '../terraform/program';
import { synthesize } from '../terraform/synth';
import { TemporaryFolder } from '../terraform/temporary-folder';

/** How the stacks of the work tree differ from those of a revision; names of hosts, sorted. */
export interface ChangedHosts {
  readonly added: readonly string[];
  readonly changed: readonly string[];
  /** They still have a VM and a state: to be destroyed before they are taken out of fleet.yaml. */
  readonly removed: readonly string[];
}

/**
 * The hosts whose stack a change touches, told by what is synthesized and not by what the text of a file suggests: a
 * new default touches many hosts, and a comment none. The repository isn't written to.
 *
 * @param fleet The fleet's file, relative to the repository.
 * @throws ProgramError where there is no such revision, or one of the two can't be synthesized.
 */
export async function changedHosts(repository: string, fleet: string, since: string): Promise<ChangedHosts> {
  const temporary = new TemporaryFolder('hostkey-changed-');
  const { path: base } = temporary;
  try {
    const before = path.join(base, 'before');
    checkOut(repository, since, before);
    const [old, now] = await Promise.all([
      existsSync(path.join(before, fleet))
        ? stacksOf(before, fleet, path.join(base, 'old'))
        : new Map<string, string>(),
      stacksOf(repository, fleet, path.join(base, 'new')),
    ]);
    return {
      added: [...now.keys()].filter((host) => !old.has(host)).sort(),
      changed: [...now]
        .filter(([host, text]) => old.has(host) && old.get(host) !== text)
        .map(([host]) => host)
        .sort(),
      removed: [...old.keys()].filter((host) => !now.has(host)).sort(),
    };
  } finally {
    temporary.remove();
  }
}

/** A revision's files in a folder of their own, with the packages that are installed now. */
function checkOut(repository: string, revision: string, folder: string): void {
  const commit = git(
    repository,
    'rev-parse',
    '--verify',
    '--quiet',
    '--end-of-options',
    `${revision}^{commit}`,
  )?.trim();
  if (commit === undefined) {
    throw new ProgramError(
      `there is no commit ${revision} here`,
      `git fetch origin ${revision} (in CI: check out the whole history, fetch-depth: 0)`,
    );
  }
  const prefix = git(repository, 'rev-parse', '--show-prefix')?.trim() ?? '';
  const archive = path.join(path.dirname(folder), 'before.tar');
  execFileSync(
    'git',
    ['archive', '--format=tar', `--output=${archive}`, `--prefix=before/`, `${commit}:${prefix}`],
    { cwd: repository },
  );
  execFileSync('tar', ['-xf', archive, '-C', path.dirname(folder)]);
  for (const name of ['node_modules', '.tools']) {
    const installed = path.join(repository, name);
    if (existsSync(installed) && !existsSync(path.join(folder, name)))
      symlinkSync(installed, path.join(folder, name));
  }
}

async function stacksOf(repository: string, fleet: string, outdir: string): Promise<Map<string, string>> {
  await synthesize(repository, fleet, outdir);
  const stacks = path.join(outdir, 'stacks');
  return new Map(
    readdirSync(stacks).map((name) => [name, readFileSync(path.join(stacks, name, 'cdk.tf.json'), 'utf8')]),
  );
}
