import { knownHostsLine } from '../../keys/known-hosts';
import { parseSshPublicKey } from '../../keys/ssh-public-key';
import { testKey } from './test-keys';

const { line } = testKey();
const key = parseSshPublicKey(`${line} a comment`);

test('a line names the host by all its names, once each, and carries no comment', () => {
  expect(knownHostsLine(['mqtt-01', '192.0.2.83', 'mqtt-01'], key)).toBe(`mqtt-01,192.0.2.83 ${line}`);
});

test('another port is written as OpenSSH looks it up', () => {
  expect(knownHostsLine(['mqtt-01', '2001:db8::83'], key, 2222)).toBe(
    `[mqtt-01]:2222,[2001:db8::83]:2222 ${line}`,
  );
});
