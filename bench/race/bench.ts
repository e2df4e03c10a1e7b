import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import { Checkout } from '../../sandbox/checkout';
import type { Variant } from '../../sandbox/guests/images';
import { DECRYPT_IN_GUEST } from '../../sandbox/guests/run';
import { guestAddress } from '../../sandbox/guests/setup';
import { cloudInitEnded, KeyWatch, type Sighting, until } from '../../sandbox/guests/watch';
import { sleep } from '../../sandbox/processes';
import templates from '../../sandbox/pve/templates.json';
import type { BootedGuest, Sandbox } from '../../sandbox/sandbox';

/** How one way of making a host went. */
export interface Row {
  readonly way: string;
  readonly image: Variant;
  /** The keys that the host's sshd ever served, and when each answer changed. */
  readonly keys: number;
  readonly sightings: readonly Sighting[];
  /** From the first command to the moment a secret was decrypted in the guest; undefined if none was. */
  readonly seconds: number | undefined;
  /** What somebody had to type. */
  readonly steps: readonly string[];
  /** How often a deployment failed and had to be mended by hand. */
  readonly retries: number;
  /** What the first failure said. */
  readonly failure?: string;
}

/** What every way of making a host is tried with: a sandbox, an operator's SSH key, a folder. */
export interface Bench {
  readonly sandbox: Sandbox;
  /** The environment of the sandbox's tools. */
  readonly env: NodeJS.ProcessEnv;
  readonly folder: string;
  /** The operator's SSH key. */
  readonly login: string;
  readonly loginPublic: string;
  /** A boot takes longer than this only if it failed. */
  readonly bootSeconds: number;
}

const templateOf = (image: Variant): number =>
  (templates.find((template) => template.image === image) as { vmid: number }).vmid;

/** Nobody can log in yet: waiting is all that helps, and nothing went wrong. */
const NOT_YET =
  /Permission denied|Connection (refused|reset|timed out|closed)|System is booting up|kex_exchange/;
const SECRET = 'greeting: hello\n';

/** One host, the operator who makes it, and what is seen of it meanwhile. */
export class Trial {
  readonly steps: string[] = [];
  readonly watch: KeyWatch;
  readonly host: string;
  readonly folder: string;
  private begun = performance.now();
  private retries = 0;
  private failure: string | undefined;
  private decrypted: number | undefined;
  private trusted = '';
  private secret = '';

  constructor(
    readonly bench: Bench,
    readonly image: Variant,
    readonly vmid: number,
  ) {
    this.host = `host-${vmid}`;
    this.folder = path.join(bench.folder, this.host);
    mkdirSync(this.folder, { recursive: true });
    this.watch = new KeyWatch({ address: this.address, port: 22 });
  }

  get address(): string {
    return guestAddress(new URL(this.bench.sandbox.endpoint).hostname, this.vmid);
  }

  /** The VM's place in the API. */
  get vm(): string {
    return `/nodes/${this.bench.sandbox.node.name}/qemu/${this.vmid}`;
  }

  /** What somebody types, and what comes of it. */
  async types<Result>(command: string, action: () => Result | Promise<Result>): Promise<Result> {
    this.steps.push(command);
    return action();
  }

  async guest(): Promise<BootedGuest> {
    const found = (await this.bench.sandbox.guests()).find(({ vmid }) => vmid === this.vmid)?.guest;
    if (!found) throw new Error(`VM ${this.vmid} was not started`);
    return found;
  }

  /** Power-on of a VM, made by hand as `qm` would. */
  async create(settings: Record<string, string>): Promise<void> {
    const { sandbox, loginPublic } = this.bench;
    const template = `/nodes/${sandbox.node.name}/qemu/${templateOf(this.image)}`;
    await sandbox.request('POST', `${template}/clone`, {
      newid: this.vmid,
      name: this.host,
      full: 1,
      storage: 'local-lvm',
    });
    await sandbox.request('PUT', `${this.vm}/config`, {
      ipconfig0: 'ip=192.0.2.83/24,gw=192.0.2.1',
      memory: 1024,
      cores: 2,
      ciuser: 'root',
      ciupgrade: 0,
      sshkeys: encodeURIComponent(loginPublic),
      ...settings,
    });
    await sandbox.request('POST', `${this.vm}/status/start`);
  }

  snippet(text: string): string {
    const name = `${this.host}.user-data.yaml`;
    writeFileSync(path.join(this.bench.sandbox.snippets, name), text);
    return `user=local:snippets/${name}`;
  }

  /** From now on the operator's ssh takes this key, and no other, for the host's. */
  trust(key: string): void {
    this.trusted = `${this.address} ssh-ed25519 ${key}\n`;
  }

  recipientOf(key: string): string {
    return execFileSync('ssh-to-age', {
      env: this.bench.env,
      input: `ssh-ed25519 ${key}\n`,
      encoding: 'utf8',
    }).trim();
  }

  /** Encrypts the secret as the .sops.yaml in a folder says. */
  encrypt(folder = this.folder, file = 'token.yaml'): void {
    mkdirSync(path.dirname(path.join(folder, file)), { recursive: true });
    writeFileSync(path.join(folder, file), SECRET);
    execFileSync('sops', ['encrypt', '-i', file], { cwd: folder, env: this.bench.env });
    this.secret = path.join(folder, file);
  }

  writeRule(key: string): void {
    writeFileSync(
      path.join(this.folder, '.sops.yaml'),
      `creation_rules: [{ age: ${this.recipientOf(key)} }]\n`,
    );
  }

  /** Takes the secret to the host and decrypts it there with the host's key. @returns what went wrong */
  async deploy(): Promise<string | undefined> {
    let problem: string | undefined;
    await until(
      async () => {
        const answer = await this.ssh(DECRYPT_IN_GUEST, readFileSync(this.secret));
        if (answer.stdout === SECRET) problem = undefined;
        else problem = answer.stderr.trim() || `decrypted to ${JSON.stringify(answer.stdout)}`;
        return (
          problem === undefined || !NOT_YET.test(problem) || problem.includes('IDENTIFICATION HAS CHANGED')
        );
      },
      this.bench.bootSeconds,
      `a login at ${this.host}`,
    );
    if (problem === undefined) this.decrypted ??= (performance.now() - this.begun) / 1000;
    return problem && shortOf(problem);
  }

  /** A deployment that failed, and is mended by hand. */
  retried(problem: string): void {
    this.retries++;
    this.failure ??= problem;
  }

  ssh(
    command: string,
    input: Buffer = Buffer.alloc(0),
    check = true,
  ): Promise<{ stdout: string; stderr: string }> {
    const known = path.join(this.folder, 'known_hosts');
    writeFileSync(known, this.trusted);
    const options = [
      'BatchMode=yes',
      'IdentitiesOnly=yes',
      'IdentityAgent=none',
      'ConnectTimeout=5',
      'GlobalKnownHostsFile=/dev/null',
      'HostKeyAlgorithms=ssh-ed25519',
      `UserKnownHostsFile=${check ? known : '/dev/null'}`,
      `StrictHostKeyChecking=${check ? 'yes' : 'no'}`,
    ];
    const args = ['-F', 'none', '-i', this.bench.login, ...options.flatMap((each) => ['-o', each])];
    return new Promise((done) => {
      const child = execFile(
        'ssh',
        [...args, `root@${this.address}`, command],
        { timeout: 120_000 },
        (_error, stdout, stderr) => done({ stdout, stderr }),
      );
      child.stdin?.on('error', () => undefined);
      child.stdin?.end(input);
    });
  }

  /** Waits until cloud-init has ended in so many boots, and a moment longer. */
  async booted(boots = 1): Promise<void> {
    await cloudInitEnded(await this.guest(), this.bench.bootSeconds, boots);
    await sleep(3000);
  }

  row(way: string): Row {
    return {
      way,
      image: this.image,
      keys: this.watch.keys.length,
      sightings: [...this.watch.sightings],
      seconds: this.decrypted,
      steps: [...this.steps],
      retries: this.retries,
      ...(this.failure === undefined ? {} : { failure: this.failure }),
    };
  }

  /** What counts for the next row of the same host. */
  anew(): void {
    this.steps.length = 0;
    this.decrypted = undefined;
    this.begun = performance.now();
  }

  async end(): Promise<void> {
    await this.watch.end();
    const { sandbox } = this.bench;
    await sandbox.request('POST', `${this.vm}/status/stop`);
    await sandbox.request('DELETE', this.vm);
  }
}

function shortOf(problem: string): string {
  const telling =
    /REMOTE HOST IDENTIFICATION HAS CHANGED|0 successful groups required, got 0|Host key verification failed/;
  return problem.match(telling)?.[0] ?? (problem.split('\n').at(-1) as string);
}

/** A checkout of this project with a fleet of one host. */
export class OursCheckout extends Checkout {
  constructor(private readonly trial: Trial) {
    super({ ...trial.bench.env, ...trial.bench.sandbox.env });
  }

  fleet(address: string, cloudConfig: object = {}): void {
    const { sandbox, loginPublic } = this.trial.bench;
    this.writeFleet(sandbox, {
      [this.trial.host]: {
        vmId: this.trial.vmid,
        address,
        gateway: '192.0.2.1',
        template: templateOf(this.trial.image),
        memory: 1024,
        user: 'root',
        authorizedKeys: [loginPublic],
        cloudConfig,
      },
    });
  }

  async deploy(): Promise<void> {
    const { status, output } = await this.cdktf('deploy', this.trial.host, '--auto-approve');
    if (status !== 0) throw new Error(`cdktf deploy failed:\n${output}`);
  }
}
