// @ts-check
// Terraform's dependency lock file for the providers that are built from source. Their bytes aren't the
// registry's, so neither are their hashes; but being reproducible they have hashes that can be committed.
import { createHash } from 'node:crypto';
import { providers } from './catalog.mjs';
import { providerFile } from './providers-step.mjs';

/**
 * Terraform's hash of an unpacked package ("h1:"), which is Go's directory hash: a hash over the list of its
 * files and their hashes. Our packages hold the provider's program and nothing else.
 * @param {import('./catalog.mjs').Provider} provider
 * @param {string} sha256 in hexadecimal
 */
export function providerHash(provider, sha256) {
  const list = `${sha256}  ${providerFile(provider)}\n`;
  return `h1:${createHash('sha256').update(list).digest('base64')}`;
}

/**
 * @param {string} host The registry that the providers' addresses begin with.
 * @param {Map<string, string[]>} hashes By provider source; for several platforms where they are known.
 * @param {string} comment
 */
export function lockFile(host, hashes, comment) {
  const entries = [...providers]
    .sort((a, b) => (a.source < b.source ? -1 : 1))
    .map((provider) => entry(`${host}/${provider.source}`, provider, hashes.get(provider.source) ?? []));
  return [`# ${comment}\n`, ...entries].join('\n');
}

/**
 * @param {string} address
 * @param {import('./catalog.mjs').Provider} provider
 * @param {string[]} hashes
 */
function entry(address, { version, constraints }, hashes) {
  const lines = [...hashes].sort().map((hash) => `    "${hash}",\n`);
  return `provider "${address}" {
  version     = "${version}"
  constraints = "${constraints}"
  hashes = [
${lines.join('')}  ]
}
`;
}

/**
 * Whether a lock file lets a provider with this hash be used.
 * @param {string} text
 * @param {string} address
 * @param {string} hash
 */
export function allows(text, address, hash) {
  const block = text.split(/^(?=provider )/m).find((part) => part.startsWith(`provider "${address}" {`));
  return block?.includes(`"${hash}"`) ?? false;
}
