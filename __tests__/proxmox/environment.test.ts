import { credentialsIn, isOn, oldestTls, proxyFor } from '../../proxmox/environment';

const TOKEN = 'terraform@pve!hostkey=00000000-0000-4000-8000-000000000000';

test.each<[string, NodeJS.ProcessEnv, object]>([
  [
    'a token, before all others',
    {
      PROXMOX_VE_API_TOKEN: TOKEN,
      PROXMOX_VE_USERNAME: 'root@pam',
      PROXMOX_VE_PASSWORD: 'x',
    },
    { kind: 'token', user: 'terraform@pve', token: 'terraform@pve!hostkey' },
  ],
  [
    'a token that is none, whatever else there is',
    { PROXMOX_VE_API_TOKEN: 'x', PROXMOX_VE_USERNAME: 'root@pam', PROXMOX_VE_PASSWORD: 'x' },
    { kind: 'none', message: 'PROXMOX_VE_API_TOKEN holds no token' },
  ],
  [
    'a ticket',
    { PROXMOX_VE_AUTH_TICKET: 'PVE:root@pam:65::x', PROXMOX_VE_CSRF_PREVENTION_TOKEN: 'y' },
    { kind: 'ticket', user: 'root@pam' },
  ],
  [
    'half a ticket',
    { PROXMOX_VE_AUTH_TICKET: 'PVE:root@pam:65::x' },
    {
      kind: 'none',
      message: 'PROXMOX_VE_AUTH_TICKET is set without PROXMOX_VE_CSRF_PREVENTION_TOKEN',
    },
  ],
  [
    'a password',
    { PROXMOX_VE_USERNAME: 'root@pam', PROXMOX_VE_PASSWORD: 'x' },
    { kind: 'password', user: 'root@pam' },
  ],
  [
    'a user without a realm',
    { PROXMOX_VE_USERNAME: 'root', PROXMOX_VE_PASSWORD: 'x' },
    { kind: 'none', message: 'PROXMOX_VE_USERNAME has no realm' },
  ],
  ['nothing', {}, { kind: 'none', message: 'no credentials for the API are set' }],
])('%s', (_what, env, expected) => {
  const found = credentialsIn(env);
  expect(found).toMatchObject(expected);
  // The secret stays where it is.
  expect(JSON.stringify(found)).not.toContain('00000000-');
});

test.each(['', 'a@b', 'a@b!c', 'a@b!c=', 'a@b!c=d e', 'a!c=d', 'PVEAPIToken=a@b!c=d=e', ' a@b!c=d'])(
  '%j is no token',
  (token) => {
    expect(credentialsIn({ PROXMOX_VE_API_TOKEN: token }).kind).toBe('none');
  },
);

test('yes is said as the provider reads it', () => {
  expect(['true', '1'].map(isOn)).toEqual([true, true]);
  expect([undefined, '', 'True', 't', 'yes', '0', 'false'].some(isOn)).toBe(false);
});

test("the oldest TLS version: the fleet's, else the environment's, else 1.3", () => {
  expect(oldestTls('1.2', { PROXMOX_VE_MIN_TLS: '1.3' })).toBe('TLSv1.2');
  expect(oldestTls(undefined, { PROXMOX_VE_MIN_TLS: '1.2' })).toBe('TLSv1.2');
  expect(oldestTls(undefined, {})).toBe('TLSv1.3');
  expect(oldestTls(undefined, { PROXMOX_VE_MIN_TLS: 'none' })).toBe('TLSv1.3');
});

test('a proxy, and never for this machine', () => {
  const env = { HTTPS_PROXY: 'http://proxy.example.net:3128' };
  expect(proxyFor('pve1.example.net', env)).toBe(env.HTTPS_PROXY);
  expect(proxyFor('pve1.example.net', {})).toBeUndefined();
  expect(['localhost', '127.83.0.1', '[::1]'].map((host) => proxyFor(host, env))).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
});
