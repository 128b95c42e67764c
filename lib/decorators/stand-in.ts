/** Runs a call with what a test provides in the place of LockService: a stub, or an automatic mock. */
import type { LockRequest } from '../lock.client.js';
import { LockNotAcquiredError } from '../lock.errors.js';
import { refuseCall } from './configuration-log.js';

/** A call whose LockService is none of ours. */
export interface StandInCall {
  readonly standIn: { readonly withLock?: unknown };
  readonly requests: readonly LockRequest[];
  /** What a skipped call comes to. */
  readonly skipped: () => unknown;
  /** What was called, for messages. */
  readonly describe: () => string;
}

/**
 * Runs `work` by the `withLock()` of the stand-in, once for each lock. That the stand-in does not call
 * what it is given is an error: a test would pass with a method that did not run.
 *
 * @param work gets what the stand-in gives as the lock, if it gives anything
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
      `${describe()} did not run: what is provided as its LockService has no withLock(). ${ADVICE}`,
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
      `${describe()} did not run: the withLock() of what is provided as its LockService did not call the function that it was given. ${ADVICE}`,
    );
  }
  return result;
}

const ADVICE =
  'In a test, provide { withLock: (name, work) => work() }, or K8sLockModule.forRoot({ kubeConfig }) with the kubeConfig of LeaseApiServer';

/** As the overloads of LockService.withLock(): a stub with two parameters, or with three, takes just these. */
function takesOptions({ length }: Function, options: object): boolean {
  return length < 2 ? Object.keys(options).length > 0 : length > 2;
}
