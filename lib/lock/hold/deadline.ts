/** R8 as arithmetic: the deadline of a holder, counted from the time at which its last successful write was SENT. */
import {
  SHORTEST_RENEWAL,
  type ResolvedLockOptions,
} from '../../k8s-lock.options.js';

export type Timing = Pick<
  ResolvedLockOptions,
  'leaseDuration' | 'safetyMargin' | 'renewInterval'
>;

/**
 * R11: the timing of the holder of a grant, which may last for less than its lease. The renewal has its share of what is
 * left, and starts no later than that of any lock may.
 *
 * @param passed the milliseconds of the grant that have passed when the holder starts
 */
export function timingOf(duration: number, timing: Timing, passed = 0): Timing {
  const { leaseDuration, safetyMargin, renewInterval } = timing;
  const part = duration / leaseDuration;
  const margin = safetyMargin * part;
  const hold = duration - margin;
  const left = 1 - passed / hold;
  return {
    leaseDuration: duration,
    safetyMargin: margin,
    renewInterval: Math.min(
      passed + renewInterval * part * left,
      hold - SHORTEST_RENEWAL,
    ),
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
 * @param acquiredAt no renewal is due before: the answer of the acquiring write may have come late
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
