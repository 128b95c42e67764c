/** The wait of a call for its turn within this process: what it may learn before that. */
import type { LocalLease } from '../lease/local-lease.js';
import type { Clock } from '../clock.js';
import type { EngineContext } from '../engine-context.js';
import type { WaitPolicy } from './wait-policy.js';

/** A call, as far as its place in the line goes. */
export interface LinedUpCall {
  readonly policy: WaitPolicy;
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
  local: LocalLease,
  call: LinedUpCall,
  { clock, requestTimeout }: EngineContext,
  signal: AbortSignal,
): Promise<void> {
  const { policy } = call;
  signal.throwIfAborted();
  policy.refuseClaimed();
  if (!local.queue.isOccupied) {
    return local.queue.enter(signal);
  }
  if (policy.waits && !policy.isForFire) {
    call.waiting();
    return local.queue.enter(signal);
  }
  if (policy.isForFire) {
    return waitForFire(local, call, clock, signal);
  }
  // Unless the call before it has met a holder, what is known is old news.
  judgeFromBehind(local, call, local.hasMetHolder);
  signal.throwIfAborted();
  const unlisten = listen(local, () => judgeFromBehind(local, call));
  // The caller before it may wait for ever, while the API server fails.
  const giveUpAt = (at: number): (() => void) =>
    clock.schedule(at, () => {
      const { verdict } = policy;
      const mayBeDead = !verdict.takeable && policy.goOnFor(verdict);
      if (mayBeDead && verdict.expiresAt !== undefined) {
        cancel = giveUpAt(verdict.expiresAt + requestTimeout);
      } else {
        call.stop(call.outOfTime());
      }
    });
  let cancel = giveUpAt(clock.now() + requestTimeout);
  try {
    await local.queue.enter(signal);
  } finally {
    cancel();
    unlisten();
  }
}

/** Judges anew whenever something changes, be it only that time has passed. */
async function waitForFire(
  local: LocalLease,
  call: LinedUpCall,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  const { policy } = call;
  let cancel: (() => void) | undefined;
  const judge = (): void => {
    cancel?.();
    judgeFromBehind(local, call);
    if (policy.timeLeft <= 0) {
      call.stop(call.outOfTime());
    } else if (!signal.aborted && policy.changesAt < Infinity) {
      cancel = clock.schedule(policy.changesAt, judge);
    }
  };
  judge();
  signal.throwIfAborted();
  call.waiting();
  const unlisten = listen(local, judge);
  try {
    await local.queue.enter(signal);
  } finally {
    cancel?.();
    unlisten();
  }
}

function listen(local: LocalLease, judge: () => void): () => void {
  return local.listen({
    recordSeen: judge,
    recordGone: judge,
    lockTaken: judge,
    turnFailed: judge,
  });
}

/**
 * Planned work ends its wait as soon as it is clear that somebody else does it, or that it is to be left
 * out; any other call as soon as somebody is known to hold the lock, or why that can't be known.
 */
export function judgeFromBehind(
  local: LocalLease,
  call: LinedUpCall,
  isNews = true,
): void {
  const { policy } = call;
  try {
    policy.refuseClaimed();
    const { verdict } = policy;
    if (local.holder !== undefined && !policy.waits) {
      throw call.notAcquired(local.holder);
    }
    if (local.failure !== undefined && !policy.isForFire) {
      throw call.outOfTime();
    }
    if (!verdict.takeable && isNews && !policy.goOnFor(verdict)) {
      throw call.notAcquired(verdict.holder);
    }
  } catch (error) {
    call.stop(error);
  }
}
