/** Judges for health checks how it stands with a lock of this process: renewed in time, overdue, or lost under its work. */
import type { LockReference } from '../../lock.errors.js';
import { overdueAt } from './deadline.js';
import type { LeaseHolder } from './lease-holder.js';

/** How it stands with a lock whose holder has not released it. */
export interface LockCondition extends LockReference {
  /**
   * `held` = all is well; `overdue` = its renewal is late, and if it does not get through the lock will
   * be lost; `lost` = it was lost, and the work under it has not ended.
   */
  state: 'held' | 'overdue' | 'lost';
  /** Milliseconds since its lease has expired, or since its last renewal if it never expires; below 0 = not yet. */
  expiredFor: number;
}

/** Undefined when its release has begun. */
export function findCondition(
  hold: Pick<
    LeaseHolder,
    'lock' | 'options' | 'isHeld' | 'isReleased' | 'lastSentAt'
  >,
  now: number,
): LockCondition | undefined {
  const { lock, options, lastSentAt, isHeld, isReleased } = hold;
  if (isReleased) {
    return undefined;
  }
  const { leaseDuration, autoRenew } = options;
  // One that never expires is lost because it was taken away.
  const wasTaken = !isHeld && leaseDuration === Infinity;
  const isOverdue = autoRenew && now >= overdueAt(lastSentAt, options);
  return {
    ...lock,
    state: isHeld ? (isOverdue ? 'overdue' : 'held') : 'lost',
    expiredFor: now - lastSentAt - (wasTaken ? 0 : leaseDuration),
  };
}
