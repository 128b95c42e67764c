/** Decides which decorated methods claim fires, and which fire a call claims. */
import { Logger } from '@nestjs/common';
import type { LockOptions } from '../k8s-lock.options.js';
import { quote } from '../printable.js';
import { describePermitsOfFire } from '../lock.client.js';
import type { FireClaim } from '../lock/record/fire-claim.js';
import { findFireOptionFaults } from '../schedule/fire.options.js';
import {
  describeMethod,
  isInnermost,
  type MethodLock,
} from './lock.metadata.js';
import {
  findClassPrototype,
  findSchedule,
  type Schedule,
} from '../schedule/schedule.metadata.js';
import type { Fire } from '../schedule/planned-fires.js';
import type { InstanceMethod } from '../schedule/scheduled-methods.js';
import {
  currentFire,
  currentFireOf,
  currentFireOfAdded,
  isCallMissing,
} from '../schedule/scheduler-ticks.js';

/** How the fires of the calls of one method of a class are claimed. */
export interface FirePolicy {
  /** The prototype of the class. */
  readonly prototype: object;
  /** Undefined for a method without a schedule. */
  readonly schedule: Schedule | undefined;
  /** Whether a fire whose work did not end is repeated. */
  readonly retry: boolean;
}

/**
 * Undefined if calls claim no fires. Can be called only when every decorator has run: `@Cron` may stand
 * above, or on an override that calls `super`.
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
    ? {
        prototype: findClassPrototype(target, lock.key),
        schedule,
        retry: lock.fire.onFailure === 'retry',
      }
    : undefined;
}

/**
 * The fire that a call of the method claims now, if any. A scheduled method claims only its own fires;
 * another method claims the fire of the scheduled method that calls it.
 */
export function findClaim(
  lock: MethodLock,
  policy: FirePolicy,
  instance: object,
): FireClaim | undefined {
  const { prototype, retry } = policy;
  const method = { instance, prototype, key: lock.key };
  const fire = findFire(lock, method, policy);
  if (fire === undefined) {
    warnOfNoFire(lock, method, policy);
  }
  return fire && { ...fire, retry, ownIdentities: new Set() };
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
/** The locks for which a call without a fire was already logged. */
const warned = new WeakSet<MethodLock>();

/** Warns of a call without a fire; a call by hand of a scheduled method is normal. */
function warnOfNoFire(
  lock: MethodLock,
  method: InstanceMethod,
  { schedule }: FirePolicy,
): void {
  const isAdded = currentFireOfAdded() !== undefined;
  const isByHand = schedule && !isAdded && !isCallMissing(method);
  if (isByHand || warned.has(lock)) {
    return;
  }
  warned.add(lock);
  const label = describeMethod(method.prototype, method.key);
  logger.warn(
    isAdded
      ? `${label} was called by a job or an interval that the application has added to the SchedulerRegistry. Such a call claims no fire of the method's own schedule, and runs in each pod. Set oncePerFire: true to run it once for each fire of that job, too`
      : schedule
        ? `${label} was called outside of the async context of the scheduler, and the scheduler's own call has not reached the lock: if a decorator in between has passed that call on (to a queue, a worker, an event), its fire is unknown, and it runs in each pod. Let that decorator call the method itself, or put it below the lock`
        : `${label} has oncePerFire: true, but was called without a known fire: not from a method under @Cron or @Interval, nor from a job of the SchedulerRegistry, or after the promise had settled for which the scheduler waits. Such a call claims nothing and runs whenever it gets the lock`,
  );
}

/** The faults of the fire options of a lock. `defaults`: the options of the module. */
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
      'oncePerFire cannot be used under @Timeout: each pod counts from its own start, so the pods share no planned time',
    ];
  }
  if (fire.oncePerFire && !isInnermost(lock)) {
    return [
      'oncePerFire is for the lowest @WithLeaseLock() of a method, which decides whether it runs',
    ];
  }
  if (findFirePolicy(lock, prototype) === undefined) {
    return [
      ...(fire.onFailure === undefined ? [] : ['onFailure']),
      ...(fire.catchUp ? ['catchUp'] : []),
    ].map((option) => `${option} needs oncePerFire, which is off here`);
  }
  const found: string[] = [];
  const { permits = 1 } = lock.options;
  if (permits > 1) {
    found.push(describePermitsOfFire(permits));
  }
  if (
    fire.catchUp &&
    (schedule?.type !== 'cron' || typeof lock.name !== 'string')
  ) {
    found.push('catchUp is for @Cron with a fixed lock name');
  }
  if (lock.options.deleteOnRelease ?? defaults.deleteOnRelease) {
    found.push(
      'deleteOnRelease cannot be used with oncePerFire, whose fire claims are stored in the Lease. Set deleteOnRelease: false, or oncePerFire: false',
    );
  }
  return found;
}

/** A lock of a method of one class; an inherited method is found once for each class. */
export interface FoundLock {
  readonly lock: MethodLock;
  /** The prototype of the class. */
  readonly prototype: object;
  /** `Class.method`. */
  readonly label: string;
  /** The name of the module that provides the class. */
  readonly module: string;
  /** One instance of the class, if there is one at startup. */
  readonly instance: object | undefined;
}

/** The methods of one application that claim fires, by the Lease of their lock. */
export type Claimers = Map<string, readonly FoundLock[]>;

/**
 * Finds Leases in which several methods claim fires, so that they would skip each other's.
 *
 * @param claimers those of the whole application; each of its LockServices adds its methods
 * @param locate returns a key that is equal for two locks if they use the same Lease
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
      // A class that several modules provide counts once.
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
      : `their locks ${[...names].join(' and ')} use the same Lease, each with the namePrefix of its module`;
  return `${labels.join(' and ')} would skip each other's fires, since ${why}: give each method another lock name, or set oncePerFire: false`;
}

function isSameMethod(one: FoundLock, other: FoundLock): boolean {
  return one.prototype === other.prototype && one.lock.key === other.lock.key;
}
