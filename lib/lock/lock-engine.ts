/** The engine: acquires, observes, inspects and force-releases locks on the Leases of one store. */
import { setMaxListeners } from 'node:events';
import type { StoredLease } from '../kube/lease-store.js';
import type { ResolvedLockOptions } from '../k8s-lock.options.js';
import { LockNotAcquiredError, type LockReference } from '../lock.errors.js';
import { AcquireCall } from './acquire/acquire-call.js';
import { Acquirer } from './acquire/acquirer.js';
import { outcomeOfCall, type LockTracer } from './acquire/outcome.js';
import { currentCall } from './acquire/request-scope.js';
import { SlotSearch, slotsOf } from './acquire/semaphore.js';
import { Admission } from './admission.js';
import type { Clock } from './clock.js';
import { isLine, slotLeaseName, slotOf } from './lease-name.js';
import { findCondition, type LockCondition } from './hold/hold-condition.js';
import { LeaseHolder } from './hold/lease-holder.js';
import { LeaseWriter } from './lease/lease-writer.js';
import { LocalLease } from './lease/local-lease.js';
import { HeldLock, type LockHandle } from './hold/lock-handle.js';
import { toBackendError, type EngineContext } from './engine-context.js';
import { withTimeout } from './retry.js';
import {
  describeLock,
  describeSession,
  type LockState,
  type SessionState,
} from './record/lock-state.js';
import type { LockCall } from './acquire/wait-policy.js';
import { acquiredAt, isLock, LOCK_NAME } from './record/lease-record.js';
import { permitsOf } from './record/permits.js';
import { isSession } from './record/session.js';
import { Sessions } from './session/sessions.js';

/**
 * The number of unused Leases whose state is kept, so that acquiring takes one request; or as many as were held at
 * one time.
 */
const MOST_IDLE_LEASES = 1_000;

/** What an engine is made of. */
export type EngineParts = Pick<
  EngineContext,
  'store' | 'clock' | 'clientId' | 'requestTimeout' | 'emit'
>;

/** The number of reported differences that are remembered. */
const MOST_DIFFERENCES = 1_000;

export class LockEngine {
  /** Traces calls from now on. */
  tracer: LockTracer | undefined;
  readonly clock: Clock;
  /** Aborts when the shutdown begins. */
  readonly closingSignal: AbortSignal;
  private readonly locals = new Map<string, LocalLease>();
  private readonly holders = new Set<LeaseHolder>();
  private mostHolders = 0;
  private readonly calls = new Set<AcquireCall>();
  private readonly background = new Set<Promise<void>>();
  private readonly context: EngineContext;
  private readonly sessions: Sessions;
  private readonly observed = new Map<string, () => void>();
  /** The semaphores, and the other numbers of permits, that were reported. */
  private readonly differences = new Set<string>();
  private readonly closing = new AbortController();
  private readonly closed = new AbortController();
  private giveUpAt = Infinity;
  private allReleased: Promise<void> | undefined;
  private shutdownRun: Promise<void> | undefined;
  private onLastEnd: (() => void) | undefined;

  constructor(
    parts: EngineParts,
    /** R12: the options of the session under which locks are held; undefined = each lock is renewed. */
    session?: ResolvedLockOptions,
  ) {
    // These signals have many listeners.
    setMaxListeners(0, this.closing.signal, this.closed.signal);
    const { store, clock, emit } = parts;
    this.clock = clock;
    this.closingSignal = this.closing.signal;
    this.context = {
      ...parts,
      admission: new Admission(store, clock, emit),
      background: (work) => {
        this.background.add(work);
        void work.then(() => this.background.delete(work));
      },
      closing: this.closingSignal,
      closed: this.closed.signal,
    };
    this.sessions = new Sessions(this.context, session);
  }

  /**
   * As {@link acquireOrSkip} without skips.
   *
   * @throws FireClaimedError if another call has claimed the fire
   */
  async acquire(call: Omit<LockCall, 'skips'>): Promise<LockHandle> {
    const held = await this.acquireOrSkip({ ...call, skips: [] });
    return held!;
  }

  /**
   * Acquires a lock. A `claim` is claimed by the same write. If the claim is retried and another holder is
   * running the fire, this waits until that holder has ended, and takes over if it dies.
   *
   * @returns undefined if the call is to be skipped
   * @throws LockNotAcquiredError, LockBackendError, or the signal's reason
   */
  async acquireOrSkip(call: LockCall): Promise<LockHandle | undefined> {
    const context = this.contextOfCall();
    return outcomeOfCall(context, this.tracer, call, () =>
      call.options.permits === 1
        ? this.acquireOnce(context, call)
        : this.acquireSlot(context, call),
    );
  }

  private async acquireSlot(
    context: EngineContext,
    call: LockCall,
  ): Promise<LockHandle> {
    const engine = {
      localOf: (lock: LockReference) => this.localOf(lock),
      acquire: (own: EngineContext, part: LockCall) =>
        this.acquireOnce(own, part),
    };
    const { lock, options } = call;
    // Other numbers of permits show in any slot, whichever is acquired.
    const ends = slotsOf(lock, options.permits).map((slot) =>
      this.comparePermits(context, this.localOf(slot), slot, options),
    );
    try {
      return await new SlotSearch(context, engine, call).run();
    } finally {
      ends.forEach((end) => end());
    }
  }

  /**
   * Binds events to the label of the present call: a watch that another call opened may detect a loss, and
   * a renewal may be scheduled there.
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
    asked: LockCall,
  ): Promise<LockHandle> {
    const { lock, options, claim } = asked;
    if (this.closing.signal.aborted) {
      throw new LockNotAcquiredError(lock, 'shutdown');
    }
    const local = this.localOf(lock);
    const call = new AcquireCall(context, local, asked);
    this.calls.add(call);
    const endCompare = this.comparePermits(context, local, lock, options);
    try {
      const sessions = this.sessions.openerFor(lock.namespace, options);
      const acquirer = new Acquirer(context, local, call, { sessions });
      const acquisition = await acquirer.run(asked.signal);
      const holder = new LeaseHolder(
        context,
        local,
        lock,
        options,
        acquisition,
        () => {
          this.holders.delete(holder);
          this.checkLastEnd();
        },
      );
      this.holders.add(holder);
      this.mostHolders = Math.max(this.mostHolders, this.holders.size);
      if (holder.isHeld) {
        local.heldBy(holder.holderIdentity);
      }
      if (!this.mayHandOut()) {
        await holder.giveUp();
        throw new LockNotAcquiredError(lock, 'shutdown');
      }
      context.emit({
        type: 'acquired',
        ...lock,
        fencingToken: holder.fencingToken,
        holder: holder.holderIdentity,
        ...(claim && { fire: new Date(claim.at) }),
        waited: call.waited,
      });
      return new HeldLock(holder);
    } finally {
      endCompare();
      this.calls.delete(call);
      this.checkLastEnd();
    }
  }

  /** A13: reports once if others use the lock with another number of permits. @returns a function that ends it */
  private comparePermits(
    { emit }: EngineContext,
    local: LocalLease,
    lock: LockReference,
    { permits }: ResolvedLockOptions,
  ): () => void {
    const compare = (lease: StoredLease): void => {
      // Slot 0 may be held as the lock of that name. Only this package writes when it acquired a lock.
      const isOfLock = lock.slot === 0 && acquiredAt(lease) !== undefined;
      const others = permitsOf(lease) ?? (isOfLock ? 1 : permits);
      const difference = `${lock.namespace}/${lock.name} ${permits} ${others}`;
      if (others !== permits && !this.differences.has(difference)) {
        if (this.differences.size >= MOST_DIFFERENCES) {
          this.differences.clear();
        }
        this.differences.add(difference);
        emit({ type: 'permits-differ', ...lock, permits, others });
      }
    };
    const { lease } = local.observed;
    if (lease) {
      compare(lease);
    }
    return local.listen({ recordSeen: compare, recordGone: () => undefined });
  }

  /** Whether a lock that was just acquired may be used: a shutdown that has begun meanwhile does not know it. */
  private mayHandOut(): boolean {
    return !this.closing.signal.aborted;
  }

  /** Watches the Lease from now on, so that the time since the last renewal is known. */
  observe(lock: LockReference): void {
    const id = idOf(lock);
    if (!this.closing.signal.aborted && !this.observed.has(id)) {
      this.observed.set(id, this.localOf(lock).keepWatched());
    }
  }

  /** Reads the record from the API server; null if there is none. */
  async read(lock: LockReference): Promise<StoredLease | null> {
    return this.asUser(lock, () =>
      this.localOf(lock).read(this.requestOptions()),
    );
  }

  /** Reads the lock's state from the API server. */
  async inspect(lock: LockReference): Promise<LockState> {
    return describeLock(lock, await this.read(lock));
  }

  /** Reads the state of every lock of the namespace: see {@link describeLocks}. */
  async list(
    namespace: string,
    leaseNameOf: (name: string) => string,
  ): Promise<LockState[]> {
    return describeLocks(await this.listLeases(namespace), leaseNameOf);
  }

  /** Reads the state of every session of the namespace. */
  async listSessions(namespace: string): Promise<SessionState[]> {
    return describeSessions(await this.listLeases(namespace));
  }

  /** Reads every Lease of the namespace. */
  private listLeases(namespace: string): Promise<StoredLease[]> {
    return this.asUser(undefined, () =>
      this.context.store.list(namespace, this.requestOptions()),
    );
  }

  /**
   * Evicts the holder that the first read shows, or only `holder`. Returns the state before; undefined if the lock was
   * free, or another held it.
   */
  async forceRelease(
    lock: LockReference,
    holder?: string,
  ): Promise<LockState | undefined> {
    const local = this.localOf(lock);
    const writer = new LeaseWriter(this.context, local, lock);
    const evicted = await this.asUser(lock, () => writer.evict(holder));
    if (evicted) {
      await this.sessions.tellHolder(lock.namespace, evicted);
    }
    return evicted && describeLock(lock, evicted);
  }

  /**
   * A23: refuses new acquisitions, ends the waiting ones, and aborts the signals of held locks. After `timeout`
   * all locks are released, even if their work still runs.
   */
  beginShutdown(timeout: number): void {
    if (this.closing.signal.aborted) {
      return;
    }
    this.closing.abort();
    for (const call of this.calls) {
      call.close();
    }
    for (const stopObserving of this.observed.values()) {
      stopObserving();
    }
    for (const local of this.locals.values()) {
      local.close();
    }
    for (const holder of this.holders) {
      holder.askToStop();
    }
    this.sessions.beginClosing();
    this.giveUpAt = this.context.clock.now() + timeout;
    this.allReleased = this.releaseAll(timeout);
  }

  private async releaseAll(timeout: number): Promise<void> {
    const { clock, requestTimeout } = this.context;
    await withTimeout(clock, timeout, this.allEnded());
    const released = Array.from(this.holders, (holder) => holder.giveUp());
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
    await this.allWritten(Promise.all(this.background));
    await this.allWritten(this.sessions.close());
    this.closed.abort();
    this.context.store.close();
  }

  /** Waits for last writes. Undoing an interrupted acquiring write takes a request even if the timeout is 0. */
  private allWritten(writes: Promise<unknown>): Promise<void> {
    const { clock, requestTimeout } = this.context;
    const closeAt = this.giveUpAt + requestTimeout;
    return withTimeout(clock, closeAt - clock.now(), writes);
  }

  /** The condition of each lock that is held, or that was lost while its work still runs. No work runs under a line. */
  check(): LockCondition[] {
    const now = this.context.clock.now();
    return Array.from(this.holders).flatMap((holder) =>
      isLine(holder.lock.leaseName) ? [] : (findCondition(holder, now) ?? []),
    );
  }

  /**
   * Checks that the API server answers and accepts the credentials, with one request that reads no Lease
   * and needs no right.
   *
   * @throws LockBackendError
   */
  async ping(timeout: number): Promise<void> {
    const { store } = this.context;
    const namespace = await store.defaultNamespace();
    await this.asUser(undefined, () =>
      // A health check must not queue behind requests of calls that wait for locks.
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

  private checkLastEnd(): void {
    if (this.holders.size === 0 && this.calls.size === 0) {
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
    const id = idOf(lock);
    const local =
      this.locals.get(id) ??
      new LocalLease(this.context, lock, (session) =>
        this.sessions.find(lock.namespace, session),
      );
    // The Map is ordered by last use.
    this.locals.delete(id);
    this.locals.set(id, local);
    this.forgetIdle();
    return local;
  }

  /** Examines a constant number of entries per call, which is enough to keep up with new ones. */
  private forgetIdle(): void {
    const most = Math.max(MOST_IDLE_LEASES, this.mostHolders);
    for (let looks = 0; looks < 2; looks += 1) {
      if (this.locals.size <= most) {
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

/**
 * The state of every Lease that is or was a lock of this package. The lock name in the annotation is used only if it
 * encodes to the name of the Lease, since any client may write it. A semaphore is listed slot by slot.
 */
export function describeLocks(
  leases: readonly StoredLease[],
  leaseNameOf: (name: string) => string,
): LockState[] {
  const locks = leases.filter(
    (lease) => isLock(lease) && !isLine(lease.metadata.name),
  );
  return locks.map((lease) => {
    const { name: leaseName, namespace = '' } = lease.metadata;
    const slot = slotOf(leaseName);
    const written = lease.metadata.annotations?.[LOCK_NAME];
    const isIts =
      written && slotLeaseName(leaseNameOf(written), slot) === leaseName;
    const name = isIts ? written : leaseName;
    const place = isIts && slot > 0 ? { slot } : {};
    return describeLock({ name, namespace, leaseName, ...place }, lease);
  });
}

/** The state of every Lease that is a session. */
export function describeSessions(
  leases: readonly StoredLease[],
): SessionState[] {
  return leases.filter(isSession).map(describeSession);
}

function idOf({ namespace, leaseName }: LockReference): string {
  return `${namespace}/${leaseName}`;
}
