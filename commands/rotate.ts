import type { Command } from 'commander';
import { ageRecipientOf } from '../keys/age-recipient';
import { fingerprint } from '../keys/ssh-public-key';
import {
  abort,
  NotDelivered,
  type Position,
  positionOf,
  type RotateOptions,
  rotate,
  STEPS,
} from '../rotation/rotate';
import { coloursOf } from './colours';
import { type FleetOptions, fleetFile, withFleet } from './fleet-option';
import { progress } from './progress';
import { told } from './told';

const pc = coloursOf(process.stdout);

const HELP = `
Gives a running host a new key, without a moment in which it can't decrypt one of its secrets:

  1. fleet.yaml gets nextKey for the host, and Terraform makes the key beside the present one
  2. the host's secrets are encrypted to both keys (hostkey secrets sync; you need an admin's identity)
  3. the secrets reach the host: by --deliver COMMAND, else it stops here; deploy its configuration, then --delivered
  4. the new key is installed over ssh, to a host that has proven its old key, and sshd is reloaded and looked at
  5. the new key becomes hostKey in fleet.yaml, Terraform forgets the old one, and the secrets are encrypted to it alone

Interrupted at any point, the same command goes on. Until step 5 --abort goes back to the old key. Meanwhile hostkey
known-hosts prints both keys; hand it out before step 4, so that nobody's ssh meets a key that it doesn't know. A plan
that would change anything else of the host is refused. Then commit fleet.yaml, .sops.yaml and the secrets.

A host that made its own key (hostKey: { public: … }) gets one that is made here.

Exit codes: 0 done; 2 a step is left to do (delivery, or --status with a rotation under way); 1 it failed, and the
message says what to do.

Examples:
  hostkey rotate mqtt-01 --deliver 'bin/d .#mqtt-01'
  hostkey rotate mqtt-01 --status`;

interface Options extends FleetOptions {
  readonly deliver?: string;
  readonly delivered?: boolean;
  readonly identity?: string;
  readonly status?: boolean;
  readonly abort?: boolean;
  readonly json?: boolean;
}

/** Adds `hostkey rotate`. */
export function addRotateCommand(program: Command): void {
  withFleet(program.command('rotate'))
    .description('give a running host a new key, without a gap')
    .argument('<host>', 'the host')
    .option('--deliver <command>', 'a shell command that brings the synced secrets to the host')
    .option('--delivered', 'the host has the synced secrets')
    .option('-i, --identity <file>', "the private key to log in with (default: ssh's own)")
    .option('--status', 'only tell how far it is')
    .option('--abort', 'go back to the old key')
    .option('--json', 'print how far it is as JSON')
    .addHelpText('after', HELP)
    .action(run);
}

async function run(name: string, options: Options): Promise<void> {
  const file = fleetFile(options);
  const { say, done } = progress();
  const onStep = (step: string, detail: string): void => {
    done();
    if (!options.json) process.stdout.write(`${pc.green('✓')} ${step}: ${detail}\n`);
  };
  const settings: RotateOptions = {
    deliver: options.deliver,
    delivered: options.delivered,
    identity: options.identity,
    onStep,
    say,
  };
  try {
    const position = options.status
      ? await positionOf(file, name)
      : options.abort
        ? await abort(file, name, settings)
        : await rotate(file, name, settings);
    done();
    print(position, options);
    process.exitCode = position.next === 'none' ? 0 : 2;
  } catch (error) {
    done();
    if (!(error instanceof NotDelivered)) throw error;
    process.stderr.write(`hostkey: ${told(error)}\n`);
    if (options.json) print(await positionOf(file, name), options);
    process.exitCode = 2;
  }
}

function print({ host, next, present, coming, served }: Position, { json, status }: Options): void {
  if (json) {
    const key = (each: typeof present) => ({
      fingerprint: fingerprint(each),
      recipient: ageRecipientOf(each),
    });
    const result = {
      host,
      next,
      present: key(present),
      ...(coming === undefined ? {} : { coming: key(coming) }),
      ...(served === undefined ? {} : { served: fingerprint(served) }),
    };
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    return;
  }
  if (next === 'none') {
    process.stdout.write(`${host} has one key, ${fingerprint(present)} (${ageRecipientOf(present)})\n`);
    return;
  }
  if (!status) return;
  const at = STEPS.indexOf(next);
  process.stdout.write(STEPS.map((step, i) => `${i < at ? pc.green('✓') : '·'} ${step}\n`).join(''));
  process.stdout.write(`go on: bin/hostkey rotate ${host}; go back: --abort\n`);
}
