/** Which interceptors take locks, and where they are bound. */
import type { DeclaredLock } from './lock.metadata.js';

/** What Nest's `@UseInterceptors()` leaves on a class or a method: classes and instances. */
const INTERCEPTORS = '__interceptors__';
const INTERCEPTOR_LOCK = Symbol('nestjs-k8s-lock: lock of an interceptor');

export function addInterceptorLock(
  interceptor: object,
  lock: DeclaredLock,
): void {
  Reflect.defineMetadata(INTERCEPTOR_LOCK, lock, interceptor);
}

/** The lock of a class that `LeaseLockInterceptor()` has made, or that extends one. */
export function findInterceptorLock(
  interceptor: object,
): DeclaredLock | undefined {
  return Reflect.getMetadata(INTERCEPTOR_LOCK, interceptor);
}

/** The locks of the interceptors that are bound to this class or method. */
export function findBoundLocks(target: object): DeclaredLock[] {
  const bound: readonly object[] =
    Reflect.getMetadata(INTERCEPTORS, target) ?? [];
  return bound.flatMap(
    (interceptor) =>
      findInterceptorLock(
        typeof interceptor === 'function'
          ? interceptor
          : interceptor.constructor,
      ) ?? [],
  );
}
