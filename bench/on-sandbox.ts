import { Checkout } from '../sandbox/checkout';
import type { Sandbox } from '../sandbox/sandbox';
import { toolEnvironment } from '../tools/env';

/** Ends a sandbox when the benchmark is interrupted. */
export function stopWhenInterrupted(sandbox: Sandbox, onSignal: () => void = () => undefined): void {
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => {
      onSignal();
      void sandbox.stop().then(() => process.exit(130));
    });
  }
}

/** Runs a benchmark in a checkout with a sandbox of its own, and leaves nothing of both. */
export async function onSandbox<Result>(
  address: string,
  action: (checkout: Checkout, sandbox: Sandbox, env: NodeJS.ProcessEnv) => Promise<Result>,
): Promise<Result> {
  const tools = toolEnvironment();
  const checkout = new Checkout(tools);
  const sandbox = await checkout.startSandbox(address);
  stopWhenInterrupted(sandbox);
  try {
    const env = { ...tools, ...sandbox.env };
    checkout.use(env);
    return await action(checkout, sandbox, env);
  } finally {
    await sandbox.stop();
    checkout.remove();
  }
}
