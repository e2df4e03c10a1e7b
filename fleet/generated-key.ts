/**
 * The id of a generated key in its host's stack, which the names of its resources in the state begin with. A later
 * generation has one of its own, so that it keeps it when it takes over.
 */
export const generatedKeyId = (generation: number): string =>
  generation === 1 ? 'host_key' : `host_key_${generation}`;
