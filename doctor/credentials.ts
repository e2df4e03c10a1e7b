import type { Fleet } from '../fleet/fleet';
import { type Credentials, isOn } from '../proxmox/environment';
import { ok, problem, type Result, warning } from './result';

/** Which credentials the provider will use, by the names of their variables, never by their values. */
export function judgeCredentials(
  credentials: Credentials,
  { proxmox: { endpoint } }: Pick<Fleet, 'proxmox'>,
  env: NodeJS.ProcessEnv,
): Result[] {
  return [main(credentials), ...insecure(env), ...elsewhere(endpoint, env.PROXMOX_VE_ENDPOINT)];
}

function main(credentials: Credentials): Result {
  const id = 'credentials';
  switch (credentials.kind) {
    case 'none':
      return problem(id, credentials.message, credentials.remedy);
    case 'token':
      return ok(id, `PROXMOX_VE_API_TOKEN is the token ${credentials.token}`);
    case 'ticket':
      return ok(id, `PROXMOX_VE_AUTH_TICKET is a ticket of ${credentials.user}, which lasts two hours`);
    case 'password':
      return ok(id, `PROXMOX_VE_USERNAME is ${credentials.user}, and there is a password`);
  }
}

function insecure(env: NodeJS.ProcessEnv): Result[] {
  return isOn(env.PROXMOX_VE_INSECURE)
    ? [
        warning(
          'credentials.insecure',
          'PROXMOX_VE_INSECURE is set: the credentials go to whoever answers at that address',
          "unset PROXMOX_VE_INSECURE; and for a private authority: export SSL_CERT_FILE=FILE (the node's /etc/pve/pve-root-ca.pem)",
        ),
      ]
    : [];
}

function elsewhere(endpoint: string, other: string | undefined): Result[] {
  const plain = (url: string) => url.replace(/\/+$/, '');
  return other && plain(other) !== plain(endpoint)
    ? [
        warning(
          'credentials.endpoint',
          `PROXMOX_VE_ENDPOINT names another address than ${endpoint} of fleet.yaml, and isn't used`,
          'unset PROXMOX_VE_ENDPOINT, or correct proxmox.endpoint in fleet.yaml',
        ),
      ]
    : [];
}
