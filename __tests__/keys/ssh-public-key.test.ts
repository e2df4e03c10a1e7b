import fc from 'fast-check';
import {
  ed25519Bytes,
  fingerprint,
  formatSshPublicKey,
  KeyFormatError,
  parseSshPublicKey,
} from '../../keys/ssh-public-key';
import { sshLine, testKey } from './test-keys';

describe('a public key line', () => {
  test('is read with its comment and written without', () => {
    const { line } = testKey();
    const key = parseSshPublicKey(`  ${line} root@mqtt-01 (old)\n`);
    expect(key.type).toBe('ssh-ed25519');
    expect(key.comment).toBe('root@mqtt-01 (old)');
    expect(formatSshPublicKey(key)).toBe(line);
  });

  test('of RSA is read, too', () => {
    const line = sshLine('ssh-rsa', Buffer.from([1, 0, 1]), Buffer.alloc(257, 7));
    expect(formatSshPublicKey(parseSshPublicKey(line))).toBe(line);
  });

  test('round-trips for any 32 bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
        const key = parseSshPublicKey(sshLine('ssh-ed25519', bytes));
        expect([...ed25519Bytes(key)]).toEqual([...bytes]);
        expect(parseSshPublicKey(formatSshPublicKey(key))).toEqual(key);
      }),
    );
  });

  test('fingerprints as ssh-keygen prints them', () => {
    // ssh-keygen -lf of this public line, which holds thirty-two bytes of 1 and is nobody's key.
    const key = parseSshPublicKey(sshLine('ssh-ed25519', Buffer.alloc(32, 1)));
    expect(fingerprint(key)).toBe('SHA256:RXm/ruZ0eTzRXKwi1AQEDynB0VgHQ2ac9KPSFdf/YnA');
  });

  const { line } = testKey();
  const [type, base64] = line.split(' ') as [string, string];
  test.each([
    ['a private key', '-----BEGIN OPENSSH PRIVATE\x20KEY-----\nx', 'this is a private key'],
    ['nothing', '', '"" is no SSH key type'],
    ['an unknown type', `ssh-ed448 ${base64}`, '"ssh-ed448" is no SSH key type'],
    ['a lost character', `${type} ${base64.slice(0, -2)}`, 'is not whole base64'],
    ['a lost tail', `${type} ${base64.slice(0, -4)}`, 'was cut short'],
    [
      'another type inside',
      `ssh-rsa ${base64}`,
      'the line says "ssh-rsa", but the key in it is "ssh-ed25519"',
    ],
    ['31 bytes', sshLine('ssh-ed25519', Buffer.alloc(31)), 'holds 32 bytes'],
    ['a field too many', sshLine('ssh-ed25519', Buffer.alloc(32), Buffer.alloc(1)), 'holds 32 bytes'],
  ])('is refused with %s', (_, text, message) => {
    expect(() => parseSshPublicKey(text)).toThrow(KeyFormatError);
    expect(() => parseSshPublicKey(text)).toThrow(message);
  });

  test('is not quoted when it may be a line of a private key', () => {
    const word = 'b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAAB';
    expect(() => parseSshPublicKey(word)).toThrow('a long word is no SSH key type');
    expect(() => parseSshPublicKey(word)).not.toThrow(word);
  });

  test('has ed25519 bytes only when it is ed25519', () => {
    const rsa = parseSshPublicKey(sshLine('ssh-rsa', Buffer.from([1, 0, 1]), Buffer.alloc(257, 7)));
    expect(() => ed25519Bytes(rsa)).toThrow('comes from an ssh-ed25519 key, and this is "ssh-rsa"');
  });
});
