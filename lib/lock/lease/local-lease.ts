/** The state that all callers of this process share for one Lease: observed record, queue, watch and holder. */
import {
  LeaseStoreError,
  type Lease,
  type LeaseKey,
  type LeaseStore,
  type RequestOptions,
  type StoredLease,
} from '../../kube/lease-store.js';
import { waitUntil } from '../abort-signals.js';
import type { Clock } from '../clock.js';
import { ObservedLease, versionOf } from '../record/observed-lease.js';
import { isStoredAs, withoutManagedFields } from '../record/lease-record.js';
import type { ObservableSession, SessionReference } from '../record/session.js';
import { Fairness } from './fairness.js';
import { LocalQueue } from './local-queue.js';

/** The contention window over which attempts are spread: initial and maximal, in milliseconds. */
const FIRST_WINDOW = 4;
const WIDEST_WINDOW = 1_000;

/** Listens to observations of the record, and to the progress of the caller that has the turn. */
export interface RecordListener {
  recordSeen(lease: StoredLease): void;
  recordGone(): void;
  /** The caller that has the turn has acquired the lock. */
  lockTaken?(): void;
  /** A request of the caller that has the turn failed. */
  turnFailed?(): void;
}

export class LocalLease {
  readonly observed: ObservedLease;
  readonly queue = new LocalQueue();
  readonly fairness: Fairness;
  /** The holder in this process, until its release begins or the lock is lost. */
  holder: string | undefined;
  /** The number of consecutive handovers between callers of this process. */
  handovers = 0;
  /** Releases the record of a holder that has handed over to a waiter, in case that waiter gives up. */
  endHandover: (() => void) | undefined;
  /** The last failure of the caller that has the turn, unless something newer is known of the lock. */
  failure: LeaseStoreError | undefined;
  /** Whether the caller that has the turn waits for a holder of the lock. */
  hasMetHolder = false;
  private requests = 0;
  private readonly listeners = new Set<RecordListener>();
  private watch: { close(): void } | undefined;
  private watchers = 0;
  /** R12: the session of the holder, while that is another process and the Lease is watched. */
  private followed: { session: ObservableSession; end: () => void } | undefined;
  private window = 0;

  constructor(
    readonly key: LeaseKey,
    private readonly store: LeaseStore,
    private readonly clock: Clock,
    private readonly onWatchFailure: (error: Error) => void,
    findSession?: (session: SessionReference) => ObservableSession,
  ) {
    this.observed = new ObservedLease(clock, findSession);
    this.fairness = new Fairness(clock);
  }

  /** Whether no caller uses this object, so that it can be dropped. */
  get isIdle(): boolean {
    return (
      !this.queue.isOccupied && this.watchers === 0 && this.listeners.size === 0
    );
  }

  /** Whether a request about the record is in flight. */
  get isAsking(): boolean {
    return this.requests > 0;
  }

  get isWatched(): boolean {
    return this.watch !== undefined;
  }

  /** Records an observation from a read, a write or the watch. */
  see(
    lease: StoredLease,
    how: { live?: boolean; askedAt?: number } = {},
  ): void {
    if (this.observed.see(lease, how)) {
      this.followSession();
      for (const listener of this.listeners) {
        listener.recordSeen(lease);
      }
    }
  }

  /** Records that the Lease does not exist. */
  seeAbsent(how: { askedAt?: number } = {}): void {
    this.observed.seeAbsent(how);
    this.followSession();
    for (const listener of this.listeners) {
      listener.recordGone();
    }
  }

  /** Reads the record from the API server; null if there is none. */
  async read(options: RequestOptions): Promise<StoredLease | null> {
    const { newest } = this.observed;
    const askedAt = this.clock.now();
    const lease = await this.ask(this.store.get(this.key, options));
    if (lease === undefined) {
      this.seeAbsent({ askedAt });
      return null;
    }
    if (versionOf(lease) < newest) {
      // A read can't be older than earlier observations, unless etcd was restored from a backup.
      this.observed.forget();
    }
    this.see(lease, { askedAt });
    return lease;
  }

  /**
   * R1: replaces the record by the result of `make`, which is derived from it. `make` is called when the
   * request is sent.
   *
   * @throws LeaseStoreError
   */
  replace(
    make: () => StoredLease,
    options: RequestOptions,
  ): Promise<StoredLease> {
    return this.write(
      () => withoutManagedFields(make()),
      (made) => this.store.replace(this.key, made, options),
    );
  }

  /** R1: creates the record. @throws LeaseStoreError */
  create(make: () => Lease, options: RequestOptions): Promise<StoredLease> {
    return this.write(make, (made) =>
      this.store.create(this.key, made, options),
    );
  }

  /** R9: deletes the record if it is unchanged, or throws. @returns whether it is gone */
  async delete(lease: StoredLease, options: RequestOptions): Promise<boolean> {
    const { uid, resourceVersion } = lease.metadata;
    const isGone = await this.ask(
      this.store.delete(this.key, { uid, resourceVersion }, options),
    );
    if (isGone) {
      this.seeAbsent();
    }
    return isGone;
  }

  /** An answer that differs from the written record does not show the present record, so it counts as ambiguous. */
  private async write<T extends Lease>(
    make: () => T,
    send: (made: () => T) => Promise<StoredLease>,
  ): Promise<StoredLease> {
    let sent: T | undefined;
    const written = await this.ask(send(() => (sent = make())));
    if (sent === undefined || !isStoredAs(written, sent)) {
      throw new LeaseStoreError(
        'server',
        `Can't write Lease ${this.key.namespace}/${this.key.name}: the API server answered with success, but with a record other than the written one. Check the proxies between this process and the API server, and which admission webhooks change Leases.`,
        { ambiguous: true },
      );
    }
    this.see(written);
    return written;
  }

  private async ask<T>(request: Promise<T>): Promise<T> {
    this.requests += 1;
    try {
      return await request;
    } finally {
      this.requests -= 1;
    }
  }

  /** A caller gets the turn; the known state is that of the callers before it. */
  beginTurn(): void {
    this.failure = undefined;
    this.hasMetHolder = false;
  }

  /** The caller that has the turn has found a holder of the lock. */
  metHolder(): void {
    this.failure = undefined;
    this.hasMetHolder = true;
  }

  /** A request of the caller that has the turn failed. */
  fail(error: LeaseStoreError): void {
    this.failure = error;
    for (const listener of this.listeners) {
      listener.turnFailed?.();
    }
  }

  /** Adds a listener; returns a function that removes it. */
  listen(listener: RecordListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Resolves on the next observation, or after `delay`; rejects with the signal's reason. */
  changeOrTime(delay: number, signal: AbortSignal): Promise<void> {
    return waitUntil((done) => {
      const cancelTimer = this.clock.schedule(this.clock.now() + delay, done);
      const unlisten = this.listen({ recordSeen: done, recordGone: done });
      return () => {
        cancelTimer();
        unlisten();
      };
    }, signal);
  }

  /** Watches the Lease until the returned function is called. */
  keepWatched(): () => void {
    this.watchers += 1;
    this.watch ??= this.store.watch(this.key, {
      changed: (lease, live) => this.see(lease, { live }),
      deleted: () => this.seeAbsent(),
      failed: this.onWatchFailure,
    });
    this.followSession();
    let kept = true;
    return () => {
      if (kept) {
        kept = false;
        this.watchers -= 1;
        if (this.watchers === 0) {
          this.watch?.close();
          this.watch = undefined;
          this.followSession();
        }
      }
    };
  }

  /** R12: a watched Lease whose holder has a session needs to know of that session, too. */
  private followSession(): void {
    const session = this.watchers > 0 ? this.observed.session : undefined;
    if (session !== this.followed?.session) {
      this.followed?.end();
      this.followed = session && {
        session,
        end: session.follow(() => this.sessionSeen()),
      };
    }
  }

  private sessionSeen(): void {
    const { lease } = this.observed;
    if (lease) {
      for (const listener of this.listeners) {
        listener.recordSeen(lease);
      }
    }
  }

  /** The caller that has the turn has acquired the lock. */
  heldBy(identity: string): void {
    this.holder = identity;
    this.failure = undefined;
    for (const listener of this.listeners) {
      listener.lockTaken?.();
    }
  }

  /** Ends the present turn. */
  leave(): void {
    this.holder = undefined;
    if (!this.queue.hasWaiters) {
      this.handovers = 0;
      this.endHandover?.();
      this.endHandover = undefined;
    }
    this.queue.leave();
  }

  /**
   * A random delay within the contention window; it gets shorter the more often the caller was too late.
   */
  spread(timesLate: number): number {
    return (this.clock.random() * this.window) / (1 + timesLate);
  }

  /** Widens the contention window after a conflict. */
  widen(): void {
    this.window = Math.min(
      Math.max(this.window * 2, FIRST_WINDOW),
      WIDEST_WINDOW,
    );
  }

  /** Narrows the contention window after a success. */
  narrow(): void {
    this.window = this.window < FIRST_WINDOW ? 0 : this.window / 2;
  }
}
