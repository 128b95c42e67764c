/** One call for a lock, followed to its answer: traced if somebody traces, and an event when it ends without the lock. */
import {
  LockBackendError,
  LockError,
  LockNotAcquiredError,
  type LockReference,
} from '../../lock.errors.js';
import type { LockNotAcquiredEvent } from '../../lock.events.js';
import type { AcquireMode } from './wait-policy.js';
import { currentRequestScope } from './request-scope.js';
import { FireClaimedError } from '../record/fire-claim.js';
import { surround } from '../hold/current-lock.js';
import type { LockHandle } from '../hold/lock-handle.js';
import type { EngineContext } from '../engine-context.js';

/** Why a call ended without the lock. */
export type CallEnd = LockNotAcquiredEvent['reason'] | 'fire-claimed';

/** Follows calls: the seam of `nestjs-k8s-lock/telemetry`. Nothing of it may throw by itself. */
export interface LockTracer {
  /** A call asks for the lock. */
  begin(lock: LockReference): CallTrace;
}

/** Follows one call: either `acquired` is called once, or `ended`. */
export interface CallTrace {
  /** Asks for the lock, by calling `acquire`. */
  acquire<T>(acquire: () => T): T;
  acquired(fencingToken: bigint): void;
  ended(end: CallEnd): void;
  /** Runs work under the lock, by calling `work`. */
  run<T>(work: () => T): T;
}

/**
 * Calls `acquire` and passes on what comes of it. What may be a skip, and no error, is left to be told
 * by those who know.
 */
export async function followCall(
  { clock, emit }: Pick<EngineContext, 'clock' | 'emit'>,
  tracer: LockTracer | undefined,
  lock: LockReference,
  { mode, signal }: { mode: AcquireMode; signal?: AbortSignal },
  acquire: () => Promise<LockHandle>,
): Promise<LockHandle> {
  const calledAt = clock.now();
  const trace = tracer?.begin(lock);
  try {
    const held = await (trace ? trace.acquire(acquire) : acquire());
    if (trace) {
      trace.acquired(held.fencingToken);
      surround(held, (work) => trace.run(work));
    }
    return held;
  } catch (error) {
    const reason = findReason(error, signal);
    trace?.ended(reason);
    if (error instanceof LockError) {
      currentRequestScope()?.refused(error);
    }
    if (reason !== 'fire-claimed' && !mayBeSkip(reason, mode)) {
      const waited = clock.now() - calledAt;
      emit({
        type: 'not-acquired',
        ...lock,
        reason,
        ...detailsOf(error),
        waited,
      });
    }
    throw error;
  }
}

/** What the event tells of the error. */
export function detailsOf(
  error: unknown,
): Pick<LockNotAcquiredEvent, 'holder' | 'error'> {
  if (error instanceof LockNotAcquiredError && error.holder !== undefined) {
    return { holder: error.holder };
  }
  return error instanceof LockBackendError ? { error } : {};
}

/** Whether what ended the call may be a skip, and no error: that is told by those who know. */
export function mayBeSkip(reason: CallEnd, mode: AcquireMode): boolean {
  return reason === 'held' || (reason === 'shutdown' && mode === 'skip');
}

function findReason(error: unknown, signal: AbortSignal | undefined): CallEnd {
  if (error instanceof FireClaimedError) {
    return 'fire-claimed';
  }
  if (error instanceof LockNotAcquiredError) {
    return error.reason;
  }
  return signal?.aborted ? 'cancelled' : 'failed';
}
