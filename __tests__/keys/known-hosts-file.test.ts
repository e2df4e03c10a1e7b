import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { hashedName, withKnownHosts, withoutKnownHosts } from '../../keys/known-hosts-file';
import { testKey } from './test-keys';

const [ours, old, foreign] = [testKey().line, testKey().line, testKey().line];
const wanted = [{ names: ['mqtt-01', '192.0.2.83'], key: ours }];
const edited = (text: string) => withKnownHosts(text, wanted).text;

describe('the host gets its key', () => {
  const cases: [string, string, string][] = [
    ['in an empty file', '', `mqtt-01,192.0.2.83 ${ours}\n`],
    ['behind a last line that does not end', `a ${foreign}`, `a ${foreign}\nmqtt-01,192.0.2.83 ${ours}\n`],
    ['in place of an old one', `mqtt-01,192.0.2.83 ${old}\n`, `mqtt-01,192.0.2.83 ${ours}\n`],
    ['of another type too', `mqtt-01 ssh-rsa AAAA\n`, `mqtt-01,192.0.2.83 ${ours}\n`],
    ['which it has', `mqtt-01,192.0.2.83 ${ours} a comment\n`, `mqtt-01,192.0.2.83 ${ours} a comment\n`],
    ['for the name that lacks it', `mqtt-01 ${ours}\n`, `mqtt-01 ${ours}\n192.0.2.83 ${ours}\n`],
    [
      "and another's name on the same line stays",
      `gate,mqtt-01 ${old} home\n`,
      `gate ${old} home\nmqtt-01,192.0.2.83 ${ours}\n`,
    ],
    [
      'beside comments and markers',
      `# mqtt-01\n@revoked mqtt-01 ${old}\n@cert-authority *.example.net ${old}\n`,
      '',
    ],
    [
      'beside patterns and other ports',
      `*.example.net ${old}\n[mqtt-01]:2222 ${old}\n!mqtt-01,m* ${old}\n`,
      '',
    ],
    [
      'in place of an old one in capitals',
      `MQTT-01,Gate ${old}\n`,
      `Gate ${old}\nmqtt-01,192.0.2.83 ${ours}\n`,
    ],
    ['with CRLF', `x ${foreign}\r\nmqtt-01 ${old}\r\n`, `x ${foreign}\r\nmqtt-01,192.0.2.83 ${ours}\n`],
  ];
  test.each(cases)('%s', (_where, before, expected) => {
    expect(edited(before)).toBe(expected === '' ? `${before}mqtt-01,192.0.2.83 ${ours}\n` : expected);
  });

  test('in place of a hashed old one, and beside a hashed right one', () => {
    expect(edited(`${hashedName('mqtt-01')} ${old}\n`)).toBe(`mqtt-01,192.0.2.83 ${ours}\n`);
    const right = `${hashedName('mqtt-01')} ${ours}\n${hashedName('192.0.2.83')} ${ours}\n`;
    expect(edited(right)).toBe(right);
  });
});

test('a host with two keys has both, whichever was there', () => {
  const both = [...wanted, { names: ['mqtt-01', '192.0.2.83'], key: foreign }];
  const lines = `mqtt-01,192.0.2.83 ${ours}\nmqtt-01,192.0.2.83 ${foreign}\n`;
  expect(withKnownHosts('', both).text).toBe(lines);
  expect(withKnownHosts(`mqtt-01,192.0.2.83 ${old}\nmqtt-01,192.0.2.83 ${ours}\n`, both).text).toBe(lines);
  expect(withKnownHosts(lines, wanted).text).toBe(`mqtt-01,192.0.2.83 ${ours}\n`);
  expect(withoutKnownHosts(lines, both).text).toBe('');
});

const word = fc
  .stringMatching(/^[a-z0-9.-]{1,12}$/)
  .filter((text) => text !== 'mqtt-01' && text !== '192.0.2.83');
const foreignLine = fc.oneof(
  fc
    .tuple(fc.array(word, { minLength: 1, maxLength: 3 }), fc.constantFrom(old, foreign, ours))
    .map(([names, key]) => `${names.join(',')} ${key}`),
  word.map((text) => `# ${text}`),
  fc.constant(''),
  fc.string().map((text) => `#${text.replaceAll(/[\n\r]/g, '')}`),
);
const ourLine = fc
  .tuple(fc.constantFrom('mqtt-01', '192.0.2.83', 'mqtt-01,192.0.2.83'), fc.constantFrom(old, ours))
  .map((parts) => parts.join(' '));

test("twice is once, and others' lines keep their bytes and order", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(foreignLine, ourLine)), fc.boolean(), (lines, hash) => {
      const text = lines.map((line) => `${line}\n`).join('');
      const once = withKnownHosts(text, wanted, hash);
      expect(withKnownHosts(once.text, wanted, hash)).toEqual({ text: once.text, changed: false });
      const isOurs = (line: string) => /^(mqtt-01|192\.0\.2\.83)[, ]|^\|1\|/.test(line);
      const others = (all: string) => all.split('\n').filter((line) => !isOurs(line));
      expect(others(once.text)).toEqual(others(text));
    }),
  );
});

test('taking the keys away again gives back the text, and leaves another key for the names', () => {
  fc.assert(
    fc.property(fc.array(foreignLine), fc.boolean(), (lines, hash) => {
      const text = lines.map((line) => `${line}\n`).join('');
      expect(withoutKnownHosts(withKnownHosts(text, wanted, hash).text, wanted).text).toBe(text);
    }),
  );
  const theirs = `mqtt-01 ${old}\n`;
  expect(withoutKnownHosts(theirs, wanted)).toEqual({ text: theirs, changed: false });
});

test('OpenSSH finds exactly this key, hashed or not', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'known-hosts-'));
  const file = path.join(folder, 'known_hosts');
  try {
    for (const hash of [false, true]) {
      const { text } = withKnownHosts(
        `gate,mqtt-01 ${old}\n${hashedName('192.0.2.83')} ${old}\n`,
        [...wanted, { names: ['[web-01]:2222', 'Web.Example.NET'], key: foreign }],
        hash,
      );
      writeFileSync(file, text);
      const find = (name: string) =>
        execFileSync('ssh-keygen', ['-F', name, '-f', file], { encoding: 'utf8' })
          .split('\n')
          .filter((line) => line !== '' && !line.startsWith('#'))
          .map((line) => line.split(' ').slice(1, 3).join(' '));
      for (const name of ['mqtt-01', '192.0.2.83']) expect(find(name)).toEqual([ours]);
      // ssh looks names up in lower case, whoever wrote them how.
      for (const name of ['[web-01]:2222', 'web.example.net']) expect(find(name)).toEqual([foreign]);
      expect(find('gate')).toEqual([old]);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
