/** Runs a call if a test replaces LockService by a stub or an automatic mock. */
import type { RequestedLock } from '../lock.client.js';
import { LockNotAcquiredError } from '../lock.errors.js';
import { refuseCall } from './configuration-log.js';

/** A call whose LockService was replaced. */
export interface StandInCall {
  readonly standIn: { readonly withLock?: unknown; readonly acquire?: unknown };
  readonly requests: readonly RequestedLock[];
  /** Returns the result of a skipped call. */
  readonly skipped: () => unknown;
  /** The name of the called method, for messages. */
  readonly describe: () => string;
}

/**
 * Runs `work` with the `withLock()` of the stand-in, once for each lock; with its `acquire()`, if it has no
 * `withLock()`. A stand-in that does not call its function, or that acquires nothing, is an error: otherwise a
 * test would pass although the method did not run, or ran without a lock.
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
  { name, onLocked, options }: RequestedLock,
  inner: (lock?: unknown) => unknown,
): Promise<unknown> {
  const withLock = standIn.withLock ?? byAcquire(standIn);
  if (typeof withLock !== 'function') {
    refuseCall(
      `${describe()} did not run: the object provided as LockService has neither withLock() nor acquire(). ${ADVICE}`,
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
      `${describe()} did not run: the ${standIn.withLock ? 'withLock() of the object provided as LockService did not call its function' : 'acquire() of the object provided as LockService returned no lock'}. ${ADVICE}`,
    );
  }
  return result;
}

const ADVICE =
  'In a test, provide { withLock: (name, work) => work() }, or import K8sLockTestingModule of nestjs-k8s-lock/testing';

/** The `withLock()` of a stand-in that has only an `acquire()`; it calls nothing if that returns no lock. */
function byAcquire(standIn: StandInCall['standIn']): unknown {
  const { acquire } = standIn;
  return typeof acquire !== 'function'
    ? undefined
    : async (
        name: string,
        options: object,
        work: (lock: unknown) => unknown,
      ): Promise<unknown> => {
        const lock: unknown = await Reflect.apply(acquire, standIn, [
          name,
          options,
        ]);
        const release: unknown = Reflect.get(Object(lock), 'release');
        if (typeof release !== 'function') {
          return undefined;
        }
        try {
          return await work(lock);
        } finally {
          await Reflect.apply(release, lock, []);
        }
      };
}

/** Decides by the number of parameters of the stub which overload of LockService.withLock() it has. */
function takesOptions({ length }: Function, options: object): boolean {
  return length < 2 ? Object.keys(options).length > 0 : length > 2;
}
