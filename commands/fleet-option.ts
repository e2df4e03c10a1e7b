import { type Command, InvalidArgumentError } from 'commander';
import type { Fleet, Host } from '../fleet/fleet';
import { loadFleet } from '../fleet/load';
import { didYouMean, show } from '../fleet/problem';

/** What every command that reads the fleet takes. */
export interface FleetOptions {
  /** Set where the command line says so. */
  readonly fleet?: string;
}

/** Adds `--fleet FILE`; without it the file is that of main.ts: `HOSTKEY_FLEET`, else fleet.yaml. */
export function withFleet(command: Command): Command {
  return command.option('--fleet <file>', "the fleet's file (default: HOSTKEY_FLEET, or fleet.yaml)");
}

/** An error whose message is all that a person needs: the program prints it and ends with 1. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}

/** The fleet's file that is meant. */
export function fleetFile({ fleet }: FleetOptions): string {
  return fleet ?? process.env.HOSTKEY_FLEET ?? 'fleet.yaml';
}

/** @throws FleetError with everything that is wrong in the file. */
export function loadFleetFor(options: FleetOptions): Fleet {
  return loadFleet(fleetFile(options));
}

/**
 * The hosts of these names, in the order of the fleet; all where there are no names.
 *
 * @throws CommandError for a name that is no host's.
 */
export function hostsNamed(fleet: Fleet, names: readonly string[]): readonly Host[] {
  const known = fleet.hosts.map(({ name }) => name);
  for (const name of names) {
    if (known.includes(name)) continue;
    throw new CommandError(`${show(name)} is no host of ${fleet.file}; ${didYouMean(name, known)}`);
  }
  return names.length === 0 ? fleet.hosts : fleet.hosts.filter(({ name }) => names.includes(name));
}

/** Parses a whole number above 0. */
export function positive(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1)
    throw new InvalidArgumentError('write a whole number from 1 on');
  return number;
}
