/** Turns the outcome of an acquire call into a lock, a skip or an error, with its trace and event. */
import {
  LockBackendError,
  LockNotAcquiredError,
  type LockReference,
} from '../../lock.errors.js';
import type { LockNotAcquiredEventReason } from '../../lock.events.js';
import type { EngineContext } from '../engine-context.js';
import { surround } from '../hold/current-lock.js';
import type { LockHandle } from '../hold/lock-handle.js';
import { FireClaimedError } from '../record/fire-claim.js';
import { RequestAbortedError } from './request-scope.js';
import type { LockCall } from './wait-policy.js';

/** Why a call ended without the lock. */
export type CallEnd = LockNotAcquiredEventReason | 'fire-claimed';

/** Traces calls: the seam of `nestjs-k8s-lock/telemetry`. Implementations must not throw. */
export interface LockTracer {
  /**
   * Called when a call requests a lock.
   *
   * @param fire the planned time that the call claims, in milliseconds since 1970
   */
  begin(lock: LockReference, fire?: number): CallTrace;
}

/** Traces one call: either `acquired` or `ended` is called once. */
export interface CallTrace {
  /** Runs `acquire` in the context of the trace. */
  acquire<T>(acquire: () => T): T;
  /** @param held has the Lease: of a semaphore, that of the slot */
  acquired(held: LockHandle): void;
  ended(end: CallEnd): void;
  /** Runs the work under the lock in the context of the trace. */
  run<T>(work: () => T): T;
}

/**
 * Runs one acquire call with tracing, and emits the event of its outcome unless the lock was acquired.
 *
 * @returns undefined if the call is to be skipped
 * @throws the errors of `acquire`; LockNotAcquiredError if the client of the request has gone away
 */
export async function outcomeOfCall(
  { clock, emit }: Pick<EngineContext, 'clock' | 'emit'>,
  tracer: LockTracer | undefined,
  { lock, skips = [], signal, claim }: LockCall,
  acquire: () => Promise<LockHandle>,
): Promise<LockHandle | undefined> {
  const calledAt = clock.now();
  const trace = tracer?.begin(lock, claim?.at);
  try {
    const held = await (trace ? trace.acquire(acquire) : acquire());
    if (trace) {
      trace.acquired(held);
      surround(held, (work) => trace.run(work));
    }
    return held;
  } catch (error) {
    const end = endOf(error, signal);
    trace?.ended(end);
    const details = { ...lock, ...detailsOf(error) };
    const waited = clock.now() - calledAt;
    const reason = skips.find((each) => each === end);
    if (reason !== undefined) {
      const fire = claim && { fire: new Date(claim.at) };
      emit({ type: 'skipped', ...details, reason, ...fire, waited });
      return undefined;
    }
    if (end !== 'fire-claimed') {
      emit({ type: 'not-acquired', ...details, reason: end, waited });
    }
    throw error instanceof RequestAbortedError
      ? new LockNotAcquiredError(lock, 'cancelled')
      : error;
  }
}

function endOf(error: unknown, signal: AbortSignal | undefined): CallEnd {
  if (error instanceof FireClaimedError) {
    return 'fire-claimed';
  }
  if (error instanceof LockNotAcquiredError) {
    return error.reason;
  }
  return signal?.aborted ? 'cancelled' : 'failed';
}

/** The details of an error for its event. */
function detailsOf(error: unknown): {
  readonly holder?: string;
  readonly error?: LockBackendError;
} {
  if (error instanceof FireClaimedError) {
    return { holder: error.verdict.by };
  }
  if (error instanceof LockNotAcquiredError && error.holder !== undefined) {
    return { holder: error.holder };
  }
  return error instanceof LockBackendError ? { error } : {};
}
