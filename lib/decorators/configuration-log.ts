/** Refuses calls of decorated methods and interceptors because of a configuration fault, and logs such faults. */
import { Logger } from '@nestjs/common';
import { LockConfigurationError } from '../lock.errors.js';
import { RepeatedLines } from '../repeated-lines.js';

const logger = new Logger('K8sLockModule');
/** Log lines by the lock of the decorator or interceptor. */
const lines = new WeakMap<object, RepeatedLines>();
/** Logged errors: an error of a nested call passes through the calls around it, and is logged once. */
const logged = new WeakSet<LockConfigurationError>();
/** Errors made by {@link refusalOf}. */
const refusals = new WeakSet<LockConfigurationError>();

/** @param fault a sentence that says which method was called, that it did not run, and why */
export function refusalOf(fault: string): LockConfigurationError {
  const error = new LockConfigurationError([fault]);
  refusals.add(error);
  return error;
}

/** @throws LockConfigurationError, as {@link refusalOf} makes it */
export function refuseCall(fault: string): never {
  throw refusalOf(fault);
}

/**
 * Logs the fault, since the caller may not: a route answers 500 without details.
 *
 * @param hasBegun whether the work has begun, so that the error is its own
 */
export function logConfigurationError(
  lock: object,
  label: string,
  error: unknown,
  hasBegun: boolean,
): void {
  if (!(error instanceof LockConfigurationError) || logged.has(error)) {
    return;
  }
  logged.add(error);
  const repeated = lines.get(lock) ?? new RepeatedLines();
  lines.set(lock, repeated);
  const fault = error.faults.join('; ');
  const line = refusals.has(error)
    ? fault
    : `${label} ${hasBegun ? 'has failed' : 'did not run'}: ${fault}`;
  repeated.note(line, (count) => logger.error(`${line}${count}`));
}
