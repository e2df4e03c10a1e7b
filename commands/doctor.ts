import type { Command } from 'commander';
import { examine, type Section } from '../doctor/doctor';
import type { Result } from '../doctor/result';
import { coloursOf } from './colours';
import { type FleetOptions, fleetFile, withFleet } from './fleet-option';
import { progress } from './progress';

const pc = coloursOf(process.stdout);

const HELP = `
Looks at the programs, fleet.yaml, the credentials, the API and what the token may do there, the nodes, datastores,
bridges, templates and VM ids, SSH to the nodes, the states, .sops.yaml, your age identity and git, and says what to
type where something is missing. It changes nothing: not here, not in Proxmox VE, not on the nodes.

  ✓ well   ! works, and is worth a look   ✗ something will fail   ? could not be told   - not asked, since …

It takes the credentials from where the provider takes them: PROXMOX_VE_* and SSL_CERT_FILE in the environment.

Exit codes: 0 all is well, or only worth a look; 2 something is missing; 1 something could not be told.

Examples:
  hostkey doctor
  hostkey doctor --read-only            with the token of a nightly hostkey drift
  hostkey doctor --json | jq -r '.results[] | select(.status == "problem") | .remedy'`;

interface Options extends FleetOptions {
  readonly readOnly?: boolean;
  readonly json?: boolean;
}

/** Adds `hostkey doctor`. */
export function addDoctorCommand(program: Command): void {
  withFleet(program.command('doctor'))
    .description('tell what is missing for this fleet to work')
    .option('--read-only', 'only what hostkey drift needs: no SSH to the nodes, no right to change anything')
    .option('--json', 'print the results as JSON')
    .addHelpText('after', HELP)
    .action(run);
}

async function run({ readOnly = false, json = false, ...options }: Options): Promise<void> {
  const { say, done } = progress();
  try {
    say('looking');
    const sections = await examine({ file: fleetFile(options), readOnly });
    done();
    const results = sections.flatMap((section) => section.results);
    if (json) process.stdout.write(`${JSON.stringify({ results }, null, 2)}\n`);
    else process.stdout.write(`${sections.map(sectionText).join('\n')}\n${summary(results)}`);
    const { problem, unknown } = count(results);
    process.exitCode = problem > 0 ? 2 : unknown > 0 ? 1 : 0;
  } finally {
    done();
  }
}

const MARKS: Readonly<Record<Result['status'], string>> = {
  ok: pc.green('✓'),
  warning: pc.yellow('!'),
  problem: pc.red('✗'),
  unknown: pc.magenta('?'),
  skipped: pc.dim('-'),
};

function sectionText({ title, results }: Section): string {
  return `${pc.bold(title)}\n${results.map(resultText).join('')}`;
}

function resultText({ status, message, remedy = '' }: Result): string {
  const lines = [message, ...(remedy === '' ? [] : remedy.split('\n').map((line) => `    ${line}`))];
  return `  ${MARKS[status]} ${lines.join('\n')}\n`;
}

function count(results: readonly Result[]): Readonly<Record<Result['status'], number>> {
  const of = (status: Result['status']) => results.filter((result) => result.status === status).length;
  return {
    ok: of('ok'),
    warning: of('warning'),
    problem: of('problem'),
    unknown: of('unknown'),
    skipped: of('skipped'),
  };
}

function summary(results: readonly Result[]): string {
  const { ok, warning, problem, unknown, skipped } = count(results);
  const parts = [
    [problem, problem === 1 ? 'problem' : 'problems'],
    [unknown, 'could not be told'],
    [warning, 'worth a look'],
    [skipped, 'not asked'],
    [ok, 'well'],
  ] as const;
  return `${parts
    .filter(([number]) => number > 0)
    .map(([number, what]) => `${number} ${what}`)
    .join(', ')}\n`;
}
