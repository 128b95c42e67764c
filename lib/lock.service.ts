/** What users inject: acquires and releases locks, looks at them, and forces their release. */
import { Injectable } from '@nestjs/common';
import { isObservable, type Observable } from 'rxjs';
import {
  checkCall,
  DECORATOR_WAIT_TIMEOUT,
  resolveLockOptions,
  type LockOptions,
  type OnLocked,
  type ResolvedLockOptions,
  type ResolvedModuleOptions,
} from './k8s-lock.options.js';
import { KubeConfigurationError } from './kube/kube-config.js';
import { KubernetesLeaseStore } from './kube/kubernetes-lease-store.js';
import type { StoredLease } from './kube/lease-store.js';
import {
  LockConfigurationError,
  type LockBackendError,
  quote,
  type LockReference,
} from './lock.errors.js';
import {
  EventStream,
  type ApiRequestEvent,
  type LockEvent,
} from './lock.events.js';
import { acquireModeOf } from './lock/acquire/wait-policy.js';
import { currentLabel } from './lock/acquire/request-scope.js';
import type { FireClaim } from './lock/record/fire-claim.js';
import { systemClock } from './lock/clock.js';
import { lendEnclosingLocks, runUnderLock } from './lock/hold/current-lock.js';
import type { LeaseLock } from './lock/hold/lease-lock.js';
import type { LockHandle } from './lock/hold/lock-handle.js';
import { toBackendError, type EngineContext } from './lock/engine-context.js';
import { LockEngine } from './lock/lock-engine.js';
import { encodeLockName } from './lock/lease-name.js';
import type { LockState } from './lock/record/lock-state.js';
import { describeMissingRights, type LockNeeds } from './kube/access-review.js';
import { orSkip } from './lock/acquire/skipped-call.js';

/** How a lock is acquired by a call. */
export interface AcquireOptions extends LockOptions {
  /**
   * Cancels the wait at any moment; the call then rejects with the signal's reason.
   *
   * @defaultValue none
   */
  signal?: AbortSignal;
}

interface PreparedLock {
  lock: LockReference;
  resolved: ResolvedLockOptions & { namespace: string };
}

/** What is no error under `onLocked: 'skip'`. */
const SKIPPED = ['held', 'shutdown'] as const;

/**
 * Locks that hold across all processes that use the same cluster and namespace.
 *
 * @example
 * constructor(private readonly locks: LockService) {}
 *
 * async import() {
 *   await this.locks.withLock('import', async (lock) => {
 *     await fetch(url, { signal: lock.signal });
 *   });
 * }
 */
@Injectable()
export class LockService {
  private readonly events = new EventStream<LockEvent>('events$');
  private readonly requests = new EventStream<ApiRequestEvent>('requests$');

  /**
   * One event for each thing that happens to a lock of this process, delivered at once, within the
   * call that it is about. What a listener throws is logged and harms nobody; a listener may call
   * anything here. Completes when the application has shut down.
   */
  readonly events$: Observable<LockEvent> = this.events.events$;
  /** One event for each request to the API server, as {@link events$}. Measured only while somebody listens. */
  readonly requests$: Observable<ApiRequestEvent> = this.requests.events$;

  private readonly store: KubernetesLeaseStore;
  private readonly context: Omit<EngineContext, 'background'>;
  /** @internal */
  readonly engine: LockEngine;
  /** @internal Names that are known before the first call: those of decorated methods and of interceptors. */
  readonly fixedNames = new Set<string>();

  /** Out of reach of loggers, for the credentials in it. */
  readonly #options: ResolvedModuleOptions;

  /** @internal Whether it is one, and not a stub, a mock or a Proxy that is provided in its place. */
  static isGenuine(service: unknown): service is LockService {
    return (
      typeof service === 'object' && service !== null && #options in service
    );
  }

  constructor(options: ResolvedModuleOptions) {
    this.#options = options;
    const { kubeConfig, inCluster, requestTimeout, clientId } = options;
    this.store = new KubernetesLeaseStore({
      kubeConfig,
      inCluster,
      requestTimeout,
      requests: this.requests,
    });
    this.context = {
      store: this.store,
      clock: systemClock,
      requestTimeout,
      emit: (event: LockEvent) => this.emit(event),
    };
    this.engine = new LockEngine(this.context, clientId);
  }

  /**
   * Acquires a lock and waits for it as long as it takes (or `waitTimeout`).
   *
   * @param name any string; one that is not legal for a Lease is encoded
   * @throws LockNotAcquiredError when `waitTimeout` (milliseconds) is over or the application closes
   * @throws LockBackendError when the API server refuses, or can't be reached until `waitTimeout`, or
   * answers too late for a lock that could be held
   * @throws LockConfigurationError for options that are wrong, or without a cluster
   * @throws the reason of `options.signal` when that aborts
   * @example
   * await using lock = await locks.acquire('import', { waitTimeout: 5_000 });
   */
  async acquire(
    name: string,
    options: AcquireOptions = {},
  ): Promise<LeaseLock> {
    checkCall('acquire', { name, options });
    const { lock, resolved } = await this.prepare(name, options);
    return this.engine.acquire(lock, resolved, 'wait', options.signal);
  }

  /**
   * Acquires a lock if nobody holds it, and answers from what is known: a record that this process
   * meets for the first time counts as held if it names a holder, even one that has died. Where another
   * call of this process is just asking for the lock, it waits for what that one learns, for
   * `requestTimeout` at most.
   *
   * @returns undefined when somebody else holds it, in this process or in another
   * @throws LockNotAcquiredError when the application closes
   * @throws LockBackendError when the API server refuses, can't be reached, or answers too late for a
   * lock that could be held
   * @throws LockConfigurationError for options that are wrong, or without a cluster
   * @throws the reason of `options.signal` when that aborts
   * @example
   * await using lock = await locks.tryAcquire('import');
   * if (lock === undefined) return;
   */
  async tryAcquire(
    name: string,
    options: Omit<AcquireOptions, 'waitTimeout'> = {},
  ): Promise<LeaseLock | undefined> {
    checkCall('tryAcquire', { name, options });
    const { lock, resolved } = await this.prepare(name, options);
    const mode = 'try';
    const call = { lock, mode, skips: ['held'] } as const;
    const taken = this.engine.acquire(lock, resolved, mode, options.signal);
    return orSkip(this.context, call, taken);
  }

  /**
   * Runs `work` under a lock, with `currentLock()` set, and releases it when `work` has settled. What
   * `work` throws is what the caller gets, whatever becomes of the release. A loss of the lock aborts
   * `lock.signal` and rejects nothing. Inside of work under the same lock it shares that lock (unless
   * `reentrant: false`), or rejects with `LockLostError` when that was lost; the lock is released when all
   * that share it have ended. An Observable or a generator, whose work would begin after the release, is
   * refused.
   *
   * @throws as {@link acquire}
   * @example
   * const rows = await locks.withLock('import', (lock) => load({ signal: lock.signal }));
   */
  withLock<T>(
    name: string,
    work: (lock: LeaseLock) => T | Promise<T>,
  ): Promise<T>;
  withLock<T>(
    name: string,
    options: AcquireOptions,
    work: (lock: LeaseLock) => T | Promise<T>,
  ): Promise<T>;
  async withLock<T>(
    name: string,
    ...rest:
      | [work: (lock: LeaseLock) => T | Promise<T>]
      | [options: AcquireOptions, work: (lock: LeaseLock) => T | Promise<T>]
  ): Promise<T> {
    const [options = {}, work] =
      rest.length === 2 ? rest : ([undefined, rest[0]] as const);
    checkCall('withLock', { name, options, work });
    const held = await this.borrowOr(name, options, ({ lock, resolved }) =>
      this.engine.acquire(lock, resolved, 'wait', options.signal),
    );
    try {
      return await runUnderLock(held, () => refuseLazy(name, work(held)));
    } finally {
      await held.release();
    }
  }

  /**
   * Reads who holds a lock, since when, and until when as far as that can be known.
   *
   * @throws LockBackendError, LockConfigurationError
   * @example
   * const state = await locks.inspect('import');
   * if (state.state === 'held') console.log(state.holder, state.since);
   */
  async inspect(
    name: string,
    options: Pick<LockOptions, 'namespace'> = {},
  ): Promise<LockState> {
    checkCall('inspect', { name, options });
    const { lock } = await this.prepare(name, options);
    return this.engine.inspect(lock);
  }

  /**
   * Reads the state of all locks of a namespace: of the Leases that this package has created, or that
   * carry its label, and of those that it has ever held.
   *
   * @throws LockBackendError, LockConfigurationError
   */
  async list(
    options: Pick<LockOptions, 'namespace'> = {},
  ): Promise<LockState[]> {
    checkCall('list', { options });
    const { resolved } = await this.prepare('-', options);
    return this.engine.list(resolved.namespace, this.leaseNameOf);
  }

  /**
   * Takes a lock away from its holder, for people who know that it is stuck: the holder learns of it
   * at its next renewal, so until then two may believe that they hold it.
   *
   * @returns what it was, `holder` being who was thrown out; undefined when it was free or changed
   * hands meanwhile
   * @throws LockBackendError, LockConfigurationError
   */
  async forceRelease(
    name: string,
    options: Pick<LockOptions, 'namespace'> = {},
  ): Promise<LockState | undefined> {
    checkCall('forceRelease', { name, options });
    const { lock } = await this.prepare(name, options);
    return this.engine.forceRelease(lock);
  }

  /** @internal Which Lease a lock is. */
  async locate(name: string, options: LockOptions): Promise<LockReference> {
    return (await this.prepare(name, options)).lock;
  }

  /**
   * A text that is the same for two locks of this process, of whichever LockService, if they are one
   * Lease: as far as that is known without a cluster.
   *
   * @internal
   */
  async identify(name: string, options: LockOptions): Promise<string> {
    const [cluster, fallback] = await Promise.all([
      this.store.address().catch(() => undefined),
      this.defaultNamespace().catch(() => undefined),
    ]);
    return JSON.stringify([
      cluster,
      options.namespace ?? this.#options.lock.namespace ?? fallback,
      this.leaseNameOf(name),
    ]);
  }

  /**
   * Acquires by the policy of a decorated method, and claims with it the fire that the call is for;
   * undefined = skip the call.
   *
   * @internal
   */
  async enter(
    name: string,
    onLocked: OnLocked,
    options: AcquireOptions,
    claim?: FireClaim,
    enclosing = this.lendEnclosingLocks(),
  ): Promise<LockHandle | undefined> {
    const acquire = ({ lock, resolved }: PreparedLock) => {
      const { waitTimeout = DECORATOR_WAIT_TIMEOUT } = resolved;
      const mode = acquireModeOf(onLocked, claim);
      const taken = this.engine.acquire(
        lock,
        { ...resolved, waitTimeout },
        mode,
        options.signal,
        claim,
      );
      const skips = onLocked === 'skip' ? SKIPPED : [];
      return orSkip(this.context, { lock, mode, skips, claim }, taken);
    };
    const held = await this.borrowOr(name, options, acquire, enclosing);
    if (claim !== undefined && held && held.claimed !== claim.at) {
      await held.release();
      throw new LockConfigurationError([
        `the fire of ${new Date(claim.at).toISOString()} can not run once, since its caller holds the lock ${quote(name)} for something else: give one of the two a lock of its own, or set oncePerFire: false`,
      ]);
    }
    return held;
  }

  /** @internal Tells what became of a decorated method that ran under `lock`. */
  tellEnd(
    { name, namespace, leaseName, fencingToken }: LeaseLock,
    run: { duration: number; fire?: Date; failure?: { error: unknown } },
  ): void {
    const { duration, fire, failure } = run;
    const lock = { name, namespace, leaseName };
    const details = { fencingToken, duration, ...(fire && { fire }) };
    this.emit(
      failure
        ? { type: 'failed', ...lock, ...details, error: failure.error }
        : { type: 'executed', ...lock, ...details },
    );
  }

  /** @internal Tells that a request has failed, and is going to be sent again. */
  tellRetry(error: LockBackendError): void {
    if (error.lock !== undefined) {
      this.emit({
        type: 'backend-error',
        ...error.lock,
        operation: 'acquire',
        error,
      });
    }
  }

  /**
   * @internal Reads the record of a lock; it also says which fire was claimed last.
   * @throws LockBackendError
   */
  async readRecord(
    name: string,
    options: LockOptions,
  ): Promise<StoredLease | null> {
    const { lock } = await this.prepare(name, options);
    return this.engine.read(lock);
  }

  /**
   * Watches the Lease of a static name from now on, so that a call that does not wait for a dead holder
   * knows whether it is one.
   *
   * @internal
   */
  async observe(name: string, options: LockOptions): Promise<void> {
    const { lock } = await this.prepare(name, options);
    this.engine.observe(lock);
  }

  /**
   * Asks the API server whether Leases can be created in the namespaces of the locks that may create
   * them: one sentence for each namespace that does not exist, or is being deleted.
   *
   * @internal
   */
  async findNamespaceFaults(
    known: readonly { name: string; options: LockOptions }[],
  ): Promise<string[]> {
    const namespaces = new Set<string>();
    for (const { name, options } of [{ name: 'any', options: {} }, ...known]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other will do
      const { resolved } = await this.prepare(name, options);
      if (resolved.createLease) {
        namespaces.add(resolved.namespace);
      }
    }
    const timeout = this.#options.requestTimeout;
    const faults = await Promise.all(
      Array.from(
        namespaces,
        (namespace) =>
          this.store
            .findNamespaceFault(namespace, { timeout })
            .catch(() => undefined), // the first call will tell
      ),
    );
    return faults.filter((fault) => fault !== undefined);
  }

  /**
   * Asks the API server for the rights that locks need, those with known names among them: one
   * sentence for each right that is missing.
   *
   * @internal
   * @throws LockBackendError, LockConfigurationError
   */
  async findMissingRights(
    known: readonly { name: string; options: LockOptions }[],
  ): Promise<string[]> {
    const { resolved } = await this.prepare('any', {});
    const needs: LockNeeds[] = [{ ...resolved, leaseNames: [] }];
    for (const { name, options } of known) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other will do
      const { lock, resolved: own } = await this.prepare(name, options);
      needs.push({ ...own, leaseNames: [lock.leaseName] });
    }
    try {
      return await describeMissingRights(
        this.store,
        needs,
        this.#options.requestTimeout,
      );
    } catch (error) {
      throw toBackendError(error);
    }
  }

  /**
   * No new acquisitions, no more waiting; asks the work under held locks to stop, and releases what is
   * still held after `shutdownTimeout`.
   *
   * @internal
   */
  beginShutdown(): void {
    this.engine.beginShutdown(this.#options.shutdownTimeout);
  }

  /**
   * Waits for what {@link beginShutdown} has begun, and closes the connections.
   *
   * @internal
   */
  async shutdown(): Promise<void> {
    await this.engine.shutdown(this.#options.shutdownTimeout);
    this.events.complete();
    this.requests.complete();
  }

  private emit(event: LockEvent): void {
    const method = currentLabel();
    this.events.emit(method === undefined ? event : { ...event, method });
  }

  /** Re-entrancy: work that runs under the lock already shares it with its caller. */
  private async borrowOr<T>(
    name: string,
    options: AcquireOptions,
    acquire: (prepared: PreparedLock) => Promise<T>,
    // In the turn of the call: its caller may end before it is known which Lease the call is about.
    lent = this.lendEnclosingLocks(),
  ): Promise<LockHandle | T> {
    let shared: LockHandle | undefined;
    try {
      const prepared = await this.prepare(name, options);
      const { reentrant, namespace } = prepared.resolved;
      const { leaseName } = prepared.lock;
      const enclosing = lent.find(
        (each) =>
          reentrant &&
          each.namespace === namespace &&
          each.leaseName === leaseName,
      );
      if (enclosing === undefined) {
        lent.forEach((each) => void each.release());
        return await acquire(prepared);
      }
      options.signal?.throwIfAborted();
      // The work that lost its lock would wait for a record that only its own end releases.
      enclosing.assertHeld();
      shared = enclosing;
      return shared;
    } finally {
      lent.forEach((each) => each !== shared && void each.release());
    }
  }

  /** @internal See there. */
  lendEnclosingLocks(): LockHandle[] {
    return lendEnclosingLocks(this.store);
  }

  private async prepare(
    name: string,
    options: AcquireOptions,
  ): Promise<PreparedLock> {
    const { signal: _, ...own } = options;
    const resolved = resolveLockOptions(own, this.#options.lock);
    // Asked for even where it is not needed: without a configuration every call fails in the same way.
    const fallback = await this.defaultNamespace();
    const namespace = resolved.namespace ?? fallback;
    return {
      lock: { name, namespace, leaseName: this.leaseNameOf(name) },
      resolved: { ...resolved, namespace },
    };
  }

  private readonly leaseNameOf = (name: string): string =>
    encodeLockName(this.#options.namePrefix + name);

  private async defaultNamespace(): Promise<string> {
    try {
      return await this.store.defaultNamespace();
    } catch (error) {
      throw error instanceof KubeConfigurationError
        ? new LockConfigurationError([error.message], {
            cause: error,
            message: 'the Kubernetes configuration can not be used',
          })
        : error;
    }
  }
}

/** @throws LockConfigurationError for a result whose work begins when somebody asks for it: the lock is released by then */
async function refuseLazy<T>(name: string, result: T | Promise<T>): Promise<T> {
  const value = await result;
  const kind = isObservable(value) ? 'an Observable' : findGenerator(value);
  if (kind !== undefined) {
    throw new LockConfigurationError([
      `the function of withLock(${quote(name)}) returned ${kind}, whose work would begin when the lock is released already: wait for its end inside of the function`,
    ]);
  }
  return value;
}

function findGenerator(value: unknown): string | undefined {
  return /^\[object (Async)?Generator\]$/.test(
    Object.prototype.toString.call(value),
  )
    ? 'a generator'
    : undefined;
}
