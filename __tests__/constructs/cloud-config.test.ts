import fc from 'fast-check';
import { parse } from 'yaml';
import { type CloudConfigParts, composeCloudConfig, renderUserData } from '../../constructs/cloud-config';

const KEY = { privateKey: '@@PRIVATE@@', publicKey: '@@PUBLIC@@' };

function parts(changes: Partial<CloudConfigParts> = {}): CloudConfigParts {
  return {
    hostName: 'mqtt-01',
    hostKey: KEY,
    hostKeyDirectory: '/etc/ssh',
    user: undefined,
    authorizedKeys: [],
    own: {},
    ...changes,
  };
}

describe('the first boot of a host with a declared key', () => {
  test('purges, writes and protects the key', () => {
    expect(composeCloudConfig(parts())).toEqual({
      hostname: 'mqtt-01',
      ssh_deletekeys: false,
      bootcmd: [
        [
          'cloud-init-per',
          'instance',
          'hostkey-purge',
          'sh',
          '-c',
          'mkdir -p /etc/ssh && rm -f /etc/ssh/ssh_host_*',
        ],
        [
          'sh',
          '-c',
          '[ -s /etc/ssh/ssh_host_ed25519_key ] && [ -s /etc/ssh/ssh_host_ed25519_key.pub ] || rm -f /var/lib/cloud/instance/sem/config_write_files',
        ],
      ],
      write_files: [
        {
          path: '/etc/ssh/ssh_host_ed25519_key',
          owner: 'root:root',
          permissions: '0600',
          content: '@@PRIVATE@@\n',
        },
        {
          path: '/etc/ssh/ssh_host_ed25519_key.pub',
          owner: 'root:root',
          permissions: '0644',
          content: '@@PUBLIC@@\n',
        },
      ],
      ssh_keys: { ed25519_private: '@@PRIVATE@@\n' },
    });
  });

  test('serves a root that is wiped at boot: the key goes elsewhere, and both folders are purged', () => {
    const config = composeCloudConfig(parts({ hostKeyDirectory: '/persist/etc/ssh' }));
    expect(JSON.stringify(config.bootcmd)).toContain(
      'mkdir -p /persist/etc/ssh && rm -f /etc/ssh/ssh_host_* /persist/etc/ssh/ssh_host_*',
    );
    expect(JSON.stringify(config.write_files)).toContain('"/persist/etc/ssh/ssh_host_ed25519_key"');
  });

  test('lets root in where root is the login user', () => {
    expect(composeCloudConfig(parts({ user: 'root' }))).toMatchObject({ user: 'root', disable_root: false });
    expect(composeCloudConfig(parts({ user: 'ops' }))).not.toHaveProperty('disable_root');
  });

  test("keeps the user's part, ours first in the lists", () => {
    const config = composeCloudConfig(
      parts({
        authorizedKeys: ['ssh-ed25519 ours'],
        own: {
          timezone: 'UTC',
          bootcmd: ['echo theirs'],
          write_files: [{ path: '/etc/motd', content: 'hi' }],
          ssh_authorized_keys: ['ssh-ed25519 theirs'],
        },
      }),
    );
    expect(config.timezone).toBe('UTC');
    expect(config.bootcmd).toHaveLength(3);
    expect((config.bootcmd as unknown[])[2]).toBe('echo theirs');
    expect((config.write_files as { path: string }[]).map((file) => file.path)).toEqual([
      '/etc/ssh/ssh_host_ed25519_key',
      '/etc/ssh/ssh_host_ed25519_key.pub',
      '/etc/motd',
    ]);
    expect(config.ssh_authorized_keys).toEqual(['ssh-ed25519 ours', 'ssh-ed25519 theirs']);
  });

  test.each([
    [{ ssh_keys: {} }, '"ssh_keys" is how the declared host key is installed'],
    [{ ssh_deletekeys: true }, '"ssh_deletekeys" is false here'],
    [{ ssh_genkeytypes: ['rsa'] }, '"ssh_genkeytypes" would make keys beside'],
    [{ hostname: 'other' }, '"hostname" is the host\'s name in the fleet'],
    [{ cloud_config_modules: [] }, '"cloud_config_modules" changes the order'],
    [{ bootcmd: 'one' }, '"bootcmd" must be a list'],
    [
      { write_files: [{ path: '/etc/ssh/ssh_host_rsa_key' }] },
      'writes /etc/ssh/ssh_host_rsa_key, a host key',
    ],
    [{ runcmd: [['ssh-keygen', '-A']] }, '"runcmd" changes host keys ("ssh-keygen -A")'],
    [{ runcmd: ['rm /etc/ssh/ssh_host_*'] }, '"runcmd" changes host keys'],
  ])('refuses what would undo it: %j', (own, message) => {
    expect(() => composeCloudConfig(parts({ own }))).toThrow(message);
  });
});

test('the first boot of an adopted host installs nothing and keeps its key', () => {
  expect(composeCloudConfig(parts({ hostKey: undefined }))).toEqual({
    hostname: 'mqtt-01',
    ssh_deletekeys: false,
  });
});

describe('the document', () => {
  const values = { '@@PRIVATE@@': 'local.private', '@@PUBLIC@@': 'local.public' };

  test('holds the key only as a reference, indented to its place', () => {
    const text = renderUserData(composeCloudConfig(parts()), values);
    expect(text).toMatch(/^#cloud-config\n/);
    expect(text).toContain('    content: |\n      ${indent(6, trimspace(local.private))}\n');
    expect(text).not.toContain('@@');
  });

  /** What Terraform makes of the template, for the two constructs that it has. */
  function evaluate(template: string, key: string): string {
    return template
      .replace(
        /(^|[^$])\$\{indent\((\d+), trimspace\(local\.private\)\)\}/gm,
        (_, before: string, n: string) =>
          before.concat(key.trim().replaceAll('\n', `\n${' '.repeat(Number(n))}`)),
      )
      .replaceAll('$${', '${')
      .replaceAll('%%{', '%{');
  }

  test('quotes what YAML 1.1, and so cloud-init, would not take for a text', () => {
    const text = renderUserData({ a: 'no', b: '0644', c: '12:30', d: true }, {});
    expect(text).toBe('#cloud-config\na: "no"\nb: "0644"\nc: "12:30"\nd: true\n');
  });

  test('means the same to cloud-init after Terraform has been through it, whatever the user wrote', () => {
    const scalar = fc.oneof(
      fc.string(),
      fc.constantFrom(
        '${HOME}',
        '$${x}',
        '%{ if true }',
        'a\nb: c\n',
        '${indent(2, trimspace(local.private))}',
        '  x',
      ),
      fc.boolean(),
      fc.integer(),
    );
    fc.assert(
      fc.property(fc.dictionary(fc.stringMatching(/^own_[a-z]{1,8}$/), scalar), (own) => {
        const config = composeCloudConfig(parts({ own }));
        const text = evaluate(
          renderUserData(config, values).replaceAll('local.public', 'local.private'),
          'K1\nK2\n',
        );
        const expected = JSON.parse(
          JSON.stringify(config).replaceAll('@@PRIVATE@@', 'K1\\nK2').replaceAll('@@PUBLIC@@', 'K1\\nK2'),
        );
        expect(parse(text, { version: '1.1' })).toEqual(expected);
      }),
    );
  });
});

describe('a command of the user that names a host key', () => {
  const composed = (command: unknown) => () => composeCloudConfig({ ...parts(), own: { runcmd: [command] } });

  test.each([
    'rm -f /etc/ssh/ssh_host_*',
    'ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key',
    ['sh', '-c', 'cat /root/key > /etc/ssh/ssh_host_ed25519_key'],
    'ssh-keygen -A',
  ])('is refused where it changes it: %j', (command) => {
    expect(composed(command)).toThrow('changes host keys');
  });

  test.each([
    'SOPS_AGE_KEY=$(ssh-to-age -private-key -i /etc/ssh/ssh_host_ed25519_key) sops decrypt /root/a >/run/a',
    'ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key',
    'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub',
  ])('may read it: %j', (command) => {
    expect(composed(command)).not.toThrow();
  });
});
