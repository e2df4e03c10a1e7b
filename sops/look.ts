import type { Fleet } from '../fleet/fleet';
import { readStates, type StateReading } from '../terraform/state';
import { readersOf, readSecrets, type Secrets, type SecretsOptions } from './secrets';

/** Secrets, and the states that they were compared with. */
export type Looked = Secrets & { readonly states: ReadonlyMap<string, StateReading> };

/**
 * `readSecrets`, by the states of those hosts that these secrets concern; of all hosts where nothing is chosen.
 *
 * @throws CreationRulesError where the root `.sops.yaml` can't be read.
 */
export async function lookAtSecrets(fleet: Fleet, options: SecretsOptions = {}): Promise<Looked> {
  const isAll = options.hosts === undefined && options.files === undefined;
  const readers = readersOf(fleet, options);
  const states = await readStates(
    fleet,
    isAll ? fleet.hosts : fleet.hosts.filter(({ name }) => readers.has(name)),
  );
  return { ...readSecrets(fleet, states, options), states };
}
