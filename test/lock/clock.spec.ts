/** The clock of the system: timers of any length. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../lib/lock/clock.js';

const DAY = 86_400_000;

describe('a timer of the system clock', () => {
  beforeEach(() => {
    vi.useFakeTimers({
      toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'],
    });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it.each([1, 24, 25, 60])('of %d days fires then, and not sooner', (days) => {
    const fired = vi.fn<() => void>();
    systemClock.schedule(systemClock.now() + days * DAY, fired);
    vi.advanceTimersByTime(days * DAY - 1);
    expect(fired).not.toHaveBeenCalled();
    vi.advanceTimersByTime(2);
    expect(fired).toHaveBeenCalledOnce();
  });

  it('of 60 days can be cancelled after 30', () => {
    const fired = vi.fn<() => void>();
    const cancel = systemClock.schedule(systemClock.now() + 60 * DAY, fired);
    vi.advanceTimersByTime(30 * DAY);
    cancel();
    vi.advanceTimersByTime(60 * DAY);
    expect(fired).not.toHaveBeenCalled();
    expect(vi.getTimerCount()).toBe(0);
  });
});
