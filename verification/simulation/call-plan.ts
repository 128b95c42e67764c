/** A call that a simulated caller makes: the lock and its options. */
import type {
  LockOptions,
  OwnLockOptions,
} from '../../lib/k8s-lock.options.js';
import type { LockReference } from '../../lib/lock.errors.js';
import type { AcquireMode } from '../../lib/lock/acquire/wait-policy.js';
import type { FireClaim } from '../../lib/lock/record/fire-claim.js';
import type { JobPlan } from './job-plan.js';
import type { Random } from './random.js';
import type { Scenario } from './scenario.js';

export interface CallPlan {
  readonly lock: LockReference;
  readonly options: OwnLockOptions;
  readonly mode: AcquireMode;
  /** Milliseconds after which the caller cancels; undefined = never. */
  readonly cancelAfter?: number;
  /** Milliseconds of work under the lock. */
  readonly work: number;
  /** Works on until a moment at which others of the process end, too. */
  readonly endsTogether?: boolean;
  /** Monotonic time at which the work ends, however long it is. */
  readonly endsAt?: number;
  /** Works on after a loss, so that what it writes must be refused. */
  readonly isStubborn?: boolean;
  /** Is not waited for when it gives the lock back. */
  readonly isHasty?: boolean;
  /** The planned fire that the work is for. */
  readonly claim?: FireClaim;
  /** Has others work under the lock, too, which may take longer than its own work. */
  readonly isLending?: boolean;
  /** Fails in the end, by itself. */
  readonly isFailing?: boolean;
}

/** Milliseconds of the work of those who only want to see that they get the lock. */
const A_MOMENT = 5;

/** Any call that fits the scenario. */
export function planAnyCall(
  random: Random,
  { contended, elected, habits, lockOptions, leaseDuration }: Scenario,
): CallPlan {
  const sometimes = <T>(share: number, value: () => T): T | undefined =>
    random.chance(share) ? value() : undefined;
  const isPatient = random.chance(habits.patient);
  const isInfinite = random.chance(habits.infinite);
  return {
    lock: elected && random.chance(0.05) ? elected : random.pick(contended),
    mode: isPatient
      ? 'wait'
      : random.pick(['wait', 'wait', 'wait', 'try', 'skip']),
    cancelAfter: sometimes(isPatient ? 0 : 0.2, () =>
      random.magnitude(1, 2 * leaseDuration),
    ),
    work: random.chance(0.35)
      ? random.between(leaseDuration, 4 * leaseDuration)
      : random.magnitude(1, leaseDuration),
    endsTogether: random.chance(habits.together),
    isStubborn: random.chance(habits.stubborn),
    isHasty: random.chance(0.3),
    isLending: random.chance(0.15),
    options: {
      ...(isInfinite ? unlimited(lockOptions) : lockOptions),
      ...(!isInfinite &&
        random.chance(0.25) && { leaseDuration: 2 * leaseDuration }),
      waitTimeout: sometimes(isPatient ? 0 : 0.3, () =>
        random.chance(0.1) ? 0 : random.magnitude(1, 3 * leaseDuration),
      ),
      autoRenew: random.chance(habits.renewing),
      maxHold: sometimes(habits.maxHold, () =>
        random.magnitude(500, 3 * leaseDuration),
      ),
      minHold: sometimes(0.1, () => random.magnitude(1, 500)),
      deleteOnRelease: random.chance(habits.deleteOnRelease),
    },
  };
}

/** To have the lock for a moment, however long it takes to get it. */
export function planPlainCall(
  lock: LockReference,
  options: LockOptions,
): CallPlan {
  return { lock, options, mode: 'wait', work: A_MOMENT };
}

/** Milliseconds of work that is over before others have made up their mind. */
const BRIEF = 20;

/** To run a fire of the job: for so long that it gets in the way of the next one, unless nothing is wrong. */
export function planFireCall(
  random: Random,
  claim: FireClaim,
  { lock, options, mode, period, isBrief }: JobPlan,
  isCalm: boolean,
): CallPlan & { claim: FireClaim } {
  return {
    lock,
    options,
    mode,
    claim,
    work: random.magnitude(
      1,
      isCalm ? period / 8 : isBrief ? BRIEF : 1.5 * period,
    ),
    isStubborn: random.chance(0.15),
    isFailing: random.chance(0.1),
    isLending: !isCalm && random.chance(0.15),
  };
}

/** As `options`, but for a lock that does not expire. */
export function unlimited(options: LockOptions): LockOptions {
  return { ...options, leaseDuration: 'infinite', safetyMargin: 0 };
}
