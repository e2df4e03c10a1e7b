#!/usr/bin/env node
// @ts-check
// Writes the dependency lock files that are committed: `npm run lock`. Needed when a provider's version in
// tools/setup/catalog.mjs or its module in tools/go changes.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { providers, providerType, registries } from './setup/catalog.mjs';
import { run, stopChildren } from './setup/children.mjs';
import { lockFile, providerHash } from './setup/dependency-lock.mjs';
import { findProgram, readIfThere, writeWhole } from './setup/files.mjs';
import { compile, findGo, sha256OfFile } from './setup/go-build.mjs';
import { committedLockFile, places } from './setup/paths.mjs';
import { providerArtifact } from './setup/providers-step.mjs';
import { createReport, SetupError } from './setup/report.mjs';

const usage = `usage: npm run lock [-- --registry]

Writes the lock files for the providers that set-up builds from source, tools/locks/source.*.lock.hcl, by
building them for every platform that set-up knows of.

  --registry   write .terraform.lock.hcl for the registry's own providers instead; needs the registry
  --help       this text
`;

/** Where people build from source. Others get a lock file of their own from set-up. */
const sourcePlatforms = ['amd64', 'arm64'].map((arch) => ({ os: 'linux', arch }));

const registryPlatforms = ['linux_amd64', 'linux_arm64', 'darwin_amd64', 'darwin_arm64'];

const report = createReport({ quiet: false, json: false });

async function lockSource() {
  const go = await findGo(providers.map((provider) => providerArtifact(provider).name));
  /** @type {Map<string, string[]>} */
  const hashes = new Map();
  const folder = temporaryFolder();
  try {
    for (const provider of providers) {
      const found = [];
      for (const platform of sourcePlatforms) {
        const startedAt = performance.now();
        const output = join(folder, `${providerType(provider)}-${platform.arch}`);
        await compile(providerArtifact(provider), go, platform, output);
        found.push(providerHash(provider, await sha256OfFile(output)));
        report.did('build', `${provider.source} for ${platform.os}_${platform.arch}`, startedAt);
      }
      hashes.set(provider.source, found);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  for (const binary of /** @type {const} */ (['terraform', 'tofu'])) {
    const comment = `Written by tools/lock.mjs. Hashes of providers built from tools/go by go${go.version}.`;
    writeWhole(committedLockFile(binary), lockFile(registries[binary], hashes, comment));
    report.did('lock', `wrote ${committedLockFile(binary)}`);
  }
}

/** The registry signs what it serves, so Terraform itself has to fetch and check it. */
async function lockRegistry() {
  const terraform = findProgram('terraform');
  if (terraform === undefined)
    throw new SetupError('terraform is not on PATH, and only it can ask its registry.');
  const folder = temporaryFolder();
  try {
    writeFileSync(
      join(folder, 'main.tf.json'),
      JSON.stringify({ terraform: { required_providers: required() } }),
    );
    const platforms = registryPlatforms.map((platform) => `-platform=${platform}`);
    const startedAt = performance.now();
    const args = ['providers', 'lock', '-no-color', ...platforms];
    const { TF_CLI_CONFIG_FILE, ...env } = process.env;
    const { code, output } = await run(terraform, args, { cwd: folder, env });
    const lock = readIfThere(join(folder, '.terraform.lock.hcl'));
    if (code !== 0 || lock === undefined)
      throw new SetupError(`terraform ${args.join(' ')} failed:\n${output}`);
    writeWhole(places.registryLockFile, lock);
    report.did('lock', `wrote ${places.registryLockFile}: commit it`, startedAt);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function required() {
  return Object.fromEntries(
    providers.map((provider) => [
      providerType(provider),
      { source: provider.source, version: provider.constraints },
    ]),
  );
}

function temporaryFolder() {
  mkdirSync(places.log, { recursive: true });
  return mkdtempSync(join(places.log, '..', 'lock-work-'));
}

process.on('SIGINT', () => void stopChildren());
process.on('SIGTERM', () => void stopChildren());

try {
  const flag = /** @type {const} */ ({ type: 'boolean', default: false });
  const { values } = parseArgs({ options: { registry: flag, help: flag } });
  if (values.help) process.stdout.write(usage);
  else await (values.registry ? lockRegistry() : lockSource());
} catch (error) {
  await stopChildren();
  const { message, stack } = /** @type {Error} */ (error);
  process.stderr.write(`lock: ${error instanceof SetupError ? message : stack}\n`);
  process.exitCode = 1;
}
