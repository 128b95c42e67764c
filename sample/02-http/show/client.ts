/** Clients of the application, and what it has answered them. */
import { ROUTES, type Route, type RouteName } from './routes.js';

/** Milliseconds after which a client takes a request for lost. */
const PATIENCE = 20_000;

/** What a client asks for. */
export interface Wish {
  readonly route: RouteName;
  /** Of the order or the item; empty where the route has none. */
  readonly id: string;
  /** The only status that will do; by default each that the route promises. */
  readonly expected?: number;
}

export interface Answer extends Wish {
  /** 0 = there was none. */
  readonly status: number;
  /** The header `Retry-After`. */
  readonly retryAfter: string | null;
  /** As text; why there was no answer. */
  readonly body: string;
}

export class Clients {
  /** All that came, in their order. */
  readonly answers: Answer[] = [];

  /** Calls a route of one replica. Rejects when `signal` aborts. */
  async call(
    replica: { readonly url: string },
    wish: Wish,
    signal: AbortSignal,
  ): Promise<Answer> {
    const answer = { ...wish, ...(await send(replica, wish, signal)) };
    this.answers.push(answer);
    return answer;
  }
}

async function send(
  { url }: { readonly url: string },
  wish: Wish,
  signal: AbortSignal,
): Promise<Pick<Answer, 'status' | 'retryAfter' | 'body'>> {
  try {
    const response = await fetch(new URL(pathOf(wish), url), {
      method: ROUTES[wish.route].method,
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

export function pathOf({ route, id }: Wish): string {
  return ROUTES[route].path.replace(':id', id);
}

/** The lock that it is under, and the account that is written to. */
export function lockOf({ route, id }: Wish): string {
  return ROUTES[route].lock(id);
}

/** Whether the work was done. */
export function isDone({ route, status }: Answer): boolean {
  return status === ROUTES[route].statuses[0];
}

/** What is wrong with an answer. */
export function findFault(answer: Answer): string | undefined {
  const { status, retryAfter, body } = answer;
  const { method, statuses }: Route = ROUTES[answer.route];
  const request = `${method} ${pathOf(answer)}`;
  const expected = answer.expected === undefined ? statuses : [answer.expected];
  if (status === 0) {
    return `${request} was not answered: ${body}`;
  }
  if (!expected.includes(status)) {
    return `${request} was answered ${status} and not ${expected.join(' or ')}`;
  }
  if (status === 423 && !/^[1-9]\d*$/.test(retryAfter ?? '')) {
    return `${request} was answered 423 with the Retry-After ${retryAfter}`;
  }
  if (status === 423 && JSON.parse(body).lock !== lockOf(answer)) {
    return `${request} was answered 423 with a body that does not name its lock`;
  }
  return undefined;
}
