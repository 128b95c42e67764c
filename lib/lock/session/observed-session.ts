/** R12: a session under which locks are held: observes it, and ends it once it has expired (R5). */
import {
  LeaseStoreError,
  type RequestOptions,
} from '../../kube/lease-store.js';
import { untilAborted } from '../abort-signals.js';
import type { EngineContext } from '../engine-context.js';
import type { HeldSession } from '../hold/held-session.js';
import type { LocalLease, RecordListener } from '../lease/local-lease.js';
import { evict, readHolder } from '../record/lease-record.js';
import {
  isSession,
  type ObservableSession,
  type SessionReference,
  type SessionVerdict,
} from '../record/session.js';
import { LONGEST_WRITE, scheduleUnless } from '../retry.js';

/**
 * A lock and its session are two objects, so that the compare-and-swap on the lock does not detect a renewal of the
 * session. Therefore a lock is taken only when its session can't be renewed any more: the session has no holder,
 * since a write ended it that compared with the expired record; or it was absent for its duration. Its process can't
 * bring it back, since renewals name the uid.
 */
export class ObservedSession implements ObservableSession, RecordListener {
  private readonly observers = new Set<() => void>();
  private stopWatching: (() => void) | undefined;
  /** The request in flight, which all callers share. */
  private request: Promise<void> | undefined;
  /** Monotonic time at which the last answered read was sent. */
  private readAt = -Infinity;
  /** Monotonic time at which a read first showed that the session is gone. */
  private absentSince: number | undefined;
  /** Monotonic time at which this process learnt of its end. */
  private endedAt: number | undefined;

  /** @param own the session, if it is or was held by this process */
  constructor(
    private readonly context: EngineContext,
    private readonly session: SessionReference,
    private readonly local: LocalLease,
    private readonly own: HeldSession | undefined,
  ) {
    local.listen(this);
    own?.onLoss(() => this.lostByThisProcess());
  }

  get isToldOfChanges(): boolean {
    return this.local.isToldOfChanges;
  }

  get isObserved(): boolean {
    return this.observers.size > 0;
  }

  /** R12: what is known of the session. It has not ended merely because it has expired. */
  judge(): SessionVerdict {
    const { duration } = this.session;
    if (this.own?.isHeld) {
      const aliveAt = this.own.lastSentAt;
      const expiresAt = aliveAt + duration;
      return { hasEnded: false, expiresAt, aliveAt, wasSeenAlive: true };
    }
    this.noteEnd();
    const verdict = this.local.observed.judge();
    const { aliveAt } = verdict;
    if (this.endedAt !== undefined) {
      return { hasEnded: true, aliveAt, since: this.endedAt };
    }
    if (this.isPresent && !verdict.takeable) {
      const { expiresAt, wasSeenAlive } = verdict;
      return { hasEnded: false, expiresAt, aliveAt, wasSeenAlive };
    }
    // Absent; or about to be read, or to be ended.
    const since = this.absentSince ?? this.context.clock.now();
    const expiresAt = since + duration;
    return { hasEnded: false, expiresAt, aliveAt, wasSeenAlive: false };
  }

  observe(onNews: () => void): () => void {
    const observer = (): void => onNews();
    this.observers.add(observer);
    this.watch();
    return () => {
      this.observers.delete(observer);
      if (!this.isObserved) {
        this.stopWatching?.();
        this.stopWatching = undefined;
      }
    };
  }

  async readOrEnd(since: number, signal: AbortSignal): Promise<boolean> {
    const mustEnd = this.hasExpired;
    if (!mustEnd && !this.mustRead(since)) {
      return false;
    }
    this.request ??= (mustEnd ? this.end() : this.read()).finally(() => {
      this.request = undefined;
    });
    await untilAborted(this.request, signal);
    return true;
  }

  recordSeen(): void {
    this.tellObservers();
  }

  recordGone(): void {
    if (this.isObserved && this.mustRead(-Infinity)) {
      // The time of its absence counts from the read. If that fails, the next call repeats it.
      this.readOrEnd(-Infinity, this.context.closed).catch(() => undefined);
    }
    this.tellObservers();
  }

  /** Whether its Lease exists, as far as this process knows. */
  private get isPresent(): boolean {
    return this.local.observed.lease?.metadata.uid === this.session.uid;
  }

  /** A session that has no holder never gets one again, and one that is gone never comes back. */
  private noteEnd(): void {
    const { lease } = this.local.observed;
    const now = this.context.clock.now();
    const isFree = this.isPresent && lease != null && !readHolder(lease).held;
    const { absentSince = Infinity, session } = this;
    if (isFree || now >= absentSince + session.duration) {
      this.endedAt ??= now;
    }
  }

  /** R5. A Lease that is no session is never written, whatever a record says. */
  private get hasExpired(): boolean {
    const { lease } = this.local.observed;
    if (this.own?.isHeld || !this.isPresent || !lease || !isSession(lease)) {
      return false;
    }
    const verdict = this.local.observed.judge();
    return verdict.takeable && verdict.expired;
  }

  private mustRead(since: number): boolean {
    this.noteEnd();
    if (this.own?.isHeld || this.isKnown) {
      return false;
    }
    return !this.isPresent || (!this.isObserved && this.readAt < since);
  }

  /** Whether no read can tell more: it has ended, or will by the passing of time. */
  private get isKnown(): boolean {
    return this.endedAt !== undefined || this.absentSince !== undefined;
  }

  private async read(): Promise<void> {
    const { clock } = this.context;
    const askedAt = clock.now();
    await this.local.read(this.requestOptions());
    this.readAt = askedAt;
    if (!this.isPresent) {
      this.absentSince ??= clock.now();
      this.tellObservers();
    }
  }

  /** R1, R12: ends the session: its process can't renew the record that this write has changed. */
  private async end(): Promise<void> {
    const lease = this.local.observed.lease!;
    try {
      await this.local.replace(() => evict(lease), this.requestOptions());
      this.deleteLater();
    } catch (error) {
      const isOvertaken =
        error instanceof LeaseStoreError &&
        (error.reason === 'conflict' || error.reason === 'not-found');
      if (!isOvertaken) {
        throw error;
      }
      await this.read(); // it was renewed, or others have ended it
    }
  }

  /** Keeps the ended session for a while, since others may hold records of its locks for expired sooner if it exists. */
  private deleteLater(): void {
    const { clock, closed } = this.context;
    scheduleUnless(clock, closed, clock.now() + LONGEST_WRITE, () => {
      const { lease } = this.local.observed;
      if (lease && this.isPresent && !readHolder(lease).held) {
        // Without the right to delete, it stays.
        this.local
          .delete(lease, { ...this.requestOptions(), priority: 'look' })
          .catch(() => undefined);
      }
    });
  }

  private lostByThisProcess(): void {
    this.watch();
    this.tellObservers();
  }

  private watch(): void {
    if (this.isObserved && !this.own?.isHeld) {
      this.stopWatching ??= this.local.keepWatched();
    }
  }

  private tellObservers(): void {
    for (const observer of Array.from(this.observers)) {
      observer();
    }
  }

  private requestOptions(): RequestOptions {
    return {
      timeout: this.context.requestTimeout,
      signal: this.context.closed,
      priority: 'acquire',
    };
  }
}
