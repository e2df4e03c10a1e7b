// @ts-check
// Builds programs from the Go module proxy. Each has a module of its own, so that no program's dependencies
// push another's; what is built is fixed to the byte by go.mod, go.sum and the flags below.
import { createHash } from 'node:crypto';
import { chmodSync, createReadStream, linkSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { run, runTask } from './children.mjs';
import { findProgram, mark, readJson, sha256, writeWhole } from './files.mjs';
import { places, root, workshop } from './paths.mjs';
import { SetupError } from './report.mjs';
import { compareVersions, findVersion } from './versions.mjs';

/**
 * @typedef {object} Artifact
 * @property {string} name
 * @property {string} module Folder in tools/go.
 * @property {string} goPackage
 * @property {string} ldflags
 * @property {string} output
 * @property {string[]} [links] Further names of the same file.
 */

/** @typedef {{ os: string, arch: string }} Platform in Go's words */

/**
 * This machine, in Go's words.
 * @returns {Platform}
 */
export function thisPlatform() {
  /** @type {Partial<Record<NodeJS.Architecture, string>>} */
  const names = { x64: 'amd64', ia32: '386', loong64: 'loong64', ppc64: 'ppc64le' };
  const platforms = /** @type {Record<string, string>} */ ({ sunos: 'solaris', win32: 'windows' });
  return { os: platforms[process.platform] ?? process.platform, arch: names[process.arch] ?? process.arch };
}

/** @typedef {{ key: string, sha256: string, mark: string, go: string }} BuiltRecord */

/** @returns {Record<string, BuiltRecord>} */
function builtRecords() {
  return readJson(places.built) ?? {};
}

/**
 * @param {string} name
 * @returns {BuiltRecord | undefined}
 */
export function builtRecord(name) {
  return builtRecords()[name];
}

/**
 * Everything that decides what comes out.
 * @param {Artifact} artifact
 */
function keyOf({ module, goPackage, ldflags, output, links }) {
  const folder = join(places.goModules, module);
  const files = ['go.mod', 'go.sum'].map((file) => readFileSync(join(folder, file), 'utf8'));
  const names = [output, ...(links ?? [])].map((path) => relative(root, path));
  return sha256(JSON.stringify([...files, goPackage, ldflags, names, thisPlatform()]));
}

/** @param {Artifact} artifact */
export function isBuilt(artifact) {
  const record = builtRecord(artifact.name);
  return (
    record !== undefined &&
    record.key === keyOf(artifact) &&
    [artifact.output, ...(artifact.links ?? [])].every((path) => mark(path) === record.mark)
  );
}

/**
 * Builds what isn't built yet.
 * @param {Artifact[]} artifacts
 * @param {import('./report.mjs').Report} report
 * @param {{ force: boolean, atOnce?: number }} options
 */
export async function buildAll(artifacts, report, { force, atOnce = 2 }) {
  const queue = force ? [...artifacts] : artifacts.filter((artifact) => !isBuilt(artifact));
  if (queue.length === 0) return;
  const go = await findGo(queue.map(({ name }) => name));
  const worker = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const startedAt = performance.now();
      await build(next, go);
      report.did('build', `${next.name} from source`, startedAt);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

/**
 * @param {Artifact} artifact
 * @param {Go} go
 */
async function build(artifact, go) {
  const { name, output, links = [] } = artifact;
  const made = join(places.temporary, name);
  await compile(artifact, go, thisPlatform(), made);
  const digest = await sha256OfFile(made);
  chmodSync(made, 0o755);
  moveInto(made, output);
  for (const link of links) linkInto(output, link);
  const record = { key: keyOf(artifact), sha256: digest, mark: mark(output) ?? '', go: `go${go.version}` };
  writeWhole(places.built, `${JSON.stringify({ ...builtRecords(), [name]: record }, undefined, 2)}\n`);
}

/**
 * @param {Pick<Artifact, 'name' | 'module' | 'goPackage' | 'ldflags'>} artifact
 * @param {Go} go
 * @param {Platform} platform
 * @param {string} output
 */
export async function compile({ name, module, goPackage, ldflags }, go, platform, output) {
  const folder = join(places.goModules, module);
  mkdirSync(dirname(output), { recursive: true });
  // -trimpath: no path of this machine gets into the program, so every machine makes the same bytes.
  const args = ['build', '-trimpath', '-ldflags', `-s -w ${ldflags}`.trim(), '-o', output, goPackage];
  await runTask(`Building ${name}`, `build-${name}`, go.path, args, {
    cwd: folder,
    env: goEnvironment(go, platform),
  });
}

/**
 * Whatever could change the bytes is fixed; where Go finds modules and keeps its caches stays the user's.
 * @param {Go} go
 * @param {Platform} platform
 * @returns {NodeJS.ProcessEnv}
 */
function goEnvironment(go, platform) {
  const { GOEXPERIMENT, GODEBUG, GOFIPS140, GO_EXTLINK_ENABLED, ...env } = process.env;
  return {
    ...env,
    GOTOOLCHAIN: go.toolchain,
    GOFLAGS: '-mod=readonly',
    GOWORK: 'off',
    GO111MODULE: 'on',
    GOOS: platform.os,
    GOARCH: platform.arch,
    GOAMD64: 'v1',
    GOARM64: 'v8.0',
    CGO_ENABLED: '0',
    // Go wants a cache and finds none where there is no home, as in some CI runners.
    ...(env.HOME || env.GOCACHE
      ? {}
      : { GOCACHE: join(workshop, 'go-cache'), GOPATH: join(workshop, 'go-path') }),
  };
}

/**
 * @typedef {object} Go
 * @property {string} path
 * @property {string} toolchain What GOTOOLCHAIN is set to.
 * @property {string} version What really compiles.
 */

/**
 * Go itself, told to be the very version that go.mod pins: another compiler makes other bytes. Go fetches that
 * version through the module proxy where it isn't the one installed.
 * @param {string[]} toBuild For the message.
 * @returns {Promise<Go>}
 */
export async function findGo(toBuild) {
  const path = findProgram('go') ?? (mark('/usr/local/go/bin/go') ? '/usr/local/go/bin/go' : undefined);
  if (path === undefined) throw new SetupError(withoutGo('Go is not on PATH', toBuild));
  const pinned = pinnedToolchain();
  const ask = async (/** @type {string} */ toolchain) => {
    const env = { ...process.env, GOTOOLCHAIN: toolchain, GOFLAGS: '' };
    const { code, output } = await run(path, ['env', 'GOVERSION'], { cwd: root, env });
    return { version: code === 0 ? findVersion(output.trim().split('\n').at(-1) ?? '') : undefined, output };
  };
  const local = (await ask('local')).version ?? '0';
  if (compareVersions(local, '1.21') < 0) {
    throw new SetupError(
      withoutGo(`Go at ${path} is too old (${local}; 1.21 is the first that will do)`, toBuild),
    );
  }
  const exact = await ask(pinned);
  if (exact.version !== undefined) return { path, toolchain: pinned, version: exact.version };
  const wanted = findVersion(pinned) ?? '';
  if (compareVersions(local, wanted) >= 0) return { path, toolchain: 'local', version: local };
  throw new SetupError(
    `Go ${wanted} is needed, this is ${local}, and Go could not fetch the other:\n  ${exact.output.trim()}\n` +
      `Make the Go module proxy reachable (see \`go env GOPROXY\`), or install Go ${wanted} from https://go.dev/dl.`,
  );
}

/** The `toolchain` line that all of tools/go shares. */
export function pinnedToolchain() {
  const text = readFileSync(join(places.goModules, 'sops', 'go.mod'), 'utf8');
  const line = /^toolchain (go\S+)$/m.exec(text);
  if (line?.[1] === undefined) throw new Error('tools/go/sops/go.mod has no toolchain line');
  return line[1];
}

/**
 * @param {string} reason
 * @param {string[]} toBuild
 */
function withoutGo(reason, toBuild) {
  const programs = toBuild.filter((name) => !name.startsWith('terraform-provider-'));
  const hasProviders = programs.length < toBuild.length;
  const install = programs.length > 0 ? [`install ${programs.join(', ')} by other means, on PATH`] : [];
  const reach = hasProviders
    ? ['make the Terraform registry reachable (or say HOSTKEY_PROVIDERS=registry where you know that it is)']
    : [];
  return (
    `${reason}, and so these can't be built from source: ${toBuild.join(', ')}.\n` +
    'Two ways out:\n' +
    `  1. install Go 1.21 or newer from https://go.dev/dl; or\n` +
    `  2. ${[...install, ...reach].join(', and ')}.\n` +
    'Then run set-up again.'
  );
}

/** @param {string} path */
export async function sha256OfFile(path) {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/**
 * @param {string} from
 * @param {string} to
 */
function moveInto(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  renameSync(from, to);
}

/**
 * A hard link: a second real file to whoever looks, without a second copy on the disk. By way of a rename, so
 * that an older file is replaced at once.
 * @param {string} target
 * @param {string} link
 */
function linkInto(target, link) {
  const temporary = join(places.temporary, `${sha256(link).slice(0, 16)}.link`);
  rmSync(temporary, { force: true });
  linkSync(target, temporary);
  mkdirSync(dirname(link), { recursive: true });
  renameSync(temporary, link);
  // POSIX: renaming onto another link of the same file does nothing, and leaves the first name behind.
  rmSync(temporary, { force: true });
}
