/** Follows all Leases of a namespace: a list after every gap, and each change in between. A hint, as every watch. */
import { toStoredLease, nameOf, UnreadableAnswer } from './api-response.js';
import type { KubeHttpClient } from './kube-http-client.js';
import type { StoredLease } from './lease-store.js';
import {
  compareVersions,
  LeaseWatch,
  type ChangeType,
  type LeaseWatchOptions,
} from './lease-watch.js';

/** Milliseconds from a list that failed to the next one. */
const RETRY = 2_000;

/** Receives the states of the Leases of a namespace. */
export interface CollectionObserver {
  /** All that there are: at the start, and after a gap in which changes may have been missed. */
  listed(leases: readonly StoredLease[]): void;
  changed(lease: StoredLease): void;
  deleted(name: string): void;
  /** After a failure: the watch goes on where it was. */
  resumed(): void;
  /** The watch failed, and is being restarted. */
  failed(error: Error): void;
}

interface Change {
  readonly type: ChangeType;
  readonly lease: StoredLease;
}

export class CollectionWatch {
  private readonly watch: LeaseWatch;
  /** The changes since the watch opened, while its list is on the way; undefined = the list has been told. */
  private early: Change[] | undefined = [];
  /** Of the last list: an answer to an earlier one is not told. */
  private lists = 0;
  private isClosed = false;

  constructor(
    client: KubeHttpClient,
    private readonly namespace: string,
    path: string,
    options: LeaseWatchOptions,
    private readonly list: () => Promise<StoredLease[]>,
    private readonly observer: CollectionObserver,
  ) {
    this.watch = new LeaseWatch(
      client,
      { namespace },
      path,
      {
        opened: (isListed) => {
          if (isListed || this.early !== undefined) {
            void this.readAll();
          } else {
            this.observer.resumed();
          }
        },
        changed: (type, object) => this.see(type, object),
        failed: (error) => this.observer.failed(error),
      },
      options,
    );
    this.watch.open();
  }

  close(): void {
    this.isClosed = true;
    this.watch.close();
  }

  /** Never rejects. If the list fails, the next opening of the watch tries again. */
  private async readAll(): Promise<void> {
    this.early = [];
    this.lists += 1;
    const own = this.lists;
    const isCurrent = (): boolean => !this.isClosed && own === this.lists;
    try {
      const leases = await this.list();
      if (isCurrent()) {
        this.tellAll(leases);
      }
    } catch (error) {
      if (isCurrent()) {
        this.observer.failed(
          error instanceof Error ? error : new Error(String(error)),
        );
        setTimeout(() => isCurrent() && void this.readAll(), RETRY).unref();
      }
    }
  }

  private tellAll(leases: readonly StoredLease[]): void {
    const { early = [] } = this;
    const versions = new Map(
      leases.map(({ metadata }) => [metadata.name, metadata.resourceVersion]),
    );
    this.early = undefined;
    this.observer.listed(leases);
    for (const change of early) {
      const { name, resourceVersion } = change.lease.metadata;
      const order = compareVersions(resourceVersion, versions.get(name));
      // The list has earlier ones. Some servers report a deletion with the version of the last change.
      if (change.type === 'DELETED' ? order >= 0 : order > 0) {
        this.tell(change);
      }
    }
  }

  private see(type: ChangeType, object: unknown): void {
    let lease: StoredLease;
    try {
      lease = toStoredLease(object, { namespace: this.namespace });
    } catch (error) {
      if (
        !(error instanceof UnreadableAnswer) ||
        nameOf(object) === undefined
      ) {
        throw error;
      }
      return; // one that is broken must not stop the watch
    }
    if (this.early) {
      this.early.push({ type, lease });
    } else {
      this.tell({ type, lease });
    }
  }

  private tell({ type, lease }: Change): void {
    if (this.isClosed) {
      return;
    }
    if (type === 'DELETED') {
      this.observer.deleted(lease.metadata.name);
    } else {
      this.observer.changed(lease);
    }
  }
}
