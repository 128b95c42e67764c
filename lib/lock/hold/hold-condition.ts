/** Judges for health checks how it stands with a lock of this process: renewed in time, overdue, or lost under its work. */
import type { LockReference } from '../../lock.errors.js';
import { deadlineOf, type LeaseHolder } from './lease-holder.js';

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
  // One that never expires is lost because it was taken away.
  const never = isHeld ? Infinity : 0;
  const duration =
    options.leaseDuration === 'infinite' ? never : options.leaseDuration;
  const isOverdue = options.autoRenew && now >= findOverdue(hold);
  return {
    ...lock,
    state: isHeld ? (isOverdue ? 'overdue' : 'held') : 'lost',
    expiredFor: now - lastSentAt - duration,
  };
}

/**
 * When a renewal is late: as long after its time as its interval, or half of the time that was left to
 * the deadline then, if that is shorter. A single request that fails does not make it late.
 */
function findOverdue({
  lastSentAt,
  options,
}: Pick<LeaseHolder, 'lastSentAt' | 'options'>): number {
  const { renewInterval } = options;
  const dueAt = lastSentAt + renewInterval;
  const left = deadlineOf(lastSentAt, options) - dueAt;
  return dueAt + Math.min(renewInterval, left / 2);
}
