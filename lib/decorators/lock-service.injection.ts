/** How the instance of a class with decorated methods gets the LockService of its own application. */
import { Inject } from '@nestjs/common';
import { LockService } from '../lock.service.js';

/** Nest prints the description when it finds no LockService for a class, so it says what to do. */
const LOCK_SERVICE = Symbol(
  'LockService for @WithLeaseLock: import K8sLockModule.forRoot()',
);

/** By instance, for those that a property can't be added to or read from: frozen ones, and proxies. */
const services = new WeakMap<object, LockService>();

/** Has Nest inject the service into every instance that it makes of this class or of one derived from it. */
export function requestLockService(prototype: object): void {
  if (LOCK_SERVICE in prototype) {
    return; // a second decorated method, or a derived class
  }
  Object.defineProperty(prototype, LOCK_SERVICE, {
    set(this: object, service: LockService) {
      bindLockService(this, service);
    },
  });
  Inject(LockService)(prototype, LOCK_SERVICE);
}

/** Whether instances with this prototype need a LockService. */
export function needsLockService(prototype: object): boolean {
  return LOCK_SERVICE in prototype;
}

/**
 * Gives an instance its service. A property, unlike an entry in a WeakMap, is found through a Proxy
 * around the instance and behind it; not enumerable, because it is nothing to copy, compare or print.
 */
export function bindLockService(instance: object, service: LockService): void {
  services.set(instance, service);
  try {
    Reflect.defineProperty(instance, LOCK_SERVICE, {
      value: service,
      configurable: true,
      writable: true,
    });
  } catch {
    // a Proxy that forbids it
  }
}

export function findLockService(instance: object): LockService | undefined {
  const service = services.get(instance);
  if (service !== undefined) {
    return service;
  }
  try {
    return (instance as { [LOCK_SERVICE]?: LockService })[LOCK_SERVICE];
  } catch {
    return undefined; // a Proxy that forbids it
  }
}
