/** The engine: acquires, observes, inspects and force-releases locks on the Leases of one store. */
import { setMaxListeners } from 'node:events';
import {
  LeaseStoreError,
  type LeaseKey,
  type StoredLease,
} from '../kube/lease-store.js';
import type { ResolvedLockOptions } from '../k8s-lock.options.js';
import { LockNotAcquiredError, type LockReference } from '../lock.errors.js';
import { LockAttempt } from './acquire/acquirer.js';
import type { Claim } from './record/fire-claim.js';
import type { Clock } from './clock.js';
import { followCall, type LockTracer } from './acquire/followed-call.js';
import { findCondition, type LockCondition } from './hold/hold-condition.js';
import { Hold } from './hold/lease-holder.js';
import { LeaseCell } from './lease/local-lease.js';
import { HeldLock, type LockHandle } from './hold/lock-handle.js';
import {
  atMost,
  backoff,
  pause,
  refuseCoordinated,
  reportFailure,
  toBackendError,
  type LockContext,
} from './engine-context.js';
import { describeLock, type LockState } from './record/lock-state.js';
import type { Insistence } from './acquire/wait-policy.js';
import {
  isLock,
  LOCK_NAME,
  readStanding,
  takeAway,
} from './record/lease-record.js';

/** How many Leases that nobody uses at the moment stay known, so that acquiring takes one request. */
const MOST_IDLE_CELLS = 1_000;
/** How often a forced release meets a conflict before it fails with it. */
const MOST_FORCED_TRIES = 5;

export class LockEngine {
  /** Follows the calls from now on. */
  tracer: LockTracer | undefined;
  private readonly cells = new Map<string, LeaseCell>();
  private readonly holds = new Set<Hold>();
  private readonly attempts = new Set<LockAttempt>();
  private readonly background = new Set<Promise<void>>();
  private readonly context: LockContext;
  private readonly observed = new Map<string, () => void>();
  private readonly closing = new AbortController();
  private readonly closed = new AbortController();
  private giveUpAt = Infinity;
  private allReleased: Promise<void> | undefined;
  private shutdownRun: Promise<void> | undefined;
  private onLastEnd: (() => void) | undefined;

  constructor(
    context: Omit<LockContext, 'background'>,
    private readonly clientId: string,
  ) {
    // Many may listen to them at once.
    setMaxListeners(0, this.closing.signal, this.closed.signal);
    this.context = {
      ...context,
      background: (work) => {
        this.background.add(work);
        void work.then(() => this.background.delete(work));
      },
    };
  }

  get clock(): Clock {
    return this.context.clock;
  }

  /** Aborts when the shutdown begins. */
  get closingSignal(): AbortSignal {
    return this.closing.signal;
  }

  /**
   * With a `claim`, it is claimed with the lock, by the same write. Where that is to be retried and
   * another holder is at it, this goes on until that one has ended, and takes over if it dies.
   *
   * @throws LockNotAcquiredError, LockBackendError, or the signal's reason
   * @throws WorkClaimedError when the work was claimed by somebody else
   */
  async acquire(
    lock: LockReference,
    options: ResolvedLockOptions,
    insistence: Insistence,
    signal?: AbortSignal,
    claim?: Claim,
  ): Promise<LockHandle> {
    const call = { insistence, signal };
    return followCall(this.context, this.tracer, lock, call, () =>
      this.attempt(lock, options, insistence, signal, claim),
    );
  }

  private async attempt(
    lock: LockReference,
    options: ResolvedLockOptions,
    insistence: Insistence,
    signal?: AbortSignal,
    claim?: Claim,
  ): Promise<LockHandle> {
    if (this.closing.signal.aborted) {
      throw new LockNotAcquiredError(lock, 'shutdown');
    }
    const { context } = this;
    const cell = this.cellOf(lock);
    const attempt = new LockAttempt(
      context,
      cell,
      lock,
      options,
      insistence,
      { clientId: this.clientId, closed: this.closed.signal },
      claim,
    );
    this.attempts.add(attempt);
    try {
      const acquisition = await attempt.run(signal);
      const hold = new Hold(context, cell, lock, options, acquisition, {
        closed: this.closed.signal,
        onEnd: () => this.ended(hold),
      });
      this.holds.add(hold);
      if (hold.isHeld) {
        cell.heldBy(hold.holderIdentity);
      }
      if (this.closing.signal.aborted) {
        // Acquired in the very moment: shutdown() did not see it.
        await hold.giveUp();
        throw new LockNotAcquiredError(lock, 'shutdown');
      }
      context.emit({
        type: 'acquired',
        ...lock,
        fencingToken: hold.fencingToken,
        holder: hold.holderIdentity,
        ...(claim && { fire: new Date(claim.at) }),
        waited: attempt.waited,
      });
      return new HeldLock(hold);
    } finally {
      this.attempts.delete(attempt);
      this.checkLastEnd();
    }
  }

  /** Keeps the Lease watched from now on, so that it is known for how long its holder has been silent. */
  observe(lock: LockReference): void {
    const id = idOf(keyOf(lock));
    if (!this.closing.signal.aborted && !this.observed.has(id)) {
      this.observed.set(id, this.cellOf(lock).keepWatched());
    }
  }

  /** Reads the record from the API server; null when there is none. */
  async read(lock: LockReference): Promise<StoredLease | null> {
    return this.asUser(lock, () =>
      this.cellOf(lock).look(this.requestOptions()),
    );
  }

  /** Reads the lock's state from the API server. */
  async inspect(lock: LockReference): Promise<LockState> {
    return describeLock(lock, await this.read(lock));
  }

  /**
   * Reads the state of every Lease of the namespace that is or was a lock of this package. The name that
   * a Lease says its lock has is believed if it leads to this very Lease: anybody may write it.
   */
  async list(
    namespace: string,
    leaseNameOf: (name: string) => string,
  ): Promise<LockState[]> {
    const leases = await this.asUser(undefined, () =>
      this.context.store.list(namespace, this.requestOptions()),
    );
    return leases.filter(isLock).map((lease) => {
      const leaseName = lease.metadata.name;
      const written = lease.metadata.annotations?.[LOCK_NAME];
      const isIts = written && leaseNameOf(written) === leaseName;
      const name = isIts ? written : leaseName;
      return describeLock({ name, namespace, leaseName }, lease);
    });
  }

  /**
   * Takes the lock away from the holder it has at the first look. Returns what it was; undefined when
   * the lock was free, or changed hands meanwhile.
   */
  async forceRelease(lock: LockReference): Promise<LockState | undefined> {
    const cell = this.cellOf(lock);
    return this.asUser(lock, async () => {
      const options = {
        ...this.requestOptions(),
        priority: 'release',
      } as const;
      let victim: string | undefined;
      for (let tries = 1; ; tries++) {
        const lease = await cell.look(options);
        refuseCoordinated(lock, lease);
        const standing = lease ? readStanding(lease) : undefined;
        if (!lease || !standing?.held) {
          return undefined;
        }
        victim ??= standing.holder;
        if (victim !== standing.holder) {
          return undefined;
        }
        try {
          await cell.replace(() => takeAway(lease), options);
          return describeLock(lock, lease);
        } catch (error) {
          const isConflict =
            error instanceof LeaseStoreError && error.reason === 'conflict';
          if (!isConflict || tries >= MOST_FORCED_TRIES) {
            throw error;
          }
          const { clock } = this.context;
          const delay = backoff(clock, tries, 1_000);
          await pause(clock, delay, this.closed.signal).catch(() => {
            throw error;
          });
        }
      }
    });
  }

  /**
   * Takes no new acquisitions, ends the waiting ones, and asks the work under held locks to stop. After
   * `timeout` all locks are released, whatever the work does.
   */
  beginShutdown(timeout: number): void {
    if (this.closing.signal.aborted) {
      return;
    }
    this.closing.abort();
    for (const attempt of this.attempts) {
      attempt.close();
    }
    for (const stopObserving of this.observed.values()) {
      stopObserving();
    }
    for (const hold of this.holds) {
      hold.askToStop();
    }
    this.giveUpAt = this.context.clock.now() + timeout;
    this.allReleased = this.releaseAll(timeout);
  }

  private async releaseAll(timeout: number): Promise<void> {
    const { clock, requestTimeout } = this.context;
    await atMost(clock, timeout, this.allEnded());
    const released = Array.from(this.holds, (hold) => hold.giveUp());
    await atMost(clock, requestTimeout, Promise.all(released));
  }

  /**
   * Begins the shutdown unless it has begun, waits until all locks are released, and closes the
   * connections. A second call waits for the first.
   */
  shutdown(timeout: number): Promise<void> {
    this.beginShutdown(timeout);
    this.shutdownRun ??= this.close();
    return this.shutdownRun;
  }

  private async close(): Promise<void> {
    await this.allReleased;
    // An acquiring write that was cut short is taken back, too: that takes a request, be the timeout 0.
    const { clock, requestTimeout } = this.context;
    const closeAt = this.giveUpAt + requestTimeout;
    await atMost(clock, closeAt - clock.now(), Promise.all(this.background));
    this.closed.abort();
    this.context.store.close();
  }

  /** How it stands with each lock that is held, or whose work goes on although it was lost. */
  check(): LockCondition[] {
    const now = this.context.clock.now();
    return Array.from(this.holds).flatMap(
      (hold) => findCondition(hold, now) ?? [],
    );
  }

  /**
   * Asks whether the API server answers, to credentials that it accepts: one request that reads no
   * Lease and needs no right.
   *
   * @throws LockBackendError
   */
  async ping(timeout: number): Promise<void> {
    const { store } = this.context;
    const namespace = await store.defaultNamespace();
    await this.asUser(undefined, () =>
      // What asks whether this process is well must not wait for those who only wait for locks.
      store.mayI('get', { namespace }, { timeout, priority: 'release' }),
    );
  }

  private allEnded(): Promise<void> {
    return new Promise((resolve) => {
      this.onLastEnd = resolve;
      this.checkLastEnd();
    });
  }

  private ended(hold: Hold): void {
    this.holds.delete(hold);
    this.checkLastEnd();
  }

  private checkLastEnd(): void {
    if (this.holds.size === 0 && this.attempts.size === 0) {
      this.onLastEnd?.();
    }
  }

  private async asUser<T>(
    lock: LockReference | undefined,
    work: () => Promise<T>,
  ): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw toBackendError(error, lock);
    }
  }

  private cellOf(lock: LockReference): LeaseCell {
    const key = keyOf(lock);
    const id = idOf(key);
    const { store, clock } = this.context;
    const cell =
      this.cells.get(id) ??
      new LeaseCell(key, store, clock, (error) =>
        reportFailure(this.context, lock, 'watch', error),
      );
    // The Map's order is that of last use.
    this.cells.delete(id);
    this.cells.set(id, cell);
    if (this.cells.size > MOST_IDLE_CELLS) {
      this.forgetIdle(cell);
    }
    return cell;
  }

  private forgetIdle(inUse: LeaseCell): void {
    for (const [id, cell] of this.cells) {
      if (this.cells.size <= MOST_IDLE_CELLS) {
        return;
      }
      if (cell.isIdle && cell !== inUse) {
        this.cells.delete(id);
      }
    }
  }

  private requestOptions(): { timeout: number } {
    return { timeout: this.context.requestTimeout };
  }
}

function keyOf({ namespace, leaseName }: LockReference): LeaseKey {
  return { namespace, name: leaseName };
}

function idOf({ namespace, name }: LeaseKey): string {
  return `${namespace}/${name}`;
}
