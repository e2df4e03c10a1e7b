import type { Sandbox } from '../sandbox';
import { until } from './watch';

/**
 * For a shell in a guest: decrypts the YAML on standard input as sops-nix does, with the age identity of the host's own
 * key.
 */
export const DECRYPT_IN_GUEST =
  'SOPS_AGE_KEY=$(ssh-to-age -private-key -i /etc/ssh/ssh_host_ed25519_key) && export SOPS_AGE_KEY && sops decrypt --input-type yaml --output-type yaml /dev/stdin';

/** How a program in a guest ended. */
export interface GuestRun {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program in a guest, as root, through the QEMU guest agent: no network and no login is needed.
 *
 * @throws Error where the guest is off, or its agent doesn't answer
 */
export async function runInGuest(
  sandbox: Sandbox,
  vmid: number,
  command: readonly string[],
  input = '',
): Promise<GuestRun> {
  const agent = `/nodes/${sandbox.node.name}/qemu/${vmid}/agent`;
  const { pid } = (await sandbox.request('POST', `${agent}/exec`, {
    command,
    ...(input === '' ? {} : { 'input-data': input }),
  })) as { pid: number };
  let answer: { exited: number; exitcode?: number; 'out-data'?: string; 'err-data'?: string } = { exited: 0 };
  await until(
    async () => {
      answer = (await sandbox.request('GET', `${agent}/exec-status`, { pid })) as typeof answer;
      return answer.exited === 1;
    },
    120,
    `the end of ${command[0]} in VM ${vmid}`,
  );
  return {
    status: answer.exitcode ?? -1,
    stdout: answer['out-data'] ?? '',
    stderr: answer['err-data'] ?? '',
  };
}
