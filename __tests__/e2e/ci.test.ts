import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { parse } from 'yaml';
import { Checkout, type Run, succeeded } from '../../sandbox/checkout';
import type { Sandbox } from '../../sandbox/sandbox';
import { toolEnvironment } from '../../tools/env';

jest.setTimeout(300_000);

interface Step {
  readonly name?: string;
  readonly run?: string;
}

/** The steps of a job that run a script, as the workflow that is shipped has them. */
function scripts(workflow: string, job: string): Readonly<Record<string, string>> {
  const { jobs } = parse(readFileSync(`.github/workflows/${workflow}.yml`, 'utf8')) as {
    jobs: Record<string, { steps: Step[] }>;
  };
  return Object.fromEntries(
    (jobs[job]?.steps ?? []).flatMap(({ name = '', run }) => (run === undefined ? [] : [[name, run]])),
  );
}

interface Item {
  readonly number: number;
  readonly labels: readonly string[];
  readonly comments: { id: number; body: string }[];
  title: string;
  body: string;
  state: string;
}

/**
 * Our own stand-in for the few requests of GitHub's REST API that the recipes make, since GitHub can't be reached from
 * a test: issues and comments in memory, a token asked for, and every third request refused for a moment.
 */
class StandIn {
  readonly items: Item[] = [
    { number: 7, labels: [], comments: [], title: 'a pull request', body: '', state: 'open' },
  ];
  requests = 0;
  private server: Server | undefined;

  async start(token: string): Promise<string> {
    this.server = createServer((request, response) => {
      let text = '';
      request.on('data', (data: Buffer) => (text += data));
      request.on('end', () => {
        const answer = (status: number, body: unknown) => {
          response.writeHead(status, { 'content-type': 'application/json' });
          response.end(JSON.stringify(body));
        };
        if (request.headers.authorization !== `Bearer ${token}`)
          return answer(401, { message: 'Bad credentials' });
        if (++this.requests % 3 === 0) return answer(502, { message: 'try again' });
        const found = this.handle(
          request.method ?? '',
          request.url ?? '',
          text === '' ? {} : JSON.parse(text),
        );
        return found === undefined ? answer(404, { message: 'Not Found' }) : answer(200, found);
      });
    });
    await new Promise<void>((done) => this.server?.listen(0, '127.0.0.1', done));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server?.closeAllConnections();
    await new Promise((done) => this.server?.close(done));
  }

  private handle(method: string, url: string, body: Partial<Item>): unknown {
    const [path = '', query = ''] = url.replace('/repos/o/r', '').split('?');
    const label = new URLSearchParams(query).get('labels');
    const [, issue, comments] = path.match(/^\/issues\/(\d+)(\/comments)?$/) ?? [];
    const item = this.items.find(({ number }) => number === Number(issue));
    const shown = (each: Item) => ({
      ...each,
      html_url: `https://example.net/${each.number}`,
      ...(each.number === 7 ? { pull_request: {} } : {}),
    });
    if (path === '/issues' && method === 'GET')
      return this.items
        .filter(({ labels, state }) => state === 'open' && labels.includes(label ?? ''))
        .map(shown);
    if (path === '/issues' && method === 'POST') {
      const made: Item = {
        number: this.items.length + 7,
        labels: body.labels ?? [],
        comments: [],
        title: body.title ?? '',
        body: body.body ?? '',
        state: 'open',
      };
      this.items.push(made);
      return shown(made);
    }
    const edited = path.match(/^\/issues\/comments\/(\d+)$/)?.[1];
    const comment = this.items.flatMap((each) => each.comments).find(({ id }) => id === Number(edited));
    if (comment !== undefined && method === 'PATCH') return Object.assign(comment, body, { html_url: '' });
    if (item === undefined) return undefined;
    if (comments !== undefined && method === 'GET')
      return item.comments.map((each) => ({ ...each, html_url: '' }));
    if (comments !== undefined && method === 'POST') {
      const made = { id: Math.floor(Math.random() * 1e9), body: body.body ?? '' };
      item.comments.push(made);
      return { ...made, html_url: '' };
    }
    return method === 'PATCH' ? shown(Object.assign(item, body)) : undefined;
  }
}

describe('the workflows, run as they are shipped', () => {
  const tools = toolEnvironment();
  const token = randomUUID();
  const standIn = new StandIn();
  let sandbox: Sandbox;
  let checkout: Checkout;
  let env: NodeJS.ProcessEnv;

  beforeAll(async () => {
    checkout = new Checkout(tools);
    sandbox = await checkout.startSandbox('127.98.0.1');
    await sandbox.control('time_scale', { value: 0 });
    env = {
      ...tools,
      ...sandbox.env,
      GITHUB_ACTIONS: 'true',
      GITHUB_API_URL: await standIn.start(token),
      GITHUB_REPOSITORY: 'o/r',
      GITHUB_TOKEN: token,
      GITHUB_OUTPUT: checkout.path('output.txt'),
      GITHUB_STEP_SUMMARY: checkout.path('summary.md'),
    };
    checkout.use(env);
    writeFileSync(checkout.path('output.txt'), '');
    writeFleet({});
    await git('init', '-q');
    succeeded(await checkout.cdktf('deploy', '*', '--auto-approve'));
    await git('add', '.');
    await git('commit', '-qm', 'deployed');
  });

  afterAll(async () => {
    await standIn.stop();
    await sandbox?.stop();
    checkout?.remove();
  });

  const writeFleet = (web: object): void =>
    checkout.writeFleet(sandbox, {
      'mqtt-01': { vmId: 283, started: false },
      'web-01': { vmId: 284, started: false, ...web },
    });
  const git = async (...args: string[]): Promise<string> =>
    succeeded(await checkout.run('.', 'git', '-c', 'user.name=t', '-c', 'user.email=t@example.net', ...args));
  /** As GitHub runs a step: bash -e, in the checkout. */
  const step = (script: string | undefined, more: NodeJS.ProcessEnv = {}): Promise<Run> => {
    if (script === undefined) throw new Error('no such step');
    return checkout.with(more, () =>
      checkout.run('.', 'bash', '--noprofile', '--norc', '-e', '-o', 'pipefail', '-c', script),
    );
  };

  test('diff: one comment with the plan of exactly the hosts that change, kept up to date', async () => {
    const steps = scripts('diff', 'plan');
    for (const cores of [4, 6]) {
      writeFleet({ cores });
      succeeded(await step(steps['Hosts that change'], { BASE: 'HEAD' }));
      const hosts = readFileSync(checkout.path('output.txt'), 'utf8')
        .match(/^hosts=(.*)$/gm)
        ?.at(-1)
        ?.slice('hosts='.length);
      expect(hosts).toBe('web-01');
      succeeded(await step(steps.Plan, { HOSTS: hosts }));
      succeeded(await step(steps.Comment, { PULL_REQUEST: '7' }));
      const comments = standIn.items[0]?.comments ?? [];
      expect(comments).toHaveLength(1);
      expect(comments[0]?.body).toContain(`<code>${cores}</code>`);
      expect(comments[0]?.body).not.toContain('mqtt');
    }
    writeFleet({});
    expect(succeeded(await step(steps['Hosts that change'], { BASE: 'HEAD' }))).toBe('');
  });

  test('diff: a change of no consequence changes no host, and one of the defaults all', async () => {
    const changed = () =>
      checkout.run('.', process.execPath, 'bin/hostkey', 'changed', '--since', 'HEAD', '--json');
    writeFileSync(checkout.path('fleet.yaml'), `# a comment\n${checkout.read('fleet.yaml')}`);
    expect(JSON.parse(succeeded(await changed()))).toEqual({ added: [], changed: [], removed: [] });
    const fleet = JSON.parse(checkout.read('fleet.yaml').replace(/^#.*\n/, ''));
    writeFileSync(
      checkout.path('fleet.yaml'),
      JSON.stringify({ ...fleet, defaults: { ...fleet.defaults, cores: 3 } }),
    );
    expect(JSON.parse(succeeded(await changed()))).toMatchObject({ changed: ['mqtt-01', 'web-01'] });
    const { 'web-01': web, ...hosts } = fleet.hosts;
    writeFileSync(
      checkout.path('fleet.yaml'),
      JSON.stringify({ ...fleet, hosts: { ...hosts, 'db-01': { ...web, vmId: 285 } } }),
    );
    const { output } = await changed();
    expect(output).toContain('web-01 is no longer in fleet.yaml: destroy it first');
    expect(output).toContain('"db-01"');
    writeFleet({});
    expect(
      (await checkout.run('.', process.execPath, 'bin/hostkey', 'changed', '--since', 'nowhere')).status,
    ).toBe(1);
  });

  test('drift: one issue, opened, updated and closed', async () => {
    const [look, report] = [scripts('drift', 'look'), scripts('drift', 'report')];
    const night = async () => {
      for (const PART of ['1', '2']) succeeded(await step(look.Look, { PART, PARTS: '2' }));
      return step(report.Report);
    };
    const issues = () => standIn.items.slice(1);
    expect(succeeded(await night())).toContain('no issue is open');
    expect(issues()).toEqual([]);

    const config = `/nodes/${sandbox.node.name}/qemu/284/config`;
    for (const memory of [4096, 8192]) {
      await sandbox.request('PUT', config, { memory });
      expect(succeeded(await night())).toContain('::warning');
      expect(issues()).toHaveLength(1);
      expect(issues()[0]).toMatchObject({
        state: 'open',
        labels: ['drift'],
        body: expect.stringContaining(`<code>${memory}</code>`),
      });
    }
    expect(checkout.read('drift.html')).toContain('8192');
    await sandbox.request('PUT', config, { memory: 2048 });
    expect(succeeded(await night())).toContain('closed https://example.net/8');
    expect(issues()).toEqual([expect.objectContaining({ state: 'closed' })]);
  });

  test('drift: a part that never came is not taken for a clean one', async () => {
    succeeded(await checkout.run('.', 'rm', 'part-2.json'));
    succeeded(await step(scripts('drift', 'report').Report));
    expect(standIn.items.at(-1)).toMatchObject({
      state: 'open',
      body: expect.stringContaining('part 2 of 2'),
    });
  });

  test('deploy: a host by its name, and nothing else', async () => {
    const { Deploy } = scripts('deploy', 'deploy');
    const bad = await step(Deploy, { HOST: 'web-01; touch pwned' });
    expect(bad.status).not.toBe(0);
    expect(bad.output).toContain('is no host of fleet.yaml');
    expect(checkout.files().filter((name) => name.includes('pwned'))).toEqual([]);
    expect(
      succeeded(await step(Deploy?.replace('npx cdktf', 'node node_modules/.bin/cdktf'), { HOST: 'web-01' })),
    ).toContain('No changes');
  });

  test('a forge that refuses is told, without the token', async () => {
    const run = await step('bin/hostkey publish issue part-1.json', { GITHUB_TOKEN: 'wrong-token' });
    expect(run.status).toBe(1);
    expect(run.output).not.toContain('wrong-token');
  });
});

test('the workflows pass actionlint', () => {
  expect(execFileSync('actionlint', { env: toolEnvironment(), encoding: 'utf8' })).toBe('');
});

test.each(['diff', 'drift', 'deploy'])("GitLab's %s.yml has jobs with scripts", (name) => {
  const jobs = Object.values(
    parse(readFileSync(`docs/ci/gitlab/${name}.yml`, 'utf8')) as Record<
      string,
      { script?: unknown[]; rules?: unknown[] }
    >,
  );
  expect(jobs.length).toBeGreaterThan(0);
  for (const { script, rules } of jobs)
    expect([script, rules]).toEqual([expect.any(Array), expect.any(Array)]);
});
