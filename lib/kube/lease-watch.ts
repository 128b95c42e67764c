/** Watches one Lease: lists it to read its state, watches for changes, and restarts after every end or failure. */
import type { IncomingMessage } from 'node:http';
import { isError } from '../lock.errors.js';
import {
  parseObject,
  toLeaseList,
  toStatus,
  toStoredLease,
  UnreadableAnswer,
  type ApiStatus,
} from './api-response.js';
import { ExchangeError, type Answer, type Call } from './http-request.js';
import {
  failureOfAnswer,
  failureOfContent,
  failureOfExchange,
  failureOfWatch,
  type Operation,
} from './api-errors.js';
import type { KubeTransport } from './kube-http-client.js';
import {
  LeaseStoreError,
  type LeaseKey,
  type LeaseObserver,
  type StoredLease,
} from './lease-store.js';
import { reportRequest, type RequestSink } from './request-events.js';
import { readWatchStream } from './line-reader.js';

/** All in milliseconds. */
export interface WatchTiming {
  /**
   * A connection on which no byte arrives for this long counts as dead. API servers send a bookmark
   * every 60 to 75 seconds.
   */
  readonly silence: number;
  /** The server ends the watch after a random time between these two, so that the watches of many pods do not restart together. */
  readonly lifetime: readonly [number, number];
  /** A watch that ends sooner than this, without an event, counts as failed. */
  readonly shortLife: number;
  /** The pause after a failure: it starts at the first value, doubles up to the second, and is half random. */
  readonly backoff: number;
  readonly backoffLimit: number;
}

export interface LeaseWatchOptions {
  readonly requestTimeout: number;
  readonly timing?: Partial<WatchTiming>;
  readonly requests?: RequestSink;
  readonly onFailure: (error: Error) => void;
  readonly onClose: () => void;
}

const DEFAULT_TIMING: WatchTiming = {
  silence: 90_000,
  lifetime: [240_000, 480_000],
  shortLife: 1_000,
  backoff: 800,
  backoffLimit: 30_000,
};

/** A line or a list holds at most one Lease. */
const MAX_BYTES = 3 * 1024 * 1024;

/** When the next attempt starts: at once, after a back-off, or after the pause that the server asked for. */
interface Next {
  readonly failed: boolean;
  readonly retryAfter?: number;
}

export class LeaseWatch {
  private readonly abort = new AbortController();
  private readonly timing: WatchTiming;
  /** The resourceVersion from which to watch; undefined: list first. */
  private version?: string;
  private failures = 0;
  /** Changes received by watches. */
  private changes = 0;
  #response?: IncomingMessage;
  private endPause?: () => void;

  constructor(
    private readonly transport: KubeTransport,
    private readonly key: LeaseKey,
    private readonly path: string,
    private readonly observer: LeaseObserver,
    private readonly options: LeaseWatchOptions,
  ) {
    this.timing = { ...DEFAULT_TIMING, ...options.timing };
  }

  open(): void {
    void this.run();
  }

  close(): void {
    if (this.closed) {
      return;
    }
    this.abort.abort();
    this.#response?.destroy();
    this.endPause?.();
    this.options.onClose();
  }

  private get closed(): boolean {
    return this.abort.signal.aborted;
  }

  /** Never rejects. */
  private async run(): Promise<void> {
    while (!this.closed) {
      let next: Next;
      try {
        next = await this.listAndFollow();
        // A single broken connection is normal; only repeated ones are reported.
        if (next.failed && this.failures > 0) {
          this.report(failureOfWatch(this.operation('watch')));
        }
      } catch (error) {
        // The known state is in doubt, or the resourceVersion was refused: list again.
        this.version = undefined;
        next = { failed: true, retryAfter: this.report(error) };
      }
      if (next.failed) {
        await this.pause(next.retryAfter);
      }
    }
  }

  private async listAndFollow(): Promise<Next> {
    if (this.version === undefined) {
      await this.list();
    }
    if (this.closed) {
      return { failed: false };
    }
    return this.follow();
  }

  private async list(): Promise<void> {
    const operation = this.operation('list');
    const answer = await this.send(operation, () =>
      this.transport.exchange(this.call({}), MAX_BYTES, 'watches'),
    );
    if (answer.status !== 200) {
      throw failureOfAnswer(operation, answer);
    }
    try {
      const list = toLeaseList(parseObject(answer.body), this.key.namespace);
      this.version = list.resourceVersion;
      const lease = list.leases.find(
        ({ metadata }) => metadata.name === this.key.name,
      );
      if (lease) {
        this.tell(() => this.observer.changed(lease, false));
      } else {
        this.tell(() => this.observer.deleted());
      }
    } catch (error) {
      if (!(error instanceof UnreadableAnswer)) {
        throw error;
      }
      throw failureOfContent(operation, answer, error);
    }
  }

  private async follow(): Promise<Next> {
    const operation = this.operation('watch');
    const [shortest, longest] = this.timing.lifetime;
    const lifetime = shortest + Math.random() * (longest - shortest);
    const call = this.call({
      watch: 'true',
      allowWatchBookmarks: 'true',
      resourceVersion: this.version ?? '',
      timeoutSeconds: String(Math.ceil(lifetime / 1000)),
    });
    const response = await this.send(operation, () =>
      this.transport.stream(call),
    );
    response.on('error', () => {});
    if (this.closed) {
      response.destroy();
      return { failed: false };
    }
    const { statusCode: status = 0, headers } = response;
    if (status !== 200) {
      // The status is enough: the body is not read, and the connection is closed.
      response.destroy();
      const answer: Answer = { status, headers, body: undefined };
      if (status === 410) {
        return this.expired();
      }
      throw failureOfAnswer(operation, answer, { causes: [], isUnread: true });
    }
    return this.read(operation, response);
  }

  private async read(
    operation: Operation,
    response: IncomingMessage,
  ): Promise<Next> {
    const opened = performance.now();
    const before = this.changes;
    let error: ApiStatus | undefined;
    this.#response = response;
    // A watch must not keep the process alive.
    response.socket?.unref();
    const end = await readWatchStream(response, {
      silence: this.timing.silence,
      maxLineBytes: MAX_BYTES,
      onLine: (line) => {
        error = this.handle(parseObject(line));
        // No event follows an ERROR event, though some servers leave the connection open.
        if (error) {
          response.destroy();
        }
      },
    });
    this.#response = undefined;
    if (this.closed) {
      return { failed: false };
    }

    const lasted = performance.now() - opened >= this.timing.shortLife;
    if (lasted) {
      this.failures = 0;
    }
    if (error?.code === 410) {
      return this.expired();
    }
    if (error) {
      const answer = {
        status: error.code ?? 500,
        headers: {},
        body: undefined,
      };
      throw failureOfAnswer(operation, answer, error);
    }
    // Some proxies end each watch at once: without a pause this would be a tight loop.
    const isShort = !lasted && (this.changes === before || this.failures > 0);
    if (!lasted) {
      this.failures = Math.max(this.failures, 1);
    }
    return { failed: end === 'broken' || isShort };
  }

  /** Handles an event; returns the Status of an ERROR event. */
  private handle(event: Record<string, unknown>): ApiStatus | undefined {
    const { type, object } = event;
    switch (type) {
      case 'ADDED':
      case 'MODIFIED':
      case 'DELETED':
        this.observe(
          type,
          toStoredLease(object, { namespace: this.key.namespace }),
        );
        return undefined;
      case 'BOOKMARK':
        this.advance(versionOf(object));
        return undefined;
      case 'ERROR':
        return toStatus(object);
      default:
        return undefined;
    }
  }

  private observe(
    type: 'ADDED' | 'MODIFIED' | 'DELETED',
    lease: StoredLease,
  ): void {
    const { name, resourceVersion } = lease.metadata;
    // Sent by a server that ignores the field selector.
    if (name !== this.key.name) {
      return;
    }
    const order = compareVersions(resourceVersion, this.version);
    // Some servers report a deletion with the resourceVersion of the last change.
    if (type === 'DELETED' ? order < 0 : order <= 0) {
      return;
    }
    this.advance(resourceVersion);
    this.changes++;
    if (type === 'DELETED') {
      this.tell(() => this.observer.deleted());
    } else {
      this.tell(() => this.observer.changed(lease, true));
    }
  }

  private advance(version: string | undefined): void {
    if (version !== undefined && compareVersions(version, this.version) > 0) {
      this.version = version;
    }
  }

  private expired(): Next {
    this.version = undefined;
    // An expired resourceVersion is normal after a while; again, right after a list, it is a fault.
    const again = this.failures > 0;
    this.failures = Math.max(this.failures, 1);
    return { failed: again };
  }

  private tell(call: () => void): void {
    if (this.closed) {
      return;
    }
    try {
      call();
    } catch {
      // An observer that throws must not stop the watch.
    }
  }

  /** Reports a failure; returns the pause that the server asked for. */
  private report(error: unknown): number | undefined {
    if (this.closed) {
      return undefined;
    }
    try {
      this.options.onFailure(
        isError(error) ? error : new Error('The watch failed'),
      );
    } catch {
      // An observer that throws must not stop the watch.
    }
    return error instanceof LeaseStoreError ? error.retryAfter : undefined;
  }

  private pause(atLeast = 0): Promise<void> {
    const { backoff, backoffLimit } = this.timing;
    const limit = Math.min(backoff * 2 ** this.failures, backoffLimit);
    this.failures++;
    // Half fixed, half random: never at once, and different in each pod.
    const pause = atLeast + limit * (0.5 + Math.random() / 2);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, pause);
      timer.unref();
      this.endPause = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.closed) {
        this.endPause();
      }
    });
  }

  private call(query: Record<string, string>): Call {
    const search = new URLSearchParams({
      fieldSelector: `metadata.name=${this.key.name}`,
      ...query,
    });
    return {
      method: 'GET',
      path: `${this.path}?${search.toString()}`,
      timeout: this.options.requestTimeout,
      signal: this.abort.signal,
    };
  }

  private operation(verb: 'list' | 'watch'): Operation {
    const { namespace, name } = this.key;
    return { verb, namespace, name, timeout: this.options.requestTimeout };
  }

  private async send<T extends Answer | IncomingMessage>(
    operation: Operation,
    send: () => Promise<T>,
  ): Promise<T> {
    try {
      return await reportRequest(this.options.requests, operation, send);
    } catch (error) {
      if (!(error instanceof ExchangeError)) {
        throw error;
      }
      throw failureOfExchange(operation, error);
    }
  }
}

/** Less than, equal to or greater than zero; greater if the two can't be compared, so that the event is not dropped. */
function compareVersions(version: string, than: string | undefined): number {
  if (than === undefined || !isNumber(version) || !isNumber(than)) {
    return 1;
  }
  const difference = BigInt(version) - BigInt(than);
  return difference === 0n ? 0 : difference > 0n ? 1 : -1;
}

function isNumber(version: string): boolean {
  return /^\d{1,64}$/.test(version);
}

function versionOf(object: unknown): string | undefined {
  const { metadata } = (object ?? {}) as {
    metadata?: { resourceVersion?: unknown };
  };
  const version = metadata?.resourceVersion;
  return typeof version === 'string' ? version : undefined;
}
