// @ts-check
// Runs other programs, keeps what they print, and stops them all when set-up itself is told to stop.
import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { places } from './paths.mjs';
import { Interrupted, SetupError } from './report.mjs';

/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set();
let stopping = false;

/**
 * @typedef {object} Outcome
 * @property {number | null} code
 * @property {string} output stdout and stderr together, as they came.
 */

/**
 * @param {string} command
 * @param {string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, input?: string, log?: string }} [options] `log` names a file
 * that gets the output as it comes, so that it's there even if this process dies.
 * @returns {Promise<Outcome>}
 */
export function run(command, args, { cwd, env, input, log } = {}) {
  if (stopping) return Promise.reject(new Interrupted());
  return new Promise((resolve, reject) => {
    // A group of its own: a signal from the terminal reaches only us, and we can stop a whole family at once.
    const child = spawn(command, args, { cwd, env: env ?? process.env, detached: true });
    running.add(child);
    const file = log === undefined ? undefined : createWriteStream(log, { flags: 'a' });
    let output = '';
    const take = (/** @type {Buffer} */ chunk) => {
      output += chunk;
      file?.write(chunk);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.stdin.on('error', () => {}); // A program may well not read what it is given.
    child.stdin.end(input ?? '');
    child.on('error', (error) => {
      running.delete(child);
      file?.end();
      reject(new SetupError(`cannot run ${command}: ${error.message}`));
    });
    child.on('close', (code) => {
      running.delete(child);
      file?.end();
      if (stopping) reject(new Interrupted());
      else resolve({ code, output });
    });
  });
}

/**
 * Runs a long task into a log of its own, twice where the network failed it the first time. The log stays
 * only where the task failed.
 * @param {string} what How to name the task in a message: 'building sops'.
 * @param {string} name The log's name.
 * @param {string} command
 * @param {string[]} args
 * @param {{ cwd: string, env: NodeJS.ProcessEnv, advice?: string }} options
 */
export async function runTask(what, name, command, args, { cwd, env, advice }) {
  const log = join(places.log, `${name}.log`);
  mkdirSync(places.log, { recursive: true });
  rmSync(log, { force: true });
  let outcome = await run(command, args, { cwd, env, log });
  if (outcome.code !== 0 && looksLikeNetwork(outcome.output)) {
    await new Promise((resolve) => setTimeout(resolve, 2000));
    outcome = await run(command, args, { cwd, env, log });
  }
  if (outcome.code === 0) {
    rmSync(log, { force: true });
    return;
  }
  const tellingLines = tellingPart(outcome.output).join('\n  ');
  const network = looksLikeNetwork(outcome.output)
    ? '\nThe network failed, twice. Run set-up again when it is back: it goes on where it stopped.'
    : '';
  throw new SetupError(
    `${what} failed.\n  ${tellingLines}\nThe whole log: ${log}${network}${advice ? `\n${advice}` : ''}`,
  );
}

/**
 * The lines that most likely say why a task failed, few enough to be read.
 * @param {string} output
 */
function tellingPart(output) {
  const [beforeUsage = ''] = output.split(/^npm error Clean install a project$/m);
  const lines = beforeUsage
    .split('\n')
    .filter((line) => line.trim() && !/^(go: downloading|npm error$)/.test(line));
  return lines.length <= 14 ? lines : [...lines.slice(0, 4), '…', ...lines.slice(-9)];
}

/**
 * Whether output speaks of a network that may be back in a moment, in the words of npm, apt and Go.
 * @param {string} output
 */
function looksLikeNetwork(output) {
  return /EAI_AGAIN|ENOTFOUND|ECONNRESET|ECONNREFUSED|ETIMEDOUT|ERR_SOCKET_TIMEOUT|network request|no such host|connection re(set|fused)|i\/o timeout|TLS handshake|unexpected EOF|server misbehaving|Temporary failure|Could not resolve|50[234] /i.test(
    output,
  );
}

/** Stops every child and waits until the last has gone, so nothing is left that still writes. */
export async function stopChildren() {
  stopping = true;
  signalAll('SIGTERM');
  const deadline = performance.now() + 3000;
  while (running.size > 0 && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  signalAll('SIGKILL');
}

/** @param {NodeJS.Signals} signal */
function signalAll(signal) {
  for (const { pid } of running) {
    try {
      if (pid !== undefined) process.kill(-pid, signal);
    } catch {
      // Gone already.
    }
  }
}
