/** The wait of a call for its turn in this process, which ends early if the outcome is already known. */
import type { LocalLease } from '../lease/local-lease.js';
import type { Clock } from '../clock.js';
import type { EngineContext } from '../engine-context.js';
import type { WaitPolicy } from './wait-policy.js';

/** The parts of a call that its wait needs. */
export interface QueuedCall {
  readonly policy: WaitPolicy;
  /** Ends the call with this error. */
  stop(reason: unknown): void;
  /** Reports that the call waits. */
  waiting(): void;
  notAcquired(holder: string | undefined): Error;
  /** The error of a call whose time is over. */
  outOfTime(): unknown;
}

/**
 * Resolves when the call gets its turn. A call that does not wait stays until it is known whether the lock
 * is held; a call for a fire stays while the caller before it may fail to get the lock.
 */
export async function waitInQueue(
  local: LocalLease,
  call: QueuedCall,
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
  // The known state is outdated, unless the call before has found a holder.
  judgeFromBehind(local, call, local.hasMetHolder);
  signal.throwIfAborted();
  const unlisten = listen(local, () => judgeFromBehind(local, call));
  // The caller before may wait without limit while the API server fails.
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

/** Waits, judging again after each change and at each time limit. */
async function waitForFire(
  local: LocalLease,
  call: QueuedCall,
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
 * Ends the wait of a call for a fire as soon as another call has claimed the fire or the fire is to be
 * skipped; that of any other call as soon as a holder is known, or the API server has failed.
 */
export function judgeFromBehind(
  local: LocalLease,
  call: QueuedCall,
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
