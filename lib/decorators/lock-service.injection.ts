/** Gives instances of classes with decorated methods the LockService of their application, at startup or at their first call. */
import { Inject } from '@nestjs/common';
import { LockService } from '../lock.service.js';

/** Nest prints the description if it finds no LockService for a class, so it says what to do. */
const LOCK_SERVICE = Symbol(
  'LockService for @WithLeaseLock: import K8sLockModule.forRoot()',
);

/** Services of instances to which no property can be added: frozen ones and proxies. */
const services = new WeakMap<object, LockService>();

/** Makes Nest inject the service into every instance of this class and of derived classes. */
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
 * Gives an instance its service. Unlike an entry in a WeakMap, a property is found both through a Proxy
 * around the instance and behind it. It is not enumerable, so that it is not copied, compared or printed.
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
    // a Proxy that throws
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
    return undefined; // a Proxy that throws
  }
}

/** Finds instances among the providers of one application. */
export interface InstanceFinder {
  findServiceOf(instance: object): Promise<LockService | undefined>;
}

/** The finders of all applications in use; weak references, since an instance without a service leads to no application. */
const finders = new Set<WeakRef<InstanceFinder>>();

export function addInstanceFinder(finder: InstanceFinder): void {
  finders.add(new WeakRef(finder));
}

/** Undefined if no application provides this very instance. */
export async function bindLate(
  instance: object,
): Promise<LockService | undefined> {
  for (const reference of finders) {
    const finder = reference.deref();
    if (finder === undefined) {
      finders.delete(reference);
      continue;
    }
    // oxlint-disable-next-line no-await-in-loop -- the first match wins
    const service = await finder.findServiceOf(instance);
    if (service !== undefined) {
      bindLockService(instance, service);
      return service;
    }
  }
  return undefined;
}
