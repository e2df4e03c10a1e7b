#!/usr/bin/env node
// @ts-check
// Makes a fresh machine ready: `npm run setup`. Runs straight after `git clone`, so it uses nothing but Node.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { program, providers, registries, systemPrograms } from './setup/catalog.mjs';
import { lockCheckout } from './setup/checkout-lock.mjs';
import { stopChildren } from './setup/children.mjs';
import { allows, lockFile, providerHash } from './setup/dependency-lock.mjs';
import { writeEnvironment } from './setup/environment.mjs';
import { readIfThere, writeWhole } from './setup/files.mjs';
import { buildAll, builtRecord, pinnedToolchain, thisPlatform } from './setup/go-build.mjs';
import { installNpmPackages, npmIsReady } from './setup/npm-step.mjs';
import { committedLockFile, environmentFiles, localLockFile, places } from './setup/paths.mjs';
import { planPrograms, versionOf } from './setup/programs-step.mjs';
import { chooseProviderSource, providerArtifact, terraformrc } from './setup/providers-step.mjs';
import { noteReady, readyAlready } from './setup/readiness.mjs';
import { createReport, Interrupted, SetupError, secondsSince } from './setup/report.mjs';
import { offerSystemPrograms, provideSystemPrograms } from './setup/system-step.mjs';

const usage = `usage: npm run setup [-- OPTIONS]   or, before anything else: node tools/setup.mjs [OPTIONS]

Makes this checkout ready to work in: npm packages, programs (terraform or tofu, sops, age, ssh-to-age)
and Terraform providers. Uses what the machine has, builds the rest into .tools/. Quick when all is there.

  --npm-only   npm packages, and nothing else
  --opentofu   OpenTofu too, beside Terraform
  --guests     what it takes to boot real guests in the sandbox (QEMU, mmdebstrap), where it may be installed
  --review     what the tests of the drift page and the CI recipes look with (chromium, shellcheck, actionlint)
  --force      make everything anew
  --quiet      say only what is really done
  --json       tell a machine: one JSON object on stdout, all else on stderr
  --help       this text

Variables:
  HOSTKEY_PROVIDERS=registry|source   where Terraform's providers come from, instead of finding out

Afterwards \`. .tools/env\` gives a shell the same programs and settings.
`;

/** @typedef {ReturnType<typeof readOptions>} Options */
/** @typedef {import('./setup/readiness.mjs').Summary} Summary */
/** @typedef {import('./setup/programs-step.mjs').Found} Found */
/** @typedef {import('./setup/paths.mjs').Binary} Binary */

/** @param {string[]} args */
function readOptions(args) {
  const flag = /** @type {const} */ ({ type: 'boolean', default: false });
  try {
    return parseArgs({
      args,
      options: {
        help: flag,
        json: flag,
        quiet: flag,
        'npm-only': flag,
        opentofu: flag,
        guests: flag,
        review: flag,
        force: flag,
      },
    }).values;
  } catch (error) {
    throw new SetupError(`${/** @type {Error} */ (error).message}\n\n${usage}`);
  }
}

/** @type {(() => void) | undefined} */
let unlock;

/** @param {Options} options */
async function main(options) {
  const startedAt = performance.now();
  const report = createReport(options);
  const quick = options.force ? undefined : readyNow(options);
  const summary = quick ?? (await underLock(options, report));
  if (options.json) {
    const text = JSON.stringify(
      { ready: true, seconds: Number(secondsSince(startedAt)), ...summary },
      undefined,
      2,
    );
    process.stdout.write(`${text}\n`);
  } else if (!options.quiet) {
    report.found('ready', `(${secondsSince(startedAt)} s)`);
  }
}

/**
 * @param {Options} options
 * @returns {Partial<Summary> | undefined}
 */
function readyNow(options) {
  if (options['npm-only']) return npmIsReady() ? {} : undefined;
  return readyAlready(options);
}

/**
 * @param {Options} options
 * @param {import('./setup/report.mjs').Report} report
 */
async function underLock(options, report) {
  unlock = await lockCheckout(({ pid }) => report.did('wait', `for another set-up here (process ${pid})`));
  // The other one may have done it all.
  const quick = options.force ? undefined : readyNow(options);
  if (quick !== undefined) return quick;
  if (options['npm-only']) {
    await installNpmPackages(report, options);
    return {};
  }
  rmSync(places.ready, { force: true });
  rmSync(places.temporary, { recursive: true, force: true });
  for (const folder of [places.temporary, places.bin]) mkdirSync(folder, { recursive: true });
  return await setUp(options, report);
}

/**
 * @param {Options} options
 * @param {import('./setup/report.mjs').Report} report
 * @returns {Promise<Summary>}
 */
async function setUp(options, report) {
  // What only a person can repair comes first, before minutes of building.
  await provideSystemPrograms(systemPrograms.base ?? [], report);
  if (options.guests) await offerSystemPrograms(systemPrograms.guests ?? [], 'guests', report);
  if (options.review) await offerSystemPrograms(systemPrograms.review ?? [], 'review', report);
  const plan = await planPrograms(options);
  const from = await chooseProviderSource(plan.binaryName);
  const artifacts = [...plan.toBuild, ...(from === 'source' ? providers.map(providerArtifact) : [])];
  // One waits for the network, the other for the processor.
  await Promise.all([installNpmPackages(report, options), buildAll(artifacts, report, options)]);
  const programs = [...plan.found, ...(await builtPrograms(plan.toBuild))];
  for (const { name, version, path } of programs) report.found(name, `${version} ${path}`.trim());
  removeSuperseded(plan.found);
  if (from === 'source') writeWhole(places.terraformrc, terraformrc());
  report.found('providers', `from ${from === 'source' ? places.mirror : registries[plan.binaryName]}`);
  const usual = settle(plan.binaryName, environmentFiles.usual, from, report);
  const hasTofu = programs.some(({ name }) => name === 'tofu');
  const opentofu = hasTofu ? settle('tofu', environmentFiles.opentofu, from, report) : { outputs: [] };
  const names = providers.map(({ source, version }) => (from === 'source' ? `${source} ${version}` : source));
  const { lock = null } = usual;
  const summary = { programs, providers: { from, names }, lockFile: lock, env: environmentFiles.usual.shell };
  noteReady(
    summary,
    [
      ...artifacts.flatMap(({ output, links = [] }) => [output, ...links]),
      ...programs.map(({ path }) => path),
      ...(from === 'source' ? [places.terraformrc] : []),
      ...usual.outputs,
      ...opentofu.outputs,
    ],
    options,
  );
  return summary;
}

/**
 * Writes down what it takes to work with one of the two.
 * @param {Binary} binary
 * @param {{ shell: string, json: string }} files
 * @param {'registry' | 'source'} from
 * @param {import('./setup/report.mjs').Report} report
 */
function settle(binary, files, from, report) {
  const lock = from === 'source' ? sourceLockFile(binary, report) : registryLockFile(binary);
  writeEnvironment(files, {
    CHECKPOINT_DISABLE: '1',
    TERRAFORM_BINARY_NAME: binary,
    ...(from === 'source' ? { TF_CLI_CONFIG_FILE: places.terraformrc } : {}),
    ...(lock === undefined ? {} : { HOSTKEY_LOCK_FILE: lock }),
  });
  return { lock, outputs: [files.shell, files.json, ...(lock === undefined ? [] : [lock])] };
}

/**
 * Every program that was built is run once, so that "ready" means it works.
 * @param {import('./setup/go-build.mjs').Artifact[]} artifacts
 * @returns {Promise<Found[]>}
 */
async function builtPrograms(artifacts) {
  return await Promise.all(
    artifacts.map(async ({ name, output }) => {
      const version = await versionOf(program(/** @type {'sops'} */ (name)), output);
      if (version === undefined) throw new SetupError(`${output} was built but does not work; try --force.`);
      return { name, path: output, version, from: /** @type {const} */ ('source') };
    }),
  );
}

/**
 * A program built in an earlier run would hide the machine's own, now recent enough, since .tools/bin comes
 * first on PATH.
 * @param {Found[]} found
 */
function removeSuperseded(found) {
  for (const { name } of found) rmSync(join(places.bin, name), { force: true });
}

/**
 * The project's own lock file, made by `npm run lock -- --registry`, where it speaks of this program's registry.
 * @param {Binary} binary
 */
function registryLockFile(binary) {
  const mine = readIfThere(places.registryLockFile)?.includes(`provider "${registries[binary]}/`);
  return mine ? places.registryLockFile : undefined;
}

/**
 * The committed lock file where what was built is what it names, else one for this checkout alone.
 * @param {Binary} binary
 * @param {import('./setup/report.mjs').Report} report
 */
function sourceLockFile(binary, report) {
  const host = registries[binary];
  const hashes = new Map(
    providers.map((provider) => {
      const sha256 = builtRecord(providerArtifact(provider).name)?.sha256 ?? '';
      return [provider.source, [providerHash(provider, sha256)]];
    }),
  );
  const committed = readIfThere(committedLockFile(binary)) ?? '';
  const strange = [...hashes].filter(
    ([source, [hash = '']]) => !allows(committed, `${host}/${source}`, hash),
  );
  if (strange.length === 0) {
    rmSync(localLockFile(binary), { force: true });
    return committedLockFile(binary);
  }
  const { os, arch } = thisPlatform();
  report.warn(
    `${strange.map(([source]) => source).join(', ')} as built here (${goVersionUsed()}, ${os}_${arch}) differ ` +
      `from what tools/locks names (made by ${pinnedToolchain()}). They are used all the same, with a lock ` +
      `file for this checkout alone: ${localLockFile(binary)}`,
  );
  const comment = 'Written by tools/setup.mjs for the providers that were built on this machine.';
  writeWhole(localLockFile(binary), lockFile(host, hashes, comment));
  return localLockFile(binary);
}

/** The compiler, as the programs that it made remember it. */
function goVersionUsed() {
  return builtRecord('terraform-provider-tls')?.go ?? 'an unknown Go';
}

/**
 * Ends the run: nothing keeps writing, the lock is given back, and what was half made goes.
 * @param {number} code
 */
async function end(code) {
  await stopChildren();
  if (unlock !== undefined) rmSync(places.temporary, { recursive: true, force: true });
  unlock?.();
  process.exit(code);
}

for (const [signal, code] of /** @type {const} */ ([
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
])) {
  process.on(signal, () => void end(code));
}

try {
  const options = readOptions(process.argv.slice(2));
  if (options.help) process.stdout.write(usage);
  else await main(options);
  await end(0);
} catch (error) {
  // After a signal, whatever fails does so because of it, and end() is under way.
  if (!(error instanceof Interrupted)) {
    const message = error instanceof SetupError ? error.message : /** @type {Error} */ (error).stack;
    process.stderr.write(`set-up: ${message}\n`);
    if (process.argv.includes('--json'))
      process.stdout.write(`${JSON.stringify({ ready: false, error: message })}\n`);
    await end(1);
  }
}
