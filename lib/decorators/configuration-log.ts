/** Logs the calls of decorated methods and of interceptors that fail because something is not configured or used as it should be. */
import { Logger } from '@nestjs/common';
import { LockConfigurationError } from '../lock.errors.js';
import { RepeatedLines } from '../repeated-lines.js';
import type { DeclaredLock } from './lock.metadata.js';

const logger = new Logger('K8sLockModule');
const lines = new WeakMap<DeclaredLock, RepeatedLines>();
/** A nested call throws it through all around it. */
const logged = new WeakSet<LockConfigurationError>();

/** Whoever called gets the error, and may tell nobody: a route answers 500 without a word. */
export function logConfigurationError(
  lock: DeclaredLock,
  label: string,
  error: unknown,
): void {
  if (!(error instanceof LockConfigurationError) || logged.has(error)) {
    return;
  }
  logged.add(error);
  const repeated = lines.get(lock) ?? new RepeatedLines();
  lines.set(lock, repeated);
  repeated.note(error.explanation, (count) =>
    logger.error(`${label} did not run: ${error.explanation}${count}`),
  );
}
