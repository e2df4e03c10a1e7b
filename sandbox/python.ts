import { spawnSync } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { projectRoot } from './layout';
import { runTethered } from './processes';

const REQUIREMENTS = join(__dirname, 'pve', 'requirements.txt');

/** The Python environment with fakepve, shared by all sandboxes of a checkout. */
const VENV = join(projectRoot, '.tools', 'venv-fakepve');

/** The machine's own Python. */
function findPython(): string {
  const check = spawnSync(
    'python3',
    ['-c', 'import sys; print(sys.executable, sys.version_info >= (3, 10))'],
    { encoding: 'utf8' },
  );
  const [executable, recent] = (check.stdout ?? '').trim().split(' ');
  if (check.status !== 0 || !executable)
    throw new Error('python3 is not on PATH; the sandbox needs Python 3.10 or newer');
  if (recent !== 'True') throw new Error(`${executable} is older than Python 3.10, which the sandbox needs`);
  return executable;
}

/**
 * Makes the environment where it's missing or was made from other pins, and returns its Python. It's built
 * beside its place and moved there when complete, so that neither a kill nor a second builder leaves half of one.
 */
export async function ensurePython(say: (line: string) => void): Promise<string> {
  const python = join(VENV, 'bin', 'python');
  const wanted = createHash('sha256').update(readFileSync(REQUIREMENTS)).digest('hex');
  // The machine's python3 is not even asked where the environment is there (existsSync follows the link to it): under
  // pyenv it is a shim, and killing one at the wrong moment leaves a lock that holds up every later call for a minute.
  if (stampOf(VENV) === wanted && existsSync(python)) return python;
  const system = findPython();
  say('Installing fakepve into .tools/venv-fakepve (once)');
  const draft = `${VENV}.${randomUUID()}`;
  mkdirSync(dirname(draft), { recursive: true });
  try {
    await runTethered(
      system,
      [system, '-m', 'venv', draft],
      'python3 -m venv failed (Debian: apt-get install python3-venv)',
    );
    const pip = [
      '-m',
      'pip',
      'install',
      '--quiet',
      '--no-input',
      '--disable-pip-version-check',
      '--require-hashes',
    ];
    // Wheels only: installing them runs nobody's build script.
    const inside = join(draft, 'bin', 'python');
    await runTethered(
      inside,
      [inside, ...pip, '--only-binary', ':all:', '-r', REQUIREMENTS],
      'pip could not install fakepve',
    );
    writeFileSync(join(draft, 'stamp'), wanted);
    moveInto(draft, wanted);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  return python;
}

const stampOf = (venv: string): string | undefined => {
  const file = join(venv, 'stamp');
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
};

function moveInto(draft: string, wanted: string): void {
  try {
    if (stampOf(VENV) !== wanted) rmSync(VENV, { recursive: true, force: true });
    renameSync(draft, VENV);
  } catch (error) {
    // Another builder was quicker.
    if (stampOf(VENV) !== wanted) throw error;
  }
}
