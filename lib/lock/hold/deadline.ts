/** R8 as arithmetic: until when a holder holds, all of it counted from the moment at which its last successful write was SENT. */
import type { ResolvedLockOptions } from '../../k8s-lock.options.js';

type Timing = Pick<
  ResolvedLockOptions,
  'leaseDuration' | 'safetyMargin' | 'renewInterval'
>;

/** R8: the monotonic time at which a holder gives up by itself, after a write that was sent at `sentAt`. */
export function deadlineOf(
  sentAt: number,
  { leaseDuration, safetyMargin }: Omit<Timing, 'renewInterval'>,
): number {
  return sentAt + leaseDuration - safetyMargin;
}

/**
 * When a renewal is late: as long after its time as its interval, or half of the time that was left to
 * the deadline then, if that is shorter. A single request that fails does not make it late.
 */
export function overdueAt(sentAt: number, timing: Timing): number {
  const { renewInterval } = timing;
  const dueAt = sentAt + renewInterval;
  const left = deadlineOf(sentAt, timing) - dueAt;
  return dueAt + Math.min(renewInterval, left / 2);
}
