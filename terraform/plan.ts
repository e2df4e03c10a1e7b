import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import pLimit from 'p-limit';
import { z } from 'zod';
import { copyLockFile, LOCK_FILE } from '../fleet/lock-file';
import { type Ended, lastWords, runTerraform } from './program';
import type { StateText } from './state';
import { withoutKeys } from './without-keys';
import type { Workshop } from './workshop';

/**
 * Plans many stacks without touching anything: no lock, no plan file, no state written.
 *
 * Most of what `terraform plan` takes for one host is starting up: the program, three providers, and their schemas.
 * So the stacks of many hosts are planned as one, each a module of its own with its resources of the states beside
 * it. Terraform itself refreshes them in parallel. What can't be a module (an aliased provider, an import block), and
 * what is left when Terraform fails without naming a host, is planned alone.
 */

/** One host's part of a plan. */
export type PlanReading =
  | {
      readonly status: 'planned';
      /** What was found to differ from the state, before anything was compared with the configuration. */
      readonly drift: readonly ResourceChange[];
      /** What an apply would do; resources that stay as they are left out. */
      readonly changes: readonly ResourceChange[];
    }
  | { readonly status: 'failed'; readonly message: string; readonly remedy: string };

const change = z.looseObject({
  actions: z.array(z.string()),
  before: z.unknown().optional(),
  after: z.unknown().optional(),
  after_unknown: z.unknown().optional(),
  before_sensitive: z.unknown().optional(),
  after_sensitive: z.unknown().optional(),
  /** What makes a change in place impossible, a path each. */
  replace_paths: z.array(z.array(z.union([z.string(), z.number()]))).optional(),
});

const resourceChange = z.looseObject({
  address: z.string(),
  module_address: z.string().optional(),
  mode: z.string(),
  type: z.string(),
  name: z.string(),
  action_reason: z.string().optional(),
  change,
});

/** A change of one resource (terraform, docs "JSON Output Format", resource_changes), its address in the host's stack. */
export type ResourceChange = z.infer<typeof resourceChange>;

/** `terraform show -json PLAN`, format 1.x. */
const planJson = z.looseObject({
  format_version: z.string(),
  resource_drift: z.array(resourceChange).optional(),
  resource_changes: z.array(resourceChange).optional(),
});

/** What `terraform show -json PLAN` says of the resources, without those that stay as they are. */
export function readPlan(text: string): {
  readonly drift: readonly ResourceChange[];
  readonly changes: readonly ResourceChange[];
} {
  const { resource_drift = [], resource_changes = [] } = planJson.parse(JSON.parse(text));
  const isManaged = ({ mode }: ResourceChange) => mode === 'managed';
  return {
    drift: resource_drift.filter(isManaged),
    changes: resource_changes.filter((each) => isManaged(each) && each.change.actions[0] !== 'no-op'),
  };
}

/** A line of `terraform plan -json` (terraform, docs "Machine-Readable UI"). */
const uiLine = z.looseObject({
  type: z.string(),
  hook: z.looseObject({ resource: z.looseObject({ addr: z.string() }) }).optional(),
  diagnostic: z
    .looseObject({
      severity: z.string(),
      summary: z.string(),
      detail: z.string().optional(),
      address: z.string().optional(),
      range: z.looseObject({ filename: z.string() }).optional(),
    })
    .optional(),
});

const stack = z.looseObject({
  terraform: z.looseObject({ backend: z.unknown().optional(), cloud: z.unknown().optional() }),
  provider: z.record(z.string(), z.array(z.looseObject({ alias: z.unknown().optional() }))).optional(),
});
type Stack = z.infer<typeof stack>;

const stateJson = z.looseObject({
  version: z.number(),
  terraform_version: z.string(),
  resources: z.array(
    z.looseObject({
      module: z.string().optional(),
      instances: z.array(z.looseObject({ dependencies: z.array(z.string()).optional() })),
    }),
  ),
});

/** What to plan of a host. */
interface Work {
  readonly host: string;
  readonly stack: Stack;
  readonly state: z.infer<typeof stateJson>;
}

export interface PlanOptions {
  /** Folder of the fleet's provider lock file. */
  readonly root: string;
  /** Told the host whose VM has just been looked at. */
  readonly onHost?: (host: string) => void;
  /** Where the Proxmox provider is to ask, instead of where its stack says. */
  readonly endpoint: string;
  /** How many hosts are planned as one. @default 50 */
  readonly batch?: number;
}

const BATCH = 50;

/**
 * Plans the stacks that lie in the workshop.
 *
 * @param states The hosts to plan, each with its state; hosts without a readable one are left out.
 */
export async function planStacks(
  workshop: Workshop,
  states: ReadonlyMap<string, StateText>,
  options: PlanOptions,
): Promise<ReadonlyMap<string, PlanReading>> {
  const readings = new Map<string, PlanReading>();
  const together = new Map<string, Work[]>();
  const alone: Work[] = [];
  for (const [host, state] of states) {
    if (state.status !== 'found') continue;
    const work = prepare(workshop, host, state.text);
    if ('status' in work) {
      readings.set(host, work);
      continue;
    }
    const kind = canBeModule(work) ? shell(work.stack) : undefined;
    if (kind === undefined) alone.push(work);
    else together.set(kind, [...(together.get(kind) ?? []), work]);
  }
  const planner = new Planner(workshop, options, readings);
  await planner.run([
    ...[...together.values()].flatMap((works) => split(works, options.batch ?? BATCH)),
    ...alone.map((work) => [work]),
  ]);
  return readings;
}

function prepare(workshop: Workshop, host: string, stateText: string): Work | PlanReading {
  const file = path.join(workshop.outdir, 'stacks', host, 'cdk.tf.json');
  const failed = (message: string, remedy: string): PlanReading => ({ status: 'failed', message, remedy });
  if (!existsSync(file)) return failed(`the app made no stack named ${host}`, 'npx cdktf list');
  // Here, so that nothing that is planned ever holds a key.
  const state = stateJson.safeParse(JSON.parse(withoutKeys(stateText)));
  if (!state.success || state.data.version !== 4) {
    return failed(
      `the state of ${host} has another format than this program knows`,
      `npx cdktf diff ${host}`,
    );
  }
  return { host, stack: stack.parse(JSON.parse(readFileSync(file, 'utf8'))), state: state.data };
}

const canBeModule = ({ stack: { import: imports, provider = {} }, state }: Work): boolean =>
  imports === undefined &&
  !Object.values(provider)
    .flat()
    .some(({ alias }) => alias !== undefined) &&
  state.resources.every(({ module }) => module === undefined);

/** What of a stack only a root module may say, less the backend; stacks that agree on it can be planned together. */
function rootOf({ terraform, provider = {} }: Stack, endpoint?: string): object {
  const { backend: _, cloud: __, encryption: ___, ...rest } = terraform;
  const { proxmox = [] } = provider;
  const there =
    endpoint === undefined ? proxmox : proxmox.map((each) => ({ ...each, endpoint, insecure: true }));
  return { terraform: rest, provider: { ...provider, ...(there.length > 0 ? { proxmox: there } : {}) } };
}

const shell = (of: Stack): string => JSON.stringify(rootOf(of));

/** Equal parts, as many as needed and at least one for each processor where there is enough to do. */
function split(works: readonly Work[], most: number): Work[][] {
  const enough = 8;
  const parts = Math.max(
    Math.ceil(works.length / most),
    Math.min(availableParallelism(), Math.floor(works.length / enough)),
    1,
  );
  const size = Math.ceil(works.length / parts);
  return Array.from({ length: Math.ceil(works.length / size) }, (_, i) =>
    works.slice(i * size, (i + 1) * size),
  );
}

/** A folder in which the stacks of some hosts are planned as one. */
class Batch {
  private readonly modules = new Map<string, Work>();

  constructor(
    readonly folder: string,
    readonly works: readonly Work[],
    private readonly endpoint: string,
  ) {
    for (const [i, work] of works.entries()) this.modules.set(`m${i}`, work);
  }

  get providers(): string {
    return JSON.stringify(this.works.map(({ stack: { terraform } }) => terraform.required_providers)[0]);
  }

  /** Writes the configuration and the states, which have no keys in them any more. */
  write(): void {
    const [first] = this.works;
    if (first === undefined) return;
    const single = !canBeModule(first);
    if (single) {
      this.put('main.tf.json', { ...first.stack, ...rootOf(first.stack, this.endpoint) });
    } else {
      const calls = [...this.modules.keys()].map((name) => [name, { source: `./${name}` }]);
      this.put('main.tf.json', { ...rootOf(first.stack, this.endpoint), module: Object.fromEntries(calls) });
      for (const [name, work] of this.modules) this.put(`${name}/main.tf.json`, moduleOf(work.stack));
    }
    const resources = [...this.modules].flatMap(([name, { state }]) =>
      single ? state.resources : state.resources.map((resource) => inModule(name, resource)),
    );
    const { version, terraform_version } = first.state;
    const state = { version, terraform_version, serial: 1, lineage: 'a look', outputs: {}, resources };
    writeFileSync(path.join(this.folder, STATE), JSON.stringify(state), { mode: 0o600 });
  }

  /** The host that an address, or a file of the configuration, belongs to. */
  hostOf(addressOrFile: string | undefined): string | undefined {
    const [only] = this.works;
    if (only !== undefined && this.works.length === 1) return only.host;
    const name = addressOrFile?.match(/^(?:module\.)?(m\d+)[./]/)?.[1];
    return name === undefined ? undefined : this.modules.get(name)?.host;
  }

  private put(name: string, content: object): void {
    const file = path.join(this.folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, JSON.stringify(content));
  }
}

const STATE = 'before.tfstate';
const PLAN = 'plan.tfplan';

/** A stack as a module: without what the root says, and without outputs, which nobody reads here. */
function moduleOf({ provider: _, output: __, terraform, ...rest }: Stack): object {
  return { ...rest, terraform: { required_providers: terraform.required_providers } };
}

function inModule(name: string, resource: z.infer<typeof stateJson>['resources'][number]): object {
  return {
    ...resource,
    module: `module.${name}`,
    instances: resource.instances.map(({ dependencies = [], ...instance }) => ({
      ...instance,
      dependencies: dependencies.map((address) => `module.${name}.${address}`),
    })),
  };
}

class Planner {
  private readonly limit = pLimit(availableParallelism());
  /** The folder that was set up for these providers first: its `.terraform` serves all others. */
  private readonly installed = new Map<string, string>();
  private folders = 0;

  constructor(
    private readonly workshop: Workshop,
    private readonly options: PlanOptions,
    private readonly readings: Map<string, PlanReading>,
  ) {}

  /** @param batches The largest first: the others share what is installed for it, its list of modules included. */
  async run(batches: readonly (readonly Work[])[]): Promise<void> {
    const ready: Batch[] = [];
    for (const works of batches) {
      const folder = this.workshop.folder(`.plan-${this.folders++}`);
      const batch = new Batch(folder, works, this.options.endpoint);
      batch.write();
      if (await this.install(batch)) ready.push(batch);
    }
    const again = await Promise.all(ready.map((batch) => this.limit(() => this.plan(batch))));
    if (again.flat().length > 0) await this.run(again.flat());
  }

  private async install(batch: Batch): Promise<boolean> {
    const { folder, providers } = batch;
    const first = this.installed.get(providers);
    if (first !== undefined) {
      copyFileSync(path.join(first, LOCK_FILE), path.join(folder, LOCK_FILE));
      return true;
    }
    copyLockFile(this.options.root, folder);
    const ended = await this.terraform(folder, ['init', '-input=false', '-no-color']);
    if (ended.status === 0) this.installed.set(providers, folder);
    else this.fail(batch.works, `terraform init: ${lastWords(ended)}`, 'npm run setup');
    return ended.status === 0;
  }

  /** @returns what has to be planned once more, since Terraform stops all for the one that fails. */
  private async plan(batch: Batch): Promise<(readonly Work[])[]> {
    const errors: { readonly host: string | undefined; readonly message: string }[] = [];
    const onLine = (line: string) => {
      const { type, hook, diagnostic } = parseLine(line) ?? {};
      if (diagnostic?.severity === 'error') {
        const host = batch.hostOf(diagnostic.address ?? diagnostic.range?.filename);
        errors.push({ host, message: messageOf(diagnostic) });
      } else if (type === 'refresh_complete' && hook?.resource.addr.includes(VM) === true) {
        const host = batch.hostOf(hook.resource.addr);
        if (host !== undefined) this.options.onHost?.(host);
      }
    };
    const args = ['-json', '-input=false', '-lock=false', `-state=${STATE}`, `-out=${PLAN}`];
    const ended = await this.terraform(batch.folder, ['plan', ...args], onLine, batch.providers);
    try {
      if (ended.status === 0 && errors.length === 0) {
        await this.read(batch);
        return [];
      }
    } finally {
      rmSync(path.join(batch.folder, PLAN), { force: true });
    }
    return this.sortOut(batch, errors, ended);
  }

  private async read(batch: Batch): Promise<void> {
    const shown = await this.terraform(batch.folder, ['show', '-json', PLAN], undefined, batch.providers);
    if (shown.status !== 0) {
      this.fail(batch.works, `terraform show: ${lastWords(shown)}`, '');
      return;
    }
    const plan = readPlan(shown.stdout);
    const drift = byHost(batch, plan.drift);
    const changes = byHost(batch, plan.changes);
    for (const { host } of batch.works) {
      this.readings.set(host, {
        status: 'planned',
        drift: drift.get(host) ?? [],
        changes: changes.get(host) ?? [],
      });
    }
  }

  private sortOut(
    { works }: Batch,
    errors: readonly { readonly host: string | undefined; readonly message: string }[],
    ended: Ended,
  ): (readonly Work[])[] {
    const blamed = new Map(
      errors.flatMap(({ host, message }) => (host === undefined ? [] : [[host, message]])),
    );
    for (const [host, message] of blamed)
      this.fail(
        works.filter((work) => work.host === host),
        message,
        REMEDY,
      );
    const others = works.filter(({ host }) => !blamed.has(host));
    if (blamed.size > 0) return others.length > 0 ? [others] : [];
    if (works.length > 1) return works.map((work) => [work]);
    this.fail(works, errors[0]?.message ?? lastWords(ended), REMEDY);
    return [];
  }

  private terraform(
    cwd: string,
    args: readonly string[],
    onLine?: (line: string) => void,
    providers?: string,
  ): Promise<Ended> {
    const data = path.join((providers && this.installed.get(providers)) || cwd, '.terraform');
    // OpenTofu would take the states that we wrote, decrypted and without keys, for somebody else's.
    const { TF_ENCRYPTION: _, ...inherited } = process.env;
    const env = { ...inherited, TF_DATA_DIR: data, TMPDIR: this.workshop.temporary };
    return runTerraform(args, {
      cwd,
      env,
      onLine,
    });
  }

  private fail(works: readonly Work[], message: string, remedy: string): void {
    for (const { host } of works) this.readings.set(host, { status: 'failed', message, remedy });
  }
}

/** The changes of each host, by their addresses in its own stack. */
function byHost(batch: Batch, changes: readonly ResourceChange[]): Map<string | undefined, ResourceChange[]> {
  const found = new Map<string | undefined, ResourceChange[]>();
  for (const each of changes) {
    const host = batch.hostOf(each.address);
    const own = { ...each, address: each.address.replace(/^module\.m\d+\./, '') };
    found.set(host, [...(found.get(host) ?? []), own]);
  }
  return found;
}

const VM = 'proxmox_virtual_environment_vm.';
const REMEDY = 'bin/hostkey doctor';

function parseLine(line: string): z.infer<typeof uiLine> | undefined {
  try {
    return uiLine.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}

const messageOf = ({ summary, detail = '' }: { summary: string; detail?: string }): string =>
  [summary, detail.split('\n\n')[0]]
    .join(': ')
    .replaceAll(/\s+/g, ' ')
    .replace(/[\s:]+$/, '')
    .slice(0, 400);
