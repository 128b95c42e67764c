/** What every part of the engine works with, and how a failure of the store is reported to users. */
import { LockBackendError, type LockReference } from '../lock.errors.js';
import type { LockBackendErrorEvent, LockEvent } from '../lock.events.js';
import { LeaseStoreError, type LeaseStore } from '../kube/lease-store.js';
import type { Clock } from './clock.js';

export interface EngineContext {
  readonly store: LeaseStore;
  readonly clock: Clock;
  /** Milliseconds that a request may take. */
  readonly requestTimeout: number;
  /** Never throws. */
  readonly emit: (event: LockEvent) => void;
  /** Takes over work that nobody waits for, so that a shutdown can. It must not reject. */
  readonly background: (work: Promise<void>) => void;
}

/** The error that a user sees for a failed request; anything else passes as it is. */
export function toBackendError(error: unknown, lock?: LockReference): unknown {
  return error instanceof LeaseStoreError
    ? new LockBackendError(lock, error.reason, {
        message: error.message,
        status: error.status,
        retryAfter: error.retryAfter,
        cause: error,
      })
    : error;
}

/** Reports a failed request that is going to be tried again. */
export function reportFailure(
  { emit }: Pick<EngineContext, 'emit'>,
  lock: LockReference,
  operation: LockBackendErrorEvent['operation'],
  error: unknown,
): void {
  const reported = toBackendError(error, lock);
  if (reported instanceof LockBackendError) {
    emit({
      type: 'backend-error',
      ...lock,
      operation,
      error: reported,
    });
  }
}
