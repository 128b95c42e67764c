/** R8 as arithmetic: the deadline of a holder, counted from the time at which its last successful write was SENT. */
import type { ResolvedLockOptions } from '../../k8s-lock.options.js';

export type Timing = Pick<
  ResolvedLockOptions,
  'leaseDuration' | 'safetyMargin' | 'renewInterval'
>;

/** R11: the timing of a holder whose grant lasts for less than its lease. */
export function timingOf(duration: number, timing: Timing): Timing {
  const { leaseDuration, safetyMargin, renewInterval } = timing;
  const part = duration === leaseDuration ? 1 : duration / leaseDuration;
  return {
    leaseDuration: duration,
    safetyMargin: safetyMargin * part,
    renewInterval: renewInterval * part,
  };
}

/** R8: the monotonic time at which a holder gives the lock up after a write that was sent at `sentAt`. */
export function deadlineOf(
  sentAt: number,
  { leaseDuration, safetyMargin }: Omit<Timing, 'renewInterval'>,
): number {
  return sentAt + leaseDuration - safetyMargin;
}

/**
 * The time at which a renewal is overdue: one renewal interval after its planned time, or after half of
 * the time that was then left to the deadline, if that is shorter. One failed request does not make it
 * overdue.
 *
 * @param acquiredAt R11: the deadline of a grant may count from long before
 */
export function overdueAt(
  sentAt: number,
  timing: Timing,
  acquiredAt: number,
): number {
  const { renewInterval } = timing;
  const dueAt = Math.max(sentAt + renewInterval, acquiredAt);
  const left = deadlineOf(sentAt, timing) - dueAt;
  return dueAt + Math.min(renewInterval, left / 2);
}
