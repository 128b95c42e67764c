/** R3: a renewal moves both times, so that every kind of peer sees the holder alive; the true time of acquisition stays. */
import { describe, expect, it } from 'vitest';
import { settled } from './controlled-clock.js';
import { Cluster, foreignSpec, JOB } from './processes.js';

/** How k8slock judges: by acquireTime and the wall clock. */
function wouldK8slockSteal({ clock, spec }: CallableCluster): boolean {
  const { acquireTime, leaseDurationSeconds } = spec();
  const expiry = Date.parse(acquireTime!) + leaseDurationSeconds! * 1_000;
  return expiry <= clock.wallMicroseconds() / 1_000;
}
type CallableCluster = {
  clock: Cluster['clock'];
  spec: () => ReturnType<Cluster['spec']>;
};

describe('R3 a renewal', () => {
  it('moves renewTime and acquireTime, and nothing else of the spec', async () => {
    const cluster = new Cluster();
    await cluster.process('pod').acquire();
    const before = cluster.spec();
    await cluster.clock.advance(5_000);

    expect(cluster.spec()).toEqual({
      ...before,
      acquireTime: '2026-01-01T00:00:05.000000Z',
      renewTime: '2026-01-01T00:00:05.000000Z',
    });
  });

  it('comes once a renewInterval, as long as the lock is held', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    const lock = await pod.acquire(JOB, { renewInterval: 2_000 });
    await cluster.clock.advance(60_000);

    expect(pod.store.requests.slice(2).map(({ verb }) => verb)).toEqual(
      Array.from({ length: 30 }, () => 'update'),
    );
    expect(lock.isHeld).toBe(true);
  });

  it('never comes with autoRenew false: the lock is lost at its deadline', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    const lock = await pod.acquire(JOB, { autoRenew: false });
    await cluster.clock.advance(13_499);
    expect(lock.isHeld).toBe(true);
    await cluster.clock.advance(1);

    expect(lock.isHeld).toBe(false);
    expect(pod.store.verbs()).toMatch(/^get create( get)+$/);
    expect(pod.events.at(-1)).toMatchObject({ reason: 'deadline' });
  });

  it('keeps a peer that judges by acquireTime from stealing, however long the lock is held', async () => {
    const cluster = new Cluster();
    await cluster.process('pod').acquire();
    const peerView = { clock: cluster.clock, spec: () => cluster.spec() };
    for (let second = 0; second < 120; second++) {
      // oxlint-disable-next-line no-await-in-loop -- one second after the other
      await cluster.clock.advance(1_000);
      expect(wouldK8slockSteal(peerView), `after ${second} s`).toBe(false);
    }
  });

  it('changes renewTime even while the wall clock stands still or goes back', async () => {
    const cluster = new Cluster();
    await cluster.process('pod').acquire();
    const seen = [cluster.spec().renewTime];
    for (const step of [-5_000, -5_000, -60_000]) {
      cluster.clock.stepWall(step);
      // oxlint-disable-next-line no-await-in-loop -- one renewal after the other
      await cluster.clock.advance(5_000);
      const { renewTime, acquireTime } = cluster.spec();
      expect(renewTime).not.toBe(seen.at(-1));
      expect(acquireTime).toBe(renewTime);
      seen.push(renewTime);
    }
  });

  it('leaves the fencing token as it is: that of the acquiring write', async () => {
    const cluster = new Cluster();
    const lock = await cluster.process('pod').acquire();
    const token = BigInt(cluster.lease()!.metadata.resourceVersion);
    await cluster.clock.advance(60_000);

    expect(lock.fencingToken).toBe(token);
    expect(BigInt(cluster.lease()!.metadata.resourceVersion)).toBeGreaterThan(
      token,
    );
  });
});

describe('R3 the true time of acquisition', () => {
  it('is what inspect tells, however often the lock was renewed', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    await cluster.clock.advance(1_500);
    await pod.acquire();
    await cluster.clock.advance(60_000);

    await expect(cluster.process('other').inspect()).resolves.toMatchObject({
      state: 'held',
      since: new Date('2026-01-01T00:00:01.500Z'),
      renewedAt: new Date('2026-01-01T00:01:01.500Z'),
      leaseDuration: 15_000,
      until: new Date('2026-01-01T00:01:16.500Z'),
    });
  });

  it('is not that of a former holder, whose annotation a peer left standing', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    const lock = await pod.acquire();
    await cluster.clock.advance(20_000);
    const acquireTime = '2026-01-01T00:00:20.000000Z';
    cluster.writeSpec(foreignSpec({ acquireTime, renewTime: acquireTime }));
    await settled();
    expect(cluster.lease()!.metadata.annotations).toMatchObject({
      'nestjs-k8s-lock/acquired-at': expect.stringContaining(
        lock.holderIdentity,
      ),
    });

    await expect(pod.inspect()).resolves.toMatchObject({
      holder: 'stranger',
      since: new Date(acquireTime),
    });
  });
});
