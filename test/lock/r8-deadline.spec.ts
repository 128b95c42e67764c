/** R8: a holder loses its lock, and its signal aborts, before another process can acquire it. */
import { describe, expect, it } from 'vitest';
import { LockLostError } from '../../lib/lock.errors.js';
import type { LeaseLock } from '../../lib/lock/hold/lease-lock.js';
import { settled } from './controlled-clock.js';
import { Cluster, foreignSpec, JOB, outcomeOf } from './processes.js';

const YEAR = 365 * 24 * 3_600_000;

/** A process that holds the lock since now: 15 s, a margin of 1.5 s, renewals every 5 s. */
async function holding() {
  const cluster = new Cluster();
  const pod = cluster.process('pod');
  const lock = await pod.acquire();
  return { cluster, pod, lock, clock: cluster.clock };
}

/** The lock is lost for this reason, in every way in which that shows. */
function expectLost(lock: LeaseLock, reason: string): void {
  expect(lock.signal.aborted).toBe(true);
  expect(lock.signal.reason).toBeInstanceOf(LockLostError);
  expect(lock.signal.reason).toMatchObject({ reason });
  expect(lock.isHeld).toBe(false);
  expect(() => lock.assertHeld()).toThrow(LockLostError);
}

describe('R8 the deadline', () => {
  it('is the duration less the margin after the last good write', async () => {
    const { pod, lock, clock } = await holding();
    await clock.advance(10_000); // renewed at 5 s and at 10 s
    pod.store.plan({ breaks: 'unsent' }, ['get', 'update']);

    await clock.advance(13_499);
    expect(lock.isHeld).toBe(true);
    expect(lock.signal.aborted).toBe(false);
    await clock.advance(1);
    expectLost(lock, 'deadline');
    expect(pod.events.at(-1)).toMatchObject({
      type: 'lost',
      reason: 'deadline',
      fencingToken: lock.fencingToken,
    });
  });

  it('counts from when the acquiring write was sent, not from its answer', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    pod.store.plan({ appliedAfter: 2_000, answeredAfter: 2_000 }, 'create', 1);
    pod.store.plan({ breaks: 'unsent' }, ['update']);
    const acquired = outcomeOf(pod.acquire());
    await cluster.clock.advance(4_000);
    const lock = acquired.value!;

    await cluster.clock.advance(9_499);
    expect(lock.isHeld).toBe(true);
    await cluster.clock.advance(1);
    expectLost(lock, 'deadline');
  });

  it('counts from when a renewal was sent, not from its answer', async () => {
    const { pod, lock, clock } = await holding();
    pod.store.plan({ answeredAfter: 3_000 }, 'update', 1);
    await clock.advance(8_000); // sent at 5 s
    expect(pod.events.at(-1)!.type).toBe('renewed');
    pod.store.plan({ breaks: 'unsent' }, ['get', 'update']);

    await clock.advance(10_499);
    expect(lock.isHeld).toBe(true);
    await clock.advance(1); // 18.5 s
    expectLost(lock, 'deadline');
  });

  it('is told with each renewal: the part of the time to it that was left', async () => {
    const { pod, clock } = await holding();
    pod.store.plan({ answeredAfter: 3_000 }, 'update', 1);
    await clock.advance(8_000); // sent at 5 s, with the deadline at 13.5 s
    expect(pod.events.at(-1)).toMatchObject({
      type: 'renewed',
      margin: 5_500 / 13_500,
    });
    await clock.advance(2_000); // sent 5 s later, with the deadline at 18.5 s
    expect(pod.events.at(-1)).toMatchObject({
      type: 'renewed',
      margin: 8_500 / 13_500,
    });
  });

  it('never hands out a lock whose deadline has passed while its answer was on the way', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    pod.store.plan({ answeredAfter: 1_500 }, 'create', 1);
    const acquired = outcomeOf(pod.acquire(JOB, { leaseDuration: 1_000 }));
    await cluster.clock.advance(1_600);

    expect(acquired.state).toBe('resolved');
    expect(acquired.value!.isHeld).toBe(true);
    expect(acquired.value!.signal.aborted).toBe(false);
    // By a second write, which counts.
    expect(pod.store.verbs()).toBe('get create get update');
  });

  it('does not make a lock look overdue before it could be renewed, though its answer came late', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    pod.store.plan({ answeredAfter: 2_000 }, 'create', 1);
    pod.store.plan({ appliedAfter: Infinity }, 'update');
    await Promise.all([
      pod.acquire(JOB, { leaseDuration: 3_000 }),
      cluster.clock.advance(2_000),
    ]);
    await cluster.clock.advance(349); // of 700 ms to the deadline
    expect(pod.engine.check()).toMatchObject([{ state: 'held' }]);
    await cluster.clock.advance(1);
    expect(pod.engine.check()).toMatchObject([{ state: 'overdue' }]);
  });

  it('leaves nothing behind when it passed before the answer and the call has ended', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    pod.store.plan({ answeredAfter: 1_500 }, 'create', 1);
    pod.store.plan({ answeredAfter: 60_000 }, 'update', 1);
    const acquired = outcomeOf(
      pod.acquire(JOB, { leaseDuration: 1_000, waitTimeout: 2_000 }),
    );
    await cluster.clock.advance(2_000);

    expect(acquired.state).toBe('rejected');
    expect(cluster.holder()).toBeUndefined();
  });

  it('comes before anybody else has the lock, though the clock of the other runs faster by up to the margin', async () => {
    const cluster = new Cluster();
    const holder = cluster.process('holder');
    const lock = await holder.acquire();
    holder.store.plan({ breaks: 'unsent' }, ['get', 'update']); // cut off
    const fast = cluster.clock.elsewhere({ rate: 1.1 });
    const lostFirst = cluster
      .process('other', fast)
      .acquire()
      .then(() => lock.signal.aborted);
    const outcome = outcomeOf(lostFirst);

    await cluster.clock.advance(13_500);
    expect(outcome.state).toBe('pending');
    await cluster.clock.advance(1_500);
    expect(outcome).toMatchObject({ state: 'resolved', value: true });
  });

  it('does not care for steps of the wall clock', async () => {
    const { pod, lock, clock } = await holding();
    pod.store.plan({ breaks: 'unsent' }, ['get', 'update']);
    await clock.advance(5_000);
    clock.stepWall(YEAR);
    await clock.advance(5_000);
    clock.stepWall(-2 * YEAR);
    await clock.advance(3_499);
    expect(lock.isHeld).toBe(true);
    await clock.advance(1);
    expectLost(lock, 'deadline');
  });

  it('never comes while renewals get through, whatever the wall clock does', async () => {
    const { lock, clock } = await holding();
    for (const step of [YEAR, -2 * YEAR, YEAR]) {
      clock.stepWall(step);
      // oxlint-disable-next-line no-await-in-loop -- one step after the other
      await clock.advance(60_000);
    }
    expect(lock.isHeld).toBe(true);
  });

  it('has passed for a process that was blocked beyond it, before any timer has fired', async () => {
    const { pod, lock, clock } = await holding();
    clock.block(13_499);
    expect(lock.isHeld).toBe(true);
    clock.block(1);
    expect(lock.isHeld).toBe(false);
    expectLost(lock, 'deadline');

    await clock.advance(60_000);
    expect(pod.store.verbs()).toBe('get create'); // no renewal any more
    expect(pod.eventTypes()).toBe('acquired lost');
  });

  it('shows in the signal when that is asked, before any timer has fired', async () => {
    const { lock, clock } = await holding();
    clock.block(13_500);
    expect(lock.signal.aborted).toBe(true);
  });

  it('aborts the signal at that very moment, without anybody asking', async () => {
    const cluster = new Cluster();
    const lock = await cluster.process('pod').acquire(JOB, {
      autoRenew: false,
      retryInterval: 60_000, // no read comes at that moment
    });
    let abortedAt: number | undefined;
    lock.signal.addEventListener('abort', () => {
      abortedAt = cluster.clock.elapsed;
    });
    await cluster.clock.advance(60_000);
    expect(abortedAt).toBe(13_500);
  });

  it('aborts the signal with the first timer of a process that was blocked beyond it', async () => {
    const { pod, lock, clock } = await holding();
    const { signal } = lock;
    clock.block(60_000);
    await clock.advance(0);

    expect(signal.aborted).toBe(true);
    expect(pod.store.verbs()).toBe('get create');
  });

  it('is final: a renewal whose answer comes later does not bring the lock back', async () => {
    const { pod, lock, clock } = await holding();
    pod.store.plan({ answeredAfter: 20_000 }, 'update');
    pod.store.plan({ answeredAfter: 20_000 }, 'get');
    await clock.advance(13_500);
    expectLost(lock, 'deadline');

    await clock.advance(60_000);
    expect(lock.isHeld).toBe(false);
    expect(pod.eventTypes()).not.toContain('renewed');
  });

  it('leaves each request before it time for another one', async () => {
    const { pod, clock } = await holding();
    pod.store.plan({ appliedAfter: Infinity }, ['get', 'update']);
    await clock.advance(13_500);

    const left = pod.store.requests.slice(2).map(({ sentAt, timeout }) => ({
      timeout,
      most: (clock.now() - sentAt) / 2,
    }));
    expect(left.length).toBeGreaterThan(3);
    for (const { timeout, most } of left) {
      expect(timeout).toBeLessThanOrEqual(most);
    }
  });
});

describe('R8 the record is another’s', () => {
  it('is lost at the next renewal when the record names a foreign holder', async () => {
    const { cluster, pod, lock, clock } = await holding();
    const foreign = foreignSpec();
    cluster.writeSpec(foreign);
    await clock.advance(4_999);
    expect(lock.isHeld).toBe(true);
    await clock.advance(1);

    expectLost(lock, 'taken');
    expect(cluster.spec()).toEqual(foreign);
    expect(pod.eventTypes()).toBe('acquired lost');
  });

  it('is lost at the next renewal when the record has no holder', async () => {
    const { cluster, lock, clock } = await holding();
    cluster.writeSpec({ holderIdentity: '', leaseTransitions: 0 });
    await clock.advance(5_000);

    expectLost(lock, 'freed');
    expect(cluster.holder()).toBe('');
  });

  it('is lost at the next renewal when the Lease is gone', async () => {
    const { cluster, lock, clock } = await holding();
    cluster.delete();
    await clock.advance(5_000);

    expectLost(lock, 'deleted');
    expect(cluster.lease()).toBeUndefined();
  });

  it('is lost at the next renewal when the Lease is another one, even with the same spec', async () => {
    const { cluster, lock, clock } = await holding();
    const spec = cluster.spec();
    cluster.delete();
    cluster.writeSpec(spec);
    const { resourceVersion } = cluster.lease()!.metadata;
    await clock.advance(5_000);

    expectLost(lock, 'deleted');
    expect(cluster.lease()!.metadata.resourceVersion).toBe(resourceVersion);
  });

  it('is lost at once when the Lease is watched', async () => {
    const { cluster, pod, lock } = await holding();
    pod.observe();
    await settled();
    cluster.writeSpec(foreignSpec());
    await settled();

    expectLost(lock, 'taken');
    expect(pod.store.verbs()).toBe('get create');
  });

  it('is lost at once when a watch tells that the Lease is gone', async () => {
    const { cluster, pod, lock } = await holding();
    pod.observe();
    await settled();
    cluster.delete();
    await settled();

    expectLost(lock, 'deleted');
    expect(pod.store.verbs()).toBe('get create get'); // not without a look
  });

  it('is not lost because of a delayed watch event', async () => {
    const { cluster, pod, lock } = await holding();
    pod.observe();
    await settled();
    pod.store.tellWatches(cluster.lease()!, true);
    await settled();

    expect(lock.isHeld).toBe(true);
    await cluster.clock.advance(60_000);
    expect(lock.isHeld).toBe(true);
  });
});

describe('R8 the end of a hold ends its requests', () => {
  it('sends nothing after a loss', async () => {
    const { cluster, pod, lock, clock } = await holding();
    cluster.writeSpec(foreignSpec());
    await clock.advance(5_000);
    expect(lock.isHeld).toBe(false);
    const sent = pod.store.requests.length;

    await clock.advance(600_000);
    expect(pod.store.requests).toHaveLength(sent);
    expect(clock.pending()).toBe(0);
  });

  it('sends nothing after the release', async () => {
    const { cluster, pod, lock, clock } = await holding();
    await lock.release();
    await clock.advance(600_000);

    expect(pod.store.verbs()).toBe('get create update');
    expect(cluster.holder()).toBeUndefined();
    expect(clock.pending()).toBe(0);
  });

  it('does not renew a record that was released while a renewal was on its way', async () => {
    const { cluster, pod, lock, clock } = await holding();
    pod.store.plan({ appliedAfter: 1_000, answeredAfter: 1_000 }, 'update', 1);
    await clock.advance(5_500);
    outcomeOf(lock.release());
    await clock.advance(600_000);

    expect(cluster.holder()).toBeUndefined();
    expect(pod.eventTypes()).toBe('acquired released');
  });
});
