/** Reports the states of one Lease to its observer, in order and each once, whichever watches they come from. */
import { toStoredLease } from './api-response.js';
import type { LeaseKey, LeaseObserver } from './lease-store.js';
import {
  compareVersions,
  type ChangeType,
  type LeaseWatch,
  type ListedState,
} from './lease-watch.js';

export class WatchedLease {
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
  ) {}

  /**
   * Reports the state that a list returned, unless a later change was reported meanwhile.
   *
   * `before` is the version at the time of the request: a list that is older than that comes from a
   * cluster that was restored from a backup, and counts.
   */
  see({ lease, resourceVersion }: ListedState, before = this.version): void {
    const isOvertaken =
      compareVersions(resourceVersion, this.version) < 0 &&
      compareVersions(resourceVersion, before) >= 0;
    if (isOvertaken) {
      return;
    }
    this.version = resourceVersion;
    this.tell(() =>
      lease ? this.observer.changed(lease, false) : this.observer.deleted(),
    );
  }

  /** Reports a change, unless it is known. @throws UnreadableAnswer */
  change(type: ChangeType, object: unknown): void {
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
        ? this.observer.deleted()
        : this.observer.changed(lease, live),
    );
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
