/** A fire is skipped for a holder that is alive, and not for one that may be dead. */
import { describe, expect, it } from 'vitest';
import { LockBackendError } from '../../lib/lock.errors.js';
import { FireClaimedError } from '../../lib/lock/record/fire-claim.js';
import { settled } from './controlled-clock.js';
import { die, fire, observed, type Pod } from './fires.js';
import { foreignSpec, outcomeOf, type Cluster } from './processes.js';

/** A pod has held the lock for other work for two seconds; others have seen that. */
async function held() {
  const pods = await observed();
  const lock = await pods.a.acquire();
  await pods.clock.advance(2_000);
  return { ...pods, lock };
}

/** Work has ended at once, and its record stays taken for 90 seconds: until half of minute 1 is over. */
async function retained() {
  const pods = await observed();
  await (await pods.a.acquire('job', { minHold: 90_000 })).release();
  await settled();
  return pods;
}

/** A call that waits no longer than this. */
const wait = (waitTimeout: number) => ({
  minute: 1,
  mode: 'wait' as const,
  options: { waitTimeout },
});

describe('a fire that meets a holder', () => {
  it('is run when the lease of the holder expires, if it has died', async () => {
    const { a, b, clock } = await held();
    die(a);
    const call = outcomeOf(fire(b, { minute: 1 }));
    await clock.advance(12_999);
    expect(call.state).toBe('pending');
    await clock.advance(1);
    expect(call.state).toBe('resolved');
    expect(b.store.verbs()).toMatch(/update$/);
  });

  it('is run by one of all callers that found the holder dead', async () => {
    const { cluster, a, b, c, clock } = await held();
    die(a);
    const calls = [b, c, cluster.process('late')].map((pod) =>
      outcomeOf(fire(pod, { minute: 1 })),
    );
    await clock.advance(20_000);
    expect(calls.map(({ state }) => state).toSorted()).toEqual([
      'rejected',
      'rejected',
      'resolved',
    ]);
    expect(
      calls.every(
        ({ state, reason }) =>
          state === 'resolved' || reason instanceof FireClaimedError,
      ),
    ).toBe(true);
  });

  it('is not given up for a waitTimeout that is over while another of its process asks for the lock of a dead holder', async () => {
    const { a, b, clock } = await held();
    die(a);
    const first = outcomeOf(fire(b, wait(60_000)));
    await clock.advance(12_000);
    b.store.plan({ appliedAfter: 500 }, 'update', 1);
    const second = outcomeOf(fire(b, { ...wait(1_200), minute: 2 }));
    await clock.advance(1_400);
    expect(second.state).toBe('pending');
    await clock.advance(200);
    // Now a holder that is alive is known.
    const { holderIdentity } = first.value!;
    expect(second.reason).toMatchObject({ holder: holderIdentity });
  });

  it('is skipped as soon as the holder renews', async () => {
    const { b, lock, clock } = await held();
    const call = outcomeOf(fire(b, { minute: 1 }));
    await clock.advance(2_999);
    expect(call.state).toBe('pending');
    await clock.advance(1);
    expect(call.reason).toMatchObject({
      reason: 'held',
      holder: lock.holderIdentity,
    });
  });

  it('is skipped as soon as the holder releases, since it was due during its run', async () => {
    const { cluster, b, lock, clock } = await held();
    const call = outcomeOf(fire(b, { minute: 1 }));
    await clock.advance(10);
    await lock.release();
    await settled();
    expect(call.reason).toMatchObject({
      reason: 'held',
      holder: lock.holderIdentity,
    });
    expect(cluster.holder()).toBeUndefined();
  });

  it('is not left out for a sign of life from before, that is only seen now', async () => {
    const { cluster, a, clock } = await held();
    const blind = cluster.process('blind');
    blind.store.watchesWork = false;
    await blind.inspect();
    await clock.advance(4_000); // renewed at 5 s
    die(a);
    await clock.advance(2_000);
    const call = outcomeOf(fire(blind, { minute: 1 }));
    await clock.advance(14_999);
    expect(call.state).toBe('pending');
    await clock.advance(1);
    expect(call.state).toBe('resolved');
  });

  it('is not left out for one that has ended before, as is only seen now', async () => {
    const { b, lock, clock } = await held();
    b.store.watchesWork = false;
    await lock.release();
    await clock.advance(1_000);
    const call = outcomeOf(fire(b, { minute: 1 }));
    await clock.advance(100);
    expect(call.state).toBe('resolved');
  });

  it('is not left out for one that ended just before, as its watch tells late', async () => {
    const { cluster, b, lock, clock } = await held();
    b.store.watchDelay = 20;
    await lock.release();
    await clock.advance(1);
    const call = outcomeOf(fire(b, { minute: 1 }));
    await clock.advance(100);
    expect(call.state).toBe('resolved');
    expect(cluster.holder()).toBe('b');
  });

  it.each([
    ['an administrator', (pod: Pod) => pod.forceRelease()],
    ['a person', async (_: Pod, cluster: Cluster) => cluster.delete()],
  ])('is run when %s frees the lock of the dead', async (_, free) => {
    const { cluster, a, b, c, clock } = await held();
    die(a);
    const call = outcomeOf(fire(b, { minute: 1 }));
    await clock.advance(1_000);
    await free(c, cluster);
    await clock.advance(100);
    expect(call.state).toBe('resolved');
  });

  it('is run when what holds the lock was never wanted any more, and is withdrawn', async () => {
    const { a, b, clock } = await observed();
    const caller = new AbortController();
    a.store.plan({ answeredAfter: 1_000 }, ['update'], 1);
    const unwanted = outcomeOf(a.acquire('job', {}, caller.signal));
    await clock.advance(500);
    const call = outcomeOf(fire(b, { minute: 1 }));
    await clock.advance(10);
    caller.abort();
    await clock.advance(1_000);
    expect(unwanted.state).toBe('rejected');
    expect(call.state).toBe('resolved');
  });

  it.each([
    ['skip', 'server'],
    ['skip', 'throttled'],
    ['wait', 'throttled'],
  ] as const)(
    'is not lost by a request that fails meanwhile: under %s, %s',
    async (mode, reason) => {
      const { a, b, clock } = await held();
      die(a);
      const options = { waitTimeout: 1_000 };
      const call = outcomeOf(fire(b, { minute: 1, mode, options }));
      await clock.advance(8_000);
      b.store.plan({ refused: { reason } }, ['get', 'update'], 1);
      await clock.advance(4_900);
      b.store.plan({ refused: { reason } }, ['update'], 1);
      expect(call.state).toBe('pending');
      await clock.advance(1_000);
      expect(call.state).toBe('resolved');
    },
  );

  it('ends with the failure if the API server fails for longer than waitTimeout beyond that', async () => {
    const { a, b, clock } = await held();
    die(a);
    const options = { waitTimeout: 2_000 };
    const call = outcomeOf(fire(b, { minute: 1, options }));
    await clock.advance(1_000);
    die(b);
    await clock.advance(13_900);
    expect(call.state).toBe('pending');
    await clock.advance(10_000);
    expect(call.reason).toBeInstanceOf(LockBackendError);
    expect(clock.pending()).toBeLessThan(3);
  });

  it('is not skipped for a call of the same process that does not get the lock', async () => {
    const { a, b, clock } = await held();
    die(a);
    b.store.plan({ answeredAfter: 100 }, ['get'], 1);
    const tried = outcomeOf(b.try());
    const waited = outcomeOf(b.acquire('job', { waitTimeout: 5_000 }));
    const call = outcomeOf(fire(b, { minute: 1 }));
    await clock.advance(12_999);
    expect([tried.state, waited.state, call.state]).toEqual([
      'rejected',
      'rejected',
      'pending',
    ]);
    await clock.advance(1);
    expect(call.state).toBe('resolved');
  });

  it('does not stay for ever behind a call of its process that the API server does not answer', async () => {
    const { a, b, clock } = await held();
    die(a);
    die(b);
    const first = outcomeOf(b.acquire());
    const options = { waitTimeout: 2_000 };
    const call = outcomeOf(fire(b, { minute: 1, options }));
    await clock.advance(14_999);
    expect(call.state).toBe('pending');
    await clock.advance(1);
    expect(call.reason).toBeInstanceOf(LockBackendError);
    expect(first.state).toBe('pending');
  });

  it('is left out at once while its own process works under the lock', async () => {
    const { a, lock } = await held();
    await expect(fire(a, { minute: 1 })).rejects.toMatchObject({
      reason: 'held',
      holder: lock.holderIdentity,
    });
  });

  it('is left out behind another call of its process as soon as the holder renews', async () => {
    const { b, clock } = await held();
    const first = outcomeOf(b.acquire());
    const call = outcomeOf(fire(b, { minute: 1 }));
    await clock.advance(2_999);
    expect(call.state).toBe('pending');
    await clock.advance(1);
    expect(call.reason).toMatchObject({ reason: 'held' });
    expect(first.state).toBe('pending');
  });

  it('is skipped for the fire before it, which runs late', async () => {
    const { a, b, clock } = await held();
    die(a);
    const first = outcomeOf(fire(b, { minute: 1 }));
    const second = outcomeOf(fire(b, { minute: 2 }));
    await clock.advance(12_999);
    expect([first.state, second.state]).toEqual(['pending', 'pending']);
    await clock.advance(1);
    expect(first.state).toBe('resolved');
    expect(second.reason).toMatchObject({
      reason: 'held',
      holder: first.value?.holderIdentity,
    });
  });

  it.each([
    ['without a duration', { leaseDurationSeconds: null }],
    ['of more than an hour', { leaseDurationSeconds: 3_601 }],
  ])('is left out at once for a lease %s', async (_, spec) => {
    const { cluster, b, clock } = await observed();
    cluster.writeSpec(foreignSpec(spec));
    await settled();
    await expect(fire(b, { minute: 1 })).rejects.toMatchObject({
      reason: 'held',
    });
    expect(clock.elapsed).toBe(0);
  });
});

describe('a fire that waits', () => {
  it.each([0, 4_000])(
    'for %i ms at most is run all the same when its holder turns out to be dead',
    async (waitTimeout) => {
      const { a, b, clock } = await held();
      die(a);
      const call = outcomeOf(fire(b, wait(waitTimeout)));
      await clock.advance(12_999);
      expect(call.state).toBe('pending');
      await clock.advance(1);
      expect(call.state).toBe('resolved');
    },
  );

  it('is run if the lease of its holder expires just then', async () => {
    const { a, b, clock } = await held();
    die(a);
    const call = outcomeOf(fire(b, wait(13_000)));
    await clock.advance(12_999);
    expect(call.state).toBe('pending');
    await clock.advance(100);
    expect(call.state).toBe('resolved');
  });

  it('is run if its write is under way just then', async () => {
    const { b, clock } = await observed();
    b.store.plan({ answeredAfter: 500 }, ['update'], 1);
    const call = outcomeOf(fire(b, wait(100)));
    await clock.advance(1_000);
    expect(call.state).toBe('resolved');
  });

  it('gives up in time for a holder that has renewed meanwhile', async () => {
    const { b, lock, clock } = await held();
    const call = outcomeOf(fire(b, wait(6_000)));
    await clock.advance(5_999);
    expect(call.state).toBe('pending');
    await clock.advance(1);
    expect(call.reason).toMatchObject({
      reason: 'timeout',
      holder: lock.holderIdentity,
    });
  });

  it('gives up later when it is only then seen to be alive', async () => {
    const { b, clock } = await held();
    const call = outcomeOf(fire(b, wait(2_000)));
    await clock.advance(2_999);
    expect(call.state).toBe('pending');
    await clock.advance(1);
    expect(call.reason).toMatchObject({ reason: 'timeout' });
  });

  it('gives up in time behind a call of the same process', async () => {
    const { a, clock } = await held();
    const call = outcomeOf(fire(a, wait(3_000)));
    await clock.advance(3_000);
    expect(call.reason).toMatchObject({ reason: 'timeout' });
  });

  it('takes what is released in time', async () => {
    const { b, lock, clock } = await held();
    const call = outcomeOf(fire(b, wait(6_000)));
    await clock.advance(2_000);
    await lock.release();
    await clock.advance(1_000);
    expect(call.state).toBe('resolved');
  });
});

describe('a fire that meets the rest of minHold', () => {
  it('is left out at once if it was planned for before the end', async () => {
    const { cluster, b } = await retained();
    for (const pod of [b, cluster.process('late')]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await expect(fire(pod, { minute: 1.4 })).rejects.toMatchObject({
        reason: 'held',
      });
    }
  });

  it('is run at once if it was due after minHold, by a process that has watched the lock', async () => {
    const { b, clock } = await retained();
    await clock.advance(90_000);
    await expect(fire(b, { minute: 1.6 })).resolves.toMatchObject({
      isHeld: true,
    });
  });

  it('is run at most a second late, since others see whole seconds', async () => {
    const { a, b, clock } = await observed();
    await (await a.acquire('job', { minHold: 59_600 })).release();
    await clock.advance(60_000);
    const call = outcomeOf(fire(b, { minute: 1 }));
    await clock.advance(100);
    expect(call.state).toBe('resolved');
  });

  it('is run late by a process that has not, when those that have are gone', async () => {
    const { cluster, clock } = await retained();
    await clock.advance(40_000);
    const late = cluster.process('late');
    late.observe();
    await clock.advance(56_000); // 00:01:36
    const call = outcomeOf(fire(late, { minute: 1.6 }));
    await clock.advance(33_999);
    expect(call.state).toBe('pending');
    await clock.advance(1);
    expect(call.state).toBe('resolved');
  });
});
