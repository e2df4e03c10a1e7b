import { spawn } from 'node:child_process';

/** A program could not be run, or failed; the message says which and what to do. */
export class ProgramError extends Error {
  override readonly name = 'ProgramError';

  constructor(
    message: string,
    /** What to type; empty where nobody knows. */
    readonly remedy = '',
  ) {
    super(message);
  }
}

/** Terraform, or what `TERRAFORM_BINARY_NAME` names instead, as cdktf has it. */
const terraformProgram = (): string => process.env.TERRAFORM_BINARY_NAME || 'terraform';

/** How a program ended. Its output may hold secrets: only what has been looked through is handed on. */
export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Told every line of standard output as it comes. */
  readonly onLine?: (line: string) => void;
  /** Run by a shell, as `app` of cdktf.json is. @default false */
  readonly shell?: boolean;
  /** Killed after this many milliseconds; the status is null then. @default it takes as long as it takes */
  readonly timeoutMs?: number;
  /** Written to its standard input. @default none: it has no standard input */
  readonly input?: string;
}

const running = new Set<ReturnType<typeof spawn>>();
// Whoever ends this program ends what it started; without a terminal no signal reaches them otherwise.
process.on('exit', () => {
  for (const child of running) child.kill('SIGTERM');
});

/**
 * Runs a program to its end.
 *
 * @throws ProgramError where there is no such program.
 */
export function runProgram(program: string, args: readonly string[], options: RunOptions): Promise<Ended> {
  const { cwd, env = process.env, onLine, shell = false, timeoutMs, input } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd, env, shell, stdio: ['pipe', 'pipe', 'pipe'] });
    // A program that ends without reading it all breaks the pipe; how it ended tells more.
    child.stdin.on('error', () => undefined).end(input);
    running.add(child);
    // Not spawn's own: where the program can't be started, that would keep this one waiting.
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    let [stdout, stderr, line] = ['', '', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      if (onLine === undefined) return;
      const lines = (line + text).split('\n');
      line = lines.pop() ?? '';
      lines.forEach(onLine);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      running.delete(child);
      if (error.code !== 'ENOENT') reject(error);
      else reject(new ProgramError(`${program} is not installed, or not on PATH`, `install ${program}`));
    });
    child.on('exit', () => {
      clearTimeout(timer);
      if (!child.killed) return;
      // What a killed program has started may live on, and hold its ends of these.
      child.stdout.destroy();
      child.stderr.destroy();
    });
    child.on('close', (status) => {
      running.delete(child);
      if (line !== '') onLine?.(line);
      resolve({ status, stdout, stderr });
    });
  });
}

/** Runs Terraform or OpenTofu, never asking anything, never upgrading itself, and without colours. */
export function runTerraform(args: readonly string[], options: RunOptions): Promise<Ended> {
  const env = {
    ...(options.env ?? process.env),
    TF_IN_AUTOMATION: '1',
    TF_INPUT: '0',
    CHECKPOINT_DISABLE: '1',
  };
  return runProgram(terraformProgram(), args, { ...options, env });
}

/** The last words of a program that failed, for a message. */
export function lastWords({ stdout, stderr }: Ended): string {
  const text = (stderr.trim() || stdout.trim()).replaceAll(/[│╷╵]/g, '').trim();
  const error = text.match(/Error: ([^\n]*(?:\n(?!\n)[^\n]*)*)/);
  return (error?.[1] ?? text.slice(-500)).replaceAll(/\s+/g, ' ').trim();
}
