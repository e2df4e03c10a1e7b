import { loadFleet } from './fleet/load';
import { FleetError, formatProblems } from './fleet/problem';
import { FleetApp } from './stacks/fleet-app';

// HOSTKEY_FLEET names another file than the fleet.yaml of the folder that cdktf is run from.
try {
  const fleet = loadFleet(process.env.HOSTKEY_FLEET ?? 'fleet.yaml');
  if (fleet.warnings.length > 0) process.stderr.write(`${formatProblems(fleet.warnings)}\n`);
  new FleetApp(fleet).synth();
} catch (error) {
  if (!(error instanceof FleetError)) throw error;
  // cdktf shows what stands on stderr; a stack trace would bury the lines that say what to write.
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
