/** Decides which request is sent next: few are under way at once, and those that keep locks held go first. */
import { ExchangeError, MAX_TIMEOUT } from './http-request.js';
import type { RequestPriority } from './lease-store.js';

/**
 * Requests that may be under way at once. Enough for hundreds of locks (an API server answers within
 * milliseconds), few enough not to flood it after an outage.
 */
export const MOST_REQUESTS = 32;

/** As of how many requests under way those of a priority wait: room is kept for the more urgent ones. */
const LIMITS: Record<RequestPriority, number> = {
  renew: MOST_REQUESTS,
  release: MOST_REQUESTS - 4,
  acquire: MOST_REQUESTS - 8,
  look: MOST_REQUESTS - 8,
};

const PRIORITIES = ['renew', 'release', 'acquire', 'look'] as const;

interface Waiter {
  readonly admit: () => void;
  readonly fail: (fault: 'aborted' | 'timeout') => void;
}

export class RequestQueue {
  private readonly waiting: Record<RequestPriority, Set<Waiter>> = {
    renew: new Set(),
    release: new Set(),
    acquire: new Set(),
    look: new Set(),
  };
  private underWay = 0;

  /**
   * Calls `send` once it is the request's turn, which is at once where there is room, with the
   * milliseconds that are left of `timeout` then.
   *
   * @throws ExchangeError when its turn does not come in time
   */
  async run<T>(
    priority: RequestPriority,
    { timeout, signal }: { timeout: number; signal?: AbortSignal },
    send: (timeout: number) => Promise<T>,
  ): Promise<T> {
    let left = timeout;
    if (this.hasRoom(priority)) {
      this.underWay += 1;
    } else {
      const since = performance.now();
      await this.wait(priority, timeout, signal);
      left -= performance.now() - since;
    }
    try {
      return await send(left);
    } finally {
      this.underWay -= 1;
      this.admit();
    }
  }

  /** Gives up all that wait. */
  close(): void {
    for (const waiters of Object.values(this.waiting)) {
      for (const waiter of waiters) {
        waiter.fail('aborted');
      }
    }
  }

  private hasRoom(priority: RequestPriority): boolean {
    return this.underWay < LIMITS[priority];
  }

  /** Resolves when it counts as under way. */
  private wait(
    priority: RequestPriority,
    timeout: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiters = this.waiting[priority];
      const abort = (): void => waiter.fail('aborted');
      const end = (): void => {
        waiters.delete(waiter);
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
      };
      const waiter: Waiter = {
        admit: () => {
          end();
          this.underWay += 1;
          resolve();
        },
        fail: (fault) => {
          end();
          reject(new ExchangeError(fault, 'connection'));
        },
      };
      const timer = setTimeout(
        () => waiter.fail('timeout'),
        Math.min(timeout, MAX_TIMEOUT),
      );
      waiters.add(waiter);
      signal?.addEventListener('abort', abort, { once: true });
      if (signal?.aborted) {
        abort();
      }
    });
  }

  private admit(): void {
    for (const priority of PRIORITIES) {
      for (const waiter of this.waiting[priority]) {
        if (!this.hasRoom(priority)) {
          return;
        }
        waiter.admit();
      }
    }
  }
}
