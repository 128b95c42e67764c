/** What every part of the engine uses: its services, its identity and its end; and the reporting of store failures. */
import { LockBackendError, type LockReference } from '../lock.errors.js';
import type { LockBackendErrorEvent, LockEvent } from '../lock.events.js';
import { LeaseStoreError, type LeaseStore } from '../kube/lease-store.js';
import type { Admission } from './admission.js';
import type { Clock } from './clock.js';

export interface EngineContext {
  readonly store: LeaseStore;
  readonly clock: Clock;
  readonly admission: Admission;
  /** Unique to the engine: holder identities begin with it (R7). */
  readonly clientId: string;
  /** The timeout of a request in milliseconds. */
  readonly requestTimeout: number;
  /** Never throws. */
  readonly emit: (event: LockEvent) => void;
  /** Registers work that no caller awaits, so that a shutdown can. The promise must not reject. */
  readonly background: (work: Promise<void>) => void;
  /** Aborts when the application begins to close: no lock is acquired any more. */
  readonly closing: AbortSignal;
  /** Aborts when the engine is closed, which ends all retries. */
  readonly closed: AbortSignal;
}

/** Converts a store error into the public error; returns any other error unchanged. */
export function toBackendError(
  error: LeaseStoreError,
  lock?: LockReference,
): LockBackendError;
export function toBackendError(error: unknown, lock?: LockReference): unknown;
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
