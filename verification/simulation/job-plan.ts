/** What the job of a seed is like: which method is called when, and how it is to be locked. */
import type { LockOptions } from '../../lib/k8s-lock.options.js';
import type { LockReference } from '../../lib/lock.errors.js';
import type { AcquireMode } from '../../lib/lock/acquire/wait-policy.js';
import type { Random } from './random.js';
import type { Scenario } from './scenario.js';

/** A method that every client calls at planned times, to be run once for each of them. */
export interface JobPlan {
  readonly lock: LockReference;
  readonly schedule: 'cron' | 'interval';
  /** Milliseconds from one planned time to the next. */
  readonly period: number;
  /** The period is shorter than a lease and a half: a holder that has died keeps away more than one fire. */
  readonly isFrequent: boolean;
  readonly mode: AcquireMode;
  readonly retry: boolean;
  /** A process that starts makes up for the latest fire that was missed. */
  readonly catchUp: boolean;
  readonly options: LockOptions;
  /** Wall clocks agree to within milliseconds, and the work is short: many come for a fire at once, and one has run it at once. */
  readonly isBrief: boolean;
  /** Wall clocks differ by less than half the period: no fire may be missed. */
  readonly clocksAgree: boolean;
  /** Somebody's claim is far ahead. */
  readonly isClaimedAhead: boolean;
}

const HOUR = 3_600_000;
/** Milliseconds by which wall clocks are off where somebody takes care of them. */
const SYNCHRONOUS = 5;
/** Milliseconds by which a claim may be ahead of a clock and still be believed. */
const BELIEVED_ADVANCE = HOUR;

/**
 * The period leaves half of itself to what may be late: the run before, the rest of `minHold`, which
 * others see in whole seconds, and the call.
 */
export function planJob(
  random: Random,
  {
    own,
    contended,
    leaseDuration,
    lockOptions,
  }: Pick<Scenario, 'leaseDuration' | 'lockOptions'> & {
    own: LockReference;
    /** A lock that others want, too, to be used in its place. */
    contended: LockReference | undefined;
  },
): JobPlan {
  const hasMinHold = random.chance(0.3);
  const isFrequent = !hasMinHold && random.chance(0.4);
  const period = Math.round(
    leaseDuration *
      (isFrequent ? random.between(0.4, 1.4) : random.between(1.5, 3)) +
      (hasMinHold ? 3_500 : 0),
  );
  const minHold = hasMinHold ? random.magnitude(1, period / 8) : 0;
  return {
    lock: contended ?? own,
    schedule: random.chance(0.75) ? 'cron' : 'interval',
    period,
    isFrequent,
    mode: random.pick(
      contended ? ['skip', 'wait', 'wait'] : ['skip', 'skip', 'skip', 'wait'],
    ),
    retry: random.chance(0.5),
    catchUp: random.chance(0.7),
    options: {
      ...lockOptions,
      waitTimeout: random.magnitude(100, 10_000),
      minHold,
      maxHold: random.chance(0.15)
        ? minHold + random.magnitude(500, period)
        : undefined,
    },
    isBrief: random.chance(0.3),
    clocksAgree: random.chance(0.9),
    isClaimedAhead: random.chance(0.15),
  };
}

/** One of which each fire is run, though a client is cut off from the API server in the middle of it. */
export function planPlainJob(
  random: Random,
  lock: LockReference,
  leaseDuration: number,
  lockOptions: LockOptions,
): JobPlan {
  return {
    lock,
    schedule: 'cron',
    period: Math.round(leaseDuration * random.between(1.6, 3)),
    isFrequent: false,
    mode: random.pick(['skip', 'wait']),
    retry: random.chance(0.3),
    catchUp: random.chance(0.7),
    options: { ...lockOptions, waitTimeout: random.magnitude(100, 10_000) },
    isBrief: random.chance(0.3),
    clocksAgree: true,
    isClaimedAhead: false,
  };
}

/** Milliseconds by which wall clocks may be off. */
export function greatestOffsetOf(job: JobPlan | undefined): number {
  if (job === undefined) {
    return HOUR;
  }
  if (job.isBrief && job.clocksAgree) {
    return SYNCHRONOUS;
  }
  return job.clocksAgree ? job.period / 4 : BELIEVED_ADVANCE / 2;
}
