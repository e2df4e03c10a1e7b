import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { LocalProvider } from '@cdktf/provider-local/lib/provider';
import { App, LocalBackend, TerraformStack } from 'cdktf';
import { SopsRules } from '../../constructs/sops-rules';
import { applyHost, leaveFolder } from '../../sops/rules';
import { toolEnvironment } from '../../tools/env';
import { entryOf } from '../sops/entries';

jest.setTimeout(120_000);

/** SopsRules alone, by what cdktf would run: no VM, no Proxmox. */
describe.each(['terraform', 'tofu'])('the root .sops.yaml by %s', (program) => {
  const env = toolEnvironment({ opentofu: program === 'tofu' });
  const [X, Y] = ['secrets/shared/x', 'secrets/shared/y (new)'] as const;
  const PEOPLES = '# ours\nkeys:\n  - &me age1me\ncreation_rules:\n  - age: [*me]\n';
  const OTHER = applyHost(PEOPLES, entryOf('web-01', { shared: [X] })).text;
  let root: string;

  beforeAll(() => {
    root = mkdtempSync(path.join(tmpdir(), 'hostkey-rules-'));
    writeFileSync(path.join(root, '.sops.yaml'), OTHER);
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  const rules = () => readFileSync(path.join(root, '.sops.yaml'), 'utf8');
  const stack = () => path.join(root, 'cdktf.out/stacks/mqtt-01');
  const entryWith = (shared: string[]) => applyHost(OTHER, entryOf('mqtt-01', { shared })).text;
  const run = (...args: string[]) => execFileSync(program, args, { cwd: stack(), env, encoding: 'utf8' });

  function synthesize(shared: string[]): void {
    const app = new App({ outdir: path.join(root, 'cdktf.out') });
    const host = new TerraformStack(app, 'mqtt-01');
    new LocalBackend(host, { path: path.join(root, 'state') });
    new LocalProvider(host, 'local');
    host.addOverride('terraform.required_providers.local.version', '>= 1.4.0, < 3.0.0');
    const { recipient, admins } = entryOf('mqtt-01');
    new SopsRules(host, 'sops', { host: 'mqtt-01', recipient, admins, root, shared });
    mkdirSync(stack(), { recursive: true });
    app.synth();
    run('init', '-input=false');
  }

  function deploy(...shared: string[]): void {
    synthesize(shared);
    run('apply', '-input=false', '-auto-approve');
    const plan = spawnSync(program, ['plan', '-input=false', '-detailed-exitcode'], { cwd: stack(), env });
    expect(plan.status).toBe(0);
    expect(rules()).toBe(entryWith(shared));
  }

  test('has the host in the rules of the folders that it reads', () => deploy(X, Y));

  test('has it no more in that of a folder that it left', () => deploy(X));

  test('follows a folder to its new name', () => deploy(Y));

  test('loses the rule with its last host', () => deploy());

  test('gets the host again', () => deploy(Y, X));

  test('loses it altogether when it is destroyed, also where somebody deleted a rule before', () => {
    writeFileSync(path.join(root, '.sops.yaml'), leaveFolder(rules(), 'mqtt-01', Y).text);
    run('apply', '-destroy', '-input=false', '-auto-approve');
    expect(rules()).toBe(OTHER);
  });

  test('may be gone altogether by then', () => {
    deploy(X, Y);
    rmSync(path.join(root, '.sops.yaml'));
    run('apply', '-destroy', '-input=false', '-auto-approve');
    expect(existsSync(path.join(root, '.sops.yaml'))).toBe(false);
  });
});
