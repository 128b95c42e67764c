/** What happens to locks, as events: one type a thing that happens. */
import type {
  LockBackendError,
  LockLossReason,
  LockReference,
} from './lock.errors.js';

/** The lock is taken; the caller waits for it. */
export interface LockWaitingEvent extends LockReference {
  type: 'waiting';
}

/** The lock was acquired. */
export interface LockAcquiredEvent extends LockReference {
  type: 'acquired';
  fencingToken: bigint;
  /** Milliseconds from the call to the acquisition. */
  waited: number;
}

/** The lease of a held lock was renewed. */
export interface LockRenewedEvent extends LockReference {
  type: 'renewed';
  fencingToken: bigint;
}

/** The lock was given back. */
export interface LockReleasedEvent extends LockReference {
  type: 'released';
  fencingToken: bigint;
  /** Milliseconds from the acquisition to the call of `release()`. */
  held: number;
}

/** A call under `onLocked: 'skip'` or a `tryAcquire` found the lock taken. */
export interface LockSkippedEvent extends LockReference {
  type: 'skipped';
  holder?: string;
}

/** A held lock was lost. */
export interface LockLostEvent extends LockReference {
  type: 'lost';
  fencingToken: bigint;
  reason: LockLossReason;
}

/** A request to the API server failed. What it was for goes on as long as it can. */
export interface LockBackendErrorEvent extends LockReference {
  type: 'backend-error';
  /** What the request was for. */
  operation: 'acquire' | 'renew' | 'release' | 'watch';
  error: LockBackendError;
}

export type LockEvent =
  | LockWaitingEvent
  | LockAcquiredEvent
  | LockRenewedEvent
  | LockReleasedEvent
  | LockSkippedEvent
  | LockLostEvent
  | LockBackendErrorEvent;
