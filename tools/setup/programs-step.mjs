// @ts-check
// terraform or tofu, sops, age, ssh-to-age: those of the machine where they are recent enough, else our own.
import { devNull } from 'node:os';
import { join } from 'node:path';
import { helpers, program } from './catalog.mjs';
import { run } from './children.mjs';
import { findProgram, mark } from './files.mjs';
import { places } from './paths.mjs';
import { compareVersions, findVersion } from './versions.mjs';

/**
 * @typedef {object} Found
 * @property {string} name
 * @property {string} path
 * @property {string} version Empty where the program can't say.
 * @property {'PATH' | 'source'} from
 */

/** @typedef {{ found: Found[], toBuild: import('./go-build.mjs').Artifact[], binaryName: 'terraform' | 'tofu' }} Plan */

/**
 * Looks at the machine, and says what is to be built.
 * @param {{ opentofu: boolean, review: boolean }} options
 * @returns {Promise<Plan>}
 */
export async function planPrograms({ opentofu, review }) {
  // Once built, it is kept up to date: somebody asked for it.
  const wantsReview = review || mark(join(places.bin, 'actionlint')) !== undefined;
  const wantedHelpers = [...helpers, ...(wantsReview ? [program('actionlint')] : [])];
  const [terraform, tofu, ...others] = await Promise.all([
    onPath(program('terraform')),
    onPath(program('tofu')),
    ...wantedHelpers.map(onPath),
  ]);
  const binaryName = terraform === undefined ? 'tofu' : 'terraform';
  // Once built, OpenTofu is kept up to date: somebody asked for it.
  const wantsTofu = opentofu || terraform === undefined || mark(join(places.bin, 'tofu')) !== undefined;
  const found = [terraform, tofu, ...others].filter((one) => one !== undefined);
  const wanted = [...(wantsTofu ? [program('tofu')] : []), ...wantedHelpers];
  const toBuild = wanted.filter(({ name }) => !found.some((one) => one.name === name)).map(artifactOf);
  return { found, toBuild, binaryName };
}

/**
 * @param {import('./catalog.mjs').Program} wanted
 * @returns {import('./go-build.mjs').Artifact}
 */
function artifactOf({ name, module, goPackage, ldflags }) {
  return { name, module, goPackage, ldflags, output: join(places.bin, name) };
}

/**
 * The program on PATH, where there is one that is recent enough.
 * @param {import('./catalog.mjs').Program} wanted
 * @returns {Promise<Found | undefined>}
 */
async function onPath(wanted) {
  const path = findProgram(wanted.name);
  if (path === undefined) return undefined;
  const version = await versionOf(wanted, path);
  if (version === undefined || compareVersions(version || '0', wanted.minimum) < 0) return undefined;
  return { name: wanted.name, path, version, from: 'PATH' };
}

/**
 * What a program says its version is, or undefined where it doesn't work. Run apart from the user's settings,
 * which may be what set-up is there to repair.
 * @param {import('./catalog.mjs').Program} wanted
 * @param {string} path
 * @returns {Promise<string | undefined>}
 */
export async function versionOf(wanted, path) {
  const env = { ...process.env, TF_CLI_CONFIG_FILE: devNull, CHECKPOINT_DISABLE: '1', TF_CLI_ARGS: '' };
  const input = wanted.sample?.input ?? '';
  const outcome = await run(path, wanted.check, { env, input, cwd: places.bin }).catch(() => undefined);
  if (outcome?.code !== 0) return undefined;
  if (wanted.sample) return outcome.output.trim() === wanted.sample.output ? '' : undefined;
  return findVersion(outcome.output);
}
