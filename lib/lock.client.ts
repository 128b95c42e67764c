/** The internal interface to the engine for LockService, decorators, health checks, telemetry and the lifecycle. */
import {
  DECORATOR_WAIT_TIMEOUT,
  resolveLockOptions,
  type LockOptions,
  type OnLocked,
  type OwnLockOptions,
  type ResolvedLockOptions,
  type ResolvedModuleOptions,
} from './k8s-lock.options.js';
import {
  findMissingRights,
  type LockNeeds,
  type MissingRight,
} from './kube/access-review.js';
import type { CollectionObserver } from './kube/collection-watch.js';
import { KubeConfigurationError } from './kube/kube-config.js';
import { KubernetesLeaseStore } from './kube/kubernetes-lease-store.js';
import type { LeaseStore, StoredLease } from './kube/lease-store.js';
import {
  LockConfigurationError,
  type LockBackendError,
  type LockReference,
} from './lock.errors.js';
import { quote } from './printable.js';
import { EventStream } from './event-stream.js';
import type { ApiRequestEvent, LockEvent } from './lock.events.js';
import { currentCall } from './lock/acquire/request-scope.js';
import { leasesOf, slotsOf } from './lock/acquire/semaphore.js';
import { acquireModeOf } from './lock/acquire/wait-policy.js';
import { CallTurns } from './lock/call-turns.js';
import { systemClock, type Clock } from './lock/clock.js';
import { reportFailure, toBackendError } from './lock/engine-context.js';
import { lendEnclosingLocks } from './lock/hold/current-lock.js';
import type { LeaseLock } from './lock/hold/lease-lock.js';
import { isOf, type LockHandle } from './lock/hold/lock-handle.js';
import { encodeLockName } from './lock/lease-name.js';
import { LockEngine } from './lock/lock-engine.js';
import type { FireClaim } from './lock/record/fire-claim.js';

/** One of the locks that a call requests, with the policy of a decorated method. */
export interface RequestedLock {
  readonly name: string;
  readonly onLocked: OnLocked;
  /** Never changed: the resolved options are cached by this object. */
  readonly options: OwnLockOptions;
  /** The fire to claim with the lock. */
  readonly claim?: FireClaim;
}

/** A lock with its options merged over those of the module. */
export interface ResolvedLock {
  /** Of a semaphore: its first slot. */
  readonly lock: LockReference;
  readonly options: ResolvedLockOptions & { readonly namespace: string };
}

/** A lock that is known before the first call. */
export interface FixedLock {
  readonly name: string;
  readonly options: OwnLockOptions;
}

/** A decorated method, or a place of an interceptor, as the dashboard shows it. */
export interface KnownMethod {
  /** `Class.method`. */
  readonly label: string;
  /** Undefined if each call computes it. */
  readonly name: string | undefined;
  readonly options: LockOptions;
  /** Of a scheduled method: the first planned fire after a time, in milliseconds since the epoch. */
  readonly nextFire?: (now: number) => number;
}

/** The token of the {@link LockBackend}; without a provider for it, locks use {@link KUBERNETES}. */
export const LOCK_BACKEND = Symbol('K8S_LOCK_BACKEND');

/** What the engine of a client runs on: a seam, which `nestjs-k8s-lock/testing` replaces. */
export interface LockBackend {
  connect(
    client: LockClient,
    options: ResolvedModuleOptions,
  ): { readonly store: ClusterStore; readonly clock: Clock };
}

/** A LeaseStore that knows its cluster. */
export type ClusterStore = LeaseStore &
  Pick<KubernetesLeaseStore, 'address' | 'findNamespaceFault' | 'watchAll'>;

const KUBERNETES: LockBackend = {
  connect: ({ requests }, { kubeConfig, inCluster, requestTimeout }) => ({
    store: new KubernetesLeaseStore({
      kubeConfig,
      inCluster,
      requestTimeout,
      requests,
    }),
    clock: systemClock,
  }),
};

/** The reasons that are skips, not errors, for a decorated method: always, and under `onLocked: 'skip'`. */
const ALWAYS_SKIPPED = ['fire-claimed'] as const;
const SKIPPED = [...ALWAYS_SKIPPED, 'held', 'shutdown'] as const;

/** The client of each LockService. */
export const clients = new WeakMap<object, LockClient>();

/** The client of a service. Undefined for a stub, a mock or a Proxy that replaces the service in a test. */
export function clientOf(service: object): LockClient | undefined {
  return clients.get(service);
}

export class LockClient {
  readonly events = new EventStream<LockEvent>('events$');
  readonly requests = new EventStream<ApiRequestEvent>('requests$');
  readonly engine: LockEngine;
  /** The fixed names of decorated methods, interceptors and elections, known before the first call. */
  readonly fixedNames = new Set<string>();
  /** The locks of elections, which are checked at startup with those of decorated methods. */
  readonly fixedLocks: FixedLock[] = [];
  /** The decorated methods with fixed names, and each schedule of a method; filled at startup. */
  readonly methods: KnownMethod[] = [];
  /** Why every call is refused until the application starts the module. */
  private notStarted: string | undefined;
  /** Whether the lifecycle hooks of the modules have been called: Nest calls none of modules that it loads later. */
  hasStarted = false;
  private readonly store: ClusterStore;
  private readonly turns = new CallTurns();
  /** The resolved lock of the last call, by the options of a decorator or an interceptor. */
  private readonly planned = new WeakMap<OwnLockOptions, ResolvedLock>();
  /** `#private` keeps the credentials in it from loggers. */
  readonly #options: ResolvedModuleOptions;

  constructor(
    options: ResolvedModuleOptions,
    backend: LockBackend = KUBERNETES,
  ) {
    this.#options = options;
    const { requestTimeout, clientId } = options;
    const { store, clock } = backend.connect(this, options);
    this.store = store;
    const context = {
      store,
      clock,
      clientId,
      requestTimeout,
      emit: this.events.emit,
    };
    const session =
      options.renewal === 'session'
        ? resolveLockOptions({}, options.lock)
        : undefined;
    this.engine = new LockEngine(context, session);
  }

  /** Refuses every call with `fault`, until {@link start}. */
  waitForStart(fault: string): void {
    this.notStarted = fault;
  }

  /** The application has called the lifecycle hooks of the module, and will call those of shutdown. */
  start(): void {
    this.notStarted = undefined;
    this.hasStarted = true;
  }

  /** Called before the application starts. */
  addFixedLock(name: string, options: OwnLockOptions): void {
    this.fixedNames.add(name);
    this.fixedLocks.push({ name, options });
  }

  readonly leaseNameOf = (name: string): string =>
    encodeLockName(this.#options.namePrefix + name);

  /** Whether a Lease can be of a lock with the prefix of this client. */
  hasPrefix(leaseName: string): boolean {
    const { namePrefix } = this.#options;
    return (
      leaseName.startsWith(namePrefix) ||
      // As in an encoded name.
      leaseName.startsWith(namePrefix.replace(/[^a-z0-9]+/g, '-'))
    );
  }

  /** Watches all Leases of a namespace. */
  watchAll(namespace: string, observer: CollectionObserver): { close(): void } {
    return this.store.watchAll(namespace, observer);
  }

  /**
   * @param describe what each fault begins with
   * @throws LockConfigurationError that names every fault
   */
  async resolve(
    name: string,
    options: OwnLockOptions = {},
    describe = () => `lock ${quote(name)}`,
  ): Promise<ResolvedLock> {
    return this.locate(name, this.complete(options, describe));
  }

  /**
   * @param describe what each fault begins with
   * @throws LockConfigurationError that names every fault
   */
  complete(
    options: OwnLockOptions,
    describe?: () => string,
  ): ResolvedLockOptions {
    return resolveLockOptions(options, this.#options.lock, describe);
  }

  /**
   * A key that is equal for two locks of this process, of any LockService, if they use the same Lease, as
   * far as that is known without a cluster.
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
   * Acquires a lock, or shares it if the caller holds it already.
   *
   * @param lent references to the locks of the caller, taken synchronously: the caller may end before the
   * Lease of the call is known
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
   * Acquires by the policy of a decorated method, and claims the fire of the call with the same write.
   *
   * @param lent as in {@link acquireReentrant}
   * @returns undefined if the call is to be skipped
   */
  async acquireForMethod(
    { name, onLocked, options: given, claim }: RequestedLock,
    signal?: AbortSignal,
    lent: readonly LockHandle[] = this.lendEnclosingLocks(),
  ): Promise<LockHandle | undefined> {
    const resolving = this.resolvePlanned(name, given);
    const { resolved, shared } = await findShared(resolving, signal, lent);
    const { lock, options } = resolved;
    const { waitTimeout = DECORATOR_WAIT_TIMEOUT, permits } = options;
    if (claim !== undefined && permits > 1) {
      throw new LockConfigurationError([describePermitsOfFire(permits)]);
    }
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
        `the fire of ${new Date(claim.at).toISOString()} cannot be claimed, since its caller already holds lock ${quote(name)}: use another lock name for one of the two, or set oncePerFire: false`,
      ]);
    }
    return held;
  }

  /** The locks of this client that enclose the running code, with one more reference to each. */
  lendEnclosingLocks(): LockHandle[] {
    return lendEnclosingLocks(this.store);
  }

  /** Reports the outcome of a decorated method that ran under `lock`. */
  reportRun(
    { name, namespace, leaseName, slot, fencingToken }: LeaseLock,
    run: { duration: number; fire?: Date; failure?: { error: unknown } },
  ): void {
    const { duration, fire, failure } = run;
    const place = slot === undefined ? {} : { slot };
    const lock = { name, namespace, leaseName, ...place };
    const details = { fencingToken, duration, ...(fire && { fire }) };
    this.emit(
      failure
        ? { type: 'failed', ...lock, ...details, error: failure.error }
        : { type: 'executed', ...lock, ...details },
    );
  }

  /** Reports a failed request that will be retried. */
  reportRetry(error: LockBackendError): void {
    if (error.lock !== undefined) {
      const emit = (event: LockEvent): void => this.emit(event);
      reportFailure({ emit }, error.lock, 'acquire', error);
    }
  }

  /**
   * Reads the record of a lock, including its last fire claim.
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
   * Watches the Lease of a static name from now on, so that a call that does not wait knows at once
   * whether the holder is alive.
   */
  async observe(name: string, options: OwnLockOptions): Promise<void> {
    const { lock, options: own } = await this.resolve(name, options);
    for (const slot of slotsOf(lock, own.permits)) {
      this.engine.observe(slot);
    }
  }

  /**
   * Checks with the API server that Leases can be created in the namespaces of the locks. Returns one
   * sentence for each namespace that does not exist or is being deleted.
   */
  async findNamespaceFaults(known: readonly FixedLock[]): Promise<string[]> {
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
            .catch(() => undefined), // the first call reports it
      ),
    );
    return faults.filter((fault) => fault !== undefined);
  }

  /**
   * Checks with the API server the rights that locks need, by name for known names.
   *
   * @throws LockBackendError, LockConfigurationError
   */
  async findMissingRights(
    known: readonly FixedLock[],
  ): Promise<MissingRight[]> {
    const { options: any } = await this.resolve('any');
    const hasSessions = this.#options.renewal === 'session';
    const needs: LockNeeds[] = [{ ...any, leaseNames: [], hasSessions }];
    for (const { name, options } of known) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other will do
      const { lock, options: own } = await this.resolve(name, options);
      const leaseNames = leasesOf(lock, own.permits).map(
        ({ leaseName }) => leaseName,
      );
      needs.push({ ...own, leaseNames, hasSessions });
    }
    try {
      return await findMissingRights(
        this.store,
        needs,
        this.#options.requestTimeout,
      );
    } catch (error) {
      throw toBackendError(error);
    }
  }

  /**
   * Refuses new acquisitions, ends waits, aborts the signals of held locks, and releases the locks that
   * are still held after `shutdownTimeout`.
   */
  beginShutdown(): void {
    this.engine.beginShutdown(this.#options.shutdownTimeout);
  }

  /**
   * Waits for the shutdown that {@link beginShutdown} started, and closes the connections.
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

  /** Caches the resolved options: only the name may differ between calls. */
  private async resolvePlanned(
    name: string,
    options: OwnLockOptions,
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
    if (this.notStarted !== undefined) {
      throw new LockConfigurationError([this.notStarted]);
    }
    // Resolved even if not needed, so that without a configuration every call fails in the same way.
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
            message: 'the Kubernetes configuration cannot be used',
          })
        : error;
    }
  }
}

/** Why a method with these permits can't claim fires. */
export function describePermitsOfFire(permits: number): string {
  return `permits: ${permits} cannot be used with oncePerFire, which runs each fire once in the cluster. Set oncePerFire: false to run it in up to ${permits} pods, or permits: 1`;
}

/** Re-entrancy: finds the lock among the references to the caller's locks, and releases the other references. */
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
      (each) => options.reentrant && isOf(each, lock, options.permits),
    );
    if (enclosing !== undefined) {
      signal?.throwIfAborted();
      // Without this check, work that lost its lock would wait for a record that only its own end releases.
      enclosing.assertHeld();
      shared = enclosing;
    }
    return { resolved, shared };
  } finally {
    lent.forEach((each) => each !== shared && void each.release());
  }
}
