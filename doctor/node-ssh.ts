import { copyFileSync, existsSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import type { Fleet, SshServer } from '../fleet/fleet';
import { shellWord } from '../fleet/shell';
import { credentialsIn, isOn } from '../proxmox/environment';
import { lastWords, runProgram } from '../terraform/program';
import { TemporaryFolder } from '../terraform/temporary-folder';
import { type Asked, answerOf } from './cluster-facts';
import { ok, problem, type Result, skipped, unknown, warning } from './result';

/** How the provider logs in to the nodes (bpg/proxmox 0.111, proxmox/ssh/client.go), without the secrets. */
export interface SshLogin {
  readonly user: string | undefined;
  /** The agent's socket; undefined where no agent is to be asked. */
  readonly agent: string | undefined;
  readonly key: boolean;
  readonly password: boolean;
  /** What keeps this program from logging in as the provider does. */
  readonly proxy: boolean;
}

/** The login that the provider takes from fleet.yaml and the environment. */
export function sshLoginIn(env: NodeJS.ProcessEnv, sshUsername: string | undefined): SshLogin {
  const credentials = credentialsIn(env);
  const byPassword = credentials.kind === 'password';
  return {
    user:
      sshUsername ??
      (env.PROXMOX_VE_SSH_USERNAME || (byPassword ? credentials.user.split('@')[0] : undefined)),
    agent: isOn(env.PROXMOX_VE_SSH_AGENT)
      ? env.SSH_AUTH_SOCK || env.PROXMOX_VE_SSH_AUTH_SOCK || ''
      : undefined,
    key: Boolean(env.PROXMOX_VE_SSH_PRIVATE_KEY),
    password: Boolean(env.PROXMOX_VE_SSH_PASSWORD || byPassword),
    proxy: Boolean(env.PROXMOX_VE_SSH_SOCKS5_SERVER),
  };
}

/** Where the snippets of a node's hosts are put: datastore → its path, as the API answers it. */
export type SnippetPaths = ReadonlyMap<string, Asked<string | undefined>>;

const TIMEOUT_MS = 30_000;

/**
 * Whether the nodes let the provider's login in, and let it write snippets: asked with OpenSSH, with what the provider
 * reads from the environment (`PROXMOX_VE_SSH_*`). Nothing is written, neither there nor into known_hosts.
 *
 * @param paths Asks the API where the snippets lie; undefined where it doesn't answer.
 */
export async function checkNodeSsh(
  fleet: Fleet,
  paths: () => Promise<SnippetPaths | undefined>,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Result[]> {
  const login = sshLoginIn(env, fleet.proxmox.sshUsername);
  const nodes = [...new Set(fleet.hosts.map(({ node }) => node))];
  const unable = cannotLogIn(login);
  if (unable !== undefined) return nodes.map((node) => unable(`ssh.${node}`));
  const folder = new TemporaryFolder('hostkey-doctor-');
  try {
    const known = path.join(folder.path, 'known_hosts');
    const mine = path.join(env.HOME ?? homedir(), '.ssh', 'known_hosts');
    if (existsSync(mine)) copyFileSync(mine, known);
    else writeFileSync(known, '');
    const keyFile = path.join(folder.path, 'key');
    const key = env.PROXMOX_VE_SSH_PRIVATE_KEY;
    if (key) writeFileSync(keyFile, key.endsWith('\n') ? key : `${key}\n`, { mode: 0o600 });
    const bad = login.key ? await badKey(keyFile) : undefined;
    // The provider asks the agent first, and only then looks at the key.
    if (bad !== undefined && login.agent === undefined) return nodes.map((node) => bad(`ssh.${node}`));
    const usable = { ...login, key: login.key && bad === undefined };
    const asked = paths();
    const found = await Promise.all(
      nodes.map(async (node) => {
        const session = new Session(node, fleet.proxmox.nodes[node], usable, { known, keyFile }, env);
        return checkNode(session, datastoresOn(fleet, node), asked);
      }),
    );
    return found.flat();
  } finally {
    folder.remove();
  }
}

const datastoresOn = ({ hosts }: Fleet, node: string): string[] => [
  ...new Set(hosts.filter((host) => host.node === node).map(({ snippets }) => snippets)),
];

/** What is wrong with the login as such. */
function cannotLogIn({ user, agent, key, password, proxy }: SshLogin): ((id: string) => Result) | undefined {
  if (!user) {
    return (id) =>
      problem(id, 'nothing says whom to log in to the nodes as', 'export PROXMOX_VE_SSH_USERNAME=root');
  }
  if (proxy) return (id) => unknown(id, 'SSH goes through a SOCKS5 proxy, which is not tried here');
  if (agent === '' && !key && !password) {
    return (id) =>
      problem(
        id,
        'PROXMOX_VE_SSH_AGENT is set, and there is no agent (SSH_AUTH_SOCK)',
        'eval "$(ssh-agent)" && ssh-add',
      );
  }
  if (agent === undefined && !key && !password) {
    return (id) =>
      problem(
        id,
        `nothing says how to log in to the nodes as ${user}`,
        'export PROXMOX_VE_SSH_AGENT=true; or PROXMOX_VE_SSH_PRIVATE_KEY="$(cat FILE)"',
      );
  }
  return undefined;
}

/** What is wrong with the private key; neither it nor a part of it is ever quoted. */
async function badKey(file: string): Promise<((id: string) => Result) | undefined> {
  const { status, stderr } = await runProgram('ssh-keygen', ['-y', '-P', '', '-f', file], {
    cwd: process.cwd(),
    timeoutMs: TIMEOUT_MS,
  });
  if (status === 0) return undefined;
  return (id) =>
    /passphrase/.test(stderr)
      ? problem(
          id,
          'the key in PROXMOX_VE_SSH_PRIVATE_KEY has a passphrase, for which the provider asks nobody',
          'ssh-add it, and export PROXMOX_VE_SSH_AGENT=true instead',
        )
      : problem(
          id,
          'PROXMOX_VE_SSH_PRIVATE_KEY holds no private key',
          'export PROXMOX_VE_SSH_PRIVATE_KEY="$(cat FILE)": the key itself, not the name of its file',
        );
}

interface Files {
  readonly known: string;
  readonly keyFile: string;
}

/** A node's SSH server, and OpenSSH set up as the provider sets up its own client. */
class Session {
  readonly id: string;
  readonly where: string;
  /** As known_hosts names it. */
  readonly knownAs: string;
  readonly byPassword: boolean;
  private readonly address: string;
  private readonly port: number;

  constructor(
    readonly node: string,
    { address, port }: SshServer = { address: '', port: 22 },
    readonly login: SshLogin,
    private readonly files: Files,
    private readonly env: NodeJS.ProcessEnv,
  ) {
    this.id = `ssh.${node}`;
    this.address = address;
    this.port = port;
    this.where = `${login.user}@${address} port ${port}`;
    this.knownAs = port === 22 ? address : `[${address}]:${port}`;
    this.byPassword = !login.key && !login.agent;
  }

  run(command: string) {
    const { agent, key, user = '' } = this.login;
    const options = [
      'BatchMode=yes',
      'ConnectTimeout=10',
      // As the provider does: an unknown node is believed, a changed one is not.
      'StrictHostKeyChecking=accept-new',
      'HashKnownHosts=no',
      'GlobalKnownHostsFile=/dev/null',
      `UserKnownHostsFile=${this.files.known}`,
      // It knows no other files, and asks the agent for all that it has.
      `IdentityFile=${key ? this.files.keyFile : 'none'}`,
      `IdentityAgent=${agent || 'none'}`,
    ];
    const args = [
      '-F',
      'none',
      '-p',
      String(this.port),
      '-l',
      user,
      ...options.flatMap((option) => ['-o', option]),
    ];
    return runProgram('ssh', [...args, '--', this.address, command], {
      cwd: process.cwd(),
      env: this.env,
      timeoutMs: TIMEOUT_MS,
    });
  }

  /** Whether known_hosts has a key of the node's. */
  async isKnown(): Promise<boolean> {
    return (await this.keygen('-F', this.knownAs)).stdout.trim() !== '';
  }

  /** The fingerprint of the key that the node has shown. */
  async fingerprint(): Promise<string> {
    const { stdout } = await this.keygen('-l', '-F', this.knownAs);
    return stdout.match(/SHA256:\S+/)?.[0] ?? '';
  }

  /** What a person types to do the same; `program` takes ssh's arguments. */
  byHand(program = 'ssh'): string {
    return `${program} -p ${this.port} ${this.login.user}@${this.address}`;
  }

  private keygen(...args: readonly string[]) {
    const options = { cwd: process.cwd(), timeoutMs: TIMEOUT_MS };
    return runProgram('ssh-keygen', [...args, '-f', this.files.known], options);
  }
}

async function checkNode(
  session: Session,
  datastores: readonly string[],
  paths: Promise<SnippetPaths | undefined>,
): Promise<Result[]> {
  const { id, where, node } = session;
  const wasKnown = await session.isKnown();
  const known = await paths;
  const folders = datastores.flatMap((name) => {
    const base = answerOf(known?.get(name));
    return base === undefined ? [] : [{ name, folder: path.posix.join(base, 'snippets') }];
  });
  const ended = await session.run(writeProbe(folders.map(({ folder }) => folder)));
  if (ended.status !== 0) return [refused(session, ended)];
  const trust = wasKnown ? [] : [await unknownKey(session)];
  const answers = ended.stdout.trim().split('\n');
  const written = datastores.map((name): Result => {
    const at = folders.findIndex((each) => each.name === name);
    const folder = folders[at]?.folder ?? '';
    return at < 0
      ? skipped(`${id}.${name}`, `where ${name} lies on ${node}: not asked, since the API doesn't say`)
      : judgeFolder(`${id}.${name}`, answers[at] ?? '', folder, session);
  });
  return [ok(id, `${where} lets the provider in`), ...trust, ...written];
}

/**
 * Asks for each folder whether the provider could write there, by its own rule: with sudo where sudo lets it use
 * `pvesm` or `qm`, else as it is; by `tee`, which makes no folder.
 */
export function writeProbe(folders: readonly string[]): string {
  const list = folders.map(shellWord).join(' ');
  const script = [
    'sudo=0',
    'if [ "$(id -u)" != 0 ]; then if sudo -n /usr/sbin/pvesm apiinfo 2>&1 | grep -q APIVER' +
      ' || sudo -n /usr/sbin/qm --help >/dev/null 2>&1; then sudo=1; fi; fi',
    `for folder in ${list}; do if [ ! -d "$folder" ]; then echo missing` +
      '; elif [ $sudo = 1 ]; then if sudo -n -l /usr/bin/tee "$folder/x" >/dev/null 2>&1; then echo writable; else echo sudo; fi' +
      '; elif [ -w "$folder" ]; then echo writable; else echo closed; fi; done',
    'true',
  ].join('; ');
  return `/bin/bash -c ${shellWord(script)}`;
}

function judgeFolder(id: string, answer: string, folder: string, { where, login, node }: Session): Result {
  switch (answer) {
    case 'writable':
      return ok(id, `${where} may write ${folder}`);
    case 'missing':
      return problem(
        id,
        `${node} has no folder ${folder}, and the provider makes none`,
        `on ${node}, as root: mkdir -p ${folder}`,
      );
    case 'sudo':
      return problem(
        id,
        `sudo doesn't let ${login.user} write ${folder} on ${node}`,
        `on ${node}, as root: echo '${login.user} ALL=(root) NOPASSWD: /usr/bin/tee ${folder}/*' >/etc/sudoers.d/hostkey`,
      );
    case 'closed':
      return problem(
        id,
        `${where} may not write ${folder}`,
        `log in as root, or on ${node}, as root: setfacl -m u:${login.user}:rwx ${folder}`,
      );
    default:
      return unknown(id, `${where} doesn't tell whether it may write ${folder}`);
  }
}

/** The provider would believe it at first sight, and write it down. */
async function unknownKey(session: Session): Promise<Result> {
  return warning(
    `${session.id}.known`,
    `known_hosts doesn't know ${session.knownAs} yet: the provider will believe whoever answers there`,
    `compare with ${await session.fingerprint()}, on ${session.node}: ` +
      `for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $key; done; then ${session.byHand()}`,
  );
}

function refused(session: Session, ended: Awaited<ReturnType<Session['run']>>): Result {
  const { id, where, knownAs, byPassword } = session;
  const { stderr, status } = ended;
  if (status === null) {
    return problem(id, `${where} doesn't answer within ${TIMEOUT_MS / 1000} s`, session.byHand());
  }
  if (/IDENTIFICATION HAS CHANGED|Host key verification failed/.test(stderr)) {
    return problem(
      id,
      `${where} has another SSH host key than ~/.ssh/known_hosts says`,
      `if that is right: ssh-keygen -R '${knownAs}'`,
    );
  }
  if (/Permission denied/.test(stderr)) {
    if (byPassword) return unknown(id, `${where} answers; whether it takes the password is not tried here`);
    return problem(id, `${where} doesn't let this key in`, session.byHand('ssh-copy-id'));
  }
  const why = lastWords(ended) || `ssh ended with ${status}`;
  return problem(id, `${where}: ${why}`, session.byHand());
}
