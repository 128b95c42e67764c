/** Recovery: conflicts in a row, a restored backup, and limits that pass while the process is paused. */
import { describe, expect, it } from 'vitest';
import { settled } from './controlled-clock.js';
import { Cluster, foreignSpec, JOB, outcomeOf } from './processes.js';
import { inLine } from './waiting-processes.js';

function setUp() {
  const cluster = new Cluster();
  return { cluster, clock: cluster.clock, pod: cluster.process('pod') };
}

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

  it('does not make a process enrol in line again and again', async () => {
    const { cluster, clock, pod } = setUp();
    const holder = cluster.process('holder');
    const lock = await holder.acquire();
    pod.observe();
    await settled();
    const newer = structuredClone(cluster.lease()!);
    newer.metadata.resourceVersion = '1000000';
    pod.store.tellWatches(newer);

    const waiting = outcomeOf(pod.acquire());
    await clock.advance(100);
    expect(inLine(cluster)).toHaveLength(1);
    await lock.release();
    await clock.advance(10);
    expect(waiting.state).toBe('resolved');
    await waiting.value!.release();
    await clock.advance(1_000);
    expect(cluster.holder()).toBeUndefined();
  });

  it('does not keep one from the lock that saw newer ones before it saw the Lease deleted', async () => {
    const { cluster, clock, pod } = setUp();
    const written = cluster.writeSpec({});
    pod.observe();
    await settled();
    const newer = structuredClone(written);
    newer.metadata.resourceVersion = '1000000';
    pod.store.tellWatches(newer);
    cluster.delete();
    await settled();
    cluster.writeSpec(foreignSpec());

    const acquired = outcomeOf(pod.acquire());
    await clock.advance(20_000);
    expect(acquired.state).toBe('resolved');
  });
});

describe('maxHold', () => {
  const options = { maxHold: 3_000 };

  it('aborts the signal at that moment, whatever the renewals do, and frees the lock with the release', async () => {
    const { cluster, clock, pod } = setUp();
    // No renewal comes at that moment.
    const lock = await pod.acquire(JOB, { ...options, renewInterval: 700 });
    const { signal } = lock;
    await clock.advance(2_999);
    expect(signal.aborted).toBe(false);
    await clock.advance(1);
    expect(signal.reason).toMatchObject({ reason: 'max-hold' });
    const sent = pod.store.requests.length;
    await clock.advance(60_000);
    expect(pod.store.requests).toHaveLength(sent); // no renewal
    await lock.release();
    expect(cluster.holder()).toBeUndefined();
  });

  it('has come by the clock before any timer has fired', async () => {
    const { clock, pod } = setUp();
    const lock = await pod.acquire(JOB, options);
    clock.block(3_000);
    expect(lock.isHeld).toBe(false);
  });

  it('does not come after the release', async () => {
    const { clock, pod } = setUp();
    const lock = await pod.acquire(JOB, options);
    const { signal } = lock;
    await lock.release();
    await clock.advance(60_000);
    expect(signal.aborted).toBe(false);
    expect(pod.eventTypes()).toBe('acquired released');
  });
});

describe('the end of a hold', () => {
  it('comes once, even when the listener of the abort releases', async () => {
    const { clock, pod } = setUp();
    const lock = await pod.acquire();
    lock.signal.addEventListener('abort', () => void lock.release());
    clock.block(60_000);
    await lock.release();
    await settled();
    expect(pod.eventTypes()).toBe('acquired lost released');
  });
});
