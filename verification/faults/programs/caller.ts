/** One caller in a worker: takes a lock, believes in it, works under it, gives it back, and does so again. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  LockBackendError,
  LockLostError,
  LockNotAcquiredError,
  type AcquireOptions,
  type LeaseLock,
  type LockService,
} from 'nestjs-k8s-lock';
import type { BeliefLog } from '../../beliefs/belief-log.js';
import type { Random } from '../../simulation/random.js';
import type { LockProfile, Mode, Report } from './messages.js';
import type { TrueTime } from './true-time.js';

export interface Surroundings {
  readonly locks: LockService;
  readonly profiles: readonly LockProfile[];
  readonly time: TrueTime;
  readonly log: BeliefLog;
  readonly tell: (report: Report) => void;
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
/** The longest time for which a lock is held when nothing takes it away. */
const LONGEST_HOLD = 10_000;
const LEASE = 2_000;

export class Caller {
  private mode: Mode = 'rest';
  private running: Promise<void> = Promise.resolve();

  constructor(
    private readonly surroundings: Surroundings,
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
    const duration = this.drawDuration();
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

  /** Most holds are short; some last until the lock is lost. */
  private drawDuration(): number {
    const { random } = this;
    const longest = random.pick([100, 100, 100, 1_000, 1_000, 2 * LEASE]);
    return random.chance(0.2) ? LONGEST_HOLD : random.between(0, longest);
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

  /** Undefined: the handle says that it is over already. */
  private believe(lock: LeaseLock): HeldBelief | undefined {
    const at = this.surroundings.time.earliest();
    return lock.isHeld
      ? new HeldBelief(
          this.surroundings,
          lock,
          at,
          () => this.mode,
          this.random,
        )
      : undefined;
  }
}

/** A belief in a lock, and the work that is done in it. */
class HeldBelief {
  private isOver = false;

  constructor(
    private readonly surroundings: Surroundings,
    private readonly lock: LeaseLock,
    at: number,
    private readonly mode: () => Mode,
    private readonly random: Random,
  ) {
    const { leaseName, holderIdentity: holding, fencingToken } = lock;
    const token = String(fencingToken);
    const { log, tell } = surroundings;
    log.write({ event: 'acquired', lock: leaseName, holding, token, at });
    tell({ type: 'acquired', lock: leaseName, holding });
    const { signal } = lock;
    const onLoss = (): void => this.end('lost', signal.reason);
    if (signal.aborted) {
      onLoss();
    } else {
      signal.addEventListener('abort', onLoss, { once: true });
    }
  }

  end(how: 'released' | 'lost', cause?: unknown): void {
    if (this.isOver) {
      return;
    }
    this.isOver = true;
    const at = this.surroundings.time.latest();
    const { leaseName, holderIdentity: holding } = this.lock;
    const reason = cause instanceof LockLostError ? cause.reason : undefined;
    this.surroundings.log.write({ event: 'ended', holding, how, reason, at });
    this.surroundings.tell({ type: 'ended', lock: leaseName, holding });
  }

  /** Writes to the register all the time; a careless holder goes on for a while after the lock is lost. */
  async work(duration: number): Promise<void> {
    const { random } = this;
    const started = performance.now();
    const goesOn = (): boolean =>
      performance.now() - started < duration && this.mode() === 'work';
    let carelessness = random.chance(0.3) ? 20 : 0;
    do {
      this.write();
      // oxlint-disable-next-line no-await-in-loop -- one after the other is the point
      await sleep(random.between(10, 50));
    } while (goesOn() && (!this.isOver || carelessness-- > 0));
  }

  private write(): void {
    const { leaseName, holderIdentity: holding, fencingToken } = this.lock;
    const token = String(fencingToken);
    this.surroundings.tell({ type: 'write', lock: leaseName, holding, token });
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
