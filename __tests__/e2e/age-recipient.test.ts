import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { App, TerraformOutput, TerraformStack, TerraformVariable } from 'cdktf';
import { AgeRecipient } from '../../constructs/age-recipient';
import { renderUserData } from '../../constructs/cloud-config';
import { toolEnvironment } from '../../tools/env';
import { testKey } from '../keys/test-keys';

const KEYS = 64;

describe.each(['terraform', 'tofu'])('%s', (program) => {
  const env = toolEnvironment({ opentofu: program === 'tofu' });
  let outdir: string;

  beforeEach(() => {
    outdir = mkdtempSync(path.join(tmpdir(), 'hostkey-recipient-'));
  });
  afterEach(() => rmSync(outdir, { recursive: true, force: true }));

  function planned(stack: TerraformStack, variables: Record<string, string>): Record<string, string> {
    const cwd = path.join(outdir, 'stacks', stack.node.id);
    const given = Object.fromEntries(
      Object.entries(variables).map(([name, value]) => [`TF_VAR_${name}`, value]),
    );
    const run = (...args: string[]) =>
      execFileSync(program, args, { cwd, env: { ...env, ...given }, encoding: 'utf8', maxBuffer: 2 ** 28 });
    run('init', '-input=false');
    run('plan', '-input=false', '-out=plan');
    const { planned_values } = JSON.parse(run('show', '-json', 'plan')) as {
      planned_values: { outputs: Record<string, { value: string }> };
    };
    return Object.fromEntries(
      Object.entries(planned_values.outputs).map(([name, { value }]) => [name, value]),
    );
  }

  test(`derives the recipients that ssh-to-age prints, of ${KEYS} keys in one plan`, () => {
    const keys = Object.fromEntries(Array.from({ length: KEYS }, (_, i) => [`key_${i}`, testKey().line]));
    const app = new App({ outdir });
    const stack = new TerraformStack(app, 'recipients');
    for (const name of Object.keys(keys)) {
      const variable = new TerraformVariable(stack, name, { type: 'string' });
      const { recipient } = new AgeRecipient(stack, `age_${name}`, { publicKey: variable.stringValue });
      new TerraformOutput(stack, `recipient_${name}`, { value: recipient, staticId: true });
    }
    app.synth();

    const derived = planned(stack, keys);
    const expected = Object.fromEntries(
      Object.entries(keys).map(([name, line]) => [
        `recipient_${name}`,
        execFileSync('ssh-to-age', { env, input: line, encoding: 'utf8' }).trim(),
      ]),
    );
    expect(derived).toEqual(expected);
    expect(new Set(Object.values(derived)).size).toBe(KEYS);
  });

  test('takes what a user wrote in cloud-config literally', () => {
    const app = new App({ outdir });
    const stack = new TerraformStack(app, 'user_data');
    const own = { runcmd: ['echo ${HOME} $${x} $$$${y} %{ if z } %%{w} $ % {}'], key: '@@KEY@@\n' };
    new TerraformOutput(stack, 'text', {
      value: renderUserData(own, { '@@KEY@@': '"line 1\\nline 2\\n"' }),
      staticId: true,
    });
    app.synth();
    expect(planned(stack, {}).text).toBe(
      '#cloud-config\nruncmd:\n  - echo ${HOME} $${x} $$$${y} %{ if z } %%{w} $ % {}\nkey: |\n  line 1\n  line 2\n',
    );
  });
});
