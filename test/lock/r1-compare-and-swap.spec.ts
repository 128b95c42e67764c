/** R1: every write is a compare-and-swap, so that no foreign write is ever overwritten. */
import { describe, expect, it } from 'vitest';
import { Cluster, foreignSpec, JOB, keyOf, outcomeOf } from './processes.js';
import { settled } from './controlled-clock.js';

describe('R1 every write is a compare-and-swap', () => {
  it('names the uid and the resourceVersion in every write to a Lease that exists', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    const { uid } = cluster.writeSpec({}).metadata;

    const released = await pod.acquire();
    await cluster.clock.advance(5_000); // a renewal
    await released.release();
    await cluster.clock.advance(1_000);
    const retained = await pod.acquire(JOB, { minHold: 3_000 });
    await retained.release();
    await pod.forceRelease();
    const deleted = await pod.acquire(JOB, { deleteOnRelease: true });
    const { resourceVersion } = cluster.lease()!.metadata;
    await deleted.release();

    const writes = pod.store.requests.filter(({ verb }) => verb !== 'get');
    expect(writes.map(({ verb }) => verb).join(' ')).toBe(
      'update update update update update update update delete',
    );
    for (const { lease, precondition } of writes) {
      const named = precondition ?? lease!.metadata;
      expect(named.uid).toBe(uid);
      expect(named.resourceVersion).toMatch(/^\d+$/);
    }
    expect(writes.at(-1)!.precondition).toEqual({ uid, resourceVersion });
  });

  it('creates a Lease that does not exist without naming a version', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    await pod.acquire();

    expect(pod.store.verbs()).toBe('get create');
    const { metadata } = pod.store.requests[1]!.lease!;
    expect(metadata).not.toHaveProperty('uid');
    expect(metadata).not.toHaveProperty('resourceVersion');
  });

  it('gives a Lease that two processes create at the same moment to one of them', async () => {
    const cluster = new Cluster();
    const [a, b] = [cluster.process('a'), cluster.process('b')];
    for (const { store } of [a, b]) {
      store.plan({ appliedAfter: 10 }, 'create');
    }

    const outcomes = [a, b].map((pod) => outcomeOf(pod.acquire()));
    await cluster.clock.advance(10);

    expect([a, b].map(({ store }) => store.verbs().slice(0, 10))).toEqual([
      'get create',
      'get create',
    ]);
    expect(outcomes.map(({ state }) => state)).toEqual(['resolved', 'pending']);
    expect(cluster.holder()).toBe('a');
  });

  it('does not take a lock that another client took after it was last seen free', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    await (await pod.acquire()).release();
    cluster.writeSpec(foreignSpec());
    pod.store.requests.length = 0;

    const waiting = outcomeOf(pod.acquire());
    await settled();

    expect(pod.store.verbs()).toBe('update get');
    expect(waiting.state).toBe('pending');
    expect(cluster.spec()).toEqual(foreignSpec());
  });

  it('does not write over a record that it has not judged, at whatever moment it arrives', async () => {
    // Between the judgement and the write nothing may be seen: tried at every turn of the microtasks.
    for (let turns = 0; turns < 30; turns++) {
      const cluster = new Cluster();
      cluster.writeSpec(foreignSpec());
      const pod = cluster.process('pod');
      outcomeOf(pod.acquire());
      // oxlint-disable-next-line no-await-in-loop -- one try after the other
      await settled();
      pod.store.watchesWork = false;
      const free = cluster.writeSpec({});
      const taken = cluster.writeSpec(foreignSpec({ holderIdentity: 'b' }));

      pod.store.tellWatches(free);
      for (let turn = 0; turn < turns; turn++) {
        // oxlint-disable-next-line no-await-in-loop -- counts turns
        await Promise.resolve();
      }
      pod.store.tellWatches(taken);
      // oxlint-disable-next-line no-await-in-loop -- one try after the other
      await settled();
      expect(cluster.holder(), `after ${turns} turns`).toBe('b');
    }
  });

  it('does not take a lock whose silent holder renews in the last moment', async () => {
    const cluster = new Cluster();
    cluster.writeSpec(foreignSpec());
    const pod = cluster.process('pod');
    pod.store.watchesWork = false;
    const waiting = outcomeOf(pod.acquire(JOB, { retryInterval: 60_000 }));
    await cluster.clock.advance(14_999);
    const renewed = foreignSpec({ renewTime: '2026-01-01T00:00:15.000000Z' });
    cluster.writeSpec(renewed);

    await cluster.clock.advance(1);
    expect(pod.store.verbs()).toBe('get update get');
    expect(cluster.spec()).toEqual(renewed);

    await cluster.clock.advance(14_999);
    expect(waiting.state).toBe('pending');
    await cluster.clock.advance(10); // after a conflict contenders keep apart
    expect(waiting.state).toBe('resolved');
  });

  it.each(['renewal', 'release'] as const)(
    'keeps what others wrote to the Lease before a %s',
    async (write) => {
      const cluster = new Cluster();
      const pod = cluster.process('pod');
      const lock = await pod.acquire();
      cluster.write(({ metadata }) => {
        metadata.labels = { ...metadata.labels, team: 'blue' };
        metadata.annotations = { ...metadata.annotations, note: 'hands off' };
      });
      pod.store.requests.length = 0;

      if (write === 'renewal') {
        await cluster.clock.advance(5_000);
      } else {
        await lock.release();
      }

      expect(pod.store.verbs()).toBe('update get update');
      expect(cluster.lease()!.metadata.labels).toHaveProperty('team', 'blue');
      expect(cluster.lease()!.metadata.annotations).toHaveProperty(
        'note',
        'hands off',
      );
      expect(cluster.holder()).toBe(write === 'renewal' ? 'pod' : undefined);
    },
  );

  it('does not bring a deleted Lease back with a write meant for it', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    const lock = await pod.acquire();
    cluster.delete();

    await lock.release();
    expect(cluster.storage.get(keyOf(JOB))).toBeUndefined();
  });
});
