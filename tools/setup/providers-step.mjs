// @ts-check
// Terraform providers: from the registry where it answers, else from a mirror on disk that we build ourselves.
import { join } from 'node:path';
import { providers, providerType, registries } from './catalog.mjs';
import { run } from './children.mjs';
import { findProgram } from './files.mjs';
import { isBuilt, thisPlatform } from './go-build.mjs';
import { places, root } from './paths.mjs';
import { SetupError } from './report.mjs';

/** @typedef {import('./catalog.mjs').Provider} Provider */

/**
 * @param {Provider} provider
 * @returns {import('./go-build.mjs').Artifact}
 */
export function providerArtifact(provider) {
  const name = `terraform-provider-${providerType(provider)}`;
  // Terraform and OpenTofu each look only under their own registry's name. Real files for both: neither
  // follows a link to a folder.
  const [output, ...links] = Object.values(registries).map((host) => mirrorPath(provider, host));
  if (output === undefined) throw new Error('no registry is named');
  return { name, module: name, goPackage: provider.goPackage, ldflags: provider.ldflags, output, links };
}

/**
 * @param {Provider} provider
 * @param {string} host
 */
function mirrorPath(provider, host) {
  const { os, arch } = thisPlatform();
  return join(
    ...[places.mirror, host, ...provider.source.split('/'), provider.version, `${os}_${arch}`],
    providerFile(provider),
  );
}

/**
 * The name that Terraform looks for, which is a part of the hash too.
 * @param {Provider} provider
 */
export function providerFile(provider) {
  return `terraform-provider-${providerType(provider)}_v${provider.version}`;
}

/**
 * @param {'terraform' | 'tofu'} binaryName
 * @returns {Promise<'registry' | 'source'>}
 */
export async function chooseProviderSource(binaryName) {
  const wish = process.env.HOSTKEY_PROVIDERS;
  if (wish === 'registry' || wish === 'source') return wish;
  if (wish) throw new SetupError(`HOSTKEY_PROVIDERS is '${wish}'; it can be 'registry' or 'source'.`);
  // Once built, they are used: a registry that answers only at times mustn't change what a plan says.
  if (providers.map(providerArtifact).every(isBuilt)) return 'source';
  return (await registryAnswers(registries[binaryName])) ? 'registry' : 'source';
}

/** @param {string} host */
async function registryAnswers(host) {
  const url = `https://${host}/.well-known/terraform.json`;
  try {
    const text = behindProxy() ? await askWithCurl(url) : await askDirectly(url);
    return typeof JSON.parse(text)['providers.v1'] === 'string';
  } catch {
    return false;
  }
}

/** Terraform goes through a proxy that these name; Node's own fetch doesn't. */
function behindProxy() {
  return Boolean(process.env.HTTPS_PROXY || process.env.https_proxy) && findProgram('curl') !== undefined;
}

/** @param {string} url */
async function askDirectly(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(4000) });
  return await answer.text();
}

/** @param {string} url */
async function askWithCurl(url) {
  return (await run('curl', ['-fsSL', '--max-time', '8', url], { cwd: root })).output;
}

/** Terraform's settings for the mirror: ours come from it and nothing else, all others as ever. */
export function terraformrc() {
  const ours = Object.values(registries).flatMap((host) =>
    providers.map(({ source }) => `${host}/${source}`),
  );
  const list = `[${ours.map((address) => `\n      ${JSON.stringify(address)},`).join('')}\n    ]`;
  return `# Written by tools/setup.mjs.
disable_checkpoint = true

provider_installation {
  filesystem_mirror {
    path    = ${JSON.stringify(places.mirror)}
    include = ${list}
  }
  direct {
    exclude = ${list}
  }
}
`;
}
