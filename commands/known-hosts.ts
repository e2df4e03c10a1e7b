import { existsSync, mkdirSync } from 'node:fs';
import { homedir, userInfo } from 'node:os';
import path from 'node:path';
import type { Command } from 'commander';
import type { Fleet, Host } from '../fleet/fleet';
import { knownHostsNames } from '../keys/known-hosts';
import { withKnownHosts } from '../keys/known-hosts-file';
import { formatSshPublicKey } from '../keys/ssh-public-key';
import { updateTextFile } from '../sops/text-file';
import { declaredKeys, readStates, type StateReading } from '../terraform/state';
import { CommandError, type FleetOptions, hostsNamed, loadFleetFor, withFleet } from './fleet-option';
import { told } from './told';

const HELP = `
The keys come from the states, so nobody ever has to answer "yes" to a fingerprint. Each host is known by its name, its
aliases, its addresses and hosts.<name>.ssh of fleet.yaml.

With --write a file is brought up to date: other keys for these names go, in hashed lines, too, and everything else
keeps its bytes. FILE comes right behind --write, so name hosts before it. Then ssh needs no question asked:

  hostkey known-hosts --write known_hosts
  ssh -o UserKnownHostsFile=known_hosts -o StrictHostKeyChecking=yes mqtt-01

Exit codes: 0 done; 1 a state could not be read, or a host that was named is not deployed.`;

interface Options extends FleetOptions {
  readonly write?: string | true;
  readonly hash?: boolean;
  readonly json?: boolean;
}

/** Adds `hostkey known-hosts`. */
export function addKnownHostsCommand(program: Command): void {
  withFleet(program.command('known-hosts'))
    .description("print the hosts' lines for known_hosts, or bring a file up to date")
    .argument('[hosts...]', 'only these hosts')
    .option('--write [file]', 'bring a file up to date (default: ~/.ssh/known_hosts)')
    .option('--hash', 'hide the names, as HashKnownHosts does')
    .option('--json', 'print the result as JSON')
    .addHelpText('after', HELP)
    .action(run);
}

async function run(names: readonly string[], options: Options): Promise<void> {
  const fleet = loadFleetFor(options);
  const hosts = hostsNamed(fleet, names);
  const file = fileToWrite(fleet, options);
  const states = await readStates(fleet, hosts);
  const known = hosts.map((host) => wantedOf(host, states.get(host.name))).filter(({ length }) => length > 0);
  const wanted = known.flat();
  const hash = options.hash ?? false;
  const missing = tellMissing(fleet, hosts, states, names.length > 0);
  if (missing) process.exitCode = 1;
  if (file === undefined) {
    const { text } = withKnownHosts('', wanted, hash);
    const lines = text.split('\n').filter((line) => line !== '');
    process.stdout.write(options.json ? `${JSON.stringify({ lines }, null, 2)}\n` : text);
    return;
  }
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  const { changed } = await updateTextFile(file, (text = '') => withKnownHosts(text, wanted, hash), {
    shared: true,
  });
  const what = changed ? `${file}: ${known.length} hosts brought up to date` : `${file}: nothing to change`;
  process.stdout.write(
    options.json ? `${JSON.stringify({ file, changed, hosts: known.length })}\n` : `${what}\n`,
  );
}

/** @throws CommandError where `--write` took a host for its file. */
function fileToWrite(fleet: Fleet, { write }: Options): string | undefined {
  if (write === true) return defaultFile();
  if (write === undefined || existsSync(write) || fleet.hosts.every(({ name }) => name !== write))
    return write;
  throw new CommandError(
    `--write ${write} would make a file of that name, and ${write} is a host; write: hostkey known-hosts ${write} --write (or --write ./${write} for the file)`,
  );
}

/** `~/.ssh/known_hosts`, as the shell means it. @throws CommandError where this user has no home. */
function defaultFile(): string {
  const ofHome = (home: () => string): string | undefined => {
    try {
      return path.isAbsolute(home()) ? path.join(home(), '.ssh', 'known_hosts') : undefined;
    } catch {
      return undefined; // a user that nobody knows, as in some containers
    }
  };
  const file = ofHome(homedir);
  if (file === undefined)
    throw new CommandError('this user has no home folder (HOME); name the file: --write FILE');
  // ssh doesn't ask HOME (openssh-portable, tilde_expand_filename).
  const ofSsh = ofHome(() => userInfo().homedir);
  if (ofSsh !== undefined && ofSsh !== file) {
    process.stderr.write(
      `hostkey: warning: HOME leads to ${file}, and ssh reads ${ofSsh}; if that is meant: --write ${ofSsh}\n`,
    );
  }
  return file;
}

function wantedOf(host: Host, reading: StateReading | undefined) {
  if (reading?.status !== 'deployed') return [];
  const names = knownHostsNames(host.knownAs, host.ssh.port).split(',');
  return declaredKeys(reading.state).map((key) => ({ names, key: formatSshPublicKey(key) }));
}

/** @returns whether that is a failure. */
function tellMissing(
  { file }: Fleet,
  hosts: readonly Host[],
  states: ReadonlyMap<string, StateReading>,
  named: boolean,
): boolean {
  let failed = false;
  for (const { name } of hosts) {
    const reading = states.get(name) ?? { status: 'absent' };
    if (reading.status === 'deployed') continue;
    failed ||= named || reading.status === 'unreadable';
    const why =
      reading.status === 'unreadable'
        ? told(reading)
        : `not deployed, so it has no key yet; npx cdktf deploy ${name}`;
    process.stderr.write(`hostkey: ${name} of ${file} left out: ${why}\n`);
  }
  return failed;
}
