/** The wait of a call for its turn within this process: what it may learn before that. */
import type { LeaseCell } from '../lease/local-lease.js';
import type { LockContext } from '../engine-context.js';
import type { Patience } from './wait-policy.js';

/** A call, as far as its place in the line goes. */
export interface LinedUpCall {
  readonly patience: Patience;
  /** Ends the call with this error. */
  stop(reason: unknown): void;
  /** Tells that the call waits. */
  waiting(): void;
  notAcquired(holder: string | undefined): Error;
  /** Why it does not have the lock at the end of its time. */
  outOfTime(): unknown;
}

/**
 * Resolves when it is the call's turn. A call that does not wait stays until it is known whether anybody
 * holds the lock; one for planned work as long as the caller before it may come away without the lock.
 */
export async function waitInLine(
  cell: LeaseCell,
  call: LinedUpCall,
  { clock, requestTimeout }: LockContext,
  signal: AbortSignal,
): Promise<void> {
  const { patience } = call;
  signal.throwIfAborted();
  patience.refuseClaimed();
  if (!cell.queue.isOccupied) {
    return cell.queue.enter(signal);
  }
  if (patience.waits && !patience.isForPlannedWork) {
    call.waiting();
    return cell.queue.enter(signal);
  }
  // Unless the call before it has met a holder, what is known is old news.
  let isNews = patience.isForPlannedWork || cell.hasMetHolder;
  const judge = (): void => judgeFromBehind(cell, call, isNews);
  judge();
  signal.throwIfAborted();
  isNews = true;
  if (patience.isForPlannedWork) {
    call.waiting();
  }
  const unlisten = cell.listen({
    recordSeen: judge,
    recordGone: judge,
    lockTaken: judge,
    turnFailed: judge,
  });
  // The caller before it may wait for ever, while the API server fails.
  const giveUp = (): void => call.stop(call.outOfTime());
  const giveUpAt = (at: number): (() => void) =>
    clock.schedule(at, () => {
      const { verdict } = patience;
      const mayBeDead = !verdict.takeable && patience.goOnFor(verdict);
      if (mayBeDead && verdict.expiresAt !== undefined) {
        cancel = giveUpAt(verdict.expiresAt + requestTimeout);
      } else {
        giveUp();
      }
    });
  let cancel = patience.isForPlannedWork
    ? patience.whenOver(giveUp)
    : giveUpAt(clock.now() + requestTimeout);
  try {
    await cell.queue.enter(signal);
  } finally {
    cancel();
    unlisten();
  }
}

/**
 * Planned work ends its wait as soon as it is clear that somebody else does it, or that it is to be left
 * out; any other call as soon as somebody is known to hold the lock, or why that can't be known.
 */
export function judgeFromBehind(
  cell: LeaseCell,
  call: LinedUpCall,
  isNews = true,
): void {
  const { patience } = call;
  try {
    patience.refuseClaimed();
    const { verdict } = patience;
    if (cell.holder !== undefined && !patience.waits) {
      throw call.notAcquired(cell.holder);
    }
    if (cell.failure !== undefined && !patience.isForPlannedWork) {
      throw call.outOfTime();
    }
    if (!verdict.takeable && isNews && !patience.goOnFor(verdict)) {
      throw call.notAcquired(verdict.holder);
    }
  } catch (error) {
    call.stop(error);
  }
}
