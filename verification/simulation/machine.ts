/** A process and the machine it runs on: it gets timers and answers, can be paused, and can be killed. */
import type { Clock } from '../../lib/lock/clock.js';
import type { Random } from './random.js';
import type { Scheduler } from './scheduler.js';

/** How a process is paused: by its garbage collector, its scheduler, its hypervisor, or Control-Z. */
export interface Pauses {
  /** At each moment at which the process looks at a clock or sends something. */
  readonly chance: number;
  readonly longest: number;
}

export interface MachineOptions {
  readonly name: string;
  /** Of its monotonic clock: how many of its milliseconds pass in one of true time. */
  readonly rate: number;
  /** Milliseconds that its wall clock is ahead. */
  readonly wallOffset: number;
  readonly pauses: Pauses;
}

interface Delivery {
  readonly kind: 'timer' | 'arrival';
  readonly run: () => void;
  cancelled: boolean;
}

/** 2026-01-01, in milliseconds. */
const WALL_START = 1_767_225_600_000;

/** Milliseconds since the epoch, by a clock that is right. */
export function wallTimeOf(trueTime: number): number {
  return WALL_START + trueTime;
}

/** A timer fires up to this many milliseconds late on a machine that is not busy. */
export const TIMER_LATENESS = 1;

export class Machine {
  readonly name: string;
  readonly rate: number;
  /** Its engine's clock. */
  readonly clock: Clock;
  /** Timers of its engine that have neither fired nor been cancelled. */
  pendingTimers = 0;
  isDead = false;
  wasPaused = false;
  wallOffset: number;
  private readonly bootedAt: number;
  private pauses: Pauses;
  /** While the process is paused, and until it has caught up with what it missed. */
  private frozen = false;
  private frozenUntil = 0;
  private missed: Delivery[] = [];
  private isWatched = false;

  constructor(
    options: MachineOptions,
    private readonly scheduler: Scheduler,
    private readonly random: Random,
    private readonly onPause: (milliseconds: number) => void,
  ) {
    this.name = options.name;
    this.rate = options.rate;
    this.wallOffset = options.wallOffset;
    this.pauses = options.pauses;
    this.bootedAt = random.between(1_000, 1_000_000);
    this.clock = {
      now: () => {
        this.maybePause();
        return this.localTime();
      },
      wallMicroseconds: () => {
        this.maybePause();
        return this.wallMicroseconds();
      },
      schedule: (at, callback) => this.engineTimer(at, callback),
      random: () => this.random.next(),
    };
  }

  /**
   * True time as far as this process is concerned. A pause between two of its instructions can't be
   * acted out while they run; the process is a step ahead of everybody else instead: it goes on as of
   * the end of the pause, what it sends leaves then, and what is sent to it waits until then.
   */
  get now(): number {
    return Math.max(this.scheduler.now, this.frozenUntil);
  }

  /** It is paused, or has been and has not yet done all it should have done meanwhile. */
  get isFrozen(): boolean {
    return this.frozen;
  }

  wallMilliseconds(): number {
    return wallTimeOf(this.now) + this.wallOffset;
  }

  wallMicroseconds(): number {
    return Math.floor(this.wallMilliseconds() * 1_000);
  }

  localTime(): number {
    return this.bootedAt + this.now * this.rate;
  }

  /** Runs `run` in the process at this true time, or as soon as it can. @returns what cancels it */
  deliver(
    at: number,
    kind: Delivery['kind'],
    run: () => void,
  ): { cancel(): void } {
    const delivery: Delivery = { kind, run, cancelled: false };
    const event = this.scheduler.at(at, () => this.arrive(delivery));
    return {
      cancel: () => {
        delivery.cancelled = true;
        event.cancelled = true;
      },
    };
  }

  /** A timer of the program that uses the engine. */
  sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      this.deliver(this.now + milliseconds / this.rate, 'timer', resolve);
    });
  }

  /** A pause may begin here. */
  maybePause(): void {
    const { chance, longest } = this.pauses;
    if (chance > 0 && !this.isWatched && this.random.chance(chance)) {
      this.pause(this.random.magnitude(1, longest));
    }
  }

  pause(milliseconds: number): void {
    if (this.isDead) {
      return;
    }
    this.wasPaused = true;
    this.frozenUntil = this.now + milliseconds;
    this.onPause(milliseconds);
    if (!this.frozen) {
      this.frozen = true;
      this.scheduler.at(this.frozenUntil, () => this.thaw(true));
    }
  }

  /** From now on it is left to run. */
  endPauses(): void {
    this.pauses = { chance: 0, longest: 0 };
  }

  /** The process is gone, with all that it knew. */
  kill(): void {
    this.isDead = true;
    this.missed = [];
  }

  /** Looks into the process without being a part of it. */
  observe<T>(look: () => T): T {
    this.isWatched = true;
    try {
      return look();
    } finally {
      this.isWatched = false;
    }
  }

  private arrive(delivery: Delivery): void {
    if (this.isDead) {
      return;
    }
    if (this.frozen) {
      this.missed.push(delivery);
    } else {
      delivery.run();
    }
  }

  private thaw(isFirst: boolean): void {
    if (this.isDead) {
      return;
    }
    if (this.scheduler.now < this.frozenUntil) {
      this.scheduler.at(this.frozenUntil, () => this.thaw(isFirst));
      return;
    }
    if (isFirst) {
      this.missed = this.inOrderOfEventLoop(this.missed);
    }
    let next = this.missed.shift();
    while (next?.cancelled) {
      next = this.missed.shift();
    }
    if (next === undefined) {
      this.frozen = false;
      return;
    }
    next.run();
    this.scheduler.at(this.frozenUntil, () => this.thaw(false));
  }

  /** Where the event loop was interrupted decides whether it sees to timers or to sockets first. */
  private inOrderOfEventLoop(missed: Delivery[]): Delivery[] {
    const first = this.random.pick(['timer', 'arrival', undefined] as const);
    return first === undefined
      ? missed
      : [
          ...missed.filter(({ kind }) => kind === first),
          ...missed.filter(({ kind }) => kind !== first),
        ];
  }

  private engineTimer(due: number, callback: () => void): () => void {
    this.maybePause();
    let delivery: { cancel(): void } | undefined;
    let isPending = true;
    const end = (): void => {
      if (isPending) {
        isPending = false;
        this.pendingTimers -= 1;
        delivery?.cancel();
      }
    };
    const arm = (lateness: number): void => {
      const at = (due - this.bootedAt) / this.rate + lateness;
      delivery = this.deliver(at, 'timer', fire);
    };
    const fire = (): void => {
      if (this.localTime() < due) {
        arm(0.001); // the division was not exact
      } else {
        end();
        callback();
      }
    };
    this.pendingTimers += 1;
    if (due !== Infinity) {
      arm(this.random.between(0, TIMER_LATENESS));
    }
    return end;
  }
}
