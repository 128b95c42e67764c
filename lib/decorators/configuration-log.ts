/** Refuses calls of decorated methods and of interceptors for a fault in the configuration, and logs what fails for one. */
import { Logger } from '@nestjs/common';
import { LockConfigurationError } from '../lock.errors.js';
import { RepeatedLines } from '../repeated-lines.js';

const logger = new Logger('K8sLockModule');
/** By the lock of the decorator or interceptor. */
const lines = new WeakMap<object, RepeatedLines>();
/** A nested call throws it through all around it. */
const logged = new WeakSet<LockConfigurationError>();
/** Those of {@link refuseCall}. */
const refusals = new WeakSet<LockConfigurationError>();

/**
 * @param fault a sentence that says which method was called, that it did not run, and why
 * @throws LockConfigurationError
 */
export function refuseCall(fault: string): never {
  const error = new LockConfigurationError([fault]);
  refusals.add(error);
  throw error;
}

/**
 * The caller gets the error, and may tell nobody: a route answers 500 without a word.
 *
 * @param hasBegun whether the work that was called has begun, so that the error is its own
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
