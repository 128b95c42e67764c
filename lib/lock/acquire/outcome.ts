/** What a call for a lock comes to: the lock, a skip or an error; traced if somebody traces, and an event unless it is the lock. */
import {
  LockBackendError,
  LockError,
  LockNotAcquiredError,
  type LockReference,
} from '../../lock.errors.js';
import type {
  LockNotAcquiredEventReason,
  LockSkippedReason,
} from '../../lock.events.js';
import type { EngineContext } from '../engine-context.js';
import { surround } from '../hold/current-lock.js';
import type { LockHandle } from '../hold/lock-handle.js';
import { FireClaimedError, type FireClaim } from '../record/fire-claim.js';
import { currentRequestScope, RequestAbortedError } from './request-scope.js';

/** Why a call ended without the lock. */
export type CallEnd = LockNotAcquiredEventReason | 'fire-claimed';

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

/** A call, as far as its outcome depends on it. */
export interface CallForLock {
  readonly lock: LockReference;
  /** What keeps the call from its lock without being an error. */
  readonly skips: readonly LockSkippedReason[];
  readonly signal?: AbortSignal;
  readonly claim?: FireClaim;
}

/**
 * Calls `acquire`, and tells what comes of it.
 *
 * @returns undefined when the call is to be skipped
 * @throws what `acquire` throws; LockNotAcquiredError when the client of the request has gone away
 */
export async function outcomeOfCall(
  { clock, emit }: Pick<EngineContext, 'clock' | 'emit'>,
  tracer: LockTracer | undefined,
  { lock, skips, signal, claim }: CallForLock,
  acquire: () => Promise<LockHandle>,
): Promise<LockHandle | undefined> {
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
    const end = endOf(error, signal);
    trace?.ended(end);
    const told = { ...lock, ...detailsOf(error) };
    const waited = clock.now() - calledAt;
    const reason = skips.find((each) => each === end);
    if (reason !== undefined) {
      const fire = claim && { fire: new Date(claim.at) };
      emit({ type: 'skipped', ...told, reason, ...fire, waited });
      return undefined;
    }
    if (error instanceof LockError) {
      currentRequestScope()?.refused(error);
    }
    if (end !== 'fire-claimed') {
      emit({ type: 'not-acquired', ...told, reason: end, waited });
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

/** What the event tells of the error. */
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
