/**
 * Leaves the lock free now and then for clients that do not know the line (R11): peers, and processes without the
 * right to patch. They would never find it free while it passes from holder to holder.
 */
import type { Clock } from '../clock.js';

/** For how long the lock is left free, in milliseconds. */
export const COURTESY = 25;
/** How long the lock may pass on before it is left free, in milliseconds: if such a client was seen lately, and otherwise. */
const INTERVAL_WITH_PEERS = 500;
const INTERVAL = 2_500;
/** A turn counts as at least the time of its writes, and at most LONGEST_TURN, so that long turns are not each followed by a pause. */
const SHORTEST_TURN = 3;
const LONGEST_TURN = 250;
/** For how long a client that was seen counts, in milliseconds. */
const PEERS_STAY = 300_000;
const CONTENDERS_STAY = 5_000;

export class Courtesy {
  /** Monotonic time until which this process does not take the lock. */
  freeUntil = -Infinity;
  /** Monotonic times. */
  private acquiredAt = -Infinity;
  private releasedAt = -Infinity;
  private sawPeerAt = -Infinity;
  private metOthersAt = -Infinity;
  private inRowBefore = 0;

  constructor(private readonly clock: Clock) {}

  /** A client that does not know the line holds the lock. */
  sawPeer(): void {
    this.sawPeerAt = this.clock.now();
  }

  /** A caller of this process has waited for another process. */
  metOthers(): void {
    this.metOthersAt = this.clock.now();
  }

  /** The lock was acquired. `inRow`: milliseconds for which it had passed from holder to holder; undefined if it was free. */
  acquired(inRow: number | undefined): void {
    const now = this.clock.now();
    const wasLeftFree = now - this.releasedAt >= COURTESY;
    this.inRowBefore = inRow ?? (wasLeftFree ? 0 : this.inRow);
    this.acquiredAt = now;
  }

  /** Milliseconds for which the lock has not been left free. */
  get inRow(): number {
    const turn = this.clock.now() - this.acquiredAt;
    const counted = Math.min(Math.max(turn, SHORTEST_TURN), LONGEST_TURN);
    return this.inRowBefore + counted;
  }

  /** A10. @param knowsLine whether the other processes wait in line, and need no courtesy */
  isDue(knowsLine: boolean): boolean {
    const now = this.clock.now();
    if (!knowsLine && now - this.metOthersAt < CONTENDERS_STAY) {
      return true;
    }
    const hasPeers = now - this.sawPeerAt < PEERS_STAY;
    return this.inRow >= (hasPeers ? INTERVAL_WITH_PEERS : INTERVAL);
  }

  /** The lock was released; `isLeftFree`: out of courtesy. */
  released(isLeftFree: boolean): void {
    this.releasedAt = this.clock.now();
    if (isLeftFree) {
      this.freeUntil = this.releasedAt + COURTESY;
    }
  }
}
