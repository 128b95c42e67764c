/** What decorators, health checks, telemetry and the lifecycle use of the engine; LockService is its public face. */
import {
  DECORATOR_WAIT_TIMEOUT,
  resolveLockOptions,
  type LockOptions,
  type OnLocked,
  type ResolvedLockOptions,
  type ResolvedModuleOptions,
} from './k8s-lock.options.js';
import { describeMissingRights, type LockNeeds } from './kube/access-review.js';
import { KubeConfigurationError } from './kube/kube-config.js';
import { KubernetesLeaseStore } from './kube/kubernetes-lease-store.js';
import type { StoredLease } from './kube/lease-store.js';
import {
  LockConfigurationError,
  quote,
  type LockBackendError,
  type LockReference,
} from './lock.errors.js';
import { EventStream } from './event-stream.js';
import type { ApiRequestEvent, LockEvent } from './lock.events.js';
import { currentCall } from './lock/acquire/request-scope.js';
import { acquireModeOf } from './lock/acquire/wait-policy.js';
import { CallTurns } from './lock/call-turns.js';
import { systemClock } from './lock/clock.js';
import { toBackendError } from './lock/engine-context.js';
import { lendEnclosingLocks } from './lock/hold/current-lock.js';
import type { LeaseLock } from './lock/hold/lease-lock.js';
import type { LockHandle } from './lock/hold/lock-handle.js';
import { encodeLockName } from './lock/lease-name.js';
import { LockEngine } from './lock/lock-engine.js';
import type { FireClaim } from './lock/record/fire-claim.js';

/** One lock that a call of a decorated method, or of a handler under an interceptor, wants. */
export interface LockRequest {
  readonly name: string;
  readonly onLocked: OnLocked;
  /** Never changed: what they resolve to is remembered by this object. */
  readonly options: LockOptions;
  /** What is claimed with it. */
  readonly claim?: FireClaim;
}

/** A lock and how it is to be held: a name and its options, laid over those of the module. */
export interface ResolvedLock {
  readonly lock: LockReference;
  readonly options: ResolvedLockOptions & { readonly namespace: string };
}

/** What is no error for a decorated method, and what else is none under `onLocked: 'skip'`. */
const ALWAYS_SKIPPED = ['fire-claimed'] as const;
const SKIPPED = [...ALWAYS_SKIPPED, 'held', 'shutdown'] as const;

export class LockClient {
  readonly events = new EventStream<LockEvent>('events$');
  readonly requests = new EventStream<ApiRequestEvent>('requests$');
  readonly engine: LockEngine;
  /** Names that are known before the first call: those of decorated methods and of interceptors. */
  readonly fixedNames = new Set<string>();
  private readonly store: KubernetesLeaseStore;
  private readonly turns = new CallTurns();
  /** By the options of a decorator or an interceptor: what its last call has resolved to. */
  private readonly planned = new WeakMap<LockOptions, ResolvedLock>();
  /** Out of reach of loggers, for the credentials in it. */
  readonly #options: ResolvedModuleOptions;

  constructor(options: ResolvedModuleOptions) {
    this.#options = options;
    const { kubeConfig, inCluster, requestTimeout, clientId } = options;
    this.store = new KubernetesLeaseStore({
      kubeConfig,
      inCluster,
      requestTimeout,
      requests: this.requests,
    });
    const context = {
      store: this.store,
      clock: systemClock,
      requestTimeout,
      emit: (event: LockEvent) => this.events.emit(event),
    };
    this.engine = new LockEngine(context, clientId);
  }

  readonly leaseNameOf = (name: string): string =>
    encodeLockName(this.#options.namePrefix + name);

  /** @throws LockConfigurationError that names every fault */
  async resolve(
    name: string,
    options: LockOptions = {},
  ): Promise<ResolvedLock> {
    return this.locate(name, resolveLockOptions(options, this.#options.lock));
  }

  /**
   * A text that is the same for two locks of this process, of whichever LockService, if they are one
   * Lease: as far as that is known without a cluster.
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

  /** As {@link LockService.tryAcquire}. */
  async tryAcquire(
    { lock, options }: ResolvedLock,
    signal: AbortSignal | undefined,
  ): Promise<LeaseLock | undefined> {
    const skips = ['held'] as const;
    return this.engine.acquireOrSkip({
      lock,
      options,
      mode: 'try',
      signal,
      skips,
    });
  }

  /**
   * Acquires a lock that a call may hold already: then the call shares it.
   *
   * @param lent the locks of the caller, lent in the turn of the call: the caller may end before it is
   * known which Lease the call is about
   */
  async acquireReentrant(
    resolving: Promise<ResolvedLock>,
    signal: AbortSignal | undefined,
    lent: readonly LockHandle[] = this.lendEnclosingLocks(),
  ): Promise<LockHandle> {
    const { resolved, shared } = await findShared(resolving, signal, lent);
    return shared ?? this.engine.acquire({ ...resolved, mode: 'wait', signal });
  }

  /**
   * Acquires by the policy of a decorated method, and claims with the lock the fire that the call is for.
   *
   * @param lent as of {@link acquireReentrant}
   * @returns undefined = skip the call
   */
  async acquireForMethod(
    { name, onLocked, options: given, claim }: LockRequest,
    signal?: AbortSignal,
    lent: readonly LockHandle[] = this.lendEnclosingLocks(),
  ): Promise<LockHandle | undefined> {
    const resolving = this.resolvePlanned(name, given);
    const { resolved, shared } = await findShared(resolving, signal, lent);
    const { lock, options } = resolved;
    const { waitTimeout = DECORATOR_WAIT_TIMEOUT } = options;
    const held =
      shared ??
      (await this.engine.acquireOrSkip({
        lock,
        options: { ...options, waitTimeout },
        mode: acquireModeOf(onLocked, claim),
        skips: onLocked === 'skip' ? SKIPPED : ALWAYS_SKIPPED,
        signal,
        claim,
      }));
    if (claim !== undefined && held && held.claimed !== claim.at) {
      await held.release();
      throw new LockConfigurationError([
        `the fire of ${new Date(claim.at).toISOString()} can not run once, since its caller holds the lock ${quote(name)} for something else: give one of the two a lock of its own, or set oncePerFire: false`,
      ]);
    }
    return held;
  }

  /** The locks of the running code that this client has acquired, one reference more to each. */
  lendEnclosingLocks(): LockHandle[] {
    return lendEnclosingLocks(this.store);
  }

  /** Reports what became of a decorated method that ran under `lock`. */
  reportRun(
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

  /** Reports that a request has failed, and is going to be sent again. */
  reportRetry(error: LockBackendError): void {
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
   * Reads the record of a lock; it also says which fire was claimed last.
   *
   * @throws LockBackendError
   */
  async readRecord(
    name: string,
    options: LockOptions,
  ): Promise<StoredLease | null> {
    return this.engine.read((await this.resolve(name, options)).lock);
  }

  /**
   * Watches the Lease of a static name from now on, so that a call that does not wait for a dead holder
   * knows whether it is one.
   */
  async observe(name: string, options: LockOptions): Promise<void> {
    this.engine.observe((await this.resolve(name, options)).lock);
  }

  /**
   * Asks the API server whether Leases can be created in the namespaces of the locks that may create
   * them: one sentence for each namespace that does not exist, or is being deleted.
   */
  async findNamespaceFaults(
    known: readonly { name: string; options: LockOptions }[],
  ): Promise<string[]> {
    const namespaces = new Set<string>();
    for (const { name, options } of [{ name: 'any', options: {} }, ...known]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other will do
      const { options: own } = await this.resolve(name, options);
      if (own.createLease) {
        namespaces.add(own.namespace);
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
   * @throws LockBackendError, LockConfigurationError
   */
  async findMissingRights(
    known: readonly { name: string; options: LockOptions }[],
  ): Promise<string[]> {
    const { options: any } = await this.resolve('any');
    const needs: LockNeeds[] = [{ ...any, leaseNames: [] }];
    for (const { name, options } of known) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other will do
      const { lock, options: own } = await this.resolve(name, options);
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
   */
  beginShutdown(): void {
    this.engine.beginShutdown(this.#options.shutdownTimeout);
  }

  /**
   * Waits for what {@link beginShutdown} has begun, and closes the connections.
   */
  async shutdown(): Promise<void> {
    await this.engine.shutdown(this.#options.shutdownTimeout);
    this.events.complete();
    this.requests.complete();
  }

  private emit(event: LockEvent): void {
    const method = currentCall()?.label;
    this.events.emit(method === undefined ? event : { ...event, method });
  }

  /** The name may be another one at each call; the options stay. */
  private async resolvePlanned(
    name: string,
    options: LockOptions,
  ): Promise<ResolvedLock> {
    const known = this.planned.get(options);
    if (known?.lock.name === name) {
      return known;
    }
    const resolved = await (known === undefined
      ? this.resolve(name, options)
      : this.locate(name, known.options));
    this.planned.set(options, resolved);
    return resolved;
  }

  private async locate(
    name: string,
    options: ResolvedLockOptions,
  ): Promise<ResolvedLock> {
    // Asked for even where it is not needed: without a configuration every call fails in the same way.
    const fallback = await this.defaultNamespace();
    await this.turns.begin();
    const namespace = options.namespace ?? fallback;
    return {
      lock: { name, namespace, leaseName: this.leaseNameOf(name) },
      options: { ...options, namespace },
    };
  }

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

/** Re-entrancy: finds the lock among those of the caller, and releases the others. */
async function findShared(
  resolving: Promise<ResolvedLock>,
  signal: AbortSignal | undefined,
  lent: readonly LockHandle[],
): Promise<{ resolved: ResolvedLock; shared: LockHandle | undefined }> {
  let shared: LockHandle | undefined;
  try {
    const resolved = await resolving;
    const { lock, options } = resolved;
    const enclosing = lent.find(
      (each) =>
        options.reentrant &&
        each.namespace === lock.namespace &&
        each.leaseName === lock.leaseName,
    );
    if (enclosing !== undefined) {
      signal?.throwIfAborted();
      // The work that lost its lock would wait for a record that only its own end releases.
      enclosing.assertHeld();
      shared = enclosing;
    }
    return { resolved, shared };
  } finally {
    lent.forEach((each) => each !== shared && void each.release());
  }
}
