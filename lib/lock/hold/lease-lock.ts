/** The handles of held locks, as users see them. */
import { inspect, type InspectOptions } from 'node:util';

/** A {@link LeaseLock} as JSON. */
export interface LeaseLockJson {
  name: string;
  namespace: string;
  leaseName: string;
  holderIdentity: string;
  fencingToken: string;
  isHeld: boolean;
}

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
  /** The lock name, as given to the call. */
  abstract readonly name: string;
  /** The namespace of the Lease. */
  abstract readonly namespace: string;
  /** The name of the Lease object. */
  abstract readonly leaseName: string;
  /** The slot of a semaphore that is held, from `0` to `permits - 1`; undefined for a lock. */
  abstract readonly slot: number | undefined;
  /** `<clientId>_<nonce>`, unique to this acquisition. */
  abstract readonly holderIdentity: string;
  /**
   * Greater than the token of every earlier holder of this lock, and smaller than that of every later
   * one. A store that refuses smaller tokens than it has seen is safe even from a holder that was paused
   * for longer than its lease. The token is the resourceVersion of the acquiring write; only a restore
   * of etcd from a backup can set it back. The tokens of a semaphore are compared slot by slot.
   */
  abstract readonly fencingToken: bigint;
  /**
   * Aborts with a `LockLostError` when the lock is lost, before another process can hold it (unless it
   * was taken by force). Also aborts, with reason `shutdown`, when the application closes; the lock is
   * then held until the work ends, for up to `shutdownTimeout`. A release does not abort it.
   */
  abstract readonly signal: AbortSignal;
  /** Whether the lock is held right now: acquired, not released, not past its deadline. */
  abstract readonly isHeld: boolean;
  /** Throws `LockLostError` when the lock was lost or released. */
  abstract assertHeld(): void;
  /**
   * Releases the lock. Never rejects, may be called any number of times, and never touches the record
   * of another holder. If the API server can't be reached, it resolves within `requestTimeout` and keeps
   * trying until the lease has expired, with a `backend-error` event and a line in the log.
   */
  abstract release(): Promise<void>;
  /** Releases the lock at the end of the block of an `await using`. */
  abstract [Symbol.asyncDispose](): Promise<void>;

  /** What `JSON.stringify()` and `console.log()` show; the token is a string, since JSON has no bigint. */
  toJSON(): LeaseLockJson {
    return {
      name: this.name,
      namespace: this.namespace,
      leaseName: this.leaseName,
      holderIdentity: this.holderIdentity,
      fencingToken: String(this.fencingToken),
      isHeld: this.isHeld,
    };
  }

  /** @internal */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    return `LeaseLock ${inspect(this.toJSON(), options)}`;
  }
}

/**
 * Several locks that were acquired together. They count as held only while all of them are. It is a class
 * for the same reason as {@link LeaseLock}.
 *
 * @example
 * await using held = await locks.acquireAll(['account-1', 'account-2']);
 * const [from, to] = held.locks;
 * await transfer({ signal: held.signal, tokens: [from?.fencingToken, to?.fencingToken] });
 */
export abstract class LeaseLocks implements AsyncDisposable {
  /**
   * One handle for each name, in the order of the names; names of one Lease have the same handle. Each lock
   * has its own fencing token.
   */
  abstract readonly locks: readonly LeaseLock[];
  /** Aborts as the `signal` of a lock does, with the first of the locks that is lost. */
  abstract readonly signal: AbortSignal;
  /** Whether all of the locks are held right now. */
  abstract readonly isHeld: boolean;
  /** Throws `LockLostError` when one of the locks was lost or released. */
  abstract assertHeld(): void;
  /** Releases all locks, the last acquired first, as the `release()` of each does. */
  abstract release(): Promise<void>;
  /** Releases the locks at the end of the block of an `await using`. */
  abstract [Symbol.asyncDispose](): Promise<void>;
}
