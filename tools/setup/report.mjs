// @ts-check
// What set-up says. One line a step, plain text: the same in a terminal, a pipe and a CI log.

/** A failure whose message is all that a person needs: what failed, and what to type. */
export class SetupError extends Error {}

/** A run that a signal ended. There is nothing to explain. */
export class Interrupted extends Error {}

/**
 * @typedef {object} Report
 * @property {(step: string, text: string, startedAt?: number) => void} did Something was done.
 * @property {(step: string, text: string) => void} found Something was there already.
 * @property {(text: string) => void} warn Something that a person should know.
 */

/**
 * @param {{ quiet: boolean, json: boolean }} options
 * @returns {Report}
 */
export function createReport({ quiet, json }) {
  // With --json, stdout belongs to the machine that reads it.
  const stream = json ? process.stderr : process.stdout;
  const line = (/** @type {string} */ step, /** @type {string} */ text) =>
    stream.write(`${step.padEnd(11)}${text}\n`);
  return {
    did: (step, text, startedAt) =>
      line(step, startedAt === undefined ? text : `${text} (${secondsSince(startedAt)} s)`),
    found: (step, text) => {
      if (!quiet) line(step, text);
    },
    warn: (text) => process.stderr.write(`warning: ${text}\n`),
  };
}

/** @param {number} startedAt from performance.now() */
export function secondsSince(startedAt) {
  return ((performance.now() - startedAt) / 1000).toFixed(1);
}
