import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { rootCertificates, type SecureVersion } from 'node:tls';
import { readIfReadable } from '../fleet/read-file';

/**
 * What the provider takes from the environment, read as the provider reads it (bpg/proxmox 0.111,
 * fwprovider/provider.go and utils/env.go), so that both reach the same API as the same user.
 */
type Environment = NodeJS.ProcessEnv;

/** Who is to log in, without the secret; `none` where the provider would refuse, and why. */
export type Credentials =
  | {
      readonly kind: 'token';
      readonly user: string;
      /** The token as Proxmox VE names it: `user@realm!name`. */
      readonly token: string;
    }
  | { readonly kind: 'ticket' | 'password'; readonly user: string }
  | { readonly kind: 'none'; readonly message: string; readonly remedy: string };

const TOKEN_REMEDY =
  "export PROXMOX_VE_API_TOKEN='user@realm!name=secret', in single quotes: the shell takes ! for something else";

/** The credentials that the provider would use: a token before a ticket before a password (proxmox/api/credentials.go). */
export function credentialsIn(env: Environment): Credentials {
  const { PROXMOX_VE_API_TOKEN: token, PROXMOX_VE_AUTH_TICKET: ticket } = env;
  if (token) {
    const [, name, user] = token.match(/^((\S+@[^\s!]+)![^\s=]+)=[A-Za-z0-9-]+$/) ?? [];
    return name === undefined || user === undefined
      ? { kind: 'none', message: 'PROXMOX_VE_API_TOKEN holds no token', remedy: TOKEN_REMEDY }
      : { kind: 'token', user, token: name };
  }
  if (ticket && env.PROXMOX_VE_CSRF_PREVENTION_TOKEN) {
    return { kind: 'ticket', user: ticket.split(':')[1] || 'the user of the ticket' };
  }
  const { PROXMOX_VE_USERNAME: user, PROXMOX_VE_PASSWORD: password } = env;
  if (user && password) {
    return user.includes('@')
      ? { kind: 'password', user }
      : {
          kind: 'none',
          message: 'PROXMOX_VE_USERNAME has no realm',
          remedy: 'export PROXMOX_VE_USERNAME=user@pve, or user@pam',
        };
  }
  return {
    kind: 'none',
    message: ticket
      ? 'PROXMOX_VE_AUTH_TICKET is set without PROXMOX_VE_CSRF_PREVENTION_TOKEN'
      : 'no credentials for the API are set',
    remedy: TOKEN_REMEDY,
  };
}

/** Whether a variable says yes, as the provider takes it: `true` and `1` do, `True` and `yes` don't. */
export function isOn(value: string | undefined): boolean {
  return value === 'true' || value === '1';
}

/**
 * The oldest TLS version that the provider accepts.
 *
 * @param own The fleet's setting, which wins.
 */
export function oldestTls(own: string | undefined, env: Environment = process.env): SecureVersion {
  const wanted = own ?? env.PROXMOX_VE_MIN_TLS?.trim() ?? '';
  // What the provider refuses is not made weaker here.
  return ({ '1.0': 'TLSv1', '1.1': 'TLSv1.1', '1.2': 'TLSv1.2' } as const)[wanted] ?? 'TLSv1.3';
}

/** Where Go programs look for a bundle of authorities (crypto/x509, root_linux.go). */
const BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/tls/cacert.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/** And the folders that they read beside the bundle, whatever SSL_CERT_FILE says. */
const FOLDERS = ['/etc/ssl/certs', '/etc/pki/tls/certs'];

/**
 * The authorities that a Go program trusts here, in PEM: those of `SSL_CERT_FILE` (else of the system's bundle), and
 * those of every file in the folders of `SSL_CERT_DIR` (else of the system's). What can't be read is left out, as
 * there.
 */
export function authorities({ SSL_CERT_FILE: file, SSL_CERT_DIR: folders }: Environment): string[] {
  const bundle = file || BUNDLES.find((each) => existsSync(each));
  // The system's folder repeats its bundle, one file an authority.
  const beside = folders ? folders.split(':') : file ? FOLDERS : [];
  const texts = [bundle ?? '', ...beside.flatMap(filesIn)].map(readIfReadable);
  const found = [...new Set(texts)].filter((text) => text.includes('BEGIN CERTIFICATE'));
  return bundle === undefined && found.length === 0 ? [...rootCertificates] : found;
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => path.join(folder, name));
  } catch {
    return [];
  }
}

/**
 * The proxy that a Go program would go through to a host (net/http, ProxyFromEnvironment): never for this machine.
 *
 * @param hostname As in a URL.
 */
export function proxyFor(hostname: string, env: Environment): string | undefined {
  const proxy = env.HTTPS_PROXY || env.https_proxy;
  const isHere = hostname === 'localhost' || /^(127\.[\d.]+|\[::1\])$/.test(hostname);
  return proxy && !isHere ? proxy : undefined;
}
