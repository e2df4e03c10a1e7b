import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import type { Fleet } from '../fleet/fleet';
import { git } from '../fleet/git';
import type { StateReading } from '../terraform/state';
import { ok, problem, type Result, warning } from './result';

/** Whether what holds private keys is kept from others: on this machine, and from git. */
export function checkRepository(fleet: Fleet, states: ReadonlyMap<string, StateReading>): Result[] {
  return [...checkStates(fleet, states), ...checkModes(fleet), ...checkGit(fleet)];
}

function checkStates({ state, hosts }: Fleet, states: ReadonlyMap<string, StateReading>): Result[] {
  const bad = [...states].flatMap(([host, reading]) =>
    reading.status === 'unreadable'
      ? [problem(`state.${host}`, `${host}: ${reading.message}`, reading.remedy)]
      : [],
  );
  if (bad.length > 0) return bad;
  const deployed = [...states.values()].filter(({ status }) => status === 'deployed').length;
  return [ok('state.readable', `state in ${state.kind}: ${deployed} of ${hosts.length} hosts are deployed`)];
}

/** States and plans hold private keys: nobody else on this machine may enter their folders. */
function checkModes({ root, state }: Fleet): Result[] {
  const folders = [...(state.kind === 'local' ? [state.path] : []), 'cdktf.out'];
  return folders
    .filter((folder) => existsSync(path.join(root, folder)))
    .map((folder) => {
      const mode = statSync(path.join(root, folder)).mode & 0o777;
      const id = `mode.${folder}`;
      return (mode & 0o077) === 0
        ? ok(id, `${folder}/ is entered by nobody but you`)
        : problem(
            id,
            `${folder}/ holds private keys, and others on this machine may enter it (mode ${mode.toString(8)})`,
            `chmod 700 ${folder}`,
          );
    });
}

function checkGit({ root, state }: Fleet): Result[] {
  if (git(root, 'rev-parse', '--is-inside-work-tree')?.trim() !== 'true') {
    return [
      warning(
        'git.repository',
        'this is no git repository: nobody can review or bring back .sops.yaml',
        'git init',
      ),
    ];
  }
  const secret = [...(state.kind === 'local' ? [`${state.path}/x.tfstate`] : []), 'cdktf.out/stacks/x/plan'];
  const open = secret.filter((file) => git(root, 'check-ignore', '-q', '--no-index', file) === undefined);
  const tracked = (
    git(root, 'ls-files', '-z', '--', '*.tfstate', '*.tfstate.*', '*.tfplan', 'cdktf.out') ?? ''
  )
    .split('\0')
    .filter((file) => file !== '');
  return [
    open.length === 0
      ? ok('git.ignore', '.gitignore keeps states and plans out of git')
      : problem(
          'git.ignore',
          `git would take ${open.map((file) => `${file.split('/')[0]}/`).join(' and ')}, where private keys lie`,
          `printf '%s\\n' ${open.map((file) => `${file.split('/')[0]}/`).join(' ')} >>.gitignore`,
        ),
    tracked.length === 0
      ? ok('git.tracked', 'git has no state and no plan')
      : problem(
          'git.tracked',
          `git has ${tracked.slice(0, 3).join(', ')}${tracked.length > 3 ? '…' : ''}, with private keys in it: consider these keys known`,
          `git rm --cached ${tracked[0]}, and rotate the keys`,
        ),
  ];
}

/** Which lock file Terraform will be given, and whether its settings are where the environment says. */
export function checkTerraformFiles({ root }: Fleet, env: NodeJS.ProcessEnv = process.env): Result[] {
  const lock = env.HOSTKEY_LOCK_FILE ?? path.join(root, '.terraform.lock.hcl');
  const cli = env.TF_CLI_CONFIG_FILE;
  return [
    existsSync(lock)
      ? ok('terraform.lock', 'the providers are pinned by a lock file')
      : warning(
          'terraform.lock',
          'no lock file pins the providers: each deployment may take newer ones',
          'npm run lock -- --registry',
        ),
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

/** Whether the operator can decrypt: an identity of one of the admins. */
export function checkAdmins({ admins }: Fleet): Result[] {
  const names = Object.keys(admins);
  return [
    names.length === 0
      ? warning(
          'sops.admins',
          'no admins in fleet.yaml: only the hosts can decrypt their secrets',
          'age-keygen -o ~/.config/sops/age/keys.txt, and write its recipient under admins',
        )
      : ok('sops.admins', `beside its host, every secret can be decrypted by ${names.join(', ')}`),
  ];
}
