/** What the server received: one record a request, how tests pick records out, and the log of all. */

/** What a request asks for, in the API server's own terms. */
export type RequestVerb =
  'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete';

/** One request as it was received. */
export interface ReceivedRequest {
  readonly method: string;
  /** Path and query, as sent. */
  readonly path: string;
  readonly verb: RequestVerb;
  /** `leases`, `selfsubjectaccessreviews`; the path for everything that is no resource, such as `/version`. */
  readonly resource: string;
  readonly namespace?: string;
  /** The Lease's name, from the path or from `fieldSelector=metadata.name=…`. */
  readonly name?: string;
  /** Whom the bearer token names. */
  readonly user: string;
  /** Counts TCP connections from 1: requests of the same number came over the same connection. */
  readonly connection: number;
  /** When it had arrived as a whole, in milliseconds of `performance.now()`. */
  readonly at: number;
  /** The HTTP status it was answered with; undefined while it is open and when it was cut off. */
  status?: number;
}

/** Picks requests: all named properties must fit. */
export interface RequestMatch {
  verb?: RequestVerb | readonly RequestVerb[];
  resource?: string;
  namespace?: string;
  name?: string;
  user?: string;
  /** Anything else. */
  where?: (request: ReceivedRequest) => boolean;
}

export function matches(
  match: RequestMatch,
  request: ReceivedRequest,
): boolean {
  const { verb } = match;
  return (
    (verb === undefined ||
      (typeof verb === 'string'
        ? verb === request.verb
        : verb.includes(request.verb))) &&
    (match.resource === undefined || match.resource === request.resource) &&
    (match.namespace === undefined || match.namespace === request.namespace) &&
    (match.name === undefined || match.name === request.name) &&
    (match.user === undefined || match.user === request.user) &&
    (match.where === undefined || match.where(request))
  );
}

/** The newest requests, at least the last `capacity` of them. */
export class RequestLog {
  private records: ReceivedRequest[] = [];
  private readonly waiting = new Set<(request: ReceivedRequest) => void>();

  constructor(private readonly capacity: number) {}

  /** Called by the server for every request it received. */
  add(request: ReceivedRequest): void {
    this.records.push(request);
    if (this.records.length >= 2 * this.capacity) {
      this.records = this.records.slice(-this.capacity);
    }
    for (const notify of this.waiting) {
      notify(request);
    }
  }

  /**
   * The recorded requests that fit, oldest first.
   *
   * @example
   * expect(server.requests.all({ verb: 'update', name: 'nightly' })).toHaveLength(1);
   */
  all(match: RequestMatch = {}): ReceivedRequest[] {
    return this.records.filter((request) => matches(match, request));
  }

  /** How many recorded requests fit. */
  count(match: RequestMatch = {}): number {
    return this.all(match).length;
  }

  /** How many TCP connections the requests that fit came over. */
  connections(match: RequestMatch = {}): number {
    return new Set(this.all(match).map(({ connection }) => connection)).size;
  }

  /**
   * Waits for the next request that fits, counted from this call.
   *
   * @example
   * const renewal = server.requests.next({ verb: 'update' });
   * clock.advance(5_000);
   * await renewal;
   */
  next(match: RequestMatch = {}): Promise<ReceivedRequest> {
    return new Promise((resolve) => {
      const notify = (request: ReceivedRequest) => {
        if (!matches(match, request)) {
          return;
        }
        this.waiting.delete(notify);
        resolve(request);
      };
      this.waiting.add(notify);
    });
  }

  /** Forgets what was recorded. */
  clear(): void {
    this.records = [];
  }
}
