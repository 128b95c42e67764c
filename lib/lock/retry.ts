/** Retry policy: back-off, Retry-After, pauses and timeouts. */
import {
  FINAL_REASONS,
  type LockBackendReason,
  type LockReference,
} from '../lock.errors.js';
import { LeaseStoreError, type RequestOptions } from '../kube/lease-store.js';
import { onAbort, waitUntil } from './abort-signals.js';
import type { Clock } from './clock.js';
import { reportFailure, type EngineContext } from './engine-context.js';

/** Milliseconds after which the API server has certainly dropped a request that its client aborted. */
export const LONGEST_WRITE = 60_000;

/** Whether retrying cannot succeed, because the request itself or the rights are wrong. */
export function isFinal({
  reason,
}: {
  readonly reason: LockBackendReason;
}): boolean {
  return FINAL_REASONS.includes(reason);
}

/** The longest pause between attempts while the API server fails, in milliseconds. */
const SLOWEST_RETRY = 5_000;

/** The pause before the next attempt after the `failures`-th failure in a row: doubling, with jitter. */
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

/** The time from one look to the next: within a fifth of the interval, so that processes do not look at once. */
export function randomized(clock: Clock, interval: number): number {
  return interval * (0.8 + clock.random() * 0.4);
}

/** Upper limit of Retry-After, in milliseconds. */
const MAX_RETRY_AFTER = 60_000;

/**
 * The pause that the API server asked for (Retry-After) in milliseconds, at most half of the time that is
 * `left` for attempts.
 */
export function retryAfterOf(error: unknown, left: number): number {
  const asked = error instanceof LeaseStoreError ? (error.retryAfter ?? 0) : 0;
  return Math.min(asked, MAX_RETRY_AFTER, left / 2);
}

/** Whether another client wrote in between. The first time this only needs another read, and is not a failure. */
export function isFirstConflict(error: unknown, failures: number): boolean {
  return (
    failures === 1 &&
    error instanceof LeaseStoreError &&
    error.reason === 'conflict'
  );
}

/**
 * A7: reports a failed release, and returns the pause before the next attempt; undefined if none begins before the
 * monotonic time `giveUpAt`.
 */
export function delayOfRetry(
  context: EngineContext,
  lock: LockReference,
  error: LeaseStoreError,
  { failures, giveUpAt }: { failures: number; giveUpAt: number },
): number | undefined {
  if (isFirstConflict(error, failures)) {
    return 0;
  }
  reportFailure(context, lock, 'release', error);
  const { clock } = context;
  const left = giveUpAt - clock.now();
  const delay = Math.max(backoff(clock, failures), retryAfterOf(error, left));
  return clock.now() + delay < giveUpAt ? delay : undefined;
}

/** The options of a request that gives something back, which goes on while the application is closing. */
export function lastRequest({
  requestTimeout,
  closed,
}: EngineContext): RequestOptions {
  return { timeout: requestTimeout, signal: closed, priority: 'release' };
}

/**
 * A7: calls `attempt` until it succeeds: each reads what it changes anew, as in client-go's RetryOnConflict.
 *
 * @param delayAfter milliseconds to the next try after so many failures; undefined = no further one
 * @param worthwhile aborts when no retry after a final refusal is worth waiting for
 * @throws the last error of `attempt`, also when a signal aborts
 */
export async function retryWrite<T>(
  clock: Clock,
  signal: AbortSignal,
  attempt: (failures: number) => Promise<T>,
  delayAfter: (error: LeaseStoreError, failures: number) => number | undefined,
  worthwhile = signal,
): Promise<T> {
  // oxlint-disable no-await-in-loop -- one try after the other
  for (let failures = 0; ;) {
    try {
      return await attempt(failures);
    } catch (error) {
      if (!(error instanceof LeaseStoreError) || signal.aborted) {
        throw error;
      }
      failures += 1;
      const delay = delayAfter(error, failures);
      if (delay === undefined) {
        throw error;
      }
      if (delay > 0) {
        const until = isFinal(error) ? worthwhile : signal;
        await pause(clock, delay, until).catch(() => {
          throw error;
        });
      }
    }
  }
  // oxlint-enable no-await-in-loop
}

/**
 * As {@link retryWrite}, for as long as {@link delayOfRetry} says. Never rejects. An application that is closing does
 * not wait for retries after a final refusal: what they would undo expires.
 */
export async function retryUntil(
  context: EngineContext,
  lock: LockReference,
  giveUpAt: number,
  attempt: (failures: number) => Promise<void>,
): Promise<void> {
  const { clock, closed, closing } = context;
  await retryWrite(
    clock,
    closed,
    attempt,
    (error, failures) =>
      delayOfRetry(context, lock, error, { failures, giveUpAt }),
    closing,
  ).catch(() => undefined);
}

/** Resolves when `work` has resolved, or after `delay`; the work continues. */
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

/** Calls back at a monotonic time, unless the signal aborts first. */
export function scheduleUnless(
  clock: Clock,
  signal: AbortSignal,
  at: number,
  callback: () => void,
): void {
  if (signal.aborted) {
    return;
  }
  const fire = (): void => {
    stopListening();
    callback();
  };
  const cancel = clock.schedule(at, fire, { background: true });
  const stopListening = onAbort(signal, cancel);
}

/** Waits; rejects with the signal's reason if it aborts first. */
export function pause(
  clock: Clock,
  delay: number,
  signal?: AbortSignal,
): Promise<void> {
  return waitUntil((done) => clock.schedule(clock.now() + delay, done), signal);
}
