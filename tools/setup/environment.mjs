// @ts-check
// What the project's programs need in their environment: for a shell to source, and for our own to read.
import { writeWhole } from './files.mjs';
import { places } from './paths.mjs';

/** @typedef {Record<string, string>} Variables */

/**
 * @param {{ shell: string, json: string }} files
 * @param {Variables} variables
 */
export function writeEnvironment(files, variables) {
  const all = { PATH_PREPEND: places.bin, ...variables };
  writeWhole(files.json, `${JSON.stringify(all, undefined, 2)}\n`);
  writeWhole(files.shell, shellEnvironment(places.bin, variables));
}

/**
 * @param {string} bin
 * @param {Variables} variables
 */
function shellEnvironment(bin, variables) {
  const exports = Object.entries(variables).map(([name, value]) => `export ${name}=${quote(value)}\n`);
  // Sourced twice, PATH stays as it is.
  return `# Written by tools/setup.mjs. Use it from a shell: . .tools/env
case ":\${PATH-}:" in
  *:${quote(bin)}:*) ;;
  *) PATH=${quote(bin)}\${PATH:+":$PATH"} ;;
esac
export PATH
${exports.join('')}`;
}

/**
 * A word that every POSIX shell reads back as it is.
 * @param {string} value
 */
function quote(value) {
  return `'${value.replaceAll("'", `'\\''`)}'`;
}
