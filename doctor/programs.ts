import { engines } from '../package.json';
import { type Ended, lastWords, runProgram } from '../terraform/program';
import minimums from '../tools/setup/minimums.json';
import { ok, problem, type Result, warning } from './result';

interface Wanted {
  readonly name: string;
  readonly args: readonly string[];
  /** Finds in what it prints its version, or that it works, where it names none. */
  readonly answer: RegExp;
  readonly minimum?: string;
  /** What goes without it; it is a problem where nothing does. */
  readonly optional?: string;
}

const TIMEOUT_MS = 10_000;

/** The programs that people and these commands run, as they are found on PATH. */
export async function checkPrograms(env: NodeJS.ProcessEnv = process.env): Promise<Result[]> {
  const terraform = env.TERRAFORM_BINARY_NAME || 'terraform';
  const wanted: Wanted[] = [
    {
      name: terraform,
      args: ['version', '-json'],
      answer: /"terraform_version": *"([\d.]+)/,
      minimum: /tofu/.test(terraform) ? minimums.tofu : minimums.terraform,
    },
    {
      name: 'sops',
      args: ['--disable-version-check', '--version'],
      answer: /(\d+\.\d+\.\d+)/,
      minimum: minimums.sops,
    },
    { name: 'ssh', args: ['-V'], answer: /OpenSSH_([\d.]+)/ },
    // It has no version, and without arguments it says how it is used.
    { name: 'ssh-keyscan', args: [], answer: /usage: ssh-keyscan/ },
    {
      name: 'git',
      args: ['--version'],
      answer: /(\d+\.\d+\.\d+)/,
      optional: 'uncommitted rules are not noticed',
    },
    {
      name: 'age-keygen',
      args: ['--version'],
      answer: /v?(\d+\.\d+\.\d+|\(devel\)|\(unknown\))/,
      minimum: minimums['age-keygen'],
      optional: 'you need it once, to make the key of an admin',
    },
  ];
  return [
    checkNode(process.versions.node),
    ...(await Promise.all(wanted.map((each) => checkProgram(each, env)))),
  ];
}

/** @param version The one that runs this. */
export function checkNode(version: string): Result {
  const minimum = engines.node.replace(/^>=/, '');
  return isOlder(version, minimum)
    ? problem('program.node', `node ${version} is too old`, `install Node.js ${minimum} or newer`)
    : ok('program.node', `node ${version}`);
}

async function checkProgram(wanted: Wanted, env: NodeJS.ProcessEnv): Promise<Result> {
  const { name, args, optional } = wanted;
  const id = `program.${name}`;
  const bad = (message: string, remedy: string): Result =>
    optional === undefined ? problem(id, message, remedy) : warning(id, `${message}: ${optional}`, remedy);
  let ended: Ended;
  try {
    ended = await runProgram(name, args, {
      cwd: process.cwd(),
      env: { ...env, CHECKPOINT_DISABLE: '1' },
      timeoutMs: TIMEOUT_MS,
    });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === undefined
      ? bad(`${name} is not on PATH`, `install ${name}; or npm run setup, and . .tools/env`)
      : bad(`${name} can't be run (${code})`, `command -v ${name}`);
  }
  return judgeProgram(wanted, ended, bad);
}

function judgeProgram(
  { name, args, answer, minimum }: Wanted,
  ended: Ended,
  bad: (message: string, remedy: string) => Result,
): Result {
  const id = `program.${name}`;
  const [found, version] = `${ended.stdout}${ended.stderr}`.match(answer) ?? [];
  if (found === undefined) {
    // Such as the shim of a version manager that has none of it installed.
    const why = ended.status === null ? `it said nothing for ${TIMEOUT_MS / 1000} s` : lastWords(ended);
    return bad(`${name} is on PATH, and fails: ${why || `exit ${ended.status}`}`, [name, ...args].join(' '));
  }
  if (version !== undefined && minimum !== undefined && isOlder(version, minimum)) {
    return bad(`${name} ${version} is too old`, `install ${name} ${minimum} or newer`);
  }
  return ok(id, version === undefined ? `${name} is there` : `${name} ${version}`);
}

/** Dotted versions, part by part, by number: 1.10 is newer than 1.9, and 1.6 is 1.6.0. What is no version isn't older. */
export function isOlder(version: string, than: string): boolean {
  const [a = [], b = []] = [version, than].map((text) => text.split('.').map(Number));
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
