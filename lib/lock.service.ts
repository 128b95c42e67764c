/** The injectable service: acquires and releases locks, reads their state, and forces their release. */
import { Injectable } from '@nestjs/common';
import { isObservable, type Observable } from 'rxjs';
import {
  checkCall,
  type LockOptions,
  type OwnLockOptions,
  requirePermits,
  type ResolvedModuleOptions,
} from './k8s-lock.options.js';
import { noteCopy } from './copies.js';
import { clients, LockClient, type LockBackend } from './lock.client.js';
import { quote } from './printable.js';
import { acquireForCaller, HeldLocks, runUnderAll } from './lock-set.js';
import type { ApiRequestEvent, LockEvent } from './lock.events.js';
import {
  isGenerator,
  refuseLazyResult,
  runUnderLock,
} from './lock/hold/current-lock.js';
import type { LeaseLock, LeaseLocks } from './lock/hold/lease-lock.js';
import type { LockState, SessionState } from './lock/record/lock-state.js';
import { Semaphore, type SemaphoreOptions } from './semaphore.js';

/** How a lock is acquired by a call. */
export interface AcquireOptions extends OwnLockOptions {
  /**
   * Cancels the wait at any moment; the call then rejects with the signal's reason.
   *
   * @defaultValue none
   */
  signal?: AbortSignal;
}

noteCopy();

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
  /**
   * The events of the locks of this process. Listeners are called synchronously and may call any method of
   * the service. An error that a listener throws is logged and does not affect locks. Completes when the
   * application has shut down.
   */
  readonly events$: Observable<LockEvent>;
  /** One event for each request to the API server, delivered as {@link events$}. Measured only while there is a listener. */
  readonly requests$: Observable<ApiRequestEvent>;
  readonly #client: LockClient;

  constructor(options: ResolvedModuleOptions, backend?: LockBackend) {
    this.#client = new LockClient(options, backend);
    clients.set(this, this.#client);
    this.events$ = this.#client.events.events$;
    this.requests$ = this.#client.requests.events$;
  }

  /**
   * Acquires a lock. Waits until it has the lock, or `waitTimeout` is over.
   *
   * @param name any non-empty string; a name that is not legal for a Lease is encoded
   * @throws LockNotAcquiredError when `waitTimeout` (milliseconds) is over or the application closes
   * @throws LockBackendError when the API server refuses, can't be reached until `waitTimeout`, or answers
   * too late for the lock to be held
   * @throws LockConfigurationError for options that are wrong, or without a cluster
   * @throws the reason of `options.signal` when that aborts
   * @example
   * await using lock = await locks.acquire('import', { waitTimeout: 5_000 });
   */
  async acquire(
    name: string,
    options: Omit<AcquireOptions, 'reentrant'> = {},
  ): Promise<LeaseLock> {
    checkCall('acquire', { name, options });
    const { signal, ...own } = options;
    const resolved = await this.#client.resolve(name, own);
    return this.#client.engine.acquire({ ...resolved, mode: 'wait', signal });
  }

  /**
   * Acquires a lock if it is free, and answers from what this process knows: a record that it sees for the
   * first time counts as held if it names a holder, even a dead one. While another call of this process
   * asks for the same lock, it shares that call's answer, within `requestTimeout`.
   *
   * @returns undefined when another call holds the lock, in this process or in another
   * @throws LockNotAcquiredError when the application closes
   * @throws LockBackendError when the API server refuses, can't be reached, or answers too late for the
   * lock to be held
   * @throws LockConfigurationError for options that are wrong, or without a cluster
   * @throws the reason of `options.signal` when that aborts
   * @example
   * await using lock = await locks.tryAcquire('import');
   * if (lock === undefined) return;
   */
  async tryAcquire(
    name: string,
    options: Omit<AcquireOptions, 'waitTimeout' | 'reentrant'> = {},
  ): Promise<LeaseLock | undefined> {
    checkCall('tryAcquire', { name, options });
    const { signal, ...own } = options;
    return this.#client.tryAcquire(
      await this.#client.resolve(name, own),
      signal,
    );
  }

  /**
   * Runs `work` under a lock, with `currentLock()` set, and releases the lock when `work` has settled (A3). The
   * caller gets the result or the error of `work`, even if the release fails. A loss of the lock aborts
   * `lock.signal`, but does not reject the call.
   *
   * Inside work under the same lock, the call shares that lock (unless `reentrant: false`), or rejects with
   * `LockLostError` if it was lost. The lock is released when the last call that shares it has ended. An
   * Observable or a generator is refused, since its work would run after the release.
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
    const { signal, ...own } = options;
    const held = await this.#client.acquireReentrant(
      this.#client.resolve(name, own),
      signal,
    );
    try {
      return await runUnderLock(held, () =>
        refuseLazy(`withLock(${quote(name)})`, work(held)),
      );
    } finally {
      await held.release();
    }
  }

  /**
   * Acquires several locks, or none of them. They are acquired one after the other, by namespace and Lease
   * name, which is the order of methods under several `@WithLeaseLock` too: calls in any order of names can't
   * wait for each other in a circle. If one can't be acquired, or an acquired one is lost meanwhile, those
   * that were acquired are released, the last one first.
   *
   * A lock that is named twice, or by names of one Lease, is acquired once.
   *
   * @param names one or more lock names
   * @param options those of every lock; `waitTimeout` is the time to wait for all of them together
   * @throws as {@link acquire}; the `lock` of the error is the one that was not acquired
   * @throws LockLostError when an acquired lock is lost before all are acquired
   * @example
   * await using held = await locks.acquireAll([`account-${from}`, `account-${to}`]);
   * await transfer(from, to, { signal: held.signal });
   */
  async acquireAll(
    names: readonly string[],
    options: Omit<AcquireOptions, 'reentrant'> = {},
  ): Promise<LeaseLocks> {
    checkCall('acquireAll', { names, options });
    const { signal, ...own } = options;
    const given = [...names];
    const alone = { ...own, reentrant: false };
    const held = await acquireForCaller(this.#client, given, alone, signal);
    return new HeldLocks(this.#client, given, held);
  }

  /**
   * Runs `work` under several locks, which are acquired as by {@link acquireAll}, and releases them when
   * `work` has settled. Otherwise as {@link withLock}: locks that the caller holds are shared, and
   * `currentLock()` is a handle of all of them.
   *
   * @throws as {@link acquireAll}
   * @example
   * await locks.withLocks([`account-${from}`, `account-${to}`], ({ signal }) =>
   *   transfer(from, to, { signal }),
   * );
   */
  withLocks<T>(
    names: readonly string[],
    work: (held: LeaseLocks) => T | Promise<T>,
  ): Promise<T>;
  withLocks<T>(
    names: readonly string[],
    options: AcquireOptions,
    work: (held: LeaseLocks) => T | Promise<T>,
  ): Promise<T>;
  async withLocks<T>(
    names: readonly string[],
    ...rest:
      | [work: (held: LeaseLocks) => T | Promise<T>]
      | [options: AcquireOptions, work: (held: LeaseLocks) => T | Promise<T>]
  ): Promise<T> {
    const [options = {}, work] =
      rest.length === 2 ? rest : ([undefined, rest[0]] as const);
    checkCall('withLocks', { names, options, work });
    const { signal, ...own } = options;
    const client = this.#client;
    const given = [...names];
    const held = await acquireForCaller(client, given, own, signal);
    try {
      return await runUnderAll(held, () =>
        refuseLazy(
          `withLocks(${given.map(quote).join(', ')})`,
          work(new HeldLocks(client, given, held)),
        ),
      );
    } finally {
      await held.release();
    }
  }

  /**
   * A lock that several calls can hold at a time, across all processes.
   *
   * @param options those of every call; `permits` is the number of calls that can hold it
   * @throws LockConfigurationError for options that are wrong
   * @example
   * const downloads = locks.semaphore('downloads', { permits: 3 });
   * await downloads.withLock((lock) => download({ signal: lock.signal }));
   */
  semaphore(name: string, options: SemaphoreOptions): Semaphore {
    checkCall('semaphore', { name, options });
    const describe = () => `semaphore(${quote(name)})`;
    this.#client.complete(options, describe);
    requirePermits(options, describe);
    return new Semaphore(this, this.#client, name, { ...options });
  }

  /**
   * Reads the state of a lock: its holder, and by the record since when and until when.
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
    const { lock } = await this.#client.resolve(name, options);
    return this.#client.engine.inspect(lock);
  }

  /**
   * Reads the state of all locks of a namespace: the Leases that this package has created or ever held, and
   * those that carry its label.
   *
   * @throws LockBackendError, LockConfigurationError
   * @example
   * const states = await locks.list({ namespace: 'jobs' });
   * const held = states.filter(({ state }) => state === 'held');
   */
  async list(
    options: Pick<LockOptions, 'namespace'> = {},
  ): Promise<LockState[]> {
    checkCall('list', { options });
    const { lock } = await this.#client.resolve('any', options, () => 'list()');
    return this.#client.engine.list(lock.namespace, this.#client.leaseNameOf);
  }

  /**
   * Reads the state of all sessions of a namespace: the Leases that processes renew under `renewal: 'session'` instead of
   * their locks.
   *
   * @throws LockBackendError, LockConfigurationError
   */
  async listSessions(
    options: Pick<LockOptions, 'namespace'> = {},
  ): Promise<SessionState[]> {
    checkCall('listSessions', { options });
    const { lock } = await this.#client.resolve(
      'any',
      options,
      () => 'listSessions()',
    );
    return this.#client.engine.listSessions(lock.namespace);
  }

  /**
   * Takes a lock away from its holder, for a lock that a person knows to be stuck. A live holder learns of
   * it at its next renewal; until then, two processes may believe that they hold the lock.
   *
   * @returns the state before, with the evicted `holder`; undefined if the lock was free or changed hands
   * meanwhile
   * @throws LockBackendError, LockConfigurationError
   */
  async forceRelease(
    name: string,
    options: Pick<LockOptions, 'namespace'> = {},
  ): Promise<LockState | undefined> {
    checkCall('forceRelease', { name, options });
    const { lock } = await this.#client.resolve(name, options);
    return this.#client.engine.forceRelease(lock);
  }
}

/** @throws LockConfigurationError for a lazy result, whose work would run after the release */
async function refuseLazy<T>(call: string, result: T | Promise<T>): Promise<T> {
  const value = await result;
  const isStream = isObservable(value);
  if (isStream || isGenerator(value)) {
    refuseLazyResult(
      `the function of ${call}`,
      isStream ? 'an Observable' : 'a generator',
      'await it inside the function',
    );
  }
  return value;
}
