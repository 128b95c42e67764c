/** Somebody in a process who wants locks, works under them and gives them back; and what is due to him. */
import { getEventListeners } from 'node:events';
import { resolveLockOptions } from '../../lib/k8s-lock.options.js';
import {
  LockBackendError,
  LockNotAcquiredError,
} from '../../lib/lock.errors.js';
import type { LeaseLock } from '../../lib/lock/lease-lock.js';
import type { LockEngine } from '../../lib/lock/lock-engine.js';
import type { Holding } from './holdings.js';
import { TIMER_LATENESS, type Machine } from './machine.js';
import type { Random } from './random.js';
import type { Wish } from './wish.js';
import type { World } from './world.js';

/** Milliseconds of true time within which a cancelled wait must have ended. */
const AT_ONCE = 0.001;

export class Caller {
  private readonly waits = new Set<AbortController>();

  constructor(
    private readonly world: World,
    private readonly machine: Machine,
    private readonly engine: LockEngine,
    private readonly random: Random,
  ) {}

  /**
   * Acquires, works, releases.
   *
   * @returns whether it was acquired
   */
  async fulfil(wish: Wish): Promise<boolean> {
    const { checker } = this.world;
    const hold = await this.acquire(wish);
    if (hold === undefined) {
      return false;
    }
    const { leaseDuration, minHold } = resolveLockOptions(wish.options);
    const holding: Holding = {
      hold,
      signal: hold.signal,
      machine: this.machine,
      leaseDuration,
      minHold,
      isReleased: false,
      robbedAt: undefined,
    };
    checker.acquired(holding);
    await this.work(holding, wish);
    checker.released(holding);
    const released = hold.release();
    if (!wish.isHasty) {
      await released;
    }
    return true;
  }

  /** Cancels every wait. */
  loseInterest(): void {
    for (const wait of this.waits) {
      wait.abort();
    }
  }

  private async work(
    holding: Holding,
    { work, isStubborn }: Wish,
  ): Promise<void> {
    const { checker, scheduler } = this.world;
    const { random, machine } = this;
    const until = machine.localTime() + work;
    while (machine.localTime() < until) {
      const left = until - machine.localTime();
      // oxlint-disable-next-line no-await-in-loop -- work takes its time
      await machine.sleep(Math.min(left, random.magnitude(5, 1_000)) + 0.01);
      if (this.world.isHealed || (holding.signal.aborted && !isStubborn)) {
        return;
      }
      // The register is somewhere else, too.
      scheduler.at(machine.now + random.magnitude(0.3, 2_000), () =>
        checker.writeRegister(holding),
      );
    }
  }

  private async acquire(wish: Wish): Promise<LeaseLock | undefined> {
    const { lock, insistence, cancelAfter } = wish;
    const { timeline, statistics, findings } = this.world;
    const { name } = this.machine;
    const options = resolveLockOptions(wish.options);
    const controller = new AbortController();
    const { signal } = controller;
    if (cancelAfter !== undefined) {
      void this.machine.sleep(cancelAfter).then(() => controller.abort());
    }
    timeline.add(
      name,
      () =>
        `wants ${lock.leaseName} (${insistence}, ${JSON.stringify(wish.options)})`,
    );
    const acquired = this.engine.acquire(lock, options, insistence, signal);
    const ended = this.expectEnd(wish, signal);
    this.waits.add(controller);
    try {
      return await acquired;
    } catch (error) {
      statistics.count('refusals');
      timeline.add(name, () => `does not get it: ${String(error)}`);
      this.checkError(error, signal);
      this.checkSkip(error, wish);
      return undefined;
    } finally {
      ended();
      this.waits.delete(controller);
      if (getEventListeners(signal, 'abort').length > 0) {
        findings.add(
          'leak',
          `${name}: a listener is left on a caller's signal`,
        );
      }
    }
  }

  /** A wait that is cancelled or times out ends at once. @returns what to call when it has ended */
  private expectEnd(
    { options, insistence }: Wish,
    signal: AbortSignal,
  ): () => void {
    const { scheduler, findings } = this.world;
    const { machine } = this;
    let isOver = false;
    const mustEndBy = (time: number, why: string): void => {
      scheduler.at(time, () => {
        if (!isOver && !machine.isFrozen && !machine.isDead) {
          findings.add(
            'not-cancelled',
            `${machine.name}: a wait that ${why} goes on`,
          );
        }
      });
    };
    const onAbort = (): void =>
      mustEndBy(machine.now + AT_ONCE, 'was cancelled');
    const { waitTimeout = 0 } = options;
    if (insistence === 'wait' && waitTimeout > 0) {
      mustEndBy(
        machine.now + waitTimeout / machine.rate + TIMER_LATENESS + AT_ONCE,
        'timed out',
      );
    }
    signal.addEventListener('abort', onAbort, { once: true });
    return () => {
      isOver = true;
      signal.removeEventListener('abort', onAbort);
    };
  }

  /** A skip is for a holder that is alive, as far as a client can know. */
  private checkSkip(error: unknown, { insistence, lock }: Wish): void {
    const isSkip =
      insistence === 'skip' &&
      error instanceof LockNotAcquiredError &&
      error.reason === 'held' &&
      error.holder !== undefined;
    if (isSkip && !this.machine.wasPaused) {
      this.world.checker.skipped(
        this.machine.name,
        lock.leaseName,
        error.holder,
      );
    }
  }

  private checkError(error: unknown, signal: AbortSignal): void {
    const isDocumented =
      error instanceof LockNotAcquiredError ||
      error instanceof LockBackendError ||
      (signal.aborted && error === signal.reason);
    if (!isDocumented) {
      const text = error instanceof Error ? error.stack : String(error);
      this.world.findings.add(
        'undocumented-error',
        `${this.machine.name}: acquire() rejected with ${text}`,
      );
    }
  }
}
