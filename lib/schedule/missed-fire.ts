/** Finds a missed fire by the fire claim in the record of its lock. */
import type { Lease } from '../kube/lease-store.js';
import { FINAL_REASONS, LockBackendError } from '../lock.errors.js';
import type { Clock } from '../lock/clock.js';
import { pause } from '../lock/retry.js';
import { judgeClaim, readClaim } from '../lock/record/fire-claim.js';
import { fireAt, type Fire, type Plan } from './planned-fires.js';

/** The input of {@link findMissedFire}. */
export interface MissedFireSearch {
  readonly plan: Plan;
  /** Whether a fire whose work was interrupted counts as missed. */
  readonly retry: boolean;
  readonly clock: Clock;
  /** The application is closing. */
  readonly closing: AbortSignal;
  /** Reads the record of the lock. */
  readonly read: () => Promise<Lease | null>;
  /** Called when a read has failed and will be retried. */
  readonly onRetry: (error: LockBackendError) => void;
}

/** The pause after a failed read in milliseconds; it doubles each time, up to the limit. */
const RETRY_INTERVAL = 1_000;
const LONGEST_RETRY_INTERVAL = 60_000;

/**
 * The latest planned fire before now, if it was missed. Retries until the next fire is due or `closing` aborts.
 *
 * @throws LockBackendError, or the reason of `closing`
 */
export async function findMissedFire({
  plan,
  retry,
  clock,
  closing,
  read,
  onRetry,
}: MissedFireSearch): Promise<Fire | undefined> {
  const wallTime = (): number => Math.floor(clock.wallMicroseconds() / 1_000);
  const now = wallTime();
  const fire = fireAt(plan, now);
  const lastTry = plan.next(now) - RETRY_INTERVAL;
  for (let interval = RETRY_INTERVAL; ; interval *= 2) {
    // oxlint-disable no-await-in-loop -- one read after the other
    try {
      const lease = await read();
      return fire && isMissed(fire, retry, lease) ? fire : undefined;
    } catch (error) {
      closing.throwIfAborted();
      if (!isTransient(error) || wallTime() >= lastTry) {
        throw error;
      }
      onRetry(error);
      const left = Math.max(lastTry - wallTime(), 0);
      const delay = Math.min(interval, LONGEST_RETRY_INTERVAL, left);
      await pause(clock, delay, closing);
    }
    // oxlint-enable no-await-in-loop
  }
}

/**
 * A30: without a fire claim in the record nothing was missed: the job is new. If a holder has begun the fire,
 * the call that repeats it finds out whether that holder is alive.
 */
function isMissed(fire: Fire, retry: boolean, lease: Lease | null): boolean {
  if (lease === null || readClaim(lease) === undefined) {
    return false;
  }
  const claim = { ...fire, retry, ownIdentities: new Set<string>() };
  return judgeClaim(claim, lease, undefined).state !== 'taken';
}

/** Whether a retry may succeed. */
function isTransient(error: unknown): error is LockBackendError {
  return (
    error instanceof LockBackendError && !FINAL_REASONS.includes(error.reason)
  );
}
