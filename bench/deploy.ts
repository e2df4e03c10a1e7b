import { rmSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import type { Run } from '../sandbox/checkout';
import { median } from './median';
import { onSandbox } from './on-sandbox';

/**
 * `npm run bench:deploy`: `cdktf deploy` of one host against `terraform init` and `terraform apply` of the very same
 * JSON, on the sandbox, in turn, and what cdktf takes to start and synthesize before it does anything. Medians.
 */
const RUNS = 3;
const HOST = 'mqtt-01';
const ADDRESS = '127.88.0.1';

async function seconds(action: () => Promise<Run>): Promise<number> {
  const begun = performance.now();
  const { status, output } = await action();
  if (status !== 0) throw new Error(output);
  return (performance.now() - begun) / 1000;
}

async function main(): Promise<void> {
  const figures = { start: [] as number[], cdktf: [] as number[], terraform: [] as number[] };
  await onSandbox(ADDRESS, async (checkout, sandbox) => {
    checkout.writeFleet(sandbox, {
      [HOST]: { vmId: 283, address: '192.0.2.83/24', gateway: '192.0.2.1' },
    });
    const destroy = () => seconds(() => checkout.cdktf('destroy', HOST, '--auto-approve'));
    const forget = () =>
      rmSync(checkout.path(`cdktf.out/stacks/${HOST}/.terraform`), { recursive: true, force: true });
    for (let run = 0; run < RUNS; run++) {
      figures.start.push(await seconds(() => checkout.cdktf('synth')));
      forget();
      figures.cdktf.push(await seconds(() => checkout.cdktf('deploy', HOST, '--auto-approve')));
      await destroy();
      forget();
      const plain = async () => {
        const { status, output } = await checkout.terraform(HOST, 'init', '-input=false');
        if (status !== 0) return { status, output };
        return checkout.terraform(HOST, 'apply', '-input=false', '-auto-approve');
      };
      figures.terraform.push(await seconds(plain));
      await destroy();
    }
  });
  const [start, cdktf, terraform] = [figures.start, figures.cdktf, figures.terraform].map(median) as [
    number,
    number,
    number,
  ];
  process.stdout.write(`deploy of one host                        seconds   (median of ${RUNS})
terraform init && terraform apply         ${terraform.toFixed(2).padStart(7)}
cdktf deploy                              ${cdktf.toFixed(2).padStart(7)}
cdktf synth: its start, and ours          ${start.toFixed(2).padStart(7)}
(cdktf deploy - cdktf synth) / terraform  ${((cdktf - start) / terraform).toFixed(2).padStart(7)}
`);
}

main().catch((error: Error) => {
  console.error(error.message);
  process.exit(1);
});
