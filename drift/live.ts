import type { Host } from '../fleet/fleet';
import { remedyOf, shownKey, type Verdict } from '../live/compare';
import type { Finding } from './report';

/** What a host's sshd serves against the state's key, as findings. */
export function liveFindings(host: Host, verdict: Verdict): Finding[] {
  const { address, port } = host.ssh;
  const resource = `${address}:${port}`;
  const about = { host: host.name, check: 'live', resource, remedy: remedyOf(host, verdict) } as const;
  switch (verdict.status) {
    case 'same':
    case 'off':
      return [];
    case 'unknown':
      return [
        {
          ...about,
          kind: 'unchecked',
          severity: 'unknown',
          message: verdict.message,
        },
      ];
    case 'different':
      return [
        {
          ...about,
          kind: 'key-differs',
          severity: 'error',
          expected: shownKey(verdict.key),
          actual: verdict.served.map(shownKey).join(', '),
          message: `sshd at ${resource} serves another host key than the state's: another machine answers, or somebody changed the key`,
        },
      ];
    case 'extra':
      return [
        {
          ...about,
          kind: 'key-extra',
          severity: 'warning',
          expected: shownKey(verdict.key),
          actual: verdict.others.map(shownKey).join(', '),
          message: `sshd at ${resource} serves host keys that nobody declared beside the right one`,
        },
      ];
  }
}
