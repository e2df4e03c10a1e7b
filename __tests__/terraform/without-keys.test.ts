import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { withoutKeys } from '../../terraform/without-keys';

// Making keys takes its time on a busy machine.
jest.setTimeout(60_000);

const pem = (): string =>
  generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
const rsa = (): string =>
  generateKeyPairSync('rsa', { modulusLength: 2048 })
    .privateKey.export({ format: 'pem', type: 'pkcs1' })
    .toString();

const linesOf = (key: string): string[] =>
  key.split('\n').filter((line) => line !== '' && !line.startsWith('-'));

/** A key as it stands in a state: as an attribute, inside a cloud-config, and inside JSON inside that. */
const quotings: readonly ((key: string) => unknown)[] = [
  (key) => key,
  (key) => `#cloud-config\nssh_keys:\n  ed25519_private: |\n${key.replaceAll(/^/gm, '    ')}`,
  (key) => JSON.stringify({ ssh_keys: { ed25519_private: key } }),
  (key) => JSON.stringify(JSON.stringify({ key })),
  (key) => key.replaceAll('\n', '\r\n'),
];

test.each([
  ['ed25519', pem],
  ['RSA', rsa],
])('no line of an %s key is left, however it is quoted, and the rest stays', (_type, make) => {
  fc.assert(
    fc.property(fc.subarray([...quotings], { minLength: 1 }), fc.jsonValue(), (ways, other) => {
      const key = make();
      const state = { other, attributes: ways.map((way) => way(key)) };
      const text = JSON.stringify(state);
      const without = withoutKeys(text);
      for (const line of linesOf(key)) if (line.length >= 12) expect(without).not.toContain(line);
      const read = JSON.parse(without) as typeof state;
      // By what the text says: JSON has no -0.
      expect(read.other).toEqual((JSON.parse(text) as typeof state).other);
      expect(without).toHaveLength(text.length);
    }),
    { numRuns: make === rsa ? 5 : 50 },
  );
});

test('the same key is the same text afterwards wherever it stands, and another key another one', () => {
  const [one, other] = [pem(), pem()];
  const of = (key: string) =>
    linesOf(
      (JSON.parse(withoutKeys(JSON.stringify({ key, quoted: JSON.stringify(key) }))) as { key: string }).key,
    );
  expect(of(one)).toEqual(of(one));
  expect(of(one)).not.toEqual(of(other));
  const both = JSON.parse(withoutKeys(JSON.stringify({ key: one, quoted: JSON.stringify(one) })));
  expect(JSON.parse(both.quoted)).toBe(both.key);
});

test('a text without a key is left alone', () => {
  fc.assert(fc.property(fc.string(), (text) => expect(withoutKeys(text)).toBe(text)));
});
