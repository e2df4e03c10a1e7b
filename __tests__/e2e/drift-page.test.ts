import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { DriftReport, Finding } from '../../drift/report';
import { htmlReport } from '../../drift/reports/html';

jest.setTimeout(120_000);

const HOSTILE = `</code><script>document.title='pwned'</script><img src=x onerror="document.title='pwned'">`;

const finding = (host: string, more: Partial<Finding> = {}): Finding => ({
  host,
  kind: 'vm-changed',
  severity: 'warning',
  check: 'terraform',
  resource: 'proxmox_virtual_environment_vm.proxmox_vm',
  attribute: 'memory[0].dedicated',
  expected: '2048',
  actual: '4096',
  message: 'memory[0].dedicated of VM 283 was changed outside Terraform',
  remedy: `npx cdktf deploy ${host}`,
  ...more,
});

const report: DriftReport = {
  version: 1,
  tool: 'hostkey 0.0.0',
  fleet: 'fleet.yaml',
  startedAt: '2026-11-24T03:17:00.000Z',
  seconds: 2.5,
  skipped: ['live'],
  status: 'unknown',
  hosts: [
    {
      host: 'mqtt-01',
      vmId: 283,
      node: 'pve1',
      status: 'drift',
      findings: [finding('mqtt-01', { actual: HOSTILE })],
    },
    {
      host: 'web-01',
      vmId: 284,
      node: 'pve1',
      status: 'unknown',
      findings: [finding('web-01', { kind: 'unchecked', severity: 'unknown' })],
    },
    { host: 'db-01', vmId: 285, node: 'pve2', status: 'clean', findings: [] },
  ],
  findings: [],
};

const hasBrowser = spawnSync('chromium', ['--version']).status === 0;
// Set-up installs it where it may: npm run setup -- --review.
const inBrowser = hasBrowser ? test : test.skip;

/** The page's document as the browser has it after a script of ours ran in it, and what it complained about. */
function open(script: string): { dom: string; complaints: string } {
  const folder = mkdtempSync(path.join(tmpdir(), 'drift-page-'));
  try {
    const file = path.join(folder, 'drift.html');
    // The page's policy forbids scripts but its own; ours goes in with the policy taken out.
    const page = htmlReport(report);
    const html =
      script === ''
        ? page
        : page.replace(/<meta http-equiv[^>]*>/, '').replace('</body>', `<script>${script}</script></body>`);
    writeFileSync(file, html);
    const options = [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--enable-logging=stderr',
      '--v=0',
      `--user-data-dir=${folder}/profile`,
      '--virtual-time-budget=2000',
      '--dump-dom',
    ];
    const { stdout, stderr, status } = spawnSync('chromium', [...options, pathToFileURL(file).href], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    if (status !== 0) throw new Error(stderr);
    return { dom: stdout, complaints: (stderr.match(/^.*CONSOLE.*$/gm) ?? []).join('\n') };
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

inBrowser(
  'the page runs its own script under its own policy, and nothing of what somebody wrote into a VM',
  () => {
    const { dom, complaints } = open('');
    expect(complaints).toBe('');
    expect(dom).toContain('<title>fleet.yaml: could not tell</title>');
    expect(dom).toContain('3 of 3 hosts');
    expect(dom).not.toMatch(/<img|pwned'<\/script>/);
  },
);

inBrowser('hosts are found by word and by status', () => {
  const { dom } = open(`
    var form = document.getElementById('filter');
    function shown() { return Array.from(document.querySelectorAll('.host:not([hidden]) b'), function (b) { return b.parentNode.tagName === 'SUMMARY' ? b.textContent : ''; }).filter(Boolean).join(' '); }
    var seen = [shown()];
    document.getElementById('words').value = 'PVE2';
    form.dispatchEvent(new Event('input'));
    seen.push(shown());
    document.getElementById('words').value = '';
    form.querySelector('[value=clean]').checked = false;
    form.dispatchEvent(new Event('input'));
    seen.push(shown());
    document.body.dataset.seen = seen.join('|');
  `);
  expect(dom).toContain('data-seen="mqtt-01 web-01 db-01|db-01|mqtt-01 web-01"');
  expect(dom).toContain('2 of 3 hosts');
});

test('no tag of the page loads anything', () => {
  const tags = htmlReport(report).match(/<[^>]*>/g) ?? [];
  expect(tags.filter((tag) => /\s(src|href|action)=/.test(tag.replaceAll(/"[^"]*"/g, '')))).toEqual([]);
});

test('the page of a thousand hosts stays small', () => {
  const hosts = Array.from(
    { length: 1000 },
    (_, i) =>
      ({ ...report.hosts[0], host: `h-${i}`, findings: [finding(`h-${i}`)] }) as DriftReport['hosts'][number],
  );
  expect(htmlReport({ ...report, hosts }).length).toBeLessThan(3_000_000);
});
