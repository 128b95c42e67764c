/**
 * The limit of requests in flight. It falls when renewals are answered slowly for the time that their locks have
 * left, and rises when they are not: requests that wait in this process are sent by their urgency, those that wait
 * in the API server are not. Additive increase and multiplicative decrease, as in TCP.
 */

/**
 * Enough for hundreds of locks (an API server answers within milliseconds), and low enough not to overload the
 * API server after an outage.
 */
const FIRST_LIMIT = 32;

const LOWEST_LIMIT = 8;
export const HIGHEST_LIMIT = 64;

/** Milliseconds between two rises. */
const RISE_INTERVAL = 1_000;

export class FlightLimit {
  private limit = FIRST_LIMIT;
  private changedAt = -Infinity;
  /** Whether a request had to wait since the last change. Otherwise the limit says nothing of the answers. */
  private wasReached = false;

  get value(): number {
    return this.limit;
  }

  /** A request has to wait. */
  reached(): void {
    this.wasReached = true;
  }

  /** A renewal was answered, or not in time. */
  note(sentAt: number, isSlow: boolean): void {
    const now = performance.now();
    const { limit } = this;
    if (isSlow) {
      // A request that was sent before the last change says nothing of the limit since.
      if (sentAt >= this.changedAt) {
        this.change(Math.max(Math.floor(limit * 0.75), LOWEST_LIMIT), now);
      }
    } else if (now - this.changedAt >= RISE_INTERVAL) {
      this.change(Math.min(limit + (limit >> 3), HIGHEST_LIMIT), now);
    }
  }

  /** A17: changes the limit, if it was reached since the last change. */
  private change(limit: number, now: number): void {
    if (this.wasReached) {
      this.limit = limit;
      this.changedAt = now;
      this.wasReached = false;
    }
  }
}
