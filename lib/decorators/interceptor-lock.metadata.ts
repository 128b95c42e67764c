/** Stores the lock of an interceptor class, and finds the interceptors with locks that are bound to a class or method. */
import type { DeclaredLock } from './lock.metadata.js';

/** The metadata key of Nest's `@UseInterceptors()`; its value holds classes and instances. */
const INTERCEPTORS = '__interceptors__';
const INTERCEPTOR_LOCK = Symbol('nestjs-k8s-lock: lock of an interceptor');

export function addInterceptorLock(
  interceptor: object,
  lock: DeclaredLock,
): void {
  Reflect.defineMetadata(INTERCEPTOR_LOCK, lock, interceptor);
}

/** The lock of a class that `LeaseLockInterceptor()` made, or that extends such a class. */
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
