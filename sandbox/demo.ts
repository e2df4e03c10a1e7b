import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import { Command } from 'commander';
import pc from 'picocolors';
import { parse } from 'yaml';
import { loadFleet } from '../fleet/load';
import { toolEnvironment } from '../tools/env';
import { DECRYPT_IN_GUEST, runInGuest } from './guests/run';
import { cloudInitEnded, KeyWatch } from './guests/watch';
import { projectRoot } from './layout';
import { type Sandbox, startSandbox } from './sandbox';

/**
 * `npm run demo`: the whole way on this machine, with proof. Deploys a host of the shipped fleet.yaml on the sandbox,
 * encrypts a secret to it, decrypts it with the key that the host boots with, and deploys again.
 */

const SECRET = 'greeting: hello\n';
/** Under emulation, on a busy machine, a boot takes minutes. */
const BOOT_SECONDS = 400;

/** A claim that did not hold, or a program that failed; the message is all that a reader needs. */
class DemoFailure extends Error {}

interface Step {
  readonly what: string;
  readonly result: string;
  readonly seconds: number;
}

/** Runs programs quietly; what they said is shown when they fail. */
class Shell {
  constructor(private readonly env: NodeJS.ProcessEnv) {}

  /**
   * @param input What the program reads. Secrets go this way or by `env`, never as arguments.
   * @returns Its standard output.
   */
  run(args: readonly [string, ...string[]], input = '', env: NodeJS.ProcessEnv = {}): Promise<string> {
    const [program, ...rest] = args;
    return new Promise((resolve, reject) => {
      const child = spawn(program, rest, { cwd: projectRoot, env: { ...this.env, ...env } });
      let [stdout, all] = ['', ''];
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        stdout += text;
        all += text;
      });
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        all += text;
      });
      child.on('error', reject);
      child.on('close', (code) => {
        if (code === 0) resolve(stdout);
        else reject(new DemoFailure(`${args.join(' ')} failed (exit ${code}):\n${all}`));
      });
      child.stdin.on('error', () => undefined);
      child.stdin.end(input);
    });
  }

  cdktf(...args: string[]): Promise<string> {
    return this.run([process.execPath, path.join(projectRoot, 'node_modules/.bin/cdktf'), ...args]);
  }
}

/** Tells the story on standard error, so that standard output stays for `--json`. */
class Story {
  readonly steps: Step[] = [];

  /** Does a step and tells it. @returns what the step had to say */
  async step(what: string, action: () => Promise<string>): Promise<string> {
    const started = performance.now();
    if (process.stderr.isTTY) process.stderr.write(`${pc.dim('…')} ${what}`);
    try {
      const result = await action();
      const seconds = Math.round((performance.now() - started) / 100) / 10;
      this.steps.push({ what, result, seconds });
      this.line(`${pc.green('✓')} ${what} ${pc.dim(`(${seconds.toFixed(1)} s)`)}`);
      for (const line of result.split('\n')) this.line(`    ${line}`);
      return result;
    } catch (error) {
      this.line(`${pc.red('✗')} ${what}`);
      throw error;
    }
  }

  line(text: string): void {
    process.stderr.write(`${process.stderr.isTTY ? '\r\u001b[K' : ''}${text}\n`);
  }
}

async function demo(host: string, story: Story): Promise<string> {
  // The story's programs run from the root of the checkout, as an operator would run them.
  process.chdir(projectRoot);
  const fleet = loadFleet('fleet.yaml');
  const declared = fleet.hosts.find(({ name }) => name === host);
  if (declared === undefined) {
    throw new DemoFailure(
      `fleet.yaml has no host ${host}; its hosts are ${fleet.hosts.map(({ name }) => name).join(', ')}`,
    );
  }
  let sandbox: Sandbox | undefined;
  await story.step('A Proxmox VE on this machine', async () => {
    const endpoint = new URL(fleet.proxmox.endpoint);
    if (!endpoint.hostname.startsWith('127.')) {
      throw new DemoFailure(
        `fleet.yaml names ${endpoint.origin}; the demo only ever talks to the sandbox on 127.83.0.1`,
      );
    }
    sandbox = await startSandbox({
      address: endpoint.hostname,
      apiPort: Number(endpoint.port),
      detached: true,
      guests: 'if possible',
      say: (line) => story.line(`    ${pc.dim(line)}`),
    });
    return `${sandbox.endpoint}, node ${sandbox.node.name}${sandbox.wasUp ? ' (was up)' : ''}`;
  });
  if (sandbox === undefined) throw new DemoFailure('the sandbox did not come up');
  const { snippets, env } = sandbox;
  const shell = new Shell({ ...toolEnvironment(), ...env });

  await story.step(`cdktf deploy ${host}`, async () => {
    const output = await shell.cdktf('deploy', host, '--auto-approve');
    return output.match(/No changes\.|Resources: \d+ added, \d+ changed, \d+ destroyed/)?.[0] ?? 'done';
  });

  const watch = await watchGuest(sandbox, declared.vmId, story);

  await story.step('A second deploy changes nothing', async () => {
    const output = await shell.cdktf('deploy', host, '--auto-approve');
    if (!output.includes('No changes.'))
      throw new DemoFailure(`the second deploy found something to do:\n${output}`);
    return 'No changes. Your infrastructure matches the configuration.';
  });
  const identity = await hostIdentity(shell, snippets, host);
  const recipient = await recipientOf(shell, identity, host, story);

  await secretRoundTrip(shell, identity, declared.secrets, story, watch);
  return recipient;
}

/** Proof of what a booted guest serves, and of what it can read. */
interface GuestProof {
  boots(): Promise<void>;
  decrypts(encrypted: string): Promise<void>;
}

/** Listens to the guest from now on; undefined where none boots. */
async function watchGuest(sandbox: Sandbox, vmId: number, story: Story): Promise<GuestProof | undefined> {
  const found = (await sandbox.guests()).find(({ vmid }) => vmid === vmId);
  if (!found?.guest?.pid) {
    story.line(
      pc.dim(
        '    no guest boots here: npm run sandbox -- down, then npm run sandbox -- up --guests says why',
      ),
    );
    return undefined;
  }
  const { guest } = found;
  const watch = new KeyWatch(guest);
  return {
    boots: async () => {
      const name = `${guest.address}${guest.port === 22 ? '' : `:${guest.port}`}`;
      await story.step(
        `The guest boots (QEMU, ${guest.accelerator}), and sshd at ${name} answers`,
        async () => {
          await watch.firstKey(BOOT_SECONDS);
          return `after ${watch.sightings[0]?.seconds.toFixed(0)} s`;
        },
      );
      await story.step(
        'From then until cloud-init has ended it serves one key, the declared one',
        async () => {
          await cloudInitEnded(guest, BOOT_SECONDS);
          await watch.end();
          const declared = publicKeyIn(sandbox.snippets, found.name).split(' ')[1];
          if (watch.keys.length !== 1 || watch.keys[0] !== declared) {
            throw new DemoFailure(`the guest served ${watch.keys.join(', ')}, and ${declared} is declared`);
          }
          return `ssh-ed25519 ${declared}`;
        },
      );
    },
    decrypts: async (encrypted) => {
      await story.step(
        'In the guest, its own /etc/ssh/ssh_host_ed25519_key decrypts the secret',
        async () => {
          const { stdout, stderr } = await runInGuest(
            sandbox,
            vmId,
            ['/bin/sh', '-c', DECRYPT_IN_GUEST],
            encrypted,
          );
          if (stdout !== SECRET) throw new DemoFailure(`it did not: ${stderr || stdout}`);
          return stdout.trim();
        },
      );
    },
  };
}

function recipientOf(shell: Shell, identity: string, host: string, story: Story): Promise<string> {
  return story.step('The recipient in .sops.yaml is that of the key the host will boot with', async () => {
    const recipient = (await shell.run(['age-keygen', '-y'], identity)).trim();
    if (!existsSync('.sops.yaml')) {
      throw new DemoFailure(
        `.sops.yaml is gone, and Terraform's state says that ${host} is in it; put it back: bin/hostkey sops apply --all`,
      );
    }
    const { keys } = parse(readFileSync('.sops.yaml', 'utf8')) as { keys?: unknown[] };
    if (!keys?.includes(recipient)) {
      throw new DemoFailure(
        `ssh-to-age says ${recipient} of the key in the snippet, and .sops.yaml does not hold it; put it back: bin/hostkey sops apply --all`,
      );
    }
    return recipient;
  });
}

async function secretRoundTrip(
  shell: Shell,
  identity: string,
  folder: string,
  story: Story,
  guest: GuestProof | undefined,
): Promise<void> {
  const file = `${folder}/demo.yaml`;
  try {
    await story.step(
      `sops encrypts ${file} from the root, to a host that nobody has logged in to`,
      async () => {
        mkdirSync(folder, { recursive: true });
        await shell.run(['sops', 'encrypt', '--filename-override', file, '--output', file], SECRET);
        const { sops } = parse(readFileSync(file, 'utf8')) as { sops: { age: { recipient: string }[] } };
        return `readable by ${sops.age.length} ${sops.age.length === 1 ? 'recipient' : 'recipients'}: ${sops.age.map((age) => age.recipient).join(', ')}`;
      },
    );
    await story.step("The host's own SSH key decrypts it", async () => {
      // No other identity of this machine may help.
      const lonely = { SOPS_AGE_KEY: identity, HOME: '/nonexistent', XDG_CONFIG_HOME: '/nonexistent' };
      const text = await shell.run(['sops', 'decrypt', file], '', lonely);
      if (text !== SECRET) throw new DemoFailure(`decrypted to something else: ${text}`);
      return text.trim();
    });
    await guest?.boots();
    await guest?.decrypts(readFileSync(file, 'utf8'));
  } finally {
    rmSync(file, { force: true });
  }
}

/** What the guest is told at its first boot, as it lies on the node. */
function userDataOf(snippets: string, host: string) {
  return parse(readFileSync(path.join(snippets, `${host}.user-data.yaml`), 'utf8')) as {
    ssh_keys: { ed25519_private: string };
    write_files: { path: string; content: string }[];
  };
}

/** The public half of the key in the uploaded snippet. */
function publicKeyIn(snippets: string, host: string): string {
  const { write_files: files } = userDataOf(snippets, host);
  return files.find((file) => file.path.endsWith('/ssh_host_ed25519_key.pub'))?.content.trim() ?? '';
}

/** The age identity of the host key in the uploaded snippet, by the real ssh-to-age; it stays in memory. */
function hostIdentity(shell: Shell, snippets: string, host: string): Promise<string> {
  return shell.run(['ssh-to-age', '-private-key'], userDataOf(snippets, host).ssh_keys.ed25519_private);
}

const NEXT = (host: string): string => `
What to type next, in this folder:
  . .sandbox/env                                   point this shell at the sandbox
  npx cdktf diff ${host}                          no changes; edit fleet.yaml and look again
  sops edit secrets/${host}/broker.yaml           encrypt a secret to the host
  npx cdktf destroy ${host}                       remove the VM, its key and its rules
  npm run sandbox -- down                          stop the sandbox
`;

async function main(): Promise<number> {
  const program = new Command('npm run demo --')
    .description('Deploy a host of fleet.yaml on the sandbox, and prove that a secret reaches it.')
    .option('--host <name>', 'the host of fleet.yaml to deploy', 'mqtt-01')
    .option('--json', 'print a machine-readable summary on standard output')
    .parse();
  const { host, json } = program.opts<{ host: string; json?: boolean }>();
  const story = new Story();
  try {
    const recipient = await demo(host, story);
    if (json) process.stdout.write(`${JSON.stringify({ ok: true, host, recipient, steps: story.steps })}\n`);
    else story.line(NEXT(host));
    return 0;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    if (json)
      process.stdout.write(
        `${JSON.stringify({ ok: false, host, error: error.message, steps: story.steps })}\n`,
      );
    story.line(error instanceof DemoFailure ? error.message : (error.stack ?? error.message));
    return 1;
  }
}

// A failed step may leave the watch on a guest behind, which must not hold this up.
void main().then((code) => process.exit(code));
