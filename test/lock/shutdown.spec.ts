/** The shutdown of the engine: no new locks, waiters go, work is asked to stop, and what is held is released last. */
import { describe, expect, it } from 'vitest';
import { LockLostError, LockNotAcquiredError } from '../../lib/lock.errors.js';
import { settled } from './controlled-clock.js';
import { Cluster, foreignSpec, JOB, outcomeOf } from './processes.js';

async function holding() {
  const cluster = new Cluster();
  const pod = cluster.process('pod');
  const lock = await pod.acquire();
  return { cluster, pod, lock, clock: cluster.clock };
}

describe('shutdown', () => {
  it('takes no new acquisitions', async () => {
    const { pod } = await holding();
    outcomeOf(pod.engine.shutdown(60_000));
    for (const call of ['acquire', 'try', 'skip'] as const) {
      // oxlint-disable-next-line no-await-in-loop -- one call after the other
      await expect(pod[call]('other')).rejects.toMatchObject({
        reason: 'shutdown',
        explanation:
          'Lock "other" (Lease default/other) was not acquired: the application is shutting down and takes no new locks.',
      });
    }
  });

  it('ends the wait of everybody, in the queue and at its head', async () => {
    const { cluster, pod } = await holding();
    cluster.writeSpec(foreignSpec(), 'foreign');
    const waiters = [JOB, JOB, 'foreign', 'foreign'].map((name) =>
      outcomeOf(pod.acquire(name)),
    );
    await settled();
    outcomeOf(pod.engine.shutdown(60_000));
    await settled();
    for (const { reason } of waiters) {
      expect(reason).toBeInstanceOf(LockNotAcquiredError);
      expect(reason).toMatchObject({ reason: 'shutdown' });
    }
    expect(cluster.spec('foreign')).toEqual(foreignSpec());
  });

  it('asks the work to stop, and keeps the lock renewed until it has', async () => {
    const { cluster, pod, lock, clock } = await holding();
    const closed = outcomeOf(pod.engine.shutdown(60_000));
    expect(lock.signal.reason).toBeInstanceOf(LockLostError);
    expect(lock.signal.reason).toMatchObject({ reason: 'shutdown' });
    expect(lock.isHeld).toBe(true);

    const other = outcomeOf(cluster.process('other').acquire());
    await clock.advance(50_000);
    expect(closed.state).toBe('pending');
    expect(other.state).toBe('pending');
    expect(lock.isHeld).toBe(true);

    await lock.release();
    await settled();
    expect(closed.state).toBe('resolved');
    expect(other.state).toBe('resolved');
  });

  it('is over as soon as the last work has ended', async () => {
    const { pod, lock, clock } = await holding();
    const second = await pod.acquire('second');
    const closed = outcomeOf(pod.engine.shutdown(60_000));
    await lock.release();
    await settled();
    expect(closed.state).toBe('pending');
    await second.release();
    await settled();
    expect(closed.state).toBe('resolved');
    expect(pod.store.closed).toBe(true);
    expect(clock.pending()).toBe(0);
  });

  it('is over at once when nothing is held', async () => {
    const { pod, lock, clock } = await holding();
    await lock.release();
    await pod.engine.shutdown(60_000);
    expect(clock.elapsed).toBe(0);
    expect(pod.store.closed).toBe(true);
    expect(clock.pending()).toBe(0);
  });

  it('releases after its time-out whatever the work does', async () => {
    const { cluster, pod, lock, clock } = await holding();
    const closed = outcomeOf(pod.engine.shutdown(10_000));
    await clock.advance(9_999);
    expect(cluster.holder()).toBe('pod');
    await clock.advance(1);

    expect(closed.state).toBe('resolved');
    expect(cluster.holder()).toBeUndefined();
    expect(lock.isHeld).toBe(false);
    expect(pod.eventTypes()).toMatch(/^acquired( renewed)* lost released$/);
    expect(pod.events.at(-2)).toMatchObject({ reason: 'shutdown' });
    await lock.release();
    await clock.advance(60_000);
    expect(clock.pending()).toBe(0);
  });

  it('is one, however often it is asked for', async () => {
    const { pod, lock } = await holding();
    const closed = [60_000, 0].map((timeout) =>
      outcomeOf(pod.engine.shutdown(timeout)),
    );
    await settled();
    expect(closed.map(({ state }) => state)).toEqual(['pending', 'pending']);
    await lock.release();
    await settled();
    expect(closed.map(({ state }) => state)).toEqual(['resolved', 'resolved']);
  });

  it('does not hang on an API server that does', async () => {
    const { pod, clock } = await holding();
    pod.store.plan({ appliedAfter: Infinity }, ['get', 'update']);
    const closed = outcomeOf(pod.engine.shutdown(10_000));
    await clock.advance(20_000);
    expect(closed.state).toBe('resolved');
    await clock.advance(60_000);
    expect(clock.pending()).toBe(0);
  });

  it('waits for background work: undoing a write whose caller has gone', async () => {
    const cluster = new Cluster();
    cluster.writeSpec({});
    const pod = cluster.process('pod');
    pod.store.plan({ appliedAfter: 1_000, answeredAfter: 1_000 }, 'update', 1);
    outcomeOf(pod.acquire());
    await settled();
    const closed = outcomeOf(pod.engine.shutdown(10_000));
    await cluster.clock.advance(9_000);
    expect(closed.state).toBe('resolved');
    expect(cluster.holder()).toBeUndefined();
  });

  it.each([
    ['create', ['create']],
    ['create', ['get', 'create']],
    ['update', ['get', 'update']],
  ] as const)(
    'does not wait for a refused undoing of a write in flight (%s; refused: %s)',
    async (write, refused) => {
      for (const isBeforehand of [false, true]) {
        // oxlint-disable no-await-in-loop -- one after the other
        const cluster = new Cluster();
        if (write === 'update') {
          cluster.writeSpec({});
        }
        const pod = cluster.process('pod');
        pod.store.plan({ appliedAfter: Infinity }, write, 1);
        const gone = new AbortController();
        outcomeOf(pod.acquire(JOB, {}, gone.signal));
        await settled();
        pod.store.plan({ refused: { reason: 'forbidden', status: 403 } }, [
          ...refused,
        ]);
        if (isBeforehand) {
          gone.abort();
          await cluster.clock.advance(3_000); // the pauses are long by now
        }
        const closed = outcomeOf(pod.engine.shutdown(10_000));
        await settled();
        expect(closed.state).toBe('resolved');
        expect(cluster.clock.pending()).toBe(0);
        // oxlint-enable no-await-in-loop
      }
    },
  );

  it('leaves no forced release behind that is between two tries', async () => {
    const cluster = new Cluster();
    cluster.writeSpec(foreignSpec());
    const pod = cluster.process('pod');
    pod.store.plan({ refused: { reason: 'conflict', status: 409 } }, 'update');
    const forced = outcomeOf(pod.forceRelease());
    await settled();
    expect(cluster.clock.pending()).toBe(1);
    const closed = outcomeOf(pod.engine.shutdown(0));
    await settled();
    expect(closed.state).toBe('resolved');
    expect(forced.reason).toMatchObject({ reason: 'conflict' });
    expect(cluster.clock.pending()).toBe(0);
  });
});
