/** Faults found while the tests of the engine were being written; to be spread over the files of their topics. */
import { describe, expect, it } from 'vitest';
import { settled } from './controlled-clock.js';
import { Cluster, foreignSpec, JOB, outcomeOf } from './processes.js';

const COORDINATED = { strategy: 'OldestEmulationVersion' };

function setUp() {
  const cluster = new Cluster();
  return { cluster, clock: cluster.clock, pod: cluster.process('pod') };
}

describe('what was refused once', () => {
  it('is granted once the missing Lease was created, with createLease false', async () => {
    const { cluster, pod } = setUp();
    const options = { createLease: false };
    await expect(pod.acquire(JOB, options)).rejects.toMatchObject({
      reason: 'lease-missing',
    });
    cluster.writeSpec({});
    await expect(pod.acquire(JOB, options)).resolves.toMatchObject({
      isHeld: true,
    });
  });

  it('is granted once the strategy is gone', async () => {
    const { cluster, pod } = setUp();
    cluster.writeSpec(COORDINATED);
    await expect(pod.acquire()).rejects.toMatchObject({
      reason: 'lease-refused',
    });
    cluster.writeSpec({});
    await expect(pod.acquire()).resolves.toMatchObject({ isHeld: true });
  });
});

describe('R10', () => {
  it('does not force the release of a Lease of coordinated leader election', async () => {
    const { cluster, pod } = setUp();
    cluster.writeSpec(foreignSpec(COORDINATED));
    await expect(pod.forceRelease()).rejects.toMatchObject({
      reason: 'lease-refused',
    });
    expect(cluster.spec()).toEqual(foreignSpec(COORDINATED));
  });
});

describe('a skip on an observed lock', () => {
  it('does not believe a dead watch for ever', async () => {
    const { cluster, clock, pod } = setUp();
    cluster.write(({ spec }) => {
      spec!.holderIdentity = 'stranger'; // no duration: held until released
    });
    pod.store.watchesWork = false;
    pod.observe();
    await expect(pod.skip()).rejects.toMatchObject({ reason: 'held' });
    cluster.writeSpec({});
    await clock.advance(3_600_000);
    await expect(pod.skip()).resolves.toMatchObject({ isHeld: true });
  });

  it('does not take what a new watch finds for a sign of life', async () => {
    const { cluster, clock, pod } = setUp();
    cluster.writeSpec({});
    pod.observe();
    await settled();
    pod.store.watchesWork = false;
    cluster.writeSpec(foreignSpec());
    await clock.advance(3_600_000);
    pod.store.watchesWork = true;
    pod.store.reconnectWatches();

    const skipped = outcomeOf(pod.skip());
    await clock.advance(15_000);
    expect(skipped.state).toBe('resolved');
  });
});

describe('conflicts in a row', () => {
  it.each(['acquire', 'try'] as const)(
    'do not make %s ask without a pause',
    async (call) => {
      const { cluster, clock, pod } = setUp();
      cluster.writeSpec({});
      const conflict = { reason: 'conflict' as const, status: 409 };
      pod.store.plan({ refused: conflict }, 'update', 200);
      outcomeOf(pod[call]());
      await clock.advance(1_000);
      expect(pod.store.requests.length).toBeLessThan(40);
    },
  );
});

describe('an API server whose resourceVersions went back (etcd restored from a backup)', () => {
  it('does not keep a process that knew newer ones from the lock', async () => {
    const { cluster, clock, pod } = setUp();
    const written = cluster.writeSpec({});
    await (await pod.acquire()).release();
    const newer = structuredClone(cluster.lease()!);
    newer.metadata.resourceVersion = '1000000';
    newer.metadata.uid = written.metadata.uid;
    pod.observe();
    await settled();
    pod.store.tellWatches(newer);
    pod.store.plan({ answeredAfter: 5 }, ['get', 'update']);

    const acquired = outcomeOf(pod.acquire());
    await clock.advance(10_000);
    expect(acquired.state).toBe('resolved');
  });
});

describe('the end of a hold', () => {
  it('does not keep the caller of release() waiting for longer than requestTimeout, even when a renewal hangs', async () => {
    const { clock, pod } = setUp();
    const lock = await pod.acquire(JOB, { leaseDuration: 60_000 });
    pod.store.plan({ appliedAfter: Infinity }, ['get', 'update']);
    await clock.advance(20_000);
    const released = outcomeOf(lock.release());
    await clock.advance(5_000);
    expect(released.state).toBe('resolved');
  });

  it('comes once, even when the listener of the abort releases', async () => {
    const { clock, pod } = setUp();
    const lock = await pod.acquire();
    lock.signal.addEventListener('abort', () => void lock.release());
    clock.block(60_000);
    await lock.release();
    await settled();
    expect(pod.eventTypes()).toBe('acquired lost released');
  });

  it('has come at maxHold by the clock, before any timer has fired', async () => {
    const { clock, pod } = setUp();
    const lock = await pod.acquire(JOB, { maxHold: 3_000 });
    clock.block(3_000);
    expect(lock.isHeld).toBe(false);
  });

  it('does not delete a Lease that a creation on its way would bring back taken', async () => {
    const { cluster, clock, pod } = setUp();
    pod.store.plan({ appliedAfter: 20_000 }, 'create', 1);
    const acquired = outcomeOf(
      pod.acquire(JOB, { deleteOnRelease: true, leaseDuration: 'infinite' }),
    );
    await clock.advance(6_000);
    await acquired.value!.release();
    await clock.advance(60_000);
    expect(cluster.holder()).toBeUndefined();
  });
});
