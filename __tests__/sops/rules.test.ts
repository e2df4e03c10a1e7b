import { parse } from 'yaml';
import { HostEntryError } from '../../sops/entry';
import {
  applyHost,
  applyHosts,
  hostRulesFile,
  leaveFolder,
  recipientIn,
  recipientsIn,
  removeHost,
} from '../../sops/rules';
import { SopsRulesError } from '../../sops/yaml-text';
import { entryOf, recipientOf } from './entries';

const MQTT = entryOf('mqtt-01');
const OPS = recipientOf('ops');
const HOST = MQTT.recipient;

/** What the rules say, as sops reads them. */
function rulesOf(text: string): { path_regex?: string; [key: string]: unknown }[] {
  return (
    parse(text.replace(/^\uFEFF/, ''), { merge: true, logLevel: 'error' }) as {
      creation_rules: { path_regex?: string }[];
    }
  ).creation_rules;
}

function apply(text: string | undefined, entry = MQTT): string {
  return applyHost(text, entry).text;
}

describe('a host that gets another key', () => {
  const next = recipientOf('next of mqtt-01');
  const rotated = entryOf('mqtt-01', { next, shared: ['secrets/shared/mqtt'] });
  const settled = entryOf('mqtt-01', { shared: ['secrets/shared/mqtt'] });
  const neighbour = entryOf('mqtt-02', { shared: ['secrets/shared/mqtt'] });

  test('is in its rules with both', () => {
    const text = apply(apply(undefined, settled), rotated);
    const [own, shared] = rulesOf(text);
    expect(own).toEqual({ path_regex: '^secrets/mqtt-01/', key_groups: [{ age: [OPS, HOST, next] }] });
    expect(shared?.key_groups).toEqual(own?.key_groups);
    expect(parse(hostRulesFile(rotated)).keys).toEqual([OPS, HOST, next]);
    expect(recipientsIn(hostRulesFile(rotated), 'mqtt-01', 'f')).toEqual({ recipient: HOST, next });
    expect(recipientsIn(hostRulesFile(settled), 'mqtt-01', 'f').next).toBeUndefined();
  });

  test.each([undefined, `# ours\nkeys: []\ncreation_rules: # by hand\n  - path_regex: .*\n    pgp: ABC\n`])(
    'leaves no trace of it where it goes back, in %j',
    (text) => {
      const before = apply(apply(text, settled), neighbour);
      const during = apply(before, rotated);
      expect(during).not.toBe(before);
      expect(apply(during, rotated)).toBe(during);
      expect(apply(during, settled)).toBe(before);
    },
  );

  test('has the next key as its own in the end', () => {
    const during = apply(apply(undefined, neighbour), rotated);
    const after = { ...settled, recipient: next };
    expect(apply(during, after)).toBe(apply(apply(undefined, neighbour), after));
  });

  test('goes with both', () => {
    const alone = apply(undefined, neighbour);
    expect(removeHost(apply(alone, rotated), 'mqtt-01').text).toBe(alone);
    const text = leaveFolder(apply(alone, rotated), 'mqtt-01', 'secrets/shared/mqtt').text;
    expect(rulesOf(text).find(({ path_regex }) => path_regex?.includes('shared'))?.key_groups).toEqual([
      { age: [OPS, neighbour.recipient] },
    ]);
  });
});

describe('a file of our own', () => {
  test('is written as people write it', () => {
    const text = apply(undefined, entryOf('mqtt-01', { shared: ['secrets/shared/mqtt'] }));
    expect(text).toBe(`keys:
  - &admin_ops ${OPS}
  - &host_mqtt-01 ${HOST}
creation_rules:
  - path_regex: ^secrets/mqtt-01/
    key_groups:
      - age:
          - *admin_ops
          - *host_mqtt-01
  - path_regex: ^secrets/shared/mqtt/
    key_groups:
      - age:
          - *admin_ops
          - *host_mqtt-01
`);
  });

  test('shared secrets list their hosts by name', () => {
    const shared = ['secrets/shared/mqtt'];
    const text = ['web-1', 'db-1', 'mqtt-01'].reduce<string | undefined>(
      (current, host) => apply(current, entryOf(host, { shared })),
      undefined,
    );
    expect(rulesOf(text ?? '').find((rule) => rule.path_regex?.includes('shared'))).toEqual({
      path_regex: '^secrets/shared/mqtt/',
      key_groups: [{ age: [OPS, recipientOf('db-1'), HOST, recipientOf('web-1')] }],
    });
  });

  test('says what it did', () => {
    const first = applyHost(undefined, MQTT);
    expect(first).toMatchObject({ changed: true, outcome: 'added', warnings: [] });
    expect(applyHost(first.text, MQTT)).toMatchObject({ changed: false, outcome: 'unchanged' });
    const rekeyed = applyHost(first.text, { ...MQTT, recipient: recipientOf('new') });
    expect(rekeyed).toMatchObject({ changed: true, outcome: 'updated' });
    expect(rekeyed.text).toBe(first.text.replace(HOST, recipientOf('new')));
    expect(removeHost(first.text, 'other')).toMatchObject({ changed: false, outcome: 'unchanged' });
    expect(removeHost(first.text, 'mqtt-01')).toMatchObject({ text: undefined, outcome: 'removed' });
  });
});

/** Texts in the styles that are found in public repositories. Applied and removed again, each must be as it was. */
const STYLES: Record<string, string> = {
  'the nix community': `# This example uses YAML anchors which allows reuse of multiple keys
# without having to repeat yourself.
keys:
  - &admin_alice 2504791468b153b8a3963cc97ba53d1919c5dfd4
  - &admin_bob age12zlz6lvcdk6eqaewfylg35w0syh58sm7gh53q5vvn7hd7c6nngyseftjxl
  - &server_azmidi 0fd60c8c3b664aceb1796ce02b318df330331003
  - &server_nosaxa age1rgffpespcyjn0d8jglk7km9kfrfhdyev6camd3rck6pn8y47ze4sug23v3
creation_rules:
  - path_regex: secrets/[^/]+\\.(yaml|json|env|ini)$
    key_groups:
    - pgp:
      - *admin_alice
      - *server_azmidi
      age:
      - *admin_bob
      - *server_nosaxa
  - path_regex: secrets/azmidi/[^/]+\\.(yaml|json|env|ini)$
    key_groups:
    - pgp:
      - *admin_alice
      - *server_azmidi
      age:
      - *admin_bob
`,
  'unindented lists': `keys:
- &alice age1alice # laptop
# the desktop, too
- &bob age1bob

creation_rules:
- path_regex: ^hosts/
  key_groups:
  - age:
    - *alice
- key_groups:
  - age: [*alice, *bob]
`,
  'four spaces': `keys:
    - &alice age1alice
creation_rules:
    - path_regex: hosts/.*
      key_groups:
          - age:
                - *alice
`,
  'dashes with three spaces': `keys:
-   &alice age1alice
creation_rules:
-   path_regex: hosts/.*
    key_groups:
    -   age:
        -   *alice
`,
  'nested groups of keys': `keys:
  - &users:
    - &ta age1ta
  - &hosts: # nixos hosts
    - &grief age1grief
creation_rules:
  - path_regex: secrets.yaml$
    key_groups:
    - age:
      - *ta
      - *grief
`,
  'a mapping of keys': `keys:
  users:
    - &ta age1ta
  hosts:
    - &grief age1grief
  other: thing
creation_rules:
  - age: [*ta, *grief]
`,
  'AWS, Vault and Azure': `# see https://github.com/getsops/sops#using-sops-yaml-conf
keys: [ &me "age1me" ]
creation_rules:
  # upon creation of a file that matches *.dev.yaml
  - path_regex: \\.dev\\.yaml$
    kms: 'arn:aws:kms:us-west-2:927034868273:key/fe86dd69-4132-404c-ab86-4269956b4500'
    pgp: 'FBC7B9E2A4F9289AC0C1D4843D16CEE4A27381B4'
    azure_keyvault: https://sops.vault.azure.net/keys/sops-key/some-string
  - path_regex: \\.prod\\.yaml$
    hc_vault_transit_uri: "http://my.vault/v1/sops/keys/secondkey"
  - path_regex: shamir
    shamir_threshold: 2
    key_groups:
      - pgp:
          - FBC7B9E2A4F9289AC0C1D4843D16CEE4A27381B4
      - hc_vault:
          - http://my.vault/v1/sops/keys/thirdkey
      - kms:
          - arn: arn:aws:kms:us-east-1:361527076523:key/5052f06a
            role: arn:aws:iam::361527076523:role/sops-dev-xyz
            context: { Environment: prod, Role: web-server }
  # Finally, if the rules above have not matched, this one is a catchall
  - pgp: FBC7B9E2A4F9289AC0C1D4843D16CEE4A27381B4
destination_rules:
  - s3_bucket: sops-secrets
    path_regex: s3/*
stores:
  json: { indent: 2 }
`,
  'recipients between commas': `keys:
  - age1x
creation_rules:
  - path_regex: secrets/.*
    age: >-
      age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq,
      age1zzz
`,
  'anchors on rules, and merge keys': `keys:
  - &me age1me
x-base: &base
  key_groups:
    - age: [*me]
creation_rules:
  - &first
    path_regex: ^one/
    <<: *base
  - <<: *base
    path_regex: ^two/
  - *first
`,
  'a document start, and comments everywhere': `%YAML 1.2
---
# heading
keys: # who
  # people
  - &me age1me # me
  # end of people

# rules
creation_rules: # what
  # one
  - path_regex: ^one/ # here
    # inside
    age: *me # there
    # below
  # end
# bye
`,
  'flow style': `{"stores": {}, "keys": ["age1me"], "creation_rules": [{"path_regex": "^one/", "age": "age1me"}]}
`,
  'flow lists over lines': `keys: [
  &a age1a, # a
  &b age1b,
]
creation_rules: [
  { path_regex: ^one/, age: [*a] }, # one
  { age: [*a, *b] },
]
`,
};

describe.each(Object.entries(STYLES))('in the style of %s', (_name, source) => {
  const entry = entryOf('mqtt-01', { shared: ['secrets/shared/mqtt'] });
  const variants: [string, string][] = [
    ['as it is', source],
    ['with CRLF', source.replaceAll('\n', '\r\n')],
    ['without a final newline', source.trimEnd()],
    ['with a byte order mark', `\uFEFF${source}`],
  ];

  test.each(variants)('%s: applied, understood, and removed without a trace', (_variant, text) => {
    const applied = apply(text, entry);
    for (const folder of ['^secrets/mqtt-01/', '^secrets/shared/mqtt/']) {
      expect(rulesOf(applied).filter((rule) => rule.path_regex === folder)).toEqual([
        { path_regex: folder, key_groups: [{ age: [OPS, HOST] }] },
      ]);
    }
    expect(apply(applied, entry)).toBe(applied);
    expect(/(^|[^\r])\n/.test(applied) && text.includes('\r')).toBe(false);
    expect(removeHost(applied, 'mqtt-01').text).toBe(text);
  });
});

describe('indentation', () => {
  test.each([
    [
      'unindented lists',
      '- path_regex: ^secrets/mqtt-01/\n  key_groups:\n  - age:\n    - *admin_ops\n    - *host_mqtt-01\n',
    ],
    [
      'four spaces',
      '    - path_regex: ^secrets/mqtt-01/\n      key_groups:\n          - age:\n                - *admin_ops\n',
    ],
    [
      'dashes with three spaces',
      '-   path_regex: ^secrets/mqtt-01/\n    key_groups:\n    -   age:\n        -   *admin_ops\n',
    ],
    [
      'flow lists over lines',
      '{ path_regex: ^secrets/mqtt-01/, key_groups: [{ age: [*admin_ops, *host_mqtt-01] }] }',
    ],
  ])('follows %s', (style, expected) => {
    expect(apply(STYLES[style])).toContain(expected);
  });

  test('a list of keys in a mapping takes the hosts', () => {
    expect(apply(STYLES['a mapping of keys'])).toContain(
      `  hosts:\n    - &grief age1grief\n    - &admin_ops ${OPS}\n    - &host_mqtt-01 ${HOST}\n  other: thing\n`,
    );
  });
});

describe('what a file lacks', () => {
  test('keys come above the rules and their comments', () => {
    const text = '# heading\n\n# rules\ncreation_rules:\n  - pgp: FBC7\n';
    const applied = apply(text);
    expect(applied).toContain(`# heading\n\nkeys:\n  - &admin_ops ${OPS}\n`);
    expect(applied).toContain('\n# rules\ncreation_rules:\n  - path_regex: ^secrets/mqtt-01/\n');
    expect(removeHost(applied, 'mqtt-01').text).toBe(text);
  });

  test.each([
    ['nothing but comments', '# nothing yet\n'],
    ['other sections', 'stores:\n  yaml:\n    indent: 2\n# end\n'],
    ['a document end', '---\n# nothing\n...\n'],
    ['keys alone', 'keys:\n  - &me age1me'],
  ])('%s', (_name, text) => {
    const applied = apply(text);
    expect(rulesOf(applied)).toEqual([
      { path_regex: '^secrets/mqtt-01/', key_groups: [{ age: [OPS, HOST] }] },
    ]);
    expect(removeHost(applied, 'mqtt-01').text).toBe(text);
  });

  test.each([
    'creation_rules: []',
    'creation_rules:',
    'creation_rules: [ ] # none',
    'creation_rules: ~\n',
    'keys: []\ncreation_rules: [] # x\n',
  ])('an empty list: %s', (text) => {
    const applied = apply(text);
    expect(rulesOf(applied)).toHaveLength(1);
    expect(applied).toContain('  - path_regex: ^secrets/mqtt-01/');
    expect(apply(applied)).toBe(applied);
  });

  test('a comment in a section that we empty stays', () => {
    const applied = apply(undefined).replace('keys:\n', 'keys:\n  # machines\n');
    expect(removeHost(applied, 'mqtt-01').text).toBe('keys:\n  # machines\n');
  });

  test('an empty file is as good as none', () => {
    expect(apply('')).toBe(apply(undefined));
  });
});

describe('what people wrote by hand for a host of ours', () => {
  test('an anchor gets the new recipient, in its place and its quotes', () => {
    const text = `keys:\n  - &host_mqtt-01 "age1old" # the broker\n  - &me age1me\ncreation_rules:\n  - age: [*host_mqtt-01, *me]\n`;
    const applied = apply(text);
    expect(applied).toContain(`  - &host_mqtt-01 "${HOST}" # the broker\n  - &me age1me\n`);
    expect(rulesOf(applied).at(-1)).toEqual({ age: [HOST, 'age1me'] });
  });

  test('a rule keeps its other keys, groups and recipients', () => {
    const text = `keys:
  - &yubi age1yubi
creation_rules:
  - path_regex: "^secrets/mqtt-01/" # the broker
    shamir_threshold: 1
    key_groups:
      - pgp:
          - FBC7
      - hc_vault: [ "http://v/v1/sops/keys/k" ]
        age:
          - *yubi
          - age1zzz # spare
`;
    const result = applyHost(text, MQTT);
    expect(rulesOf(result.text)).toEqual([
      {
        path_regex: '^secrets/mqtt-01/',
        shamir_threshold: 1,
        key_groups: [
          { pgp: ['FBC7'] },
          { hc_vault: ['http://v/v1/sops/keys/k'], age: ['age1yubi', 'age1zzz', OPS, HOST] },
        ],
      },
    ]);
    expect(result.warnings).toHaveLength(1);
    expect(result.warnings[0]?.message).toContain('2 key groups, so mqtt-01 alone');
    const removed = removeHost(result.text, 'mqtt-01');
    expect(removed.text).toContain('age1zzz # spare\n          - *admin_ops\n');
    expect(removed.text).not.toContain('host_mqtt-01');
  });

  test.each([
    [
      'a group of another kind',
      'key_groups:\n      - pgp: [FBC7]\n',
      { key_groups: [{ pgp: ['FBC7'], age: [OPS, HOST] }] },
    ],
    [
      'a group in braces',
      'key_groups: [{ pgp: [FBC7] }]\n',
      { key_groups: [{ pgp: ['FBC7'], age: [OPS, HOST] }] },
    ],
    ['a list of its own', 'age:\n      - age1me\n', { age: ['age1me', OPS, HOST] }],
    ['an empty list', 'age: []\n', { age: [OPS, HOST] }],
    ['another key of its own', "pgp: 'FBC7,0123'\n", { pgp: 'FBC7,0123', age: [OPS, HOST] }],
    ['nothing', '# nothing\n', { age: [OPS, HOST] }],
  ])('a rule with %s gets our recipients', (_name, body, expected) => {
    const text = `creation_rules:\n  - path_regex: ^secrets/mqtt-01/\n    ${body}  - pgp: '1'\n`;
    const applied = apply(text);
    expect(rulesOf(applied)).toEqual([{ path_regex: '^secrets/mqtt-01/', ...expected }, { pgp: '1' }]);
    expect(apply(applied)).toBe(applied);
  });

  test('comments inside and after our rule survive its members coming and going', () => {
    const text = apply(undefined).replace('- *admin_ops\n', '- *admin_ops # us\n          # and\n');
    const other = apply(text, { ...MQTT, admins: { bea: recipientOf('bea') } });
    expect(other).toContain('          - *admin_bea\n          # and\n          - *host_mqtt-01\n');
    expect(other).not.toContain('admin_ops');
  });
});

describe('admins', () => {
  const two = { ops: OPS, bea: recipientOf('bea') };

  test('a new admin joins, and one who left goes with a word', () => {
    const both = apply(undefined, { ...MQTT, admins: two });
    const result = applyHost(both, MQTT);
    expect(result.text).toBe(apply(undefined));
    expect(result.warnings.map(({ message }) => message)).toEqual([
      '*admin_bea left the rule for secrets/mqtt-01, being none of the admins any more; run "hostkey secrets sync" on its files',
    ]);
    expect(apply(result.text, { ...MQTT, admins: two })).toBe(both);
  });

  test("an admin's anchor stays as long as anything uses it", () => {
    const both = apply(apply(undefined, { ...MQTT, admins: two }), entryOf('db-1', { admins: two }));
    expect(apply(both)).toContain('&admin_bea');
    expect(apply(apply(both), entryOf('db-1'))).not.toContain('admin_bea');
    const mine = `${both}  - age: [*admin_bea]\n`;
    expect(apply(apply(mine), entryOf('db-1'))).toContain('&admin_bea');
  });

  test('an anchor of people that nothing ever used stays', () => {
    const text = apply(undefined).replace('keys:\n', `keys:\n  - &admin_zoe ${recipientOf('zoe')} # later\n`);
    expect(apply(text, entryOf('db-1'))).toContain('&admin_zoe');
    expect(removeHost(text, 'mqtt-01').text).toBe(`keys:\n  - &admin_zoe ${recipientOf('zoe')} # later\n`);
  });

  test('an SSH key is a recipient too, and loses its comment', () => {
    const key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5QOPWVCR8AUQYI9ds3CoaXh9wTpnPuz7hSeJm6kfhF';
    const text = apply(undefined, { ...MQTT, admins: { ops: `${key} ops, at home` } });
    expect(text).toContain(`  - &admin_ops ${key}\n`);
    expect(apply(text, { ...MQTT, admins: { ops: key } })).toBe(text);
  });

  test('there may be none', () => {
    expect(rulesOf(apply(undefined, { ...MQTT, admins: {} }))[0]).toEqual({
      path_regex: '^secrets/mqtt-01/',
      key_groups: [{ age: [HOST] }],
    });
  });
});

describe('the first rule that matches wins', () => {
  const rules = (...regexes: (string | undefined)[]) =>
    `creation_rules:\n${regexes.map((regex) => `  - ${regex ? `path_regex: '${regex}'\n    ` : ''}pgp: FBC7\n`).join('')}`;
  const order = (text: string) => rulesOf(text).map((rule) => rule.path_regex ?? '(all)');

  test.each([
    ['no expression', undefined],
    ['everything', '.*'],
    ['a type of file', '\\.ya?ml$'],
    ['all secrets', 'secrets/.*'],
    ['all secrets of one level', '^secrets/[^/]+/[^/]+$'],
    ['case-insensitive', '(?i)^SECRETS/'],
  ])('ours go before a catch-all: %s', (_name, regex) => {
    const result = applyHost(rules('^other/', regex, '^late/'), MQTT);
    expect(order(result.text)).toEqual(['^other/', '^secrets/mqtt-01/', regex ?? '(all)', '^late/']);
    expect(result.warnings).toEqual([]);
  });

  test('and before the comment above it', () => {
    const text = rules('^other/', undefined).replace(
      '  - pgp: FBC7\n',
      '\n  # the rest\n  # of it\n  - pgp: FBC7\n',
    );
    expect(apply(text)).toMatch(/host_mqtt-01\n {2}# the rest\n {2}# of it\n {2}- pgp/);
  });

  test('a more specific rule keeps its precedence, and a warning says so', () => {
    const result = applyHost(rules('secrets/mqtt-\\d+/', '^other/', '.*'), MQTT);
    expect(order(result.text)).toEqual(['secrets/mqtt-\\d+/', '^other/', '^secrets/mqtt-01/', '.*']);
    expect(result.warnings).toEqual([
      {
        line: 5,
        pathRegex: 'secrets/mqtt-\\d+/',
        message:
          'the rule "secrets/mqtt-\\d+/" comes first and also matches secrets/mqtt-01/secrets.yaml, so sops uses it and not the rule on line 9; move it below line 9, or put *admin_ops, *host_mqtt-01 into it',
      },
    ]);
  });

  test('no warning where the earlier rule gives the same recipients', () => {
    const text = apply(rules('^other/')).replace(
      'creation_rules:\n',
      'creation_rules:\n  - path_regex: mqtt-01/[^/]+\\.yaml$\n    age: [*admin_ops, *host_mqtt-01]\n',
    );
    expect(applyHost(text, MQTT)).toMatchObject({ changed: false, warnings: [] });
  });

  test('an expression that JavaScript has no counterpart for is reported, not guessed', () => {
    const { warnings } = applyHost(rules('secrets/(?U:.+)x'), MQTT);
    expect(warnings.map(({ message }) => message)).toEqual([expect.stringContaining('could not be checked')]);
  });

  test('people may move our rule below a catch-all; they are told every time', () => {
    const text = apply(undefined).replace('creation_rules:\n', 'creation_rules:\n  - pgp: FBC7\n');
    expect(applyHost(text, MQTT)).toMatchObject({
      changed: false,
      warnings: [{ line: 5, message: expect.stringContaining('a rule without path_regex comes first') }],
    });
  });

  test('a folder within another comes before it', () => {
    const outer = apply(undefined, entryOf('a', { shared: ['secrets/shared'] }));
    const both = apply(outer, entryOf('b', { shared: ['secrets/shared/db'] }));
    expect(order(both)).toEqual(['^secrets/a/', '^secrets/b/', '^secrets/shared/db/', '^secrets/shared/']);
  });
});

describe('removing', () => {
  test("takes the host out of shared rules and leaves the others' entries", () => {
    const shared = ['secrets/shared/mqtt'];
    const one = apply(undefined, entryOf('a', { shared }));
    expect(removeHost(apply(one, entryOf('b', { shared })), 'b').text).toBe(one);
  });

  test('an anchor that a rule of people still uses stays, with a warning', () => {
    const text = `${apply(undefined)}  - path_regex: common\\.yaml$\n    age: [*host_mqtt-01]\n`;
    const result = removeHost(text, 'mqtt-01');
    expect(result.text).toBe(
      `keys:\n  - &host_mqtt-01 ${HOST}\ncreation_rules:\n  - path_regex: common\\.yaml$\n    age: [*host_mqtt-01]\n`,
    );
    expect(result.warnings).toEqual([{ line: 2, message: expect.stringContaining('&host_mqtt-01 stays') }]);
  });

  test('a name that begins like another is another host', () => {
    const text = apply(apply(undefined), entryOf('mqtt-011'));
    expect(removeHost(text, 'mqtt-011').text).toBe(apply(undefined));
  });
});

describe('refusals name the place and what to do', () => {
  const two = apply(undefined);
  const cases: [string, string, string][] = [
    ['no YAML', 'creation_rules:\n  - a: [1,\n', '.sops.yaml:3:1: this is not YAML: flow sequence'],
    ['tabs', 'creation_rules:\n\t- pgp: x\n', '.sops.yaml:2:1: this is not YAML: tabs are not allowed'],
    ['a key twice', 'keys: []\nkeys: []\n', '.sops.yaml:2:1: this is not YAML: map keys must be unique'],
    [
      'two documents',
      'keys: []\n---\ncreation_rules: []\n',
      '.sops.yaml:3:1: a second YAML document begins here',
    ],
    ['a list', '- a\n', '.sops.yaml:1:1: the top of the file is no mapping'],
    ['rules in a mapping', 'creation_rules:\n  a: b\n', '.sops.yaml:2:3: "creation_rules" is no list'],
    ['rules in a text', 'creation_rules: none\n', '.sops.yaml:1:17: "creation_rules" is no list'],
    [
      'rules in an alias',
      'x: &x []\ncreation_rules: *x\n',
      '.sops.yaml:2:17: "creation_rules" is the alias *x',
    ],
    ['keys below rules', 'creation_rules: []\nkeys: []\n', '.sops.yaml:2:1: "keys" stands below'],
    [
      'an alias without anchor',
      'creation_rules:\n  - age: [*me]\n',
      '.sops.yaml:2:11: the alias *me has no anchor',
    ],
    [
      'an anchor twice',
      `keys:\n  - &host_mqtt-01 age1a\n  - &host_mqtt-01 age1b\n`,
      '.sops.yaml:3:19: the anchor &host_mqtt-01 is defined twice, first on line 2',
    ],
    [
      'an anchor elsewhere',
      'x: &host_mqtt-01 age1a\n',
      '.sops.yaml:1:18: the anchor &host_mqtt-01 is defined outside',
    ],
    [
      'another kind of key',
      'keys:\n  - &admin_ops 85D77543B3D6\n',
      '.sops.yaml:2:16: the anchor &admin_ops is "85D77543B3D6"',
    ],
    [
      'an anchor of a list',
      'keys:\n  - &host_mqtt-01 [age1a]\n',
      '.sops.yaml:2:19: the anchor &host_mqtt-01 is no text',
    ],
    [
      'our rule twice',
      `${two}  - path_regex: ^secrets/mqtt-01/\n`,
      '.sops.yaml:10:3: a second rule for ^secrets/mqtt-01/',
    ],
    [
      'recipients between commas in our rule',
      'creation_rules:\n  - path_regex: ^secrets/mqtt-01/\n    age: age1a,age1b\n',
      '.sops.yaml:3:5: "age" of the rule for ^secrets/mqtt-01/ is one text with recipients between commas',
    ],
    [
      'merged recipients in our rule',
      'x: &x { age: [age1a] }\ncreation_rules:\n  - path_regex: ^secrets/mqtt-01/\n    <<: *x\n',
      '.sops.yaml:4:5: the rule for ^secrets/mqtt-01/ takes its recipients from "<<"',
    ],
    [
      'an alias for our rule',
      'x: &x { path_regex: ^secrets/mqtt-01/ }\ncreation_rules:\n  - *x\n',
      '.sops.yaml:3:3: the rule for ^secrets/mqtt-01/ is an alias',
    ],
    [
      'braces without keys',
      '{"creation_rules": []}\n',
      '.sops.yaml:1:1: the file is written in braces and has no "keys"',
    ],
    ['two items on a line', 'keys:\n  - - &a b\ncreation_rules: []\n', ''],
  ];

  test.each(cases)('%s', (_name, text, message) => {
    if (message === '') {
      expect(rulesOf(apply(text))).toHaveLength(1);
      return;
    }
    expect(() => apply(text)).toThrow(SopsRulesError);
    try {
      apply(text);
    } catch (error) {
      expect((error as Error).message.slice(0, message.length)).toBe(message);
      expect((error as Error).message).toMatch(/; .+\. Nothing was changed$/);
    }
  });

  test.each([
    ['host', { host: 'mqtt_01' }, 'host: "mqtt_01" is no host name'],
    [
      'recipient',
      { recipient: HOST.replace(/.$/, HOST.endsWith('q') ? 'p' : 'q') },
      'recipient: the checksum of',
    ],
    ['recipient', { recipient: '${local.age}' }, 'recipient: "${local.age}" is no age recipient'],
    ['admins', { admins: { 'o.p': OPS } }, 'admins: "o.p" can\'t be the name of a YAML anchor'],
    ['path', { path: '../x' }, 'path: "../x" is no folder below the root'],
    ['path', { path: '/x' }, 'path: "/x" is no folder'],
    ['shared', { shared: ['a', 'b\\c'] }, 'shared[1]: "b\\\\c" is no folder'],
  ])('an entry with a wrong %s', (_field, rest, message) => {
    expect(() => apply(undefined, { ...MQTT, ...rest })).toThrow(HostEntryError);
    expect(() => apply(undefined, { ...MQTT, ...rest })).toThrow(message);
  });
});

describe("the host's own file", () => {
  test('has one rule for everything beside it, and takes a Terraform expression', () => {
    const text = hostRulesFile({ ...MQTT, recipient: '${local.age}' });
    expect(text).toBe(`keys:
  - &admin_ops ${OPS}
  - &host_mqtt-01 \${local.age}
creation_rules:
  - key_groups:
      - age:
          - *admin_ops
          - *host_mqtt-01
`);
    expect(rulesOf(text.replace('${local.age}', HOST))).toEqual([{ key_groups: [{ age: [OPS, HOST] }] }]);
  });
});

test('a folder with characters that mean something in expressions or in YAML', () => {
  for (const path of [
    'secrets/a.b',
    'secrets/x (old)',
    'secrets/[1]',
    "it's/#1: {x}",
    'ü/é',
    '- a',
    'a\\b'.replace('\\', '+'),
  ]) {
    const text = apply(undefined, { ...MQTT, path });
    const regex = rulesOf(text)[0]?.path_regex ?? '';
    expect(new RegExp(regex).test(`${path}/x.yaml`)).toBe(true);
    expect(new RegExp(regex).test(`${path.replace(/[.(+]/, 'Z')}/x.yaml`)).toBe(!/[.(+]/.test(path));
    expect(removeHost(text, 'mqtt-01').text).toBeUndefined();
  }
});

describe('leaving a folder of shared secrets', () => {
  const RECIPIENT = 'age1nfy545uvhn302pthnk0vdy8kr8gh2rgggf2u0qkeyszdjlmxj5hqv67rcr';
  const host = (name: string, shared: string[]) => ({
    host: name,
    recipient: RECIPIENT,
    admins: { ops: RECIPIENT },
    path: `secrets/${name}`,
    shared,
  });
  const applied = (...entries: ReturnType<typeof host>[]) =>
    entries.reduce<string | undefined>((text, entry) => applyHost(text, entry).text, undefined) as string;

  test('is the same as never having joined it', () => {
    const both = applied(host('a', ['shared/x', 'shared/y']), host('b', ['shared/x']));
    expect(leaveFolder(both, 'a', 'shared/x').text).toBe(
      applied(host('a', ['shared/y']), host('b', ['shared/x'])),
    );
    expect(leaveFolder(both, 'b', 'shared/y')).toMatchObject({ changed: false, text: both });
  });

  test('in any order with what destroys the host', () => {
    const people = 'keys:\n  - &me age1me\ncreation_rules:\n  - age: [*me]\n';
    const joined = applyHost(people, host('a', ['shared/x', 'shared/y'])).text;
    const whole = (text: string) => removeHost(text, 'a').text ?? '';
    const x = (text: string) => leaveFolder(text, 'a', 'shared/x').text;
    const y = (text: string) => leaveFolder(text, 'a', 'shared/y').text;
    for (const steps of [
      [x, y, whole],
      [x, whole, y],
      [whole, x, y],
      [x, x, whole, whole],
    ]) {
      expect(steps.reduce((text, step) => step(text), joined)).toBe(people);
    }
  });

  test('before or after it joins another', () => {
    const old = applied(host('a', ['shared/x']), host('b', ['shared/x']));
    const entry = host('a', ['shared/y']);
    const left = applyHost(leaveFolder(old, 'a', 'shared/x').text, entry).text;
    expect(left).toBe(leaveFolder(applyHost(old, entry).text, 'a', 'shared/x').text);
    expect(left).toBe(applied(entry, host('b', ['shared/x'])));
  });

  test('that is written in another way than the rules are is refused', () => {
    const joined = applied(host('a', ['shared/x']));
    expect(() => leaveFolder(joined, 'a', 'shared/x/')).toThrow(
      'folder: "shared/x/" is no folder below the root',
    );
  });

  test('takes the rule along with its last host, and the host stays', () => {
    const joined = applied(host('a', ['shared/x']));
    expect(leaveFolder(joined, 'a', 'shared/x').text).toBe(applied(host('a', [])));
  });
});

describe('many hosts in one edit', () => {
  const shared = ['secrets/shared/mqtt'];
  const entries = ['b', 'a', 'c'].map((name) => entryOf(name, { shared }));
  const one = (text: string | undefined) =>
    entries.reduce<string | undefined>((current, entry) => apply(current, entry), text);

  test('are as one after another', () => {
    const result = applyHosts(undefined, entries);
    expect(result).toMatchObject({ text: one(undefined), changed: true, outcome: 'added', warnings: [] });
    expect(result.hosts).toEqual(
      entries.map(({ host, recipient }) => ({ host, recipient, outcome: 'added' })),
    );
    expect(applyHosts(result.text, entries)).toMatchObject({ text: result.text, changed: false });
  });

  test('of which one lost its entry', () => {
    const all = one('# ours\n') ?? '';
    const result = applyHosts(removeHost(all, 'a').text, entries);
    expect(result.text).toBe(all);
    expect(result.hosts.map(({ outcome }) => outcome)).toEqual(['unchanged', 'added', 'unchanged']);
  });

  test('warn with the lines of the final text', () => {
    const result = applyHosts('creation_rules:\n  - path_regex: secrets/[ab]/\n    pgp: FBC7\n', entries);
    const line = result.text?.split('\n').findIndex((text) => text.includes('secrets/[ab]/')) ?? 0;
    expect(result.warnings.map((warning) => warning.line)).toEqual([line + 1, line + 1]);
  });

  test('of whom there are none leave everything as it is', () => {
    expect(applyHosts(undefined, [])).toMatchObject({ text: undefined, changed: false });
    expect(applyHosts('# x', [])).toMatchObject({ text: '# x', changed: false });
  });
});

describe("the recipient in the host's own file", () => {
  const own = hostRulesFile(MQTT);

  test('is what was written there', () => {
    expect(recipientIn(own, 'mqtt-01', 'x')).toBe(HOST);
  });

  test.each([
    ['nothing', '', 'f:1:1: no recipient &host_mqtt-01 stands here'],
    ['another host', hostRulesFile({ ...MQTT, host: 'a' }), 'f:1:1: no recipient &host_mqtt-01 stands here'],
    ['another word', own.replace(HOST, 'age1x'), 'f:3:19: '],
  ])('is missing where %s stands', (_name, text, message) => {
    expect(() => recipientIn(text, 'mqtt-01', 'f')).toThrow(SopsRulesError);
    expect(() => recipientIn(text, 'mqtt-01', 'f')).toThrow(message);
    expect(() => recipientIn(text, 'mqtt-01', 'f')).toThrow('bring it back: npx cdktf deploy mqtt-01');
  });
});
