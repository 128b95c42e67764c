/** One FIFO queue per lock name and process: only its head speaks to the API server. */
import { waitUntil } from '../abort-signals.js';

export class LocalQueue {
  /** What admits each. */
  private readonly waiters = new Set<() => void>();
  private occupied = false;

  /** Whether somebody of this process holds the lock or is about to. */
  get isOccupied(): boolean {
    return this.occupied;
  }

  get hasWaiters(): boolean {
    return this.waiters.size > 0;
  }

  /** Waits for its turn; rejects with the signal's reason when that aborts first. */
  enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.occupied) {
      this.occupied = true;
      return Promise.resolve();
    }
    return waitUntil((admit) => {
      this.waiters.add(admit);
      return () => this.waiters.delete(admit);
    }, signal);
  }

  /** Ends a turn: the next waiter's begins at once. */
  leave(): void {
    const [next] = this.waiters;
    if (next === undefined) {
      this.occupied = false;
      return;
    }
    next();
  }
}
