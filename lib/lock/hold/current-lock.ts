/** The locks of the running code, by its async context. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { LeaseStore } from '../../kube/lease-store.js';
import type { LeaseLock } from './lease-lock.js';
import type { LockHandle, LockScope } from './lock-handle.js';

const storage = new AsyncLocalStorage<LockScope>();

/**
 * The lock under which the calling code runs: the innermost, if several are nested. Undefined outside of a
 * method under `@WithLeaseLock` or `LockService.withLock()`, and in code that such work left running (a
 * timer, a listener) once the lock was released.
 *
 * @example
 * const lock = currentLock();
 * lock?.assertHeld();
 */
export function currentLock(): LeaseLock | undefined {
  return skipReleased(storage.getStore())?.lock;
}

/** What the work under a lock is to be surrounded with, where somebody traces it. */
const surroundings = new WeakMap<LeaseLock, <T>(work: () => T) => T>();

/** Has the work under `lock` be run by `run`, which must call it and return what it returns. */
export function surround(lock: LeaseLock, run: <T>(work: () => T) => T): void {
  surroundings.set(lock, run);
}

/** Runs `work` with `lock` as its {@link currentLock}. */
export function runUnderLock<T>(lock: LockHandle, work: () => T): T {
  const outer = skipReleased(storage.getStore());
  // Work that plans its own next call must not chain the scopes of all calls before it.
  for (let each = outer; each; each = each.outer) {
    each.outer = skipReleased(each.outer);
  }
  const scope = { lock, outer };
  lock.scopes.add(scope);
  const run = surroundings.get(lock);
  return run === undefined
    ? storage.run(scope, work)
    : run(() => storage.run(scope, work));
}

/**
 * Handles of the locks that the calling code runs under, held or lost under its feet, for a call that may
 * share one of them; the innermost comes first. Each keeps its lock until it is released.
 */
export function lendEnclosingLocks(store: LeaseStore): LockHandle[] {
  const lent: LockHandle[] = [];
  let scope = skipReleased(storage.getStore());
  while (scope?.lock) {
    if (scope.lock.isSharedWith(store)) {
      lent.push(scope.lock.lend());
    }
    scope = skipReleased(scope.outer);
  }
  return lent;
}

function skipReleased(scope: LockScope | undefined): LockScope | undefined {
  let living = scope;
  while (living && living.lock?.isReleased !== false) {
    living = living.outer;
  }
  return living;
}
