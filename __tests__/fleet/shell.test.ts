import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { quoted } from '../../fleet/shell';

test('a shell reads the word back, whatever it is', () => {
  const word = fc.string({
    unit: fc.constantFrom('a', ' ', "'", '"', '$', '\\', '*', '~', '\n', ';', 'é', '-'),
    minLength: 1,
  });
  fc.assert(
    fc.property(word, (text) => {
      expect(execFileSync('sh', ['-c', `printf %s ${quoted(text)}`], { encoding: 'utf8' })).toBe(text);
    }),
    { numRuns: 50 },
  );
  expect(quoted('secrets/mqtt-01/db.yaml')).toBe('secrets/mqtt-01/db.yaml');
});
