import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { knownHostsNames } from '../keys/known-hosts';
import { withKnownHosts, withoutKnownHosts } from '../keys/known-hosts-file';
import { updateTextFile } from '../sops/text-file';

/**
 * The provider trusts a node's SSH key at first sight, writes it down in `~/.ssh/known_hosts`, and from then on
 * refuses any other key at that address. A sandbox has a new key each time and always the same address. So it
 * puts its key there itself (which also makes the provider check it) and takes it out again.
 */
interface Node {
  readonly address: string;
  readonly port: number;
}

// Not parsed: a sandbox comes down even where a file of its own was cut short.
const entryOf = ({ address, port }: Node, publicKey: string) => [
  { names: [knownHostsNames([address], port)], key: publicKey.trim().split(/\s+/).slice(0, 2).join(' ') },
];

const fileIn = (home: string): string => join(home, '.ssh', 'known_hosts');

export async function addKnownHost(home: string, node: Node, publicKey: string): Promise<void> {
  const file = fileIn(home);
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const entry = entryOf(node, publicKey);
  await updateTextFile(file, (text = '') => withKnownHosts(text, entry), { shared: true });
}

/** Removes the key, and no other: that may be another sandbox's. A file or folder that is empty then goes too. */
export async function removeKnownHost(home: string, node: Node, publicKey: string): Promise<void> {
  const file = fileIn(home);
  if (!existsSync(file)) return;
  const entry = entryOf(node, publicKey);
  const { text: left } = await updateTextFile(
    file,
    (before = '') => {
      const { text, changed } = withoutKnownHosts(before, entry);
      return { text: text === '' ? undefined : text, changed };
    },
    { shared: true },
  );
  if (left !== undefined) return;
  try {
    rmdirSync(dirname(file));
  } catch {
    // It holds other files.
  }
}
