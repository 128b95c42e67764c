/** Everything that this process knows and does about one Lease, shared by all who want its lock. */
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
import { isStoredAs } from '../record/lease-record.js';
import { Fairness } from './fairness.js';
import { LocalQueue } from './local-queue.js';

/** Milliseconds of the first window in which contenders spread their tries, and of the widest. */
const FIRST_WINDOW = 4;
const WIDEST_WINDOW = 1_000;

/** Is told what was seen of the record, and what became of the turn. */
export interface RecordListener {
  recordSeen(lease: StoredLease): void;
  recordGone(): void;
  /** The caller that has the turn has acquired the lock. */
  lockTaken?(): void;
  /** The caller that has the turn does not get on. */
  turnFailed?(): void;
}

export class LocalLease {
  readonly observed: ObservedLease;
  readonly queue = new LocalQueue();
  readonly fairness: Fairness;
  /** Who holds the lock, of this process: it has the turn, is alive, and has not begun to give it back. */
  holder: string | undefined;
  /** How often in a row the lock went from one caller of this process to the next. */
  handovers = 0;
  /** Releases the record of a holder that has handed over to a waiter, should that one give up. */
  endHandover: (() => void) | undefined;
  /** Why the caller that has the turn does not get on, if that is the latest that is known of the lock. */
  failure: LeaseStoreError | undefined;
  /** Whether the caller that has the turn waits for somebody who holds the lock. */
  hasMetHolder = false;
  private requests = 0;
  private readonly listeners = new Set<RecordListener>();
  private watch: { close(): void } | undefined;
  private watchers = 0;
  private window = 0;

  constructor(
    readonly key: LeaseKey,
    private readonly store: LeaseStore,
    private readonly clock: Clock,
    private readonly onWatchFailure: (error: Error) => void,
  ) {
    this.observed = new ObservedLease(clock);
    this.fairness = new Fairness(clock);
  }

  /** Whether no caller uses this object; it may be forgotten without harm. */
  get isIdle(): boolean {
    return (
      !this.queue.isOccupied && this.watchers === 0 && this.listeners.size === 0
    );
  }

  /** Whether a request about the record is under way. */
  get isAsking(): boolean {
    return this.requests > 0;
  }

  get isWatched(): boolean {
    return this.watch !== undefined;
  }

  /** Takes in a record that was read, written or reported by the watch. */
  see(
    lease: StoredLease,
    how: { live?: boolean; askedAt?: number } = {},
  ): void {
    if (this.observed.see(lease, how)) {
      for (const listener of this.listeners) {
        listener.recordSeen(lease);
      }
    }
  }

  /** Takes in that there is no record. */
  seeAbsent(how: { askedAt?: number } = {}): void {
    this.observed.seeAbsent(how);
    for (const listener of this.listeners) {
      listener.recordGone();
    }
  }

  /** Reads the record from the API server; null when there is none. */
  async read(options: RequestOptions): Promise<StoredLease | null> {
    const { newest } = this.observed;
    const askedAt = this.clock.now();
    const lease = await this.ask(this.store.get(this.key, options));
    if (lease === undefined) {
      this.seeAbsent({ askedAt });
      return null;
    }
    if (versionOf(lease) < newest) {
      // A read is never behind what was known before it was sent: etcd was restored from a backup.
      this.observed.forget();
    }
    this.see(lease, { askedAt });
    return lease;
  }

  /**
   * R1: puts what `make` makes in the place of the record that it is made from. It is called in the moment in
   * which the request is sent.
   *
   * @throws LeaseStoreError
   */
  replace(
    make: () => StoredLease,
    options: RequestOptions,
  ): Promise<StoredLease> {
    return this.write(make, (made) =>
      this.store.replace(this.key, made, options),
    );
  }

  /** R1: creates the record. @throws LeaseStoreError */
  create(make: () => Lease, options: RequestOptions): Promise<StoredLease> {
    return this.write(make, (made) =>
      this.store.create(this.key, made, options),
    );
  }

  /** R9: deletes the record as it was seen, or throws. @returns whether it is gone */
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

  /** An answer that shows something else than what was written says nothing of what the record is now. */
  private async write<T extends Lease>(
    make: () => T,
    send: (made: () => T) => Promise<StoredLease>,
  ): Promise<StoredLease> {
    let sent: T | undefined;
    const written = await this.ask(send(() => (sent = make())));
    if (sent === undefined || !isStoredAs(written, sent)) {
      throw new LeaseStoreError(
        'server',
        `Can't write Lease ${this.key.namespace}/${this.key.name}: the API server answered with success, and with a record that is not the one that was written. Check the proxies between this process and the API server, and which admission webhooks change Leases.`,
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

  /** A caller has the turn: what is known is what those before it have learned. */
  beginTurn(): void {
    this.failure = undefined;
    this.hasMetHolder = false;
  }

  /** The caller that has the turn has found that somebody holds the lock. */
  metHolder(): void {
    this.failure = undefined;
    this.hasMetHolder = true;
  }

  /** The caller that has the turn does not get on. */
  fail(error: LeaseStoreError): void {
    this.failure = error;
    for (const listener of this.listeners) {
      listener.turnFailed?.();
    }
  }

  /** Returns what ends it. */
  listen(listener: RecordListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Resolves when a record is seen, or after `delay`; rejects with the signal's reason. */
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

  /** Keeps the Lease watched until the returned function is called. */
  keepWatched(): () => void {
    this.watchers += 1;
    this.watch ??= this.store.watch(this.key, {
      changed: (lease, live) => this.see(lease, { live }),
      deleted: () => this.seeAbsent(),
      failed: this.onWatchFailure,
    });
    let kept = true;
    return () => {
      if (kept) {
        kept = false;
        this.watchers -= 1;
        if (this.watchers === 0) {
          this.watch?.close();
          this.watch = undefined;
        }
      }
    };
  }

  /** The caller that has the turn has acquired the lock. */
  heldBy(identity: string): void {
    this.holder = identity;
    this.failure = undefined;
    for (const listener of this.listeners) {
      listener.lockTaken?.();
    }
  }

  /** Ends the turn of whoever has it. */
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
   * A random moment within the window by which contenders keep out of each other's way: the sooner,
   * the more often the caller has come too late.
   */
  spread(timesLate: number): number {
    return (this.clock.random() * this.window) / (1 + timesLate);
  }

  /** Others wrote at the same moment: spread wider. */
  widen(): void {
    this.window = Math.min(
      Math.max(this.window * 2, FIRST_WINDOW),
      WIDEST_WINDOW,
    );
  }

  /** A try got through: spread less. */
  narrow(): void {
    this.window = this.window < FIRST_WINDOW ? 0 : this.window / 2;
  }
}
