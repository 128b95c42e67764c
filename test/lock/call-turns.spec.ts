/** A burst of calls begins a few at a time, so that the process keeps renewing its locks. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { CallTurns } from '../../lib/lock/call-turns.js';

describe('calls that come at once', () => {
  it('begin in their order, a few in each turn of the event loop', async () => {
    const turns = new CallTurns();
    const begun: number[] = [];
    const calls = Array.from({ length: 100 }, async (_, i) => {
      await turns.begin();
      begun.push(i);
    });
    const late = async (i: number): Promise<void> => {
      await turns.begin();
      begun.push(i);
    };
    let before = 0;
    for (let i = 0; before < 100; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one turn after the other
      await nextTurn();
      expect(begun.length - before).toBeLessThanOrEqual(32);
      expect(begun.length).toBeGreaterThan(before);
      before = begun.length;
      if (i === 1) {
        calls.push(late(100)); // behind those that wait
      }
    }
    await Promise.all(calls);
    expect(begun).toEqual(Array.from({ length: 101 }, (_, i) => i));
  });

  it('begin at once where they come one by one', async () => {
    const turns = new CallTurns();
    for (let i = 0; i < 100; i++) {
      let hasBegun = false;
      void turns.begin().then(() => (hasBegun = true));
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await Promise.resolve();
      expect(hasBegun).toBe(true);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await nextTurn();
    }
  });
});
