import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { callApi } from './http';
import { type Layout, layout, logFile, type Part } from './layout';
import { identify, sleep, tethered, waitFor } from './processes';
import { findSshd } from './sshd';
import { readRecord, type SandboxRecord, writeRecord } from './status';

/**
 * The process that keeps a sandbox's parts together: `node bin/run sandbox/supervisor.ts DIR PYTHON`. It starts
 * the API and the SSH server, says in status.json when both answer, and ends both when one ends or when it's told
 * to. The parts are tethered: should this process be killed, the kernel kills them.
 */
async function supervise(paths: Layout, python: string): Promise<number> {
  const prepared = readRecord(paths);
  if (!prepared) throw new Error(`${paths.status} is missing`);
  const record = { ...prepared, supervisor: identify(process.pid) };
  writeRecord(paths, record);
  const parts = start(paths, python);
  const places = { api: record.apiPort, sshd: record.sshPort };
  const named = (part: Part) => `${part} at ${record.address}:${places[part as keyof typeof places]}`;
  const ended = Promise.race(
    [...parts].map(([part, child]) => end(named(part), child, logFile(paths, part))),
  );
  const told = new Promise<undefined>((done) => {
    for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(name, () => done(undefined));
  });
  const ready = answers(paths, record).then(() => writeRecord(paths, { ...record, state: 'up' }));
  const late = ready.then(
    () => new Promise<never>(() => undefined),
    (error: Error) => error.message,
  );
  const failure = await Promise.race([ended, told, late]);
  await stop([...parts.values()]);
  if (failure) writeRecord(paths, { ...record, state: 'failed', failure });
  return failure ? 1 : 0;
}

function start(paths: Layout, python: string): Map<Part, ChildProcess> {
  const commands: Record<string, readonly string[]> = {
    api: [python, join(__dirname, 'pve', 'adapter.py'), paths.settings],
    sshd: [findSshd(), '-D', '-e', '-f', join(paths.ssh, 'sshd_config')],
  };
  // The provider's uploads land with sshd's umask, as on a node: 0644.
  process.umask(0o022);
  return new Map(
    Object.entries(commands).map(([part, command]) => {
      const log = openSync(logFile(paths, part as Part), 'a', 0o600);
      const [program, args] = tethered(python, process.pid, command);
      const env = { ...process.env, PYTHONUNBUFFERED: '1', PYTHONDONTWRITEBYTECODE: '1' };
      return [part as Part, spawn(program, args, { cwd: paths.dir, env, stdio: ['ignore', log, log] })];
    }),
  );
}

/** Resolves when the part ends, with a sentence that says so and how its log ends. */
function end(name: string, child: ChildProcess, log: string): Promise<string> {
  return new Promise((done) => {
    child.on('error', (error) => done(`${name} could not be started: ${error.message}`));
    child.on('exit', (code, signal) => {
      done(`${name} ended (${signal ?? `exit code ${code}`}). Its log ends with:\n${tail(log, 6)}`);
    });
  });
}

function tail(file: string, lines: number): string {
  return readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .slice(-lines)
    .map((line) => `  ${line}`)
    .join('\n');
}

/** Waits until the API answers the token over verified TLS and the node lets the key in. */
async function answers(paths: Layout, record: SandboxRecord): Promise<void> {
  const ca = readFileSync(join(paths.tls, 'ca.pem'), 'utf8');
  const api = { endpoint: record.endpoint, ca, login: { token: record.token } };
  await probe(`the API at ${record.endpoint}`, () => callApi(api, 'GET', '/version'));
  await probe(`sshd at ${record.address}:${record.sshPort}`, () => sshLogin(paths, record));
}

async function probe(what: string, attempt: () => Promise<unknown>): Promise<void> {
  let last = 'no attempt was made';
  const answered = await waitFor(
    () =>
      attempt().then(
        () => true,
        (error: Error) => {
          last = error.message;
          return undefined;
        },
      ),
    20,
  );
  if (!answered) throw new Error(`${what} does not answer: ${last.trim()}`);
}

function sshLogin(paths: Layout, record: SandboxRecord): Promise<void> {
  const options = [
    'BatchMode=yes',
    'IdentitiesOnly=yes',
    'IdentityAgent=none',
    'ConnectTimeout=5',
    'StrictHostKeyChecking=yes',
    'GlobalKnownHostsFile=/dev/null',
    `UserKnownHostsFile=${join(paths.ssh, 'known_hosts')}`,
  ];
  const args = ['-F', 'none', ...options.flatMap((option) => ['-o', option]), '-i', paths.clientKey];
  return new Promise((done, fail) => {
    execFile(
      'ssh',
      [...args, '-p', String(record.sshPort), `${record.sshUser}@${record.address}`, 'true'],
      (error) => (error ? fail(error) : done()),
    );
  });
}

async function stop(children: readonly ChildProcess[]): Promise<void> {
  const running = () =>
    children.filter((child) => child.exitCode === null && child.signalCode === null && child.pid);
  for (const child of running()) child.kill('SIGTERM');
  await waitFor(() => (running().length === 0 ? true : undefined), 2);
  for (const child of running()) child.kill('SIGKILL');
  await sleep(20);
}

const [dir, python] = process.argv.slice(2);
if (!dir || !python) throw new Error('usage: supervisor.ts DIR PYTHON');
supervise(layout(dir), python).then(
  (code) => process.exit(code),
  (error: Error) => {
    console.error(error.stack);
    process.exit(1);
  },
);
