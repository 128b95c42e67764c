/** How the fires of a scheduled method are shared out among the pods: the options, and what is wrong with them. */
import { BOOLEAN, findFaults, type Rule } from '../k8s-lock.options.js';

/**
 * May a fire be run again by another pod, when the one that ran it has died in the middle, has lost
 * its lock, or was stopped before its work had ended?
 */
export type OnFailure =
  /** No: each fire is begun at most once. */
  | 'leave'
  /** Yes, until its work has ended once: the work must bear being done twice. */
  | 'retry';

/** How the fires of a method under `@Cron` or `@Interval` are shared out among the pods. */
export interface FireOptions {
  /**
   * Run each planned fire time once in the cluster, even where the clocks of the pods differ. Default
   * true under `@Cron` and `@Interval`, else false. The planned times of an interval are its whole
   * multiples since 1970. On a method that only others call, true makes it run once for each fire of the
   * scheduled method, or job of the `SchedulerRegistry`, that calls it. Where a call is for no fire (by
   * hand, for a request) it runs whenever the lock is to be had. Not for `@Timeout`.
   */
  oncePerFire?: boolean;
  /** What becomes of a fire that was begun and did not end. Needs `oncePerFire`. Default `'leave'`. */
  onFailure?: OnFailure;
  /**
   * When the application starts, run the latest fire before that, if it was missed because no pod ran.
   * Earlier ones are not made up for. For `@Cron` with a fixed name; needs `oncePerFire`. Default false.
   */
  catchUp?: boolean;
}

const RULES: Record<keyof FireOptions, Rule> = {
  oncePerFire: BOOLEAN,
  onFailure: [
    "must be 'leave' or 'retry'",
    (value) => value === 'leave' || value === 'retry',
  ],
  catchUp: BOOLEAN,
};

/** What is wrong with each of them by itself. */
export function findFireOptionFaults(options: FireOptions): string[] {
  return findFaults(options, RULES);
}
