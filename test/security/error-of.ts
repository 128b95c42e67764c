/** The error of this package that a call ends with. */
import { LockError } from '../../lib/index.js';

export async function errorOf(call: Promise<unknown>): Promise<LockError> {
  const error: unknown = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof LockError) {
    return error;
  }
  throw new Error('expected a LockError', { cause: error });
}
