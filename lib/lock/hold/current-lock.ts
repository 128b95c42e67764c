/** Runs work under a lock, tracks the locks of the running code by its async context, and finds work that a lock can't cover. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { LeaseStore } from '../../kube/lease-store.js';
import { LockConfigurationError } from '../../lock.errors.js';
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

/** The functions that run the work under a lock in its tracing context. */
const surroundings = new WeakMap<LeaseLock, <T>(work: () => T) => T>();

/** Sets the function that runs the work under `lock`; it must call the work and return its result. */
export function surround(lock: LeaseLock, run: <T>(work: () => T) => T): void {
  surroundings.set(lock, run);
}

/** Runs `work` with `lock` as its {@link currentLock}. */
export function runUnderLock<T>(lock: LockHandle, work: () => T): T {
  const outer = skipReleased(storage.getStore());
  // Work that schedules its own next call must not build a chain of the scopes of all earlier calls.
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
 * A21: new handles of the locks under which the calling code runs, held or lost, for a call that may share one
 * of them; innermost first. Each handle keeps its lock until it is released.
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

/**
 * A generator compiled for an old target, or by Babel, has no tag, but the methods of one. Iterators of
 * collections and cursors of databases have no `throw()`.
 */
export function isGenerator(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) {
    return false;
  }
  const methods = [
    'next',
    'return',
    'throw',
    Symbol.asyncIterator in value ? Symbol.asyncIterator : Symbol.iterator,
  ];
  return methods.every((key) => typeof Reflect.get(value, key) === 'function');
}

/**
 * @param subject what returned it
 * @param kind with its article
 * @throws LockConfigurationError
 */
export function refuseLazyResult(
  subject: string,
  kind: string,
  advice: string,
): never {
  throw new LockConfigurationError([
    `${subject} returned ${kind}, whose work would run after the lock has been released: ${advice}`,
  ]);
}
