import { judgeCredentials } from '../../doctor/credentials';
import { sshLoginIn } from '../../doctor/node-ssh';
import { checkNode, isOlder } from '../../doctor/programs';
import { judgeStates } from '../../doctor/repository';
import { diskSize, inGib } from '../../doctor/sizes';
import { credentialsIn } from '../../proxmox/environment';
import type { StateReading } from '../../terraform/state';
import { fleet } from './facts';

test.each([
  ['1.9.9', '1.10.0', true],
  ['1.10.0', '1.9.9', false],
  ['1.6', '1.6.0', false],
  ['1.5.7', '1.6.0', true],
  ['3.9.0', '3.9.0', false],
  ['(devel)', '1.1.0', false],
])('is %s older than %s: %s', (version, than, expected) => {
  expect(isOlder(version, than)).toBe(expected);
});

test('the Node.js that runs this is new enough, and an old one is told', () => {
  expect(checkNode(process.versions.node).status).toBe('ok');
  expect(checkNode('18.20.0')).toMatchObject({ status: 'problem', message: 'node 18.20.0 is too old' });
});

test.each([
  ['local-lvm:base-9000-disk-0,discard=on,size=3G', 3 * 2 ** 30],
  ['local-lvm:vm-1-disk-0,size=2252M,ssd=1', 2252 * 2 ** 20],
  ['local:9000/base-9000-disk-0.qcow2,size=1.5T', 1.5 * 2 ** 40],
  ['none,media=cdrom', undefined],
  ['local-lvm:vm-1-disk-0,maxsize=3G', undefined],
])('the size of %s', (drive, bytes) => {
  expect(diskSize(drive)).toBe(bytes);
});

test('bytes for people', () => {
  expect([3 * 2 ** 30, 2252 * 2 ** 20, 0].map(inGib)).toEqual(['3 GiB', '2.2 GiB', '0 GiB']);
});

describe('the login on the nodes is the one that the provider takes', () => {
  const KEY = { PROXMOX_VE_SSH_PRIVATE_KEY: 'x' };
  test.each<[string, NodeJS.ProcessEnv, string | undefined, object]>([
    ['the fleet names it', { PROXMOX_VE_SSH_USERNAME: 'a' }, 'root', { user: 'root' }],
    [
      'the environment names it',
      { PROXMOX_VE_SSH_USERNAME: 'a', ...KEY },
      undefined,
      { user: 'a', key: true },
    ],
    [
      "the API's user and password",
      { PROXMOX_VE_USERNAME: 'root@pam', PROXMOX_VE_PASSWORD: 'x' },
      undefined,
      { user: 'root', password: true },
    ],
    [
      'not that user, where a token logs in',
      { PROXMOX_VE_USERNAME: 'root@pam', PROXMOX_VE_PASSWORD: 'x', PROXMOX_VE_API_TOKEN: 'a@pve!b=c' },
      undefined,
      { user: undefined, password: false },
    ],
    ["the session's agent", { PROXMOX_VE_SSH_AGENT: '1', SSH_AUTH_SOCK: '/a' }, 'root', { agent: '/a' }],
    [
      'an agent of its own',
      { PROXMOX_VE_SSH_AGENT: 'true', PROXMOX_VE_SSH_AUTH_SOCK: '/b' },
      'root',
      { agent: '/b' },
    ],
    ['an agent that is not to be asked', { SSH_AUTH_SOCK: '/a' }, 'root', { agent: undefined }],
  ])('%s', (_what, env, own, expected) => {
    expect(sshLoginIn(env, own)).toMatchObject(expected);
  });
});

describe('credentials', () => {
  const of = fleet('mqtt-01: { vmId: 283 }');
  const TOKEN = { PROXMOX_VE_API_TOKEN: 'terraform@pve!hostkey=0123-secret' };
  const told = (env: NodeJS.ProcessEnv) =>
    judgeCredentials(credentialsIn(env), of, env).map(
      ({ status, id, message }) => `${status} ${id}: ${message}`,
    );

  test('are named, and not shown', () => {
    expect(told(TOKEN)).toEqual(['ok credentials: PROXMOX_VE_API_TOKEN is the token terraform@pve!hostkey']);
    expect(told({ PROXMOX_VE_USERNAME: 'root@pam', PROXMOX_VE_PASSWORD: 'hunter2' }).join()).not.toContain(
      'hunter2',
    );
  });

  test('an endpoint that is not used, and a certificate that is not checked', () => {
    expect(
      told({ ...TOKEN, PROXMOX_VE_INSECURE: 'true', PROXMOX_VE_ENDPOINT: 'https://other:8006' }),
    ).toEqual([
      expect.stringMatching(/^ok credentials: /),
      expect.stringMatching(/^warning credentials\.insecure: /),
      expect.stringMatching(/^warning credentials\.endpoint: /),
    ]);
    expect(told({ ...TOKEN, PROXMOX_VE_ENDPOINT: 'https://pve1.example.net:8006' })).toHaveLength(1);
  });
});

describe('states', () => {
  const of = fleet(...Array.from({ length: 10 }, (_, i) => `h-${i}: { vmId: ${200 + i} }`));
  const absent: StateReading = { status: 'absent' };
  const bad: StateReading = { status: 'unreadable', message: 'it is locked away', remedy: 'log in' };
  const readings = (reading: StateReading, count: number) =>
    new Map(of.hosts.slice(0, count).map(({ name }) => [name, reading]));

  test('that were read', () => {
    expect(judgeStates(of, readings(absent, 10))).toMatchObject([
      { message: 'state in local: 0 of 10 hosts are deployed' },
    ]);
    expect(judgeStates(of, readings(absent, 4))).toMatchObject([
      { message: 'state in local: 0 of 4 hosts that were asked, of 10, are deployed' },
    ]);
  });

  test("that can't be read are told a few times, and counted", () => {
    const results = judgeStates(of, readings(bad, 10));
    expect(results.map(({ message }) => message)).toEqual([
      'h-0: it is locked away',
      'h-1: it is locked away',
      'h-2: it is locked away (and those of 7 more)',
    ]);
    expect(results.every(({ status }) => status === 'problem')).toBe(true);
  });
});
