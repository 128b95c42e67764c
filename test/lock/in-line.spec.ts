/** The local queue: what waiters learn from the caller at its head, and the error for a lock without a known holder. */
import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import type { LeaseSpec } from '../../lib/kube/lease-store.js';
import { LockBackendError } from '../../lib/lock.errors.js';
import type { LeaseLock } from '../../lib/lock/hold/lease-lock.js';
import { settled } from './controlled-clock.js';
import type { Fate } from './memory-lease-store.js';
import { fire } from './fires.js';
import {
  Cluster,
  foreignSpec,
  JOB,
  outcomeOf,
  type LockProcess,
  type Outcome,
} from './processes.js';

function setUp() {
  const cluster = new Cluster();
  cluster.writeSpec({});
  return { cluster, clock: cluster.clock, pod: cluster.process('pod') };
}

/** Its lock was taken by force, and another caller of the process has it now. */
async function lost() {
  const world = setUp();
  const { cluster, clock, pod } = world;
  pod.observe();
  const first = await pod.acquire();
  await cluster.process('admin').forceRelease();
  await clock.advance(100);
  expect(first.signal.reason).toMatchObject({ reason: 'freed' });
  const second = await pod.acquire();
  return { ...world, first, second };
}

/** A lock is released while another caller of the process waits. */
async function handOver(
  pod: LockProcess,
  lock: LeaseLock,
): Promise<Outcome<LeaseLock>> {
  const next = outcomeOf(pod.acquire());
  await lock.release();
  await settled();
  return next;
}

const AWAY: [string, Fate, string][] = [
  ['can not be reached', { breaks: 'unsent' }, 'network'],
  ['does not answer', { appliedAfter: Infinity }, 'timeout'],
  ['answers 503', { refused: { reason: 'server', status: 503 } }, 'server'],
];

describe.each(AWAY)('while the API server %s', (_, fate, reason) => {
  function away() {
    const world = setUp();
    world.pod.store.plan(fate, ['get', 'create', 'update']);
    return world;
  }

  it('all waiters get that error, not a holder', async () => {
    const { clock, pod } = away();
    const waiting = Array.from({ length: 3 }, () =>
      outcomeOf(pod.acquire(JOB, { waitTimeout: 800 })),
    );
    await clock.advance(800);
    for (const call of waiting) {
      expect(call.reason).toBeInstanceOf(LockBackendError);
      expect(call.reason).toMatchObject({ reason });
    }
  });

  it('all calls that try get that error, within requestTimeout', async () => {
    const { clock, pod } = away();
    const trying = Array.from({ length: 3 }, () => outcomeOf(pod.try()));
    const skipping = outcomeOf(pod.skip());
    await clock.advance(5_000);
    for (const call of [...trying, skipping]) {
      expect(call.reason).toBeInstanceOf(LockBackendError);
      expect(call.reason).toMatchObject({ reason });
    }
    expect(pod.eventTypes()).not.toContain('waiting');
  });

  it('a call that tries behind a waiting call gets that error', async () => {
    const { clock, pod } = away();
    const waiting = outcomeOf(pod.acquire());
    const tried = outcomeOf(pod.try());
    await clock.advance(5_000);
    expect(tried.reason).toMatchObject({ reason });
    const late = outcomeOf(pod.try());
    await clock.advance(5_000);
    expect(late.reason).toMatchObject({ reason });
    expect(waiting.state).toBe('pending');
  });

  it('a local holder is still reported', async () => {
    const { clock, pod } = setUp();
    const lock = await pod.acquire();
    pod.store.plan(fate, ['get', 'create', 'update']);
    const waiting = outcomeOf(pod.acquire(JOB, { waitTimeout: 800 }));
    await clock.advance(800);
    const { holderIdentity: holder } = lock;
    expect(waiting.reason).toMatchObject({ reason: 'timeout', holder });
    await expect(pod.try()).rejects.toMatchObject({ reason: 'held', holder });
  });

  it('the next call that succeeds clears that error', async () => {
    const { clock, cluster, pod } = away();
    await clock.advance(1);
    const failed = outcomeOf(pod.acquire(JOB, { waitTimeout: 100 }));
    await clock.advance(100);
    expect(failed.reason).toBeInstanceOf(LockBackendError);
    pod.store.heal();
    cluster.writeSpec(foreignSpec());
    const waiting = outcomeOf(pod.acquire(JOB, { waitTimeout: 2_000 }));
    await clock.advance(2_000);
    expect(waiting.reason).toMatchObject({
      reason: 'timeout',
      holder: 'stranger',
    });
  });
});

describe.each(['try', 'skip'] as const)(
  'a %s behind a call that is asking for the lock',
  (call) => {
    /** The record is old news, and the first call looks at it for a second. */
    function asking(spec: LeaseSpec) {
      const world = setUp();
      world.cluster.writeSpec(spec);
      world.pod.store.plan({ answeredAfter: 1_000 }, 'get', 1);
      const abort = new AbortController();
      const first = outcomeOf(world.pod.acquire(JOB, {}, abort.signal));
      const second = outcomeOf(world.pod[call]());
      return { ...world, abort, first, second };
    }

    it('gives up when the call before it finds a holder', async () => {
      const { clock, cluster, second } = asking(foreignSpec());
      await clock.advance(999);
      expect(second.state).toBe('pending');
      await clock.advance(1);
      // It may be dead, and a skip makes sure of that.
      expect(second.state).toBe(call === 'skip' ? 'pending' : 'rejected');
      const renewTime = '2026-01-01T00:00:05.000000Z';
      cluster.writeSpec(foreignSpec({ renewTime }));
      await settled();
      expect(second.reason).toMatchObject({
        reason: 'held',
        holder: 'stranger',
      });
    });

    it('gives up as soon as the call before it has the lock', async () => {
      const { clock, first, second } = asking({});
      await clock.advance(1_000);
      expect(first.state).toBe('resolved');
      const { holderIdentity: holder } = first.value!;
      expect(second.reason).toMatchObject({ reason: 'held', holder });
    });

    it('gets the lock when the call before it ends without it', async () => {
      const { abort, clock, cluster, second } = asking({});
      await clock.advance(500);
      abort.abort();
      await settled();
      expect(second.value!.isHeld).toBe(true);
      expect(cluster.spec().holderIdentity).toBe(second.value!.holderIdentity);
    });

    it('ignores the state known before the call before it has read the record', async () => {
      const { clock, cluster, pod } = setUp();
      cluster.writeSpec({ holderIdentity: 'stranger' });
      await expect(pod.try()).rejects.toMatchObject({ reason: 'held' });
      cluster.writeSpec({});
      pod.store.plan({ answeredAfter: 1_000 }, 'get', 1);
      const abort = new AbortController();
      outcomeOf(pod.acquire(JOB, {}, abort.signal));
      const second = outcomeOf(pod[call]());
      await clock.advance(500);
      expect(second.state).toBe('pending');
      abort.abort();
      await settled();
      expect(second.state).toBe('resolved');
    });

    it('waits for a release that is under way, and gets the lock', async () => {
      const { clock, pod } = setUp();
      const lock = await pod.acquire();
      pod.store.plan({ answeredAfter: 1_000 }, 'update', 1);
      outcomeOf(lock.release());
      await settled();
      const second = outcomeOf(pod[call]());
      await clock.advance(1_100);
      expect(second.value!.isHeld).toBe(true);
    });
  },
);

describe('a fire behind a call that is asking for the lock', () => {
  it('is skipped as soon as the call before it has the lock', async () => {
    const { clock, pod } = setUp();
    pod.store.plan({ answeredAfter: 1_000 }, 'get', 1);
    const first = outcomeOf(pod.acquire());
    await clock.advance(500);
    const second = outcomeOf(fire(pod, { minute: 1 }));
    await clock.advance(500);
    const { holderIdentity: holder } = first.value!;
    expect(second.reason).toMatchObject({ reason: 'held', holder });
  });
});

describe('a skip behind a call that waits for a holder', () => {
  it('is not turned away for one that may be dead', async () => {
    const { cluster, clock, pod } = setUp();
    cluster.writeSpec(foreignSpec());
    const first = outcomeOf(pod.acquire());
    await clock.advance(1_000);
    const second = outcomeOf(pod.skip());
    await clock.advance(13_999);
    expect(second.state).toBe('pending');
    await clock.advance(1); // the lease of the dead one is over
    const { holderIdentity: holder } = first.value!;
    expect(second.reason).toMatchObject({ reason: 'held', holder });
  });
});

describe('a former holder whose lock was lost', () => {
  it('does not make the process forget the present holder when its work ends', async () => {
    const { cluster, clock, pod, first, second } = await lost();
    const before = cluster.lease();
    await first.release();
    await clock.advance(1_000);

    const { holderIdentity: holder } = second;
    await expect(pod.try()).rejects.toMatchObject({ reason: 'held', holder });
    await expect(pod.skip()).rejects.toMatchObject({ reason: 'held', holder });
    expect(second.isHeld).toBe(true);
    expect(cluster.lease()).toEqual(before);
  });

  it('does not end the turn of the present holder', async () => {
    const { clock, pod, first, second } = await lost();
    const third = outcomeOf(pod.acquire());
    await first.release();
    await clock.advance(4_000);
    expect(third.state).toBe('pending');
    expect(pod.store.verbs()).not.toMatch(/update update update/);
    await second.release();
    await settled();
    expect(third.state).toBe('resolved');
  });

  it('does not add to the handovers of the present holder’s process, nor begin to count anew', async () => {
    const { cluster, pod, first, second } = await lost();
    const other = outcomeOf(cluster.process('other').acquire());
    await settled();
    const third = outcomeOf(pod.acquire());
    await second.release(); // the first handover while another process is in line
    await settled();
    await first.release();
    const fourth = outcomeOf(pod.acquire());
    await third.value!.release(); // the second
    await settled();
    expect(fourth.state).toBe('resolved');
    const fifth = outcomeOf(pod.acquire());
    await fourth.value!.release(); // and no more
    await settled();
    expect([other.state, fifth.state]).toEqual(['resolved', 'pending']);
    await other.value!.release();
    await settled();
    expect(fifth.state).toBe('resolved');
  });
});

describe('a handover', () => {
  it('that was ended in place of the successor is not ended again', async () => {
    const { clock, pod } = setUp();
    const lock = await pod.acquire();
    const abort = new AbortController();
    outcomeOf(pod.acquire(JOB, {}, abort.signal));
    pod.store.plan({ breaks: 'unsent' }, 'update', 1);
    await lock.release();
    await settled();
    abort.abort();
    await clock.advance(1_000);
    const sent = pod.store.requests.length;

    const again = outcomeOf(pod.acquire());
    await clock.advance(1_000);
    await again.value!.release();
    await clock.advance(1_000);
    expect(pod.store.verbs().split(' ').slice(sent)).toEqual([
      'update',
      'update',
    ]);
  });

  it('that was ended in place of the successor is not ended by a call that fails later', async () => {
    const { cluster, clock, pod } = setUp();
    const lock = await pod.acquire();
    const abort = new AbortController();
    outcomeOf(pod.acquire(JOB, {}, abort.signal));
    pod.store.plan({ breaks: 'unsent' }, 'update', 1);
    await lock.release();
    await settled();
    abort.abort();
    await clock.advance(1_000);
    cluster.writeSpec(foreignSpec());
    const sent = pod.store.requests.length;
    await expect(pod.try()).rejects.toMatchObject({ holder: 'stranger' });
    await clock.advance(1_000);
    await expect(pod.try()).rejects.toMatchObject({ holder: 'stranger' });
    await clock.advance(1_000);
    // A conflict that makes it look, and another look.
    expect(pod.store.verbs().split(' ').slice(sent)).toEqual([
      'update',
      'get',
      'get',
    ]);
  });

  it('takes place twice in a row while another process is in line, which then gets the lock', async () => {
    const { cluster, clock, pod } = setUp();
    let lock = await pod.acquire();
    pod.observe();
    const other = outcomeOf(cluster.process('other').acquire());
    await settled();
    for (let i = 0; i < 2; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      lock = (await handOver(pod, lock)).value!;
    }
    expect(other.state).toBe('pending');
    const next = await handOver(pod, lock);
    expect([other.state, next.state]).toEqual(['resolved', 'pending']);
    await other.value!.release();
    await clock.advance(10);
    expect(next.state).toBe('resolved');
  });

  it('takes place as often as it may without other processes, until the lock was not free for 2.5 s', async () => {
    const { cluster, clock, pod } = setUp();
    let lock = await pod.acquire();
    for (let i = 0; i < 24; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await clock.advance(100);
      // oxlint-disable-next-line no-await-in-loop -- as above
      lock = (await handOver(pod, lock)).value!;
    }
    await clock.advance(100);
    const next = await handOver(pod, lock);
    expect(next.state).toBe('pending');
    expect(cluster.holder()).toBeUndefined();
    await clock.advance(24);
    expect(next.state).toBe('pending');
    await clock.advance(1);
    expect(next.state).toBe('resolved');
    expect(pod.store.verbs()).toBe(`get${' update'.repeat(1 + 24 + 1 + 1)}`);
    await clock.advance(100);
    expect((await handOver(pod, next.value!)).state).toBe('resolved');
  });
});

describe('what a process knows of a lock that it holds', () => {
  it('is kept, be there ever so many other locks', async () => {
    const { pod } = setUp();
    const { holderIdentity: holder } = await pod.acquire();
    for (let i = 0; i < 1_100; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await pod.inspect(`other-${i}`);
    }
    const sent = pod.store.requests.length;
    await expect(pod.try()).rejects.toMatchObject({ reason: 'held', holder });
    expect(pod.store.requests).toHaveLength(sent);
  });
});

describe('the signal of a caller', () => {
  it.each<[string, (world: ReturnType<typeof setUp>) => void]>([
    ['at once', () => undefined],
    [
      'after a failure',
      ({ pod }) => pod.store.plan({ breaks: 'unsent' }, 'get', 1),
    ],
    [
      'after a wait',
      ({ cluster, clock }) => {
        cluster.writeSpec(foreignSpec());
        clock.schedule(clock.now() + 1_000, () => void cluster.writeSpec({}));
      },
    ],
    [
      'after a wait in line',
      ({ pod, clock }) => {
        const release = async (): Promise<void> => {
          const lock = await pod.acquire();
          clock.schedule(clock.now() + 1_000, () => void lock.release());
        };
        void release();
      },
    ],
  ])('is left alone when the lock was acquired %s', async (_, before) => {
    const world = setUp();
    before(world);
    const { signal } = new AbortController();
    const acquired = outcomeOf(world.pod.acquire(JOB, {}, signal));
    await world.clock.advance(2_000);
    expect(acquired.state).toBe('resolved');
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });
});

describe('createLease false', () => {
  it('is not decided by a watch event, which may be delayed', async () => {
    const { cluster, clock, pod } = setUp();
    const lease = cluster.writeSpec(foreignSpec());
    const waiting = outcomeOf(pod.acquire(JOB, { createLease: false }));
    await settled();
    pod.store.tellWatches(lease, true);
    await settled();
    expect(waiting.state).toBe('pending');
    cluster.writeSpec({});
    await clock.advance(2_000);
    expect(waiting.state).toBe('resolved');
  });
});

describe('a holder that does not renew', () => {
  it.each([
    ['a lease', 60_000],
    ['a lease that does not expire', 'infinite'],
  ] as const)(
    'learns within a retryInterval that %s was taken away, without a watch',
    async (_, leaseDuration) => {
      const { cluster, clock, pod } = setUp();
      pod.store.watchesWork = false;
      const options = { leaseDuration, autoRenew: false };
      const lock = await pod.acquire(JOB, options);
      await clock.advance(10_500);
      const admin = cluster.process('admin');
      await admin.forceRelease();
      await admin.acquire();
      await clock.advance(1_000);
      expect(lock.signal.aborted).toBe(true);
      expect(lock.signal.reason).toMatchObject({ reason: 'taken' });
      const sent = pod.store.requests.length;
      await clock.advance(60_000);
      expect(pod.store.requests).toHaveLength(sent);
    },
  );

  it('reports reads that fail, and retries', async () => {
    const { cluster, clock, pod } = setUp();
    const options = { leaseDuration: 'infinite', autoRenew: false } as const;
    const lock = await pod.acquire(JOB, options);
    pod.store.plan({ breaks: 'unsent' }, 'get');
    await clock.advance(10_000);
    expect(lock.isHeld).toBe(true);
    const told = pod.events.filter(({ type }) => type === 'backend-error');
    expect(told.length).toBeGreaterThan(5);
    expect(told.length).toBeLessThan(20);
    pod.store.heal();
    cluster.writeSpec(foreignSpec());
    await clock.advance(1_000);
    expect(lock.isHeld).toBe(false);
  });
});
