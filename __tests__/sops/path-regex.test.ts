import { folderOf, folderRegex, reach } from '../../sops/path-regex';

test.each(['secrets/mqtt-01', 'a.b/c+d', 'x (1)', '[a]{2}|^$', 'ü'])(
  'the expression of %s leads back to it',
  (folder) => {
    const regex = folderRegex(folder);
    expect(folderOf(regex)).toBe(folder);
    expect(new RegExp(regex).test(`${folder}/deep/x.yaml`)).toBe(true);
    expect(new RegExp(regex).test(`${folder}x/x.yaml`)).toBe(false);
    expect(new RegExp(regex).test(`old/${folder}/x.yaml`)).toBe(false);
  },
);

test.each(['secrets/.*', '^secrets/a.b/', '^secrets/a', 'secrets/a/', '^/', '^secrets\\/a/', ''])(
  'an expression that we would not write: %s',
  (regex) => {
    expect(folderOf(regex)).toBeUndefined();
  },
);

describe('how far an expression reaches, seen from secrets/mqtt-01', () => {
  test.each([
    [undefined, 'catch-all'],
    ['', 'catch-all'],
    ['.*', 'catch-all'],
    ['\\.yaml$', 'catch-all'],
    ['^secrets/', 'catch-all'],
    ['^secrets/[a-z]+-[0-9]+/', 'catch-all'],
    ['^secrets/[[:alpha:]]+-\\d\\d/', 'catch-all'],
    ['(?i)^SECRETS/', 'catch-all'],
    ['\\Asecrets/.*\\.yaml\\z', 'catch-all'],
    ['(?P<folder>secrets)/', 'catch-all'],
    ['^secrets/mqtt-01/', 'specific'],
    ['mqtt', 'specific'],
    ['secrets/(mqtt|web)-\\d+/[^/]+\\.(yaml|json)$', 'specific'],
    ['secrets/mqtt\\-01/', 'specific'],
    ['\\.tfvars$', 'none'],
    ['^secrets/[^/]+$', 'none'],
    ['^SECRETS/', 'none'],
    ['^secrets/mqtt-01\\z', 'none'],
    ['(?U)secrets', 'unknown'],
    ['\\Qsecrets\\E', 'unknown'],
    ['(?!secrets)', 'unknown'],
    ['(a)\\1', 'unknown'],
    ['[', 'unknown'],
  ])('%s: %s', (regex, expected) => {
    expect(reach(regex, 'secrets/mqtt-01')).toBe(expected);
  });
});
