import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { driftReportSchema } from '../drift/report';
import { fleetSchema } from './schema';

/**
 * Generates the JSON schemas that are committed, from those that the program itself checks by:
 *
 *     node bin/run fleet/generate-schema.ts [--check]
 *
 * With `--check` it writes nothing, and exits with 1 where a file is stale.
 */
const SCHEMAS: Readonly<Record<string, () => object>> = {
  // By this editors complete and check fleet.yaml. Draft 7, which the YAML language server understands in every version.
  'fleet.schema.json': () => ({
    ...z.toJSONSchema(fleetSchema, { target: 'draft-7', io: 'input' }),
    title: 'A fleet of Proxmox VMs and their SSH host keys',
  }),
  'drift.schema.json': () => ({
    ...z.toJSONSchema(driftReportSchema, { target: 'draft-7' }),
    title: 'What hostkey drift found',
  }),
};

/** The text of a schema file. */
export function schemaText(name = 'fleet.schema.json'): string {
  return `${JSON.stringify(SCHEMAS[name]?.(), null, 2)}\n`;
}

function main(args: readonly string[]): number {
  const stale = Object.keys(SCHEMAS).filter((name) => read(name) !== schemaText(name));
  if (!args.includes('--check')) {
    for (const name of stale) writeFileSync(fileOf(name), schemaText(name));
    return 0;
  }
  for (const name of stale) process.stderr.write(`${name} is stale; run: npm run schema\n`);
  return stale.length === 0 ? 0 : 1;
}

const fileOf = (name: string): string => path.join(__dirname, '..', name);

function read(name: string): string {
  try {
    return readFileSync(fileOf(name), 'utf8');
  } catch {
    return '';
  }
}

if (require.main === module || process.argv[1] === __filename) process.exitCode = main(process.argv.slice(2));
