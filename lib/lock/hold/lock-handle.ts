/** The handles of locks: HeldLock, one of several that share an acquisition, and JoinedLock, which joins several locks. */
import type { LeaseStore } from '../../kube/lease-store.js';
import { LockLostError } from '../../lock.errors.js';
import { anyOf } from '../abort-signals.js';
import { slotLeaseName } from '../lease-name.js';
import type { ClaimEnd } from '../record/fire-claim.js';
import type { LeaseHolder } from './lease-holder.js';
import { LeaseLock } from './lease-lock.js';

/** The async context of work under a lock. */
export interface LockScope {
  /** Undefined once the lock was released, since timers and promises keep their async context alive. */
  lock: LockHandle | undefined;
  outer: LockScope | undefined;
}

/** The internal interface of a handle. */
export abstract class LockHandle extends LeaseLock {
  /** The handles that it joins, outermost first; itself if it joins none. */
  abstract readonly parts: readonly LockHandle[];
  /** The scopes of the work under this handle. */
  abstract readonly scopes: Set<LockScope>;
  /** Whether this handle was released, or the closing application has released the lock. */
  abstract readonly isReleased: boolean;

  /** R8: monotonic time at which the lock is given up unless it is renewed. */
  abstract readonly deadline: number;

  /** The planned time of the fire that was claimed with the lock. */
  abstract readonly claimed: number | undefined;

  /** Whether a call to the service with this store may share the lock. */
  abstract isSharedWith(store: LeaseStore): boolean;

  /** Makes another handle of the same lock, which is released when all its handles are. */
  abstract lend(): LockHandle;

  /** Calls back when this handle is released. */
  abstract onRelease(callback: () => void): void;

  /**
   * Must be awaited before the work of a claimed fire: see {@link LeaseHolder.begin}.
   *
   * @throws LockLostError, LockBackendError
   */
  abstract begin(): Promise<void>;

  /** Whether the record may say that the claimed fire has begun. */
  abstract readonly mayHaveBegun: boolean;

  /** Sets the end of the claimed fire for the release; `done` by default. */
  abstract endClaimAs(end: ClaimEnd): void;

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }
}

/** One of the handles of an acquisition. */
export class HeldLock extends LockHandle {
  readonly name: string;
  readonly namespace: string;
  readonly leaseName: string;
  readonly slot: number | undefined;
  readonly holderIdentity: string;
  readonly fencingToken: bigint;
  readonly claimed: number | undefined;
  readonly parts = [this];
  readonly scopes = new Set<LockScope>();
  private readonly releaseListeners = new Set<() => void>();
  private released: Promise<void> | undefined;

  /** @param isBorrowed whether another handle begins and ends the claimed fire */
  constructor(
    private readonly holder: LeaseHolder,
    private readonly isBorrowed = false,
  ) {
    super();
    const { lock } = holder;
    this.name = lock.name;
    this.namespace = lock.namespace;
    this.leaseName = lock.leaseName;
    this.slot = lock.slot;
    this.holderIdentity = holder.holderIdentity;
    this.fencingToken = holder.fencingToken;
    this.claimed = holder.claimed;
    holder.lend();
  }

  get deadline(): number {
    return this.holder.deadline;
  }

  get signal(): AbortSignal {
    return this.holder.signal;
  }

  get isHeld(): boolean {
    return !this.isReleased && this.holder.isHeld;
  }

  get isReleased(): boolean {
    return this.released !== undefined || this.holder.isReleased;
  }

  assertHeld(): void {
    this.holder.assertHeld();
    if (this.isReleased) {
      throw new LockLostError(this.holder.lock, 'released');
    }
  }

  release(): Promise<void> {
    if (this.released === undefined) {
      if (!this.isBorrowed) {
        this.holder.endWork();
      }
      this.released = this.holder.giveBack();
      for (const scope of this.scopes) {
        scope.lock = undefined;
      }
      this.scopes.clear();
      this.releaseListeners.forEach((listener) => listener());
    }
    return this.released;
  }

  /** A21: the same service, and a holder that allows it. */
  isSharedWith(store: LeaseStore): boolean {
    return this.holder.options.reentrant && this.holder.context.store === store;
  }

  lend(): LockHandle {
    return new HeldLock(this.holder, true);
  }

  onRelease(callback: () => void): void {
    this.releaseListeners.add(callback);
  }

  async begin(): Promise<void> {
    if (this.claimed !== undefined && !this.isBorrowed) {
      await this.holder.begin();
    }
  }

  get mayHaveBegun(): boolean {
    return this.holder.mayHaveBegun;
  }

  endClaimAs(end: ClaimEnd): void {
    if (!this.isBorrowed) {
      this.holder.endClaimAs(end);
    }
  }
}

/** The last of several locks of a call, which counts as held only while all of them are. */
export class JoinedLock extends LockHandle {
  readonly name: string;
  readonly namespace: string;
  readonly leaseName: string;
  readonly slot: number | undefined;
  readonly holderIdentity: string;
  readonly fencingToken: bigint;
  readonly claimed: number | undefined;
  readonly scopes: Set<LockScope>;
  private readonly last: LockHandle;
  private readonly anyOfThem: AbortSignal;

  constructor(readonly parts: readonly LockHandle[]) {
    super();
    this.last = parts.at(-1)!;
    this.name = this.last.name;
    this.namespace = this.last.namespace;
    this.leaseName = this.last.leaseName;
    this.slot = this.last.slot;
    this.holderIdentity = this.last.holderIdentity;
    this.fencingToken = this.last.fencingToken;
    this.claimed = this.last.claimed;
    this.scopes = this.last.scopes;
    const { signal, end } = anyOf(...parts.map((lock) => lock.signal));
    this.anyOfThem = signal!;
    this.onRelease(end);
  }

  get deadline(): number {
    return Math.min(...this.parts.map(({ deadline }) => deadline));
  }

  get signal(): AbortSignal {
    // Reading a signal checks its deadline, and aborts the joined signal if it has passed.
    this.parts.forEach(({ signal }) => signal);
    return this.anyOfThem;
  }

  get isHeld(): boolean {
    return this.parts.every(({ isHeld }) => isHeld);
  }

  get isReleased(): boolean {
    return this.last.isReleased;
  }

  assertHeld(): void {
    this.parts.forEach((lock) => lock.assertHeld());
  }

  /** In the reverse of the order in which they were acquired. */
  async release(): Promise<void> {
    await Promise.all(
      this.parts
        .toSorted(comparePlaces)
        .toReversed()
        .map((lock) => lock.release()),
    );
  }

  isSharedWith(store: LeaseStore): boolean {
    return this.last.isSharedWith(store);
  }

  lend(): LockHandle {
    return new JoinedLock(this.parts.map((lock) => lock.lend()));
  }

  onRelease(callback: () => void): void {
    this.last.onRelease(callback);
  }

  begin(): Promise<void> {
    return this.last.begin();
  }

  get mayHaveBegun(): boolean {
    return this.last.mayHaveBegun;
  }

  endClaimAs(end: ClaimEnd): void {
    this.last.endClaimAs(end);
  }
}

/** Releases an unused lock; its claimed fire is open again. */
export async function giveBack(lock: LockHandle): Promise<void> {
  lock.endClaimAs('open');
  await lock.release();
}

/**
 * Whether the handle is of this lock, or of a slot of this semaphore.
 *
 * @param permits those of the lock that is asked for
 */
export function isOf(
  { namespace, leaseName, slot = 0 }: LeaseLock,
  lock: Place,
  permits: number,
): boolean {
  return (
    namespace === lock.namespace &&
    slot < permits &&
    leaseName === slotLeaseName(lock.leaseName, slot)
  );
}

/** The identity of a lock: two locks are the same if both fields are equal. */
export type Place = Pick<LeaseLock, 'namespace' | 'leaseName'>;

/**
 * The global order in which a call acquires several locks, which prevents deadlocks. By code units, not by
 * locale: every process must get the same order.
 */
export function comparePlaces(one: Place, other: Place): number {
  return (
    compareText(one.namespace, other.namespace) ||
    compareText(one.leaseName, other.leaseName)
  );
}

function compareText(one: string, other: string): number {
  return one < other ? -1 : Number(one > other);
}
