import type { Command } from 'commander';
import { fingerprint } from '../keys/ssh-public-key';
import { lastVerified } from '../live/verified';
import { readStates } from '../terraform/state';
import { columns } from './columns';
import { type FleetOptions, hostsNamed, loadFleetFor, withFleet } from './fleet-option';
import { told } from './told';

const HELP = `
Nothing is asked of Proxmox or of the hosts: this is what fleet.yaml and the states say. KEY AGE counts from when the
key was made; VERIFIED tells when you last saw the host serve this key (hostkey verify). On a terminal, fingerprints
and recipients are shortened.

Exit codes: 0 done, 1 a state could not be read.`;

interface Options extends FleetOptions {
  readonly json?: boolean;
}

/** Adds `hostkey list`. */
export function addListCommand(program: Command): void {
  withFleet(program.command('list'))
    .description('the fleet at a glance: VM, address, key, recipient')
    .argument('[hosts...]', 'only these hosts')
    .option('--json', 'print the list as JSON')
    .addHelpText('after', HELP)
    .action(run);
}

async function run(names: readonly string[], options: Options): Promise<void> {
  const fleet = loadFleetFor(options);
  const hosts = hostsNamed(fleet, names);
  const states = await readStates(fleet, hosts);
  const verified = lastVerified(fleet);
  const rows = hosts.map((host) => {
    const reading = states.get(host.name) ?? { status: 'absent' };
    const { name, vmId, node, ssh } = host;
    const common = { host: name, vmId, node, address: ssh.address, port: ssh.port };
    if (reading.status === 'unreadable') {
      const { message, remedy } = reading;
      return { ...common, state: reading.status, message, remedy };
    }
    if (reading.status === 'absent') return { ...common, state: reading.status };
    const { key, recipient, keyMadeAt } = reading.state;
    const print = fingerprint(key);
    const seen = verified[host.name];
    return {
      ...common,
      state: reading.status,
      fingerprint: print,
      recipient,
      ...(keyMadeAt === undefined ? {} : { keyMadeAt }),
      ...(seen?.fingerprint === print ? { verifiedAt: seen.at } : {}),
    };
  });
  if (rows.some(({ state }) => state === 'unreadable')) process.exitCode = 1;
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ hosts: rows }, null, 2)}\n`);
    return;
  }
  const short = process.stdout.isTTY
    ? (text: string) => (text.length > 19 ? `${text.slice(0, 15)}…${text.slice(-3)}` : text)
    : (text: string) => text;
  const header = ['HOST', 'VM', 'NODE', 'ADDRESS', 'FINGERPRINT', 'RECIPIENT', 'KEY AGE', 'VERIFIED'];
  const cells = rows.map((row) => [
    row.host,
    String(row.vmId),
    row.node,
    row.address,
    ...('fingerprint' in row
      ? [short(row.fingerprint), short(row.recipient), since(row.keyMadeAt), since(row.verifiedAt, ' ago')]
      : [row.state === 'absent' ? 'not deployed' : 'state unreadable', '', '', '']),
  ]);
  process.stdout.write(columns([header, ...cells]));
  for (const row of rows) {
    if ('message' in row) process.stderr.write(`hostkey: ${row.host}: ${told(row)}\n`);
  }
}

const UNITS = [
  ['d', 86_400],
  ['h', 3600],
  ['min', 60],
  ['s', 1],
] as const;

/** How long ago, in the largest unit that fits; `unknown` where nobody knows, `never` where it has an ending. */
function since(time: string | undefined, ending = ''): string {
  if (time === undefined) return ending === '' ? 'unknown' : 'never';
  const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(time)) / 1000));
  const [unit, size] = UNITS.find(([, each]) => seconds >= each) ?? ['s', 1];
  return `${Math.floor(seconds / size)} ${unit}${ending}`;
}
