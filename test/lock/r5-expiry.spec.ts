/** R5: a lease expires once its spec was observed unchanged for its duration, on the observer's own monotonic clock. */
import { describe, expect, it } from 'vitest';
import type { LeaseSpec } from '../../lib/kube/lease-store.js';
import { Cluster, foreignSpec, outcomeOf } from './processes.js';

const YEAR = 365 * 24 * 3_600_000;

describe('R5 expiry', () => {
  it('takes over a silent holder when its duration has passed since the record was first seen, and not sooner', async () => {
    const cluster = new Cluster();
    cluster.writeSpec(foreignSpec());
    const pod = cluster.process('pod');
    await cluster.clock.advance(60_000); // nobody looks: it does not count

    const acquired = outcomeOf(pod.acquire());
    await cluster.clock.advance(14_999);
    expect(acquired.state).toBe('pending');
    await cluster.clock.advance(1);
    expect(acquired.state).toBe('resolved');
    expect(cluster.holder()).toBe('pod');
  });

  it('counts from when the answer that showed the record had arrived, not from when it was asked for', async () => {
    const cluster = new Cluster();
    cluster.writeSpec(foreignSpec());
    const pod = cluster.process('pod');
    pod.store.plan({ answeredAfter: 3_000 }, 'get', 1);

    const acquired = outcomeOf(pod.acquire());
    await cluster.clock.advance(3_000 + 14_999);
    expect(acquired.state).toBe('pending');
    await cluster.clock.advance(1);
    expect(acquired.state).toBe('resolved');
  });

  it.each([
    ['in the far past', '1970-01-01T00:00:00.000000Z'],
    ['in the far future', '2286-11-20T17:46:39.000000Z'],
  ])('does not care for remote times %s', async (_, time) => {
    const cluster = new Cluster();
    cluster.writeSpec(foreignSpec({ acquireTime: time, renewTime: time }));
    const acquired = outcomeOf(cluster.process('pod').acquire());

    await cluster.clock.advance(14_999);
    expect(acquired.state).toBe('pending');
    await cluster.clock.advance(1);
    expect(acquired.state).toBe('resolved');
  });

  it.each([
    ['a year ahead', YEAR],
    ['a year behind', -YEAR],
  ])(
    'does not care whether the own wall clock is %s of that of a live holder',
    async (_, wallOffset) => {
      const cluster = new Cluster();
      const skewed = cluster.clock.elsewhere({ wallOffset });
      const holder = cluster.process('holder');
      const lock = await holder.acquire();
      const waiter = outcomeOf(cluster.process('waiter', skewed).acquire());

      await cluster.clock.advance(600_000);
      expect(waiter.state).toBe('pending');
      expect(lock.isHeld).toBe(true);
    },
  );

  it.each([
    ['a year ahead', YEAR],
    ['a year behind', -YEAR],
  ])(
    'does not care for the own wall clock being %s of that of a dead holder',
    async (_, wallOffset) => {
      const cluster = new Cluster();
      cluster.writeSpec(foreignSpec());
      const skewed = cluster.clock.elsewhere({ wallOffset });
      const acquired = outcomeOf(cluster.process('waiter', skewed).acquire());

      await cluster.clock.advance(14_999);
      expect(acquired.state).toBe('pending');
      await cluster.clock.advance(1);
      expect(acquired.state).toBe('resolved');
    },
  );

  it('does not care for steps of the wall clock while it counts', async () => {
    const cluster = new Cluster();
    cluster.writeSpec(foreignSpec());
    const acquired = outcomeOf(cluster.process('pod').acquire());

    await cluster.clock.advance(5_000);
    cluster.clock.stepWall(YEAR);
    await cluster.clock.advance(5_000);
    cluster.clock.stepWall(-2 * YEAR);
    await cluster.clock.advance(4_999);
    expect(acquired.state).toBe('pending');
    await cluster.clock.advance(1);
    expect(acquired.state).toBe('resolved');
  });

  it.each<[string, LeaseSpec]>([
    ['holder', { holderIdentity: 'another' }],
    ['renewTime', { renewTime: '2026-01-01T00:00:01.000000Z' }],
    ['acquireTime', { acquireTime: '2026-01-01T00:00:01.000000Z' }],
    ['transitions', { leaseTransitions: 8 }],
    ['duration', { leaseDurationSeconds: 20 }],
  ])('starts to count anew when the %s changes', async (_, change) => {
    const cluster = new Cluster();
    cluster.writeSpec(foreignSpec());
    const acquired = outcomeOf(cluster.process('pod').acquire());
    await cluster.clock.advance(10_000);
    cluster.writeSpec(foreignSpec(change));

    const duration = (change.leaseDurationSeconds ?? 15) * 1_000;
    await cluster.clock.advance(duration - 1);
    expect(acquired.state).toBe('pending');
    await cluster.clock.advance(1);
    expect(acquired.state).toBe('resolved');
  });

  it('goes on counting when nothing but the metadata changes', async () => {
    const cluster = new Cluster();
    cluster.writeSpec(foreignSpec());
    const acquired = outcomeOf(cluster.process('pod').acquire());

    for (const seconds of [3, 6, 9, 12]) {
      // oxlint-disable-next-line no-await-in-loop -- one moment after the other
      await cluster.clock.advance(3_000);
      cluster.write(({ metadata }) => {
        metadata.annotations = { seconds: String(seconds) };
      });
    }
    await cluster.clock.advance(2_999);
    expect(acquired.state).toBe('pending');
    await cluster.clock.advance(1);
    expect(acquired.state).toBe('resolved');
  });

  it('starts to count anew for a Lease that was deleted and made again, even with the same spec', async () => {
    const cluster = new Cluster();
    cluster.writeSpec(foreignSpec());
    const pod = cluster.process('pod');
    pod.store.watchesWork = false; // it never sees it gone: only the uid tells
    const acquired = outcomeOf(pod.acquire());
    await cluster.clock.advance(10_500);
    cluster.delete();
    cluster.writeSpec(foreignSpec());

    // Seen by the poll at 11 s.
    await cluster.clock.advance(500 + 14_999);
    expect(acquired.state).toBe('pending');
    await cluster.clock.advance(1);
    expect(acquired.state).toBe('resolved');
  });

  it('keeps counting over several tries that do not wait', async () => {
    const cluster = new Cluster();
    cluster.writeSpec(foreignSpec());
    const pod = cluster.process('pod');

    await expect(pod.try()).rejects.toMatchObject({ reason: 'held' });
    await cluster.clock.advance(14_999);
    await expect(pod.try()).rejects.toMatchObject({ reason: 'held' });
    await cluster.clock.advance(1);
    await expect(pod.try()).resolves.toMatchObject({ isHeld: true });
  });

  it('never takes a lock from a holder that renews', async () => {
    const cluster = new Cluster();
    const lock = await cluster.process('holder').acquire();
    const waiter = cluster.process('waiter');
    const acquired = outcomeOf(waiter.acquire());

    await cluster.clock.advance(600_000);
    expect(acquired.state).toBe('pending');
    expect(lock.isHeld).toBe(true);
    // One ticket, and looks.
    expect(waiter.store.verbs()).toMatch(/^get patch( get)+$/);
    expect(cluster.spec().holderIdentity).toBe(lock.holderIdentity);
  });
});
