/** R12: a session of this process: an ordinary Lease that is held and renewed as a lock is, for the locks under it. */
import { LockLostError, type LockLossReason } from '../../lock.errors.js';
import { onAbort } from '../abort-signals.js';
import type { StoredLease } from '../../kube/lease-store.js';
import type { HeldSession, LockUnderSession } from '../hold/held-session.js';
import type { LeaseHolder } from '../hold/lease-holder.js';
import type { LocalLease } from '../lease/local-lease.js';
import { versionOf } from '../record/observed-lease.js';
import { askedToLookAt, type SessionReference } from '../record/session.js';

/** Milliseconds without a lock after which a session is deleted. */
const LONGEST_IDLE = 300_000;
/** The number of locks that are looked at in each renewal interval, one after the other. */
const MOST_LOOKS = 10;

export class OwnSession implements HeldSession {
  readonly reference: SessionReference;
  private readonly listeners = new Set<() => void>();
  /** The locks that are held under it: first the one that was not looked at for longest. */
  private readonly locks = new Set<LockUnderSession>();
  private cancelEnd: (() => void) | undefined;
  private cancelLook: (() => void) | undefined;
  /** The lock that others have asked this process to look at. */
  private askedFor: string | undefined;

  constructor(
    private readonly holder: LeaseHolder,
    local: LocalLease,
    uid: string,
    /** Called when it is about to be deleted. */
    private readonly onEnd: () => void,
  ) {
    const { lock, options } = holder;
    const duration = options.leaseDuration;
    this.reference = { name: lock.leaseName, uid, duration };
    holder.lend();
    onAbort(holder.signal, () => this.lost());
    let newest = 0n;
    local.listen({
      recordSeen: (lease) => {
        if (versionOf(lease) < newest) {
          holder.loseRestored();
        }
        newest = versionOf(lease);
        this.lookAtAskedFor(lease);
      },
      recordGone: () => undefined,
    });
    this.endWhenIdle();
  }

  get lastSentAt(): number {
    return this.holder.lastSentAt;
  }

  get isHeld(): boolean {
    return this.holder.isHeld;
  }

  onLoss(callback: () => void): () => void {
    const listener = (): void => callback();
    this.listeners.add(listener);
    if (!this.isHeld) {
      listener();
    }
    return () => this.listeners.delete(listener);
  }

  join(lock: LockUnderSession): () => void {
    this.locks.add(lock);
    this.endWhenIdle();
    this.lookLater();
    return () => {
      this.locks.delete(lock);
      this.endWhenIdle();
    };
  }

  /** Deletes the Lease, if it still names this process. Never rejects. */
  async end(): Promise<void> {
    if (!this.holder.isReleased) {
      this.onEnd();
      const ended = this.holder.giveBack();
      // Only now, since the release may find that the session was lost.
      this.cancelEnd?.();
      this.cancelLook?.();
      await ended;
    }
  }

  private endWhenIdle(): void {
    if (this.isHeld) {
      const now = this.holder.context.clock.now();
      this.endAt(this.locks.size === 0 ? now + LONGEST_IDLE : Infinity);
    }
  }

  /** Looks at one lock after the other: without renewals, nothing else shows that a lock was taken by force or deleted. */
  private lookLater(): void {
    if (this.cancelLook !== undefined || !this.isHeld) {
      return;
    }
    const { context, options } = this.holder;
    const { clock } = context;
    const looks = Math.min(Math.max(this.locks.size, 1), MOST_LOOKS);
    this.cancelLook = clock.schedule(
      clock.now() + options.renewInterval / looks,
      () => void this.lookAtNext(),
      { background: true },
    );
  }

  private async lookAtNext(): Promise<void> {
    const [next] = this.locks;
    if (next !== undefined) {
      this.locks.delete(next);
      this.locks.add(next);
      await next.look();
    }
    this.cancelLook = undefined;
    if (this.locks.size > 0) {
      this.lookLater();
    }
  }

  private lookAtAskedFor(lease: StoredLease): void {
    const asked = askedToLookAt(lease);
    if (asked !== undefined && asked !== this.askedFor) {
      const [leaseName] = asked.split(' ');
      for (const each of this.locks) {
        if (each.lock.leaseName === leaseName) {
          void each.look();
        }
      }
    }
    this.askedFor = asked;
  }

  private lost(): void {
    this.cancelLook?.();
    for (const listener of Array.from(this.listeners)) {
      listener();
    }
    // Work that was told to stop has the rest of the lease for it, as under a lock with its own lease.
    this.endAt(this.lastSentAt + this.reference.duration);
  }

  private endAt(at: number): void {
    const { clock } = this.holder.context;
    this.cancelEnd?.();
    this.cancelEnd =
      at === Infinity
        ? undefined
        : clock.schedule(at, () => void this.end(), { background: true });
  }

  get lossReason(): LockLossReason {
    const { reason } = this.holder.signal;
    const isLate =
      reason instanceof LockLostError && reason.reason === 'deadline';
    return isLate ? 'deadline' : 'session';
  }
}
