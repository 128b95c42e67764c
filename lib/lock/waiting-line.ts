/** The wait of a call for its turn within this process: what it may learn before that. */
import type { LeaseCell } from './lease-cell.js';
import type { Patience } from './patience.js';

/** A call, as far as its place in the line goes. */
export interface LinedUpCall {
  readonly patience: Patience;
  /** Ends the call with this error. */
  stop(reason: unknown): void;
  /** Tells that the call waits. */
  waiting(): void;
  notAcquired(holder: string | undefined): Error;
}

/**
 * Resolves when it is the call's turn. Who does not wait goes at once, but for planned work: that stays
 * as long as whoever is before it may come away without the lock.
 */
export async function waitInLine(
  cell: LeaseCell,
  call: LinedUpCall,
  signal: AbortSignal,
): Promise<void> {
  const { patience } = call;
  signal.throwIfAborted();
  patience.refuseClaimed();
  if (!cell.queue.isOccupied) {
    return cell.queue.enter(signal);
  }
  if (!patience.isForPlannedWork) {
    if (!patience.waits) {
      throw call.notAcquired(cell.holder);
    }
    call.waiting();
    return cell.queue.enter(signal);
  }
  const judge = (): void => judgeFromBehind(cell, call);
  judge();
  signal.throwIfAborted();
  call.waiting();
  const unlisten = cell.listen({
    recordSeen: judge,
    recordGone: judge,
    lockTaken: judge,
  });
  // Whoever is before it may wait for ever, while the API server fails.
  const cancel = patience.whenOver(() =>
    call.stop(call.notAcquired(undefined)),
  );
  try {
    await cell.queue.enter(signal);
  } finally {
    cancel();
    unlisten();
  }
}

/** Planned work ends its wait as soon as it is clear that somebody else does it, or that it is to be left out. */
export function judgeFromBehind(cell: LeaseCell, call: LinedUpCall): void {
  const { patience } = call;
  try {
    patience.refuseClaimed();
    const { verdict } = patience;
    const holder = verdict.takeable ? undefined : verdict.holder;
    const isLeftOut =
      (cell.holder !== undefined && !patience.waits) ||
      (!verdict.takeable && !patience.goOnFor(verdict));
    if (isLeftOut) {
      throw call.notAcquired(cell.holder ?? holder);
    }
  } catch (error) {
    call.stop(error);
  }
}
