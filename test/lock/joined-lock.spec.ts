/** The signal of a call under several locks: it aborts with the first that is lost, and leaves nothing with those that outlive it. */
import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { HeldLock, JoinedLock } from '../../lib/lock/hold/lock-handle.js';
import { Cluster, foreignSpec } from './processes.js';

/** Two locks that are held, and what takes the first away. */
async function holdTwo() {
  const cluster = new Cluster();
  const pod = cluster.process('pod');
  const locks = [await pod.acquire('a'), await pod.acquire('b')];
  const [a, b] = locks.filter((lock) => lock instanceof HeldLock);
  const loseA = async (): Promise<void> => {
    cluster.writeSpec(foreignSpec(), 'a');
    await cluster.clock.advance(6_000);
  };
  return { a: a!, b: b!, loseA };
}

/** What Node.js keeps with a signal for those that are made of it. */
function dependants(signal: AbortSignal): number {
  const kept = Object.getOwnPropertySymbols(signal).find(
    ({ description }) => description === 'kDependantSignals',
  );
  const signals: { size: number } | undefined =
    kept && Reflect.get(signal, kept);
  return signals?.size ?? 0;
}

describe('a call under several locks', () => {
  it('leaves nothing with a lock that is held on', async () => {
    const { a, b } = await holdTwo();
    const outer = new JoinedLock([a, b]);
    const before = [a.signal, outer.signal].map(
      (signal) => getEventListeners(signal, 'abort').length,
    );
    for (let i = 0; i < 1_000; i++) {
      const call = new JoinedLock([a.lend(), b.lend()]);
      const inner = outer.lend();
      void call.release();
      void inner.release();
    }
    expect(
      [a.signal, outer.signal].map(
        (signal) => getEventListeners(signal, 'abort').length,
      ),
    ).toEqual(before);
    expect([a.signal, b.signal, outer.signal].map(dependants)).toEqual([
      0, 0, 0,
    ]);
    await outer.release();
    expect(getEventListeners(a.signal, 'abort')).toEqual([]);
    expect(getEventListeners(b.signal, 'abort')).toEqual([]);
  });

  it('aborts with the first lock that is lost', async () => {
    const { a, b, loseA } = await holdTwo();
    const joined = new JoinedLock([a, b]);
    await loseA();
    expect(joined.signal.aborted).toBe(true);
    expect(joined.signal.reason).toBe(a.signal.reason);
    expect(b.signal.aborted).toBe(false);
    expect(joined.isHeld).toBe(false);
  });

  it('that is lent goes on by itself when its lender has ended', async () => {
    const { a, b, loseA } = await holdTwo();
    const lent = new JoinedLock([a, b]).lend();
    const lentAgain = lent.lend();
    await Promise.all([a.release(), b.release(), lent.release()]);
    expect(lentAgain.isHeld).toBe(true);
    await loseA();
    expect(lentAgain.signal.aborted).toBe(true);
  });
});
