import { loadFleet } from './fleet/load';
import { FleetError } from './fleet/problem';
import { FleetApp } from './stacks/fleet-app';

// HOSTKEY_FLEET names another file than the fleet.yaml of the folder that cdktf is run from.
try {
  new FleetApp(loadFleet(process.env.HOSTKEY_FLEET ?? 'fleet.yaml')).synth();
} catch (error) {
  if (!(error instanceof FleetError)) throw error;
  // cdktf shows what stands on stderr; a stack trace would bury the lines that say what to write.
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
