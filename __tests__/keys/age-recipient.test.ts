import { bech32 } from '@scure/base';
import fc from 'fast-check';
import { ageRecipientOf, checkAgeRecipient } from '../../keys/age-recipient';
import { parseSshPublicKey } from '../../keys/ssh-public-key';
import { sshLine, testKey, x25519OfSeed } from './test-keys';

describe('the age recipient of a host key', () => {
  test('is the X25519 key that the private key gives', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (seed) => {
        const recipient = ageRecipientOf(parseSshPublicKey(testKey(seed).line));
        expect(recipient).toBe(bech32.encodeFromBytes('age', x25519OfSeed(seed)));
        checkAgeRecipient(recipient);
      }),
    );
  });

  test('needs a point on the curve', () => {
    // y = 2 has no x on the curve: (y^2 - 1) / (d y^2 + 1) is no square.
    const bytes = Buffer.alloc(32);
    bytes[0] = 2;
    expect(() => ageRecipientOf(parseSshPublicKey(sshLine('ssh-ed25519', bytes)))).toThrow(
      'no point on the curve',
    );
  });
});

describe('a recipient that somebody wrote down', () => {
  const recipient = ageRecipientOf(parseSshPublicKey(testKey().line));
  const changed = recipient.slice(0, -1) + (recipient.endsWith('q') ? 'p' : 'q');

  test.each([
    ['a native recipient', recipient],
    ['an SSH key', testKey().line],
    ['a plugin recipient', bech32.encodeFromBytes('age1yubikey', Buffer.alloc(33, 2))],
    ['a long recipient', bech32.encode('age1pq', bech32.toWords(Buffer.alloc(1200, 3)), false)],
  ])('passes: %s', (_, text) => {
    expect(() => checkAgeRecipient(text)).not.toThrow();
  });

  test.each([
    ['a wrong checksum', changed, 'checksum'],
    ['a lost character', recipient.slice(0, -1), 'checksum'],
    ['another thing', 'ops', 'is no age recipient'],
    ['31 bytes', bech32.encodeFromBytes('age', Buffer.alloc(31, 1)), 'holds 32 bytes, and this one holds 31'],
    ['a point of low order', bech32.encodeFromBytes('age', Buffer.alloc(32)), 'low order'],
    ['a broken SSH key', 'ssh-ed25519 AAAA', 'key'],
  ])('is refused: %s', (_, text, message) => {
    expect(() => checkAgeRecipient(text)).toThrow(message);
  });

  test('is refused without being quoted when it is an identity', () => {
    const identity = bech32.encodeFromBytes('age-secret-key-', Buffer.alloc(32, 5)).toUpperCase();
    expect(() => checkAgeRecipient(identity)).toThrow(/private key/);
    expect(() => checkAgeRecipient(identity)).not.toThrow(identity);
  });
});
