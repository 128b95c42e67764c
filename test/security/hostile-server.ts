/** An API server that answers as each lock's script says: correctly, wrongly, or with anything at all. It keeps what was said. */
import type { ServerResponse } from 'node:http';
import * as fc from 'fast-check';
import { StubApi, type Received } from '../kube/stub-api.js';
import { anyJson, nearLease, text } from './arbitrary-records.js';
import { member, statedBy, type Stated } from './stated.js';

/** One answer. `json` and `record` are texts; `VERSION` in them becomes a version that no answer had before. */
export type Reply =
  /** What a correct server says. */
  | { readonly kind: 'honest' }
  /** The write succeeds, and somebody else's record is shown. */
  | { readonly kind: 'stranger' }
  | {
      readonly kind: 'text';
      readonly status: number;
      readonly body: string | Uint8Array;
      readonly headers: Record<string, string>;
    }
  | { readonly kind: 'reset' | 'silence' | 'half' };

/** What is said about one lock: one reply after the other, over and over, and the lines of its watches. */
export interface Script {
  readonly replies: readonly Reply[];
  readonly lines: readonly string[];
}

/** What was said in answer to a request, or in a watch. */
export interface Said {
  readonly at: number;
  readonly stated: Stated;
  readonly uid: unknown;
  readonly version: unknown;
  readonly name: unknown;
  /** The request that it answered: a write that it confirmed, if `isWrite`. */
  readonly isWrite: boolean;
}

/** A write that arrived, and what had been said of the lock before it. */
export interface Written {
  readonly at: number;
  readonly record: unknown;
  readonly saidBefore: number;
}

interface Account {
  readonly name: string;
  readonly script: Script;
  readonly said: Said[];
  readonly writes: Written[];
  stored: string | undefined;
  replies: number;
}

const VERSION = 'VERSION';
const STATUSES = [
  200, 201, 202, 204, 301, 400, 401, 403, 404, 405, 408, 409, 410, 413, 422,
  429, 500, 502, 503, 504,
];

/** What looks like a Lease of this name, at a version of its own or at an old one. */
const leaseNamed = (name: string) =>
  nearLease({
    name,
    uid: fc.constantFrom('u-1', 'u-2'),
    version: fc.oneof(
      { weight: 4, arbitrary: fc.constant(VERSION) },
      fc.constantFrom('1', '2', '0', '-1', '1e400', `${10n ** 63n}`),
    ),
  });

const statusObject = fc
  .record({
    code: fc.oneof(fc.constantFrom(...STATUSES), fc.integer()),
    reason: fc.oneof(fc.constantFrom('NotFound', 'AlreadyExists'), text),
    kind: fc.oneof(fc.constant('leases'), text),
    seconds: fc.double(),
  })
  .map(({ code, reason, kind, seconds }) =>
    JSON.stringify({
      kind: 'Status',
      code,
      reason,
      details: { kind, retryAfterSeconds: seconds, causes: [{ reason }] },
    }),
  );

const headers = fc.dictionary(
  fc.constantFrom('retry-after', 'date', 'content-type', 'content-encoding'),
  fc.constantFrom('0', '1', '-1', '1e400', 'soon', 'gzip', 'text/html', 'GMT'),
  { maxKeys: 2 },
);

function replyAbout(name: string): fc.Arbitrary<Reply> {
  const list = leaseNamed(name).map(
    (item) => `{"metadata":{"resourceVersion":"${VERSION}"},"items":[${item}]}`,
  );
  const body = fc.oneof(
    { weight: 6, arbitrary: leaseNamed(name) },
    { weight: 2, arbitrary: statusObject },
    { weight: 2, arbitrary: list },
    anyJson,
    text,
    fc.uint8Array({ maxLength: 50 }),
  );
  return fc.oneof(
    { weight: 6, arbitrary: fc.constant<Reply>({ kind: 'honest' }) },
    { weight: 1, arbitrary: fc.constant<Reply>({ kind: 'stranger' }) },
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('text' as const),
        status: fc.oneof(fc.constant(200), fc.constantFrom(...STATUSES)),
        body,
        headers,
      }),
    },
    fc.record({ kind: fc.constantFrom('reset', 'silence', 'half') }),
  );
}

export function scriptAbout(name: string): fc.Arbitrary<Script> {
  const event = fc
    .tuple(
      fc.constantFrom('ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR', 'X'),
      fc.oneof(leaseNamed(name), statusObject, anyJson),
    )
    .map(([type, object]) => `{"type":"${type}","object":${object}}`);
  return fc.record({
    replies: fc.array(replyAbout(name), { minLength: 1, maxLength: 8 }),
    lines: fc.array(fc.oneof({ weight: 5, arbitrary: event }, anyJson, text), {
      maxLength: 4,
    }),
  });
}

export class HostileServer implements AsyncDisposable {
  private readonly accounts = new Map<string, Account>();
  private version = 100;

  private constructor(readonly api: StubApi) {}

  /** @param scripts by the name of the lock */
  static async start(
    scripts: ReadonlyMap<string, Script>,
  ): Promise<HostileServer> {
    const api = await StubApi.start((response, request) =>
      server.answer(response, request),
    );
    const server = new HostileServer(api);
    for (const [name, script] of scripts) {
      server.accounts.set(name, {
        name,
        script,
        said: [],
        writes: [],
        stored: undefined,
        replies: 0,
      });
    }
    return server;
  }

  /** What was said about a lock, in order. */
  said(name: string): readonly Said[] {
    return this.accounts.get(name)!.said;
  }

  /** The writes to a lock that have arrived, in order. */
  writes(name: string): readonly Written[] {
    return this.accounts.get(name)!.writes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.api[Symbol.asyncDispose]();
  }

  private answer(response: ServerResponse, request: Received): void {
    const { method, url, body } = request;
    const name =
      url.searchParams.get('fieldSelector')?.replace('metadata.name=', '') ??
      (method === 'POST'
        ? member(member(JSON.parse(body), 'metadata'), 'name')
        : url.pathname.split('/leases/')[1]);
    const account = this.accounts.get(String(name));
    if (account === undefined) {
      response.writeHead(404).end();
      return;
    }
    if (url.searchParams.has('watch')) {
      response.writeHead(200);
      for (const line of account.script.lines) {
        const told = this.withVersion(line);
        this.note(account, member(parse(told), 'object'), false);
        response.write(`${told}\n`);
      }
      return;
    }
    const isWrite = method === 'PUT' || method === 'POST';
    if (isWrite) {
      account.writes.push({
        at: performance.now(),
        record: JSON.parse(body),
        saidBefore: account.said.length,
      });
    }
    const { replies } = account.script;
    this.reply(
      response,
      account,
      request,
      replies[account.replies++ % replies.length]!,
      isWrite,
    );
  }

  private reply(
    response: ServerResponse,
    account: Account,
    request: Received,
    reply: Reply,
    isWrite: boolean,
  ): void {
    switch (reply.kind) {
      case 'honest':
        return this.send(
          response,
          account,
          this.obey(account, request),
          isWrite,
        );
      case 'stranger': {
        const { name } = account;
        const body = JSON.stringify({
          metadata: { name, uid: 'u-1', resourceVersion: VERSION },
          spec: { holderIdentity: 'stranger', leaseDurationSeconds: 60 },
        });
        return this.send(response, account, { status: 200, body }, isWrite);
      }
      case 'text':
        return this.send(response, account, reply, isWrite);
      case 'half':
        response.writeHead(200, { 'content-length': 99 });
        response.write('{"metadata":', () => response.destroy());
        return;
      case 'reset':
        response.socket?.resetAndDestroy();
        return;
      case 'silence':
    }
  }

  /** What a correct server does. */
  private obey(
    account: Account,
    { method, url, body }: Received,
  ): { status: number; body: string } {
    const store = (uid: string) => {
      const record = JSON.parse(body);
      const metadata = { ...record.metadata, uid, resourceVersion: VERSION };
      account.stored = this.withVersion(
        JSON.stringify({ ...record, metadata }),
      );
      return { status: 200, body: account.stored };
    };
    if (url.searchParams.has('fieldSelector')) {
      const items = account.stored ?? '';
      return {
        status: 200,
        body: `{"metadata":{"resourceVersion":"${VERSION}"},"items":[${items}]}`,
      };
    }
    if (method === 'POST') {
      return account.stored === undefined
        ? store('u-1')
        : statusOf(409, 'AlreadyExists');
    }
    if (account.stored === undefined) {
      return statusOf(404, 'NotFound');
    }
    if (method !== 'PUT') {
      return { status: 200, body: account.stored };
    }
    return versionOf(body) === versionOf(account.stored)
      ? store('u-1')
      : statusOf(409, 'Conflict');
  }

  private send(
    response: ServerResponse,
    account: Account,
    {
      status,
      body,
      headers: sent = {},
    }: {
      status: number;
      body: string | Uint8Array;
      headers?: Record<string, string>;
    },
    isWrite: boolean,
  ): void {
    const told = typeof body === 'string' ? this.withVersion(body) : body;
    if (status >= 200 && status < 300 && typeof told === 'string') {
      const value = parse(told);
      this.note(account, value, isWrite);
      for (const item of itemsOf(value)) {
        this.note(account, item, false);
      }
    }
    response.writeHead(status, sent);
    response.end(told);
  }

  private note(account: Account, record: unknown, isWrite: boolean): void {
    const metadata = member(record, 'metadata');
    account.said.push({
      at: performance.now(),
      stated: statedBy(record),
      uid: member(metadata, 'uid'),
      version: member(metadata, 'resourceVersion'),
      name: member(metadata, 'name'),
      isWrite,
    });
  }

  private withVersion(json: string): string {
    return json.replaceAll(VERSION, () => String(++this.version));
  }
}

function statusOf(code: number, reason: string) {
  const details = { kind: 'leases' };
  const body = JSON.stringify({ kind: 'Status', code, reason, details });
  return { status: code, body };
}

function versionOf(json: string): unknown {
  return member(member(parse(json), 'metadata'), 'resourceVersion');
}

function itemsOf(value: unknown): unknown[] {
  const items = member(value, 'items');
  return Array.isArray(items) ? items : [];
}

/** Undefined for what is no JSON. */
function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
