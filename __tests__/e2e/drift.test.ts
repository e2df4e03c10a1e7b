import { execFileSync } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { cpSync, lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { findDrift } from '../../drift/drift';
import { type DriftReport, driftReportSchema } from '../../drift/report';
import { loadFleet } from '../../fleet/load';
import { Checkout, type Run, succeeded } from '../../sandbox/checkout';
import { runInGuest } from '../../sandbox/guests/run';
import { guestAddress } from '../../sandbox/guests/setup';
import { cloudInitEnded } from '../../sandbox/guests/watch';
import type { Sandbox } from '../../sandbox/sandbox';
import { toolEnvironment } from '../../tools/env';

// Without KVM three boots take minutes.
jest.setTimeout(600_000);

const ADDRESS = '127.84.0.1';
const HOSTS = { 'mqtt-01': 283, 'web-01': 284, 'db-01': 285 } as const;
const HOST_KEY = '/etc/ssh/ssh_host_ed25519_key';

describe('a deployed fleet of three', () => {
  const tools = toolEnvironment();
  let sandbox: Sandbox;
  let checkout: Checkout;
  let deployer: NodeJS.ProcessEnv;
  let auditor: NodeJS.ProcessEnv;

  const fleetOf = (changes: Readonly<Record<string, object>> = {}) =>
    Object.fromEntries(
      Object.entries(HOSTS).map(([name, vmId], i) => [
        name,
        {
          vmId,
          address: `192.0.2.${83 + i}/24`,
          memory: 512,
          user: 'root',
          ssh: { address: guestAddress(ADDRESS, vmId) },
          authorizedKeys: [readFileSync(checkout.path('login.pub'), 'utf8').trim()],
          ...changes[name],
        },
      ]),
    );

  beforeAll(async () => {
    checkout = new Checkout(tools);
    sandbox = await checkout.startSandbox(ADDRESS, { guests: true });
    await sandbox.control('time_scale', { value: 0 }).catch(() => undefined);
    deployer = { ...tools, ...sandbox.env };
    auditor = {
      ...deployer,
      PROXMOX_VE_API_TOKEN: await auditorsToken(sandbox),
      TMPDIR: checkout.path('tmp'),
    };
    checkout.use(deployer);
    mkdirSync(checkout.path('tmp'));
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', checkout.path('login')]);
    execFileSync('age-keygen', ['-o', checkout.path('stranger')], { env: tools, stdio: 'ignore' });
    checkout.writeFleet(sandbox, fleetOf());
    succeeded(await checkout.cdktf('deploy', '*', '--auto-approve', '--parallelism', '2'));
    mkdirSync(checkout.path('secrets/mqtt-01'), { recursive: true });
    writeFileSync(checkout.path('secrets/mqtt-01/broker.yaml'), 'password: correct horse\n');
    succeeded(await checkout.run('.', 'sops', 'encrypt', '-i', 'secrets/mqtt-01/broker.yaml'));
    for (const command of [
      ['init', '-q'],
      ['add', '.sops.yaml', 'secrets', 'fleet.yaml'],
      ['commit', '-qm', 'deployed'],
    ]) {
      succeeded(
        await checkout.run('.', 'git', '-c', 'user.name=t', '-c', 'user.email=t@example.net', ...command),
      );
    }
    for (const { template, guest } of await sandbox.guests()) {
      if (!template && guest !== null) await cloudInitEnded(guest, 550);
    }
  });

  afterAll(async () => {
    await sandbox?.stop();
    checkout?.remove();
  });

  const hostkey = (env: NodeJS.ProcessEnv, ...args: string[]): Promise<Run> =>
    checkout.with(env, () => checkout.run('.', process.execPath, 'bin/hostkey', ...args));

  /** What `hostkey drift` finds with a token that may only read: its exit code, and the findings in short. */
  async function drift(
    ...args: string[]
  ): Promise<{ status: number | null; found: string[]; report: DriftReport }> {
    const { status, output } = await hostkey(auditor, 'drift', '--json', ...args);
    const report = driftReportSchema.parse(JSON.parse(output));
    const findings = [...report.hosts.flatMap((host) => host.findings), ...report.findings];
    const found = findings
      .filter(({ severity, accepted }) => severity !== 'info' && accepted === undefined)
      .map(({ host = 'fleet', kind, attribute }) => [host, kind, attribute].filter(Boolean).join(' '));
    return { status, found: found.sort(), report };
  }

  const CLEAN = { status: 0, found: [] };
  const config = (vmid: number): string => `/nodes/${sandbox.node.name}/qemu/${vmid}/config`;
  const edit = (file: string, change: (text: string) => string): (() => void) => {
    const before = checkout.read(file);
    const after = change(before);
    if (after === before) throw new Error(`nothing changed in ${file}`);
    writeFileSync(checkout.path(file), after);
    return () => writeFileSync(checkout.path(file), before);
  };

  test('is clean, and looking at it changes no file and leaves none behind', async () => {
    const before = filesOf(checkout.folder);
    expect(await drift()).toMatchObject(CLEAN);
    expect(filesOf(checkout.folder)).toEqual(before);
    // tsx keeps what it compiled there.
    expect(readdirSync(checkout.path('tmp')).filter((name) => !/^tsx-/.test(name))).toEqual([]);
  });

  test('is known to ssh without a question', async () => {
    succeeded(await hostkey(deployer, 'known-hosts', '--write', 'known'));
    const options = [
      'UserKnownHostsFile=known',
      'StrictHostKeyChecking=yes',
      'BatchMode=yes',
      'IdentityFile=login',
    ];
    const ssh = ['-F', 'none', ...options.flatMap((option) => ['-o', option])];
    const run = await checkout.run('.', 'ssh', ...ssh, `root@${guestAddress(ADDRESS, 283)}`, 'hostname');
    expect(run).toEqual({ status: 0, output: 'mqtt-01\n' });
  });

  test('serves the keys of its states', async () => {
    const { status, output } = await hostkey(
      { ...deployer, XDG_STATE_HOME: checkout.path('xdg') },
      'verify',
      '--json',
    );
    expect({
      status,
      hosts: JSON.parse(output).hosts.map(({ status }: { status: string }) => status),
    }).toEqual({
      status: 0,
      hosts: ['same', 'same', 'same'],
    });
    const list = await hostkey({ ...deployer, XDG_STATE_HOME: checkout.path('xdg') }, 'list', '--json');
    for (const host of JSON.parse(list.output).hosts) {
      expect(host).toMatchObject({ keyMadeAt: expect.any(String), verifiedAt: expect.any(String) });
    }
  });

  test("a VM's memory", async () => {
    await sandbox.request('PUT', config(283), { memory: 1024 });
    expect(await drift()).toMatchObject({ status: 2, found: ['mqtt-01 vm-changed memory[0].dedicated'] });
    await sandbox.request('PUT', config(283), { memory: 512 });
    expect(await drift()).toMatchObject(CLEAN);
  });

  test('known drift is accepted until its day, and listed', async () => {
    await sandbox.request('PUT', config(283), { memory: 1024 });
    const rule = {
      host: 'mqtt-01',
      resource: 'proxmox_virtual_environment_vm.proxmox_vm',
      attribute: 'memory',
      reason: 'an import',
    };
    const withRule = (expires: string) =>
      edit('fleet.yaml', (text) =>
        JSON.stringify({ ...JSON.parse(text), drift: { ignore: [{ ...rule, expires }] } }),
      );
    const undo = withRule('2999-12-31');
    const { status, found, report } = await drift();
    expect({ status, found }).toEqual(CLEAN);
    expect(report.hosts[0]?.findings).toEqual([
      expect.objectContaining({
        kind: 'vm-changed',
        accepted: { reason: 'an import', expires: '2999-12-31' },
      }),
    ]);
    undo();
    const undoOld = withRule('2020-01-01');
    expect(await drift('--skip', 'live')).toMatchObject({
      status: 2,
      found: ['mqtt-01 ignore-expired', 'mqtt-01 vm-changed memory[0].dedicated'],
    });
    undoOld();
    await sandbox.request('PUT', config(283), { memory: 512 });
    expect(await drift('--skip', 'live')).toMatchObject(CLEAN);
  });

  test('a snippet that is gone', async () => {
    const snippet = path.join(sandbox.snippets, 'web-01.user-data.yaml');
    renameSync(snippet, checkout.path('kept'));
    // Proxmox VE shows snippets to those who may allocate on their datastore, and to nobody else.
    const who = { path: '/storage/local', privileges: ['Datastore.Allocate'] };
    const may = { ...auditor, PROXMOX_VE_API_TOKEN: await auditorsToken(sandbox, 'keeper@pve', who) };
    const look = async () => (await hostkey(may, 'drift', '--json', '--skip', 'live')).output;
    const kinds = (output: string) =>
      driftReportSchema
        .parse(JSON.parse(output))
        .hosts.flatMap((host) => host.findings.map(({ kind }) => kind));
    expect(kinds(await look())).toEqual(['snippet-gone']);
    // Who may not see it doesn't take it for gone, and says so.
    const { report, ...others } = await drift('--skip', 'live');
    expect(others).toEqual(CLEAN);
    expect(report.findings).toEqual([
      expect.objectContaining({ kind: 'snippets-unseen', resource: '/storage/local' }),
    ]);
    renameSync(checkout.path('kept'), snippet);
    expect(kinds(await look())).toEqual([]);
  });

  test("a host's own .sops.yaml", async () => {
    const undo = edit('secrets/db-01/.sops.yaml', (text) => `${text}# mine\n`);
    expect(await drift()).toMatchObject({ status: 2, found: ['db-01 host-rules-changed'] });
    undo();
    expect(await drift()).toMatchObject(CLEAN);
  });

  test.each([
    [
      'a host taken out',
      (text: string) =>
        text
          .replace(/^ *- &host_web-01 .*\n/m, '')
          .replace(/^ *- path_regex: \^secrets\/web-01\/\n(?: {4,}.*\n)*/m, ''),
      'web-01 root-rules-missing',
    ],
    [
      'another recipient',
      (text: string) =>
        text.replace(/(&host_web-01 )\S+/, `$1${recipientOf(checkout.path('stranger'), tools)}`),
      'web-01 root-rules-changed',
    ],
    [
      'a rule before it',
      (text: string) =>
        text.replace(
          'creation_rules:\n',
          `creation_rules:\n  - path_regex: ^secrets/web\n    age: ${recipientOf(checkout.path('stranger'), tools)}\n`,
        ),
      'web-01 root-rules-shadowed',
    ],
  ])('the root .sops.yaml: %s', async (_what, change, finding) => {
    const undo = edit('.sops.yaml', change);
    try {
      expect(await drift()).toMatchObject({ status: 2, found: [finding] });
    } finally {
      undo();
    }
    expect(await drift()).toMatchObject(CLEAN);
  });

  test('what is lost in the root .sops.yaml is brought back by what the finding says', async () => {
    edit('.sops.yaml', () => 'keys: []\n');
    const { found, report } = await drift();
    expect(found).toEqual([
      'db-01 root-rules-missing',
      'mqtt-01 root-rules-missing',
      'web-01 root-rules-missing',
    ]);
    expect(report.hosts[0]?.findings[0]?.remedy).toBe('bin/hostkey sops apply --all');
    succeeded(await hostkey(deployer, 'sops', 'apply', '--all'));
    expect(await drift()).toMatchObject(CLEAN);
  });

  test('a secret that is encrypted to the wrong recipient, and its sync', async () => {
    const file = 'secrets/web-01/cert.yaml';
    mkdirSync(checkout.path('secrets/web-01'), { recursive: true });
    writeFileSync(checkout.path(file), 'key: swordfish\n');
    expect(await drift()).toMatchObject({ status: 2, found: ['web-01 secret-plain'] });
    const recipient = recipientOf(checkout.path('stranger'), tools);
    succeeded(
      await checkout.run('.', 'sops', '--config', '/dev/null', 'encrypt', '--age', recipient, '-i', file),
    );
    const { status, found, report } = await drift();
    expect({ status, found }).toEqual({
      status: 2,
      found: ['web-01 secret-extra-recipient', 'web-01 secret-missing-recipient'],
    });
    const remedy = report.hosts.flatMap(({ findings }) => findings)[0]?.remedy.split(' ') ?? [];
    expect(remedy).toEqual(['bin/hostkey', 'secrets', 'sync', file]);
    succeeded(await hostkey({ ...deployer, SOPS_AGE_KEY_FILE: 'stranger' }, ...remedy.slice(1)));
    expect(await drift()).toMatchObject(CLEAN);
  });

  test('what is written and not applied', async () => {
    const undo = edit('fleet.yaml', (text) => text.replace('"vmId": 285', '"vmId": 285, "cores": 4'));
    expect(await drift()).toMatchObject({ status: 2, found: ['db-01 not-applied cpu[0].cores'] });
    undo();
    expect(await drift()).toMatchObject(CLEAN);
  });

  test('a host that is written and was never deployed, and a state without a host', async () => {
    const undo = edit('fleet.yaml', (text) => text.replace('"db-01"', '"db-02"'));
    expect(await drift()).toMatchObject({ status: 2, found: ['db-02 not-deployed', 'fleet state-orphaned'] });
    undo();
    expect(await drift()).toMatchObject(CLEAN);
  });

  test("a booted guest's host key", async () => {
    const inGuest = async (script: string) => {
      const { status, stderr } = await runInGuest(sandbox, 283, ['/bin/sh', '-c', script]);
      if (status !== 0) throw new Error(stderr);
    };
    await inGuest(
      `cp -a ${HOST_KEY} /root/kept && rm ${HOST_KEY} && ssh-keygen -q -t ed25519 -N '' -f ${HOST_KEY} && systemctl restart ssh`,
    );
    expect(await drift()).toMatchObject({ status: 2, found: ['mqtt-01 key-differs'] });
    expect((await hostkey(deployer, 'verify', 'mqtt-01')).status).toBe(2);
    await inGuest(
      `cp -a /root/kept ${HOST_KEY} && ssh-keygen -y -f ${HOST_KEY} >${HOST_KEY}.pub && systemctl restart ssh`,
    );
    expect(await drift()).toMatchObject(CLEAN);
  });

  test('a neighbour that was deployed from another checkout is no drift', async () => {
    const other = new Checkout(deployer);
    try {
      const both = { ...fleetOf(), 'new-01': { vmId: 286, address: '192.0.2.86/24', started: false } };
      other.writeFleet(sandbox, both);
      // As git and a remote state bring it.
      const bring = (from: Checkout, to: Checkout) => {
        for (const name of ['.sops.yaml', 'secrets', 'state']) {
          cpSync(from.path(name), to.path(name), { recursive: true });
        }
      };
      bring(checkout, other);
      succeeded(await other.cdktf('deploy', 'new-01', '--auto-approve'));
      bring(other, checkout);
      checkout.writeFleet(sandbox, both);
      expect(await drift()).toMatchObject(CLEAN);
      succeeded(await checkout.cdktf('destroy', 'new-01', '--auto-approve'));
    } finally {
      other.remove();
    }
    checkout.writeFleet(sandbox, fleetOf());
    expect(await drift()).toMatchObject(CLEAN);
  });

  test('hosts that are planned together give the findings that each gives alone', async () => {
    await sandbox.request('PUT', config(283), { memory: 1024, onboot: 0 });
    const undo = edit('fleet.yaml', (text) => text.replace('"vmId": 285', '"vmId": 285, "cores": 4'));
    const undoRules = edit('secrets/web-01/.sops.yaml', (text) => `${text}#\n`);
    const before = { ...process.env };
    Object.assign(process.env, auditor);
    try {
      const fleet = loadFleet(checkout.path('fleet.yaml'));
      const look = async (batch: number) => {
        const options = { repository: checkout.folder, skip: ['live'] as const, tool: 'test', batch };
        const { startedAt: _, seconds: __, ...report } = await findDrift(fleet, options);
        return report;
      };
      const together = await look(50);
      expect(together.hosts.flatMap(({ findings }) => findings)).toHaveLength(4);
      expect(await look(1)).toEqual(together);
    } finally {
      process.env = before;
      undo();
      undoRules();
      await sandbox.request('PUT', config(283), { memory: 512, onboot: 1 });
    }
  });

  test('a part of the fleet, and the report of all parts', async () => {
    for (const index of [1, 2]) {
      const file = `part-${index}.json`;
      const { status } = await hostkey(
        auditor,
        'drift',
        '--skip',
        'live',
        '--shard',
        `${index}/2`,
        '--format',
        'json',
        '-o',
        file,
      );
      expect(status).toBe(0);
    }
    const whole = await hostkey(auditor, 'report', 'part-1.json', 'part-2.json', '--format', 'json');
    expect(whole.status).toBe(0);
    expect(JSON.parse(whole.output).hosts.map(({ host }: { host: string }) => host)).toEqual(
      Object.keys(HOSTS),
    );
    expect((await hostkey(auditor, 'report', 'part-2.json')).status).toBe(1);
  });

  test('a state that nobody can read is not taken for a clean host', async () => {
    const undo = edit('state/web-01.tfstate', () => '{');
    expect(await drift('--skip', 'live')).toMatchObject({ status: 1, found: ['web-01 unchecked'] });
    undo();
    expect(await drift('--skip', 'live')).toMatchObject(CLEAN);
  });

  test('a token that may not even look is not taken for a fleet that is gone', async () => {
    const env = { ...auditor, PROXMOX_VE_API_TOKEN: 'nobody@pve!x=00000000-0000-0000-0000-000000000000' };
    const { status, output } = await hostkey(env, 'drift', '--json', '--skip', 'live');
    expect(status).toBe(1);
    const { hosts } = driftReportSchema.parse(JSON.parse(output));
    for (const { findings } of hosts)
      expect(findings).toEqual([expect.objectContaining({ kind: 'unchecked' })]);
    expect(output).not.toContain('00000000-0000');
  });

  test('an API that is stopped', async () => {
    // The authority goes with the sandbox, and an API that isn't trusted is another story.
    const authorities = checkout.path('authorities.pem');
    cpSync(auditor.SSL_CERT_FILE ?? '', authorities);
    auditor = { ...auditor, SSL_CERT_FILE: authorities };
    await sandbox.stop();
    expect(await drift('--skip', 'live')).toMatchObject({
      status: 1,
      found: ['db-01 unchecked', 'mqtt-01 unchecked', 'web-01 unchecked'],
      report: {
        hosts: [{ findings: [{ message: expect.stringContaining("doesn't answer: ECONNREFUSED") }] }, {}, {}],
      },
    });
  });
});

/** A token of somebody who may look at VMs and datastores, and change nothing. */
async function auditorsToken(
  sandbox: Sandbox,
  user = 'audit@pve',
  ...more: readonly object[]
): Promise<string> {
  const secret = randomUUID();
  const grants = [
    { path: '/vms', privileges: ['VM.Audit'] },
    { path: '/storage', privileges: ['Datastore.Audit'] },
    ...more,
  ];
  await sandbox.control('token', { user, token: 'drift', secret, grants });
  return `${user}!drift=${secret}`;
}

const recipientOf = (identity: string, env: NodeJS.ProcessEnv): string =>
  execFileSync('age-keygen', ['-y', identity], { env, encoding: 'utf8' }).trim();

/** Every file of a checkout with its content and time; not what runs in it. */
function filesOf(folder: string): Record<string, string> {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return Object.fromEntries(
    names
      .filter((name) => !/^(node_modules|\.tools|\.sandbox|\.ssh|tmp)(\/|$)/.test(name))
      .map((name) => {
        const file = path.join(folder, name);
        const stat = lstatSync(file);
        const content = stat.isFile() ? createHash('sha256').update(readFileSync(file)).digest('hex') : '';
        return [name, `${stat.mtimeMs} ${stat.mode} ${content}`];
      }),
  );
}
