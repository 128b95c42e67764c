/** A Clock whose time and random numbers a test controls. */
import type { Clock } from '../../lib/lock/clock.js';

interface Timer {
  readonly due: number;
  readonly run: () => void;
  readonly background: boolean;
}

export interface Machine extends Clock {
  /** No timer of it fires any more. */
  switchOff(): void;
}

/** 2026-01-01, in microseconds. */
const WALL_START = 1_767_225_600_000_000;

/** Everything that needs no time to pass has happened: promises, and what they start. */
export const settled = (): Promise<void> =>
  new Promise((resolve) => setImmediate(resolve));

export class ControlledClock implements Clock {
  /** What `random()` returns next; then 0.5, which makes jitter vanish from polls. */
  readonly randoms: number[] = [];
  private readonly timers = new Set<Timer>();
  private readonly start = 500_000;
  private time = this.start;
  private wallOffset = 0;

  now(): number {
    return this.time;
  }

  wallMicroseconds(): number {
    return WALL_START + Math.round((this.elapsed + this.wallOffset) * 1_000);
  }

  schedule(
    at: number,
    callback: () => void,
    { background = false }: { background?: boolean } = {},
  ): () => void {
    const timer: Timer = {
      due: Math.max(at, this.time),
      run: callback,
      background,
    };
    this.timers.add(timer);
    return () => this.timers.delete(timer);
  }

  random(): number {
    return this.randoms.shift() ?? 0.5;
  }

  /** Milliseconds that have passed since the test began. */
  get elapsed(): number {
    return this.time - this.start;
  }

  /** How many timers have not fired and were not cancelled; `keepAlive`: of those that keep a process alive. */
  pending({ keepAlive = false } = {}): number {
    return [...this.timers].filter(
      ({ background }) => !(keepAlive && background),
    ).length;
  }

  /** Lets time pass. Timers fire in the order in which they are due; between two of them everything settles. */
  async advance(milliseconds: number): Promise<void> {
    const target = this.time + milliseconds;
    await settled();
    for (
      let timer = this.nextDue(target);
      timer !== undefined;
      timer = this.nextDue(target)
    ) {
      this.timers.delete(timer);
      this.time = Math.max(this.time, timer.due);
      timer.run();
      // oxlint-disable-next-line no-await-in-loop -- one timer after the other
      await settled();
    }
    this.time = target;
  }

  /** Lets time pass in a process that gets no chance to run: what was due in it fires late, at the next `advance`. */
  block(milliseconds: number): void {
    this.time += milliseconds;
  }

  /** Steps the wall clock, as an administrator or a bad time server does. */
  stepWall(milliseconds: number): void {
    this.wallOffset += milliseconds;
  }

  /** Another machine: its wall clock is off, its oscillator runs at another rate, and it can be switched off. */
  elsewhere({ wallOffset = 0, rate = 1 } = {}): Machine {
    const cancels = new Set<() => void>();
    let isOn = true;
    return {
      now: () => this.now() * rate,
      wallMicroseconds: () =>
        this.wallMicroseconds() + Math.round(wallOffset * 1_000),
      schedule: (at, callback, options) => {
        if (!isOn) {
          return () => undefined;
        }
        // Rounding must not make a timer fire too soon.
        const inTrueTime = rate === 1 ? at : at / rate + 1e-6;
        const stop = this.schedule(inTrueTime, fire, options);
        const cancel = (): void => {
          cancels.delete(cancel);
          stop();
        };
        function fire(): void {
          cancels.delete(cancel);
          callback();
        }
        cancels.add(cancel);
        return cancel;
      },
      random: () => this.random(),
      switchOff: () => {
        isOn = false;
        for (const cancel of cancels) {
          cancel();
        }
      },
    };
  }

  private nextDue(target: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.timers) {
      if (timer.due <= target && (next === undefined || timer.due < next.due)) {
        next = timer;
      }
    }
    return next;
  }
}
