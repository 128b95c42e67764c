/** R12: the session of this process, as the locks that it holds under it need it. */
import type { LockLossReason } from '../../lock.errors.js';
import type { SessionReference } from '../record/session.js';

/** A session that this process holds, or has lost. */
export interface HeldSession {
  readonly reference: SessionReference;
  /** Monotonic time at which its last successful renewal was sent: the deadline of its locks counts from it (R8). */
  readonly lastSentAt: number;
  readonly isHeld: boolean;
  /** Calls back when the session is lost, or at once if it was. @returns a function that stops that */
  onLoss(callback: (reason: LockLossReason) => void): () => void;
  /** A lock is held under it until the returned function is called. */
  join(): () => void;
}

/** Opens the session of this process in one namespace. */
export interface SessionOpener {
  /** The session of this process, which is opened if there is none. @throws LeaseStoreError, LockError */
  open(): Promise<HeldSession>;
}
