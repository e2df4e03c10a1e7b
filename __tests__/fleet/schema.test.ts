import { readFileSync } from 'node:fs';
import path from 'node:path';
import { schemaText } from '../../fleet/generate-schema';
import { BUILT_IN } from '../../fleet/schema';

interface Schema {
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
}

const schema = JSON.parse(schemaText()) as Schema & { readonly $schema: string };

test('fleet.schema.json is up to date', () => {
  expect(readFileSync(path.join(__dirname, '../../fleet.schema.json'), 'utf8')).toBe(schemaText());
});

test('it is of the draft that YAML editors know best', () => {
  expect(schema.$schema).toBe('http://json-schema.org/draft-07/schema#');
});

test('it describes every setting and knows of no others', () => {
  const undescribed: string[] = [];
  const open: string[] = [];
  walk(schema, '', (at, part) => {
    for (const [name, { description }] of Object.entries(part.properties ?? {})) {
      if (description === undefined) undescribed.push(`${at}.${name}`);
    }
    if (part.properties !== undefined && part.additionalProperties !== false) open.push(at);
  });
  expect({ undescribed, open }).toEqual({ undescribed: [], open: [] });
});

test('its defaults are those that hold, and stand in the descriptions', () => {
  const shown = schema.properties?.defaults?.properties ?? {};
  for (const [name, value] of Object.entries(BUILT_IN)) {
    expect({ [name]: shown[name]?.default }).toEqual({ [name]: value });
    const word = Array.isArray(value) ? value.join(', ') || 'none' : String(value);
    expect(shown[name]?.description).toContain(`Default: ${word}.`);
  }
});

function walk(part: Schema, at: string, visit: (at: string, part: Schema) => void): void {
  visit(at, part);
  for (const [name, inner] of Object.entries(part.properties ?? {})) walk(inner, `${at}.${name}`, visit);
  if (typeof part.additionalProperties === 'object') walk(part.additionalProperties, `${at}.*`, visit);
  if (part.items !== undefined) walk(part.items, `${at}[]`, visit);
  for (const option of part.anyOf ?? []) walk(option, at, visit);
}
