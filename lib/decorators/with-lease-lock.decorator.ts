/** `@WithLeaseLock`: wraps a method in place, so that every call of it runs under a lock. */
import type { Observable } from 'rxjs';
import type { OnLocked, OwnLockOptions } from '../k8s-lock.options.js';
import { findObjectFaults, throwFaults } from '../k8s-lock.options.js';
import { LockConfigurationError } from '../lock.errors.js';
import { refuseBareUse, refuseStandardUse } from './decorator-use.js';
import type { FireOptions } from '../schedule/fire.options.js';
import { requestLockService } from './lock-service.injection.js';
import { callUnderLocks } from './locked-method.js';
import {
  addLockedMethod,
  addMethodLock,
  describeMethod,
  findLockedMethod,
  type LockedMethod,
  type MethodLock,
} from './lock.metadata.js';

/** How one decorated method acquires its lock. Defaults are those of `K8sLockModule.forRoot()`. */
export interface WithLeaseLockOptions extends OwnLockOptions, FireOptions {
  /**
   * What a call does when the lock is taken: `'wait'` (for up to `waitTimeout`), `'skip'` (resolve with
   * undefined) or `'throw'`.
   *
   * @defaultValue `'skip'` under `@Cron`, `@Interval` and `@Timeout`, else `'wait'`
   */
  onLocked?: OnLocked;
}

/** The parameters are checked by {@link DecoratorFault}, which gives better messages than a constraint. */
type AnyMethod = (...args: any[]) => any;
type MethodDescriptor = Pick<TypedPropertyDescriptor<AnyMethod>, 'value'>;

/** `unknown` for a valid method, else the message that the compiler shows. */
type DecoratorFault<
  Target,
  Name,
  Policy extends OnLocked,
  Method extends AnyMethod,
> =
  ReturnType<Method> extends PromiseLike<unknown> | Observable<unknown>
    ? Name extends (this: Target, ...args: Parameters<Method>) => string
      ? Target extends { readonly prototype: unknown }
        ? 'a static method cannot be under @WithLeaseLock: it has no instance with a LockService'
        : MayBeUndefined<Policy, ReturnType<Method>> extends true
          ? unknown
          : "a call that is skipped (onLocked: 'skip') resolves with undefined: the method must return Promise<… | undefined>"
      : 'the function for the lock name does not accept the parameters of the method'
    : 'a method under @WithLeaseLock must return a Promise or an Observable';

/** Whether the return type includes undefined, if calls can be skipped. An Observable's type is not checked. */
type MayBeUndefined<Policy extends OnLocked, Result> = 'skip' extends Policy
  ? Result extends PromiseLike<infer Value>
    ? undefined extends Value
      ? true
      : false
    : true
  : true;

/** A method decorator that accepts only methods which can run under the lock. */
export interface LeaseLockDecorator<
  This,
  Args extends unknown[],
  Policy extends OnLocked = OnLocked,
> {
  <Target extends object, Method extends AnyMethod>(
    target: Target,
    key: string | symbol,
    descriptor: TypedPropertyDescriptor<Method> &
      DecoratorFault<
        Target,
        (this: This, ...args: Args) => string,
        Policy,
        Method
      >,
  ): void;
  /** Only for `applyDecorators()`, whose type requires class decorators, too. On a class it throws. */
  (target: Function): void;
}

/**
 * Runs the method under a lock: in one place at a time across all pods.
 *
 * **The name** is a string, or a function of the arguments of the call, with the instance as its `this`. Any
 * non-empty string is legal.
 *
 * **A call** acquires the lock, runs the method with its `this` and arguments, and releases the lock
 * when the method's promise settles, or when the Observable that it returns (or resolves with)
 * completes, errors or is unsubscribed. Inside, `currentLock()` and `@HeldLock()` return the lock. Readers of
 * a returned stream or `StreamableFile` are not waited for.
 *
 * **The result** is always a promise, also for a method that returns an Observable; Nest awaits it. A skipped
 * call resolves with undefined. The method's own error comes through unchanged. Losing the lock does not
 * end the method: it aborts the lock's `signal`.
 *
 * **Under `@Cron` and `@Interval`** each planned fire time runs once in the cluster (`oncePerFire`), as long as
 * the clocks of the pods differ by less than half the period. A fire whose pod dies in the middle is not
 * run again (`onFailure: 'leave'`). A call by hand is for no fire: it runs whenever it gets the lock. Under
 * `@Timeout` the method runs once in each pod.
 *
 * **The order** among `@Cron`, `@Get`, `@UseGuards`, `@OnEvent`, … does not matter.
 *
 * **Several on one method** are acquired in one global order, by namespace and Lease name, so that two methods
 * with the same locks do not deadlock. If one can't be acquired, the method does not run and the others
 * are released. `currentLock()` and `@HeldLock()` return the lock of the lowest decorator, which is lost when
 * any of them is; the lowest also claims the fire. A decorator in between that replaces the method splits
 * them into two groups: the upper group is acquired first, and reports its own loss.
 *
 * **With `permits`** it is a semaphore: up to that many calls run at a time, across all pods.
 *
 * **On a route**, or in a method that a route calls, the wait is cancelled when the client goes away
 * (`LockNotAcquiredError` with reason `'cancelled'`), and a skipped route answers 204.
 *
 * Default options: those of the module; `onLocked` is `'skip'` under `@Cron`, `@Interval` and
 * `@Timeout`, else `'wait'` for up to 10 000 ms; `oncePerFire` is true under `@Cron` and
 * `@Interval`. All durations are in milliseconds.
 *
 * @throws LockConfigurationError at decoration: on a static method, an accessor or a generator. At
 * startup: for wrong options. From a call: when the name is not a non-empty string, or when Nest did not
 * make the instance, so that it has no LockService.
 * @throws LockNotAcquiredError from a call under `'wait'` or `'throw'`
 * @throws LockBackendError from a call, when the API server can't be used
 *
 * @example
 * class Reports { @Cron('0 3 * * *') @WithLeaseLock('nightly-report')
 *   async nightly() {} // one pod runs it, the others skip
 * }
 *
 * @example
 * class Orders { @WithLeaseLock((id: string) => `order-${id}`, { waitTimeout: 5_000 })
 *   async settle(id: string) {} // one call for each order at a time
 * }
 */
export function WithLeaseLock<
  This,
  Args extends unknown[],
  Policy extends OnLocked = 'wait',
>(
  name: string | ((this: This, ...args: Args) => string),
  options: WithLeaseLockOptions & { onLocked?: Policy } = {},
): LeaseLockDecorator<This, Args, Policy> {
  refuseBareUse('WithLeaseLock', name, options);
  throwFaults(findObjectFaults('the options of @WithLeaseLock()', options));
  const { onLocked, oncePerFire, onFailure, catchUp, ...lockOptions } = options;
  return (
    target: object,
    key?: string | symbol,
    descriptor?: MethodDescriptor,
  ): void => {
    refuseStandardUse('WithLeaseLock', key);
    if (typeof target === 'function') {
      refuse(
        key === undefined
          ? `the class ${target.name}`
          : `the static ${descriptor ? 'method' : 'property'} ${target.name}.${String(key)}`,
        'it is for methods of instances, which have a LockService',
      );
    }
    const method = descriptor?.value;
    if (key === undefined || typeof method !== 'function') {
      refuse(
        describeMethod(target, key ?? ''),
        descriptor === undefined
          ? `it is not a method, but a property: write ${String(key)}() {…} instead of ${String(key)} = () => {…}`
          : 'it is not a method',
      );
    }
    if (/Generator/.test(Object.prototype.toString.call(method))) {
      refuse(
        `the generator ${describeMethod(target, key)}`,
        'its body would run after the lock has been released. Return a Promise or an Observable',
      );
    }
    const lock: MethodLock = {
      name,
      onLocked,
      fire: { oncePerFire, onFailure, catchUp },
      options: lockOptions,
      prototype: target,
      key,
    };
    const below = findLockedMethod(method);
    const locked: LockedMethod = {
      locks: [lock, ...(below?.locks ?? [])],
      method: below?.method ?? method,
    };
    const wrapper = async function (
      this: unknown,
      ...args: unknown[]
    ): Promise<unknown> {
      return callUnderLocks(locked, this, args);
    };
    takeOver(method, wrapper);
    addLockedMethod(wrapper, locked);
    addMethodLock(lock);
    requestLockService(target);
    descriptor!.value = wrapper;
  };
}

function refuse(what: string, why: string): never {
  throw new LockConfigurationError([
    `@WithLeaseLock() cannot be applied to ${what}: ${why}`,
  ]);
}

/**
 * Copies name, length, properties and the metadata of the decorators below from the method to the wrapper.
 * Decorators above find the wrapper and add their metadata to it.
 */
export function takeOver(method: AnyMethod, wrapper: AnyMethod): void {
  // A method compiled to ES5 has a prototype, which the wrapper, as it is no constructor, does not need.
  const { prototype: _, ...properties } =
    Object.getOwnPropertyDescriptors(method);
  Object.defineProperties(wrapper, properties);
  for (const metadataKey of Reflect.getOwnMetadataKeys(method)) {
    Reflect.defineMetadata(
      metadataKey,
      Reflect.getOwnMetadata(metadataKey, method),
      wrapper,
    );
  }
}
