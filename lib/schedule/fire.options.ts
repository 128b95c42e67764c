/** The options of fires (`oncePerFire`, `onFailure`, `catchUp`) and their validation. */
import { BOOLEAN, findFaults, type Rule } from '../k8s-lock.options.js';

/** Whether another pod repeats a fire whose pod died, lost its lock or was stopped before the work had ended. */
export type OnFailure =
  /** No: each fire begins at most once. */
  | 'leave'
  /** Yes, until the work has ended once: the work must be idempotent. */
  | 'retry';

/** How the pods share the fires of a method under `@Cron` or `@Interval`. */
export interface FireOptions {
  /**
   * Run each planned fire time once in the cluster, even if the clocks of the pods differ. The planned
   * times of an interval are its whole multiples since 1970. On a method that only others call, `true`
   * runs it once for each fire of the scheduled method, or of the job of the `SchedulerRegistry`, that
   * calls it; written out on a scheduled method, for each fire of such a job, too. A call outside of a
   * fire (by hand, for a request) runs whenever it gets the lock. Not for `@Timeout`.
   *
   * @defaultValue `true` under `@Cron` and `@Interval`, else `false`
   */
  oncePerFire?: boolean;
  /**
   * How to treat a fire whose run did not end (its pod died, lost the lock or was stopped): `'leave'`
   * it, or `'retry'` it in another pod. Needs `oncePerFire`.
   *
   * @defaultValue `'leave'`
   */
  onFailure?: OnFailure;
  /**
   * When the application starts, run the latest fire if no pod ran it. Earlier fires are not
   * run. For `@Cron` with a fixed lock name; needs `oncePerFire`.
   *
   * @defaultValue `false`
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

/** The faults of each option by itself. */
export function findFireOptionFaults(options: FireOptions): string[] {
  return findFaults(options, RULES);
}
