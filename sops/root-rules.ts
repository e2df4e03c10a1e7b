/** The root `.sops.yaml`, which sops finds and people edit, relative to the fleet's root. */
export const ROOT_RULES = '.sops.yaml';

/** What brings a host's entry in it back: the remedy of much that can be wrong with it. */
export const APPLY_ALL = 'bin/hostkey sops apply --all';
