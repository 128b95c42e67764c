/** Turns an acquisition that did not come about into a call that is skipped, and tells so. */
import { LockNotAcquiredError, type LockReference } from '../lock.errors.js';
import { WorkClaimedError, type Claim } from './claim.js';
import type { LeaseLock } from './lease-lock.js';
import type { LockContext } from './lock-context.js';

/**
 * Resolves with undefined when the call is to be skipped: its work is claimed by somebody else, or the
 * lock is held, where `skipsHeld`.
 */
export async function orSkip(
  { clock, emit }: Pick<LockContext, 'clock' | 'emit'>,
  lock: LockReference,
  taken: Promise<LeaseLock>,
  { skipsHeld, claim }: { skipsHeld: boolean; claim?: Claim },
): Promise<LeaseLock | undefined> {
  const calledAt = clock.now();
  try {
    return await taken;
  } catch (error) {
    const cause = findCause(error);
    const waited = clock.now() - calledAt;
    if (cause?.reason === 'held' && !skipsHeld) {
      emit({ type: 'not-acquired', ...lock, reason: 'held', waited });
    }
    if (cause === undefined || (cause.reason === 'held' && !skipsHeld)) {
      throw error;
    }
    emit({
      type: 'skipped',
      ...lock,
      ...cause,
      ...(claim && { fire: new Date(claim.at) }),
      waited,
    });
    return undefined;
  }
}

function findCause(error: unknown) {
  if (error instanceof WorkClaimedError) {
    return { reason: 'fire-claimed', holder: error.verdict.by } as const;
  }
  return error instanceof LockNotAcquiredError && error.reason === 'held'
    ? ({ reason: error.reason, holder: error.holder } as const)
    : undefined;
}
