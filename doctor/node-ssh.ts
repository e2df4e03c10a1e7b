import { copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import path from 'node:path';
import type { Fleet } from '../fleet/fleet';
import { lastWords, runProgram } from '../terraform/program';
import { ok, problem, type Result, unknown } from './result';

/**
 * Whether the nodes let the provider's login in, and let it write snippets: asked with OpenSSH, with what the provider
 * reads from the environment (`PROXMOX_VE_SSH_*`). Nothing is written, neither there nor into known_hosts.
 */
export async function checkNodeSsh(fleet: Fleet, env: NodeJS.ProcessEnv = process.env): Promise<Result[]> {
  const names = [...new Set(fleet.hosts.map(({ node }) => node))];
  const folder = mkdtempSync(path.join(tmpdir(), 'hostkey-doctor-'));
  try {
    const known = path.join(homeOf(env), '.ssh', 'known_hosts');
    const copy = path.join(folder, 'known_hosts');
    if (existsSync(known)) copyFileSync(known, copy);
    const key = env.PROXMOX_VE_SSH_PRIVATE_KEY;
    const keyFile = path.join(folder, 'key');
    if (key) writeFileSync(keyFile, key.endsWith('\n') ? key : `${key}\n`, { mode: 0o600 });
    return await Promise.all(
      names.map((node) => checkNode(fleet, node, copy, key ? keyFile : undefined, env)),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const homeOf = ({ HOME }: NodeJS.ProcessEnv): string => HOME ?? homedir();

async function checkNode(
  { proxmox }: Fleet,
  node: string,
  known: string,
  keyFile: string | undefined,
  env: NodeJS.ProcessEnv,
): Promise<Result> {
  const id = `ssh.${node}`;
  const { address = '', port = 22 } = proxmox.nodes[node] ?? {};
  const user = proxmox.sshUsername ?? env.PROXMOX_VE_SSH_USERNAME ?? env.PROXMOX_VE_USERNAME?.split('@')[0];
  const where = `${user ?? '?'}@${address} port ${port}`;
  if (!user)
    return problem(id, `nobody says whom to log in to ${node} as`, 'export PROXMOX_VE_SSH_USERNAME=root');
  const agent = /^(1|t|true)$/i.test(env.PROXMOX_VE_SSH_AGENT ?? '');
  if (keyFile === undefined && !agent) {
    return env.PROXMOX_VE_SSH_PASSWORD || env.PROXMOX_VE_PASSWORD
      ? unknown(id, `${where} is logged in to by a password, which can't be tried here`)
      : problem(
          id,
          `nothing says how to log in as ${where}`,
          'export PROXMOX_VE_SSH_AGENT=true, or PROXMOX_VE_SSH_PRIVATE_KEY',
        );
  }
  const options = [
    'BatchMode=yes',
    'ConnectTimeout=10',
    // As the provider does: an unknown node is believed, a changed one is not.
    'StrictHostKeyChecking=accept-new',
    `UserKnownHostsFile=${known}`,
    ...(keyFile === undefined ? [] : ['IdentitiesOnly=yes', `IdentityFile=${keyFile}`]),
    ...(agent ? [] : ['IdentityAgent=none']),
  ];
  const args = [
    '-F',
    'none',
    '-p',
    String(port),
    ...options.flatMap((option) => ['-o', option]),
    `${user}@${address}`,
  ];
  const ended = await runProgram('ssh', [...args, 'true'], { cwd: process.cwd(), env });
  if (ended.status === 0) return ok(id, `${where} lets the provider in`);
  if (/IDENTIFICATION HAS CHANGED|Host key verification failed/.test(ended.stderr)) {
    const name = port === 22 ? address : `[${address}]:${port}`;
    return problem(
      id,
      `${where} has another SSH host key than ~/.ssh/known_hosts says`,
      `if that is right: ssh-keygen -R '${name}'`,
    );
  }
  if (/Permission denied/.test(ended.stderr)) {
    return problem(id, `${where} doesn't let this key in`, `ssh-copy-id -p ${port} ${user}@${address}`);
  }
  return problem(id, `${where}: ${lastWords(ended)}`, `ssh -p ${port} ${user}@${address}`);
}
