/**
 * Yields the lock to other pods after own acquisitions. Other pods learn of a release later than the
 * releasing process, which could acquire the lock again and again before they try.
 */
import type { Clock } from '../clock.js';

/** Back-off before re-acquiring while other pods contend, in milliseconds; it doubles each time none of them took the lock. */
const SHORTEST_TURN = 20;
const LONGEST_TURN = 160;
/** Milliseconds after the last sign of contention for which other pods count as contending. */
const CONTENTION_LASTS = 5_000;
/** After 500 ms of uninterrupted local acquisitions, pause 50 ms for other pods. */
const LONGEST_STREAK = 500;
const TURN_AFTER_STREAK = 50;

export class Fairness {
  private mustYield = false;
  private unusedTurns = 0;
  /** Monotonic times. */
  private contendedUntil = 0;
  private releasedAt = -Infinity;
  private streakSince = 0;

  constructor(private readonly clock: Clock) {}

  /** A caller of this process has waited for another holder, so other pods had their turn. */
  othersHadTurn(): void {
    this.releasedAt = -Infinity;
    this.contendedUntil = this.clock.now() + CONTENTION_LASTS;
    this.unusedTurns = 0;
  }

  /** Whether other pods contend for the lock. */
  get isContended(): boolean {
    return this.clock.now() < this.contendedUntil;
  }

  /** The lock was released by this process. `mustYield`: after the maximum of local handovers. */
  released(mustYield: boolean): void {
    this.mustYield = mustYield;
    this.releasedAt = this.clock.now();
  }

  /** The pause before the next local attempt, in milliseconds. */
  takeDelay(): number {
    const now = this.clock.now();
    const wasGiven = now - this.releasedAt >= SHORTEST_TURN;
    const isOwed =
      this.mustYield ||
      (!wasGiven &&
        (this.isContended || now - this.streakSince >= LONGEST_STREAK));
    this.mustYield = false;
    if (isOwed || wasGiven) {
      this.streakSince = now;
    }
    if (!isOwed) {
      return 0;
    }
    if (!this.isContended) {
      return TURN_AFTER_STREAK;
    }
    const turn = SHORTEST_TURN * 2 ** this.unusedTurns;
    this.unusedTurns += 1;
    return Math.min(turn, LONGEST_TURN);
  }
}
