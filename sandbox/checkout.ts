import { execFileSync, spawn } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { projectRoot } from './layout';
import { type Sandbox, type SandboxOptions, startSandbox } from './sandbox';

/** The tests, and what a demo left in this checkout. */
const LEFT_OUT = /^(__tests__\/|secrets\/|\.sops\.yaml$)/;

/** What a program said and how it ended. */
export interface Run {
  readonly status: number | null;
  /** Standard output and standard error, in the order in which they came. */
  readonly output: string;
}

/** What a program said that must go well. */
export function succeeded({ status, output }: Run): string {
  if (status !== 0) throw new Error(`exit ${status}:\n${output}`);
  return output;
}

/**
 * A second checkout of this project in a folder of its own: the files that git would bring, and the installed
 * packages and programs by reference. It remembers everything that was printed in it.
 */
export class Checkout {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'hostkey-'));
  private readonly printed: string[] = [];

  constructor(private env: NodeJS.ProcessEnv) {
    const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
      cwd: projectRoot,
      encoding: 'utf8',
    });
    for (const file of files.split('\0').filter((name) => name !== '' && !LEFT_OUT.test(name))) {
      mkdirSync(path.dirname(this.path(file)), { recursive: true });
      cpSync(path.join(projectRoot, file), this.path(file));
    }
    for (const link of ['node_modules', '.tools']) symlinkSync(path.join(projectRoot, link), this.path(link));
  }

  /** The environment of what is run from now on. */
  use(env: NodeJS.ProcessEnv): void {
    this.env = env;
  }

  /** Brings up a sandbox of its own in it, at an address of 127.0.0.0/8. Whoever asks for it stops it. */
  startSandbox(address: string, more: Pick<SandboxOptions, 'guests'> = {}): Promise<Sandbox> {
    return startSandbox({ dir: this.path('.sandbox'), home: this.folder, address, ...more });
  }

  path(...parts: string[]): string {
    return path.join(this.folder, ...parts);
  }

  read(...parts: string[]): string {
    return readFileSync(this.path(...parts), 'utf8');
  }

  /** Writes a fleet.yaml of these hosts, as the schema has them, on a sandbox. */
  writeFleet({ endpoint, node }: Sandbox, hosts: Readonly<Record<string, object>>): void {
    const { name, address, port } = node;
    const fleet = {
      proxmox: { endpoint, nodes: { [name]: { address, port } } },
      defaults: { node: name, template: 9000, disk: 'local-lvm', snippets: 'local' },
      hosts,
    };
    // JSON is YAML.
    writeFileSync(this.path('fleet.yaml'), JSON.stringify(fleet, null, 2));
  }

  /** Everything that programs printed here so far. */
  get transcript(): string {
    return this.printed.join('');
  }

  /**
   * `npx cdktf …`, without npx's own start. With OpenTofu, cdktf doesn't see that the lock file is complete, and would
   * ask the registry; `--skip-provider-lock` says that it is.
   */
  cdktf(command: string, ...args: string[]): Promise<Run> {
    const locked =
      this.env.TERRAFORM_BINARY_NAME === 'tofu' && command !== 'synth' ? ['--skip-provider-lock'] : [];
    return this.run('.', process.execPath, 'node_modules/.bin/cdktf', command, ...args, ...locked);
  }

  /** terraform or tofu in the folder of a host's stack, as somebody would who has walked away from cdktf. */
  terraform(host: string, ...args: string[]): Promise<Run> {
    return this.run(`cdktf.out/stacks/${host}`, this.env.TERRAFORM_BINARY_NAME ?? 'terraform', ...args);
  }

  /** Does something with more in the environment. */
  async with<Result>(more: NodeJS.ProcessEnv, action: () => Promise<Result>): Promise<Result> {
    const before = this.env;
    this.env = { ...before, ...more };
    try {
      return await action();
    } finally {
      this.env = before;
    }
  }

  run(folder: string, program: string, ...args: string[]): Promise<Run> {
    return new Promise((resolve, reject) => {
      const child = spawn(program, args, { cwd: this.path(folder), env: this.env });
      const chunks: string[] = [];
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8');
        stream.on('data', (text: string) => chunks.push(text));
      }
      child.stdin.end();
      child.on('error', reject);
      child.on('close', (status) => {
        const output = chunks.join('');
        this.printed.push(`$ ${program} ${args.join(' ')}\n${output}`);
        resolve({ status, output });
      });
    });
  }

  /** Every file below a folder of the checkout, links not followed. */
  files(folder = '.'): string[] {
    return readdirSync(this.path(folder), { recursive: true, encoding: 'utf8' })
      .map((name) => path.join(folder, name))
      .filter((name) => !/(^|\/)(node_modules|\.tools|\.terraform|\.terraform\.d|\.git)(\/|$)/.test(name))
      .filter((name) => statSync(this.path(name)).isFile());
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
