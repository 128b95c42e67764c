/** Stores and reads the metadata of `@WithLeaseLock` and `@HeldLock`. */
import {
  describeValue,
  resolveLockOptions,
  type LockOptions,
  type OnLocked,
  type OwnLockOptions,
} from '../k8s-lock.options.js';
import { LockConfigurationError } from '../lock.errors.js';
import { refuseCall } from './configuration-log.js';
import type { FireOptions } from '../schedule/fire.options.js';
import { findSchedule } from '../schedule/schedule.metadata.js';

/** A lock as a decorator or an interceptor declares it. */
export interface DeclaredLock {
  /** The name as it was given, not yet checked. */
  readonly name: unknown;
  readonly onLocked: OnLocked | undefined;
  /** Merged over the options of the module when the lock is acquired. */
  readonly options: OwnLockOptions;
}

/** One `@WithLeaseLock` on one method. */
export interface MethodLock extends DeclaredLock {
  /** The fire options as they were given, not yet checked. */
  readonly fire: FireOptions;
  /** The prototype that declares the method, and the method's key there. */
  readonly prototype: object;
  readonly key: string | symbol;
}

const METHOD_LOCKS = Symbol('nestjs-k8s-lock: locks of a method');
const LOCK_PARAMETERS = Symbol('nestjs-k8s-lock: parameters for the lock');

/** The method and the locks of a wrapper. */
export interface LockedMethod {
  /** Outermost decorator first. */
  readonly locks: readonly MethodLock[];
  readonly method: (...args: unknown[]) => unknown;
}

/** Locked methods by their wrapper. Not metadata, which other decorators copy to their own wrappers. */
const lockedMethods = new WeakMap<object, LockedMethod>();

export function addLockedMethod(wrapper: object, locked: LockedMethod): void {
  lockedMethods.set(wrapper, locked);
}

/** Undefined for a method that is not itself a wrapper of `@WithLeaseLock`. */
export function findLockedMethod(wrapper: object): LockedMethod | undefined {
  return lockedMethods.get(wrapper);
}

/** Adds a lock to those of the decorators below it. Stored on the class, since other decorators may replace the function on the prototype. */
export function addMethodLock(lock: MethodLock): void {
  const { prototype, key } = lock;
  Reflect.defineMetadata(
    METHOD_LOCKS,
    [lock, ...findMethodLocks(prototype, key)],
    prototype,
    key,
  );
}

/** The locks of a method, outermost first; none if it isn't decorated where it is declared. */
export function findMethodLocks(
  prototype: object,
  key: string | symbol,
): readonly MethodLock[] {
  const declarer = findDeclarer(prototype, key);
  const locks: readonly MethodLock[] | undefined =
    declarer && Reflect.getOwnMetadata(METHOD_LOCKS, declarer, key);
  return locks ?? [];
}

/** The prototype in the chain that declares a method. */
export function findDeclarer(
  prototype: object,
  key: string | symbol,
): object | undefined {
  let declarer: object | null = prototype;
  while (declarer !== null && !Object.hasOwn(declarer, key)) {
    declarer = Reflect.getPrototypeOf(declarer);
  }
  return declarer ?? undefined;
}

export function addLockParameter(
  prototype: object,
  key: string | symbol,
  index: number,
): void {
  Reflect.defineMetadata(
    LOCK_PARAMETERS,
    [index, ...findLockParameters(prototype, key)],
    prototype,
    key,
  );
}

/** The parameters under `@HeldLock` of the method that this prototype itself declares; an override has its own. */
export function findLockParameters(
  prototype: object,
  key: string | symbol,
): readonly number[] {
  const indexes: readonly number[] | undefined = Reflect.getOwnMetadata(
    LOCK_PARAMETERS,
    prototype,
    key,
  );
  return indexes ?? [];
}

/**
 * The `onLocked` of a lock. Can be called only when every decorator has run, because `@Cron` may stand
 * above `@WithLeaseLock`, or on an override that calls `super`.
 *
 * @param target the instance whose method is called, or the prototype of its class
 */
export function findOnLocked(lock: MethodLock, target: object): OnLocked {
  return lock.onLocked ?? (findSchedule(target, lock.key) ? 'skip' : 'wait');
}

/** Whether a lock is that of the lowest decorator of its method. */
export function isInnermost(lock: MethodLock): boolean {
  return findMethodLocks(lock.prototype, lock.key).at(-1) === lock;
}

/** The class name for messages. For the prototype of an instance it need not be the class that declares the method. */
export function describeClass(prototype: object): string {
  const { constructor } = prototype;
  return typeof constructor === 'function' && constructor.name !== ''
    ? constructor.name
    : '(anonymous class)';
}

/** `Class.method`, for messages. */
export function describeMethod(
  prototype: object,
  key: string | symbol,
): string {
  const name = describeClass(prototype);
  return typeof key === 'symbol' ? `${name}[${String(key)}]` : `${name}.${key}`;
}

/** @throws LockConfigurationError that begins with what `describe` returns */
export function checkName(name: unknown, describe: () => string): string {
  if (typeof name !== 'string' || name === '') {
    refuseCall(
      `${describe()} did not run: the lock name ${describeNameFault(name)}`,
    );
  }
  return name;
}

/** The fault of a lock name, or of the result of its function, that is empty or not a string. */
function describeNameFault(name: unknown): string {
  if (name === '') {
    return 'must not be empty';
  }
  const shown =
    name instanceof Promise
      ? 'a Promise: the function for it cannot be async'
      : describeValue(name);
  return `must be a string, not ${shown}`;
}

const ON_LOCKED: readonly unknown[] = ['wait', 'skip', 'throw', undefined];

/** The faults of a lock of a method or an interceptor. */
export function findLockFaults(
  lock: DeclaredLock,
  defaults: LockOptions,
): string[] {
  const faults: string[] = [];
  if (
    lock.name === '' ||
    (typeof lock.name !== 'string' && typeof lock.name !== 'function')
  ) {
    faults.push(`the lock name ${describeNameFault(lock.name)}`);
  }
  if (!ON_LOCKED.includes(lock.onLocked)) {
    faults.push(
      `onLocked must be 'wait', 'skip' or 'throw', not ${describeValue(lock.onLocked)}`,
    );
  }
  try {
    resolveLockOptions(lock.options, defaults);
  } catch (error) {
    if (!(error instanceof LockConfigurationError)) {
      throw error;
    }
    faults.push(...error.faults);
  }
  return faults;
}
