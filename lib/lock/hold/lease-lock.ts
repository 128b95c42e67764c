/** The handle of a held lock, as users see it. */
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

  /** What `JSON.stringify()` and `console.log()` show of it; the token as a string, for JSON has no bigint. */
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
