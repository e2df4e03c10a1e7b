import { z } from 'zod';

/**
 * What `hostkey drift` found, as data: the one form that all reports (table, Markdown, JUnit, HTML…) are made from,
 * and that `--json` prints. `drift.schema.json` is generated from here.
 *
 * No value in it is ever a secret: what Terraform marks as sensitive is written as `(sensitive value)`.
 */

/**
 * What can be the matter. The first part says what was looked at.
 *
 * | kind | meaning |
 * | --- | --- |
 * | `vm-changed`, `resource-changed` | somebody changed it outside Terraform |
 * | `vm-gone`, `snippet-gone`, `resource-gone` | Terraform made it, and it is no longer there |
 * | `not-applied` | written in fleet.yaml (or in the code), and not deployed yet |
 * | `not-deployed` | the host was never deployed: it has no state |
 * | `snippets-unseen` | the token may not see whether the snippets of a datastore are there |
 * | `state-orphaned` | a state without a host in fleet.yaml |
 * | `host-rules-changed` | `secrets/<host>/.sops.yaml` isn't what Terraform wrote |
 * | `root-rules-missing`, `-changed`, `-shadowed` | the host's entry in the root `.sops.yaml` is missing, says something else, or an earlier rule wins |
 * | `not-committed` | the rules are right, and git doesn't have them yet |
 * | `key-differs` | sshd serves another key than the state's; `key-extra`: it serves the right one and others beside it |
 * | `secret-missing-recipient`, `-extra-recipient`, `-plain` | a sops file is encrypted to the wrong people, or not at all |
 * | `unchecked` | it could not be told; the message says why |
 * | `ignore-unused`, `ignore-expired` | a rule of `drift.ignore` that matches nothing any more, or whose date has passed |
 */
export const FINDING_KINDS = [
  'vm-changed',
  'vm-gone',
  'snippet-gone',
  'resource-changed',
  'resource-gone',
  'not-applied',
  'not-deployed',
  'snippets-unseen',
  'state-orphaned',
  'host-rules-changed',
  'root-rules-missing',
  'root-rules-changed',
  'root-rules-shadowed',
  'not-committed',
  'key-differs',
  'key-extra',
  'secret-missing-recipient',
  'secret-extra-recipient',
  'secret-plain',
  'unchecked',
  'ignore-unused',
  'ignore-expired',
] as const;
export type FindingKind = (typeof FINDING_KINDS)[number];

/**
 * `error`: something will fail, or somebody else may answer for the host. `warning`: drift that works for now.
 * `unknown`: it could not be told. `info`: worth a look, and no drift.
 */
export const SEVERITIES = ['error', 'warning', 'unknown', 'info'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** What is looked at. Each can be left out (`--skip`), and the report says so. */
export const CHECKS = ['terraform', 'rules', 'live', 'secrets'] as const;
export type Check = (typeof CHECKS)[number];

const finding = z.strictObject({
  host: z.string().optional().describe('The host; left out for what concerns the whole fleet.'),
  kind: z.enum(FINDING_KINDS),
  severity: z.enum(SEVERITIES),
  check: z.enum(CHECKS).describe('What was looked at.'),
  resource: z
    .string()
    .optional()
    .describe(
      "The Terraform address in the host's stack, the file relative to the repository's root, or sshd's address:port.",
    ),
  attribute: z
    .string()
    .optional()
    .describe('The attribute that differs, as Terraform spells it: memory[0].dedicated.'),
  line: z.int().positive().optional().describe('The line in `resource`, where that is a file.'),
  expected: z.string().optional().describe('What should be there, one value; never a secret.'),
  actual: z.string().optional().describe('What is there.'),
  message: z.string().describe('The finding in one sentence.'),
  remedy: z.string().describe('What to type, or to do; empty where nothing has to be done.'),
  accepted: z
    .strictObject({
      reason: z.string(),
      expires: z.string().describe('The last day on which it is accepted, YYYY-MM-DD.'),
    })
    .optional()
    .describe('Set where a rule of drift.ignore accepts this finding: it is listed, and raises no alarm.'),
});
export type Finding = z.infer<typeof finding>;

/**
 * `clean`: everything that was asked was looked at and agrees. `drift`: something doesn't. `unknown`: something could
 * not be looked at, whatever else was found.
 */
const STATUSES = ['clean', 'drift', 'unknown'] as const;
export type Status = (typeof STATUSES)[number];

const hostReport = z.strictObject({
  host: z.string(),
  vmId: z.int(),
  node: z.string(),
  status: z.enum(STATUSES),
  fingerprint: z.string().optional().describe("SHA256 fingerprint of the state's host key."),
  recipient: z.string().optional().describe("The age recipient of the state's host key."),
  findings: z.array(finding),
});
export type HostReport = z.infer<typeof hostReport>;

export const driftReportSchema = z.strictObject({
  version: z.literal(1).describe('Of this format.'),
  tool: z.string().describe('Name and version of the program that wrote it.'),
  fleet: z.string().describe("The fleet's file, as it was named."),
  startedAt: z.iso.datetime().describe('When it was begun, in UTC.'),
  seconds: z.number().nonnegative().describe('How long it took.'),
  shard: z
    .strictObject({ index: z.int().positive(), of: z.int().positive() })
    .optional()
    .describe('Which part of the fleet this is, from 1.'),
  skipped: z.array(z.enum(CHECKS)).describe('What was not looked at, because the caller said so.'),
  status: z.enum(STATUSES),
  hosts: z.array(hostReport),
  findings: z.array(finding).describe('What concerns no host of the fleet in particular.'),
});
export type DriftReport = z.infer<typeof driftReportSchema>;

/** 0 no drift, 2 drift, 1 could not tell (which wins: an incomplete answer is not an answer). */
export const EXIT_CODES: Readonly<Record<Status, number>> = { clean: 0, unknown: 1, drift: 2 };

/** The status that findings add up to. */
export function statusOf(findings: readonly Finding[]): Status {
  const open = findings.filter(({ accepted }) => accepted === undefined);
  if (open.some(({ severity }) => severity === 'unknown')) return 'unknown';
  return open.some(({ severity }) => severity !== 'info') ? 'drift' : 'clean';
}
