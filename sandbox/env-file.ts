import { join } from 'node:path';
import { shellWord } from '../fleet/shell';
import { type Layout, projectRoot } from './layout';

/**
 * Variables of a real Proxmox VE that somebody may have in the shell. Beside the sandbox's own they would log
 * in elsewhere, or switch off a check that the sandbox means to pass.
 */
const FOREIGN = [
  'PROXMOX_VE_AUTH_TICKET',
  'PROXMOX_VE_CSRF_PREVENTION_TOKEN',
  'PROXMOX_VE_ENDPOINT',
  'PROXMOX_VE_INSECURE',
  'PROXMOX_VE_PASSWORD',
  'PROXMOX_VE_SSH_PASSWORD',
  'PROXMOX_VE_SSH_SOCKS5_SERVER',
  'PROXMOX_VE_USERNAME',
] as const;

/**
 * The text to source. The SSH key is read from its file at that moment: this file repeats no private key.
 *
 * @param variables the sandbox's environment, `PROXMOX_VE_SSH_PRIVATE_KEY` among it or not
 */
export function envFile(paths: Layout, variables: Readonly<Record<string, string>>): string {
  const toolEnv = join(projectRoot, '.tools', 'env');
  const exports = Object.entries(variables)
    .filter(([name]) => name !== 'PROXMOX_VE_SSH_PRIVATE_KEY')
    .map(([name, value]) => `export ${name}=${shellWord(value)}`);
  return [
    '# Source this: . .sandbox/env',
    `if [ -r ${shellWord(toolEnv)} ]; then . ${shellWord(toolEnv)}; fi`,
    `unset ${FOREIGN.join(' ')}`,
    ...exports,
    `PROXMOX_VE_SSH_PRIVATE_KEY="$(cat ${shellWord(paths.clientKey)})"`,
    'export PROXMOX_VE_SSH_PRIVATE_KEY',
    '',
  ].join('\n');
}
