import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { performance } from 'node:perf_hooks';
import { readIfReadable } from '../fleet/read-file';
import { succeeded } from '../sandbox/checkout';
import { onSandbox } from './on-sandbox';

/**
 * `npm run bench:drift [HOSTS]`: on the sandbox, in one run, the time in which a fleet is looked through for drift by
 * `hostkey drift`, by a loop of `cdktf diff`, and by `terraform plan` of the same stacks, as many at once as there are
 * processors (xargs -P). The loop is timed on a part of the fleet, and its time for a host multiplied.
 *
 * All three only ask Terraform: sshd and secrets are left out, since the others don't look at them.
 */
const ADDRESS = '127.89.0.1';
const LOOPED = 5;

interface Timed {
  readonly seconds: number;
  readonly megabytes: number;
}

/** Runs a command, and watches the memory of it and everything it starts. */
async function timed(
  cwd: string,
  env: NodeJS.ProcessEnv,
  program: string,
  ...args: string[]
): Promise<Timed> {
  const begun = performance.now();
  const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (output += data));
  let peak = 0;
  const watch = setInterval(() => {
    if (child.pid !== undefined) peak = Math.max(peak, residentBytes(child.pid));
  }, 100);
  const status = await new Promise((done) => child.on('close', done));
  clearInterval(watch);
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}:\n${output}`);
  return { seconds: (performance.now() - begun) / 1000, megabytes: Math.round(peak / 2 ** 20) };
}

/** The proportional set size of a process and its descendants: memory that they share counts once. */
function residentBytes(root: number): number {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc').filter((each) => /^\d+$/.test(each))) {
    const stat = readIfReadable(`/proc/${name}/stat`);
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    parents.set(Number(name), parent);
  }
  const belongs = (pid: number): boolean =>
    pid === root || (parents.has(pid) && belongs(parents.get(pid) ?? 0));
  return [...parents.keys()]
    .filter(belongs)
    .map(
      (pid) => Number(readIfReadable(`/proc/${pid}/smaps_rollup`).match(/^Pss:\s+(\d+)/m)?.[1] ?? 0) * 1024,
    )
    .reduce((sum, bytes) => sum + bytes, 0);
}

async function main(count: number): Promise<void> {
  await onSandbox(ADDRESS, async (checkout, sandbox, env) => {
    await sandbox.control('time_scale', { value: 0 });
    const names = Array.from({ length: count }, (_, i) => `host-${String(i + 1).padStart(3, '0')}`);
    checkout.writeFleet(
      sandbox,
      Object.fromEntries(
        names.map((name, i) => [name, { vmId: 1000 + i, address: `10.9.${i >> 7}.${(i & 127) + 1}/16` }]),
      ),
    );
    const parallel = availableParallelism();
    process.stderr.write(`deploying ${count} hosts…\n`);
    succeeded(await checkout.cdktf('deploy', '*', '--auto-approve', '--parallelism', String(parallel)));
    const at = (program: string, ...args: string[]) => timed(checkout.folder, env, program, ...args);

    const drift = await at(
      process.execPath,
      'bin/hostkey',
      'drift',
      '--skip',
      'rules',
      'live',
      'secrets',
      '--json',
    );

    succeeded(await checkout.cdktf('synth'));
    const stacks = names.map((name) => `cdktf.out/stacks/${name}`);
    if (!stacks.every((stack) => existsSync(checkout.path(stack, '.terraform'))))
      throw new Error('a stack lost its init');
    const plans = await at(
      'sh',
      '-c',
      `printf '%s\\n' "$@" | xargs -P ${parallel} -I STACK terraform -chdir=STACK plan -input=false -lock=false -detailed-exitcode`,
      'sh',
      ...stacks,
    );
    const looped = Math.min(LOOPED, count);
    let diffs = 0;
    for (const name of names.slice(0, looped))
      diffs += (await at(process.execPath, 'node_modules/.bin/cdktf', 'diff', name)).seconds;
    const loop = (diffs / looped) * count;
    const row = (what: string, seconds: number, note: string) =>
      `${what.padEnd(44)} ${seconds.toFixed(1).padStart(7)} s  ${note}\n`;
    process.stdout.write(
      `${count} hosts, ${parallel} processors\n` +
        row('hostkey drift', drift.seconds, `${drift.megabytes} MiB at most`) +
        row(
          `terraform plan, ${parallel} at once (xargs)`,
          plans.seconds,
          `${plans.megabytes} MiB at most; synth and init done before`,
        ) +
        row(
          'cdktf diff, one after another',
          loop,
          `from ${looped} hosts, ${(diffs / looped).toFixed(1)} s each`,
        ) +
        `drift is ${(loop / drift.seconds).toFixed(1)} x as fast as the loop (goal: 8), ` +
        `and ${(plans.seconds / drift.seconds).toFixed(1)} x as fast as terraform plan (goal: 1.5)\n`,
    );
  });
}

void main(Number(process.argv[2] ?? 100)).catch((error: unknown) => {
  process.stderr.write(`bench:drift: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
