/**
 * How a process leaves a lock to others that it has just had itself. They learn of a release later
 * than the process that made it, which could take the lock again and again before they even try.
 */
import type { Clock } from '../clock.js';

/** Milliseconds that are left to others who have wanted the lock lately: twice as many each time that they did not come. */
const SHORTEST_TURN = 20;
const LONGEST_TURN = 160;
/** Milliseconds for which they are expected to want it still. */
const CONTENTION_LASTS = 5_000;
/** After so many milliseconds of nothing but own acquisitions others get a turn of so many, should there be any. */
const LONGEST_STREAK = 500;
const TURN_AFTER_STREAK = 50;

export class Fairness {
  private mustYield = false;
  private turnsInVain = 0;
  /** Monotonic times. */
  private contendedUntil = 0;
  private releasedAt = -Infinity;
  private streakSince = 0;

  constructor(private readonly clock: Clock) {}

  /** A caller of this process has waited for others, who thereby had their turn. */
  othersHadTurn(): void {
    this.releasedAt = -Infinity;
    this.contendedUntil = this.clock.now() + CONTENTION_LASTS;
    this.turnsInVain = 0;
  }

  /** Whether others have wanted the lock lately. */
  get isContended(): boolean {
    return this.clock.now() < this.contendedUntil;
  }

  /** The lock leaves this process. `mustYield`: which had it for long. */
  released(mustYield: boolean): void {
    this.mustYield = mustYield;
    this.releasedAt = this.clock.now();
  }

  /** Milliseconds for which the next try is to be left to others. */
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
    const turn = SHORTEST_TURN * 2 ** this.turnsInVain;
    this.turnsInVain += 1;
    return Math.min(turn, LONGEST_TURN);
  }
}
