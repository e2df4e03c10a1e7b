import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import type { Fleet } from '../fleet/fleet';
import { readIfReadable } from '../fleet/read-file';
import { identitiesIn } from '../keys/age-identity';
import { formatSshPublicKey, parseSshPublicKey } from '../keys/ssh-public-key';
import { ok, type Result, warning } from './result';

/**
 * Whether whoever runs this can decrypt the secrets: sops finds an identity of one of the admins, where it looks for
 * identities (sops v3.13, age/keysource.go). In CI nobody has to, so nothing here is more than a warning.
 */
export function checkIdentity(
  { admins }: Pick<Fleet, 'admins'>,
  env: NodeJS.ProcessEnv = process.env,
): Result[] {
  const names = Object.entries(admins);
  // That there are none is said of fleet.yaml.
  if (names.length === 0) return [];
  const id = 'sops.identity';
  const found = findIdentities(env);
  const [mine] = names.find(([, recipient]) => found.recipients.has(plain(recipient))) ?? [];
  if (mine !== undefined) return [ok(id, `you can decrypt, as ${mine}`)];
  if (found.others) {
    return [ok(id, "sops finds an identity; whether it is an admin's can't be told from here")];
  }
  const some = found.recipients.size > 0;
  return [
    warning(
      id,
      some
        ? `none of the ${found.recipients.size} identities that sops finds here is an admin's (${names.map(([name]) => name).join(', ')})`
        : 'sops finds no age identity here: you can encrypt, and not decrypt',
      some
        ? 'write your recipient under admins in fleet.yaml, deploy, then: bin/hostkey secrets sync'
        : `export SOPS_AGE_KEY_FILE=FILE, or put the identity of an admin into ${keysFile(env)}`,
    ),
  ];
}

interface Found {
  /** age recipients, and SSH public keys without their comment. */
  readonly recipients: ReadonlySet<string>;
  readonly others: boolean;
}

function findIdentities(env: NodeJS.ProcessEnv): Found {
  const texts = [
    env.SOPS_AGE_KEY ?? '',
    ...[env.SOPS_AGE_KEY_FILE, keysFile(env)].map((file) => (file ? readIfReadable(file) : '')),
  ];
  const identities = texts.map(identitiesIn);
  const ssh = sshKeys(env);
  const recipients = [...identities.flatMap((each) => each.recipients), ...ssh].filter((each) => each !== '');
  const byCommand = Boolean(env.SOPS_AGE_KEY_CMD || env.SOPS_AGE_SSH_PRIVATE_KEY_CMD);
  return {
    recipients: new Set(recipients),
    others: byCommand || ssh.includes('') || identities.some(({ others }) => others > 0),
  };
}

/** `os.UserConfigDir` of Go, which on macOS sops looks beside. */
function keysFile(env: NodeJS.ProcessEnv): string {
  const home = env.HOME ?? homedir();
  const usual = process.platform === 'darwin' ? 'Library/Application Support' : '.config';
  return path.join(env.XDG_CONFIG_HOME || path.join(home, usual), 'sops', 'age', 'keys.txt');
}

/** The SSH keys that sops would use, by their public halves; '' where that doesn't lie beside the private one. */
function sshKeys(env: NodeJS.ProcessEnv): string[] {
  const folder = path.join(env.HOME ?? homedir(), '.ssh');
  const files = [
    env.SOPS_AGE_SSH_PRIVATE_KEY_FILE,
    ...['id_ed25519', 'id_rsa'].map((name) => path.join(folder, name)),
  ];
  return files.flatMap((file) => (file && existsSync(file) ? [plain(readIfReadable(`${file}.pub`))] : []));
}

/** An SSH public key without its comment; anything else as it is. */
function plain(recipient: string): string {
  if (!/^ssh-/.test(recipient)) return recipient.trim();
  try {
    return formatSshPublicKey(parseSshPublicKey(recipient));
  } catch {
    return '';
  }
}
