import { stringify } from 'yaml';

/** A cloud-config document: cloud-init's modules by name (cloudinit.readthedocs.io, module reference). */
export type CloudConfig = Readonly<Record<string, unknown>>;

interface HostKeyFiles {
  readonly privateKey: string;
  readonly publicKey: string;
}

/** What {@link composeCloudConfig} puts into the first boot of a host. */
export interface CloudConfigParts {
  /** The host's name: a DNS label. */
  readonly hostName: string;
  /** The key pair to install; undefined where the host has a key of its own that must be left alone. */
  readonly hostKey: (HostKeyFiles & { readonly rsa?: HostKeyFiles }) | undefined;
  /** The folder that sshd reads its host key from. */
  readonly hostKeyDirectory: string;
  /** The login user that gets the authorized keys; undefined leaves it to the template. */
  readonly user: string | undefined;
  readonly authorizedKeys: readonly string[];
  /** The user's own cloud-config, merged in. */
  readonly own: CloudConfig;
}

/** A user's cloud-config says something that would undo the host key; the message says what and what to do. */
export class CloudConfigConflict extends Error {
  override readonly name = 'CloudConfigConflict';

  /** @param key The key of the cloud-config that is in the way. */
  constructor(
    readonly key: string,
    why: string,
  ) {
    super(`cloud-config: "${key}" ${why}`);
  }
}

/** Keys that belong to the host key, and why nobody else may set them. */
const OURS: Readonly<Record<string, string>> = {
  ssh_keys: 'is how the declared host key is installed; remove it',
  ssh_deletekeys: 'is false here, for else a new address would cost the host its key; remove it',
  ssh_genkeytypes: 'would make keys beside the declared one; remove it',
  hostname: "is the host's name in the fleet; remove it, or rename the host",
  preserve_hostname: "would keep the template's name; remove it",
  cloud_init_modules:
    "changes the order that installs the host key; set it in the template's /etc/cloud/cloud.cfg",
  cloud_config_modules:
    "changes the order that installs the host key; set it in the template's /etc/cloud/cloud.cfg",
  cloud_final_modules:
    "changes the order that installs the host key; set it in the template's /etc/cloud/cloud.cfg",
};

/** Lists that ours and the user's both add to: ours first. */
const JOINED = ['bootcmd', 'write_files', 'ssh_authorized_keys'] as const;

/**
 * The cloud-config of a host's first boot.
 *
 * What makes the host serve one key in its whole life, whatever the order of the modules in the template:
 * - `bootcmd` runs before sshd everywhere, and once an instance removes the host keys that the template left;
 * - `write_files` runs before sshd everywhere, and installs the declared pair;
 * - a second `bootcmd`, at every boot, has the pair installed again where it is empty: a power cut soon after the first
 *   boot can leave a file without the content that was written to it, and cloud-init's note that it was written;
 * - `ssh_deletekeys: false` keeps the `ssh` module, which NixOS runs after sshd has started, from deleting it again;
 * - `ssh_keys` keeps the same module from making keys of other types beside it.
 *
 * @throws CloudConfigConflict when the user's part would undo any of that.
 */
export function composeCloudConfig(parts: CloudConfigParts): CloudConfig {
  refuseConflicts(parts);
  const { hostKey, hostKeyDirectory, own } = parts;
  const ours: Record<string, unknown> = { hostname: parts.hostName };
  if (parts.user !== undefined) {
    ours.user = parts.user;
    if (parts.user === 'root') ours.disable_root = false;
  }
  ours.ssh_deletekeys = false;
  if (hostKey !== undefined) {
    const { rsa } = hostKey;
    const keys = [{ type: 'ed25519', ...hostKey }, ...(rsa === undefined ? [] : [{ type: 'rsa', ...rsa }])];
    const fileOf = (type: string) => `${hostKeyDirectory}/ssh_host_${type}_key`;
    ours.bootcmd = [
      ['cloud-init-per', 'instance', 'hostkey-purge', 'sh', '-c', purge(hostKeyDirectory)],
      ['sh', '-c', restore(keys.map(({ type }) => fileOf(type)))],
    ];
    ours.write_files = keys.flatMap(({ type, privateKey, publicKey }) => [
      hostKeyFile(fileOf(type), '0600', privateKey),
      hostKeyFile(`${fileOf(type)}.pub`, '0644', publicKey),
    ]);
    // The private half alone: cloud-init writes a public half that it's given with mode 0600.
    ours.ssh_keys = Object.fromEntries(
      keys.map(({ type, privateKey }) => [`${type}_private`, `${privateKey}\n`]),
    );
  }
  if (parts.authorizedKeys.length > 0) ours.ssh_authorized_keys = [...parts.authorizedKeys];

  const joined = Object.fromEntries(
    JOINED.filter((key) => key in ours && key in own).map((key) => [
      key,
      [...list(ours[key]), ...list(own[key])],
    ]),
  );
  return { ...ours, ...own, ...joined };
}

/**
 * The user data document, with values of Terraform's in place of the placeholders that stand for them.
 *
 * Everything else is written so that Terraform takes it literally: `${` and `%{` of a user's script stay what they
 * are. A value may have several lines; it is indented to where it stands.
 *
 * @param values Placeholder → Terraform expression without `${}`.
 */
export function renderUserData(config: CloudConfig, values: Readonly<Record<string, string>>): string {
  // cloud-init reads YAML 1.1 (PyYAML), where a bare `no` is a boolean and `12:30` a number: a text is quoted for it.
  const text = `#cloud-config\n${stringify(config, { lineWidth: 0, blockQuote: 'literal', version: '1.1' })}`;
  const literal = text.replace(/[$%](?=\{)/g, '$&$&');
  return Object.entries(values).reduce(
    (document, [placeholder, expression]) =>
      document.replace(
        new RegExp(`^( *)${placeholder}$`, 'gm'),
        (_, indent: string) => `${indent}\${indent(${indent.length}, trimspace(${expression}))}`,
      ),
    literal,
  );
}

function refuseConflicts({ hostName, hostKey, own }: CloudConfigParts): void {
  for (const [key, why] of Object.entries(OURS)) {
    if (key === 'hostname' && own.hostname === hostName) continue;
    if (key in own) throw new CloudConfigConflict(key, why);
  }
  for (const key of JOINED) {
    if (key in own && !Array.isArray(own[key])) throw new CloudConfigConflict(key, 'must be a list');
  }
  if (hostKey === undefined) return;
  for (const file of list(own.write_files)) {
    const path = typeof file === 'object' && file !== null && 'path' in file ? String(file.path) : '';
    if (/\/ssh_host_[^/]*$/.test(path)) {
      throw new CloudConfigConflict(
        'write_files',
        `writes ${path}, a host key; the declared one is written already`,
      );
    }
  }
  for (const key of ['bootcmd', 'runcmd']) {
    const touching = list(own[key])
      .map((command) => (Array.isArray(command) ? command.join(' ') : String(command)))
      .find(changesHostKeys);
    if (touching !== undefined) {
      throw new CloudConfigConflict(
        key,
        `changes host keys ("${touching}"); the declared key is installed already`,
      );
    }
  }
}

/** Whether a command makes, replaces or removes host keys. To read one, as sops does at first boot, is fine. */
function changesHostKeys(command: string): boolean {
  if (/ssh-keygen\s+-A|dpkg-reconfigure\s.*openssh-server/.test(command)) return true;
  const changes =
    /\b(rm|mv|cp|ln|tee|dd|install|shred|truncate|unlink|chmod|chown)\s|\bsed\s+-i|>\s*\S*ssh_host_|ssh-keygen\s(?!.*-[yl])/;
  return command.includes('ssh_host_') && changes.test(command);
}

/** Removes every host key, of whatever type and with whatever certificate, where sshd or the template keep them. */
function purge(directory: string): string {
  const patterns = [...new Set(['/etc/ssh', directory])].map((folder) => `${folder}/ssh_host_*`);
  return `mkdir -p ${directory} && rm -f ${patterns.join(' ')}`;
}

/** Lets `write_files`, which runs once an instance and comes next, run again. */
function restore(files: readonly string[]): string {
  const there = files.map((file) => `[ -s ${file} ] && [ -s ${file}.pub ]`).join(' && ');
  return `${there} || rm -f /var/lib/cloud/instance/sem/config_write_files`;
}

function hostKeyFile(path: string, permissions: string, content: string): object {
  return { path, owner: 'root:root', permissions, content: `${content}\n` };
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
