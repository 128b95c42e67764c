/** How long the API server takes to answer, as one number that rises at once and falls slowly. */

/** The number of answers of which the mean is taken: about those that are in flight at once. */
const ANSWERS = 32;

/** Milliseconds in which the distance to a lower mean falls to a third. */
const FALL = 5_000;

export class AnswerTime {
  private count = 0;
  private mean = 0;
  private highest = 0;
  private notedAt = 0;

  /**
   * The highest mean of late, in milliseconds; 0 before the first answer. The mean itself falls as soon as
   * fewer requests are sent, and would then invite as many as made it rise.
   */
  get value(): number {
    return this.highest;
  }

  note(duration: number): void {
    const now = performance.now();
    this.count = Math.min(this.count + 1, ANSWERS);
    this.mean += (duration - this.mean) / this.count;
    const above = Math.max(0, this.highest - this.mean);
    this.highest = this.mean + above * Math.exp((this.notedAt - now) / FALL);
    this.notedAt = now;
  }
}
