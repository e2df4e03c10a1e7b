import { parseFleet } from '../../fleet/load';
import { FleetError } from '../../fleet/problem';

/** An ed25519 public key that is a point on the curve. */
export const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f';

/** Lines 1 to 3. */
export const PROXMOX = `proxmox:
  endpoint: https://pve1.example.net:8006/
  nodes: { pve1: { address: 192.0.2.11 }, pve2: { address: 192.0.2.12 } }
`;

/** Line 4. */
export const DEFAULTS = 'defaults: { node: pve1, template: 9000, disk: local-lvm }\n';

/** A fleet whose hosts start on line 6, each a line in flow form. */
export function fleetOf(...hosts: string[]): string {
  if (hosts.length === 0) return `${PROXMOX}${DEFAULTS}hosts: {}\n`;
  return `${PROXMOX}${DEFAULTS}hosts:\n${hosts.map((host) => `  ${host}\n`).join('')}`;
}

/** A fleet of one host with these settings, on line 6; they start in column 25. */
export function hostWith(settings: string): string {
  return fleetOf(`mqtt-01: { vmId: 283, ${settings} }`);
}

export function parse(text: string) {
  return parseFleet(text, { file: 'fleet.yaml', root: '/repo' });
}

/** The lines of the error that a text brings about, without the file's name; none where it is good. */
export function problemsOf(read: () => unknown): string[] {
  return errorOf(read)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replace(/^fleet\.yaml:/, ''));
}

/** The whole message of the error that a text brings about. */
export function errorOf(read: () => unknown): string {
  try {
    read();
    return '';
  } catch (error) {
    if (error instanceof FleetError) return error.message;
    throw error;
  }
}
