/** The services that every part of the engine uses, and the reporting of store failures. */
import { LockBackendError, type LockReference } from '../lock.errors.js';
import type { LockBackendErrorEvent, LockEvent } from '../lock.events.js';
import { LeaseStoreError, type LeaseStore } from '../kube/lease-store.js';
import type { Admission } from './admission.js';
import type { Clock } from './clock.js';

export interface EngineContext {
  readonly store: LeaseStore;
  readonly clock: Clock;
  readonly admission: Admission;
  /** The timeout of a request in milliseconds. */
  readonly requestTimeout: number;
  /** Never throws. */
  readonly emit: (event: LockEvent) => void;
  /** Registers work that no caller awaits, so that a shutdown can. The promise must not reject. */
  readonly background: (work: Promise<void>) => void;
}

/** Converts a store error into the public error; returns any other error unchanged. */
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

/** Reports a failed request that will be retried. */
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
