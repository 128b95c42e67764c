/** The engine: acquires, observes, inspects and force-releases locks on the Leases of one store. */
import { setMaxListeners } from 'node:events';
import type { LeaseKey, StoredLease } from '../kube/lease-store.js';
import type { ResolvedLockOptions } from '../k8s-lock.options.js';
import { LockNotAcquiredError, type LockReference } from '../lock.errors.js';
import { Acquirer } from './acquire/acquirer.js';
import {
  outcomeOfCall,
  type CallForLock,
  type LockTracer,
} from './acquire/outcome.js';
import { currentCall } from './acquire/request-scope.js';
import type { Clock } from './clock.js';
import { findCondition, type LockCondition } from './hold/hold-condition.js';
import { LeaseHolder } from './hold/lease-holder.js';
import { LeaseWriter } from './lease/lease-writer.js';
import { LocalLease } from './lease/local-lease.js';
import { HeldLock, type LockHandle } from './hold/lock-handle.js';
import {
  reportFailure,
  toBackendError,
  type EngineContext,
} from './engine-context.js';
import { withTimeout } from './retry.js';
import { describeLock, type LockState } from './record/lock-state.js';
import type { AcquireMode } from './acquire/wait-policy.js';
import { isLock, LOCK_NAME } from './record/lease-record.js';

/** How many Leases that nobody uses at the moment stay known, so that acquiring takes one request. */
const MOST_IDLE_CELLS = 1_000;

/** A call for a lock. */
export interface LockCall extends CallForLock {
  readonly options: ResolvedLockOptions;
  readonly mode: AcquireMode;
}

export class LockEngine {
  /** Follows the calls from now on. */
  tracer: LockTracer | undefined;
  private readonly locals = new Map<string, LocalLease>();
  private readonly holders = new Set<LeaseHolder>();
  private readonly acquirers = new Set<Acquirer>();
  private readonly background = new Set<Promise<void>>();
  private readonly context: EngineContext;
  private readonly observed = new Map<string, () => void>();
  private readonly closing = new AbortController();
  private readonly closed = new AbortController();
  private giveUpAt = Infinity;
  private allReleased: Promise<void> | undefined;
  private shutdownRun: Promise<void> | undefined;
  private onLastEnd: (() => void) | undefined;

  constructor(
    context: Omit<EngineContext, 'background'>,
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
   * As {@link acquireOrSkip}, where nothing is to be skipped.
   *
   * @throws FireClaimedError when somebody else has claimed the fire
   */
  async acquire(call: Omit<LockCall, 'skips'>): Promise<LockHandle> {
    const held = await this.acquireOrSkip({ ...call, skips: [] });
    return held!;
  }

  /**
   * With a `claim`, it is claimed with the lock, by the same write. Where that is to be retried and
   * another holder is at it, this goes on until that one has ended, and takes over if it dies.
   *
   * @returns undefined when the call is to be skipped
   * @throws LockNotAcquiredError, LockBackendError, or the signal's reason
   */
  async acquireOrSkip(call: LockCall): Promise<LockHandle | undefined> {
    const context = this.contextOfCall();
    return outcomeOfCall(context, this.tracer, call, () =>
      this.acquireOnce(context, call),
    );
  }

  /**
   * Each event of a call has the label of that call, wherever it is emitted: a loss may be noticed by a watch
   * that another call has opened, and a renewal be scheduled there.
   */
  private contextOfCall(): EngineContext {
    const { context } = this;
    const method = currentCall()?.label;
    return method === undefined
      ? context
      : { ...context, emit: (event) => context.emit({ ...event, method }) };
  }

  private async acquireOnce(
    context: EngineContext,
    { lock, options, mode, signal, claim }: LockCall,
  ): Promise<LockHandle> {
    if (this.closing.signal.aborted) {
      throw new LockNotAcquiredError(lock, 'shutdown');
    }
    const local = this.localOf(lock);
    const attempt = new Acquirer(
      context,
      local,
      lock,
      options,
      mode,
      { clientId: this.clientId, closed: this.closed.signal },
      claim,
    );
    this.acquirers.add(attempt);
    try {
      const acquisition = await attempt.run(signal);
      const hold = new LeaseHolder(context, local, lock, options, acquisition, {
        closed: this.closed.signal,
        onEnd: () => this.ended(hold),
      });
      this.holders.add(hold);
      if (hold.isHeld) {
        local.heldBy(hold.holderIdentity);
      }
      if (!this.mayHandOut()) {
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
      this.acquirers.delete(attempt);
      this.checkLastEnd();
    }
  }

  /** Whether a lock that was acquired in this very moment may be used: a shutdown that has begun did not see it. */
  private mayHandOut(): boolean {
    return !this.closing.signal.aborted;
  }

  /** Keeps the Lease watched from now on, so that it is known for how long its holder has been silent. */
  observe(lock: LockReference): void {
    const id = idOf(keyOf(lock));
    if (!this.closing.signal.aborted && !this.observed.has(id)) {
      this.observed.set(id, this.localOf(lock).keepWatched());
    }
  }

  /** Reads the record from the API server; null when there is none. */
  async read(lock: LockReference): Promise<StoredLease | null> {
    return this.asUser(lock, () =>
      this.localOf(lock).read(this.requestOptions()),
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
    const { context, closed } = this;
    const local = this.localOf(lock);
    const writer = new LeaseWriter(context, local, lock, closed.signal);
    const evicted = await this.asUser(lock, () => writer.evict());
    return evicted && describeLock(lock, evicted);
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
    for (const attempt of this.acquirers) {
      attempt.close();
    }
    for (const stopObserving of this.observed.values()) {
      stopObserving();
    }
    for (const hold of this.holders) {
      hold.askToStop();
    }
    this.giveUpAt = this.context.clock.now() + timeout;
    this.allReleased = this.releaseAll(timeout);
  }

  private async releaseAll(timeout: number): Promise<void> {
    const { clock, requestTimeout } = this.context;
    await withTimeout(clock, timeout, this.allEnded());
    const released = Array.from(this.holders, (hold) => hold.giveUp());
    await withTimeout(clock, requestTimeout, Promise.all(released));
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
    await this.allWritten();
    this.closed.abort();
    this.context.store.close();
  }

  /** An acquiring write that was cut short is taken back, too: that takes a request, be the timeout 0. */
  private allWritten(): Promise<void> {
    const { clock, requestTimeout } = this.context;
    const closeAt = this.giveUpAt + requestTimeout;
    return withTimeout(
      clock,
      closeAt - clock.now(),
      Promise.all(this.background),
    );
  }

  /** How it stands with each lock that is held, or whose work goes on although it was lost. */
  check(): LockCondition[] {
    const now = this.context.clock.now();
    return Array.from(this.holders).flatMap(
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
      store.mayI(
        'get',
        { namespace },
        { timeout, within: timeout, priority: 'release' },
      ),
    );
  }

  private allEnded(): Promise<void> {
    return new Promise((resolve) => {
      this.onLastEnd = resolve;
      this.checkLastEnd();
    });
  }

  private ended(hold: LeaseHolder): void {
    this.holders.delete(hold);
    this.checkLastEnd();
  }

  private checkLastEnd(): void {
    if (this.holders.size === 0 && this.acquirers.size === 0) {
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

  private localOf(lock: LockReference): LocalLease {
    const key = keyOf(lock);
    const id = idOf(key);
    const { store, clock } = this.context;
    const local =
      this.locals.get(id) ??
      new LocalLease(key, store, clock, (error) =>
        reportFailure(this.context, lock, 'watch', error),
      );
    // The Map's order is that of last use.
    this.locals.delete(id);
    this.locals.set(id, local);
    this.forgetIdle();
    return local;
  }

  /** Looks at as few as keep up with new ones, however many are in use. */
  private forgetIdle(): void {
    for (let looks = 0; looks < 2; looks += 1) {
      if (this.locals.size <= MOST_IDLE_CELLS) {
        return;
      }
      const [id, oldest] = this.locals.entries().next().value!;
      this.locals.delete(id);
      if (!oldest.isIdle) {
        this.locals.set(id, oldest);
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
