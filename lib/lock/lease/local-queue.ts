/** The FIFO queue of callers for one lock in this process; only its head sends requests. */
import { waitUntil } from '../abort-signals.js';

export class LocalQueue {
  /** The callbacks that admit waiters. */
  private readonly waiters = new Set<() => void>();
  private occupied = false;

  /** Whether a caller of this process holds the lock or is acquiring it. */
  get isOccupied(): boolean {
    return this.occupied;
  }

  get hasWaiters(): boolean {
    return this.waiters.size > 0;
  }

  /** Waits for the turn; rejects with the signal's reason if it aborts first. */
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

  /** Ends the present turn and starts that of the next waiter. */
  leave(): void {
    const [next] = this.waiters;
    if (next === undefined) {
      this.occupied = false;
      return;
    }
    next();
  }
}
