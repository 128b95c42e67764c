/** The clock of locks in a test: it goes with real time, can be stopped, and moves ahead at once. */
import { MessageChannel } from 'node:worker_threads';
import type { Clock } from '../lock/clock.js';

interface Timer {
  readonly at: number;
  readonly callback: () => void;
  readonly background: boolean;
  timeout?: NodeJS.Timeout;
}

/** The longest delay of setTimeout. */
const LONGEST_TIMEOUT = 2_147_483_647;

/**
 * Time is that of `performance.now()` and `Date.now()` as they are when they are called, and of `setTimeout`:
 * with the fake timers of a test runner, locks are in fake time.
 */
export class TestingClock implements Clock {
  private readonly timers = new Set<Timer>();
  /** What is added to `performance.now()`. */
  private offset = 0;
  /** Milliseconds by which time was moved ahead. */
  private moved = 0;
  private stopped: { readonly wall: number } | undefined;
  private latest = 0;
  private source = readSource();

  now(): number {
    if (this.stopped === undefined) {
      this.followSource();
      this.latest = performance.now() + this.offset;
    }
    return this.latest;
  }

  wallMicroseconds(): number {
    const wall = this.stopped?.wall ?? Date.now();
    return Math.round((wall + this.moved) * 1_000);
  }

  schedule(
    at: number,
    callback: () => void,
    { background = false }: { background?: boolean } = {},
  ): () => void {
    const timer: Timer = { at, callback, background };
    this.timers.add(timer);
    this.arm(timer);
    return () => this.drop(timer);
  }

  random(): number {
    return Math.random();
  }

  /** From now on time only moves by {@link advance}. */
  stop(): void {
    this.now();
    this.stopped ??= { wall: Date.now() };
    this.rearm();
  }

  /** Time goes on by itself again. */
  start(): void {
    if (this.stopped !== undefined) {
      this.moved += this.stopped.wall - Date.now();
      this.stopped = undefined;
      this.offset = this.latest - performance.now();
      this.source = readSource();
      this.rearm();
    }
  }

  /** Moves time ahead. Timers fire in the order in which they are due; between two of them everything settles. */
  async advance(milliseconds: number): Promise<void> {
    const target = this.now() + milliseconds;
    await settle();
    for (
      let timer = this.nextDue(target);
      timer !== undefined;
      timer = this.nextDue(target)
    ) {
      this.move(timer.at - this.now());
      this.drop(timer);
      timer.callback();
      // oxlint-disable-next-line no-await-in-loop -- one timer after the other
      await settle();
    }
    this.move(target - this.now());
    this.rearm();
    await settle();
  }

  private move(milliseconds: number): void {
    if (milliseconds > 0) {
      this.offset += milliseconds;
      this.moved += milliseconds;
      this.latest += milliseconds;
    }
  }

  /** Fake timers that are installed or removed have another time: it goes on from the latest one. */
  private followSource(): void {
    const source = readSource();
    if (source !== this.source) {
      this.source = source;
      this.offset = this.latest - performance.now();
      this.rearm();
    }
  }

  private rearm(): void {
    for (const timer of this.timers) {
      clearTimeout(timer.timeout);
      this.arm(timer);
    }
  }

  private arm(timer: Timer): void {
    const delay = Math.ceil(timer.at - this.now());
    if (delay <= 0) {
      void nextTurn().then(() => this.elapsed(timer));
    } else if (this.stopped === undefined) {
      timer.timeout = setTimeout(
        () => this.elapsed(timer),
        Math.min(delay, LONGEST_TIMEOUT),
      );
      if (timer.background) {
        timer.timeout.unref();
      }
    }
  }

  private elapsed(timer: Timer): void {
    if (this.timers.has(timer)) {
      if (this.now() < timer.at) {
        this.arm(timer);
      } else {
        this.drop(timer);
        timer.callback();
      }
    }
  }

  private drop(timer: Timer): void {
    clearTimeout(timer.timeout);
    this.timers.delete(timer);
  }

  private nextDue(target: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.timers) {
      if (timer.at <= target && (next === undefined || timer.at < next.at)) {
        next = timer;
      }
    }
    return next;
  }
}

/** The function `performance.now`, which fake timers replace. */
function readSource(): unknown {
  return Reflect.get(performance, 'now');
}

/**
 * Resolves when everything has happened that needs no time: promises, and what they start. Real immediates run
 * between two turns.
 */
async function settle(): Promise<void> {
  await nextTurn();
  await nextTurn();
}

/** The next turn of the event loop: by a message, since fake timers may replace setImmediate(). */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.once('message', () => {
      port1.close();
      resolve();
    });
    port2.postMessage(undefined);
  });
}
