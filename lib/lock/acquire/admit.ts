/** The wait of a call, before its acquiring write, until this process can renew one more lock. */
import type { ResolvedLockOptions } from '../../k8s-lock.options.js';
import {
  LockNotAcquiredError,
  type LockReference,
  type LockSaturation,
} from '../../lock.errors.js';
import { waitUntil } from '../abort-signals.js';
import type { Permit } from '../admission.js';
import type { EngineContext } from '../engine-context.js';
import type { LocalLease } from '../lease/local-lease.js';
import type { WaitPolicy } from './wait-policy.js';

interface CallForPermit {
  readonly lock: LockReference;
  readonly options: ResolvedLockOptions;
  readonly renewals: number;
  readonly policy: WaitPolicy;
}

/**
 * @returns undefined if the record has changed meanwhile, and must be judged again
 * @throws LockNotAcquiredError `saturated` if the call does not wait, or for no longer; the signal's reason
 */
export async function admit(
  { admission }: EngineContext,
  local: LocalLease,
  call: CallForPermit,
  signal: AbortSignal,
): Promise<Permit | undefined> {
  const { lock, options, renewals, policy } = call;
  // After a handover the lock stays in this process, which has renewed it before.
  if (renewals === 0 || local.endHandover !== undefined) {
    return admission.enter(renewals);
  }
  let permit: Permit | undefined;
  let isRefused = false;
  await waitUntil((done) => {
    const withdraw = admission.apply({
      lock,
      renewals,
      waits: () => policy.waits || policy.timeLeft > 0,
      admitted: (given) => {
        permit = given;
        done();
      },
      refused: () => {
        isRefused = true;
        done();
      },
    });
    const unlisten = local.listen({ recordSeen: done, recordGone: done });
    return () => {
      withdraw();
      unlisten();
    };
  }, signal);
  if (isRefused) {
    policy.refuseClaimed();
    throw saturated(lock, options, admission.saturation);
  }
  return permit;
}

/** The error of a call that is held back. */
export function saturated(
  lock: LockReference,
  { retryInterval }: ResolvedLockOptions,
  saturation: LockSaturation | undefined,
): LockNotAcquiredError {
  return new LockNotAcquiredError(lock, 'saturated', {
    saturation,
    retryInterval,
  });
}
