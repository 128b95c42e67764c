/** Acquires the lock of a fire, or the locks, and marks the fire as begun in the record before its work starts. */
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

/** One attempt to acquire the lock. */
interface Round {
  /**
   * Milliseconds to wait for the lock (for each of several), regardless of `onLocked`, because the record may already say that
   * the fire has begun. Undefined while it can't.
   */
  readonly waitTimeout: number | undefined;
}

/**
 * A26: calls `acquire`, and begins the fire that the lock has claimed. If the lock is lost before
 * the write has succeeded, the record may already say `begun`, and no other pod would run the fire. So
 * this retries for as long as such a write may still be applied.
 *
 * @returns undefined if `acquire` returns undefined
 * @throws what `acquire` throws, LockLostError, LockBackendError
 */
export async function acquireAndBegin(
  { clock, closingSignal }: Place,
  claim: FireClaim | undefined,
  acquire: (round: Round) => Promise<LockHandle | undefined>,
): Promise<LockHandle | undefined> {
  const giveUpAt = clock.now() + LONGEST_WRITE;
  let mayHaveBegun = false;
  // oxlint-disable no-await-in-loop -- one attempt after the other
  for (let rounds = 1; ; rounds += 1) {
    const waitTimeout = mayHaveBegun
      ? Math.max(0, giveUpAt - clock.now())
      : undefined;
    const lock = await acquire({ waitTimeout });
    if (lock === undefined || claim === undefined) {
      return lock;
    }
    try {
      await lock.begin();
      claim.ownIdentities.clear();
      return lock;
    } catch (error) {
      await giveBack(lock);
      mayHaveBegun ||= lock.mayHaveBegun;
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
