import type { Command } from 'commander';
import { type Forge, forgeOf } from '../ci/forge';
import { EXIT_CODES } from '../drift/report';
import { markdownReport } from '../drift/reports/markdown';
import { STATUS_WORDS } from '../drift/reports/words';
import { readReports } from './report';

const HELP = `
In GitHub Actions it takes GITHUB_TOKEN (and PULL_REQUEST, its number, for a comment); in GitLab CI GITLAB_TOKEN, a
project access token. Everything else the CI sets itself.

  comment  one comment on the pull or merge request: written the first time, changed from then on
  issue    one issue, found by its label: opened or changed while there is drift or something could not be told,
           and closed when the fleet is clean

Exit codes: 0 published, 1 it could not be.`;

interface Options {
  readonly label: string;
  readonly title?: string;
}

/** Adds `hostkey publish comment` and `hostkey publish issue`. */
export function addPublishCommands(program: Command): void {
  const publish = program
    .command('publish')
    .description('show reports of hostkey drift where people look, from CI')
    .addHelpText('after', HELP);
  publish
    .command('comment')
    .description('on the pull or merge request that this runs for')
    .argument('<files...>', 'JSON reports of hostkey drift')
    .option('--title <text>', 'a heading above the report')
    .addHelpText('after', HELP)
    .action(comment);
  publish
    .command('issue')
    .description('as the one issue with a label')
    .argument('<files...>', 'JSON reports of hostkey drift')
    .option('--label <label>', 'by which the issue is found', 'drift')
    .option('--title <text>', 'the title of the issue')
    .addHelpText('after', HELP)
    .action(issue);
}

const MARK = '<!-- hostkey drift -->';

async function comment(files: readonly string[], { title }: Options): Promise<void> {
  const report = readReports(files);
  const heading = title === undefined ? '' : `# ${title.replaceAll(/[\r\n<>]/g, ' ')}\n\n`;
  const where = await forge().comment(MARK, `${MARK}\n${heading}${markdownReport(report)}`);
  process.stdout.write(`${where}\n`);
}

async function issue(files: readonly string[], { label, title }: Options): Promise<void> {
  const report = readReports(files);
  const what = `${report.fleet}: ${STATUS_WORDS[report.status]}`;
  if (EXIT_CODES[report.status] === 0) {
    const closed = await forge().closeIssue(label, `${what}, ${report.startedAt}.`);
    process.stdout.write(
      closed === undefined ? `${what}; no issue is open\n` : `${what}; closed ${closed}\n`,
    );
    return;
  }
  const where = await forge().openIssue(label, title ?? `Drift: ${what}`, markdownReport(report));
  process.stdout.write(`${where}\n`);
}

const forge = (): Forge => forgeOf(process.env);
