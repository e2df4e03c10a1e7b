import type { Fleet } from '../fleet/fleet';
import { git } from '../fleet/git';
import type { StateReading } from '../terraform/state';
import { type CreationRules, holder } from './creation-rules';

/** Somebody who can decrypt. */
export interface Party {
  /** As `KeyGroup` of creation-rules.ts spells it: `age:age1…`. */
  readonly key: string;
  /** Who that is, for a sentence: `host mqtt-01`, `admin ops`, an anchor's name, or the key itself. */
  readonly name: string;
  /**
   * `current`: a host of the fleet, an admin, or somebody whom a rule names. `stale`: an earlier key of a host or an
   * admin who has another now. `orphaned`: of a host or an admin that the fleet no longer has. `unknown`: nobody
   * whom the fleet, the rules or the history of `.sops.yaml` knows.
   */
  readonly standing: 'current' | 'stale' | 'orphaned' | 'unknown';
}

/** Who the keys belong to: by the states first, then the fleet, the rules, and what the rules were. */
export class KeyHolders {
  private readonly hosts: ReadonlySet<string>;
  private readonly current = new Map<string, string>();
  private readonly recipients = new Map<string, readonly string[]>();
  private readonly ruled: ReadonlySet<string>;
  private history: ReadonlyMap<string, string> | undefined;

  constructor(
    private readonly fleet: Fleet,
    states: ReadonlyMap<string, StateReading>,
    private readonly rules: CreationRules,
  ) {
    this.hosts = new Set(fleet.hosts.map(({ name }) => name));
    this.ruled = new Set(
      (rules.rules ?? []).flatMap(({ groups }) => groups.flatMap((group) => [...group].map(holder))),
    );
    for (const [name, recipient] of Object.entries(fleet.admins))
      this.current.set(holder(`age:${recipient}`), `admin ${name}`);
    for (const [host, reading] of states) {
      if (reading.status !== 'deployed') continue;
      const { recipient, next } = reading.state;
      this.recipients.set(host, [recipient, ...(next === undefined ? [] : [next.recipient])].map(ageKey));
      this.current.set(ageKey(recipient), `host ${host}`);
      if (next !== undefined) this.current.set(ageKey(next.recipient), `host ${host} (its next key)`);
    }
  }

  /** The keys that a host has by its state: one, and while it is rotated the next one. */
  keysOf(host: string): readonly string[] {
    return this.recipients.get(host) ?? [];
  }

  /** The hosts that a rule takes a key for, though by their states they have another. */
  mistakenFor(key: string): readonly string[] {
    return this.anchors(key).flatMap((anchor) => {
      const host = /^host_([^_]+)(_next)?$/.exec(anchor)?.[1] ?? '';
      const actual = this.recipients.get(host);
      return actual === undefined || actual.includes(holder(key)) ? [] : [host];
    });
  }

  party(key: string): Party {
    const current = this.current.get(holder(key));
    if (current !== undefined) return { key, name: current, standing: 'current' };
    const [anchor] = this.anchors(key);
    if (anchor !== undefined) return this.named(key, anchor, this.isRuled(key));
    this.history ??= formerNames(this.fleet.root);
    const former = this.history.get(holder(key).slice(key.indexOf(':') + 1));
    if (former !== undefined) return this.named(key, former, false);
    const standing = this.isRuled(key) ? 'current' : 'unknown';
    return { key, name: shown(key), standing };
  }

  private anchors(key: string): readonly string[] {
    return this.rules.names.get(holder(key).slice(key.indexOf(':') + 1)) ?? [];
  }

  private isRuled(key: string): boolean {
    return this.ruled.has(holder(key));
  }

  /** By an anchor that stands, or stood, in the root `.sops.yaml`. */
  private named(key: string, anchor: string, isRuled: boolean): Party {
    const [, kind, name = ''] = /^(host|admin)_((?<=host_)[^_]+(?=_next$)|.+)/.exec(anchor) ?? [];
    if (kind === undefined) {
      const standing = isRuled ? 'current' : 'orphaned';
      return { key, name: isRuled ? anchor : `${anchor} (in no rule any more)`, standing };
    }
    const isKnown = kind === 'host' ? this.hosts.has(name) : Object.hasOwn(this.fleet.admins, name);
    if (!isKnown)
      return { key, name: `${kind} ${name} (no longer in ${this.fleet.file})`, standing: 'orphaned' };
    const hasOther = kind === 'admin' || this.recipients.has(name);
    if (!hasOther && isRuled) return { key, name: `${kind} ${name}`, standing: 'current' };
    const what = isRuled ? `what .sops.yaml has as the key of` : 'an earlier key of';
    return { key, name: `${what} ${kind} ${name} (${short(shown(key))})`, standing: 'stale' };
  }
}

const ageKey = (recipient: string): string => `age:${recipient}`;

/** A key as people know it: an age recipient alone, any other behind its kind. */
function shown(key: string): string {
  return key.startsWith('age:') ? key.slice('age:'.length) : key.replace(':', ' ');
}

/** Enough of it to tell it from others. */
const short = (key: string): string => (key.length > 24 ? `${key.slice(0, 12)}…${key.slice(-6)}` : key);

const ANCHOR = /&([\w-]+)\s+(?:"([^"]+)"|'([^']+)'|((?:ssh-\S+ )?[^\s,\]}]+))/g;

/** What keys were called in earlier versions of the root `.sops.yaml`, the newest name first; empty without git. */
function formerNames(root: string): Map<string, string> {
  const options = ['--no-color', '--no-ext-diff', '--no-textconv', '--no-show-signature', '--format=', '-U0'];
  const log = git(root, 'log', '-p', '--max-count=5000', ...options, '--', '.sops.yaml') ?? '';
  const names = new Map<string, string>();
  for (const line of log.split('\n')) {
    if (!/^[-+]/.test(line)) continue;
    for (const [, name = '', ...values] of line.matchAll(ANCHOR)) {
      const key = holder(`:${values.find((value) => value !== undefined) ?? ''}`).slice(1);
      if (!names.has(key)) names.set(key, name);
    }
  }
  return names;
}
