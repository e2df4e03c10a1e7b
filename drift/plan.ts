import type { Host } from '../fleet/fleet';
import type { PlanReading, ResourceChange } from '../terraform/plan';
import type { Finding, FindingKind, Severity } from './report';

/** What Terraform's plan of a host says, as findings: what was changed or removed outside, and what isn't applied. */
export function planFindings(host: Host, reading: PlanReading): Finding[] {
  if (reading.status === 'failed') {
    const { message, remedy } = reading;
    return [{ ...about(host, 'unchecked', 'unknown'), message: `could not be planned: ${message}`, remedy }];
  }
  const changes = new Map(reading.changes.map((each) => [each.address, each]));
  const drifted = new Map(reading.drift.map((each) => [each.address, each]));
  const gone = new Set(reading.drift.filter(isGone).map(({ address }) => address));
  return [
    ...[...gone].map((address) => goneFinding(host, drifted.get(address) as ResourceChange)),
    ...reading.drift
      .filter(({ address }) => !gone.has(address))
      .flatMap((drift) => outside(host, drift, changes.get(drift.address))),
    ...reading.changes
      // What was there and is gone is told above, and made anew by a deployment.
      .filter(({ address }) => !gone.has(address))
      .flatMap((change) => notApplied(host, change, drifted.get(change.address), gone)),
  ];
}

/** A host without a state. */
export function notDeployed(host: Host): Finding {
  return {
    ...about(host, 'not-deployed', 'warning'),
    message: `${host.name} was never deployed: it has no state`,
    remedy: deploy(host),
  };
}

const deploy = ({ name }: Host): string => `npx cdktf deploy ${name}`;

const about = ({ name }: Host, kind: FindingKind, severity: Severity) =>
  ({ host: name, kind, severity, check: 'terraform' }) as const;

const isGone = ({ change: { actions } }: ResourceChange): boolean => actions.includes('delete');

const VM = 'proxmox_virtual_environment_vm';
const SNIPPET = 'proxmox_virtual_environment_file';

function goneFinding(host: Host, { address, type, change: { before } }: ResourceChange): Finding {
  const found = { resource: address, remedy: deploy(host) };
  if (type === VM) {
    const message = `VM ${host.vmId} is no longer on ${host.node}; a deployment makes it anew, with the same host key`;
    return { ...about(host, 'vm-gone', 'error'), ...found, message };
  }
  if (type === SNIPPET) {
    const message = `the snippet with the host key is no longer on ${host.snippets}; the VM can't start without it`;
    return {
      ...about(host, 'snippet-gone', 'error'),
      ...found,
      message,
      expected: text(member(before, 'id')),
    };
  }
  if (type === 'local_file') {
    const resource = `${host.secrets}/.sops.yaml`;
    const message = `${resource} isn't what the deployment wrote: it was edited, removed, or never committed`;
    const remedy = `git checkout -- ${resource}, or git pull; else ${deploy(host)}`;
    return { ...about(host, 'host-rules-changed', 'error'), resource, message, remedy };
  }
  return { ...about(host, 'resource-gone', 'error'), ...found, message: `${address} is no longer there` };
}

/** What Terraform only ever reads: they change with every boot and every address that a guest gets. */
const VOLATILE: Readonly<Record<string, readonly string[]>> = {
  [VM]: ['ipv4_addresses', 'ipv6_addresses', 'mac_addresses', 'network_interface_names'],
};

/** What somebody changed outside Terraform, an attribute each. */
function outside(host: Host, drift: ResourceChange, planned: ResourceChange | undefined): Finding[] {
  const { address, type } = drift;
  const kind = type === VM ? 'vm-changed' : 'resource-changed';
  const back = new Map(
    planned === undefined ? [] : differences(planned).map((each) => [each.attribute, each]),
  );
  return differences(drift)
    .filter(({ attribute }) => !VOLATILE[type]?.some((name) => isWithin(attribute, name)))
    .map(({ attribute, before, after }) => {
      const expected = back.get(attribute)?.after ?? before;
      const reverted = back.has(attribute);
      return {
        ...about(host, kind, 'warning'),
        resource: address,
        attribute,
        expected,
        actual: after,
        message: `${attribute} of ${nameOf(host, type, address)} was changed outside Terraform`,
        remedy: reverted
          ? `${deploy(host)} sets it back; or write it into fleet.yaml`
          : 'set it back in Proxmox: no deployment does, since nothing that Terraform is told of it differs',
      };
    });
}

/** What is written and not applied: an attribute each for a change in place, a resource else. */
function notApplied(
  host: Host,
  planned: ResourceChange,
  drift: ResourceChange | undefined,
  gone: ReadonlySet<string>,
): Finding[] {
  const { address, type, change } = planned;
  const found = { ...about(host, 'not-applied', 'warning'), resource: address, remedy: deploy(host) };
  const what = nameOf({ ...host, vmId: Number(member(change.before, 'vm_id') ?? host.vmId) }, type, address);
  const { actions } = change;
  if (!actions.includes('update') && !(actions.includes('delete') && actions.includes('create'))) {
    const verb = actions.includes('create')
      ? 'made'
      : actions.includes('delete')
        ? 'removed'
        : actions.join('+');
    return [{ ...found, message: `${what} will be ${verb}` }];
  }
  const known = new Set(drift === undefined ? [] : differences(drift).map(({ attribute }) => attribute));
  const all = differences(planned).filter(({ attribute }) => !known.has(attribute));
  // What Terraform can't know yet follows from what it does know, which tells more.
  const told = all.filter(({ after }) => after !== UNKNOWN);
  if (told.length === 0 && (gone.size > 0 || known.size > 0)) return [];
  const changed = told.length > 0 ? told : all;
  if (!actions.includes('delete')) {
    return changed.map((each) => attributeFinding(found, each, `${what} will be changed`));
  }
  const forcing = new Set((change.replace_paths ?? []).map(spelled));
  const reasons = changed.filter(({ attribute }) =>
    [...forcing].some((forced) => isWithin(attribute, forced)),
  );
  const severity = type === VM ? 'error' : 'warning';
  return (reasons.length > 0 ? reasons : changed).map((each) =>
    attributeFinding({ ...found, severity }, each, `${what} will be destroyed and made anew`),
  );
}

const attributeFinding = <Found>(found: Found, { attribute, before, after }: Difference, what: string) => ({
  ...found,
  attribute,
  expected: after,
  actual: before,
  message: `${attribute} is written and not applied: ${what}`,
});

/** A path of the plan's JSON, such as `["memory", 0, "dedicated"]`, as Terraform spells it. */
const spelled = (steps: readonly (string | number)[]): string =>
  steps.map((step, i) => (typeof step === 'number' ? `[${step}]` : i === 0 ? step : `.${step}`)).join('');

const nameOf = (host: Pick<Host, 'vmId'>, type: string, address: string): string =>
  type === VM ? `VM ${host.vmId}` : type === SNIPPET ? 'the cloud-init snippet' : address;

const isWithin = (attribute: string, name: string): boolean =>
  attribute.startsWith(name) && /^(\W|$)/.test(attribute.slice(name.length));

/** How an attribute differs; values as text. */
interface Difference {
  /** As Terraform spells a path: `memory[0].dedicated`. */
  readonly attribute: string;
  readonly before: string;
  readonly after: string;
}

const UNKNOWN = '(known after apply)';
const SENSITIVE = '(sensitive value)';

/** The attributes in which the two sides of a change differ, the innermost ones. */
export function differences({ change }: ResourceChange): Difference[] {
  return compare('', change.before, change.after, {
    unknown: change.after_unknown,
    sensitive: [change.before_sensitive, change.after_sensitive],
  });
}

interface Marks {
  readonly unknown: unknown;
  readonly sensitive: readonly unknown[];
}

function compare(
  attribute: string,
  before: unknown,
  after: unknown,
  { unknown, sensitive }: Marks,
): Difference[] {
  if (isList(before) && isList(after) && unknown !== true) {
    if (same(before, after)) return [];
    const hidden = sensitive.some(
      (mark) => mark === true || keysOf(mark).some((key) => member(mark, key) === true),
    );
    return [
      { attribute, before: hidden ? SENSITIVE : text(before), after: hidden ? SENSITIVE : text(after) },
    ];
  }
  const secret = sensitive.includes(true);
  if (unknown === true) return [{ attribute, before: secret ? SENSITIVE : text(before), after: UNKNOWN }];
  if (secret) return same(before, after) ? [] : [{ attribute, before: SENSITIVE, after: SENSITIVE }];
  // A block that only one side has, such as a second network card, is one thing, too.
  if (
    attribute.endsWith(']') &&
    isNested(before) !== isNested(after) &&
    isEmpty(isNested(before) ? after : before)
  ) {
    const shown = (value: unknown) => (sensitive.some(holdsTrue) ? SENSITIVE : blockText(value));
    return same(before, after) ? [] : [{ attribute, before: shown(before), after: shown(after) }];
  }
  const children = new Set([before, after, unknown].flatMap(keysOf));
  if (children.size === 0 || !(isNested(before) || isNested(after) || isNested(unknown))) {
    return same(before, after) ? [] : [{ attribute, before: text(before), after: text(after) }];
  }
  return [...children].flatMap((key) => {
    const name =
      typeof key === 'number' ? `${attribute}[${key}]` : attribute === '' ? key : `${attribute}.${key}`;
    return compare(name, member(before, key), member(after, key), {
      unknown: member(unknown, key),
      sensitive: sensitive.map((mark) => member(mark, key)),
    });
  });
}

/** A list of plain values, such as tags, is one thing to a reader. */
const isList = (value: unknown): boolean =>
  value === undefined || value === null || (Array.isArray(value) && !value.some(isNested));

const holdsTrue = (marks: unknown): boolean =>
  marks === true || (isNested(marks) && Object.values(marks).some(holdsTrue));

const blockText = (value: unknown): string =>
  isNested(value)
    ? text(
        Object.entries(value)
          .filter(([, member]) => !isEmpty(member) && member !== false && member !== 0)
          .map(([key, member]) => `${key}=${typeof member === 'string' ? member : JSON.stringify(member)}`)
          .join(', '),
      )
    : text(value);

const isNested = (value: unknown): value is object => typeof value === 'object' && value !== null;

const keysOf = (value: unknown): (string | number)[] =>
  Array.isArray(value) ? [...value.keys()] : isNested(value) ? Object.keys(value) : [];

const member = (value: unknown, key: string | number): unknown =>
  isNested(value) ? (value as Record<string | number, unknown>)[key] : undefined;

/** Providers turn "not set" into empty and back: that is nobody's change. */
function same(before: unknown, after: unknown): boolean {
  return isEmpty(before) && isEmpty(after) ? true : text(before) === text(after);
}

const isEmpty = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === '' ||
  (isNested(value) && Object.values(value).every(isEmpty));

const LONGEST = 200;

function text(value: unknown): string {
  if (isEmpty(value)) return '(not set)';
  const written = typeof value === 'string' ? value : JSON.stringify(value);
  return written.length > LONGEST ? `${written.slice(0, LONGEST)}…` : written;
}
