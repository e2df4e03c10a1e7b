import { createHash } from 'node:crypto';
import {
  CHECKS,
  type Check,
  type DriftReport,
  type Finding,
  type HostReport,
  type Severity,
  type Status,
} from '../report';
import { allFindings, byUrgency, isOpen, placeOf, STATUS_WORDS, summary } from './words';

/**
 * The report as one page that needs nothing else: no network, no other file. It reads without JavaScript, too; a few
 * lines of it filter the hosts. The page's own policy forbids everything but its style and that very script.
 */
export function htmlReport(report: DriftReport): string {
  const hash = createHash('sha256').update(SCRIPT).digest('base64');
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'`;
  const title = `${report.fleet}: ${STATUS_WORDS[report.status]}`;
  const accepted = allFindings(report).filter((finding) => !isOpen(finding));
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${html(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${html(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<h1>${html(report.fleet)} <span class="${report.status}">${STATUS_WORDS[report.status]}</span></h1>
<p>${html(summary(report))}.</p>
${proportions(report)}
<p class="quiet">${html(report.tool)}, <time datetime="${report.startedAt}">${html(spoken(report.startedAt))}</time>, ${report.seconds} s</p>
</header>
<main>
<form id="filter" hidden>
<label>Find <input type="search" id="words" placeholder="host, VM, kind…"></label>
${(['drift', 'unknown', 'clean'] as const).map((status) => `<label><input type="checkbox" name="status" value="${status}" checked> ${STATUS_WORDS[status]}</label>`).join('\n')}
<output id="count" aria-live="polite"></output>
</form>
${report.findings.some(isOpen) ? `<section><h2>The fleet itself</h2><ul class="findings">${report.findings.filter(isOpen).map(item).join('')}</ul></section>` : ''}
<section aria-label="Hosts">
${byUrgency(report.hosts)
  .map((host) => hostRow(host, report.skipped))
  .join('\n')}
</section>
${accepted.length > 0 ? `<section><h2>Accepted</h2><ul class="findings">${accepted.map(item).join('')}</ul></section>` : ''}
</main>
<script>${SCRIPT}</script>
</body>
</html>
`;
}

function hostRow(
  { host, vmId, node, status, fingerprint, recipient, findings }: HostReport,
  skipped: readonly Check[],
): string {
  const open = findings.filter(isOpen);
  const words = [
    host,
    vmId,
    node,
    fingerprint,
    ...findings.map(({ kind, resource }) => `${kind} ${resource ?? ''}`),
  ];
  const facts = [
    fingerprint === undefined ? '' : `<dt>host key</dt><dd><code>${html(fingerprint)}</code></dd>`,
    recipient === undefined ? '' : `<dt>recipient</dt><dd><code>${html(recipient)}</code></dd>`,
  ].join('');
  return `<details class="host" data-status="${status}" data-words="${html(words.join(' ').toLowerCase())}">
<summary>${checks(findings, skipped)}<b>${html(host)}</b> <span>VM ${vmId} on ${html(node)}</span> <span class="${status}">${STATUS_WORDS[status]}</span>${open.length > 0 ? ` <span class="quiet">${open.length} ${open.length === 1 ? 'finding' : 'findings'}</span>` : ''}</summary>
${facts === '' ? '' : `<dl>${facts}</dl>`}
<ul class="findings">${open.map(item).join('') || '<li>Nothing differs.</li>'}</ul>
</details>`;
}

function item(finding: Finding): string {
  const { host, severity, kind, message, expected, actual, remedy, accepted } = finding;
  const place = placeOf(finding);
  const values =
    expected === undefined && actual === undefined
      ? ''
      : `<table><tr class="expected"><th scope="row">expected</th><td><code>${html(expected ?? '')}</code></td></tr><tr class="actual"><th scope="row">is</th><td><code>${html(actual ?? '')}</code></td></tr></table>`;
  const reason =
    accepted === undefined ? '' : `<p>Accepted until ${html(accepted.expires)}: ${html(accepted.reason)}</p>`;
  const todo = remedy === '' ? '' : `<p>What to do: <code>${html(remedy)}</code></p>`;
  return `<li class="${severity}"><p><b>${SEVERITY_WORDS[severity]}</b> <span class="quiet">${html([host, kind].filter((part) => part !== undefined).join(': '))}</span></p><p>${html(message)}</p>${place === '' ? '' : `<p><code>${html(place)}</code></p>`}${values}${reason || todo}</li>`;
}

const SEVERITY_WORDS: Readonly<Record<Severity, string>> = {
  error: 'Error',
  warning: 'Warning',
  unknown: 'Could not tell',
  info: 'For your information',
};

/** Four squares, a check each, drawn so that they differ without colours, too. */
function checks(findings: readonly Finding[], skipped: readonly Check[]): string {
  const states = CHECKS.map((check): { check: Check; state: Status | 'skipped' } => {
    if (skipped.includes(check)) return { check, state: 'skipped' };
    const open = findings.filter(
      (finding) => finding.check === check && isOpen(finding) && finding.severity !== 'info',
    );
    if (open.some(({ severity }) => severity === 'unknown')) return { check, state: 'unknown' };
    return { check, state: open.length > 0 ? 'drift' : 'clean' };
  });
  const said = states
    .map(({ check, state }) => `${check}: ${state === 'skipped' ? 'not looked at' : STATUS_WORDS[state]}`)
    .join(', ');
  const square = (state: Status | 'skipped', i: number): string => {
    const x = i * 14 + 1;
    const inner: Record<typeof state, string> = {
      clean: `<path d="M${x + 3} 7l2 2 4-5" class="line"/>`,
      drift: `<path d="M${x + 3} 4l6 6m0-6l-6 6" class="line"/>`,
      unknown: `<path d="M${x + 4} 5q2-3 4 0 0 1-2 2v1m0 2v.5" class="line"/>`,
      skipped: `<path d="M${x + 3} 7h6" class="line"/>`,
    };
    return `<rect x="${x}" y="1" width="12" height="12" rx="2" class="${state}"/>${inner[state]}`;
  };
  return `<svg width="58" height="14" viewBox="0 0 58 14" role="img" aria-label="${html(said)}"><title>${html(said)}</title>${states.map(({ state }, i) => square(state, i)).join('')}</svg>`;
}

/** One bar: how much of the fleet is clean, has drift, and could not be told. */
function proportions({ hosts }: DriftReport): string {
  if (hosts.length === 0) return '';
  const count = (status: Status) => hosts.filter((host) => host.status === status).length;
  let x = 0;
  const parts = (['drift', 'unknown', 'clean'] as const).map((status) => {
    const width = (count(status) / hosts.length) * 100;
    const part = width === 0 ? '' : `<rect x="${x}" y="0" width="${width}" height="4" class="${status}"/>`;
    x += width;
    return part;
  });
  return `<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">${parts.join('')}</svg>`;
}

const spoken = (time: string): string => time.replace('T', ' ').replace(/:\d\d(\.\d+)?Z$/, ' UTC');

function html(value: string): string {
  return value.replaceAll(/\p{Cc}/gu, ' ').replaceAll(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

const STYLE = `
:root{--bg:#fff;--fg:#1b1f24;--quiet:#5a636e;--line:#d5dae0;--clean:#1a7f37;--drift:#c2410c;--unknown:#7c3aed;--skipped:#8a929c;--error:#c81e1e;--ok:#e8f5ec;--bad:#fdecea}
@media(prefers-color-scheme:dark){:root{--bg:#0f1419;--fg:#e6e9ed;--quiet:#9aa4af;--line:#2d353e;--clean:#4ac26b;--drift:#fb923c;--unknown:#b794f6;--skipped:#7d8590;--error:#ff7b72;--ok:#12261a;--bad:#2d1618}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:70rem;padding:1rem;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem}
code{font:.875em ui-monospace,monospace;overflow-wrap:anywhere}
.quiet{color:var(--quiet)}p{margin:.25rem 0}
span.clean{color:var(--clean)}span.drift{color:var(--drift);font-weight:600}span.unknown{color:var(--unknown);font-weight:600}
rect.clean{fill:var(--clean)}rect.drift{fill:var(--drift)}rect.unknown{fill:var(--unknown)}rect.skipped{fill:var(--skipped)}
.line{stroke:var(--bg);stroke-width:1.6;fill:none;stroke-linecap:round}
.bar{width:100%;height:.6rem;display:block;margin:.5rem 0}
form{display:flex;flex-wrap:wrap;gap:.25rem 1rem;align-items:center;margin:1rem 0}form[hidden]{display:none}
input[type=search]{font:inherit;color:inherit;background:var(--bg);border:1px solid var(--quiet);border-radius:4px;padding:.25rem .5rem}
.host{border-top:1px solid var(--line)}.host:last-child{border-bottom:1px solid var(--line)}.host[hidden]{display:none}
summary{padding:.5rem 0;cursor:pointer}summary svg{vertical-align:-2px;margin:0 .5rem}
:focus-visible{outline:2px solid var(--unknown);outline-offset:2px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:0 1rem;margin:0 0 .5rem 1.5rem}dt{color:var(--quiet)}dd{margin:0}
ul.findings{list-style:none;margin:0 0 1rem 1.5rem;padding:0}
ul.findings li{border-left:4px solid var(--skipped);padding:.25rem .75rem;margin:.5rem 0}
li.error{border-color:var(--error)!important}li.warning{border-color:var(--drift)!important}li.unknown{border-color:var(--unknown)!important}
table{border-collapse:collapse;margin:.25rem 0}th{font-weight:normal;text-align:left;color:var(--quiet);padding:.1rem 1rem .1rem .4rem}td{padding:.1rem .4rem}
tr.expected{background:var(--ok)}tr.actual{background:var(--bad)}
@media print{form{display:none!important}body{max-width:none}}
`;

const SCRIPT = `
(function () {
  var form = document.getElementById('filter'), words = document.getElementById('words');
  var count = document.getElementById('count'), hosts = Array.from(document.querySelectorAll('.host'));
  function apply() {
    var wanted = Array.from(form.querySelectorAll('input[name=status]:checked'), function (box) { return box.value; });
    var sought = words.value.toLowerCase().split(/\\s+/).filter(Boolean), shown = 0;
    hosts.forEach(function (host) {
      var fits = wanted.includes(host.dataset.status) && sought.every(function (word) { return host.dataset.words.includes(word); });
      host.hidden = !fits;
      if (fits) shown++;
    });
    count.textContent = shown + ' of ' + hosts.length + ' hosts';
  }
  form.hidden = false;
  form.addEventListener('input', apply);
  form.addEventListener('submit', function (event) { event.preventDefault(); });
  window.addEventListener('beforeprint', function () { hosts.forEach(function (host) { if (!host.hidden && host.dataset.status !== 'clean') host.open = true; }); });
  apply();
})();
`;
