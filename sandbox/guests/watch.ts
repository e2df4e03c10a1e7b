import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { sleep, waitFor } from '../processes';
import type { BootedGuest } from '../sandbox';

/** A host key, and when it was first seen. */
export interface Sighting {
  /** The key in base64, as in a known_hosts line. */
  readonly key: string;
  /** Seconds since the watch began. */
  readonly seconds: number;
}

/** Asks a guest's sshd for its ed25519 key at short intervals, and remembers every change. */
export class KeyWatch {
  private readonly changes: Sighting[] = [];
  private readonly begun = performance.now();
  private on = true;
  private readonly loop: Promise<void>;

  constructor(private readonly guest: Pick<BootedGuest, 'address' | 'port'>) {
    this.loop = this.poll();
  }

  /** Every change of the answer; a key that came back is in it twice. */
  get sightings(): readonly Sighting[] {
    return this.changes;
  }

  /** The distinct keys, in the order in which they appeared. */
  get keys(): readonly string[] {
    return [...new Set(this.changes.map(({ key }) => key))];
  }

  get seconds(): number {
    return (performance.now() - this.begun) / 1000;
  }

  /** The first key that the guest serves. */
  async firstKey(limitSeconds: number): Promise<string> {
    await until(() => this.changes.length > 0, limitSeconds, `an answer of ${this.guest.address}'s sshd`);
    return (this.changes[0] as Sighting).key;
  }

  async end(): Promise<void> {
    this.on = false;
    await this.loop;
  }

  private async poll(): Promise<void> {
    while (this.on) {
      const key = await scanKey(this.guest);
      if (key !== undefined && key !== this.changes.at(-1)?.key) {
        this.changes.push({ key, seconds: this.seconds });
      }
      await sleep(200);
    }
  }
}

/** The key that a guest's sshd serves at this moment, in base64; undefined where it doesn't answer. */
export async function scanKey(
  { address, port }: Pick<BootedGuest, 'address' | 'port'>,
  type = 'ed25519',
): Promise<string | undefined> {
  const stdout = await new Promise<string>((done) => {
    // Whatever it exits with: no answer is an answer here.
    execFile('ssh-keyscan', ['-T', '2', '-t', type, '-p', String(port), address], (_error, text) =>
      done(text),
    );
  });
  return stdout.match(/^\S+ \S+ (\S+)$/m)?.[1];
}

/** How many of a guest's boots cloud-init has finished. */
const finishedBoots = ({ serial }: Pick<BootedGuest, 'serial'>): number =>
  (readFileSync(serial, 'latin1').match(/Cloud-init v\. \S+ finished at/g) ?? []).length;

/** Waits until cloud-init has ended in the guest's n-th boot that it ended in. */
export const cloudInitEnded = (guest: BootedGuest, limitSeconds: number, boots = 1): Promise<void> =>
  until(() => finishedBoots(guest) >= boots, limitSeconds, `cloud-init's end in ${guest.serial}`);

/** @throws Error that says what did not come about in time */
export async function until(
  condition: () => boolean | Promise<boolean>,
  limitSeconds: number,
  what: string,
): Promise<void> {
  const came = await waitFor(async () => ((await condition()) ? true : undefined), limitSeconds, 200);
  if (!came) throw new Error(`waited ${limitSeconds} s in vain for ${what}`);
}
