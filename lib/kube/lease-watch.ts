/** Watches one Lease, or all of a namespace: lists, watches for changes, and restarts after every end or failure. */
import type { IncomingMessage } from 'node:http';
import { isError } from '../lock.errors.js';
import {
  parseObject,
  toLeaseList,
  toStatus,
  UnreadableAnswer,
  versionOf,
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
import type { KubeHttpClient } from './kube-http-client.js';
import { LeaseStoreError, type StoredLease } from './lease-store.js';

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
  /** A watch of the whole namespace goes on for this long after most of its names were closed. */
  readonly linger: number;
}

export interface LeaseWatchOptions {
  readonly requestTimeout: number;
  readonly timing?: Partial<WatchTiming>;
}

/** Of one Lease, or, without a name, of all of the namespace. */
export interface WatchTarget {
  readonly namespace: string;
  readonly name?: string;
  readonly labelSelector?: string;
}

/** The state that a list returned. */
export interface ListedState {
  readonly resourceVersion: string;
  /** undefined: it does not exist. A list of the namespace is only made for its version, and has none. */
  readonly lease: StoredLease | undefined;
}

export type ChangeType = 'ADDED' | 'MODIFIED' | 'DELETED';

/** May close the watch at any call. */
export interface WatchListener {
  listed?(state: ListedState): void;
  /** The watch has opened. `listed`: it starts from a new list, so that changes may have been missed before. */
  opened?(listed: boolean): void;
  /** If it throws, the watch restarts before this change. */
  changed?(type: ChangeType, object: unknown): void;
  failed(error: Error): void;
}

export const DEFAULT_TIMING: WatchTiming = {
  silence: 90_000,
  lifetime: [240_000, 480_000],
  shortLife: 1_000,
  backoff: 800,
  backoffLimit: 30_000,
  linger: 30_000,
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
  /** Whether the next watch starts from a list. */
  private isListed = false;
  private failures = 0;
  /** Changes received by watches. */
  private changes = 0;
  #response?: IncomingMessage;
  private endPause?: () => void;

  constructor(
    private readonly client: KubeHttpClient,
    private readonly target: WatchTarget,
    private readonly path: string,
    private readonly listener: WatchListener,
    private readonly options: LeaseWatchOptions,
    /** The resourceVersion from which to watch; undefined: list first. */
    private version?: string,
  ) {
    this.timing = { ...DEFAULT_TIMING, ...options.timing };
  }

  /** All changes up to this resourceVersion were reported; undefined: not known. */
  get position(): string | undefined {
    return this.version;
  }

  open(): void {
    void this.run();
  }

  close(): void {
    this.abort.abort();
    this.#response?.destroy();
    this.endPause?.();
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
    // Of a whole namespace only the version is needed.
    const call = this.call(
      this.target.name === undefined ? { limit: '1' } : {},
    );
    const answer = await this.send(operation, () =>
      this.client.exchange(operation, call, MAX_BYTES),
    );
    if (answer.status !== 200) {
      throw failureOfAnswer(operation, answer);
    }
    let state: ListedState;
    try {
      state = this.stateIn(parseObject(answer.body));
    } catch (error) {
      if (!(error instanceof UnreadableAnswer)) {
        throw error;
      }
      throw failureOfContent(operation, answer, error);
    }
    this.version = state.resourceVersion;
    this.isListed = true;
    if (!this.closed) {
      this.listener.listed?.(state);
    }
  }

  private stateIn(list: Record<string, unknown>): ListedState {
    const { name } = this.target;
    if (name === undefined) {
      const resourceVersion = versionOf(list);
      if (resourceVersion === undefined) {
        throw new UnreadableAnswer('metadata.resourceVersion is not a string');
      }
      return { resourceVersion, lease: undefined };
    }
    const { resourceVersion, leases } = toLeaseList(list, this.target);
    const lease = leases.find(({ metadata }) => metadata.name === name);
    return { resourceVersion, lease };
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
      this.client.stream(operation, call),
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
    const isListed = this.isListed;
    this.isListed = false;
    this.listener.opened?.(isListed);
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
        this.listener.changed?.(type, object);
        this.advance(versionOf(object));
        this.changes++;
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

  /** Reports a failure; returns the pause that the server asked for. */
  private report(error: unknown): number | undefined {
    if (this.closed) {
      return undefined;
    }
    this.listener.failed(
      isError(error) ? error : new Error('The watch failed'),
    );
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
    const { name, labelSelector } = this.target;
    const search = new URLSearchParams({
      ...(name !== undefined && { fieldSelector: `metadata.name=${name}` }),
      ...(labelSelector !== undefined && { labelSelector }),
      ...query,
    });
    return {
      method: 'GET',
      path: `${this.path}?${search.toString()}`,
      timeout: this.options.requestTimeout,
      signal: this.abort.signal,
      pool: 'watches',
    };
  }

  private operation(verb: 'list' | 'watch'): Operation {
    const { namespace, name } = this.target;
    return { verb, namespace, name, timeout: this.options.requestTimeout };
  }

  private async send<T extends Answer | IncomingMessage>(
    operation: Operation,
    send: () => Promise<T>,
  ): Promise<T> {
    try {
      return await send();
    } catch (error) {
      if (!(error instanceof ExchangeError)) {
        throw error;
      }
      throw failureOfExchange(operation, error);
    }
  }
}

/** Less than, equal to or greater than zero; greater if the two can't be compared, so that the event is not dropped. */
export function compareVersions(
  version: string,
  than: string | undefined,
): number {
  if (than === undefined || !NUMBER.test(version) || !NUMBER.test(than)) {
    return 1;
  }
  const difference = BigInt(version) - BigInt(than);
  return difference === 0n ? 0 : difference > 0n ? 1 : -1;
}

const NUMBER = /^\d{1,64}$/;

/** How the body of a watch is read. */
interface WatchStreamOptions {
  /** Milliseconds without a byte after which the connection counts as dead. */
  readonly silence: number;
  readonly maxLineBytes: number;
  /** Called for each line. If it throws, the stream ends as `broken`. */
  readonly onLine: (line: string) => void;
}

/** `ended`: the server ended the stream. `broken`: anything else. */
type WatchStreamEnd = 'ended' | 'broken';

const LINE_FEED = 0x0a;

/**
 * Reads the body of a watch line by line, until the stream ends or the response is destroyed. Never rejects: the watch
 * restarts after any end.
 */
function readWatchStream(
  response: IncomingMessage,
  { silence, maxLineBytes, onLine }: WatchStreamOptions,
): Promise<WatchStreamEnd> {
  return new Promise((resolve) => {
    // Bytes, not text: a character may be split across chunks, a line feed never is.
    let begun: Buffer[] = [];
    let begunBytes = 0;

    const finish = (end: WatchStreamEnd) => {
      clearTimeout(timer);
      resolve(end);
      if (end === 'broken') {
        response.destroy();
      }
    };
    const timer = setTimeout(() => finish('broken'), silence);
    timer.unref();

    const readChunk = (chunk: Buffer) => {
      let start = 0;
      for (;;) {
        const end = chunk.indexOf(LINE_FEED, start);
        const part = chunk.subarray(start, end === -1 ? undefined : end);
        begun.push(part);
        begunBytes += part.length;
        if (begunBytes > maxLineBytes) {
          return finish('broken');
        }
        if (end === -1) {
          return;
        }
        const line = Buffer.concat(begun, begunBytes).toString('utf8');
        begun = [];
        begunBytes = 0;
        start = end + 1;
        if (line.trim() !== '') {
          onLine(line);
        }
        // The handler of the line may have closed the watch.
        if (response.destroyed) {
          return;
        }
      }
    };

    response.on('data', (chunk: Buffer) => {
      timer.refresh();
      try {
        readChunk(chunk);
      } catch {
        finish('broken');
      }
    });
    // The server stopped in the middle of a line: the change is read again by the next list.
    response.on('end', () => finish(begunBytes > 0 ? 'broken' : 'ended'));
    response.on('error', () => finish('broken'));
    response.on('close', () => finish('broken'));
  });
}
