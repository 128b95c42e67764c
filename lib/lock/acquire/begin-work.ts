/** Acquires the locks of a fire, and marks the fire as begun in the record before its work starts. */
import { LockLostError } from '../../lock.errors.js';
import type { FireClaim } from '../record/fire-claim.js';
import type { Clock } from '../clock.js';
import { backoff, LONGEST_WRITE, pause } from '../retry.js';
import { giveBack, type LockHandle } from '../hold/lock-handle.js';

/** The context of the call. */
interface Place {
  readonly clock: Clock;
  /** Aborts when the application closes, after which no lock can be acquired. */
  readonly closingSignal: AbortSignal;
}

/** One attempt to acquire the locks. */
interface Round {
  /**
   * Milliseconds to wait for each lock, regardless of `onLocked`, because the record may already say that
   * the fire has begun. Undefined while it can't.
   */
  readonly waitTimeout: number | undefined;
}

/**
 * Calls `acquire`, and begins the fire that the last of the locks has claimed. If that lock is lost before
 * the write has succeeded, the record may already say `begun`, and no other pod would run the fire. So
 * this retries for as long as such a write may still be applied.
 *
 * @returns undefined if `acquire` returns undefined
 * @throws what `acquire` throws, LockLostError, LockBackendError
 */
export async function acquireAndBegin(
  { clock, closingSignal }: Place,
  claim: FireClaim | undefined,
  acquire: (round: Round) => Promise<readonly LockHandle[] | undefined>,
): Promise<readonly LockHandle[] | undefined> {
  const giveUpAt = clock.now() + LONGEST_WRITE;
  let mayHaveBegun = false;
  // oxlint-disable no-await-in-loop -- one attempt after the other
  for (let rounds = 1; ; rounds += 1) {
    const waitTimeout = mayHaveBegun
      ? Math.max(0, giveUpAt - clock.now())
      : undefined;
    const locks = await acquire({ waitTimeout });
    if (locks === undefined || claim === undefined) {
      return locks;
    }
    const lowest = locks.at(-1)!;
    try {
      await lowest.begin();
      claim.ownIdentities.clear();
      return locks;
    } catch (error) {
      await giveBack(locks);
      mayHaveBegun ||= lowest.mayHaveBegun;
      const delay = backoff(clock, rounds);
      if (!mayBeHadAgain(error) || clock.now() + delay >= giveUpAt) {
        throw error;
      }
      await pause(clock, delay, closingSignal).catch(() => undefined);
    }
  }
  // oxlint-enable no-await-in-loop
}

/** Whether another attempt makes sense: the lock was lost, but may be acquired again. */
function mayBeHadAgain(error: unknown): boolean {
  return error instanceof LockLostError;
}
