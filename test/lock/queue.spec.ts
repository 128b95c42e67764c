/** The queue of a process: first come, first served; its head alone asks the API server; a lock passes on in one write. */
import { describe, expect, it, vi } from 'vitest';
import type { LeaseLock } from '../../lib/lock/hold/lease-lock.js';
import { settled } from './controlled-clock.js';
import type { MemoryLeaseStore } from './memory-lease-store.js';
import {
  Cluster,
  foreignSpec,
  JOB,
  outcomeOf,
  type LockProcess,
  type Outcome,
} from './processes.js';

/** So many callers wait for the lock; `order` fills with their numbers as they get it. */
function waiters(pod: LockProcess<MemoryLeaseStore>, count: number) {
  const order: number[] = [];
  const outcomes: Outcome<LeaseLock>[] = [];
  for (let i = 0; i < count; i++) {
    outcomes.push(
      outcomeOf(
        pod.acquire().then((lock) => {
          order.push(i);
          return lock;
        }),
      ),
    );
  }
  return { order, outcomes };
}

describe('the queue of a process', () => {
  it('serves first who came first', async () => {
    const pod = new Cluster().process('pod');
    const { order, outcomes } = waiters(pod, 6);
    for (let i = 0; i < 6; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await settled();
      expect(order).toEqual(Array.from({ length: i + 1 }, (_, n) => n));
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await outcomes[i]!.value!.release();
    }
  });

  it('lets its head alone speak to the API server', async () => {
    const cluster = new Cluster();
    cluster.writeSpec(foreignSpec());
    const pod = cluster.process('pod');
    waiters(pod, 20);
    await settled();

    expect(pod.store.verbs()).toBe('get');
    expect(pod.store.openWatches).toBe(1);
    await cluster.clock.advance(10_000);
    expect(pod.store.requests.length).toBeLessThanOrEqual(11); // one poll a second
    expect(pod.store.openWatches).toBe(1);
  });

  it('sends nothing for waiters behind a holder of the same process', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    await pod.acquire(JOB, { leaseDuration: 'infinite', renewInterval: 1e9 });
    waiters(pod, 20);
    await cluster.clock.advance(3_600_000);

    // An infinite lock is created free, and taken by the next write.
    expect(pod.store.verbs()).toBe('get create update');
    expect(pod.store.openWatches).toBe(0);
  });

  it('is one for each lock', async () => {
    const pod = new Cluster().process('pod');
    await pod.acquire('a');
    await expect(pod.acquire('b')).resolves.toMatchObject({ name: 'b' });
  });

  it.each(['try', 'skip'] as const)(
    'turns a mere %s away at once while somebody of the process holds the lock',
    async (call) => {
      const pod = new Cluster().process('pod');
      await pod.acquire();
      await expect(pod[call]()).rejects.toMatchObject({ reason: 'held' });
      expect(pod.store.verbs()).toBe('get create');
    },
  );

  it('goes on when its head fails for good', async () => {
    const pod = new Cluster().process('pod');
    pod.store.plan({ refused: { reason: 'forbidden', status: 403 } }, 'get', 1);
    const { outcomes } = waiters(pod, 2);
    await settled();

    expect(outcomes.map(({ state }) => state)).toEqual([
      'rejected',
      'resolved',
    ]);
  });

  it('goes on when a holder loses its lock, before its release', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    const lock = await pod.acquire(JOB, { autoRenew: false });
    const { outcomes } = waiters(pod, 1);
    await cluster.clock.advance(13_500);
    expect(lock.isHeld).toBe(false);
    await cluster.clock.advance(1_500);

    expect(outcomes[0]!.state).toBe('resolved');
    await lock.release();
    await cluster.clock.advance(60_000);
    expect(outcomes[0]!.value!.isHeld).toBe(true);
  });
});

describe('a handover within a process', () => {
  it('is one write: the release of one and the acquisition of the next', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    const { outcomes } = waiters(pod, 3);
    await settled();
    expect(pod.store.verbs()).toBe('get create');

    await outcomes[0]!.value!.release();
    await settled();
    expect(pod.store.verbs()).toBe('get create update');
    await outcomes[1]!.value!.release();
    await settled();
    expect(pod.store.verbs()).toBe('get create update update');
    expect(cluster.spec().holderIdentity).toBe(
      outcomes[2]!.value!.holderIdentity,
    );
  });

  it('gives the next a greater token', async () => {
    const pod = new Cluster().process('pod');
    const { outcomes } = waiters(pod, 2);
    await settled();
    const first = outcomes[0]!.value!;
    await first.release();
    await settled();
    expect(outcomes[1]!.value!.fencingToken).toBeGreaterThan(
      first.fencingToken,
    );
  });

  it('turns into a release when the successor is cancelled before it wrote', async () => {
    const cluster = new Cluster();
    cluster.writeSpec({});
    const pod = cluster.process('pod');
    const lock = await pod.acquire();
    const abort = new AbortController();
    const successor = outcomeOf(pod.acquire(JOB, {}, abort.signal));
    pod.store.plan({ breaks: 'unsent' }, 'update', 1);
    await lock.release(); // handed over: the successor's write fails, and it waits to try again
    await settled();
    expect(cluster.spec().holderIdentity).toBe(lock.holderIdentity);

    abort.abort(new Error('not any more'));
    await settled();
    expect(successor.state).toBe('rejected');
    expect(cluster.holder()).toBeUndefined();
    await cluster.clock.advance(60_000);
    expect(cluster.clock.pending()).toBe(0);
  });

  it('goes to the one after when the successor is cancelled', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    const lock = await pod.acquire();
    const abort = new AbortController();
    outcomeOf(pod.acquire(JOB, {}, abort.signal));
    const last = outcomeOf(pod.acquire());
    pod.store.plan({ breaks: 'unsent' }, 'update', 1);
    await lock.release();
    await settled();
    abort.abort();
    await settled();

    expect(last.state).toBe('resolved');
    expect(cluster.spec().holderIdentity).toBe(last.value!.holderIdentity);
  });

  it('goes on when a former holder ends that has lost its lock', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    pod.observe();
    const lost = await pod.acquire();
    await cluster.process('admin').forceRelease();
    await cluster.clock.advance(100);
    const lock = await pod.acquire();
    const next = outcomeOf(pod.acquire());
    pod.store.plan({ breaks: 'unsent' }, 'update', 1);
    await lock.release(); // left to the next, whose write fails
    await lost.release();
    await cluster.clock.advance(1_000);

    expect(next.state).toBe('resolved');
    expect(cluster.spec().holderIdentity).toBe(next.value!.holderIdentity);
  });

  it('takes place so often in a row that others wait for little, and not for ever', async () => {
    const cluster = new Cluster();
    const busy = cluster.process('busy');
    const other = cluster.process('other');
    for (const { store } of [busy, other]) {
      store.plan({ appliedAfter: 1, answeredAfter: 1 }, ['get', 'update']);
    }
    const order: string[] = [];
    const use = async (
      pod: LockProcess<MemoryLeaseStore>,
      name: string,
    ): Promise<void> => {
      const lock = await pod.acquire();
      order.push(name);
      await lock.release();
    };
    for (let i = 0; i < 200; i++) {
      void use(busy, 'busy');
    }
    await settled();
    void use(other, 'other');
    await cluster.clock.advance(10_000);

    expect(order).toHaveLength(201);
    // One that had the lock, one that got it while the other enrolled, and two handovers in a row.
    expect(order.indexOf('other')).toBeLessThanOrEqual(4);
    expect(order.indexOf('other')).toBeGreaterThan(0);
  });
});

describe('an observed or waited-for lock that is freed by another process', () => {
  it('is held without a further request, since its holder writes who is the next', async () => {
    const cluster = new Cluster();
    const holder = cluster.process('holder');
    const lock = await holder.acquire();
    holder.observe();
    const pod = cluster.process('pod');
    const waiting = outcomeOf(pod.acquire());
    await settled();
    await lock.release();
    await settled();

    expect(waiting.state).toBe('resolved');
    expect(pod.store.verbs()).toBe('get patch');
    expect(holder.store.verbs()).toBe('get create patch');
    expect(cluster.clock.elapsed).toBe(0);
  });

  it('is found free by the poll when the watch is dead', async () => {
    const cluster = new Cluster();
    const lock = await cluster.process('holder').acquire();
    const pod = cluster.process('pod');
    pod.store.watchesWork = false;
    const waiting = outcomeOf(pod.acquire(JOB, { retryInterval: 2_000 }));
    await settled();
    await lock.release();
    await cluster.clock.advance(1_999);
    expect(waiting.state).toBe('pending');
    await cluster.clock.advance(1);
    expect(waiting.state).toBe('resolved');
  });

  it.each([
    ['a lock', {}],
    ['a session', { session: {} }],
  ])(
    'is polled five times less often once the watch has told of a renewal of %s',
    async (_, setup) => {
      const cluster = new Cluster();
      await cluster.process('holder', undefined, setup).acquire();
      const pod = cluster.process('pod');
      outcomeOf(pod.acquire(JOB, { retryInterval: 1_000 }));
      await cluster.clock.advance(10_000); // a renewal among them
      pod.store.requests.length = 0;
      await cluster.clock.advance(30_500);

      const times = pod.store.requests.map(({ sentAt }) => sentAt);
      const gaps = times
        .slice(1)
        .map((time, i) => Math.round(time - times[i]!));
      expect(gaps).toEqual([5_000, 5_000, 5_000, 5_000, 5_000]);
    },
  );

  it('is polled as before after its watch has failed', async () => {
    const cluster = new Cluster();
    await cluster.process('holder').acquire();
    const pod = cluster.process('pod');
    const watch = vi.spyOn(pod.store, 'watch');
    outcomeOf(pod.acquire(JOB, { retryInterval: 1_000 }));
    await cluster.clock.advance(10_000); // a renewal among them
    const [, observer] = watch.mock.calls[0]!;
    pod.store.watchesWork = false;
    observer.failed?.(new Error('The connection was reset.'));
    pod.store.requests.length = 0;
    await cluster.clock.advance(10_500);

    expect(pod.store.requests.length).toBeGreaterThanOrEqual(9);
  });

  it('is polled at retryInterval, 20 % more or less by chance', async () => {
    const cluster = new Cluster();
    cluster.writeSpec(foreignSpec({ leaseDurationSeconds: 3_600 }));
    const pod = cluster.process('pod');
    cluster.clock.randoms.push(0, 0.999_999, 0.5);
    outcomeOf(pod.acquire(JOB, { retryInterval: 10_000 }));
    await cluster.clock.advance(30_500);

    const times = pod.store.requests.map(({ sentAt }) => sentAt);
    const gaps = times.slice(1).map((time, i) => Math.round(time - times[i]!));
    expect(gaps).toEqual([8_000, 12_000, 10_000]);
  });

  it('is left to the new holder that the watch shows, without another conflict', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    cluster.writeSpec(foreignSpec());
    const waiting = outcomeOf(pod.acquire());
    await settled();
    // Contention before: it now waits a moment, in which another process is faster.
    pod.store.plan({ appliedAfter: 1 }, 'update', 1);
    cluster.writeSpec({ leaseTransitions: 0 });
    await settled();
    cluster.writeSpec({ leaseTransitions: 1 });
    await cluster.clock.advance(1);
    const sent = pod.store.requests.length;
    cluster.writeSpec(foreignSpec({ holderIdentity: 'faster' }));
    await cluster.clock.advance(100);

    expect(pod.store.requests).toHaveLength(sent);
    expect(waiting.state).toBe('pending');
    expect(cluster.holder()).toBe('faster');
  });
});
