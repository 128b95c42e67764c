/** What a caller may want: a lock, and how. */
import type { LockOptions } from '../../lib/k8s-lock.options.js';
import type { LockReference } from '../../lib/lock.errors.js';
import type { Insistence } from '../../lib/lock/acquisition.js';
import type { Random } from './random.js';
import type { Scenario } from './scenario.js';

export interface Wish {
  readonly lock: LockReference;
  readonly options: LockOptions;
  readonly insistence: Insistence;
  /** Milliseconds after which the caller cancels; undefined = never. */
  readonly cancelAfter?: number;
  /** Milliseconds of work under the lock. */
  readonly work: number;
  /** Works on after a loss, so that what it writes must be refused. */
  readonly isStubborn?: boolean;
  /** Is not waited for when it gives the lock back. */
  readonly isHasty?: boolean;
}

/** Milliseconds of the work of those who only want to see that they get the lock. */
const A_MOMENT = 5;

/** Some wish that fits the scenario. */
export function anyWish(
  random: Random,
  { locks, lockOptions, leaseDuration }: Scenario,
): Wish {
  const sometimes = <T>(share: number, value: () => T): T | undefined =>
    random.chance(share) ? value() : undefined;
  const isInfinite = random.chance(0.3);
  return {
    lock: random.pick(locks),
    insistence: random.pick(['wait', 'wait', 'wait', 'try', 'skip']),
    cancelAfter: sometimes(0.2, () => random.magnitude(1, 2 * leaseDuration)),
    work: random.chance(0.35)
      ? random.between(leaseDuration, 4 * leaseDuration)
      : random.magnitude(1, leaseDuration),
    isStubborn: random.chance(0.15),
    isHasty: random.chance(0.3),
    options: {
      ...(isInfinite ? unlimited(lockOptions) : lockOptions),
      ...(!isInfinite &&
        random.chance(0.25) && { leaseDuration: 2 * leaseDuration }),
      waitTimeout: sometimes(0.3, () =>
        random.chance(0.1) ? 0 : random.magnitude(1, 3 * leaseDuration),
      ),
      autoRenew: random.chance(0.85),
      maxHold: sometimes(0.1, () => random.magnitude(500, 3 * leaseDuration)),
      minHold: sometimes(0.1, () => random.magnitude(1, 500)),
      deleteOnRelease: random.chance(0.15),
    },
  };
}

/** To have the lock for a moment, however long it takes to get it. */
export function plainWish(lock: LockReference, options: LockOptions): Wish {
  return { lock, options, insistence: 'wait', work: A_MOMENT };
}

/** As `options`, but for a lock that does not expire. */
export function unlimited(options: LockOptions): LockOptions {
  return { ...options, leaseDuration: 'infinite', safetyMargin: 0 };
}
