/** R12: the session of this process, as the locks that it holds under it need it. */
import type { LockLossReason, LockReference } from '../../lock.errors.js';
import type { SessionReference } from '../record/session.js';

/** A session that this process holds, or has lost. */
export interface HeldSession {
  readonly reference: SessionReference;
  /** Monotonic time at which its last successful renewal was sent: the deadline of its locks counts from it (R8). */
  readonly lastSentAt: number;
  readonly isHeld: boolean;
  /** Why its locks are lost with it. Only once it is lost. */
  readonly lossReason: LockLossReason;
  /** Calls back when the session is lost, or at once if it was. @returns a function that stops that */
  onLoss(callback: () => void): () => void;
  /** The lock is held under it until the returned function is called. */
  join(lock: LockUnderSession): () => void;
}

/** A lock that is held under a session, and therefore sends no renewals that would show that it was taken away. */
export interface LockUnderSession {
  readonly lock: LockReference;
  /** Reads the record, and loses the lock if that is another's. Never rejects. */
  look(): Promise<void>;
}

/** Opens the session of this process in one namespace. */
export interface SessionOpener {
  /** The session of this process, which is opened if there is none. @throws LeaseStoreError, LockError */
  open(): Promise<HeldSession>;
}
