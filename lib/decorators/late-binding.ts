/** Finds the LockService for an instance that was not bound at startup, in the application that provides it. */
import type { LockService } from '../lock.service.js';
import { bindLockService } from './lock-service.injection.js';

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
