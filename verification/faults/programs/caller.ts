/** One caller in a worker: takes a lock, believes in it, works under it, gives it back, and does so again. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  LockBackendError,
  LockNotAcquiredError,
  type AcquireOptions,
  type LeaseLock,
  type LockService,
} from 'nestjs-k8s-lock';
import type { Random } from '../../simulation/random.js';
import { drawDuration, HeldBelief, type Surroundings } from './held-belief.js';
import type { LockProfile, Mode } from './messages.js';

export interface LockSurroundings extends Surroundings {
  readonly locks: LockService;
  readonly profiles: readonly LockProfile[];
}

/** How a lock is taken. */
const WAYS = [
  'acquire',
  'acquire',
  'withLock',
  'withLock',
  'tryAcquire',
  'minHold',
  'maxHold',
  'without renewal',
  'cancelled',
] as const;

const WAIT = 5_000;
const LEASE = 2_000;

export class Caller {
  private mode: Mode = 'rest';
  private running: Promise<void> = Promise.resolve();

  constructor(
    private readonly surroundings: LockSurroundings,
    private readonly random: Random,
  ) {}

  /** Resolves, for `rest`, when it does nothing any more. */
  async turnTo(mode: Mode): Promise<void> {
    this.mode = mode;
    await this.running;
    if (mode === 'work') {
      this.running = this.work();
    } else if (mode === 'calm') {
      this.running = this.takeEach();
    }
  }

  private async work(): Promise<void> {
    const { random, surroundings } = this;
    while (this.mode === 'work') {
      const profile = pickByWeight(surroundings.profiles, random);
      // oxlint-disable no-await-in-loop -- one after the other is the point
      await this.attempt(() => this.takeSomehow(profile));
      await sleep(random.between(0, 50));
      // oxlint-enable no-await-in-loop
    }
  }

  /** All faults are over: each lock is to be had, now. */
  private async takeEach(): Promise<void> {
    const { locks, profiles, tell } = this.surroundings;
    for (const { name, options } of profiles) {
      let isServed = false;
      while (this.mode === 'calm' && !isServed) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
        isServed = await this.attempt(async () => {
          const lock = await locks.acquire(name, {
            ...options,
            waitTimeout: WAIT,
          });
          await this.holdFor(lock, 0);
        });
      }
      tell({ type: 'served', lock: name });
    }
  }

  private async takeSomehow({
    name,
    options: basics,
  }: LockProfile): Promise<void> {
    const { locks } = this.surroundings;
    const { random } = this;
    const options: AcquireOptions = {
      ...basics,
      waitTimeout: WAIT,
    };
    const duration = drawDuration(random);
    const use = async (taken: Promise<LeaseLock | undefined>) => {
      const lock = await taken;
      if (lock !== undefined) {
        await this.holdFor(lock, duration);
      }
    };
    switch (random.pick(WAYS)) {
      case 'acquire':
        return use(locks.acquire(name, options));
      case 'withLock':
        return locks.withLock(name, options, async (lock) => {
          const belief = this.believe(lock);
          await belief?.work(duration);
          belief?.end('released');
        });
      case 'tryAcquire':
        return use(locks.tryAcquire(name, basics));
      case 'minHold': {
        const minHold = random.between(200, LEASE);
        return use(locks.acquire(name, { ...options, minHold }));
      }
      case 'maxHold': {
        const maxHold = random.between(200, 2 * LEASE);
        return use(locks.acquire(name, { ...options, maxHold }));
      }
      case 'without renewal':
        return use(locks.acquire(name, { ...options, autoRenew: false }));
      case 'cancelled': {
        const signal = AbortSignal.timeout(random.whole(1, LEASE));
        return use(locks.acquire(name, { ...options, signal }));
      }
    }
  }

  private async holdFor(lock: LeaseLock, duration: number): Promise<void> {
    const belief = this.believe(lock);
    await belief?.work(duration);
    belief?.end('released');
    await lock.release();
  }

  /** Does what may fail in a documented way. @returns whether it did not fail */
  private async attempt(act: () => Promise<void>): Promise<boolean> {
    try {
      await act();
      return true;
    } catch (error) {
      if (!isDocumented(error)) {
        const text =
          error instanceof Error
            ? (error.stack ?? error.message)
            : String(error);
        this.surroundings.tell({ type: 'undocumented-error', text });
      }
      await sleep(this.random.between(50, 300));
      return false;
    }
  }

  private believe(lock: LeaseLock): HeldBelief | undefined {
    return HeldBelief.in(lock, this.surroundings, {
      mode: () => this.mode,
      random: this.random,
    });
  }
}

function pickByWeight(
  profiles: readonly LockProfile[],
  random: Random,
): LockProfile {
  const total = profiles.reduce((sum, { weight }) => sum + weight, 0);
  let left = random.between(0, total);
  return profiles.find(({ weight }) => (left -= weight) < 0) ?? profiles[0]!;
}

function isDocumented(error: unknown): boolean {
  return (
    error instanceof LockNotAcquiredError ||
    error instanceof LockBackendError ||
    (error instanceof DOMException && error.name === 'TimeoutError')
  );
}
