/** Manages the open watches: sends their events, ends them, and breaks them for tests. */
import type { ServerResponse } from 'node:http';
import { ApiError } from './api-status.js';
import type { Faults } from './faults.js';
import type {
  LeaseStorage,
  StorageEvent,
  StoredEntry,
} from './lease-storage.js';
import {
  matches,
  type ReceivedRequest,
  type RequestMatch,
} from './requests.js';
import type { Selects } from './selectors.js';

/** The options of a watch. */
export interface WatchOptions {
  /** undefined: all namespaces. */
  namespace?: string;
  selects: Selects;
  /** Send changes after this version; 0: the present state first, as ADDED events, and a bookmark marks its end. */
  since: bigint;
  bookmarks: boolean;
  /** Seconds until the server ends it. */
  timeoutSeconds: number;
}

/** How a watch is broken: its response ends, its connection is reset, or its version expires (410). */
export type WatchEnd = 'end' | 'reset' | 'expired';

/** A bookmark is sent once a minute, and shortly before the end. */
const BOOKMARK_INTERVAL = 60_000;
const BOOKMARK_BEFORE_END = 2_000;

const bookmark = (version: bigint, initialEventsEnd: boolean) =>
  JSON.stringify({
    kind: 'Lease',
    apiVersion: 'coordination.k8s.io/v1',
    metadata: {
      resourceVersion: String(version),
      ...(initialEventsEnd && {
        annotations: { 'k8s.io/initial-events-end': 'true' },
      }),
    },
    spec: {},
  });

/** The last state of a Lease, with the version of the change that removed it. */
function lastState({ lease }: StoredEntry, version: bigint): string {
  const resourceVersion = String(version);
  return JSON.stringify({
    ...lease,
    metadata: { ...lease.metadata, resourceVersion },
  });
}

class Watch {
  private readonly timers = new Set<NodeJS.Timeout>();
  private readonly late: { due: number; deliver: () => void }[] = [];
  private isOver = false;
  /** The latest version that was sent to the client. */
  private sentVersion: bigint;

  constructor(
    readonly request: ReceivedRequest,
    private readonly response: ServerResponse,
    private readonly options: WatchOptions,
    private readonly storage: LeaseStorage,
    private readonly faults: Faults,
  ) {
    this.sentVersion = options.since;
  }

  start(): void {
    this.response.writeHead(200, { 'Content-Type': 'application/json' });
    this.response.flushHeaders();
    const { since, bookmarks, timeoutSeconds } = this.options;
    if (since === 0n) {
      this.sendPresent();
    } else if (!this.sendSince(since)) {
      return;
    }
    const ms = timeoutSeconds * 1_000;
    this.after(ms, () => this.deliver(() => this.end('end')));
    if (!bookmarks) {
      return;
    }
    this.after(ms - BOOKMARK_BEFORE_END, () => this.remind());
    const everyMinute = () => {
      this.remind();
      this.after(BOOKMARK_INTERVAL, everyMinute);
    };
    this.after(BOOKMARK_INTERVAL, everyMinute);
  }

  /** Sends a change: a Lease that starts to match is ADDED, one that stops matching is DELETED. */
  changed({ version, before, after }: StorageEvent): void {
    if (this.isOver || version <= this.options.since) {
      return;
    }
    const fitted = before !== undefined && this.fits(before);
    if (after !== undefined && this.fits(after)) {
      this.send(fitted ? 'MODIFIED' : 'ADDED', after.json, version);
    } else if (fitted) {
      this.send('DELETED', lastState(before, version), version);
    }
  }

  end(how: WatchEnd, error?: ApiError): void {
    this.clear();
    if (how === 'reset') {
      this.response.socket?.resetAndDestroy();
      return;
    }
    if (how === 'expired') {
      const status = (
        error ?? new ApiError(410, 'Expired', 'too old resource version')
      ).status;
      this.response.write(
        `{"type":"ERROR","object":${JSON.stringify(status)}}\n`,
      );
    }
    this.response.end();
  }

  /** Discards every pending event. */
  clear(): void {
    this.isOver = true;
    for (const timer of this.timers) {
      clearTimeout(timer);
    }
    this.timers.clear();
  }

  private fits({ lease }: StoredEntry): boolean {
    const { namespace, selects } = this.options;
    const isInScope =
      namespace === undefined || namespace === lease.metadata.namespace;
    return isInScope && selects(lease);
  }

  private sendPresent(): void {
    for (const entry of this.storage.list(this.options.namespace)) {
      if (this.fits(entry)) {
        this.send('ADDED', entry.json, 0n);
      }
    }
    if (this.options.bookmarks) {
      this.sendBookmark(true);
    }
  }

  /** @returns false if the history does not reach back that far; the watch has then ended. */
  private sendSince(version: bigint): boolean {
    try {
      for (const event of this.storage.since(version)) {
        this.changed(event);
      }
      return true;
    } catch (error) {
      if (!(error instanceof ApiError)) {
        throw error;
      }
      this.end('expired', error);
      return false;
    }
  }

  /** Sends a bookmark, unless the client has this version already. */
  private remind(): void {
    if (this.storage.version > this.sentVersion) {
      this.sendBookmark(false);
    }
  }

  private sendBookmark(endsInitialEvents: boolean): void {
    const { version } = this.storage;
    this.send('BOOKMARK', bookmark(version, endsInitialEvents), version);
  }

  private send(type: string, object: string, version: bigint): void {
    const line = `{"type":"${type}","object":${object}}\n`;
    if (version > this.sentVersion) {
      this.sentVersion = version;
    }
    this.deliver(() => this.response.write(line));
  }

  /** Sends something to the client: at once, late or never, depending on faults. */
  private deliver(deliver: () => void): void {
    const lag = this.faults.meetEvent(this.request);
    if (lag === 'lost') {
      return;
    }
    if (lag === 0 && this.late.length === 0) {
      deliver();
      return;
    }
    this.late.push({ due: performance.now() + lag, deliver });
    if (this.late.length === 1) {
      this.after(lag, () => this.catchUp());
    }
  }

  /** Sends the events that are due, in order: no event overtakes an earlier one. */
  private catchUp(): void {
    while (this.late.length > 0) {
      const wait = this.late[0]!.due - performance.now();
      if (wait > 0) {
        this.after(Math.ceil(wait), () => this.catchUp());
        return;
      }
      this.late.shift()!.deliver();
    }
  }

  private after(ms: number, run: () => void): void {
    if (ms < 0) {
      return;
    }
    // A longer time-out would overflow the timer and fire at once.
    const timer = setTimeout(
      () => {
        this.timers.delete(timer);
        run();
      },
      Math.min(ms, 2 ** 31 - 1),
    );
    this.timers.add(timer);
  }
}

/** All open watches of a server. */
export class Watches {
  private readonly open = new Set<Watch>();

  constructor(
    private readonly storage: LeaseStorage,
    private readonly faults: Faults,
  ) {
    storage.subscribe((event) => {
      for (const watch of this.open) {
        watch.changed(event);
      }
    });
  }

  start(
    request: ReceivedRequest,
    response: ServerResponse,
    options: WatchOptions,
  ): void {
    const watch = new Watch(
      request,
      response,
      options,
      this.storage,
      this.faults,
    );
    this.open.add(watch);
    response.once('close', () => {
      watch.clear();
      this.open.delete(watch);
    });
    watch.start();
  }

  count(match: RequestMatch): number {
    return this.fitting(match).length;
  }

  end(how: WatchEnd, match: RequestMatch): number {
    const ended = this.fitting(match);
    for (const watch of ended) {
      this.open.delete(watch);
      watch.end(how);
    }
    return ended.length;
  }

  private fitting(match: RequestMatch): Watch[] {
    return [...this.open].filter(({ request }) => matches(match, request));
  }
}
