/** Reads from a request and its answer what was done to a Lease. */
import type { IncomingMessage } from 'node:http';
import { monotonic } from '../processes/programs/calls.js';
import type { LeaseRecord, LeaseWrite } from './evidence.js';

const VERBS: Record<string, LeaseWrite['verb']> = {
  POST: 'create',
  PUT: 'replace',
  DELETE: 'delete',
};

/**
 * Notes a write that is about to be sent to the API server; to be called again with its answer. Does
 * nothing, and returns undefined, for a request that is none.
 */
export function startWrite(
  writes: LeaseWrite[],
  author: string,
  { method, url }: Pick<IncomingMessage, 'method' | 'url'>,
  body: Buffer,
): ((status: number, content?: Buffer) => void) | undefined {
  const verb = VERBS[method ?? ''];
  const path = /\/leases(?:\/([^?/]+))?(?:\?|$)/.exec(url ?? '');
  if (verb === undefined || path === null) {
    return undefined;
  }
  const said = parse(body);
  const sent = verb === 'delete' ? undefined : said;
  const started: LeaseWrite = {
    author,
    verb,
    lease: path[1] ?? said?.metadata.name ?? '',
    basedOn: (verb === 'delete' ? said?.preconditions : said?.metadata) ?? {},
    sent,
    forwardedAt: monotonic(),
    answeredAt: Infinity,
    status: undefined,
    stored: undefined,
  };
  const index = writes.push(started) - 1;
  return (status, content) => {
    writes[index] = {
      ...started,
      answeredAt: monotonic(),
      status,
      stored: status < 300 && verb !== 'delete' ? parse(content) : undefined,
    };
  };
}

function parse(
  content: Buffer = Buffer.of(),
): (LeaseRecord & { preconditions?: LeaseWrite['basedOn'] }) | undefined {
  return content.length === 0 ? undefined : JSON.parse(content.toString());
}

/** Whether the API server has said that it did as it was asked. */
export function isApplied({ status }: LeaseWrite): boolean {
  return status !== undefined && status < 300;
}
