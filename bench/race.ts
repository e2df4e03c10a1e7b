import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { projectRoot } from '../sandbox/layout';
import { sandboxRecord, startSandbox } from '../sandbox/sandbox';
import { toolEnvironment } from '../tools/env';
import { stopWhenInterrupted } from './on-sandbox';
import type { Bench, Row } from './race/bench';
import { WAYS, type Way } from './race/ways';

/**
 * `npm run bench:race`: boots real guests, asks their sshd for its key five times a second from power-on until
 * cloud-init has ended, and counts the keys; for what people do today, for Options A and B, and for ours.
 */
const PAGE = path.join(projectRoot, 'docs', 'race.md');
const ADDRESS = '127.86.0.1';
const FIRST_VM = 300;

interface Options {
  readonly only?: string;
  readonly guests: number;
  readonly json?: boolean;
}

async function race({ only, guests, json }: Options): Promise<boolean> {
  const chosen = WAYS.filter(({ name }) => only === undefined || name.includes(only));
  if (chosen.length === 0) throw new Error(`no way's name has "${only}" in it; there are:\n${names()}`);
  const folder = mkdtempSync(path.join(tmpdir(), 'hostkey-race-'));
  const say = (line: string) => process.stderr.write(`• ${line}\n`);
  const sandbox = await startSandbox({
    dir: path.join(folder, 'sandbox'),
    home: folder,
    address: ADDRESS,
    guests: true,
    say,
  });
  let told = false;
  stopWhenInterrupted(sandbox, () => {
    told = true;
  });
  try {
    const login = path.join(folder, 'login');
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'operator', '-f', login]);
    const loginPublic = readFileSync(`${login}.pub`, 'utf8').trim();
    const bench: Bench = { sandbox, env: toolEnvironment(), folder, login, loginPublic, bootSeconds: 400 };
    const begun = Date.now();
    const rows = await runAll(bench, chosen, guests, say);
    const minutes = (Date.now() - begun) / 60_000;
    if (json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
    else process.stdout.write(`${table(rows)}\n`);
    if (only === undefined) {
      mkdirSync(path.dirname(PAGE), { recursive: true });
      const accelerator = sandboxRecord(sandbox.dir)?.guests?.accelerator ?? 'tcg';
      writeFileSync(PAGE, page(rows, { accelerator, guests, minutes }));
      say(`Written to ${path.relative(process.cwd(), PAGE)}`);
    }
    const ours = rows.filter(({ way }) => way.startsWith('Ours'));
    return (
      rows.length > 0 &&
      ours.every(({ keys, retries, seconds }) => keys === 1 && retries === 0 && seconds !== undefined)
    );
  } finally {
    if (!told) await sandbox.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** So many guests at a time; the rows in the order of the ways. */
async function runAll(
  bench: Bench,
  ways: readonly Way[],
  guests: number,
  say: (line: string) => void,
): Promise<Row[]> {
  const results: (readonly Row[])[] = [];
  const queue = [...ways.entries()];
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const [index, way] = next;
      say(`${way.name} …`);
      const rows = await way.run(bench, FIRST_VM + index).catch((error: Error) => [unmeasured(way, error)]);
      results[index] = rows;
      for (const row of rows) say(`${row.way} (${row.image}): ${verdict(row)}`);
    }
  };
  await Promise.all(Array.from({ length: guests }, worker));
  return results.flat();
}

/** One way that comes to nothing must not cost the others' figures. */
const unmeasured = (way: Way, error: Error): Row => ({
  way: way.name,
  image: way.image,
  keys: 0,
  sightings: [],
  seconds: undefined,
  steps: [],
  retries: 0,
  failure: error.message.split('\n')[0] as string,
});

const verdict = ({ keys, retries, seconds, failure }: Row): string =>
  `${keys} ${keys === 1 ? 'key' : 'keys'}, ${retries} ${retries === 1 ? 'retry' : 'retries'}, ${
    seconds === undefined ? 'never decrypted' : `decrypted after ${seconds.toFixed(0)} s`
  }${failure ? ` (${failure})` : ''}`;

function table(rows: readonly Row[]): string {
  const head = [
    'way',
    'image',
    'keys',
    'seen at (s)',
    'decrypted (s)',
    'steps',
    'retries',
    'what went wrong',
  ];
  const cells = rows.map((row) => [
    row.way,
    row.image,
    `${row.keys}`,
    row.sightings.map(({ seconds }) => seconds.toFixed(0)).join(', '),
    row.seconds?.toFixed(0) ?? 'never',
    `${row.steps.length}`,
    `${row.retries}`,
    row.failure ?? (row.keys > 1 ? 'the key changed' : ''),
  ]);
  const widths = head.map((name, i) =>
    Math.max(name.length, ...cells.map((line) => (line[i] as string).length)),
  );
  const line = (columns: readonly string[]) =>
    `| ${columns.map((text, i) => text.padEnd(widths[i] as number)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...cells.map(line)].join('\n');
}

function page(rows: readonly Row[], run: { accelerator: string; guests: number; minutes: number }): string {
  const steps = new Map(rows.map(({ way, steps: typed }) => [way, typed]));
  return `# The race, measured

Made by \`npm run bench:race\`; don't edit. Real guests boot in QEMU (${run.accelerator}, ${run.guests} at a time on
${availableParallelism()} cores, ${run.minutes.toFixed(0)} minutes for all), and each one's sshd is asked for its ed25519 key five times a
second, from power-on until cloud-init has ended and a moment longer. The secret is decrypted in the guest by the host's
own key, with ssh-to-age and sops.

The images: cloud-init's modules in the order of Debian (\`ssh\` before sshd starts) or of NixOS (\`ssh\` last, after
sshd started); host keys baked into the template, or none.

${table(rows)}

"keys" is how many distinct keys the host ever served; "seen at" is when each answer was first heard, from the first
command. In the rows of a host's later life it counts everything since its first boot.

What somebody types in each way:

${[...steps].map(([way, typed]) => `- ${way}: ${typed.join(' → ')}`).join('\n')}
`;
}

const names = (): string => WAYS.map(({ name }) => `  ${name}`).join('\n');

function count(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1)
    throw new InvalidArgumentError('A number of guests is 1 or more.');
  return number;
}

const program = new Command('npm run bench:race --')
  .description('Count the host keys that real guests serve, by each way of making a host.')
  .option('--only <text>', 'only the ways with this in their names; docs/race.md stays as it is')
  .option('--guests <number>', 'how many boot at once; each takes up to 1 GiB', count, 2)
  .option('--json', 'print the rows as JSON on standard output')
  .addHelpText(
    'after',
    `\nThe ways:\n${names()}\n\nExit code 1: one of our rows has another key than one, or a retry.`,
  )
  .parse();
race(program.opts<Options>()).then(
  (good) => {
    process.exitCode = good ? 0 : 1;
  },
  (error: Error) => {
    console.error(error.message);
    process.exit(1);
  },
);
