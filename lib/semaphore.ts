/** A semaphore by name: its acquisitions, and the state of its slots. */
import { describeValue, type OwnLockOptions } from './k8s-lock.options.js';
import type { LockClient } from './lock.client.js';
import { LockConfigurationError } from './lock.errors.js';
import { slotsOf } from './lock/acquire/semaphore.js';
import type { LeaseLock } from './lock/hold/lease-lock.js';
import type { LockState } from './lock/record/lock-state.js';
import { quote } from './printable.js';

/** The options of every acquisition of a semaphore. */
export interface SemaphoreOptions extends OwnLockOptions {
  permits: number;
}

/** The options of one acquisition. */
export interface SemaphoreCallOptions {
  /** How long to wait for a permit, in milliseconds. */
  waitTimeout?: number;
  /** Cancels the wait at any moment; the call then rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** The state of a semaphore. */
export interface SemaphoreState {
  name: string;
  namespace: string;
  permits: number;
  /** How many of the permits are held, by the records. */
  held: number;
  /** Each slot, by its number. */
  slots: LockState[];
}

/** The calls of LockService to which a semaphore adds its name and its options. */
interface LockCalls {
  acquire(
    name: string,
    options: OwnLockOptions & SemaphoreCallOptions,
  ): Promise<LeaseLock>;
  tryAcquire(
    name: string,
    options: OwnLockOptions & Pick<SemaphoreCallOptions, 'signal'>,
  ): Promise<LeaseLock | undefined>;
  withLock<T>(
    name: string,
    options: OwnLockOptions & SemaphoreCallOptions,
    work: (lock: LeaseLock) => T | Promise<T>,
  ): Promise<T>;
}

/**
 * A lock that several calls can hold at a time, across all processes: at most `permits`. What is acquired is an
 * ordinary lock on one of its slots, which has a Lease and fencing tokens of its own.
 *
 * @example
 * const downloads = locks.semaphore('downloads', { permits: 3 });
 * await using lock = await downloads.acquire();
 * await download({ signal: lock.signal });
 */
export class Semaphore {
  readonly #client: LockClient;

  /** @internal */
  constructor(
    private readonly calls: LockCalls,
    client: LockClient,
    readonly name: string,
    private readonly options: SemaphoreOptions,
  ) {
    this.#client = client;
  }

  get permits(): number {
    return this.options.permits;
  }

  /**
   * Acquires a permit, as `LockService.acquire()` does a lock. Calls get their permits in the order in which they ask
   * for them, across all processes.
   */
  acquire(options: SemaphoreCallOptions = {}): Promise<LeaseLock> {
    const { reentrant: _, ...own } = this.options;
    return this.calls.acquire(this.name, this.with(own, options));
  }

  /** Acquires a permit if one is free, as `LockService.tryAcquire()` does a lock. */
  tryAcquire(
    options: Pick<SemaphoreCallOptions, 'signal'> = {},
  ): Promise<LeaseLock | undefined> {
    const { reentrant: _, waitTimeout: __, ...own } = this.options;
    return this.calls.tryAcquire(this.name, this.with(own, options));
  }

  /** Runs `work` with a permit, as `LockService.withLock()` does under a lock. Inside such work, the call shares its permit. */
  withLock<T>(work: (lock: LeaseLock) => T | Promise<T>): Promise<T>;
  withLock<T>(
    options: SemaphoreCallOptions,
    work: (lock: LeaseLock) => T | Promise<T>,
  ): Promise<T>;
  withLock<T>(
    ...given:
      | [work: (lock: LeaseLock) => T | Promise<T>]
      | [
          options: SemaphoreCallOptions,
          work: (lock: LeaseLock) => T | Promise<T>,
        ]
  ): Promise<T> {
    const [options, work] = given.length === 2 ? given : [{}, given[0]];
    const merged = this.with(this.options, options);
    return this.calls.withLock(this.name, merged, work);
  }

  /**
   * Reads the state of each slot from the API server.
   *
   * @throws LockBackendError, LockConfigurationError
   */
  async inspect(): Promise<SemaphoreState> {
    const { engine } = this.#client;
    const { lock, options } = await this.resolve();
    const { permits } = options;
    const slots = await Promise.all(
      slotsOf(lock, permits).map((slot) => engine.inspect(slot)),
    );
    const held = slots.filter(({ state }) => state === 'held').length;
    const { name, namespace } = lock;
    return { name, namespace, permits, held, slots };
  }

  /**
   * Takes a slot away from its holder, as `LockService.forceRelease()` does a lock.
   *
   * @param slot from `0` to `permits - 1`
   * @throws LockBackendError, LockConfigurationError
   */
  async forceRelease(slot: number): Promise<LockState | undefined> {
    const { lock, options } = await this.resolve();
    const found = slotsOf(lock, options.permits).find(
      (_, number) => number === slot,
    );
    if (found === undefined) {
      throw new LockConfigurationError([
        `semaphore(${quote(this.name)}): the slot must be a whole number from 0 to ${options.permits - 1}, not ${describeValue(slot)}`,
      ]);
    }
    return this.#client.engine.forceRelease(found);
  }

  private resolve() {
    return this.#client.resolve(this.name, this.options);
  }

  /** The permits of the semaphore count, whatever a call without types says. */
  private with<Own extends OwnLockOptions, Call extends object>(
    own: Own,
    call: Call,
  ): Own & Call {
    return typeof call === 'object' && call !== null
      ? { ...own, ...call, permits: this.permits }
      : call;
  }
}
