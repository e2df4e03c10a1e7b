import { readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** The checkout's set-up, found from this file's own place: programs are called from anywhere. */
const workshop = join(__dirname, '..', '.tools');

/**
 * The environment for the programs that set-up provides: `process.env` with our programs first on PATH and
 * Terraform pointed at our providers.
 */
export function toolEnvironment(options: { opentofu?: boolean } = {}): NodeJS.ProcessEnv {
  const { PATH_PREPEND, ...variables } = readSettings(options.opentofu ?? false);
  const { HOSTKEY_LOCK_FILE: _, ...inherited } = process.env;
  const path = (process.env.PATH ?? '')
    .split(delimiter)
    .filter((folder) => folder && folder !== PATH_PREPEND);
  return { ...inherited, ...variables, PATH: [PATH_PREPEND, ...path].join(delimiter) };
}

function readSettings(opentofu: boolean): Record<string, string> {
  const file = join(workshop, opentofu ? 'env-opentofu.json' : 'env.json');
  const command = opentofu ? 'npm run setup -- --opentofu' : 'npm run setup';
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new Error(`This checkout has not been set up: run \`${command}\`.`, { cause });
  }
  return JSON.parse(text) as Record<string, string>;
}
