import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { bech32 } from '@scure/base';
import { identitiesIn } from '../../keys/age-identity';

/** An identity made for a test, and its recipient by node's own X25519. */
function identity() {
  const scalar = randomBytes(32);
  const key = createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), scalar]),
    format: 'der',
    type: 'pkcs8',
  });
  const publicBytes = createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32);
  return {
    text: bech32.encodeFromBytes('age-secret-key-', scalar).toUpperCase(),
    recipient: bech32.encodeFromBytes('age', publicBytes),
  };
}

test('the recipients of a keys.txt, and of several on one line', () => {
  const [a, b] = [identity(), identity()];
  const file = `# created: today\n# public key: ${b.recipient}\n${a.text}\r\n\n${b.text}\n`;
  expect(identitiesIn(file)).toEqual({ recipients: [a.recipient, b.recipient], others: 0 });
  expect(identitiesIn(`${a.text} ${b.text}`).recipients).toHaveLength(2);
});

test('what is commented out, cut short or mistyped is none', () => {
  const { text } = identity();
  const flipped = `${text.slice(0, -1)}${text.endsWith('Q') ? 'P' : 'Q'}`;
  for (const each of [`# ${text}`, text.slice(0, -1), flipped, text.toLowerCase(), '']) {
    expect(identitiesIn(each)).toEqual({ recipients: [], others: 0 });
  }
});

test('identities that only other programs understand are counted', () => {
  expect(identitiesIn('AGE-PLUGIN-YUBIKEY-1QQQ\nAGE-SECRET-KEY-PQ-1QQQ\n')).toEqual({
    recipients: [],
    others: 2,
  });
  expect(identitiesIn('age-encryption.org/v1\n-> scrypt x\n')).toEqual({ recipients: [], others: 1 });
});
