/** Sets the header `Retry-After` of an answer that is an error of this package. */
import type { LockError } from '../lock.errors.js';

/** The used part of Nest's HTTP adapter. */
interface HttpAdapter {
  isHeadersSent(response: unknown): boolean;
  /** Every adapter has this method, but the type of an exception filter's adapter lacks it. */
  getHeader?(response: unknown, name: string): unknown;
  setHeader(response: unknown, name: string, value: string): unknown;
}

const NAME = 'Retry-After';

/** Keeps a header that is already set. Sets none for an error without `retryAfter`, for which a retry can't succeed. */
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
