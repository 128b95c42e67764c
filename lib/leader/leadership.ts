/** One time for which this process leads: what its work gets, and which of its work still runs. */
import { isObservable } from 'rxjs';
import { LockLostError } from '../lock.errors.js';
import { anyOf } from '../lock/abort-signals.js';
import { isGenerator, refuseLazyResult } from '../lock/hold/current-lock.js';
import type { LockHandle } from '../lock/hold/lock-handle.js';

/** A time for which this process leads, as its work sees it. It ends once and for all; the next one is another. */
export abstract class Leadership {
  /**
   * Aborts when the leadership ends, before another process can lead (unless the lock was taken by force), with a
   * `LockLostError` whose `reason` says why. Also aborts, with reason `shutdown`, when the application closes,
   * and with reason `released` when a method under `@OnElected()` has failed.
   */
  abstract readonly signal: AbortSignal;
  /** Greater than the token of every earlier leader, and smaller than that of every later one: see `LeaseLock`. */
  abstract readonly fencingToken: bigint;
  /** Whether this process leads right now, by the lock's own deadline. */
  abstract readonly isHeld: boolean;
  /** Throws the `LockLostError` of `signal` when the leadership has ended. */
  abstract assertHeld(): void;
}

export class LeaderTerm extends Leadership {
  private readonly steppedDown = new AbortController();
  private readonly running = new Set<Promise<unknown>>();
  private readonly end: AbortSignal;

  constructor(private readonly lock: LockHandle) {
    super();
    this.end = anyOf(lock.signal, this.steppedDown.signal).signal!;
  }

  get signal(): AbortSignal {
    // Reading the signal of a lock checks its deadline.
    void this.lock.signal;
    return this.end;
  }

  get fencingToken(): bigint {
    return this.lock.fencingToken;
  }

  get isHeld(): boolean {
    return !this.signal.aborted && this.lock.isHeld;
  }

  assertHeld(): void {
    this.signal.throwIfAborted();
    this.lock.assertHeld();
  }

  /** Ends the leadership although the lock is held: it is released when the work has ended. */
  stepDown(): void {
    this.steppedDown.abort(new LockLostError(this.lock, 'released'));
  }

  /**
   * Runs work of this leadership.
   *
   * @param subject what does the work, for the error
   * @throws LockConfigurationError as {@link refuseLazy}
   */
  run<T>(subject: string, work: () => T | Promise<T>): Promise<T> {
    const running = (async () => refuseLazy(subject, await work()))();
    const ended = (): void => {
      this.running.delete(running);
    };
    this.running.add(running);
    void running.then(ended, ended);
    return running;
  }

  /** A15: resolves when no work of this leadership runs. */
  async idle(): Promise<void> {
    while (this.running.size > 0) {
      // oxlint-disable-next-line no-await-in-loop -- work may start more work until it has ended
      await Promise.allSettled(this.running);
    }
  }
}

/** @throws LockConfigurationError for a lazy result, whose work would run when the leadership may have ended */
export function refuseLazy<T>(subject: string, value: T): T {
  const isStream = isObservable(value);
  if (isStream || isGenerator(value)) {
    refuseLazyResult(
      subject,
      isStream ? 'an Observable' : 'a generator',
      'return a Promise of the result',
    );
  }
  return value;
}
