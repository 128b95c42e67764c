/** Turns an acquisition that did not come about into a call that is skipped, and tells so. */
import { LockNotAcquiredError, type LockReference } from '../../lock.errors.js';
import { RequestAbortedError } from './request-scope.js';
import { FireClaimedError, type FireClaim } from '../record/fire-claim.js';
import { detailsOf, mayBeSkip } from './followed-call.js';
import type { LockHandle } from '../hold/lock-handle.js';
import type { EngineContext } from '../engine-context.js';
import type { AcquireMode } from './wait-policy.js';

/** What may keep a call from its lock without being an error. */
type SkippedReason = 'held' | 'shutdown';

/** A call for a lock, and what of it is skipped. */
export interface SkippableCall {
  readonly lock: LockReference;
  readonly mode: AcquireMode;
  readonly skips: readonly SkippedReason[];
  readonly claim?: FireClaim;
}

/**
 * Resolves with undefined when the call is to be skipped: its work is claimed by somebody else, or it
 * skips what has kept it from the lock.
 */
export async function orSkip(
  { clock, emit }: Pick<EngineContext, 'clock' | 'emit'>,
  call: SkippableCall,
  taken: Promise<LockHandle>,
): Promise<LockHandle | undefined> {
  const { lock, claim } = call;
  const calledAt = clock.now();
  try {
    return await taken;
  } catch (error) {
    const waited = clock.now() - calledAt;
    const cause = findCause(error, call);
    if (cause === undefined) {
      if (
        error instanceof LockNotAcquiredError &&
        mayBeSkip(error.reason, call.mode)
      ) {
        const { reason } = error;
        emit({
          type: 'not-acquired',
          ...lock,
          reason,
          ...detailsOf(error),
          waited,
        });
      }
      throw error instanceof RequestAbortedError
        ? new LockNotAcquiredError(lock, 'cancelled')
        : error;
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

function findCause(error: unknown, { skips }: SkippableCall) {
  if (error instanceof FireClaimedError) {
    return { reason: 'fire-claimed', holder: error.verdict.by } as const;
  }
  if (error instanceof LockNotAcquiredError) {
    const reason = skips.find((each) => each === error.reason);
    return reason && { reason, holder: error.holder };
  }
  return undefined;
}
