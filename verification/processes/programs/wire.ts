/** Watches the HTTP requests that leave this process, beneath the package under test. */
import { ClientRequest, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { monotonic } from './calls.js';

const lastGoodWrite = new Map<string, number>();
const sockets = new WeakSet<Socket>();
let requests = 0;
let connections = 0;
let inFlight = 0;
let mostInFlight = 0;
const openWatches = new Set<string>();
const watchesAwaited = new Map<string, () => void>();

const end = Reflect.get(ClientRequest.prototype, 'end');

/** Notes the time before the first byte leaves. */
ClientRequest.prototype.end = function observedEnd(
  this: ClientRequest,
  ...parameters: unknown[]
): ClientRequest {
  const sentAt = monotonic();
  requests += 1;
  if (!/[?&]watch=/.test(this.path)) {
    inFlight += 1;
    mostInFlight = Math.max(mostInFlight, inFlight);
    this.once('close', () => (inFlight -= 1));
  }
  this.once('response', (response: IncomingMessage) => {
    const { statusCode, socket } = response;
    if (!sockets.has(socket)) {
      sockets.add(socket);
      connections += 1;
    }
    const watched = watchedLease(this.path);
    if (watched !== undefined) {
      openWatches.add(watched);
      response.once('close', () => openWatches.delete(watched));
      watchesAwaited.get(watched)?.();
    }
    if (isWriteOfRecord(this) && statusCode === 200) {
      lastGoodWrite.set(this.path, sentAt);
    }
  });
  return Reflect.apply(end, this, parameters);
};

/** How many requests were sent, over how many connections answers came, and the most that were under way beside watches. */
export function traffic(): {
  requests: number;
  connections: number;
  mostInFlight: number;
} {
  return { requests, connections, mostInFlight };
}

/** When the last write to the record of this Lease that was answered with 200 was sent. A place in line is none. */
export function lastGoodWriteSentAt(leaseName: string): number | undefined {
  for (const [path, at] of lastGoodWrite) {
    if (path.endsWith(`/leases/${leaseName}`)) {
      return at;
    }
  }
  return undefined;
}

/** Waits until a watch of this Lease is open: what changes from then on will be told. */
export async function untilWatched(leaseName: string): Promise<void> {
  if (!openWatches.has(leaseName)) {
    await new Promise<void>((resolve) => {
      watchesAwaited.set(leaseName, resolve);
    });
  }
}

function isWriteOfRecord(request: ClientRequest): boolean {
  const type = String(request.getHeader('content-type'));
  return request.method === 'PATCH'
    ? type.startsWith('application/json-patch+json')
    : request.method === 'PUT';
}

function watchedLease(path: string): string | undefined {
  const query = new URLSearchParams(path.split('?')[1]);
  return query.has('watch')
    ? query.get('fieldSelector')?.replace('metadata.name=', '')
    : undefined;
}
