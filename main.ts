import { loadFleet } from './fleet/load';
import { FleetApp } from './stacks/fleet-app';

// HOSTKEY_FLEET names another file than the fleet.yaml of the folder that cdktf is run from.
try {
  new FleetApp(loadFleet(process.env.HOSTKEY_FLEET ?? 'fleet.yaml')).synth();
} catch (error) {
  // cdktf shows what stands on stderr; a stack trace would bury the sentence that says what to write.
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
