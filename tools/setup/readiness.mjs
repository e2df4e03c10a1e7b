// @ts-check
// Knowing in a few milliseconds that there is nothing to do.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { helpers, systemPrograms } from './catalog.mjs';
import { findProgram, mark, readIfThere, readJson, sha256, writeWhole } from './files.mjs';
import { npmIsReady } from './npm-step.mjs';
import { places, root } from './paths.mjs';

/**
 * @typedef {object} Summary What a set-up made, as --json tells it.
 * @property {import('./programs-step.mjs').Found[]} programs
 * @property {{ from: 'registry' | 'source', names: string[] }} providers
 * @property {string | null} lockFile
 * @property {string} env What a shell sources.
 */

/**
 * @param {{ opentofu: boolean, guests: boolean, review: boolean }} options
 * @returns {Summary | undefined} undefined where set-up has something to do
 */
export function readyAlready({ opentofu, guests, review }) {
  const ready = readJson(places.ready);
  if (ready === undefined || ready.inputs !== inputs() || !npmIsReady()) return undefined;
  /** @type {[string, string | null][]} */
  const files = Object.entries(ready.files);
  if (!files.every(([path, wanted]) => (mark(path) ?? null) === wanted)) return undefined;
  /** @type {Summary} */
  const summary = ready.summary;
  if (opentofu && !summary.programs.some(({ name }) => name === 'tofu')) return undefined;
  if (guests && !(ready.guests || (systemPrograms.guests ?? []).every(({ name }) => findProgram(name))))
    return undefined;
  if (review && !(ready.review && summary.programs.some(({ name }) => name === 'actionlint')))
    return undefined;
  return summary;
}

/**
 * @param {Summary} summary
 * @param {string[]} outputs Everything whose loss or change makes set-up necessary again.
 * @param {{ guests: boolean, review: boolean }} asked Whether what these take was looked for, found or not.
 */
export function noteReady(summary, outputs, { guests, review }) {
  const files = Object.fromEntries(outputs.map((path) => [path, mark(path) ?? null]));
  writeWhole(
    places.ready,
    `${JSON.stringify({ inputs: inputs(), files, guests, review, summary }, undefined, 2)}\n`,
  );
}

/**
 * Everything that decides what set-up does: its own code and pins, where the checkout lies, what was wished
 * for, and which programs the machine has, by place and mark instead of by running them.
 */
function inputs() {
  const names = [...Object.values(systemPrograms).flat(), ...helpers].map(({ name }) => name);
  const programs = [...names, 'terraform', 'tofu', 'go'].map((name) => {
    const path = findProgram(name);
    return [name, path, path === undefined ? undefined : mark(path)];
  });
  const files = ['tools/setup.mjs', ...under('tools/setup'), ...under('tools/go'), ...under('tools/locks')];
  const contents = [...files, '.terraform.lock.hcl'].map((file) => [file, readIfThere(join(root, file))]);
  const machine = [root, process.platform, process.arch, process.env.HOSTKEY_PROVIDERS];
  return sha256(JSON.stringify([contents, programs, machine]));
}

/**
 * @param {string} folder
 * @returns {string[]}
 */
function under(folder) {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort();
}
