/** Queues requests by priority: it limits those in flight, and sends renewals first. */
import { ExchangeError, MAX_TIMEOUT } from './http-request.js';
import type { RequestOptions, RequestPriority } from './lease-store.js';

/**
 * Limit of requests in flight. It is enough for hundreds of locks (an API server answers within
 * milliseconds), and low enough not to overload the API server after an outage.
 */
export const MOST_REQUESTS = 32;

/** Limit of requests in flight by priority: the lower limits keep room for more urgent requests. */
const LIMITS: Record<RequestPriority, number> = {
  renew: MOST_REQUESTS,
  release: MOST_REQUESTS - 4,
  acquire: MOST_REQUESTS - 8,
  look: MOST_REQUESTS - 8,
};

const PRIORITIES = ['renew', 'release', 'acquire', 'look'] as const;

/** The fraction of a renewal's time after which it is late. While one is late, requests to acquire and to read wait. */
const LATE = 1 / 4;

interface Waiter {
  /** Waiters are sorted by `dueAt`, and by `number` if it is equal. */
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
  /** The time from which each renewal in flight is late. */
  private readonly renewals = new Set<{ readonly lateAt: number }>();
  private lastNumber = 0;
  /** The time at which the last request was answered that is not a renewal. */
  private answeredAt = -Infinity;

  /**
   * Calls `send` once there is room, with the milliseconds that the request may then take.
   *
   * @throws ExchangeError if there is no room `within` its time, or if the queue stalls: no request except
   * renewals was answered for `timeout`
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
      this.underWay += 1;
    } else {
      await this.wait(priority, timeout, dueAt, signal);
    }
    if (priority === 'renew') {
      this.renewals.add(renewal);
    }
    try {
      const left = dueAt - performance.now();
      // A renewal gets half of its time, so that an unanswered one leaves time for another.
      const answer = await send(
        Math.min(timeout, priority === 'renew' ? left / 2 : left),
      );
      if (priority !== 'renew') {
        this.answeredAt = performance.now();
      }
      return answer;
    } finally {
      this.renewals.delete(renewal);
      this.underWay -= 1;
      this.admit();
    }
  }

  /** Rejects all requests that wait. */
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

  /** Whether a renewal in flight is late, since this process or the API server is too busy. */
  private get isRenewingLate(): boolean {
    const now = performance.now();
    return Array.from(this.renewals).some(({ lateAt }) => now >= lateAt);
  }

  /** Resolves when the request counts as in flight. */
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
          this.underWay += 1;
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
          : Math.min(dueAt, Math.max(since, this.answeredAt) + timeout);
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

/** The index of a waiter among sorted waiters, or at which to insert it. */
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
