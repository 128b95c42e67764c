/** One FIFO queue per lock name and process: only its head speaks to the API server. */

interface Waiter {
  readonly admit: () => void;
}

export class LocalQueue {
  private readonly waiters = new Set<Waiter>();
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
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        this.waiters.delete(waiter);
        reject(signal.reason);
      };
      const waiter: Waiter = {
        admit: () => {
          signal.removeEventListener('abort', giveUp);
          resolve();
        },
      };
      this.waiters.add(waiter);
      signal.addEventListener('abort', giveUp, { once: true });
    });
  }

  /** Ends a turn: the next waiter's begins at once. */
  leave(): void {
    const [next] = this.waiters;
    if (next === undefined) {
      this.occupied = false;
      return;
    }
    this.waiters.delete(next);
    next.admit();
  }
}
