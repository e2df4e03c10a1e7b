import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Fleet, Host } from '../fleet/fleet';
import { fingerprint } from '../keys/ssh-public-key';
import { verifyHosts } from '../live/verify';
import { ApiError, ProxmoxApi } from '../proxmox/api';
import { oldestTls } from '../proxmox/environment';
import { ReadOnlyApi } from '../proxmox/read-only';
import { CreationRulesError } from '../sops/creation-rules';
import { planStacks } from '../terraform/plan';
import { ProgramError } from '../terraform/program';
import {
  parseState,
  readingOf,
  readStateTexts,
  type StateReading,
  type StateText,
  snippetsIn,
} from '../terraform/state';
import { synthesize } from '../terraform/synth';
import { Workshop } from '../terraform/workshop';
import { accept } from './ignore';
import { liveFindings } from './live';
import { notDeployed, planFindings } from './plan';
import { CHECKS, type Check, type DriftReport, type Finding, type HostReport, statusOf } from './report';
import { rulesFindings, uncommitted, withoutEchoes } from './rules';
import { secretFindings } from './secrets';

export interface DriftOptions {
  /** The folder with cdktf.json. @default the working directory */
  readonly repository?: string;
  /** Only these. @default all hosts of the fleet */
  readonly hosts?: readonly Host[];
  /** Only one of `of` parts of the hosts, from 1. @default all of them */
  readonly shard?: { readonly index: number; readonly of: number };
  /** What not to look at. @default nothing */
  readonly skip?: readonly Check[];
  /** How many hosts are planned as one. @default see planStacks */
  readonly batch?: number;
  /** The version of this program, for the report. */
  readonly tool: string;
  /** Told how far it is, in a few words. @default silence */
  readonly say?: (text: string) => void;
}

/** What the checks work with. */
interface Look {
  readonly fleet: Fleet;
  readonly hosts: readonly Host[];
  readonly texts: ReadonlyMap<string, StateText>;
  readonly states: ReadonlyMap<string, StateReading>;
  /** Whether to look also at what concerns no host in particular. */
  readonly whole: boolean;
  /** Whether to look at what several hosts share: one part of a fleet does. */
  readonly shared: boolean;
  readonly say: (text: string) => void;
}

/**
 * Whether what is written, what Terraform knows, what Proxmox runs, what sshd serves and what the secrets are encrypted
 * to still agree. Nothing is written anywhere: no state, no lock, no plan file, nothing in the repository.
 */
export async function findDrift(fleet: Fleet, options: DriftOptions): Promise<DriftReport> {
  const started = new Date();
  const { repository = process.cwd(), shard, skip = [], tool, say = () => undefined } = options;
  const hosts = partOf(options.hosts ?? fleet.hosts, shard);
  const texts = await readStateTexts(fleet, hosts);
  const states = new Map([...texts].map(([host, text]) => [host, readingOf(text)]));
  const whole = options.hosts === undefined && (shard === undefined || shard.index === 1);
  const shared = whole || shard === undefined;
  const look: Look = { fleet, hosts, texts, states, whole, shared, say };
  const looks: Record<Check, (look: Look) => Promise<readonly Finding[]>> = {
    terraform: (each) => terraformFindings(each, repository, options.batch),
    rules: lookAtRules,
    live: lookAtHosts,
    secrets: lookAtSecrets,
  };
  const found = await Promise.all(
    CHECKS.filter((check) => !skip.includes(check)).map((check) => guarded(check, look, looks[check])),
  );
  const today = started.toISOString().slice(0, 10);
  const seen = withoutEchoes(found.flat());
  const wrong = new Set(seen.flatMap(({ resource }) => resource ?? []));
  if (!skip.includes('rules')) seen.push(...uncommitted(fleet, hosts, wrong));
  const { findings, rules } = accept(seen, fleet, today, new Set(hosts.map(({ name }) => name)));
  const all = [...findings, ...rules];
  const reports = hosts.map((host) => reportOf(host, all, states.get(host.name)));
  const others = all.filter(({ host }) => host === undefined);
  return {
    version: 1,
    tool,
    fleet: fleet.file,
    startedAt: started.toISOString(),
    seconds: Math.round((Date.now() - started.getTime()) / 100) / 10,
    ...(shard === undefined ? {} : { shard }),
    skipped: [...skip],
    status: statusOf(all),
    hosts: reports,
    findings: others,
  };
}

/** Every `of`-th host, so that hosts that stand together in the file don't all fall to one runner. */
function partOf(hosts: readonly Host[], shard: DriftOptions['shard']): readonly Host[] {
  return shard === undefined ? hosts : hosts.filter((_, i) => i % shard.of === shard.index - 1);
}

function reportOf(host: Host, all: readonly Finding[], state: StateReading | undefined): HostReport {
  const findings = all.filter((finding) => finding.host === host.name);
  return {
    host: host.name,
    vmId: host.vmId,
    node: host.node,
    status: statusOf(findings),
    ...(state?.status === 'deployed'
      ? { fingerprint: fingerprint(state.state.key), recipient: state.state.recipient }
      : {}),
    findings,
  };
}

/** A check that can't be made at all is told for every host: none of them may pass for fine. */
async function guarded(
  check: Check,
  look: Look,
  action: (look: Look) => Promise<readonly Finding[]>,
): Promise<readonly Finding[]> {
  try {
    return await action(look);
  } catch (error) {
    if (!(error instanceof ProgramError)) throw error;
    const { message, remedy } = error;
    return look.hosts.map(({ name }) => ({
      host: name,
      kind: 'unchecked',
      severity: 'unknown',
      check,
      message,
      remedy,
    }));
  }
}

async function lookAtRules({ fleet, hosts, states }: Look): Promise<readonly Finding[]> {
  return rulesFindings(fleet, hosts, states);
}

async function lookAtSecrets({ fleet, hosts, states, whole, shared }: Look): Promise<readonly Finding[]> {
  try {
    const found = secretFindings(
      fleet,
      states,
      whole ? {} : { hosts: new Set(hosts.map(({ name }) => name)) },
    );
    return found.filter(({ host }) => host !== undefined || shared);
  } catch (error) {
    if (error instanceof CreationRulesError) throw new ProgramError(error.message, 'edit .sops.yaml');
    throw error;
  }
}

async function lookAtHosts({ hosts, states, say }: Look): Promise<readonly Finding[]> {
  // A host without a state is told of once, as not deployed or unreadable.
  const deployed = hosts.filter(({ name }) => states.get(name)?.status === 'deployed');
  let scanned = 0;
  const onScan = () => say(`scanned ${++scanned} of ${deployed.length} hosts`);
  const verdicts = await verifyHosts(deployed, states, { onScan });
  return deployed.flatMap((host) => {
    const verdict = verdicts.get(host.name);
    return verdict === undefined ? [] : liveFindings(host, verdict);
  });
}

async function terraformFindings(
  look: Look,
  repository: string,
  batch?: number,
): Promise<readonly Finding[]> {
  const { fleet, hosts, texts, states, say } = look;
  const findings: Finding[] = hosts.flatMap((host) => stateFindings(host, states.get(host.name)));
  if (look.whole) findings.push(...orphanedStates(fleet));
  const planned = new Map([...texts].filter(([host]) => canBePlanned(states.get(host))));
  if (planned.size === 0) return findings;
  const door = await openDoor(fleet, planned);
  const workshop = new Workshop(repository, [fleet.root]);
  try {
    say('synthesizing');
    await synthesize(repository, path.resolve(fleet.file), workshop.outdir);
    const seen = new Set<string>();
    const onHost = (host: string) => say(`planning: ${seen.add(host).size} of ${planned.size} hosts`);
    const { endpoint } = door;
    const plans = await planStacks(workshop, planned, { root: fleet.root, endpoint, onHost, batch });
    for (const host of hosts) {
      const plan = plans.get(host.name);
      if (plan !== undefined) findings.push(...planFindings(host, plan));
    }
  } finally {
    workshop.remove();
    await door.close();
  }
  return [...findings, ...[...door.unseen].map(notSeen)];
}

async function openDoor({ proxmox }: Fleet, states: ReadonlyMap<string, StateText>): Promise<ReadOnlyApi> {
  const snippets = [...states.values()].flatMap((state) =>
    state.status === 'found' ? snippetsIn(state.text) : [],
  );
  const minTls = oldestTls(proxmox.minTls);
  const api = new ProxmoxApi(proxmox.endpoint, process.env, minTls);
  try {
    // The provider would try for a minute, and say less.
    await api.get('/version');
    return await ReadOnlyApi.open(proxmox.endpoint, snippets, process.env, minTls);
  } catch (error) {
    if (error instanceof ApiError) throw new ProgramError(error.message, error.remedy);
    throw error;
  } finally {
    await api.close();
  }
}

const notSeen = (datastore: string): Finding => ({
  kind: 'snippets-unseen',
  severity: 'info',
  check: 'terraform',
  resource: `/storage/${datastore}`,
  message: `whether the snippets on ${datastore} are there was not looked at: Proxmox VE shows them only to those who may allocate there`,
  remedy: `to have them looked at, give the token Datastore.Allocate on /storage/${datastore}`,
});

const canBePlanned = (state: StateReading | undefined): boolean =>
  state?.status === 'deployed' || (state?.status === 'unreadable' && state.begun === true);

function stateFindings(host: Host, state: StateReading | undefined): Finding[] {
  if (state === undefined || state.status === 'deployed') return [];
  if (state.status === 'absent') return [notDeployed(host)];
  const { message, remedy, begun } = state;
  // What was begun is planned: the plan tells what is left to do.
  const about = begun
    ? ({ kind: 'not-applied', severity: 'warning' } as const)
    : ({ kind: 'unchecked', severity: 'unknown' } as const);
  return [{ host: host.name, ...about, check: 'terraform', message, remedy }];
}

/** States without a host: their VM, key and rules are still there, and nothing here would ever look at them. */
function orphanedStates({ root, state, hosts, file }: Fleet): Finding[] {
  if (state.kind !== 'local') return [];
  const known = new Set(hosts.map(({ name }) => `${name}.tfstate`));
  return namesIn(path.join(root, state.path))
    .filter((name) => name.endsWith('.tfstate') && !known.has(name))
    .filter((name) => holdsSomething(path.join(root, state.path, name)))
    .map((name) => ({
      kind: 'state-orphaned',
      severity: 'warning',
      check: 'terraform',
      resource: `${state.path}/${name}`,
      message: `${state.path}/${name} is the state of a host that ${file} doesn't have`,
      remedy: `write the host into ${file} again, then: npx cdktf destroy ${name.slice(0, -'.tfstate'.length)}`,
    }));
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

function holdsSomething(file: string): boolean {
  try {
    return parseState(readFileSync(file, 'utf8'), file).status !== 'absent';
  } catch {
    return true;
  }
}
