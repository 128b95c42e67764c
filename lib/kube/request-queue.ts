/** Decides which request is sent next: few are under way at once, and those that keep locks held go first. */
import { ExchangeError, MAX_TIMEOUT } from './http-request.js';
import type { RequestOptions, RequestPriority } from './lease-store.js';

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

/** The part of a renewal's time after which it is late: then no lock is taken, and nobody looks. */
const LATE = 1 / 4;

interface Waiter {
  /** The one with the earliest comes first; of several, the first that came. */
  readonly dueAt: number;
  readonly number: number;
  readonly admit: () => void;
  readonly fail: (fault: 'aborted' | 'timeout') => void;
}

export class RequestQueue {
  private readonly waiting: Record<RequestPriority, Waiter[]> = {
    renew: [],
    release: [],
    acquire: [],
    look: [],
  };
  private underWay = 0;
  /** Of each renewal under way, when it is late. */
  private readonly renewals = new Set<{ readonly lateAt: number }>();
  private lastNumber = 0;
  /** When the last request was sent that is no renewal. */
  private lastOtherAt = -Infinity;

  /**
   * Calls `send` once it is the request's turn, which is at once where there is room, with the
   * milliseconds that it may take from then on.
   *
   * @throws ExchangeError when its turn does not come `within` its time, or no turn comes at all: neither
   * its own nor that of any other but renewals, for as long as a request may take
   */
  async run<T>(
    priority: RequestPriority,
    {
      timeout,
      within = Infinity,
      signal,
    }: RequestOptions & { timeout: number },
    send: (timeout: number) => Promise<T>,
  ): Promise<T> {
    const now = performance.now();
    const dueAt = now + within;
    const renewal = { lateAt: now + within * LATE };
    if (this.hasRoom(priority)) {
      this.admitted(priority);
    } else {
      await this.wait(priority, timeout, dueAt, signal);
    }
    if (priority === 'renew') {
      this.renewals.add(renewal);
    }
    try {
      const left = dueAt - performance.now();
      // A renewal that is not answered leaves time for another one.
      return await send(
        Math.min(timeout, priority === 'renew' ? left / 2 : left),
      );
    } finally {
      this.renewals.delete(renewal);
      this.underWay -= 1;
      this.admit();
    }
  }

  /** Gives up all that wait. */
  close(): void {
    for (const waiters of Object.values(this.waiting)) {
      for (const waiter of waiters.slice()) {
        waiter.fail('aborted');
      }
    }
  }

  private hasRoom(priority: RequestPriority): boolean {
    const isHeldBack = priority === 'acquire' || priority === 'look';
    return (
      this.underWay < LIMITS[priority] && !(isHeldBack && this.isRenewingLate)
    );
  }

  /** Whether this process, or the API server, is too busy to renew in time what is held. */
  private get isRenewingLate(): boolean {
    const now = performance.now();
    return Array.from(this.renewals).some(({ lateAt }) => now >= lateAt);
  }

  private admitted(priority: RequestPriority): void {
    this.underWay += 1;
    if (priority !== 'renew') {
      this.lastOtherAt = performance.now();
    }
  }

  /** Resolves when it counts as under way. */
  private wait(
    priority: RequestPriority,
    timeout: number,
    dueAt: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiters = this.waiting[priority];
      const since = performance.now();
      let timer: NodeJS.Timeout;
      const end = (): void => {
        waiters.splice(placeOf(waiter, waiters), 1);
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
      };
      const waiter: Waiter = {
        dueAt,
        number: ++this.lastNumber,
        admit: () => {
          end();
          this.admitted(priority);
          resolve();
        },
        fail: (fault) => {
          end();
          reject(new ExchangeError(fault, 'connection'));
        },
      };
      const abort = (): void => waiter.fail('aborted');
      const endAt = (): number =>
        priority === 'renew'
          ? dueAt
          : Math.min(dueAt, Math.max(since, this.lastOtherAt) + timeout);
      const check = (): void => {
        const left = endAt() - performance.now();
        if (left <= 0) {
          waiter.fail('timeout');
        } else {
          timer = setTimeout(check, Math.min(Math.ceil(left), MAX_TIMEOUT));
        }
      };
      waiters.splice(placeOf(waiter, waiters), 0, waiter);
      signal?.addEventListener('abort', abort, { once: true });
      if (signal?.aborted) {
        abort();
      } else {
        check();
      }
    });
  }

  private admit(): void {
    for (const priority of PRIORITIES) {
      const waiters = this.waiting[priority];
      while (waiters.length > 0) {
        if (!this.hasRoom(priority)) {
          return;
        }
        waiters[0]!.admit();
      }
    }
  }
}

/** Where a waiter stands among those that are sorted, or is to stand. */
function placeOf(waiter: Waiter, sorted: readonly Waiter[]): number {
  let from = 0;
  let to = sorted.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    const other = sorted[middle]!;
    const isBefore =
      other.dueAt < waiter.dueAt ||
      (other.dueAt === waiter.dueAt && other.number < waiter.number);
    if (isBefore) {
      from = middle + 1;
    } else {
      to = middle;
    }
  }
  return from;
}
