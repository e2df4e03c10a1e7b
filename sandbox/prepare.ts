import { execFileSync } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { knownHostsLine } from '../keys/known-hosts';
import { parseSshPublicKey } from '../keys/ssh-public-key';
import { envFile } from './env-file';
import type { Variant } from './guests/images';
import type { GuestSetup } from './guests/setup';
import type { Layout } from './layout';
import { TETHER } from './processes';
import permissions from './pve/permissions.json';
import templates from './pve/templates.json';
import { ensurePrivilegeSeparationDir, findSshd, sshdConfig } from './sshd';
import { type SandboxRecord, writeRecord } from './status';

/** Where a sandbox listens. */
export interface Addresses {
  readonly address: string;
  readonly apiPort: number;
  readonly sshPort: number;
}

/** The name of the only node, as in the fleet that we ship. */
const NODE = 'pve1';

const SYSTEM_CAS = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/** Makes all of a sandbox's files: keys, certificates, secrets, settings. Nothing runs yet. */
export function prepare(
  paths: Layout,
  where: Addresses,
  home: string,
  python: string,
  guests?: GuestSetup,
): SandboxRecord {
  for (const dir of [paths.tls, paths.ssh, paths.logs]) mkdirSync(dir, { mode: 0o700 });
  mkdirSync(paths.snippets, { recursive: true });
  execFileSync(python, [join(__dirname, 'pve', 'certificates.py'), paths.tls, where.address]);
  writeFileSync(paths.caBundle, [systemCas(paths), readFileSync(join(paths.tls, 'ca.pem'))].join('\n'), {
    mode: 0o600,
  });
  makeSshKeys(paths, where);
  const record: SandboxRecord = {
    id: randomUUID(),
    state: 'starting',
    ...where,
    endpoint: `https://${where.address}:${where.apiPort}/`,
    node: NODE,
    ...(guests && { guests }),
    sshUser: userInfo().username,
    home,
    token: `${permissions.user}!${permissions.token}=${randomUUID()}`,
    rootPassword: randomBytes(18).toString('base64url'),
  };
  writeFileSync(
    join(paths.ssh, 'sshd_config'),
    sshdConfig(paths, { ...where, port: where.sshPort, user: record.sshUser, id: record.id }),
    { mode: 0o600 },
  );
  writeFileSync(paths.settings, JSON.stringify(adapterSettings(paths, record), null, 2), { mode: 0o600 });
  writeFileSync(paths.env, envFile(paths, environment(paths, record)), { mode: 0o600 });
  findSshd();
  ensurePrivilegeSeparationDir();
  writeRecord(paths, record);
  return record;
}

/** The variables that make the provider talk to this sandbox, beside the endpoint that fleet.yaml names. */
export function environment(paths: Layout, record: SandboxRecord): Record<string, string> {
  return {
    PROXMOX_VE_API_TOKEN: record.token,
    PROXMOX_VE_SSH_USERNAME: record.sshUser,
    PROXMOX_VE_SSH_PRIVATE_KEY: readFileSync(paths.clientKey, 'utf8'),
    // Somebody's own agent would be asked first.
    PROXMOX_VE_SSH_AGENT: 'false',
    // What Go reads its authorities from: the system's, and the sandbox's.
    SSL_CERT_FILE: paths.caBundle,
  };
}

/** The authorities that are trusted anyway: SSL_CERT_FILE replaces the system's, so they have to go along. */
function systemCas(paths: Layout): string {
  const own = process.env.SSL_CERT_FILE;
  const candidates = [...(own && !own.startsWith(paths.dir) ? [own] : []), ...SYSTEM_CAS];
  const found = candidates.find((file) => existsSync(file));
  return found ? readFileSync(found, 'utf8') : '';
}

function makeSshKeys(paths: Layout, where: Addresses): void {
  for (const name of ['host', 'client']) {
    execFileSync('ssh-keygen', [
      '-q',
      '-t',
      'ed25519',
      '-N',
      '',
      '-C',
      `sandbox-${name}`,
      '-f',
      join(paths.ssh, name),
    ]);
  }
  writeFileSync(join(paths.ssh, 'authorized_keys'), readFileSync(`${paths.clientKey}.pub`), { mode: 0o600 });
  const key = parseSshPublicKey(readFileSync(join(paths.ssh, 'host.pub'), 'utf8'));
  const known = knownHostsLine([where.address], key, where.sshPort);
  writeFileSync(join(paths.ssh, 'known_hosts'), `${known}\n`, { mode: 0o600 });
}

/** `GuestSettings` in pve/guests.py. */
function guestSettings(paths: Layout, { images, accelerator, sshPort }: GuestSetup) {
  return {
    folder: paths.guests,
    kernel: images.kernel,
    initrd: images.initrd,
    accelerator,
    sshPort,
    tether: TETHER,
    disks: Object.fromEntries(templates.map(({ vmid, image }) => [vmid, images.disks[image as Variant]])),
  };
}

/** `Settings` in pve/adapter.py. */
function adapterSettings(paths: Layout, record: SandboxRecord) {
  return {
    address: record.address,
    port: record.apiPort,
    node: record.node,
    certificate: join(paths.tls, 'server.pem'),
    key: join(paths.tls, 'server.key'),
    rootPassword: record.rootPassword,
    user: permissions.user,
    token: permissions.token,
    tokenSecret: record.token.split('=')[1],
    grants: permissions.grants.map(({ path, privileges }) => ({ path, privileges })),
    storagePath: paths.storage,
    controlSocket: paths.control,
    templates,
    guests: record.guests ? guestSettings(paths, record.guests) : null,
  };
}
