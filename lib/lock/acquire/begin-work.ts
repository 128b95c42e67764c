/** The way from a call for planned work to its beginning: acquire, then say in the record that it begins. */
import { LockLostError } from '../../lock.errors.js';
import type { FireClaim } from '../record/fire-claim.js';
import type { Clock } from '../clock.js';
import { backoff, LONGEST_WRITE, pause } from '../retry.js';
import { giveBack, type LockHandle } from '../hold/lock-handle.js';

/** Where the work is to begin. */
interface Place {
  readonly clock: Clock;
  /** Aborts when the application closes: no lock is to be had any more. */
  readonly closingSignal: AbortSignal;
}

/** How the locks are acquired. */
interface Round {
  /**
   * Milliseconds to wait for each lock, whatever the call does else when one is taken: the record may say
   * already that the work begins. Undefined as long as it can't.
   */
  readonly waitTimeout: number | undefined;
}

/**
 * Calls `acquire` and begins the work that the last of the locks has claimed. When that lock is lost before
 * it is certain that the work may begin, the record may say already that it does, and nobody else would do
 * it: so this goes on, for as long as such a write may land.
 *
 * @returns undefined when `acquire` does
 * @throws what `acquire` throws, LockLostError, LockBackendError
 */
export async function acquireAndBegin(
  { clock, closingSignal }: Place,
  claim: FireClaim | undefined,
  acquire: (round: Round) => Promise<readonly LockHandle[] | undefined>,
): Promise<readonly LockHandle[] | undefined> {
  const giveUpAt = clock.now() + LONGEST_WRITE;
  let mayHaveBegun = false;
  // oxlint-disable no-await-in-loop -- one round after the other
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

/** Whether another round makes sense: the lock was lost, and nothing says that it can't be acquired again. */
function mayBeHadAgain(error: unknown): boolean {
  return error instanceof LockLostError;
}
