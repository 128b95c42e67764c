/** Shares connections among the watches of one namespace, and tells each observer the states of its Lease. */
import { failureOfContent } from './api-errors.js';
import { nameOf, toStoredLease, UnreadableAnswer } from './api-response.js';
import type { KubeHttpClient } from './kube-http-client.js';
import {
  LeaseStoreError,
  type LeaseKey,
  type LeaseObserver,
  type WatchSelection,
} from './lease-store.js';
import {
  compareVersions,
  DEFAULT_TIMING,
  LeaseWatch,
  type ChangeType,
  type LeaseWatchOptions,
  type ListedState,
  type WatchTarget,
} from './lease-watch.js';

/**
 * More Leases than this share one watch of the namespace: over HTTP/1.1 each watch of one costs a connection
 * (docs/limits.md has the figures). HTTP/2 would still take a connection for each 100, and ways of its own
 * through proxies.
 */
const MOST_SINGLE = 16;
/** As few Leases as this are watched one by one again, and the events of others in the namespace are spared. */
const FEW = 8;
/** How many Leases are listed at once, when the watch of the namespace starts. */
const MOST_READERS = 8;

export class NamespaceWatches {
  private readonly leases = new Map<string, Set<WatchedLease>>();
  private count = 0;
  /** The watch of the whole namespace. */
  private whole?: LeaseWatch;
  private isWholeOpen = false;
  /** Whether the credentials may not watch the whole namespace: a Role can name the Leases. */
  private isRefused = false;
  /** Those whose state is to be listed, since the watch of the namespace has opened. */
  private readonly unread = new Set<WatchedLease>();
  private readers = 0;
  private linger?: NodeJS.Timeout;

  constructor(
    private readonly client: KubeHttpClient,
    private readonly namespace: string,
    private readonly path: string,
    private readonly options: LeaseWatchOptions,
  ) {}

  watch(
    name: string,
    observer: LeaseObserver,
    selection?: WatchSelection,
  ): { close(): void } {
    const lease = new WatchedLease(
      { namespace: this.namespace, name },
      observer,
      selection?.labelSelector,
    );
    this.leases.set(name, (this.leases.get(name) ?? new Set()).add(lease));
    this.count += 1;
    if (this.count > FEW) {
      this.stay();
    }
    if (this.whole === undefined && this.count > MOST_SINGLE) {
      this.followWhole();
    }
    if (this.whole === undefined) {
      this.follow(lease, selection?.from);
    } else if (this.isWholeOpen) {
      this.unread.add(lease);
      this.readNext();
    }
    return { close: () => this.remove(lease) };
  }

  close(): void {
    this.endWhole();
    for (const lease of this.all()) {
      this.remove(lease);
    }
  }

  /** A copy: an observer may open and close watches when it is told. */
  private all(): WatchedLease[] {
    return Array.from(this.leases.values()).flatMap((same) => Array.from(same));
  }

  private remove(lease: WatchedLease): void {
    if (lease.isClosed) {
      return;
    }
    lease.isClosed = true;
    const { name } = lease.key;
    const others = this.leases.get(name);
    others?.delete(lease);
    if (others?.size === 0) {
      this.leases.delete(name);
    }
    this.count -= 1;
    lease.single?.close();
    this.endReading(lease);
    this.readNext();
    if (this.whole && this.count <= FEW && !this.linger) {
      const { linger } = { ...DEFAULT_TIMING, ...this.options.timing };
      this.linger = setTimeout(() => this.followEach(), linger).unref();
    }
  }

  /** Follows a Lease by a watch of its own, from a known resourceVersion or from a list. */
  private follow(lease: WatchedLease, from?: string): void {
    const { labelSelector } = lease;
    lease.version ??= from;
    lease.single = this.open(
      { name: lease.key.name, labelSelector },
      {
        listed: (state) => lease.see(state, labelSelector),
        changed: (type, object) => lease.change(type, object, labelSelector),
        failed: (error) => lease.fail(error),
      },
      from,
    );
  }

  /** Goes over to the watch of the whole namespace. Each Lease keeps its own until it was listed. */
  private followWhole(): void {
    if (this.isRefused) {
      return;
    }
    this.whole = this.open(
      {},
      {
        opened: (listed) => this.wholeOpened(listed),
        changed: (type, object) => this.dispatch(type, object),
        failed: (error) => this.wholeFailed(error),
      },
    );
  }

  /** The watch of the namespace reports each change from now on. After a gap the state of each Lease is listed. */
  private wholeOpened(listed: boolean): void {
    this.isWholeOpen = true;
    if (!listed) {
      return;
    }
    for (const lease of this.all()) {
      // What was listed before this watch began may be older than the changes that it reports.
      this.endReading(lease);
      if (!lease.single) {
        lease.version = undefined;
      }
      this.unread.add(lease);
    }
    this.readNext();
  }

  private readNext(): void {
    for (const lease of this.unread) {
      if (this.readers >= MOST_READERS) {
        return;
      }
      this.unread.delete(lease);
      this.read(lease);
    }
  }

  /** Lists a Lease for its state, again until it succeeds. */
  private read(lease: WatchedLease): void {
    const { version } = lease;
    this.readers += 1;
    lease.reader = this.open(
      { name: lease.key.name },
      {
        listed: (state) => {
          lease.single?.close();
          lease.single = undefined;
          this.endReading(lease);
          lease.see(state, undefined, version);
          this.readNext();
        },
        failed: (error) => lease.fail(error),
      },
    );
  }

  private endReading(lease: WatchedLease): void {
    this.unread.delete(lease);
    if (lease.reader) {
      lease.reader.close();
      lease.reader = undefined;
      this.readers -= 1;
    }
  }

  /** Other Leases are not even validated: a broken one must not stop the watch. */
  private dispatch(type: ChangeType, object: unknown): void {
    for (const lease of Array.from(
      this.leases.get(nameOf(object) ?? '') ?? [],
    )) {
      try {
        lease.change(type, object);
      } catch (error) {
        if (!(error instanceof UnreadableAnswer)) {
          throw error;
        }
        const { requestTimeout: timeout } = this.options;
        const operation = { verb: 'watch', timeout, ...lease.key } as const;
        const answer = { status: 200, headers: {}, body: undefined };
        lease.fail(failureOfContent(operation, answer, error));
      }
    }
  }

  private wholeFailed(error: Error): void {
    if (error instanceof LeaseStoreError && error.status === 403) {
      this.isRefused = true;
      this.followEach();
      return;
    }
    for (const lease of this.all()) {
      lease.fail(error);
    }
  }

  /** Goes over to a watch of each Lease. Those whose state is known go on where the watch of the namespace was. */
  private followEach(): void {
    const from = this.whole?.position;
    for (const lease of this.all()) {
      const isKnown = !lease.reader && !this.unread.has(lease);
      if (!lease.single) {
        this.follow(lease, isKnown && this.isWholeOpen ? from : undefined);
      }
    }
    this.endWhole();
  }

  private endWhole(): void {
    this.stay();
    this.whole?.close();
    this.whole = undefined;
    this.isWholeOpen = false;
    for (const lease of this.all()) {
      this.endReading(lease);
    }
  }

  private stay(): void {
    clearTimeout(this.linger);
    this.linger = undefined;
  }

  private open(
    target: Omit<WatchTarget, 'namespace'>,
    listener: ConstructorParameters<typeof LeaseWatch>[3],
    from?: string,
  ): LeaseWatch {
    const watch = new LeaseWatch(
      this.client,
      { namespace: this.namespace, ...target },
      this.path,
      listener,
      this.options,
      from,
    );
    watch.open();
    return watch;
  }
}

/** Reports the states of one Lease to its observer, in order and each once, whichever watches they come from. */
class WatchedLease {
  /** The watch of this Lease alone, if it is followed so. */
  single?: LeaseWatch;
  /** The watch that lists it for its state, while it is followed by the watch of its namespace. */
  reader?: LeaseWatch;
  isClosed = false;
  /** The resourceVersion up to which the observer knows the Lease; undefined: any state is news. */
  version?: string;

  constructor(
    readonly key: LeaseKey,
    private readonly observer: LeaseObserver,
    /** Limits what the watch of this Lease alone tells. */
    readonly labelSelector?: string,
  ) {}

  /**
   * Reports the state that a list returned, unless a later change was reported meanwhile.
   *
   * `before` is the version at the time of the request: a list that is older than that comes from a
   * cluster that was restored from a backup, and counts.
   */
  see(
    { lease, resourceVersion }: ListedState,
    labelSelector?: string,
    before = this.version,
  ): void {
    const isOvertaken =
      compareVersions(resourceVersion, this.version) < 0 &&
      compareVersions(resourceVersion, before) >= 0;
    if (isOvertaken) {
      return;
    }
    this.version = resourceVersion;
    this.tell(() =>
      lease
        ? this.observer.changed(lease, false)
        : this.gone(resourceVersion, labelSelector),
    );
  }

  /** Reports a change, unless it is known. @throws UnreadableAnswer */
  change(type: ChangeType, object: unknown, labelSelector?: string): void {
    const { namespace, name } = this.key;
    const lease = toStoredLease(object, { namespace });
    // Sent by a server that ignores the field selector.
    if (lease.metadata.name !== name) {
      return;
    }
    const { resourceVersion } = lease.metadata;
    // Before the list has told, how old the first change is can't be known.
    const live = this.version !== undefined;
    const order = compareVersions(resourceVersion, this.version);
    // Some servers report a deletion with the resourceVersion of the last change.
    if (type === 'DELETED' ? order < 0 : order <= 0) {
      return;
    }
    this.version = resourceVersion;
    this.tell(() =>
      type === 'DELETED'
        ? this.gone(resourceVersion, labelSelector)
        : this.observer.changed(lease, live),
    );
  }

  /** What is gone from a selection may still exist. */
  private gone(resourceVersion: string, labelSelector?: string): void {
    if (labelSelector === undefined) {
      this.observer.deleted();
    } else {
      this.observer.unselected?.(resourceVersion);
    }
  }

  fail(error: Error): void {
    this.tell(() => this.observer.failed?.(error));
  }

  private tell(call: () => void): void {
    if (this.isClosed) {
      return;
    }
    try {
      call();
    } catch {
      // An observer that throws must not stop the watch.
    }
  }
}
