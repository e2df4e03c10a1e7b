import type { Command } from 'commander';
import type { Host } from '../fleet/fleet';
import { fingerprint } from '../keys/ssh-public-key';
import { remedyOf, shownKey, type Verdict } from '../live/compare';
import { rememberVerified } from '../live/verified';
import { verifyHosts } from '../live/verify';
import { readStates } from '../terraform/state';
import { columns } from './columns';
import { type FleetOptions, hostsNamed, loadFleetFor, positive, withFleet } from './fleet-option';
import { progress } from './progress';

const HELP = `
Each host is scanned once (ssh-keyscan, at its address or at hosts.<name>.ssh of fleet.yaml), and what it serves is
compared with the key in the state. The network is never asked what the key should be. A scan sees the public key that
is served; that the private one belongs to it, ssh proves at each login (hostkey known-hosts --write).

  same       it serves the state's key, and no other
  extra      it serves the state's key, and others beside it that nobody declared
  different  it serves another key: another machine answers, or somebody changed the key
  unknown    it could not be told; the line says why
  off        started: false in fleet.yaml; it isn't scanned

Exit codes: 0 all the same (or off), 2 a key is different or extra, 1 could not tell, whatever else was found.`;

interface Options extends FleetOptions {
  readonly wait?: number;
  readonly timeout: number;
  readonly parallel: number;
  readonly json?: boolean;
}

/** Adds `hostkey verify`. */
export function addVerifyCommand(program: Command): void {
  withFleet(program.command('verify'))
    .description('compare the host keys that sshd serves with those of the states')
    .argument('[hosts...]', 'only these hosts')
    .option('--wait <seconds>', 'wait so long for hosts that do not answer yet', positive)
    .option('--timeout <seconds>', 'how long one host may take to answer', positive, 5)
    .option('--parallel <n>', 'how many hosts are scanned at once', positive, 32)
    .option('--json', 'print the result as JSON')
    .addHelpText('after', HELP)
    .action(run);
}

async function run(names: readonly string[], options: Options): Promise<void> {
  const fleet = loadFleetFor(options);
  const hosts = hostsNamed(fleet, names);
  const { say, done } = progress();
  try {
    say('reading the states');
    const states = await readStates(fleet, hosts);
    let scanned = 0;
    const verdicts = await verifyHosts(hosts, states, {
      waitSeconds: options.wait,
      timeoutSeconds: options.timeout,
      concurrency: options.parallel,
      onScan: () => say(`scanned ${++scanned} of ${hosts.length} hosts`),
    });
    done();
    const warning = await rememberVerified(fleet, verdicts);
    if (warning !== undefined) process.stderr.write(`hostkey: ${warning}\n`);
    print(hosts, verdicts, options.json ?? false);
    process.exitCode = exitCode([...verdicts.values()]);
  } finally {
    done();
  }
}

function exitCode(verdicts: readonly Verdict[]): number {
  if (verdicts.some(({ status }) => status === 'unknown')) return 1;
  return verdicts.every(({ status }) => status === 'same' || status === 'off') ? 0 : 2;
}

function print(hosts: readonly Host[], verdicts: ReadonlyMap<string, Verdict>, json: boolean): void {
  const rows = hosts.flatMap((host) => {
    const verdict = verdicts.get(host.name);
    return verdict === undefined ? [] : [{ host, verdict }];
  });
  if (json) {
    const result = rows.map(({ host, verdict }) => ({
      host: host.name,
      address: host.ssh.address,
      port: host.ssh.port,
      status: verdict.status,
      ...('key' in verdict ? { expected: shownKey(verdict.key) } : {}),
      ...(verdict.status === 'different' ? { served: verdict.served.map(shownKey) } : {}),
      ...(verdict.status === 'extra' ? { others: verdict.others.map(shownKey) } : {}),
      ...(verdict.status === 'unknown' ? { message: verdict.message } : {}),
      ...(remedyOf(host, verdict) === '' ? {} : { remedy: remedyOf(host, verdict) }),
    }));
    process.stdout.write(`${JSON.stringify({ hosts: result }, null, 2)}\n`);
    return;
  }
  const detail = (verdict: Verdict): string => {
    switch (verdict.status) {
      case 'same':
        return fingerprint(verdict.key);
      case 'extra':
        return `beside the right key: ${verdict.others.map(shownKey).join(', ')}`;
      case 'different':
        return `expected ${shownKey(verdict.key)}, served ${verdict.served.map(shownKey).join(', ')}`;
      case 'unknown':
        return verdict.message;
      case 'off':
        return 'started: false';
    }
  };
  process.stdout.write(
    columns(rows.map(({ host, verdict }) => [host.name, verdict.status, detail(verdict)])),
  );
  const remedies = rows.flatMap(({ host, verdict }) => {
    const remedy = remedyOf(host, verdict);
    return remedy === '' ? [] : [`${host.name}: ${remedy}\n`];
  });
  if (remedies.length > 0) process.stdout.write(`\n${remedies.join('')}`);
}
