/** Runs a call if a test replaces LockService by a stub or an automatic mock. */
import type { LockRequest } from '../lock.client.js';
import { LockNotAcquiredError } from '../lock.errors.js';
import { refuseCall } from './configuration-log.js';

/** A call whose LockService was replaced. */
export interface StandInCall {
  readonly standIn: { readonly withLock?: unknown };
  readonly requests: readonly LockRequest[];
  /** Returns the result of a skipped call. */
  readonly skipped: () => unknown;
  /** The name of the called method, for messages. */
  readonly describe: () => string;
}

/**
 * Runs `work` with the `withLock()` of the stand-in, once for each lock. A stand-in that does not call its
 * function is an error: otherwise a test would pass although the method did not run.
 *
 * @param work receives the lock that the stand-in passes, if any
 */
export async function runOnStandIn(
  call: StandInCall,
  work: (lock: unknown) => unknown,
): Promise<unknown> {
  return call.requests.reduceRight<(lock?: unknown) => unknown>(
    (inner, request) => () => runUnder(call, request, inner),
    work,
  )();
}

async function runUnder(
  { standIn, skipped, describe }: StandInCall,
  { name, onLocked, options }: LockRequest,
  inner: (lock?: unknown) => unknown,
): Promise<unknown> {
  const { withLock } = standIn;
  if (typeof withLock !== 'function') {
    refuseCall(
      `${describe()} did not run: the object provided as LockService has no withLock(). ${ADVICE}`,
    );
  }
  let hasRun = false;
  const run = (lock?: unknown): unknown => {
    hasRun = true;
    return inner(lock);
  };
  let result: unknown;
  try {
    result = await Reflect.apply(
      withLock,
      standIn,
      takesOptions(withLock, options) ? [name, options, run] : [name, run],
    );
  } catch (error) {
    if (
      !hasRun &&
      onLocked === 'skip' &&
      error instanceof LockNotAcquiredError
    ) {
      return skipped();
    }
    throw error;
  }
  if (!hasRun) {
    refuseCall(
      `${describe()} did not run: the withLock() of the object provided as LockService did not call its function. ${ADVICE}`,
    );
  }
  return result;
}

const ADVICE =
  'In a test, provide { withLock: (name, work) => work() }, or K8sLockModule.forRoot({ kubeConfig }) with the kubeConfig of LeaseApiServer';

/** Decides by the number of parameters of the stub which overload of LockService.withLock() it has. */
function takesOptions({ length }: Function, options: object): boolean {
  return length < 2 ? Object.keys(options).length > 0 : length > 2;
}
