/** The wait of a call for its turn within this process: what it may learn before that. */
import type { LocalLease } from '../lease/local-lease.js';
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
  // Unless the call before it has met a holder, what is known is old news.
  let isNews = policy.isForFire || local.hasMetHolder;
  const judge = (): void => judgeFromBehind(local, call, isNews);
  judge();
  signal.throwIfAborted();
  isNews = true;
  if (policy.isForFire) {
    call.waiting();
  }
  const unlisten = local.listen({
    recordSeen: judge,
    recordGone: judge,
    lockTaken: judge,
    turnFailed: judge,
  });
  // The caller before it may wait for ever, while the API server fails.
  const giveUp = (): void => call.stop(call.outOfTime());
  const giveUpAt = (at: number): (() => void) =>
    clock.schedule(at, () => {
      const { verdict } = policy;
      const mayBeDead = !verdict.takeable && policy.goOnFor(verdict);
      if (mayBeDead && verdict.expiresAt !== undefined) {
        cancel = giveUpAt(verdict.expiresAt + requestTimeout);
      } else {
        giveUp();
      }
    });
  let cancel = policy.isForFire
    ? policy.whenOver(giveUp)
    : giveUpAt(clock.now() + requestTimeout);
  try {
    await local.queue.enter(signal);
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
