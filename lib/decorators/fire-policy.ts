/** Which decorated methods run once per fire, and for which fire a call of one is. */
import { Logger } from '@nestjs/common';
import type { LockOptions } from '../k8s-lock.options.js';
import { quote } from '../lock.errors.js';
import type { FireClaim } from '../lock/record/fire-claim.js';
import { findFireOptionFaults } from '../schedule/fire.options.js';
import {
  describeMethod,
  isInnermost,
  type MethodLock,
} from './lock.metadata.js';
import { findSchedule, type Schedule } from '../schedule/schedule.metadata.js';
import type { Fire } from '../schedule/planned-fires.js';
import type { InstanceMethod } from '../schedule/scheduled-methods.js';
import {
  currentFire,
  currentFireOf,
  currentFireOfAdded,
  isCallMissing,
} from '../schedule/scheduler-ticks.js';

/** How the fires of one method are claimed. */
export interface FirePolicy {
  /** Undefined for a method that only others call. */
  readonly schedule: Schedule | undefined;
  /** Run a fire again whose work did not end. */
  readonly retry: boolean;
}

/**
 * Undefined = a call is only kept from overlapping others. Only known once every decorator has run:
 * `@Cron` may stand above, or on an override that calls `super`.
 *
 * @param target the instance whose method is called, or the prototype of its class
 */
export function findFirePolicy(
  lock: MethodLock,
  target: object,
): FirePolicy | undefined {
  const schedule = findSchedule(target, lock.key);
  const isOnByDefault =
    schedule !== undefined && schedule.type !== 'once' && isInnermost(lock);
  return (lock.fire.oncePerFire ?? isOnByDefault)
    ? { schedule, retry: lock.fire.onFailure === 'retry' }
    : undefined;
}

/**
 * What a call of the method at this moment is to claim; undefined = nothing. A scheduled method claims
 * its own fires only, and another one those for which it is called from a scheduled one.
 */
export function findClaim(
  lock: MethodLock,
  policy: FirePolicy,
  instance: object,
): FireClaim | undefined {
  const prototype: object = Reflect.getPrototypeOf(instance) ?? instance;
  const method = { instance, prototype, key: lock.key };
  const fire = findFire(lock, method, policy);
  if (fire === undefined) {
    warnOfNoFire(lock, method, policy);
  }
  return fire && { ...fire, retry: policy.retry, ownIdentities: new Set() };
}

function findFire(
  { fire }: MethodLock,
  method: InstanceMethod,
  { schedule }: FirePolicy,
): Fire | undefined {
  if (schedule === undefined) {
    return currentFire();
  }
  const own = currentFireOf(method);
  return own === undefined && fire.oncePerFire ? currentFireOfAdded() : own;
}

const logger = new Logger('K8sLockModule');
/** The locks of which it was told that a call had no fire. */
const told = new WeakSet<MethodLock>();

/** A call by hand of a scheduled method is nothing to tell of, unless it may be none. */
function warnOfNoFire(
  lock: MethodLock,
  method: InstanceMethod,
  { schedule }: FirePolicy,
): void {
  const isAdded = currentFireOfAdded() !== undefined;
  const isByHand = schedule && !isAdded && !isCallMissing(method);
  if (isByHand || told.has(lock)) {
    return;
  }
  told.add(lock);
  const label = describeMethod(method.prototype, method.key);
  logger.warn(
    isAdded
      ? `${label} was called by a job or an interval that the application has added to the SchedulerRegistry. Such a call is for none of the fires of its own decorator: it claims nothing, and runs in each pod. With oncePerFire: true it runs once for each fire of that job, too`
      : schedule
        ? `${label} was called outside of the async context of the scheduler, whose own call has not reached its lock: if a decorator in between has handed that call on (to a queue, a worker, an event), its fire is not known, and it runs in each pod. Let that decorator call the method itself, or put it below the lock`
        : `${label} has oncePerFire: true, and was called for no fire that is known: not from a method under @Cron or @Interval, nor from a job of the SchedulerRegistry, or after the promise had settled for which the scheduler waits. Such a call claims nothing and runs whenever the lock is to be had`,
  );
}

/** What is wrong with how the fires of a method are shared out. `defaults`: the options of the module. */
export function findFireFaults(
  { lock, prototype }: Pick<FoundLock, 'lock' | 'prototype'>,
  defaults: LockOptions,
): string[] {
  const { fire } = lock;
  const faults = findFireOptionFaults(fire);
  if (faults.length > 0) {
    return faults;
  }
  const schedule = findSchedule(prototype, lock.key);
  if (fire.oncePerFire && schedule?.type === 'once') {
    return [
      'oncePerFire can not be had under @Timeout: each pod counts from its own start, so that its call is planned for no time that others know',
    ];
  }
  if (fire.oncePerFire && !isInnermost(lock)) {
    return [
      'oncePerFire is for the lowest @WithLeaseLock() of a method, the one that decides whether it runs',
    ];
  }
  if (findFirePolicy(lock, prototype) === undefined) {
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
  /** That of the class. */
  readonly prototype: object;
  /** `Class.method`. */
  readonly label: string;
  /** The name of the module that provides the class. */
  readonly module: string;
  /** One of the class's instances, if there are any at startup. */
  readonly instance: object | undefined;
}

/** The methods of one application that claim their fires, by the Lease in which they do. */
export type Claimers = Map<string, readonly FoundLock[]>;

/**
 * The Leases in which more than one method claims its fires, so that one would be skipped for the other.
 *
 * @param claimers those of the whole application: each of its LockServices adds the methods that it has found
 * @param locate a text that is the same for two locks if they are one Lease
 */
export async function findSharedFires(
  found: readonly FoundLock[],
  claimers: Claimers,
  locate: (lock: MethodLock) => Promise<string>,
): Promise<string[]> {
  const shared = new Set<string>();
  for (const each of found) {
    const { lock, prototype } = each;
    if (
      typeof lock.name === 'string' &&
      findFirePolicy(lock, prototype)?.schedule
    ) {
      // oxlint-disable-next-line no-await-in-loop -- nothing is sent
      const lease = await locate(lock);
      const others = claimers.get(lease) ?? [];
      // A class that several modules provide is one.
      if (!others.some((other) => isSameMethod(other, each))) {
        claimers.set(lease, [...others, each]);
        if (others.length > 0) {
          shared.add(lease);
        }
      }
    }
  }
  return Array.from(shared, (lease) => describeShared(claimers.get(lease)!));
}

function describeShared(methods: readonly FoundLock[]): string {
  const labels = methods.map((method) =>
    methods.some((other) => other !== method && other.label === method.label)
      ? `${method.label} of ${method.module}`
      : method.label,
  );
  const names = new Set(methods.map(({ lock }) => quote(String(lock.name))));
  const why =
    names.size === 1
      ? `they have the same lock ${[...names].join()}`
      : `their locks ${[...names].join(' and ')} are one Lease, each with the namePrefix of its module`;
  return `${labels.join(' and ')} would skip each other's fires, since ${why}: give each lock a name of its own, or set oncePerFire: false`;
}

function isSameMethod(one: FoundLock, other: FoundLock): boolean {
  return one.prototype === other.prototype && one.lock.key === other.lock.key;
}
