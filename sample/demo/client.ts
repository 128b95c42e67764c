/** A client of the routes of a replica. */
import { seconds, type Display } from './display.js';
import type { Replica } from './replicas.js';

/** Milliseconds after which a client gives its request up. */
const PATIENCE = 60_000;

export interface Request {
  readonly method: string;
  readonly path: string;
}

export interface Answer {
  /** 0 = there was none. */
  readonly status: number;
  /** The header `Retry-After`. */
  readonly retryAfter: string | null;
  /** As text; why there was no answer. */
  readonly body: string;
}

/** Rejects when `signal` aborts. */
export async function fetchAnswer(
  { url }: Replica,
  { method, path }: Request,
  signal: AbortSignal,
): Promise<Answer> {
  try {
    const response = await fetch(new URL(path, url), {
      method,
      signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]),
    });
    return {
      status: response.status,
      retryAfter: response.headers.get('retry-after'),
      body: await response.text(),
    };
  } catch (error) {
    signal.throwIfAborted();
    return { status: 0, retryAfter: null, body: String(error) };
  }
}

/** Displays the request and its answer as well. */
export async function send(
  replica: Replica,
  request: Request,
  display: Display,
  signal: AbortSignal,
): Promise<Answer> {
  const start = process.hrtime.bigint();
  const where = `${request.path} to ${replica.name}`;
  display.log('client', request.method, where, { at: start });
  const answer = await fetchAnswer(replica, request, signal);
  const { status, retryAfter, body } = answer;
  const isServed = status >= 200 && status < 300;
  display.log(
    'client',
    String(status),
    [
      `${where}, after ${seconds(process.hrtime.bigint() - start)}`,
      ...(retryAfter === null ? [] : [`Retry-After: ${retryAfter}`]),
      ...(isServed ? [] : [body]),
    ].join('  '),
    { style: isServed ? 'green' : 'yellow' },
  );
  return answer;
}
