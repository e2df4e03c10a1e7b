import { runProgram } from '../terraform/program';
import minimums from '../tools/setup/minimums.json';
import { ok, problem, type Result, unknown, warning } from './result';

interface Wanted {
  readonly name: string;
  readonly args: readonly string[];
  /** Finds the version in what it prints. */
  readonly version?: RegExp;
  readonly minimum?: string;
  /** What goes without it; it is a problem where nothing does. */
  readonly optional?: string;
}

/** The programs that people and these commands run. */
export async function checkPrograms(env: NodeJS.ProcessEnv = process.env): Promise<Result[]> {
  const terraform = env.TERRAFORM_BINARY_NAME || 'terraform';
  const isTofu = /tofu/.test(terraform);
  const wanted: Wanted[] = [
    {
      name: terraform,
      args: ['version', '-json'],
      version: /"terraform_version": *"([\d.]+)/,
      minimum: isTofu ? minimums.tofu : minimums.terraform,
    },
    {
      name: 'sops',
      args: ['--disable-version-check', '--version'],
      version: /(\d+\.\d+\.\d+)/,
      minimum: minimums.sops,
    },
    { name: 'ssh', args: ['-V'], version: /OpenSSH_([\d.]+)/ },
    // It has no version, and without arguments it says how it is used.
    { name: 'ssh-keyscan', args: [] },
    {
      name: 'git',
      args: ['--version'],
      version: /(\d+\.\d+\.\d+)/,
      optional: 'uncommitted rules are not noticed',
    },
    {
      name: 'age-keygen',
      args: ['--version'],
      version: /(\d+\.\d+\.\d+)/,
      minimum: minimums.age,
      optional: 'you need it once, to make the key of an admin',
    },
  ];
  return Promise.all(wanted.map((each) => checkProgram(each, env)));
}

async function checkProgram(
  { name, args, version, minimum, optional }: Wanted,
  env: NodeJS.ProcessEnv,
): Promise<Result> {
  const id = `program.${name}`;
  try {
    const { stdout, stderr, status } = await runProgram(name, args, {
      cwd: process.cwd(),
      env: { ...env, CHECKPOINT_DISABLE: '1' },
    });
    if (version === undefined) return ok(id, `${name} is there`);
    const found = `${stdout}${stderr}`.match(version)?.[1];
    if (found === undefined)
      return unknown(id, `${name} doesn't name its version (exit ${status})`, `${name} ${args.join(' ')}`);
    if (minimum !== undefined && isOlder(found, minimum)) {
      return problem(id, `${name} ${found} is too old`, `install ${name} ${minimum} or newer`);
    }
    return ok(id, `${name} ${found}`);
  } catch {
    const message = `${name} is not on PATH`;
    return optional === undefined
      ? problem(id, message, `install ${name}, or npm run setup`)
      : warning(id, `${message}: ${optional}`, `install ${name}`);
  }
}

/** Dotted versions, part by part, by number. */
function isOlder(version: string, than: string): boolean {
  const [a, b] = [version, than].map((text) => text.split('.').map(Number));
  for (let i = 0; i < Math.max(a?.length ?? 0, b?.length ?? 0); i++) {
    const difference = (a?.[i] ?? 0) - (b?.[i] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
