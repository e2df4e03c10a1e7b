// @ts-check
// Programs that come from the operating system.
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { run, runTask } from './children.mjs';
import { findProgram, readIfThere } from './files.mjs';
import { root } from './paths.mjs';
import { SetupError } from './report.mjs';

/** @typedef {import('./catalog.mjs').SystemProgram} SystemProgram */

/**
 * @param {SystemProgram[]} wanted
 * @param {import('./report.mjs').Report} report
 */
export async function provideSystemPrograms(wanted, report) {
  const missing = await missingPrograms(wanted);
  if (missing.length === 0) {
    report.found('system', `${wanted.map(({ name }) => name).join(', ')} are here`);
    return;
  }
  if (!mayInstall(missing)) throw new SetupError(whatToType(missing));
  const startedAt = performance.now();
  await install(packagesOf(missing));
  const stillMissing = await missingPrograms(wanted);
  if (stillMissing.length > 0) throw new SetupError(whatToType(stillMissing));
  report.did('system', `installed ${packagesOf(missing).join(', ')}`, startedAt);
}

/**
 * What set-up can do without: where it isn't and may not be installed, whoever needs it says so.
 * @param {SystemProgram[]} wanted
 * @param {string} what
 * @param {import('./report.mjs').Report} report
 */
export async function offerSystemPrograms(wanted, what, report) {
  const missing = await missingPrograms(wanted);
  if (missing.length > 0 && !mayInstall(missing))
    report.found(what, `can't be had yet. ${whatToType(missing)}`);
  else await provideSystemPrograms(wanted, report);
}

/** @param {SystemProgram[]} wanted */
async function missingPrograms(wanted) {
  const works = await Promise.all(wanted.map(isThere));
  return wanted.filter((_, i) => !works[i]);
}

/** @param {SystemProgram} wanted */
async function isThere({ name, test }) {
  const path = findProgram(name);
  if (path === undefined) return false;
  if (test === undefined) return true;
  return (await run(path, test).catch(() => undefined))?.code === 0;
}

/**
 * Root on Debian, and nothing that would stay running. Where systemd runs, Debian's openssh-server opens port
 * 22 to the world at once and at every boot; that is for the machine's owner to decide.
 * @param {SystemProgram[]} missing
 */
function mayInstall(missing) {
  if (process.getuid?.() !== 0 || findProgram('apt-get') === undefined) return false;
  return !(systemdRuns() && missing.some(({ service }) => service));
}

function systemdRuns() {
  return existsSync('/run/systemd/system');
}

/** @param {SystemProgram[]} programs */
function packagesOf(programs) {
  return [...new Set(programs.map(({ debianPackage }) => debianPackage))].sort();
}

/**
 * One message for all that is missing.
 * @param {SystemProgram[]} missing
 */
function whatToType(missing) {
  const names = missing.map(({ name, wants }) => (wants ? `${name} (${wants})` : name)).join(', ');
  const sudo = process.getuid?.() === 0 ? '' : 'sudo ';
  const quiet =
    systemdRuns() && missing.some(({ service }) => service)
      ? ` && ${sudo}systemctl disable --now ssh   # only the program is needed, not a server on port 22`
      : '';
  return (
    `These programs are missing: ${names}. On Debian or Ubuntu, type\n` +
    `  ${sudo}apt-get install --no-install-recommends ${packagesOf(missing).join(' ')}${quiet}\n` +
    'and elsewhere what brings them there; then run set-up again.'
  );
}

/** @param {string[]} packages */
async function install(packages) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' };
  const apt = '/usr/bin/apt-get';
  // The package lists may be missing altogether, as in a container image, or too old to name today's files.
  // Asking for the addresses fails in the first case and costs nothing in the second.
  const known = await run(apt, ['install', '--print-uris', '-qq', '-y', ...packages], { env });
  const update = () => runTask('apt-get update', 'apt', apt, ['update', '-q'], { cwd: root, env });
  if (known.code !== 0) await update();
  const args = [
    'install',
    '-y',
    '-q',
    '--no-install-recommends',
    '-o',
    'DPkg::Lock::Timeout=120',
    ...packages,
  ];
  const installNow = () =>
    runTask(`apt-get install ${packages.join(' ')}`, 'apt', apt, args, { cwd: root, env });
  const allowServices = forbidServices();
  try {
    await installNow().catch(async (error) => {
      if (known.code !== 0) throw error;
      await update();
      await installNow();
    });
  } finally {
    allowServices();
  }
}

/**
 * Debian's packages start their services when installed, also where an old init or none runs, unless this
 * file says no. One that is there already is somebody else's and stays.
 */
function forbidServices() {
  const policy = '/usr/sbin/policy-rc.d';
  if (readIfThere(policy) !== undefined) return () => {};
  const remove = () => rmSync(policy, { force: true });
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  process.once('exit', remove); // Whatever ends this run.
  return remove;
}
