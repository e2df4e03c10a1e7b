import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { fleetSchema } from './schema';

/**
 * Generates `fleet.schema.json`, by which editors complete and check `fleet.yaml`:
 *
 *     node bin/run fleet/generate-schema.ts [--check]
 *
 * With `--check` it writes nothing, and exits with 1 where the file is stale.
 */
const FILE = path.join(__dirname, '..', 'fleet.schema.json');

/** The schema's text. Draft 7, which the YAML language server understands in every version. */
export function schemaText(): string {
  const schema = z.toJSONSchema(fleetSchema, { target: 'draft-7', io: 'input' });
  return `${JSON.stringify({ ...schema, title: 'A fleet of Proxmox VMs and their SSH host keys' }, null, 2)}\n`;
}

function main(args: readonly string[]): number {
  if (!args.includes('--check')) {
    writeFileSync(FILE, schemaText());
    return 0;
  }
  if (readSchema() === schemaText()) return 0;
  process.stderr.write('fleet.schema.json is stale; run: node bin/run fleet/generate-schema.ts\n');
  return 1;
}

function readSchema(): string {
  try {
    return readFileSync(FILE, 'utf8');
  } catch {
    return '';
  }
}

if (require.main === module || process.argv[1] === __filename) process.exitCode = main(process.argv.slice(2));
