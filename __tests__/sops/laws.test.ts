import fc from 'fast-check';
import { parse } from 'yaml';
import type { HostEntry } from '../../sops/entry';
import { applyHost, checkHosts, removeHost } from '../../sops/rules';
import { entryOf, recipientOf } from './entries';

/** Texts as people write them: every choice below is one that was seen in somebody's repository. */
interface Habits {
  readonly step: number;
  readonly gap: number;
  readonly crlf: boolean;
  readonly bom: boolean;
  readonly finalNewline: boolean;
  readonly start: boolean;
  readonly heading: boolean;
  readonly comments: boolean;
  readonly blankLines: boolean;
  readonly flowKeys: boolean;
  readonly flowRules: boolean;
  readonly keys: readonly string[];
  readonly rules: readonly Rule[];
  readonly before: boolean;
  readonly between: boolean;
  readonly after: boolean;
}

interface Rule {
  readonly regex: string | undefined;
  readonly quote: string;
  readonly kind: 'pgp' | 'groups' | 'flow' | 'kms' | 'comma';
}

const REGEXES = [
  undefined,
  '.*',
  '\\.yaml$',
  'secrets/[^/]+\\.(yaml|json)$',
  '^secrets/',
  '^secrets/shared/.*',
  '^secrets/common/',
  'secrets/(db|web)-\\d+/.*',
  '^infra/prod/',
  '(?i)TERRAFORM',
  'a{1,2}(?U)b',
];

const rule: fc.Arbitrary<Rule> = fc.record({
  regex: fc.constantFrom(...REGEXES),
  quote: fc.constantFrom('', "'", '"'),
  kind: fc.constantFrom('pgp', 'groups', 'flow', 'kms', 'comma'),
});

const habits: fc.Arbitrary<Habits> = fc.record({
  step: fc.constantFrom(0, 2, 4),
  gap: fc.constantFrom(1, 1, 3),
  crlf: fc.boolean(),
  bom: fc.boolean(),
  finalNewline: fc.boolean(),
  start: fc.boolean(),
  heading: fc.boolean(),
  comments: fc.boolean(),
  blankLines: fc.boolean(),
  flowKeys: fc.boolean(),
  flowRules: fc.boolean(),
  keys: fc.uniqueArray(
    fc.constantFrom('alice', 'bob', 'admin_zoe', 'host_k8s-05', 'host_zeta', 'host_alpha'),
    {
      minLength: 1,
    },
  ),
  rules: fc.array(rule, { minLength: 1, maxLength: 6 }),
  before: fc.boolean(),
  between: fc.boolean(),
  after: fc.boolean(),
});

function write(h: Habits): string {
  const pad = ' '.repeat(h.step);
  const dash = `-${' '.repeat(h.gap)}`;
  const inner = ' '.repeat(h.step + dash.length);
  const keyValue = (name: string) => `&${name} ${recipientOf(name)}`;
  const keyLines = h.flowKeys
    ? [`keys: [${h.keys.map(keyValue).join(', ')}]`]
    : [
        'keys:',
        ...h.keys.flatMap((name, i) =>
          note(h, i, [`${pad}${dash}${keyValue(name)}${h.comments ? ` # ${name}` : ''}`]),
        ),
      ];
  const ruleLines = h.flowRules
    ? [`creation_rules: [${h.rules.map((r) => flowRule(r, h)).join(', ')}]`]
    : [
        'creation_rules:',
        ...h.rules.flatMap((r, i) => {
          const lines = ruleText(r, h, pad, dash);
          return note(
            h,
            i,
            lines.map((line, n) => (n === 0 ? pad + dash : inner) + line),
          );
        }),
        ...hostRules(h, pad, dash, inner),
      ];
  const lines = [
    ...(h.start ? ['---'] : []),
    ...(h.heading ? ['# how this file works: see the wiki', '#'] : []),
    ...(h.before ? ['stores:', '  yaml: { indent: 2 }'] : []),
    ...keyLines,
    ...(h.between ? ['', '# ---- rules ----'] : []),
    ...ruleLines,
    ...(h.after
      ? ['# where it goes', 'destination_rules:', '  - s3_bucket: "b"', "    path_regex: 's3/.*'"]
      : []),
  ];
  const eol = h.crlf ? '\r\n' : '\n';
  return (h.bom ? '\uFEFF' : '') + lines.join(eol) + (h.finalNewline ? eol : '');
}

/** Hosts that are in the file already have a rule of ours, wherever people moved it. */
function hostRules(h: Habits, pad: string, dash: string, inner: string): string[] {
  return h.keys
    .filter((name) => name.startsWith('host_'))
    .flatMap((name) => [
      `${pad}${dash}path_regex: ^secrets/${name.slice(5)}/`,
      `${inner}key_groups:`,
      `${inner}${pad}- age: [*${name}]`,
    ]);
}

function note(h: Habits, index: number, lines: string[]): string[] {
  const above = h.comments && index % 2 === 0 ? [`${' '.repeat(h.step)}# about number ${index}`] : [];
  return [...(h.blankLines && index > 0 ? [''] : []), ...above, ...lines];
}

function regexText({ regex, quote }: Rule): string[] {
  if (regex === undefined) return [];
  if (quote === '"') return [`path_regex: ${JSON.stringify(regex)}`];
  const needsQuotes = /[[\]{},#]/.test(regex) || quote === "'";
  return [`path_regex: ${needsQuotes ? `'${regex}'` : regex}`];
}

function ruleText(r: Rule, h: Habits, pad: string, dash: string): string[] {
  const first = h.keys[0] ?? '';
  const age = [
    `${pad}${dash}age:`,
    ...h.keys.map((name) => `${pad}${' '.repeat(dash.length)}${pad}${dash}*${name}`),
  ];
  const kinds: Record<Rule['kind'], string[]> = {
    pgp: ['pgp: "85D77543B3D624B63CEA9E6DBC17301B491B3F21"', 'unencrypted_suffix: _plain'],
    groups: [
      'key_groups:',
      ...age,
      `${pad}${' '.repeat(dash.length)}hc_vault:`,
      `${pad}${' '.repeat(dash.length)}${pad}${dash}http://v:8200/v1/sops/keys/k`,
    ],
    flow: [`key_groups: [{ pgp: ["FBC7"], age: [*${first}] }]`, 'shamir_threshold: 1'],
    kms: ["kms: 'arn:aws:kms:us-west-2:361527076523:key/5052f06a'", 'encrypted_regex: ^(data|stringData)$'],
    comma: ['age: >-', `  ${recipientOf('x')},`, `  ${recipientOf('y')}`],
  };
  return [...regexText(r), ...kinds[r.kind]];
}

function flowRule(r: Rule, h: Habits): string {
  return `{ ${[...regexText({ ...r, quote: "'" }), `key_groups: [{ age: [*${h.keys[0]}] }]`].join(', ')} }`;
}

const hosts: fc.Arbitrary<HostEntry[]> = fc
  .uniqueArray(
    fc.record({
      host: fc.constantFrom('mqtt-01', 'mqtt-02', 'db-1', 'zz', 'a', 'web-10', 'web-9'),
      shared: fc.uniqueArray(
        fc.constantFrom('secrets/shared/mqtt', 'secrets/shared', 'secrets/all (old)', 'x'),
      ),
    }),
    { selector: ({ host }) => host, minLength: 1, maxLength: 4 },
  )
  .map((list) =>
    list.map(({ host, shared }) =>
      entryOf(host, { shared, admins: { ops: recipientOf('ops'), bea: recipientOf('bea') } }),
    ),
  );

const text = habits.map(write);

function applyAll(start: string | undefined, entries: readonly HostEntry[]): string {
  return entries.reduce<string | undefined>((current, entry) => applyHost(current, entry).text, start) ?? '';
}

function isSubsequence(part: string, whole: string): boolean {
  let at = 0;
  for (const character of whole) if (character === part[at]) at++;
  return at === part.length;
}

const RUNS = { numRuns: Number(process.env.RUNS ?? 40) };

describe('the laws of .sops.yaml', () => {
  test('the generated texts are YAML with keys and rules', () => {
    fc.assert(
      fc.property(text, (source) => {
        const data = parse(source.replace(/^\uFEFF/, '')) as { keys: unknown[]; creation_rules: unknown[] };
        expect(data.keys.length).toBeGreaterThan(0);
        expect(data.creation_rules.length).toBeGreaterThan(0);
      }),
      RUNS,
    );
  });

  test('applying twice is applying once', () => {
    fc.assert(
      fc.property(text, hosts, (source, entries) => {
        const once = applyAll(source, entries);
        expect(applyAll(once, entries)).toBe(once);
        for (const entry of entries) expect(applyHost(once, entry).changed).toBe(false);
      }),
      RUNS,
    );
  });

  test('looking tells what applying would do, and warns as it does where that is nothing', () => {
    fc.assert(
      fc.property(text, hosts, fc.nat(4), (source, entries, applied) => {
        const start = applyAll(source, entries.slice(0, applied));
        const looked = checkHosts(start, entries);
        for (const [i, entry] of entries.entries()) {
          const { outcome, warnings } = applyHost(start, entry);
          const { host } = entry;
          expect(looked[i]).toEqual({ host, outcome, warnings: outcome === 'unchanged' ? warnings : [] });
        }
      }),
      RUNS,
    );
  });

  test('hosts may come in any order', () => {
    fc.assert(
      fc.property(fc.option(text, { nil: undefined }), hosts, (source, entries) => {
        const forward = applyAll(source, entries);
        expect(applyAll(source, [...entries].reverse())).toBe(forward);
        expect(applyAll(source, [...entries.slice(1), ...entries.slice(0, 1)])).toBe(forward);
      }),
      RUNS,
    );
  });

  test('hosts may come in any order also where they join a rule that people wrote', () => {
    fc.assert(
      fc.property(habits, hosts, (h, entries) => {
        const kinds = h.rules.filter((r) => r.kind !== 'comma' && r.regex !== '^secrets/common/');
        const common: Rule = {
          regex: '^secrets/common/',
          quote: '',
          kind: h.bom ? 'pgp' : h.crlf ? 'flow' : 'groups',
        };
        const keys = ['carol', ...h.keys.filter((name) => name !== 'admin_zoe')];
        const source = write({ ...h, keys, rules: [...kinds.slice(0, 2), common, ...kinds.slice(2)] });
        const joining = entries.map((entry) => ({ ...entry, shared: [...entry.shared, 'secrets/common'] }));
        const forward = applyAll(source, joining);
        expect(applyAll(source, [...joining].reverse())).toBe(forward);
        expect(applyAll(forward, joining)).toBe(forward);
        expect(isSubsequence(source, forward)).toBe(true);
      }),
      RUNS,
    );
  });

  test('removing what was applied gives the bytes back', () => {
    fc.assert(
      fc.property(text, hosts, (source, entries) => {
        let current: string | undefined = applyAll(source, entries);
        for (const { host } of entries) current = removeHost(current ?? '', host).text;
        expect(current).toBe(source);
      }),
      RUNS,
    );
  });

  test('removing one host leaves what the others made', () => {
    fc.assert(
      fc.property(text, hosts, (source, entries) => {
        const [first, ...others] = entries;
        const all = applyAll(source, entries);
        expect(removeHost(all, first?.host ?? '').text).toBe(applyAll(source, others));
      }),
      RUNS,
    );
  });

  test('a file of our own goes away with its last host', () => {
    fc.assert(
      fc.property(hosts, (entries) => {
        let current: string | undefined = applyAll(undefined, entries);
        for (const { host } of entries) current = removeHost(current ?? '', host).text;
        expect(current).toBeUndefined();
      }),
      RUNS,
    );
  });

  test('every character that people wrote is still there, in order', () => {
    fc.assert(
      fc.property(text, hosts, (source, entries) => {
        expect(isSubsequence(source, applyAll(source, entries))).toBe(true);
      }),
      RUNS,
    );
  });

  test('what is in the result is what was asked for', () => {
    fc.assert(
      fc.property(text, hosts, (source, entries) => {
        const result = parse(applyAll(source, entries).replace(/^\uFEFF/, '')) as {
          creation_rules: { path_regex?: string; key_groups?: { age?: string[] }[] }[];
        };
        for (const { host, path, recipient } of entries) {
          const rules = result.creation_rules.filter((r) => r.path_regex === `^${path}/`);
          expect(rules).toHaveLength(1);
          expect(rules[0]?.key_groups).toEqual([
            { age: [recipientOf('bea'), recipientOf('ops'), recipient] },
          ]);
          expect(host).toBeTruthy();
        }
      }),
      RUNS,
    );
  });
});
