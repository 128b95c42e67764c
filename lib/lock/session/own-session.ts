/** R12: a session of this process: an ordinary Lease that is held and renewed as a lock is, for the locks under it. */
import { LockLostError, type LockLossReason } from '../../lock.errors.js';
import { onAbort } from '../abort-signals.js';
import type { HeldSession } from '../hold/held-session.js';
import type { LeaseHolder } from '../hold/lease-holder.js';
import type { LocalLease } from '../lease/local-lease.js';
import { versionOf } from '../record/observed-lease.js';
import type { SessionReference } from '../record/session.js';

/** Milliseconds without a lock after which a session is deleted. */
const LONGEST_IDLE = 300_000;

export class OwnSession implements HeldSession {
  readonly reference: SessionReference;
  private readonly listeners = new Set<(reason: LockLossReason) => void>();
  /** The number of locks that are held under it. */
  private locks = 0;
  private cancelEnd: (() => void) | undefined;

  constructor(
    private readonly hold: LeaseHolder,
    local: LocalLease,
    uid: string,
    /** Called when it is about to be deleted. */
    private readonly onEnd: () => void,
  ) {
    const { lock, options } = hold;
    const duration = options.leaseDuration;
    this.reference = { name: lock.leaseName, uid, duration };
    hold.lend();
    onAbort(hold.signal, () => this.lost());
    let newest = 0n;
    local.listen({
      recordSeen: (lease) => {
        if (versionOf(lease) < newest) {
          hold.loseRestored();
        }
        newest = versionOf(lease);
      },
      recordGone: () => undefined,
    });
    this.endWhenIdle();
  }

  get lastSentAt(): number {
    return this.hold.lastSentAt;
  }

  get isHeld(): boolean {
    return this.hold.isHeld;
  }

  onLoss(callback: (reason: LockLossReason) => void): () => void {
    const listener = (reason: LockLossReason): void => callback(reason);
    this.listeners.add(listener);
    if (this.hold.signal.aborted) {
      listener(this.lossReason);
    }
    return () => this.listeners.delete(listener);
  }

  join(): () => void {
    this.locks += 1;
    this.endWhenIdle();
    let isJoined = true;
    return () => {
      if (isJoined) {
        isJoined = false;
        this.locks -= 1;
        this.endWhenIdle();
      }
    };
  }

  /** Deletes the Lease, if it still names this process. Never rejects. */
  async end(): Promise<void> {
    this.cancelEnd?.();
    if (!this.hold.isReleased) {
      this.onEnd();
      await this.hold.giveBack();
    }
  }

  private endWhenIdle(): void {
    if (this.isHeld) {
      const now = this.hold.context.clock.now();
      this.endAt(this.locks === 0 ? now + LONGEST_IDLE : Infinity);
    }
  }

  private lost(): void {
    for (const listener of Array.from(this.listeners)) {
      listener(this.lossReason);
    }
    // Work that was told to stop has the rest of the lease for it, as under a lock with its own lease.
    this.endAt(this.lastSentAt + this.reference.duration);
  }

  private endAt(at: number): void {
    const { clock } = this.hold.context;
    this.cancelEnd?.();
    this.cancelEnd =
      at === Infinity
        ? undefined
        : clock.schedule(at, () => void this.end(), { background: true });
  }

  private get lossReason(): LockLossReason {
    const { reason } = this.hold.signal;
    const isLate =
      reason instanceof LockLostError && reason.reason === 'deadline';
    return isLate ? 'deadline' : 'session';
  }
}
