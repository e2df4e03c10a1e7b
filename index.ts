/**
 * The public surface: constructs for anybody's CDKTF app, the stack and app that this project's own `main.ts` is made
 * of, and the pure functions on keys that they share.
 */
export { AgeRecipient, type AgeRecipientProps } from './constructs/age-recipient';
export { type CloudConfig, CloudConfigConflict } from './constructs/cloud-config';
export { FirstBoot, type FirstBootProps } from './constructs/first-boot';
export { HostKey } from './constructs/host-key';
export {
  type NetworkProps,
  ProxmoxHost,
  type ProxmoxHostProps,
  type TemplateRef,
} from './constructs/proxmox-host';
export { SopsRules, type SopsRulesProps } from './constructs/sops-rules';
export type { Fleet, Host } from './fleet/fleet';
export { loadFleet } from './fleet/load';
export { ageRecipientOf, checkAgeRecipient } from './keys/age-recipient';
export { knownHostsLine } from './keys/known-hosts';
export {
  fingerprint,
  formatSshPublicKey,
  KeyFormatError,
  parseSshPublicKey,
  type SshPublicKey,
} from './keys/ssh-public-key';
export { FleetApp } from './stacks/fleet-app';
export { HostStack, type HostStackProps } from './stacks/host-stack';
