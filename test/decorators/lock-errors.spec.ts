/** The errors: their retryAfter, and how they are printed in a log. */
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import {
  LockBackendError,
  LockConfigurationError,
  LockLostError,
  LockNotAcquiredError,
} from '../../lib/index.js';

const lock = { name: 'job', namespace: 'jobs', leaseName: 'job' };

it('a printed error tells its cause once', () => {
  const cause = new Error('connection refused');
  const errors = [
    new LockBackendError(lock, 'network', { message: 'no answer', cause }),
    new LockConfigurationError(['no name'], { cause }),
  ];
  for (const error of errors) {
    expect(error.cause).toBe(cause);
    expect(inspect(error).match(/Error: connection refused/g)).toHaveLength(1);
    expect(inspect(error)).not.toContain('options');
  }
});

describe('retryAfter', () => {
  it.each([
    [undefined, 1],
    [0, 1],
    [200, 1],
    [1_000, 1],
    [1_001, 2],
    [60_000, 60],
  ])('is %s ms of retryInterval in whole seconds', (retryInterval, seconds) => {
    const error = new LockNotAcquiredError(lock, 'held', { retryInterval });
    expect(error.retryAfter).toBe(seconds);
  });

  it('is there for what time mends', () => {
    const after = (reason: ConstructorParameters<typeof LockBackendError>[1]) =>
      new LockBackendError(lock, reason, { message: '', retryAfter: 7_000 })
        .retryAfter;
    expect(after('throttled')).toBe(7);
    expect(after('forbidden')).toBeUndefined();
    expect(after('lease-refused')).toBeUndefined();
    expect(new LockLostError(lock, 'deadline').retryAfter).toBe(1);
    expect(new LockConfigurationError(['']).retryAfter).toBeUndefined();
  });
});
