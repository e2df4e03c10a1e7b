import { checkAgeRecipient } from '../keys/age-recipient';
import { formatSshPublicKey, KeyFormatError, parseSshPublicKey } from '../keys/ssh-public-key';

/** What one host contributes to the root `.sops.yaml`. Public data only. */
export interface HostEntry {
  /** The host's name, a DNS label: it becomes the anchor `host_<name>`. */
  readonly host: string;
  /** The age recipient of the host. */
  readonly recipient: string;
  /** The recipient of the key that the host gets next, while it is rotated: the anchor `host_<name>_next`. */
  readonly next?: string;
  /** Who else can decrypt: name → age recipient (native, plugin, or an SSH public key). */
  readonly admins: Readonly<Record<string, string>>;
  /** The folder of the host's secrets, relative to the root, with slashes: `secrets/mqtt-01`. */
  readonly path: string;
  /** Folders of secrets that several hosts read, this one among them: `secrets/shared/mqtt`. */
  readonly shared: readonly string[];
}

/** An entry isn't what it should be; the message names the field. */
export class HostEntryError extends Error {
  override readonly name = 'HostEntryError';
}

/** RFC 1123 section 2.1: letters, digits and hyphens, at most 63, no hyphen at either end. */
const DNS_LABEL = /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/;
/** What every YAML parser takes for an anchor's name; sops' (go-yaml) stops at anything else. */
const ANCHOR_NAME = /^[A-Za-z0-9_-]+$/;

/** @throws HostEntryError for a name that can't be a host's. */
export function checkHostName(host: string): void {
  if (!DNS_LABEL.test(host)) {
    throw new HostEntryError(
      `host: ${quote(host)} is no host name; use letters, digits and inner hyphens, 63 at most`,
    );
  }
}

/**
 * Checks what an entry says and brings it into the form in which it is written.
 *
 * @throws HostEntryError naming the field, what was found and what is expected.
 */
export function checkEntry(entry: HostEntry): HostEntry {
  checkHostName(entry.host);
  return {
    host: entry.host,
    recipient: checkRecipient('recipient', entry.recipient),
    ...(entry.next === undefined ? {} : { next: checkRecipient('next', entry.next) }),
    admins: checkAdmins(entry.admins),
    path: checkFolder('path', entry.path),
    shared: [...new Set(entry.shared.map((folder, index) => checkFolder(`shared[${index}]`, folder)))],
  };
}

/** @throws HostEntryError for a name that can't be an anchor, or a recipient that age wouldn't take. */
export function checkAdmins(admins: Readonly<Record<string, string>>): Record<string, string> {
  const checked: Record<string, string> = {};
  for (const [name, recipient] of Object.entries(admins)) {
    if (!ANCHOR_NAME.test(name)) {
      throw new HostEntryError(
        `admins: ${quote(name)} can't be the name of a YAML anchor; use letters, digits, "_" and "-"`,
      );
    }
    checked[name] = checkRecipient(`admins.${name}`, recipient);
  }
  return checked;
}

/** An SSH key loses its comment: sops splits what it reads at commas, and a comment may hold one. */
function checkRecipient(field: string, recipient: string): string {
  try {
    checkAgeRecipient(recipient);
    return recipient.startsWith('ssh-') ? formatSshPublicKey(parseSshPublicKey(recipient)) : recipient;
  } catch (error) {
    if (error instanceof KeyFormatError) throw new HostEntryError(`${field}: ${error.message}`);
    throw error;
  }
}

/** @throws HostEntryError for a folder that isn't written as the rules write it. */
export function checkFolder(field: string, folder: string): string {
  const parts = folder.split('/');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\\\u0000-\u001f\u007f]/.test(folder) || parts.some((part) => ['', '.', '..'].includes(part))) {
    throw new HostEntryError(
      `${field}: ${quote(folder)} is no folder below the root; write it like "secrets/mqtt-01", with slashes, without "." or ".."`,
    );
  }
  return folder;
}

function quote(text: string): string {
  return JSON.stringify(text);
}
