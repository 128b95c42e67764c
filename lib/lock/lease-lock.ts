/** The handle of a held lock, and how code below a locked method finds it. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { ClaimEnd } from './claim.js';

/**
 * A lock that was acquired. It is a class, so that it can be the type of a decorated parameter: the
 * compiler writes that type into the metadata, as a value.
 *
 * @example
 * await using lock = await locks.acquire('import');
 * await fetch(source, { signal: lock.signal }); // stops when the lock is lost
 * await table.write(rows, { ifTokenAtLeast: lock.fencingToken });
 */
export abstract class LeaseLock implements AsyncDisposable {
  /** The name that the lock was acquired by. */
  abstract readonly name: string;
  abstract readonly namespace: string;
  /** The name of the Lease object. */
  abstract readonly leaseName: string;
  /** Who holds it: `<clientId>_<nonce>`, unique to this acquisition. */
  abstract readonly holderIdentity: string;
  /**
   * Greater than that of every earlier holder of this lock, and smaller than that of every later
   * one. A store that refuses writes with a smaller token than it has seen is safe even from a
   * holder that was paused for longer than its lease. It is the resourceVersion of the acquiring
   * write; restoring etcd from a backup is the one thing that can set it back.
   */
  abstract readonly fencingToken: bigint;
  /**
   * Aborts with a `LockLostError` when the lock is lost, before anybody else can hold it (unless it
   * was taken by force); and when the application closes, with reason `shutdown`: the lock is held
   * then until the work ends, for up to `shutdownTimeout`. Not aborted by a release.
   */
  abstract readonly signal: AbortSignal;
  /** Whether the lock is held right now: acquired, not released, not past its deadline. */
  abstract readonly isHeld: boolean;
  /** Throws `LockLostError` when the lock was lost or released. */
  abstract assertHeld(): void;
  /**
   * Gives the lock back. Never rejects and may be called any number of times; after a loss it
   * touches nothing that is another's. When the API server can't be reached it resolves within
   * `requestTimeout` and goes on trying until the lease has expired; that is a `backend-error`
   * event and a line in the log.
   */
  abstract release(): Promise<void>;
  /** Releases it, at the end of the block of an `await using`. */
  abstract [Symbol.asyncDispose](): Promise<void>;
}

/** A lock as its own code passes it on. */
export interface LockHandle extends LeaseLock {
  /** Whether it is being given back, or has been: from then on it is nobody's. */
  readonly isReleased: boolean;
  /** What the release is to say of the work that was claimed with the lock; `done` unless told. */
  endClaimAs(end: ClaimEnd): void;
}

interface LockScope {
  readonly lock: LockHandle;
  readonly outer: LockScope | undefined;
}

const storage = new AsyncLocalStorage<LockScope>();

/**
 * The lock that the calling code runs under: the innermost one, if several are nested. Undefined
 * outside of a method under `@WithLeaseLock` and of `LockService.withLock()`.
 *
 * @example
 * const lock = currentLock();
 * lock?.assertHeld();
 */
export function currentLock(): LeaseLock | undefined {
  return storage.getStore()?.lock;
}

const leaveToHolder = (): Promise<void> => Promise.resolve();

/**
 * The handle for work that runs under a lock which its caller holds: the same lock, but releasing it
 * is left to the caller.
 */
export function borrow(lock: LockHandle): LockHandle {
  return derive(lock, {
    locks: [lock],
    signal: lock.signal,
    release: leaveToHolder,
  });
}

/** The handle of a lock that stands for all of `locks`: it is held as long as each of them is. */
export function derive(
  lock: LockHandle,
  {
    locks,
    signal,
    release,
  }: Pick<LeaseLock, 'signal' | 'release'> & { locks: readonly LockHandle[] },
): LockHandle {
  return {
    name: lock.name,
    namespace: lock.namespace,
    leaseName: lock.leaseName,
    holderIdentity: lock.holderIdentity,
    fencingToken: lock.fencingToken,
    signal,
    get isHeld() {
      return locks.every(({ isHeld }) => isHeld);
    },
    get isReleased() {
      return lock.isReleased;
    },
    assertHeld: () => locks.forEach((each) => each.assertHeld()),
    endClaimAs: () => undefined, // that is for who releases it
    release,
    [Symbol.asyncDispose]: release,
  };
}

/** What the work under a lock is to be surrounded with, where somebody traces it. */
const surroundings = new WeakMap<LeaseLock, <T>(work: () => T) => T>();

/** Has the work under `lock` be run by `run`, which must call it and return what it returns. */
export function surround(lock: LeaseLock, run: <T>(work: () => T) => T): void {
  surroundings.set(lock, run);
}

/** Runs `work` with `lock` as its {@link currentLock}. */
export function runUnderLock<T>(lock: LockHandle, work: () => T): T {
  const scope = { lock, outer: storage.getStore() };
  const run = surroundings.get(lock);
  return run === undefined
    ? storage.run(scope, work)
    : run(() => storage.run(scope, work));
}

/**
 * The lock on this Lease that the calling code already runs under: held, or lost under its feet. Not one
 * that was given back: what its work has left running (a timer, a listener) is on its own.
 */
export function findEnclosingLock(
  namespace: string,
  leaseName: string,
): LockHandle | undefined {
  for (let scope = storage.getStore(); scope; scope = scope.outer) {
    const { lock } = scope;
    if (
      lock.namespace === namespace &&
      lock.leaseName === leaseName &&
      !lock.isReleased
    ) {
      return lock;
    }
  }
  return undefined;
}
