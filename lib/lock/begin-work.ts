/** The way from a call for planned work to its beginning: acquire, then say in the record that it begins. */
import { LockLostError } from '../lock.errors.js';
import type { Claim } from './claim.js';
import type { Clock } from './clock.js';
import { LONGEST_REQUEST } from './lock-context.js';
import { giveBack, type LockHandle } from './lock-handle.js';

/**
 * Calls `acquire` and begins the work that the last of the locks has claimed. When that lock is lost before
 * it is certain that the work may begin, the record may say already that it does, and nobody else would do
 * it: so this goes on, for as long as such a write may land.
 *
 * @returns undefined when `acquire` does
 * @throws what `acquire` throws, LockLostError, LockBackendError
 */
export async function acquireAndBegin(
  clock: Pick<Clock, 'now'>,
  claim: Claim | undefined,
  acquire: () => Promise<readonly LockHandle[] | undefined>,
): Promise<readonly LockHandle[] | undefined> {
  const giveUpAt = clock.now() + LONGEST_REQUEST;
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- one try after the other
    const locks = await acquire();
    if (locks === undefined || claim === undefined) {
      return locks;
    }
    try {
      // oxlint-disable-next-line no-await-in-loop
      await locks.at(-1)!.begin();
      claim.ownIdentities.clear();
      claim.mayHaveBegun = false;
      return locks;
    } catch (error) {
      // oxlint-disable-next-line no-await-in-loop
      await giveBack(locks);
      if (!(error instanceof LockLostError) || clock.now() >= giveUpAt) {
        throw error;
      }
      claim.mayHaveBegun = true;
    }
  }
}
