import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import { median } from './median';

/**
 * `npm run bench:synth`: how long `main.ts` takes for fleets of 1, 100 and 1,000 hosts, as whole processes, without
 * cdktf's own start, and how much memory. Each figure is the median of several runs, taken in turn.
 */
const PROJECT = path.resolve(__dirname, '..');
const SIZES = [1, 100, 1000];
const RUNS = 3;

interface Sample {
  readonly seconds: number;
  readonly mebibytes: number;
}

/** Runs main.ts as cdktf would, and lets it say its own peak memory on the way out. */
function synth(folder: string): Sample {
  const report =
    "process.on('exit',()=>process.getBuiltinModule('node:fs').writeSync(3,String(process.resourceUsage().maxRSS)))";
  const started = performance.now();
  const { status, stderr, output } = spawnSync(
    process.execPath,
    ['--import', `data:text/javascript,${report}`, 'bin/run', 'main.ts'],
    { cwd: folder, stdio: ['ignore', 'ignore', 'pipe', 'pipe'], encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`synth failed:\n${stderr}`);
  return { seconds: (performance.now() - started) / 1000, mebibytes: Number(output[3]) / 1024 };
}

function fleetOf(hosts: number): string {
  const lines = Array.from(
    { length: hosts },
    (_, i) => `  host-${i}: { vmId: ${1000 + i}, address: 10.1.${i >> 8}.${i & 255}/8 }`,
  );
  return `proxmox:
  endpoint: https://127.83.0.1:8006/
  nodes: { pve1: { address: 127.83.0.1 } }
defaults: { node: pve1, template: 9000, disk: local-lvm, snippets: local }
hosts:
${lines.join('\n')}
`;
}

function main(): void {
  const samples = new Map<number, Sample[]>(SIZES.map((size) => [size, []]));
  const folders = new Map(
    SIZES.map((size) => [size, mkdtempSync(path.join(tmpdir(), `hostkey-synth-${size}-`))]),
  );
  try {
    for (const [size, folder] of folders) {
      for (const name of [
        'main.ts',
        'bin',
        'constructs',
        'fleet',
        'keys',
        'sops',
        'stacks',
        'package.json',
      ]) {
        cpSync(path.join(PROJECT, name), path.join(folder, name), { recursive: true });
      }
      symlinkSync(path.join(PROJECT, 'node_modules'), path.join(folder, 'node_modules'));
      writeFileSync(path.join(folder, 'fleet.yaml'), fleetOf(size));
      synth(folder);
    }
    for (let run = 0; run < RUNS; run++) {
      for (const [size, folder] of folders) samples.get(size)?.push(synth(folder));
    }
  } finally {
    for (const folder of folders.values()) rmSync(folder, { recursive: true, force: true });
  }
  const one = median((samples.get(1) ?? []).map(({ seconds }) => seconds));
  process.stdout.write(`hosts   seconds   ratio to 1   peak MiB   (median of ${RUNS})\n`);
  for (const [size, taken] of samples) {
    const seconds = median(taken.map((sample) => sample.seconds));
    const memory = median(taken.map((sample) => sample.mebibytes));
    process.stdout.write(
      `${String(size).padStart(5)} ${seconds.toFixed(2).padStart(9)} ${(seconds / one).toFixed(2).padStart(12)} ${memory.toFixed(0).padStart(10)}\n`,
    );
  }
}

main();
