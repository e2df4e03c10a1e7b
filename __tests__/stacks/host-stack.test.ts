import path from 'node:path';
import { App } from 'cdktf';
import { parseFleet } from '../../fleet/load';
import { FleetError } from '../../fleet/problem';
import { HostStack } from '../../stacks/host-stack';
import { testKey } from '../keys/test-keys';

const PROJECT = path.resolve(__dirname, '../..');

function synthesize(host: string, more = ''): string {
  const fleet = parseFleet(
    `proxmox:
  endpoint: https://pve1.example.net:8006/
  nodes: { pve1: { address: 192.0.2.11 } }
defaults: { node: pve1, template: 9000, disk: local-lvm, snippets: local }
hosts:
  mqtt-01: ${host}
${more}`,
    { file: 'fleet.yaml', root: PROJECT },
  );
  const [declared] = fleet.hosts;
  if (declared === undefined) throw new Error('no host');
  const app = new App({ outdir: path.join(PROJECT, 'cdktf.out') });
  return JSON.stringify(new HostStack(app, { fleet, host: declared }).toTerraform(), null, 2);
}

const PLAIN = '{ vmId: 283, address: 192.0.2.83/24, gateway: 192.0.2.1 }';

describe('the stack of a host', () => {
  test('is synthesized as reviewed', () => {
    expect(synthesize(PLAIN)).toMatchSnapshot();
  });

  test('holds relative paths only', () => {
    expect(synthesize(PLAIN)).not.toContain(PROJECT);
  });

  test('declares the next key beside the present one, and boots with the present one', () => {
    const stack = JSON.parse(synthesize('{ vmId: 283, nextKey: { generation: 2 } }'));
    expect(Object.keys(stack.resource.tls_private_key)).toEqual(['host_key_ed25519', 'host_key_2_ed25519']);
    const { value } = stack.output.next_public_key;
    expect(value).toBe('${trimspace(tls_private_key.host_key_2_ed25519.public_key_openssh)}');
    const locals = JSON.stringify(stack.locals);
    expect(stack.locals.first_boot_private_key).toContain('tls_private_key.host_key_ed25519.');
    expect(locals.match(/host_key_2_ed25519/g)).toHaveLength(1); // the recipient's
    expect(stack.output.known_hosts.value.split('\n')).toHaveLength(2);

    const after = JSON.parse(synthesize('{ vmId: 283, hostKey: { generation: 2 } }'));
    expect(Object.keys(after.resource.tls_private_key)).toEqual(['host_key_2_ed25519']);
    expect(after.resource.proxmox_virtual_environment_vm).toEqual(
      JSON.parse(synthesize('{ vmId: 283 }')).resource.proxmox_virtual_environment_vm,
    );
  });

  test('makes an RSA key beside it where one is asked for', () => {
    const stack = JSON.parse(synthesize('{ vmId: 283, hostKeyTypes: [ed25519, rsa] }'));
    expect(stack.resource.tls_private_key.host_key_rsa).toMatchObject({ algorithm: 'RSA', rsa_bits: 4096 });
    const [{ data }] = [stack.resource.proxmox_virtual_environment_file.first_boot_snippet.source_raw].flat();
    for (const file of ['ssh_host_rsa_key', 'ssh_host_rsa_key.pub', 'ssh_host_ed25519_key'])
      expect(data).toContain(`path: /etc/ssh/${file}\n`);
    expect(stack.output.age_recipient).toEqual(JSON.parse(synthesize(PLAIN)).output.age_recipient);
  });

  test('makes no key and injects none where the host is adopted by its public key', () => {
    const { line } = testKey();
    const stack = JSON.parse(synthesize(`{ vmId: 283, hostKey: { public: "${line} root@mqtt-01" } }`));
    expect(stack.resource).not.toHaveProperty('tls_private_key');
    expect(stack.output.host_public_key.value).toBe(line);
    expect(stack.output.age_recipient.value).toMatch(/^age1/);
    expect(JSON.stringify(stack.resource.proxmox_virtual_environment_file)).not.toContain('ssh_host_');
  });

  test.each([
    ['a local state', '', { local: { path: '../../../state/mqtt-01.tfstate' } }],
    [
      'a remote state',
      'state: { s3: { bucket: fleet, region: eu-central-1, key: "hosts/{host}.tfstate" } }',
      { s3: { bucket: 'fleet', region: 'eu-central-1', key: 'hosts/mqtt-01.tfstate' } },
    ],
  ])('keeps %s of its own', (_, state, backend) => {
    expect(JSON.parse(synthesize(PLAIN, state)).terraform.backend).toEqual(backend);
  });

  test('has no IPv4 where it has only an IPv6 address', () => {
    const stack = JSON.parse(synthesize('{ vmId: 283, address6: "2001:db8::83/64" }'));
    const [{ ip_config }] = [stack.resource.proxmox_virtual_environment_vm.proxmox_vm.initialization].flat();
    expect([ip_config].flat()).toEqual([{ ipv6: { address: '2001:db8::83/64' } }]);
  });

  test('refuses cloud-config that would undo the key, and names the place', () => {
    const own = '{ vmId: 283, cloudConfig: { ssh_deletekeys: true } }';
    expect(() => synthesize(own)).toThrow(FleetError);
    expect(() => synthesize(own)).toThrow(
      /^fleet\.yaml:6:\d+: hosts\.mqtt-01\.cloudConfig: cloud-config: "ssh_deletekeys" is false here/,
    );
  });
});
