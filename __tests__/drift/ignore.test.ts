import { accept } from '../../drift/ignore';
import { type Finding, statusOf } from '../../drift/report';
import { fleetWith } from './hosts';

const TODAY = '2027-01-15';
const VM = 'proxmox_virtual_environment_vm.proxmox_vm';

const changed = (attribute: string, host = 'a'): Finding => ({
  host,
  kind: 'vm-changed',
  severity: 'warning',
  check: 'terraform',
  resource: VM,
  attribute,
  message: 'changed',
  remedy: '',
});
const blind: Finding = { ...changed(''), attribute: undefined, kind: 'unchecked', severity: 'unknown' };

const rule = (more: object) => ({
  host: 'a',
  resource: VM,
  reason: 'an import',
  expires: '2027-01-15',
  ...more,
});
const judge = (findings: Finding[], ...rules: object[]) =>
  accept(
    findings,
    fleetWith({ a: { vmId: 101 }, b: { vmId: 102 } }, { drift: { ignore: rules } }),
    TODAY,
    new Set(['a']),
  );

test.each([
  ['the attribute', { attribute: 'memory[0].dedicated' }, true],
  ['its beginning', { attribute: 'memory' }, true],
  ['the resource', {}, true],
  ['every host', { host: '*' }, true],
  ['half a word', { attribute: 'mem' }, false],
  ['another attribute', { attribute: 'cpu' }, false],
  ['another host', { host: 'b' }, false],
  ['another resource', { resource: 'fleet.yaml' }, false],
  ['a day that has passed', { expires: '2027-01-14' }, false],
])('a rule for %s', (_what, more, accepted) => {
  const { findings } = judge([changed('memory[0].dedicated')], rule(more));
  expect(findings[0]?.accepted !== undefined).toBe(accepted);
  expect(statusOf(findings)).toBe(accepted ? 'clean' : 'drift');
});

test('what could not be told is never accepted', () => {
  expect(judge([blind], rule({})).findings).toEqual([blind]);
});

test('a rule that matches nothing is reported, and raises no alarm', () => {
  const { rules } = judge([], rule({}));
  expect(rules).toEqual([
    expect.objectContaining({ kind: 'ignore-unused', resource: 'fleet.yaml', line: expect.any(Number) }),
  ]);
  expect(statusOf(rules)).toBe('clean');
});

test('a rule whose day has passed is reported while its drift is there', () => {
  expect(judge([changed('cpu')], rule({ expires: '2026-12-31' })).rules).toEqual([
    expect.objectContaining({ kind: 'ignore-expired', severity: 'warning' }),
  ]);
});

test.each([
  ['of a host that was not looked at', [], { host: 'b' }],
  ['where something could not be looked at', [blind], { attribute: 'cpu' }],
])('a rule %s is not judged', (_case, findings, more) => {
  expect(judge(findings, rule(more)).rules).toEqual([]);
});
