/** Queues requests by priority: it limits those in flight, sends renewals first, and pauses as the API server asks. */
import { AnswerTime } from './answer-time.js';
import { FlightLimit } from './flight-limit.js';
import { ExchangeError, MAX_TIMEOUT } from './http-request.js';
import type { RequestOptions, RequestPriority } from './lease-store.js';

/** The share of the limit of requests in flight by priority: the smaller ones keep room for more urgent requests. */
const SHARES: Record<RequestPriority, number> = {
  renew: 1,
  release: 7 / 8,
  acquire: 3 / 4,
  look: 3 / 4,
};

const PRIORITIES = ['renew', 'release', 'acquire', 'look'] as const;

/** The fraction of a renewal's time after which it is late. While one is late, requests to acquire and to read wait. */
const LATE = 1 / 4;

/** The fraction of a renewal's time within which it should be answered once it is sent. */
const SLOW = 1 / 8;

/** A renewal may take this many times the usual answer time, if its lease leaves that much. */
const UNUSUAL = 3;

/** The share of the requests in flight that renewals may need on average. The rest is for spikes, and for other requests. */
const SHARE_OF_RENEWALS = 1 / 2;

/** The longest pause that the API server may ask for, in milliseconds. */
const LONGEST_PAUSE = 60_000;

/** The API server has asked for a pause that is longer than the request may wait. */
export class PausedError extends Error {
  /** @param left milliseconds that are left of the pause */
  constructor(readonly left: number) {
    super(`paused for ${left} ms`);
  }
}

interface Waiter {
  /** Waiters are sorted by `dueAt`, and by `number` if it is equal. */
  readonly dueAt: number;
  readonly number: number;
  /** The latest end of a pause for which it waits. */
  readonly pausedUntil: number;
  readonly admit: () => void;
  readonly fail: (error: Error) => void;
}

/** The requests of one store to the API server. */
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
  private readonly limit = new FlightLimit();
  private readonly answerTime = new AnswerTime();
  /** The time until which no request is sent to acquire or to read, since the API server asked for a pause. */
  private pausedUntil = -Infinity;
  /** The time at which the last request was answered that is not a renewal. */
  private answeredAt = -Infinity;

  /** Renewals a second that fit into their share of the requests in flight, at the measured time of an answer. */
  get capacity(): number {
    const most = this.limit.value * SHARE_OF_RENEWALS;
    return (most * 1_000) / this.answerTime.value;
  }

  /**
   * A18: for `asked` milliseconds, sends no acquisition and no read, since the API server has asked for a
   * pause. Those that can't wait for its end fail. Renewals and releases go on: what is held must be kept or
   * given back in time, and each one that is refused has a pause of its own before its next attempt.
   */
  pause(asked: number): void {
    const delay = Math.min(asked, LONGEST_PAUSE);
    this.pausedUntil = Math.max(this.pausedUntil, performance.now() + delay);
    for (const priority of PRIORITIES) {
      const left = this.pauseOf(priority);
      for (const waiter of this.waiting[priority].slice()) {
        if (left > 0 && this.pausedUntil > waiter.pausedUntil) {
          waiter.fail(new PausedError(left));
        }
      }
    }
    setTimeout(() => this.admit(), Math.ceil(delay)).unref();
  }

  /** The rest of the pause for requests of this priority, in milliseconds. */
  pauseOf(priority: RequestPriority): number {
    return isUrgent(priority)
      ? 0
      : Math.max(0, this.pausedUntil - performance.now());
  }

  /**
   * Calls `send` once there is room, with the milliseconds that the request may then take.
   *
   * @throws ExchangeError if there is no room `within` its time, or if the queue stalls: no request except
   * renewals was answered for `timeout`; PausedError if a pause ends later than `timeout` after the call
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
    const pause = this.pauseOf(priority);
    if (pause > Math.max(timeout, 0)) {
      throw new PausedError(pause);
    }
    if (this.hasRoom(priority)) {
      this.underWay += 1;
    } else {
      await this.wait(priority, timeout, dueAt, signal);
    }
    if (priority === 'renew') {
      this.renewals.add(renewal);
    }
    const sentAt = performance.now();
    try {
      const left = dueAt - sentAt;
      const most = priority === 'renew' ? this.timeOfRenewal(left) : left;
      const answer = await send(Math.min(timeout, most));
      if (priority !== 'renew') {
        this.answeredAt = performance.now();
      }
      this.noteAnswer(priority, sentAt, within);
      return answer;
    } catch (error) {
      if (error instanceof ExchangeError && error.fault === 'timeout') {
        this.noteAnswer(priority, sentAt, within);
      }
      throw error;
    } finally {
      this.renewals.delete(renewal);
      this.underWay -= 1;
      this.admit();
    }
  }

  private noteAnswer(
    priority: RequestPriority,
    sentAt: number,
    within: number,
  ): void {
    const duration = performance.now() - sentAt;
    // Reads are answered sooner than writes.
    if (priority !== 'look') {
      this.answerTime.note(duration);
    }
    // The renewals of a lock that never expires have time.
    if (priority === 'renew' && within < Infinity) {
      this.limit.note(sentAt, duration > within * SLOW);
    }
  }

  /**
   * A17: half of what is left, so that an unanswered renewal leaves time for another; more if answers take longer:
   * the API server goes on with a request that is given up, and each further one makes it slower.
   */
  private timeOfRenewal(left: number): number {
    const usual = this.answerTime.value * UNUSUAL;
    return Math.min(left, Math.max(left / 2, usual));
  }

  /** Rejects all requests that wait. */
  close(): void {
    for (const waiters of Object.values(this.waiting)) {
      for (const waiter of waiters.slice()) {
        waiter.fail(new ExchangeError('aborted', 'queue'));
      }
    }
  }

  /** A19: some of the room is kept for renewals. */
  private hasRoom(priority: RequestPriority): boolean {
    const isHeldBack =
      this.pauseOf(priority) > 0 ||
      (!isUrgent(priority) && this.isRenewingLate);
    const limit = Math.floor(this.limit.value * SHARES[priority]);
    if (this.underWay >= limit) {
      this.limit.reached();
      return false;
    }
    return !isHeldBack;
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
        pausedUntil: since + timeout,
        admit: () => {
          end();
          this.underWay += 1;
          resolve();
        },
        fail: (error) => {
          end();
          reject(error);
        },
      };
      const abort = (): void =>
        waiter.fail(new ExchangeError('aborted', 'queue'));
      const endAt = (): number =>
        priority === 'renew'
          ? dueAt
          : Math.min(
              dueAt,
              Math.max(since, this.answeredAt, this.pausedUntil) + timeout,
            );
      const check = (): void => {
        const left = endAt() - performance.now();
        if (left <= 0) {
          waiter.fail(new ExchangeError('timeout', 'queue'));
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

  /** A19: renewals first. */
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

function isUrgent(priority: RequestPriority): boolean {
  return priority === 'renew' || priority === 'release';
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
