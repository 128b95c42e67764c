/** The engine's source of time and random numbers: a seam, so that tests control both. */

export interface Clock {
  /** Milliseconds on a clock that only goes forward. All decisions about leases are made on it. */
  now(): number;
  /** Microseconds since the epoch on the wall clock: written into records, for people and peers. */
  wallMicroseconds(): number;
  /**
   * Calls `callback` once `now()` has reached `at`; returns a function that cancels the timer. `at` is a
   * point in time, so that a pause between reading the clock and this call delays nothing. A `background`
   * timer does not keep the process alive.
   */
  schedule(
    at: number,
    callback: () => void,
    options?: { background?: boolean },
  ): () => void;
  /** A random number, 0 <= n < 1. */
  random(): number;
}

/** The longest delay of setTimeout, which fires at once for a longer one. */
const LONGEST_TIMEOUT = 2_147_483_647;

export const systemClock: Clock = {
  now: () => performance.now(),
  wallMicroseconds: () =>
    Date.now() * 1_000 + Math.floor(Math.random() * 1_000),
  schedule(due, callback, { background = false } = {}) {
    let timer: NodeJS.Timeout;
    const arm = (): void => {
      const left = due - performance.now();
      timer = setTimeout(
        () => (performance.now() < due ? arm() : callback()),
        Math.min(Math.ceil(Math.max(left, 0)), LONGEST_TIMEOUT),
      );
      if (background) {
        timer.unref();
      }
    };
    arm();
    return () => clearTimeout(timer);
  },
  random: Math.random,
};
