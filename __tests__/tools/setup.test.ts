import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// The set-up is plain ESM that runs before anything is installed, so it is tested as it is used: as a program,
// in a checkout of its own, on a machine whose programs the test chooses. Nothing here asks the network.

const project = join(__dirname, '..', '..');
const recipient = 'age1cl05ksjhfa0tqkthlvrxp2ws36u6xdxux9lguvf07jaulc5pnaasuemsh2';

/** Evaluates an expression over the exports of one of set-up's modules. */
function evaluate(module: string, expression: string): unknown {
  const url = JSON.stringify(`file://${join(project, 'tools', 'setup', module)}`);
  const program = `import * as m from ${url}; process.stdout.write(JSON.stringify(${expression}));`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', program]);
  if (status !== 0) throw new Error(String(stderr));
  return JSON.parse(String(stdout));
}

const scripts: Record<string, string> = {
  git: 'exit 0',
  ssh: 'exit 0',
  'ssh-keygen': 'exit 0',
  sshd: 'exit 0',
  python3: 'exit 0',
  terraform: `echo '{"terraform_version": "1.11.4"}'`,
  sops: 'echo "sops 3.13.3"',
  age: 'echo v1.3.2',
  'age-keygen': 'echo v1.3.2',
  'ssh-to-age': `read -r _; echo ${recipient}`,
  npm: 'exit 0',
};

/** Answers as Go does, and "builds" a file that holds its own arguments. */
const fakeGo = `
if [ "$1" = env ]; then echo "\${FAKE_GO_VERSION:-go1.26.8}"; exit 0; fi
while [ $# -gt 0 ]; do if [ "$1" = -o ]; then out=$2; fi; last=$1; shift; done
[ -z "$FAKE_GO_FAILS" ] || { echo "package $last: no luck"; exit 1; }
echo "$last" >> "$CALLS"
echo "built $last" > "$out"`;

class Machine {
  readonly root = mkdtempSync(join(tmpdir(), "hostkey set'up "));
  readonly programs = join(this.root, 'programs');
  readonly checkout = join(this.root, 'checkout');
  readonly calls = join(this.root, 'calls');

  constructor() {
    mkdirSync(this.programs);
    cpSync(join(project, 'tools'), join(this.checkout, 'tools'), { recursive: true });
    this.write('package.json', '{"name": "copy"}');
    this.write('package-lock.json', '{"lockfileVersion": 3, "packages": {"": {"name": "copy"}}}');
    for (const [name, script] of Object.entries(scripts)) this.has(name, script);
    this.has('npm', 'echo "npm $*" >> "$CALLS"; mkdir -p node_modules');
  }

  /** Puts a program on PATH. Shell built-ins apart, it must name what it uses by its full path. */
  has(name: string, script: string): void {
    const path = join(this.programs, name);
    writeFileSync(path, `#!/bin/sh\nPATH=/usr/bin:/bin\n${script}\n`);
    chmodSync(path, 0o755);
  }

  lacks(name: string): void {
    rmSync(join(this.programs, name));
  }

  write(path: string, content: string): void {
    writeFileSync(join(this.checkout, path), content);
  }

  read(path: string): string {
    return readFileSync(join(this.checkout, path), 'utf8');
  }

  env(variables: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
    const { HOSTKEY_PROVIDERS = 'registry' } = variables;
    return { PATH: this.programs, HOME: this.root, CALLS: this.calls, ...variables, HOSTKEY_PROVIDERS };
  }

  setUp(args: string[] = [], variables: NodeJS.ProcessEnv = {}) {
    const run = spawnSync(process.execPath, ['tools/setup.mjs', ...args], {
      cwd: this.checkout,
      env: this.env(variables),
      encoding: 'utf8',
    });
    return { status: run.status, stdout: run.stdout, stderr: run.stderr };
  }

  start(args: string[] = [], variables: NodeJS.ProcessEnv = {}) {
    return spawn(process.execPath, ['tools/setup.mjs', ...args], {
      cwd: this.checkout,
      env: this.env(variables),
    });
  }

  /** What npm and Go were asked to do so far. */
  called(): string[] {
    return existsSync(this.calls) ? readFileSync(this.calls, 'utf8').trimEnd().split('\n') : [];
  }
}

let machine: Machine;
beforeEach(() => {
  machine = new Machine();
});
afterEach(() => {
  rmSync(machine.root, { recursive: true, force: true });
});

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 8000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('nothing came of waiting');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe('a run', () => {
  test('makes everything once, and the second time says and does nothing', () => {
    const first = machine.setUp();
    expect(first).toMatchObject({ status: 0, stderr: '' });
    expect(first.stdout).toContain('npm        installed packages');
    const files = () => ['ready.json', 'env', 'env.json'].map((file) => machine.read(`.tools/${file}`));
    const before = files();

    const startedAt = Date.now();
    expect(machine.setUp(['--quiet'])).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(Date.now() - startedAt).toBeLessThan(2000);
    expect(files()).toEqual(before);
    expect(machine.called()).toHaveLength(1);
    expect(readdirSync(join(machine.checkout, '.tools'))).not.toContain('lock');
  });

  test('installs npm packages again when the lock file changed, and only then', () => {
    machine.setUp(['--npm-only']);
    machine.setUp(['--npm-only']);
    expect(machine.called()).toEqual([expect.stringContaining('npm ci --ignore-scripts')]);
    machine.write('package-lock.json', '{"lockfileVersion": 3, "packages": {"": {"name": "other"}}}');
    machine.setUp(['--npm-only']);
    expect(machine.called()).toHaveLength(2);
    expect(existsSync(join(machine.checkout, '.tools', 'env'))).toBe(false);
  });

  test('takes over what npm installed by hand, but not what is only half of it', () => {
    const lock = (version: string) =>
      JSON.stringify({ lockfileVersion: 3, packages: { '': {}, 'node_modules/a': { version } } });
    machine.write('package-lock.json', lock('1.0.0'));
    mkdirSync(join(machine.checkout, 'node_modules', 'a'), { recursive: true });
    machine.write('node_modules/.package-lock.json', lock('1.0.0').replace('"":{},', ''));
    expect(machine.setUp(['--npm-only']).status).toBe(0);
    expect(machine.called()).toEqual([]);

    machine.write('package-lock.json', lock('1.0.1'));
    expect(machine.setUp(['--npm-only']).status).toBe(0);
    expect(machine.called()).toHaveLength(1);
  });

  test('notices a lost result', () => {
    machine.setUp();
    rmSync(join(machine.checkout, '.tools', 'env'));
    expect(machine.setUp(['--quiet'])).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(existsSync(join(machine.checkout, '.tools', 'env'))).toBe(true);
  });

  test('notices that the machine changed', () => {
    machine.setUp();
    expect(JSON.parse(machine.read('.tools/env.json'))).toMatchObject({ TERRAFORM_BINARY_NAME: 'terraform' });
    machine.has('tofu', `echo '{"terraform_version": "1.12.6"}'`);
    machine.has('terraform', `echo '{"terraform_version": "1.5.7"}'`);
    expect(machine.setUp().status).toBe(0);
    expect(JSON.parse(machine.read('.tools/env.json'))).toMatchObject({ TERRAFORM_BINARY_NAME: 'tofu' });
  });

  test('tells a machine', () => {
    const { stdout } = machine.setUp(['--json']);
    const terraform = { name: 'terraform', path: join(machine.programs, 'terraform'), version: '1.11.4' };
    expect(JSON.parse(stdout)).toMatchObject({
      ready: true,
      providers: { from: 'registry' },
      lockFile: null,
    });
    expect(JSON.parse(stdout).programs).toContainEqual({ ...terraform, from: 'PATH' });
  });

  test('refuses an option that it does not know', () => {
    const { status, stderr } = machine.setUp(['--opentoffee']);
    expect(status).toBe(1);
    expect(stderr).toContain("Unknown option '--opentoffee'");
  });
});

describe('building from source', () => {
  const source = { HOSTKEY_PROVIDERS: 'source' };

  const mirrored = (host: string) =>
    `.tools/mirror/${host}/bpg/proxmox/0.111.1/${platform()}/terraform-provider-proxmox_v0.111.1`;

  /** In Go's words, as the mirror's folders are named. */
  function platform(): string {
    return `${process.platform}_${process.arch === 'x64' ? 'amd64' : process.arch}`;
  }

  test('without Go there is one message, with both ways out', () => {
    // Go is also found in its usual place, where the machine that runs this test may well have it.
    const code = machine.read('tools/setup/go-build.mjs');
    machine.write('tools/setup/go-build.mjs', code.replaceAll('/usr/local/go/', '/nowhere/'));
    machine.lacks('sops');
    const { status, stderr } = machine.setUp(['--quiet'], source);
    expect(status).toBe(1);
    expect(stderr).toContain('set-up: Go is not on PATH');
    expect(stderr).toContain('1. install Go 1.21 or newer from https://go.dev/dl; or');
    expect(stderr).toContain(
      '2. install sops by other means, on PATH, and make the Terraform registry reachable',
    );
    expect(stderr.match(/set-up:/g)).toHaveLength(1);
    expect(existsSync(join(machine.checkout, '.tools', 'env'))).toBe(false);
  });

  test('a Go too old to fetch another is as good as none', () => {
    machine.has('go', fakeGo);
    const { status, stderr } = machine.setUp([], { ...source, FAKE_GO_VERSION: 'go1.19.8' });
    expect(status).toBe(1);
    expect(stderr).toMatch(/Go at .* is too old \(1\.19\.8; 1\.21 is the first that will do\)/);
  });

  test('fills the mirror for both registries, and warns of bytes that the lock file does not name', () => {
    machine.has('go', fakeGo);
    const { status, stderr } = machine.setUp([], source);
    expect(status).toBe(0);
    expect(machine.read(mirrored('registry.terraform.io'))).toBe(
      'built github.com/bpg/terraform-provider-proxmox\n',
    );
    expect(machine.read(mirrored('registry.opentofu.org'))).toBe(
      machine.read(mirrored('registry.terraform.io')),
    );
    expect(stderr).toMatch(
      /^warning: hashicorp\/tls, hashicorp\/local, bpg\/proxmox as built here .* differ/,
    );
    const lock = join(machine.checkout, '.tools', 'terraform.lock.hcl');
    expect(JSON.parse(machine.read('.tools/env.json'))).toMatchObject({
      HOSTKEY_LOCK_FILE: lock,
      TF_CLI_CONFIG_FILE: join(machine.checkout, '.tools', 'terraformrc'),
    });
    // printf 'built github.com/bpg/terraform-provider-proxmox\n' | sha256sum, then as in the vector below.
    expect(readFileSync(lock, 'utf8')).toContain('"h1:vMTcMYHn9eMK/rMmEM8k0owaknpjnnbI9MMX3UzmhNM="');
    expect(machine.setUp(['--quiet'], source)).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(machine.called().filter((call) => call.includes('terraform-provider'))).toHaveLength(3);
  });

  test('uses the committed lock file where the bytes are the ones that it names', () => {
    machine.has('go', fakeGo);
    machine.setUp([], source);
    const ours = machine.read('.tools/terraform.lock.hcl');
    machine.write('tools/locks/source.terraform.lock.hcl', ours);
    expect(machine.setUp([], source)).toMatchObject({ status: 0, stderr: '' });
    expect(JSON.parse(machine.read('.tools/env.json')).HOSTKEY_LOCK_FILE).toBe(
      join(machine.checkout, 'tools', 'locks', 'source.terraform.lock.hcl'),
    );
  });

  test('builds again what was cut short, and nothing else', () => {
    machine.has('go', fakeGo);
    machine.setUp([], source);
    machine.write(mirrored('registry.opentofu.org'), 'built');
    const before = machine.called().length;
    expect(machine.setUp(['--quiet'], source).status).toBe(0);
    expect(machine.called().slice(before)).toEqual(['github.com/bpg/terraform-provider-proxmox']);
    expect(machine.read(mirrored('registry.opentofu.org'))).toContain('terraform-provider-proxmox');
  });

  test('a failed build shows its last lines, keeps its log, and is not taken for done', () => {
    machine.has('go', fakeGo);
    const { status, stderr } = machine.setUp([], { ...source, FAKE_GO_FAILS: 'yes' });
    expect(status).toBe(1);
    expect(stderr).toMatch(/^set-up: Building terraform-provider-\w+ failed\.\n {2}package .*: no luck\n/);
    const log = /The whole log: (.*)\n/.exec(stderr)?.[1] ?? '';
    expect(readFileSync(log, 'utf8')).toContain('no luck');
    expect(machine.setUp([], source).status).toBe(0);
    expect(existsSync(log)).toBe(false);
  });

  test('refuses a source that there is not', () => {
    const { status, stderr } = machine.setUp([], { HOSTKEY_PROVIDERS: 'mirror' });
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: "set-up: HOSTKEY_PROVIDERS is 'mirror'; it can be 'registry' or 'source'.\n",
    });
  });
});

describe('trouble', () => {
  test('a program of the system that is missing: one message that says what to type', () => {
    machine.lacks('git');
    machine.has('python3', 'exit 1');
    const { status, stderr } = machine.setUp();
    expect(status).toBe(1);
    expect(stderr).toContain('missing: git, python3 (version 3.10 or newer that can make a venv)');
    expect(stderr).toContain('apt-get install --no-install-recommends git python3-venv');
    expect(machine.called()).toEqual([]);
  });

  test('a network that comes back is asked again', () => {
    machine.has(
      'npm',
      'echo "npm $*" >> "$CALLS"; mkdir node_modules 2>/dev/null || exit 0; echo ECONNRESET; exit 1',
    );
    expect(machine.setUp(['--npm-only']).status).toBe(0);
    expect(machine.called()).toHaveLength(2);
  });

  test('any other failure is not asked again', () => {
    machine.has('npm', 'echo "npm $*" >> "$CALLS"; echo "npm error code EUSAGE"; exit 1');
    const { status, stderr } = machine.setUp(['--npm-only']);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^set-up: npm ci failed\.\n {2}npm error code EUSAGE\nThe whole log: /);
    expect(machine.called()).toHaveLength(1);
  });

  test('stopped half-way it stops its children, gives the lock back, and is not taken for done', async () => {
    machine.has('npm', 'mkdir -p node_modules; sleep 60 & echo $! > "$CALLS"; wait');
    const run = machine.start();
    await until(() => machine.called().length === 1);
    run.kill('SIGTERM');
    const [code] = await once(run, 'exit');
    expect(code).toBe(143);
    const grandchild = Number(machine.called()[0]);
    await until(() => !isRunning(grandchild));
    expect(existsSync(join(machine.checkout, '.tools', 'lock'))).toBe(false);

    machine.has('npm', 'echo again >> "$CALLS"');
    expect(machine.setUp().status).toBe(0);
    expect(machine.called()).toContain('again');
  });

  test('two at once: the second waits, says so, and finds all done', async () => {
    machine.has('npm', 'echo "npm $*" >> "$CALLS"; mkdir node_modules; sleep 1');
    const first = machine.start();
    await until(() => machine.called().length === 1);
    const second = machine.setUp(['--quiet']);
    expect(second).toMatchObject({ status: 0, stderr: '' });
    expect(second.stdout).toBe(`wait       for another set-up here (process ${first.pid})\n`);
    expect(machine.called()).toHaveLength(1);
  });

  test('the lock of a dead set-up is taken over', () => {
    const lock = join(machine.checkout, '.tools', 'lock');
    mkdirSync(lock, { recursive: true });
    const { pid } = spawnSync('true');
    const host = spawnSync('hostname', { encoding: 'utf8' }).stdout.trim();
    writeFileSync(join(lock, 'owner.json'), JSON.stringify({ pid, host, born: '1' }));
    expect(machine.setUp()).toMatchObject({ status: 0, stderr: '' });
    expect(existsSync(lock)).toBe(false);
  });

  test('so is the lock whose number now belongs to somebody else', () => {
    const lock = join(machine.checkout, '.tools', 'lock');
    mkdirSync(lock, { recursive: true });
    const host = spawnSync('hostname', { encoding: 'utf8' }).stdout.trim();
    writeFileSync(join(lock, 'owner.json'), JSON.stringify({ pid: process.pid, host, born: '1' }));
    expect(machine.setUp()).toMatchObject({ status: 0, stderr: '' });
  });

  function isRunning(pid: number): boolean {
    try {
      process.kill(pid, 0);
      // A killed child that nobody has waited for yet is still listed.
      return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
    } catch {
      return false;
    }
  }
});

describe('.tools/env', () => {
  test.each([
    ['a plain one', '/opt/checkout/.tools/bin'],
    ['one that a shell would read as its own', `/tmp/it's "$HOME" \`id\` * \\n #/bin`],
    ['one of two lines', '/tmp/one\ntwo/bin'],
  ])('gives a shell the very values: %s', (_, value) => {
    const files = { shell: join(machine.root, 'env'), json: join(machine.root, 'env.json') };
    evaluate(
      'environment.mjs',
      `m.writeEnvironment(${JSON.stringify(files)}, ${JSON.stringify({ SOME: value })}) ?? 0`,
    );
    const sourced = spawnSync('/bin/sh', ['-euc', '. "$0"; printf %s "$SOME"', files.shell], { env: {} });
    expect(String(sourced.stderr)).toBe('');
    expect(String(sourced.stdout)).toBe(value);
    expect(JSON.parse(readFileSync(files.json, 'utf8'))).toMatchObject({ SOME: value });
  });

  test('puts our programs first on PATH, once, also where there is no PATH', () => {
    machine.setUp();
    const bin = join(machine.checkout, '.tools', 'bin');
    const pathAfter = (commands: string, env: NodeJS.ProcessEnv) =>
      String(
        spawnSync('/bin/sh', ['-euc', `${commands}; echo "$PATH"`], { cwd: machine.checkout, env }).stdout,
      );
    expect(pathAfter('. .tools/env; . .tools/env', { PATH: '/usr/bin:/bin' })).toBe(`${bin}:/usr/bin:/bin\n`);
    expect(pathAfter('unset PATH; . ./.tools/env', {})).toBe(`${bin}\n`);
  });

  test('names the same things for a shell and for our programs', () => {
    machine.setUp();
    const { PATH_PREPEND, ...variables } = JSON.parse(machine.read('.tools/env.json'));
    const show = `. .tools/env; for name in ${Object.keys(variables).join(' ')}; do eval "printf '%s\\n' \\"\\$$name\\""; done; echo "$PATH"`;
    const { stdout } = spawnSync('/bin/sh', ['-euc', show], { cwd: machine.checkout, env: { PATH: '/bin' } });
    expect(String(stdout).trimEnd().split('\n')).toEqual([
      ...Object.values(variables),
      `${PATH_PREPEND}:/bin`,
    ]);
  });
});

describe('toolEnvironment', () => {
  const load = () => {
    let loaded: typeof import('../../tools/env') | undefined;
    jest.isolateModules(() => {
      loaded = require(join(machine.checkout, 'tools', 'env.ts'));
    });
    if (loaded === undefined) throw new Error('not loaded');
    return loaded.toolEnvironment;
  };

  test('says what to type where nothing has been set up', () => {
    expect(load()).toThrow('This checkout has not been set up: run `npm run setup`.');
    machine.setUp();
    expect(() => load()({ opentofu: true })).toThrow('run `npm run setup -- --opentofu`');
  });

  test('is process.env with our programs first, once', () => {
    machine.has('tofu', `echo '{"terraform_version": "1.12.6"}'`);
    machine.setUp();
    const bin = join(machine.checkout, '.tools', 'bin');
    const before = { ...process.env };
    try {
      process.env.PATH = `/usr/bin:${bin}`;
      process.env.HOSTKEY_LOCK_FILE = '/another/checkout/lock';
      expect(load()()).toMatchObject({
        PATH: `${bin}:/usr/bin`,
        TERRAFORM_BINARY_NAME: 'terraform',
        HOME: before.HOME,
      });
      expect(load()()).not.toHaveProperty('HOSTKEY_LOCK_FILE');
      expect(load()({ opentofu: true })).toMatchObject({ TERRAFORM_BINARY_NAME: 'tofu' });
    } finally {
      process.env = before;
    }
  });
});

describe('versions', () => {
  test.each([
    ['Terraform v1.11.4\non linux_amd64', '1.11.4'],
    ['sops 3.13.3', '3.13.3'],
    ['go1.26.8', '1.26.8'],
    ['v1.2.0-rc1', '1.2.0'],
    ['{"terraform_version":"1.6"}', '1.6'],
  ])('%j', (text, version) => {
    expect(evaluate('versions.mjs', `m.findVersion(${JSON.stringify(text)})`)).toBe(version);
  });

  test('are compared by number', () => {
    const ascending = ['1.2.9', '1.6', '1.6.1', '1.10.0', '2.0'];
    const sorted = `${JSON.stringify([...ascending].reverse())}.sort(m.compareVersions)`;
    expect(evaluate('versions.mjs', sorted)).toEqual(ascending);
    expect(evaluate('versions.mjs', "m.compareVersions('1.6', '1.6.0')")).toBe(0);
  });
});

describe('the dependency lock', () => {
  test("hashes a provider's package as Terraform does", () => {
    // cd "$(mktemp -d)"; printf one > terraform-provider-local_v1.4.0
    // sha256sum terraform-provider-local_v1.4.0 | openssl dgst -sha256 -binary | base64
    const sha256 = '7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed';
    const provider = JSON.stringify({ source: 'hashicorp/local', version: '1.4.0' });
    expect(evaluate('dependency-lock.mjs', `m.providerHash(${provider}, '${sha256}')`)).toBe(
      'h1:BCtfUVtJSVTyYZ7vJHJdNggyJyx/ei2eiBdPhXqXQXE=',
    );
  });

  test('is committed for both registries, and says what the stacks ask for', () => {
    const providers = evaluate('catalog.mjs', 'm.providers') as { source: string; constraints: string }[];
    for (const [file, host] of [
      ['terraform', 'registry.terraform.io'],
      ['tofu', 'registry.opentofu.org'],
    ]) {
      const text = readFileSync(join(project, 'tools', 'locks', `source.${file}.lock.hcl`), 'utf8');
      for (const { source, constraints } of providers) {
        const [, entry] = text.split(`provider "${host}/${source}" {`);
        expect(entry).toContain(`constraints = "${constraints}"`);
      }
      expect(text.match(/"h1:[A-Za-z0-9+/]{43}="/g)).toHaveLength(2 * providers.length);
    }
  });
});

describe('the catalog', () => {
  test('agrees with what tools/go pins', () => {
    const goMod = (module: string) => readFileSync(join(project, 'tools', 'go', module, 'go.mod'), 'utf8');
    expect(goMod('sops')).toMatch(/getsops\/sops\/v3 v3\.13\.3\b/);
    expect(goMod('actionlint')).toMatch(/rhysd\/actionlint v1\.7\.7\b/);
    expect(goMod('age')).toMatch(/filippo\.io\/age v1\.3\.2\b/);
    expect(goMod('ssh-to-age')).toMatch(/ssh-to-age v1\.3\.0\b/);
    expect(goMod('terraform-provider-proxmox')).toMatch(/terraform-provider-proxmox v0\.111\.1\b/);
    expect(goMod('terraform-provider-local')).toMatch(/terraform-provider-local v1\.4\.0\b/);
    const text = JSON.stringify(evaluate('catalog.mjs', '[m.helpers, m.providers]'));
    for (const version of [
      'Version=3.13.3',
      'Version=v1.3.2',
      'version=1.3.0',
      'version=0.111.1',
      '"1.4.0"',
    ]) {
      expect(text).toContain(version);
    }
  });

  test('has every module built by the same Go', () => {
    const modules = readdirSync(join(project, 'tools', 'go'));
    const toolchains = modules.map(
      (module) =>
        /^toolchain .*$/m.exec(readFileSync(join(project, 'tools', 'go', module, 'go.mod'), 'utf8'))?.[0],
    );
    expect(new Set(toolchains)).toEqual(
      new Set([`toolchain ${evaluate('go-build.mjs', 'm.pinnedToolchain()')}`]),
    );
  });
});
