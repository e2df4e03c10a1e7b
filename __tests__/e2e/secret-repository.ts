import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Fleet } from '../../fleet/fleet';
import { sharedFoldersOf } from '../../fleet/folders';
import { loadFleet } from '../../fleet/load';
import { ageRecipientOf } from '../../keys/age-recipient';
import { parseSshPublicKey } from '../../keys/ssh-public-key';
import { applyHosts, hostRulesFile } from '../../sops/rules';
import { readStates } from '../../terraform/state';
import { toolEnvironment } from '../../tools/env';

const PROGRAM = path.resolve(__dirname, '../../bin/hostkey');

/** Somebody with an age identity of their own, made for the test. */
export interface Person {
  readonly file: string;
  readonly recipient: string;
}

interface Settings {
  readonly hosts: readonly string[];
  /** Folder → the hosts that read it. */
  readonly shared?: Readonly<Record<string, readonly string[]>>;
}

/**
 * A repository with a fleet, states that Terraform wrote, host keys of ssh-keygen's and secrets of the real sops; what
 * a deployment leaves behind without its VMs.
 */
export class SecretRepository {
  readonly folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'secrets-')));
  readonly root = path.join(this.folder, 'repository');
  readonly env: NodeJS.ProcessEnv;
  readonly ops: Person;

  constructor(private readonly settings: Settings) {
    const tools = toolEnvironment();
    const git = { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_SYSTEM: '/dev/null' };
    const { SOPS_AGE_KEY: _, SOPS_CONFIG: __, ...inherited } = tools;
    // A home of its own: sops looks for identities there, too.
    this.env = { ...inherited, ...git, HOME: this.folder, SOPS_DISABLE_VERSION_CHECK: '1' };
    fs.mkdirSync(this.root);
    this.ops = this.person('ops');
    this.env.SOPS_AGE_KEY_FILE = this.ops.file;
    this.writeFleet(settings.hosts);
    for (const host of settings.hosts) this.deploy(host);
  }

  person(name: string): Person {
    const file = path.join(this.folder, `${name}.key`);
    execFileSync('age-keygen', ['-o', file], { env: this.env, stdio: 'ignore' });
    const recipient = execFileSync('age-keygen', ['-y', file], { env: this.env, encoding: 'utf8' }).trim();
    return { file, recipient };
  }

  writeFleet(
    hosts: readonly string[],
    admins: Readonly<Record<string, string>> = { ops: this.ops.recipient },
  ) {
    const shared = Object.entries(this.settings.shared ?? {}).map(([folder, readers]) => ({
      path: folder,
      hosts: readers.filter((host) => hosts.includes(host)),
    }));
    const fleet = {
      proxmox: { endpoint: 'https://pve1.example.net:8006/', nodes: { pve1: { address: '192.0.2.11' } } },
      admins,
      defaults: { node: 'pve1', template: 9000, disk: 'local-lvm', snippets: 'local' },
      hosts: Object.fromEntries(hosts.map((host, i) => [host, { vmId: 200 + i }])),
      shared,
    };
    this.write('fleet.yaml', JSON.stringify(fleet, null, 2));
  }

  get fleet(): Fleet {
    return loadFleet(this.path('fleet.yaml'));
  }

  states() {
    const { fleet } = this;
    return readStates(fleet, fleet.hosts);
  }

  /** Gives a host a key, and writes it where a deployment would; again, for a rotated one. */
  deploy(host: string): void {
    const key = path.join(this.folder, `${host}.ssh`);
    fs.rmSync(key, { force: true });
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', host, '-f', key]);
    const line = fs.readFileSync(`${key}.pub`, 'utf8').trim();
    const stack = path.join(this.folder, 'stack');
    fs.mkdirSync(stack, { recursive: true });
    const config = {
      terraform: { backend: { local: { path: this.path(`state/${host}.tfstate`) } } },
      output: { host_public_key: { value: line } },
    };
    fs.writeFileSync(path.join(stack, 'main.tf.json'), JSON.stringify(config));
    for (const args of [
      ['init', '-reconfigure'],
      ['apply', '-auto-approve'],
    ])
      execFileSync('terraform', [...args, '-input=false'], { cwd: stack, env: this.env, stdio: 'ignore' });
    const { admins } = this.fleet;
    const recipient = ageRecipientOf(parseSshPublicKey(line));
    this.write(`secrets/${host}/.sops.yaml`, hostRulesFile({ host, recipient, admins }));
    this.applyRules([host]);
  }

  recipient(host: string): string {
    return ageRecipientOf(
      parseSshPublicKey(fs.readFileSync(path.join(this.folder, `${host}.ssh.pub`), 'utf8')),
    );
  }

  /** The age identity of a host's key, as the host has it by ssh-to-age. */
  hostIdentity(host: string): Person {
    const file = path.join(this.folder, `${this.recipient(host)}.key`);
    const key = path.join(this.folder, `${host}.ssh`);
    fs.writeFileSync(file, execFileSync('ssh-to-age', ['-private-key', '-i', key], { env: this.env }));
    return { file, recipient: this.recipient(host) };
  }

  /** Puts hosts into the root `.sops.yaml`, as their deployment does. */
  applyRules(hosts: readonly string[]): void {
    const { fleet } = this;
    const text = fs.existsSync(this.path('.sops.yaml')) ? this.read('.sops.yaml') : undefined;
    const entries = hosts.map((host) => ({
      host,
      recipient: this.recipient(host),
      admins: fleet.admins,
      path: `secrets/${host}`,
      shared: sharedFoldersOf(fleet, host),
    }));
    this.write('.sops.yaml', applyHosts(text, entries).text ?? '');
  }

  path(file: string): string {
    return path.join(this.root, file);
  }

  read(file: string): string {
    return fs.readFileSync(this.path(file), 'utf8');
  }

  write(file: string, text: string): void {
    fs.mkdirSync(path.dirname(this.path(file)), { recursive: true });
    fs.writeFileSync(this.path(file), text);
  }

  /** Encrypts a file by the rules as they are. */
  encrypt(file: string, text = 'password: hunter2\n'): void {
    this.write(file, text);
    const ended = this.sops('encrypt', '-i', file);
    if (ended.status !== 0) throw new Error(ended.stderr);
  }

  /** Whether somebody can decrypt a file, by trying. */
  opens(file: string, { file: identity }: Person): boolean {
    const env = { ...this.env, SOPS_AGE_KEY_FILE: identity };
    return spawnSync('sops', ['decrypt', file], { cwd: this.root, env, stdio: 'ignore' }).status === 0;
  }

  sops(...args: string[]) {
    return spawnSync('sops', args, { cwd: this.root, env: this.env, encoding: 'utf8', input: '' });
  }

  git(...args: string[]): string {
    const author = ['-c', 'user.name=Test', '-c', 'user.email=test@example.net'];
    return execFileSync('git', [...author, ...args], { cwd: this.root, env: this.env, encoding: 'utf8' });
  }

  hostkey(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    const options = { cwd: this.root, env: { ...this.env, ...env }, encoding: 'utf8' } as const;
    const { status, stdout, stderr } = spawnSync(PROGRAM, args, options);
    return { status, stdout, stderr };
  }

  remove(): void {
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

export { PROGRAM };
