import { Agent, RetryAgent, request } from 'undici';
import { z } from 'zod';

/**
 * Where people read what CI found: a pull request's comments, and issues. Only what these recipes need of GitHub's REST
 * API (docs.github.com/rest) and GitLab's (docs.gitlab.com/api/rest).
 */
export interface Forge {
  /** Writes the one comment of a pull request that carries this mark, or changes it. */
  comment(mark: string, body: string): Promise<string>;
  /** Opens the one issue with this label, or changes it; answers its address. */
  openIssue(label: string, title: string, body: string): Promise<string>;
  /** Closes the issue with this label; undefined where none is open. */
  closeIssue(label: string, reason: string): Promise<string | undefined>;
}

/** It can't be told where to write, or the forge refused; never with a token in the message. */
class ForgeError extends Error {
  override readonly name = 'ForgeError';
}

/** The forge whose CI this runs in, by the variables that it sets. */
export function forgeOf(env: NodeJS.ProcessEnv): Forge {
  if (env.GITHUB_ACTIONS === 'true') return new GitHub(env);
  if (env.GITLAB_CI === 'true') return new GitLab(env);
  throw new ForgeError(
    'neither GITHUB_ACTIONS nor GITLAB_CI is set: this runs in the CI of GitHub or GitLab only',
  );
}

function needed(env: NodeJS.ProcessEnv, name: string, hint: string): string {
  const value = env[name];
  if (!value) throw new ForgeError(`${name} is not set; ${hint}`);
  return value;
}

/** A REST API. What fails for a moment (5xx, 429, a lost connection) is tried again, with growing pauses. */
class Rest {
  private readonly dispatcher = new RetryAgent(new Agent(), {
    maxRetries: 4,
    minTimeout: 300,
    methods: ['GET', 'PUT', 'PATCH', 'POST'],
    statusCodes: [429, 500, 502, 503, 504],
  });

  constructor(
    private readonly base: string,
    private readonly headers: Readonly<Record<string, string>>,
  ) {}

  async send<Schema extends z.ZodType>(
    method: 'GET' | 'POST' | 'PUT' | 'PATCH',
    path: string,
    answer: Schema,
    body?: object,
  ): Promise<z.infer<Schema>> {
    const url = `${this.base.replace(/\/$/, '')}${path}`;
    let status: number;
    let text: string;
    try {
      const response = await request(url, {
        method,
        dispatcher: this.dispatcher,
        headers: {
          ...this.headers,
          'user-agent': 'hostkey',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      status = response.statusCode;
      text = await response.body.text();
    } catch (error) {
      throw new ForgeError(`${method} ${url}: ${(error as Error).message}`);
    }
    if (status >= 400) throw new ForgeError(`${method} ${url}: HTTP ${status} ${text.slice(0, 200)}`);
    const read = answer.safeParse(text === '' ? null : JSON.parse(text));
    if (!read.success) throw new ForgeError(`${method} ${url} answers something unexpected`);
    return read.data;
  }

  /** All pages of a list. */
  async all<Item extends z.ZodType>(path: string, item: Item): Promise<z.infer<Item>[]> {
    const items: z.infer<Item>[] = [];
    for (let page = 1; ; page++) {
      const more = await this.send(
        'GET',
        `${path}${path.includes('?') ? '&' : '?'}per_page=${PAGE}&page=${page}`,
        z.array(item),
      );
      items.push(...more);
      if (more.length < PAGE) return items;
    }
  }
}

const PAGE = 100;

const githubIssue = z.looseObject({
  number: z.number(),
  html_url: z.string(),
  pull_request: z.unknown().optional(),
});
const githubComment = z.looseObject({ id: z.number(), html_url: z.string(), body: z.string().nullish() });

class GitHub implements Forge {
  private readonly rest: Rest;
  private readonly repository: string;

  constructor(private readonly env: NodeJS.ProcessEnv) {
    const token = needed(env, 'GITHUB_TOKEN', 'give the step env: GITHUB_TOKEN: ${{ github.token }}');
    this.repository = `/repos/${needed(env, 'GITHUB_REPOSITORY', 'GitHub Actions sets it')}`;
    this.rest = new Rest(env.GITHUB_API_URL ?? 'https://api.github.com', {
      accept: 'application/vnd.github+json',
      authorization: `Bearer ${token}`,
      'x-github-api-version': '2022-11-28',
    });
  }

  async comment(mark: string, body: string): Promise<string> {
    const number = needed(
      this.env,
      'PULL_REQUEST',
      'give the step env: PULL_REQUEST: ${{ github.event.number }}',
    );
    const comments = await this.rest.all(`${this.repository}/issues/${number}/comments`, githubComment);
    const mine = comments.find((each) => each.body?.includes(mark));
    const { html_url } =
      mine === undefined
        ? await this.rest.send('POST', `${this.repository}/issues/${number}/comments`, githubComment, {
            body,
          })
        : await this.rest.send('PATCH', `${this.repository}/issues/comments/${mine.id}`, githubComment, {
            body,
          });
    return html_url;
  }

  async openIssue(label: string, title: string, body: string): Promise<string> {
    const open = await this.find(label);
    const { html_url } =
      open === undefined
        ? await this.rest.send('POST', `${this.repository}/issues`, githubIssue, {
            title,
            body,
            labels: [label],
          })
        : await this.rest.send('PATCH', `${this.repository}/issues/${open.number}`, githubIssue, {
            title,
            body,
          });
    return html_url;
  }

  async closeIssue(label: string, reason: string): Promise<string | undefined> {
    const open = await this.find(label);
    if (open === undefined) return undefined;
    await this.rest.send('POST', `${this.repository}/issues/${open.number}/comments`, githubComment, {
      body: reason,
    });
    await this.rest.send('PATCH', `${this.repository}/issues/${open.number}`, githubIssue, {
      state: 'closed',
    });
    return open.html_url;
  }

  private async find(label: string) {
    const issues = await this.rest.all(
      `${this.repository}/issues?state=open&labels=${encodeURIComponent(label)}`,
      githubIssue,
    );
    // The same list has pull requests, too.
    return issues.find(({ pull_request }) => pull_request === undefined);
  }
}

const gitlabIssue = z.looseObject({ iid: z.number(), web_url: z.string() });
const gitlabNote = z.looseObject({ id: z.number(), body: z.string() });

class GitLab implements Forge {
  private readonly rest: Rest;
  private readonly project: string;

  constructor(private readonly env: NodeJS.ProcessEnv) {
    const token = needed(
      env,
      'GITLAB_TOKEN',
      'set a masked CI/CD variable with a project access token (api)',
    );
    this.project = `/projects/${needed(env, 'CI_PROJECT_ID', 'GitLab CI sets it')}`;
    this.rest = new Rest(needed(env, 'CI_API_V4_URL', 'GitLab CI sets it'), { 'private-token': token });
  }

  async comment(mark: string, body: string): Promise<string> {
    const number = needed(
      this.env,
      'CI_MERGE_REQUEST_IID',
      'the job runs for merge requests only (rules: $CI_PIPELINE_SOURCE)',
    );
    const notes = `${this.project}/merge_requests/${number}/notes`;
    const mine = (await this.rest.all(notes, gitlabNote)).find((each) => each.body.includes(mark));
    await (mine === undefined
      ? this.rest.send('POST', notes, gitlabNote, { body })
      : this.rest.send('PUT', `${notes}/${mine.id}`, gitlabNote, { body }));
    return `!${number}`;
  }

  async openIssue(label: string, title: string, body: string): Promise<string> {
    const open = await this.find(label);
    const { web_url } =
      open === undefined
        ? await this.rest.send('POST', `${this.project}/issues`, gitlabIssue, {
            title,
            description: body,
            labels: label,
          })
        : await this.rest.send('PUT', `${this.project}/issues/${open.iid}`, gitlabIssue, {
            title,
            description: body,
          });
    return web_url;
  }

  async closeIssue(label: string, reason: string): Promise<string | undefined> {
    const open = await this.find(label);
    if (open === undefined) return undefined;
    await this.rest.send('POST', `${this.project}/issues/${open.iid}/notes`, gitlabNote, { body: reason });
    await this.rest.send('PUT', `${this.project}/issues/${open.iid}`, gitlabIssue, { state_event: 'close' });
    return open.web_url;
  }

  private async find(label: string) {
    const [issue] = await this.rest.all(
      `${this.project}/issues?state=opened&labels=${encodeURIComponent(label)}`,
      gitlabIssue,
    );
    return issue;
  }
}
