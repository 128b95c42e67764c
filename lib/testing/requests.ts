/** Records the received requests, and finds those that match. */

/** The verb of a request, in the API server's terms. */
export type RequestVerb =
  'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete';

/** One request as it was received. */
export interface ReceivedRequest {
  readonly method: string;
  /** Path and query, as sent. */
  readonly path: string;
  readonly verb: RequestVerb;
  /** `leases`, `selfsubjectaccessreviews`; the path itself if it is no resource, such as `/version`. */
  readonly resource: string;
  readonly namespace?: string;
  /** The Lease's name, from the path or from `fieldSelector=metadata.name=…`. */
  readonly name?: string;
  /** The user of the bearer token. */
  readonly user: string;
  /** The number of the TCP connection, counted from 1. */
  readonly connection: number;
  /** The time at which the whole request had arrived, by `performance.now()`. */
  readonly at: number;
  /** The HTTP status of the answer; undefined while the request is open, and if its connection broke. */
  status?: number;
}

/** Selects requests: all given properties must match. */
export interface RequestMatch {
  verb?: RequestVerb | readonly RequestVerb[];
  resource?: string;
  namespace?: string;
  name?: string;
  user?: string;
  /** Any other condition. */
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
   * The recorded requests that match, oldest first.
   *
   * @example
   * expect(server.requests.all({ verb: 'update', name: 'nightly' })).toHaveLength(1);
   */
  all(match: RequestMatch = {}): ReceivedRequest[] {
    return this.records.filter((request) => matches(match, request));
  }

  /** The number of recorded requests that match. */
  count(match: RequestMatch = {}): number {
    return this.all(match).length;
  }

  /** The number of TCP connections of the requests that match. */
  connections(match: RequestMatch = {}): number {
    return new Set(this.all(match).map(({ connection }) => connection)).size;
  }

  /**
   * Waits for the next request that matches and arrives after this call.
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

  /** Clears the log. */
  clear(): void {
    this.records = [];
  }
}
