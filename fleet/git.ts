import { execFileSync } from 'node:child_process';

/**
 * What git says of a repository, asked so that it writes nothing (not even its index).
 *
 * @returns undefined where there is no git, or no repository of its.
 */
export function git(folder: string, ...args: readonly string[]): string | undefined {
  try {
    return execFileSync('git', ['--no-optional-locks', ...args], {
      cwd: folder,
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  } catch {
    return undefined;
  }
}
