/** The header `Retry-After` of an answer that is an error of this package. */
import type { LockError } from '../lock.errors.js';

/** As much of Nest's HTTP adapter as is used. */
interface HttpAdapter {
  isHeadersSent(response: unknown): boolean;
  /** Every adapter has it, and the type of an exception filter's adapter has not. */
  getHeader?(response: unknown, name: string): unknown;
  setHeader(response: unknown, name: string, value: string): unknown;
}

const NAME = 'Retry-After';

/** A header that the answer has already stays. An error that time does not mend has none. */
export function addRetryAfter(
  adapter: HttpAdapter,
  response: unknown,
  { retryAfter }: LockError,
): void {
  if (
    retryAfter !== undefined &&
    !adapter.isHeadersSent(response) &&
    adapter.getHeader?.(response, NAME) === undefined
  ) {
    adapter.setHeader(response, NAME, String(retryAfter));
  }
}
