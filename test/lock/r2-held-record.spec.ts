/** R2: a record that names a holder carries everything that peers rely on. */
import { describe, expect, it } from 'vitest';
import { Cluster, foreignSpec, JOB, outcomeOf } from './processes.js';

const MICRO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;
const GREATEST_INT32 = 2_147_483_647;

describe('R2 the record of a holder', () => {
  it('is complete when the Lease is created', async () => {
    const cluster = new Cluster();
    const lock = await cluster.process('pod').acquire();

    expect(cluster.spec()).toEqual({
      holderIdentity: lock.holderIdentity,
      leaseDurationSeconds: 15,
      acquireTime: '2026-01-01T00:00:00.000000Z',
      renewTime: '2026-01-01T00:00:00.000000Z',
      leaseTransitions: 0,
    });
    expect(cluster.lease()!.metadata).toMatchObject({
      labels: { 'app.kubernetes.io/managed-by': 'nestjs-k8s-lock' },
      annotations: {
        'nestjs-k8s-lock/acquired-at': `2026-01-01T00:00:00.000000Z by ${lock.holderIdentity}`,
      },
    });
  });

  it('is complete when a free Lease is taken', async () => {
    const cluster = new Cluster();
    cluster.writeSpec({});
    await cluster.clock.advance(61_000.123);
    const lock = await cluster.process('pod').acquire();

    expect(cluster.spec()).toEqual({
      holderIdentity: lock.holderIdentity,
      leaseDurationSeconds: 15,
      acquireTime: '2026-01-01T00:01:01.000123Z',
      renewTime: '2026-01-01T00:01:01.000123Z',
      leaseTransitions: 1,
    });
  });

  it('is complete when the Lease is taken over from a dead holder', async () => {
    const cluster = new Cluster();
    cluster.writeSpec(
      foreignSpec({ leaseDurationSeconds: 3, leaseTransitions: 41 }),
    );
    const acquired = outcomeOf(
      cluster.process('pod').acquire(JOB, { leaseDuration: 60_000 }),
    );
    await cluster.clock.advance(3_000);

    expect(cluster.spec()).toEqual({
      holderIdentity: acquired.value!.holderIdentity,
      leaseDurationSeconds: 60,
      acquireTime: '2026-01-01T00:00:03.000000Z',
      renewTime: '2026-01-01T00:00:03.000000Z',
      leaseTransitions: 42,
    });
  });

  it('is complete after a renewal, even if somebody took fields away', async () => {
    const cluster = new Cluster();
    const lock = await cluster.process('pod').acquire();
    cluster.writeSpec({ holderIdentity: lock.holderIdentity });
    await cluster.clock.advance(5_000);

    expect(cluster.spec()).toMatchObject({
      holderIdentity: lock.holderIdentity,
      leaseDurationSeconds: 15,
      acquireTime: '2026-01-01T00:00:05.000000Z',
      renewTime: '2026-01-01T00:00:05.000000Z',
    });
  });

  it('is complete in every write of a life: created, renewed, retained, taken again, handed over', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    const first = await pod.acquire(JOB, { minHold: 12_500 });
    const second = outcomeOf(pod.acquire());
    await cluster.clock.advance(11_000);
    await first.release();
    await cluster.clock.advance(20_000);
    const third = outcomeOf(pod.acquire());
    await second.value!.release();
    await cluster.clock.advance(1_000);
    expect(third.state).toBe('resolved');

    const written = pod.store.requests.flatMap(({ lease }) => lease ?? []);
    expect(written.length).toBeGreaterThan(6);
    for (const { spec } of written) {
      expect(spec).toEqual({
        holderIdentity: expect.stringMatching(/^pod_/),
        leaseDurationSeconds: expect.any(Number),
        acquireTime: expect.stringMatching(MICRO_TIME),
        renewTime: expect.stringMatching(MICRO_TIME),
        leaseTransitions: expect.any(Number),
      });
      expect(spec!.leaseDurationSeconds).toBeGreaterThanOrEqual(1);
    }
  });

  it.each([
    ['infinite' as const, GREATEST_INT32],
    [1_000, 1],
    [90_000, 90],
  ])(
    'says leaseDuration %s as %d seconds, and keeps to it when it renews',
    async (leaseDuration, seconds) => {
      const cluster = new Cluster();
      const options = { leaseDuration, safetyMargin: 100, renewInterval: 300 };
      await cluster.process('pod').acquire(JOB, options);
      expect(cluster.spec().leaseDurationSeconds).toBe(seconds);
      const { resourceVersion } = cluster.lease()!.metadata;

      await cluster.clock.advance(300);
      expect(cluster.lease()!.metadata.resourceVersion).not.toBe(
        resourceVersion,
      );
      expect(cluster.spec().leaseDurationSeconds).toBe(seconds);
    },
  );

  it.each([
    [undefined, 1],
    [0, 1],
    [GREATEST_INT32 - 2, GREATEST_INT32 - 1],
    // A peer that adds 1 to the greatest value could never write again.
    [GREATEST_INT32 - 1, 0],
    [GREATEST_INT32, 0],
  ])(
    'counts transitions on from %s to %d, once for a holder',
    async (before, after) => {
      const cluster = new Cluster();
      cluster.writeSpec(
        before === undefined ? {} : { leaseTransitions: before },
      );
      await cluster.process('pod').acquire();
      expect(cluster.spec().leaseTransitions).toBe(after);

      await cluster.clock.advance(60_000);
      expect(cluster.spec().leaseTransitions).toBe(after);
    },
  );

  it('counts a transition for each acquisition, also within one process', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    const first = await pod.acquire();
    const second = outcomeOf(pod.acquire());
    await first.release();
    await cluster.clock.advance(0);
    await second.value!.release();
    await pod.acquire();

    expect(cluster.spec().leaseTransitions).toBe(2);
  });

  it('stays held for others when the work has ended before minHold, for the rest in whole seconds', async () => {
    const cluster = new Cluster();
    const lock = await cluster.process('pod').acquire(JOB, { minHold: 9_500 });
    await cluster.clock.advance(2_000);
    await lock.release();

    expect(cluster.spec()).toEqual({
      holderIdentity: lock.holderIdentity,
      leaseDurationSeconds: 8,
      acquireTime: '2026-01-01T00:00:02.000000Z',
      renewTime: '2026-01-01T00:00:02.000000Z',
      leaseTransitions: 0,
    });
  });

  it('names the lock as its user wrote it', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    await pod.acquire();
    expect(cluster.lease()!.metadata.annotations).toHaveProperty(
      ['nestjs-k8s-lock/name'],
      JOB,
    );

    await pod.acquireAs('Order #7', 'order-7--0');
    expect(cluster.lease('order-7--0')!.metadata.annotations).toHaveProperty(
      ['nestjs-k8s-lock/name'],
      'Order #7',
    );
  });
});
