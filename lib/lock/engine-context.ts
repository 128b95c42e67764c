/** What every part of the engine works with, and how failures of the store are reported to users. */
import {
  FINAL_REASONS,
  LockBackendError,
  type LockReference,
} from '../lock.errors.js';
import type { LockBackendErrorEvent, LockEvent } from '../lock.events.js';
import {
  LeaseStoreError,
  type LeaseStore,
  type StoredLease,
} from '../kube/lease-store.js';
import type { Clock } from './clock.js';
import { isCoordinated, isTerminating } from './record/lease-record.js';

/** Milliseconds after which the API server has surely dropped a request that its client gave up on. */
export const LONGEST_WRITE = 60_000;

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

/** Trying again does not help: the request itself, or the rights, are wrong. */
export function isFinal({ reason }: LeaseStoreError): boolean {
  return FINAL_REASONS.includes(reason);
}

/** R10: throws when coordinated leader election owns the Lease. */
export function refuseCoordinated(
  lock: LockReference,
  lease: StoredLease | null | undefined,
): void {
  if (lease && isCoordinated(lease)) {
    throw new LockBackendError(lock, 'lease-refused', {
      message:
        'the Lease belongs to coordinated leader election (spec.strategy is set), which gives it to whom it chooses. Use another lock name.',
    });
  }
}

/** Throws, until it is gone, when the Lease was deleted: it would take a lock with it that is held on it. */
export function refuseTerminating(
  { namespace, leaseName }: LockReference,
  lease: StoredLease | undefined,
): void {
  if (lease && isTerminating(lease)) {
    throw new LeaseStoreError(
      'conflict',
      `Lease ${namespace}/${leaseName} was deleted, and stays until its finalizers are removed: it can't be held. See who has put them there (metadata.finalizers).`,
    );
  }
}

/** Throws when there is no Lease, and none may be created. */
export function refuseMissing(
  lock: LockReference,
  lease: StoredLease | null | undefined,
  createLease: boolean,
): void {
  if (lease === null && !createLease) {
    throw new LockBackendError(lock, 'lease-missing', {
      message:
        'the Lease does not exist and createLease is false. Create it, or set createLease: true.',
    });
  }
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

/** Milliseconds between tries while the API server fails, at most. */
const SLOWEST_RETRY = 5_000;

/** Milliseconds before the next try after the `failures`-th failure in a row: doubling, with jitter. */
export function backoff(
  clock: Clock,
  failures: number,
  most = SLOWEST_RETRY,
): number {
  return (
    Math.min(100 * 2 ** Math.min(failures - 1, 16), most) *
    (0.5 + clock.random() / 2)
  );
}

/** Milliseconds for which the API server is left alone at its wish (Retry-After), at most. */
const LONGEST_WISH = 60_000;

/**
 * Milliseconds for which the API server is left alone at its wish. Of the milliseconds that are `left` to
 * try, half remain, so that its wish does not cost what is tried.
 */
export function retryAfterOf(error: unknown, left: number): number {
  const wish = error instanceof LeaseStoreError ? (error.retryAfter ?? 0) : 0;
  return Math.min(wish, LONGEST_WISH, left / 2);
}

/** Whether somebody wrote in between: the first time, a second look will do, and it is no failure. */
export function isFirstConflict(error: unknown, failures: number): boolean {
  return (
    failures === 1 &&
    error instanceof LeaseStoreError &&
    error.reason === 'conflict'
  );
}

/**
 * Reports that a record could not be given back, and returns after how many milliseconds to try
 * again; `giveUpAt` is the monotonic time at which that ends.
 */
export function delayOfRetry(
  context: EngineContext,
  lock: LockReference,
  error: LeaseStoreError,
  { failures, giveUpAt }: { failures: number; giveUpAt: number },
): number {
  if (isFirstConflict(error, failures)) {
    return 0;
  }
  reportFailure(context, lock, 'release', error);
  const { clock } = context;
  const left = giveUpAt - clock.now();
  return Math.max(backoff(clock, failures), retryAfterOf(error, left));
}

/** Resolves when `work` has, or after `delay`; the work goes on. */
export function withTimeout(
  clock: Clock,
  delay: number,
  work: Promise<unknown>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancel = clock.schedule(clock.now() + delay, resolve);
    void work.then(() => resolve(), reject).finally(cancel);
  });
}

/** Resolves when `work` has; rejects with the signal's reason when that aborts first. The work goes on. */
export function unlessAborted(
  work: Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    void work
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', stop));
  });
}

/** Waits; rejects with the signal's reason when that aborts first. */
export function pause(
  clock: Clock,
  delay: number,
  signal?: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const stop = (): void => {
      cancel();
      reject(signal?.reason);
    };
    const cancel = clock.schedule(clock.now() + delay, () => {
      signal?.removeEventListener('abort', stop);
      resolve();
    });
    signal?.addEventListener('abort', stop, { once: true });
  });
}
