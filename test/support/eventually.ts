/** Waits for what takes a moment, on a machine that may be busy. */
import { vi } from 'vitest';

/** Tries until `attempt` neither throws nor rejects. */
export function eventually<T>(attempt: () => T | Promise<T>): Promise<T> {
  return vi.waitFor(attempt, { timeout: 45_000, interval: 20 });
}
