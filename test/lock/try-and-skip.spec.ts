/** Calls that do not wait: a try answers from the known state, a skip first makes sure that the holder is alive. */
import { describe, expect, it } from 'vitest';
import { settled } from './controlled-clock.js';
import { Cluster, foreignSpec, JOB, outcomeOf } from './processes.js';

function setUp() {
  const cluster = new Cluster();
  return { cluster, clock: cluster.clock, pod: cluster.process('pod') };
}

/** A record of a holder of unknown fate, which the pod has been watching from the start. */
async function observed(spec = foreignSpec()) {
  const world = setUp();
  world.cluster.writeSpec({});
  world.pod.observe();
  await settled();
  world.pod.store.watchesWork = false; // the holder's last sign of life is missed
  world.cluster.writeSpec(spec);
  world.pod.store.watchesWork = true;
  await world.clock.advance(3_600_000);
  world.pod.store.reconnectWatches();
  await settled();
  return world;
}

describe('a try', () => {
  it('is turned away by a record that it meets for the first time, and never waits', async () => {
    const { cluster, clock, pod } = setUp();
    cluster.writeSpec(foreignSpec());
    await expect(pod.try()).rejects.toMatchObject({
      reason: 'held',
      holder: 'stranger',
      since: new Date('2026-01-01T00:00:00.000Z'),
    });
    expect(pod.store.verbs()).toBe('get');
    expect(pod.store.openWatches).toBe(0);
    expect(clock.pending()).toBe(0);
  });

  it('takes what is free', async () => {
    const { pod } = setUp();
    await expect(pod.try()).resolves.toMatchObject({ isHeld: true });
  });
});

describe('a skip on a record that was never seen', () => {
  it('skips as soon as a renewal shows that the holder is alive', async () => {
    const { cluster, clock, pod } = setUp();
    await cluster.process('holder').acquire();
    await clock.advance(2_000);
    const skipped = outcomeOf(pod.skip());
    await clock.advance(2_999);
    expect(skipped.state).toBe('pending');
    await clock.advance(1);
    expect(skipped.reason).toMatchObject({ reason: 'held' });
    expect(pod.store.openWatches).toBe(0);
    expect(clock.elapsed).toBe(5_000);
  });

  it('takes the lock as soon as it is freed', async () => {
    const { cluster, clock, pod } = setUp();
    cluster.writeSpec(foreignSpec());
    const skipped = outcomeOf(pod.skip());
    await clock.advance(4_000);
    cluster.writeSpec({});
    await settled();
    expect(skipped.state).toBe('resolved');
    expect(clock.elapsed).toBe(4_000);
  });

  it('takes the lock of a dead holder when its duration is over', async () => {
    const { cluster, clock, pod } = setUp();
    cluster.writeSpec(foreignSpec());
    const skipped = outcomeOf(pod.skip());
    await clock.advance(14_999);
    expect(skipped.state).toBe('pending');
    await clock.advance(1);
    expect(skipped.state).toBe('resolved');
  });

  it('skips during minHold, but not long after minHold is over', async () => {
    const { cluster, clock, pod } = setUp();
    const options = { minHold: 8_000 };
    await (await cluster.process('first').acquire(JOB, options)).release();
    await expect(pod.skip()).rejects.toMatchObject({ reason: 'held' });

    await clock.advance(3_600_000);
    const skipped = outcomeOf(cluster.process('late').skip());
    await clock.advance(8_000);
    expect(skipped.state).toBe('resolved');
  });

  it.each([
    ['without a duration', { leaseDurationSeconds: null }],
    ['of an infinite lease', { leaseDurationSeconds: 2_147_483_647 }],
    ['of a lease of more than an hour', { leaseDurationSeconds: 3_601 }],
  ])('skips a record %s at once', async (_, spec) => {
    const { cluster, clock, pod } = setUp();
    cluster.writeSpec(foreignSpec(spec));
    await expect(pod.skip()).rejects.toMatchObject({ reason: 'held' });
    expect(clock.elapsed).toBe(0);
    expect(pod.store.verbs()).toBe('get');
  });

  it('skips at once in all processes but one, of those that find it free at the same moment', async () => {
    const cluster = new Cluster();
    cluster.writeSpec({});
    const outcomes = ['a', 'b', 'c'].map((name) =>
      outcomeOf(cluster.process(name).skip()),
    );
    await cluster.clock.advance(20_000);
    expect(outcomes.map(({ state }) => state).toSorted()).toEqual([
      'rejected',
      'rejected',
      'resolved',
    ]);
  });
});

describe('a skip on an observed lock', () => {
  it('sends nothing when its holder was seen alive', async () => {
    const { cluster, clock, pod } = setUp();
    pod.observe();
    await settled();
    await cluster.process('holder').acquire();
    await clock.advance(60_000);
    await expect(pod.skip()).rejects.toMatchObject({ reason: 'held' });
    expect(pod.store.requests).toEqual([]);
    expect(clock.elapsed).toBe(60_000);
  });

  it('takes a free lock with one request', async () => {
    const { cluster, pod } = setUp();
    cluster.writeSpec({});
    pod.observe();
    await settled();
    await expect(pod.skip()).resolves.toMatchObject({ isHeld: true });
    expect(pod.store.verbs()).toBe('update');
  });

  it('runs the first fire after a crash, with one request', async () => {
    const { cluster, clock, pod } = setUp();
    cluster.writeSpec(foreignSpec());
    pod.observe();
    await clock.advance(15_000);
    await expect(pod.skip()).resolves.toMatchObject({ isHeld: true });
    expect(pod.store.verbs()).toBe('update');
    expect(clock.elapsed).toBe(15_000);
  });

  it('does not take what a new watch finds for a sign of life', async () => {
    const { clock, pod } = await observed();
    const skipped = outcomeOf(pod.skip());
    await clock.advance(15_000);
    expect(skipped.state).toBe('resolved');
  });

  it('does not believe a dead watch for ever', async () => {
    const { cluster, clock, pod } = setUp();
    cluster.writeSpec({ holderIdentity: 'stranger' }); // held until released
    pod.store.watchesWork = false;
    pod.observe();
    await expect(pod.skip()).rejects.toMatchObject({ reason: 'held' });
    cluster.writeSpec({});
    await clock.advance(3_600_000);
    await expect(pod.skip()).resolves.toMatchObject({ isHeld: true });
  });

  it('keeps one watch, however often it is asked for, and ends it at the shutdown', async () => {
    const { pod } = setUp();
    pod.observe();
    pod.observe();
    await settled();
    expect(pod.store.openWatches).toBe(1);
    await (await pod.skip()).release();
    expect(pod.store.openWatches).toBe(1);
    await pod.engine.shutdown(0);
    expect(pod.store.openWatches).toBe(0);
  });
});

describe('createLease false', () => {
  const options = { createLease: false };

  it.each(['acquire', 'try', 'skip'] as const)(
    'makes %s refuse a Lease that does not exist, and create nothing',
    async (call) => {
      const { cluster, pod } = setUp();
      await expect(pod[call](JOB, options)).rejects.toMatchObject({
        reason: 'lease-missing',
        explanation:
          'Lock "job" (Lease default/job): the Lease does not exist and createLease is false. Create it, or set createLease: true.',
      });
      expect(cluster.lease()).toBeUndefined();
    },
  );

  it('takes the Lease once it was created', async () => {
    const { cluster, pod } = setUp();
    await expect(pod.acquire(JOB, options)).rejects.toMatchObject({
      reason: 'lease-missing',
    });
    cluster.writeSpec({});
    await expect(pod.acquire(JOB, options)).resolves.toMatchObject({
      isHeld: true,
    });
  });
});
