import type { Finding } from '../../drift/report';
import { withoutEchoes } from '../../drift/rules';

const finding = (rest: Partial<Finding>): Finding => ({
  host: 'mqtt-01',
  kind: 'unchecked',
  severity: 'unknown',
  check: 'secrets',
  message: '',
  remedy: '',
  ...rest,
});

test('a state or a rule is told of once, by the check that looked at it', () => {
  const state = finding({ check: 'terraform' });
  const echo = finding({});
  const rule = finding({
    check: 'rules',
    kind: 'root-rules-changed',
    severity: 'error',
    resource: '.sops.yaml',
  });
  const ruleEcho = { ...rule, check: 'secrets' as const };
  expect(withoutEchoes([state, echo, rule, ruleEcho])).toEqual([state, rule]);
});

test('what no other check told, of another host, or of a file stays', () => {
  const all = [
    finding({}),
    finding({ check: 'terraform', host: 'web-01' }),
    finding({ check: 'live' }),
    finding({ kind: 'root-rules-changed', resource: '.sops.yaml' }),
    finding({ check: 'rules', kind: 'not-committed', severity: 'info' }),
    finding({ resource: 'secrets/mqtt-01/x.yaml' }),
    finding({ kind: 'secret-plain', resource: 'secrets/mqtt-01/y.yaml' }),
  ];
  expect(withoutEchoes(all)).toEqual(all);
});
