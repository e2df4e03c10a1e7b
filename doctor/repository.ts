import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import type { Fleet } from '../fleet/fleet';
import { git } from '../fleet/git';
import { lockFileOf } from '../fleet/lock-file';
import type { StateReading } from '../terraform/state';
import { ok, problem, type Result, warning } from './result';

/** More of a kind aren't read anyway; the rest is counted. */
const SHOWN = 3;

/** Whether the states can be read, as far as they were looked at. */
export function judgeStates(
  { state, hosts }: Pick<Fleet, 'state' | 'hosts'>,
  states: ReadonlyMap<string, StateReading>,
): Result[] {
  const bad = [...states].flatMap(([host, reading]) =>
    reading.status === 'unreadable' ? [{ host, ...reading }] : [],
  );
  if (bad.length > 0) {
    const more = bad.length > SHOWN ? ` (and those of ${bad.length - SHOWN} more)` : '';
    return bad
      .slice(0, SHOWN)
      .map(({ host, message, remedy }, i) =>
        problem(`state.${host}`, `${host}: ${message}${i === SHOWN - 1 ? more : ''}`, remedy),
      );
  }
  const deployed = [...states.values()].filter(({ status }) => status === 'deployed').length;
  const asked = states.size < hosts.length ? ` that were asked, of ${hosts.length},` : '';
  return [
    ok('state.readable', `state in ${state.kind}: ${deployed} of ${states.size} hosts${asked} are deployed`),
  ];
}

/** States and plans hold private keys: nobody else on this machine may enter their folders. */
export function checkModes({ root, state }: Pick<Fleet, 'root' | 'state'>): Result[] {
  const folders = [...(state.kind === 'local' ? [state.path] : []), 'cdktf.out'];
  return folders
    .filter((folder) => existsSync(path.join(root, folder)))
    .map((folder) => {
      const mode = statSync(path.join(root, folder)).mode & 0o777;
      const id = `mode.${folder}`;
      if ((mode & 0o077) === 0) return ok(id, `${folder}/ is entered by nobody but you`);
      const open = state.kind === 'local' && folder === state.path ? openFiles(path.join(root, folder)) : [];
      const told =
        open.length > 0
          ? `: ${open.slice(0, SHOWN).join(', ')}${open.length > SHOWN ? '…' : ''} can be read`
          : '';
      return problem(
        id,
        `${folder}/ holds private keys, and others on this machine may enter it (mode ${mode.toString(8)})${told}`,
        `chmod 700 ${folder}`,
      );
    });
}

function openFiles(folder: string): string[] {
  return readdirSync(folder).filter((name) => (statSync(path.join(folder, name)).mode & 0o044) !== 0);
}

/** Whether git is kept from what holds private keys, and hasn't any of it. */
export function checkGit({ root, state }: Pick<Fleet, 'root' | 'state'>): Result[] {
  if (git(root, 'rev-parse', '--is-inside-work-tree')?.trim() !== 'true') {
    return [
      warning(
        'git.repository',
        'this is no git repository: nobody can review or bring back .sops.yaml',
        'git init',
      ),
    ];
  }
  return [judgeIgnored(root, state), judgeTracked(root)];
}

function judgeIgnored(root: string, state: Fleet['state']): Result {
  const isOpen = (file: string) => git(root, 'check-ignore', '-q', '--no-index', file) === undefined;
  const secret = [...(state.kind === 'local' ? [`${state.path}/`] : []), 'cdktf.out/'];
  // Git asks for what could lie there, since the folder itself may not be there yet.
  const open = secret.filter((folder) => isOpen(`${folder}x`));
  const locks = ['.sops.yaml.lock', '.sops.yaml.lock.takeover'].filter(isOpen);
  const remedy = (lines: readonly string[]) => `printf '%s\\n' ${lines.join(' ')} >>.gitignore`;
  if (open.length > 0) {
    return problem(
      'git.ignore',
      `git would take ${open.join(' and ')}, where private keys lie`,
      remedy([...open, ...locks]),
    );
  }
  return locks.length === 0
    ? ok('git.ignore', '.gitignore keeps states, plans and locks out of git')
    : warning('git.ignore', `git would take ${locks.join(' and ')}, which come and go`, remedy(locks));
}

/** By name: `*.tfstate` and plans, wherever they are. */
function judgeTracked(root: string): Result {
  const patterns = ['*.tfstate', '*.tfstate.*', '*.tfplan', 'cdktf.out'];
  const tracked = (git(root, 'ls-files', '-z', '--', ...patterns) ?? '')
    .split('\0')
    .filter((file) => file !== '');
  if (tracked.length === 0) return ok('git.tracked', 'git has no state and no plan');
  const [first = ''] = tracked;
  const more = tracked.length > SHOWN ? ` and ${tracked.length - SHOWN} more` : '';
  return problem(
    'git.tracked',
    `git has ${tracked.slice(0, SHOWN).join(', ')}${more}, which hold private keys: take these for known`,
    `git rm --cached '${first}'${tracked.length > 1 ? ' …' : ''}; their keys stay in its history: give those hosts new ones`,
  );
}

/** Which lock file Terraform will be given, and whether its settings are where the environment says. */
export function checkTerraformFiles(
  { root }: Pick<Fleet, 'root'>,
  env: NodeJS.ProcessEnv = process.env,
): Result[] {
  const own = env.HOSTKEY_LOCK_FILE;
  const lock = lockFileOf(root, env);
  const cli = env.TF_CLI_CONFIG_FILE;
  const missing = own
    ? warning(
        'terraform.lock',
        `HOSTKEY_LOCK_FILE names ${own}, which isn't there`,
        'unset it, or npm run setup',
      )
    : warning(
        'terraform.lock',
        'no lock file pins the providers: each deployment may take newer ones',
        'npm run lock -- --registry',
      );
  return [
    existsSync(lock) ? ok('terraform.lock', 'the providers are pinned by a lock file') : missing,
    ...(cli && !existsSync(cli)
      ? [
          problem(
            'terraform.settings',
            `TF_CLI_CONFIG_FILE names ${cli}, which isn't there`,
            'unset TF_CLI_CONFIG_FILE, or npm run setup',
          ),
        ]
      : []),
  ];
}
