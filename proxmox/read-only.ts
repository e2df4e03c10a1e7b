import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { SecureVersion } from 'node:tls';
import { generate } from 'selfsigned';
import { type Dispatcher, request } from 'undici';
import { z } from 'zod';
import { connections, unanswered } from './api';

/**
 * A door to Proxmox VE's API on the loopback interface through which one can only look.
 *
 * The provider is given this address instead of the API's. What would change something doesn't get through, whatever
 * the token may do. What many hosts ask alike (a datastore's content) is asked once. And two things that Proxmox VE
 * shows only to those who may change them don't stand in the way of a token that may only look:
 *
 * - the format of a VM's disk, for which it wants `VM.Config.Disk`, follows from the volume's name;
 * - snippets are listed for holders of `Datastore.Allocate` only (pve-storage, PVE/Storage.pm, check_volume_access). For
 *   others the snippets that are expected are taken to be there, and `unseen` tells so: "not looked at" must not be
 *   mistaken for "gone".
 *
 * It holds no credentials: each request brings its own, and only who has them gets an answer.
 */
export class ReadOnlyApi {
  /** Datastores whose snippets the token may not see. */
  readonly unseen = new Set<string>();
  private readonly answers = new Map<string, Promise<Answer>>();

  /**
   * @param endpoint The API's.
   * @param snippets The volume ids of snippets that the states know, such as `local:snippets/a.user-data.yaml`.
   * @param minTls The oldest TLS version to speak with the API. @default what the provider takes
   */
  static async open(
    endpoint: string,
    snippets: readonly string[],
    env: NodeJS.ProcessEnv = process.env,
    minTls?: SecureVersion,
  ): Promise<ReadOnlyApi> {
    const { private: key, cert } = await generate([{ name: 'commonName', value: HOST }], {
      keyType: 'ec',
      algorithm: 'sha256',
    });
    const server = createServer({ key, cert });
    const door = new ReadOnlyApi(endpoint, snippets, connections(endpoint, env, minTls), server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, HOST, resolve);
    });
    server.on(
      'request',
      (message: IncomingMessage, response: ServerResponse) => void door.serve(message, response),
    );
    return door;
  }

  private constructor(
    private readonly target: string,
    private readonly snippets: readonly string[],
    private readonly agent: Dispatcher,
    private readonly server: Server,
  ) {}

  /** What to give the provider as its endpoint; its certificate is made for this run and trusted by nobody. */
  get endpoint(): string {
    return `https://${HOST}:${(this.server.address() as AddressInfo).port}/`;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
    await this.agent.destroy();
  }

  private async serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const { status, text } = await this.answer(message);
    response.writeHead(status, { 'content-type': 'application/json;charset=UTF-8' });
    response.end(text);
  }

  private async answer(message: IncomingMessage): Promise<Answer> {
    const { method = '', url = '' } = message;
    // A login by password is the one POST that changes nothing.
    if (method === 'POST' && url === '/api2/json/access/ticket')
      return this.forward(message, await bodyOf(message));
    if (method !== 'GET') return failure(403, `hostkey drift only looks: ${method} ${url} was not passed on`);
    const known = `${url} ${message.headers.authorization ?? message.headers.cookie ?? ''}`;
    const answer = this.answers.get(known) ?? this.read(message, url);
    this.answers.set(known, answer);
    return answer;
  }

  private async read(message: IncomingMessage, url: string): Promise<Answer> {
    const [path = '', query = ''] = url.split('?');
    const [, storage, volume] =
      path.match(/^\/api2\/json\/nodes\/[^/]+\/storage\/([^/]+)\/content(?:\/(.+))?$/) ?? [];
    const answer = await this.forward(message);
    if (storage === undefined) return answer;
    if (volume !== undefined)
      return answer.status === 403 ? (diskFormat(decodeURIComponent(volume)) ?? answer) : answer;
    const content = new URLSearchParams(query).get('content');
    if (answer.status !== 200 || (content !== null && content !== 'snippets')) return answer;
    return (await this.seesSnippets(message, storage)) ? answer : this.withSnippets(answer, storage);
  }

  private async seesSnippets(message: IncomingMessage, storage: string): Promise<boolean> {
    const path = `/storage/${decodeURIComponent(storage)}`;
    const { text } = await this.forward(
      message,
      undefined,
      `/api2/json/access/permissions?path=${encodeURIComponent(path)}`,
    );
    const held = permissions.safeParse(parse(text));
    const sees =
      held.success && Object.values(held.data.data).some((privileges) => 'Datastore.Allocate' in privileges);
    if (!sees) this.unseen.add(decodeURIComponent(storage));
    return sees;
  }

  private withSnippets(answer: Answer, storage: string): Answer {
    const listed = listing.safeParse(parse(answer.text));
    if (!listed.success) return answer;
    const there = new Set(listed.data.data.map(({ volid }) => volid));
    const expected = this.snippets.filter((volid) => volid.startsWith(`${storage}:`) && !there.has(volid));
    const items = expected.map((volid) => ({
      volid,
      content: 'snippets',
      format: 'snippet',
      size: 0,
      ctime: 0,
    }));
    return { status: 200, text: JSON.stringify({ data: [...listed.data.data, ...items] }) };
  }

  private async forward(
    { method = 'GET', url = '', headers }: IncomingMessage,
    body?: string,
    instead = url,
  ): Promise<Answer> {
    const { authorization, cookie, 'content-type': type } = headers;
    try {
      const answer = await request(new URL(instead, this.target), {
        method: body === undefined ? 'GET' : (method as 'POST'),
        dispatcher: this.agent,
        headers: {
          ...(authorization === undefined ? {} : { authorization }),
          ...(cookie === undefined ? {} : { cookie }),
          ...(type === undefined || body === undefined ? {} : { 'content-type': type }),
        },
        ...(body === undefined ? {} : { body }),
      });
      return { status: answer.statusCode, text: await answer.body.text() };
    } catch (error) {
      return failure(502, unanswered(error, this.target).message);
    }
  }
}

const HOST = '127.0.0.1';

interface Answer {
  readonly status: number;
  readonly text: string;
}

const listing = z.looseObject({ data: z.array(z.looseObject({ volid: z.string() })) });
const permissions = z.looseObject({ data: z.record(z.string(), z.record(z.string(), z.unknown())) });

const failure = (status: number, message: string): Answer => ({
  status,
  text: JSON.stringify({ data: null, message }),
});

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What is asked of a volume: its format, which a file's ending says; block devices are raw. */
function diskFormat(volid: string): Answer | undefined {
  const name = volid.slice(volid.indexOf(':') + 1);
  if (!/(^|\/)(vm|base)-\d+-/.test(name)) return undefined;
  const format = name.match(/\.(raw|qcow2|vmdk)$/)?.[1] ?? 'raw';
  return { status: 200, text: JSON.stringify({ data: { format, path: '', size: 0, used: 0 } }) };
}

async function bodyOf(message: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}
