/** The condition of a lock of this process for health checks: held, overdue or lost. */
import type { LockReference } from '../../lock.errors.js';
import { overdueAt } from './deadline.js';
import type { LeaseHolder } from './lease-holder.js';

/** The condition of a lock that was not released. */
export interface LockCondition extends LockReference {
  /**
   * `held` = renewed in time; `overdue` = the renewal is late, and the lock will be lost if it keeps
   * failing; `lost` = the lock was lost, and its work still runs.
   */
  state: 'held' | 'overdue' | 'lost';
  /** Milliseconds since the lease expired, or since the last renewal if it never expires; negative = not yet. */
  expiredFor: number;
}

/** Undefined once the release has begun. */
export function findCondition(
  holder: Pick<
    LeaseHolder,
    | 'lock'
    | 'options'
    | 'timing'
    | 'isHeld'
    | 'isReleased'
    | 'acquiredAt'
    | 'lastSentAt'
  >,
  now: number,
): LockCondition | undefined {
  const { lock, options, timing, lastSentAt, isHeld, isReleased } = holder;
  if (isReleased) {
    return undefined;
  }
  const { autoRenew } = options;
  const { leaseDuration } = timing;
  // A lock that never expires has no expiry: the time counts from its last write.
  const wasTaken = !isHeld && leaseDuration === Infinity;
  const isOverdue =
    autoRenew && now >= overdueAt(lastSentAt, timing, holder.acquiredAt);
  return {
    ...lock,
    state: isHeld ? (isOverdue ? 'overdue' : 'held') : 'lost',
    expiredFor: now - lastSentAt - (wasTaken ? 0 : leaseDuration),
  };
}
