/** Which decorated methods run once per fire, and for which fire a call of one is. */
import type { LockOptions } from '../k8s-lock.options.js';
import { quote } from '../lock.errors.js';
import type { Claim } from '../lock/claim.js';
import { findFireOptionFaults } from './fire.options.js';
import {
  findFinalMethod,
  isInnermost,
  type MethodLock,
} from './method-lock.metadata.js';
import { fireAt, planOfInterval } from './planned-fires.js';
import {
  findSchedule,
  type CronOptions,
  type Schedule,
} from './schedule.metadata.js';
import { currentFire } from './scheduler-ticks.js';

/** How the fires of one method are claimed. */
export interface FirePolicy {
  readonly schedule: Schedule;
  /** Run a fire again whose work did not end. */
  readonly retry: boolean;
}

/**
 * Undefined = a call is only kept from overlapping others. Only known once every decorator has run:
 * `@Cron` may stand above.
 */
export function findFirePolicy(lock: MethodLock): FirePolicy | undefined {
  const schedule = findScheduleOf(lock);
  const isOnByDefault =
    schedule?.type === 'cron' &&
    typeof lock.name === 'string' &&
    isInnermost(lock);
  const isOn = lock.fire.oncePerFire ?? isOnByDefault;
  return isOn && schedule !== undefined
    ? { schedule, retry: lock.fire.onFailure === 'retry' }
    : undefined;
}

/** What a call of the method at this moment is to claim; undefined = nothing, since it is a call by hand. */
export function findClaim(lock: MethodLock): Claim | undefined {
  const policy = findFirePolicy(lock);
  if (policy === undefined) {
    return undefined;
  }
  const { schedule, retry } = policy;
  // The scheduler calls a method under @Interval without a trace: no call of one counts as by hand.
  const fire =
    schedule.type === 'interval'
      ? fireAt(planOfInterval(schedule.period), Date.now())
      : currentFire();
  return fire && { ...fire, retry, ownIdentities: new Set() };
}

/** The `@Cron` of a method whose missed fires are made up for. */
export function findCatchUp(lock: MethodLock): CronOptions | undefined {
  const schedule = findFirePolicy(lock)?.schedule;
  return schedule?.type === 'cron' && lock.fire.catchUp === true
    ? schedule.options
    : undefined;
}

/** What is wrong with how the fires of a method are shared out. `defaults`: the options of the module. */
export function findFireFaults(
  lock: MethodLock,
  defaults: LockOptions,
): string[] {
  const { fire } = lock;
  const faults = findFireOptionFaults(fire);
  if (faults.length > 0) {
    return faults;
  }
  const schedule = findScheduleOf(lock);
  if (
    fire.oncePerFire &&
    schedule?.type !== 'cron' &&
    schedule?.type !== 'interval'
  ) {
    return [
      'oncePerFire is for methods under @Cron or @Interval: other calls have no planned time',
    ];
  }
  if (fire.oncePerFire && !isInnermost(lock)) {
    return [
      'oncePerFire is for the lowest @WithLeaseLock() of a method, the one that decides whether it runs',
    ];
  }
  if (findFirePolicy(lock) === undefined) {
    return [
      ...(fire.onFailure === undefined ? [] : ['onFailure']),
      ...(fire.catchUp ? ['catchUp'] : []),
    ].map((option) => `${option} needs oncePerFire, which is off here`);
  }
  const found: string[] = [];
  if (
    fire.catchUp &&
    (schedule?.type !== 'cron' || typeof lock.name !== 'string')
  ) {
    found.push('catchUp is for @Cron with a fixed lock name');
  }
  if (lock.options.deleteOnRelease ?? defaults.deleteOnRelease) {
    found.push(
      'deleteOnRelease can not be used with oncePerFire: the Lease remembers which fires were run. Set deleteOnRelease: false, or oncePerFire: false',
    );
  }
  return found;
}

/** A lock as it was found: once for each class that has the method, be it inherited. */
export interface FoundLock {
  readonly lock: MethodLock;
  /** `Class.method`. */
  readonly label: string;
  /** One of the class's instances, if there are any at startup. */
  readonly instance: object | undefined;
}

/** The locks under which more than one method claims its fires, so that one would be skipped for the other. */
export function findSharedFires(found: readonly FoundLock[]): string[] {
  const labels = new Map<string, Set<string>>();
  for (const { lock, label } of found) {
    if (typeof lock.name === 'string' && findFirePolicy(lock)) {
      const id = `${quote(lock.name)}${lock.options.namespace ? ` in ${lock.options.namespace}` : ''}`;
      labels.set(id, (labels.get(id) ?? new Set()).add(label));
    }
  }
  return [...labels]
    .filter(([, methods]) => methods.size > 1)
    .map(
      ([id, methods]) =>
        `${[...methods].join(' and ')} would skip each other's fires, since they have the same lock ${id}: give each a name of its own, or set oncePerFire: false`,
    );
}

function findScheduleOf(lock: MethodLock): Schedule | undefined {
  const method = findFinalMethod(lock);
  return method && findSchedule(method);
}
