/** R6: a release leaves a record that every kind of peer takes for free, and changes no record of another holder. */
import { describe, expect, it } from 'vitest';
import { Cluster, foreignSpec, JOB, outcomeOf } from './processes.js';

async function holding(options = {}) {
  const cluster = new Cluster();
  cluster.writeSpec({ leaseTransitions: 6 });
  const pod = cluster.process('pod');
  const lock = await pod.acquire(JOB, options);
  return { cluster, pod, lock, clock: cluster.clock };
}

describe('R6 a release', () => {
  it('takes away holder, duration and times, and keeps the transitions', async () => {
    const { cluster, pod, lock } = await holding();
    await lock.release();

    expect(cluster.spec()).toEqual({ leaseTransitions: 7 });
    expect(pod.store.requests.at(-1)!.lease!.spec).toEqual({
      leaseTransitions: 7,
    });
  });

  it('takes away the time of acquisition, which has become untrue', async () => {
    const { cluster, lock } = await holding();
    await lock.release();
    expect(cluster.lease()!.metadata.annotations ?? {}).not.toHaveProperty([
      'nestjs-k8s-lock/acquired-at',
    ]);
  });

  it('is one request, whether or not the lock was renewed before', async () => {
    const { pod, lock, clock } = await holding();
    await clock.advance(10_000);
    const sent = pod.store.requests.length;
    await lock.release();
    expect(pod.store.requests).toHaveLength(sent + 1);
  });

  it('is what a forced release writes, too', async () => {
    const { cluster, pod } = await holding();
    await cluster.process('admin').forceRelease();

    expect(cluster.spec()).toEqual({ leaseTransitions: 7 });
    expect(pod.store.requests).toHaveLength(2);
  });

  it('is done once, however often it is called', async () => {
    const { cluster, pod, lock } = await holding();
    await Promise.all([lock.release(), lock.release()]);
    await lock[Symbol.asyncDispose]();
    cluster.writeSpec(foreignSpec());
    await lock.release();

    expect(pod.store.verbs()).toBe('get update update');
    expect(pod.eventTypes()).toBe('acquired released');
    expect(cluster.spec()).toEqual(foreignSpec());
  });

  it('keeps the record taken until minHold is over, without keeping its caller', async () => {
    const { cluster, lock, clock } = await holding({ minHold: 8_000 });
    await clock.advance(3_000);
    await lock.release();
    expect(clock.elapsed).toBe(3_000);
    const next = outcomeOf(cluster.process('other').acquire());

    await clock.advance(4_999);
    expect(next.state).toBe('pending');
    await clock.advance(1);
    expect(next.state).toBe('resolved');
  });

  it('frees the record at once when minHold is over', async () => {
    const { cluster, lock, clock } = await holding({ minHold: 8_000 });
    await clock.advance(8_000);
    await lock.release();
    expect(cluster.spec()).toEqual({ leaseTransitions: 7 });
  });

  it('keeps minHold among the callers of one process, too', async () => {
    const { pod, lock, clock } = await holding({ minHold: 8_000 });
    const next = outcomeOf(pod.acquire());
    await clock.advance(3_000);
    await lock.release();

    await clock.advance(4_999);
    expect(next.state).toBe('pending');
    await clock.advance(1);
    expect(next.state).toBe('resolved');
  });
});

describe('R6 a release after a loss', () => {
  it('frees the record that still names the lost holder', async () => {
    const { cluster, pod, lock, clock } = await holding();
    pod.store.plan({ breaks: 'unsent' }, ['get', 'update']);
    await clock.advance(13_500);
    expect(lock.isHeld).toBe(false);
    pod.store.heal();
    await lock.release();

    expect(cluster.spec()).toEqual({ leaseTransitions: 7 });
  });

  it('touches nothing that is another’s', async () => {
    const { cluster, pod, lock, clock } = await holding();
    cluster.writeSpec(foreignSpec());
    await clock.advance(5_000);
    const writes = pod.store.requests.filter(({ verb }) => verb !== 'get');
    await lock.release();

    expect(cluster.spec()).toEqual(foreignSpec());
    expect(pod.store.requests.filter(({ verb }) => verb !== 'get')).toEqual(
      writes,
    );
  });

  it('does not change a record that another holder took during a partition', async () => {
    const { cluster, pod, lock, clock } = await holding();
    pod.store.plan({ breaks: 'unsent' }, ['get', 'update']);
    await clock.advance(20_000);
    cluster.writeSpec(foreignSpec());
    pod.store.heal();
    await lock.release();
    await clock.advance(60_000);

    expect(cluster.spec()).toEqual(foreignSpec());
  });
});

describe('R6 a release that fails', () => {
  it('does not reject, and is tried again until it gets through', async () => {
    const { cluster, pod, lock, clock } = await holding();
    pod.store.plan({ refused: { reason: 'server', status: 500 } }, 'update', 3);
    const released = outcomeOf(lock.release());
    await clock.advance(2_000);

    expect(released.state).toBe('resolved');
    expect(cluster.holder()).toBeUndefined();
    expect(pod.events.filter(({ type }) => type === 'backend-error')).toEqual(
      Array.from({ length: 3 }, () =>
        expect.objectContaining({ operation: 'release' }),
      ),
    );
  });

  it.each(['conflict', 'forbidden', 'invalid'] as const)(
    'for a refusal (%s) is tried again as well',
    async (reason) => {
      const { cluster, pod, lock, clock } = await holding();
      pod.store.plan({ refused: { reason } }, 'update', 2);
      outcomeOf(lock.release());
      await clock.advance(2_000);
      expect(cluster.holder()).toBeUndefined();
    },
  );

  it('is given up when the lease has expired by itself', async () => {
    const { pod, lock, clock } = await holding();
    pod.store.plan({ breaks: 'unsent' }, ['get', 'update']);
    outcomeOf(lock.release());
    await clock.advance(60_000);
    const sent = pod.store.requests.length;
    await clock.advance(600_000);

    expect(pod.store.requests).toHaveLength(sent);
    expect(clock.pending()).toBe(0);
  });

  it('is never given up for a lease that does not expire', async () => {
    const { cluster, pod, lock, clock } = await holding({
      leaseDuration: 'infinite',
    });
    pod.store.plan({ breaks: 'unsent' }, ['get', 'update']);
    outcomeOf(lock.release());
    await clock.advance(3_600_000);
    expect(cluster.holder()).toBe('pod');
    pod.store.heal();
    await clock.advance(5_000);
    expect(cluster.holder()).toBeUndefined();
  });

  it('blocks its caller for requestTimeout at most, and afterwards no waiter of the same process', async () => {
    const { cluster, pod, lock, clock } = await holding();
    pod.store.plan({ breaks: 'unsent' }, ['get', 'update']);
    const released = outcomeOf(lock.release());
    await clock.advance(4_999);
    expect(released.state).toBe('pending');
    await clock.advance(1);
    expect(released.state).toBe('resolved');
    expect(cluster.spec().holderIdentity).toBe(lock.holderIdentity);

    pod.store.heal();
    const next = await pod.try();
    await clock.advance(60_000);
    expect(next.isHeld).toBe(true);
    expect(cluster.spec().holderIdentity).toBe(next.holderIdentity);
  });

  it('keeps its caller for requestTimeout at most, even when a renewal hangs before it', async () => {
    const { pod, lock, clock } = await holding({ leaseDuration: 60_000 });
    pod.store.plan({ appliedAfter: Infinity }, ['get', 'update']);
    await clock.advance(20_000);
    const released = outcomeOf(lock.release());
    await clock.advance(5_000);
    expect(released.state).toBe('resolved');
  });
});
