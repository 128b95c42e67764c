/** Retries end, leave pauses, and are reported: no behaviour of an API server makes a call loop for ever. */
import { describe, expect, it } from 'vitest';
import { LockBackendError } from '../../lib/lock.errors.js';
import {
  LeaseStoreError,
  type StoredLease,
} from '../../lib/kube/lease-store.js';
import { settled } from './controlled-clock.js';
import type { Fate, MemoryLeaseStore } from './memory-lease-store.js';
import { fire } from './fires.js';
import {
  Cluster,
  foreignSpec,
  JOB,
  outcomeOf,
  type LockProcess,
} from './processes.js';

function setUp() {
  const cluster = new Cluster();
  const before = cluster.writeSpec({});
  const pod = cluster.process('pod');
  return { cluster, clock: cluster.clock, pod, before };
}

function setUpWithoutLease() {
  const cluster = new Cluster();
  return {
    clock: cluster.clock,
    process: (name: string) => cluster.process(name),
  };
}

type World = ReturnType<typeof setUp>;

const failures = ({ pod }: World, operation: string): unknown[] =>
  pod.events.flatMap((event) =>
    event.type === 'backend-error' && event.operation === operation
      ? [event.error.reason]
      : [],
  );

const countOf = ({ pod }: World, verb: string): number =>
  pod.store.requests.filter((request) => request.verb === verb).length;

/** A lock is held, and every write is answered with the record as it is now. */
async function holding(options = {}) {
  const world = setUp();
  const lock = await world.pod.acquire(JOB, options);
  const old = world.cluster.lease()!;
  world.pod.store.plan({ instead: () => old }, 'update');
  return { ...world, lock };
}

const wishing = (retryAfter: number): Fate => ({
  refused: { reason: 'throttled', status: 429, retryAfter },
});

const SHORT = { leaseDuration: 1_000 };

/** How an acquiring write can land although nobody gets to hold the lock. */
const VAIN: [string, (world: World) => Fate, object, string][] = [
  [
    'answers that come after the deadline',
    () => ({ answeredAfter: 950 }),
    SHORT,
    'timeout',
  ],
  [
    'answers that show the record of before',
    ({ before }) => ({ instead: () => before }),
    {},
    'server',
  ],
  [
    'answers that show another holder',
    () => ({
      instead: (lease) => withSpec(lease, { holderIdentity: 'other' }),
    }),
    {},
    'server',
  ],
  [
    'answers that show another duration',
    () => ({
      instead: (lease) => withSpec(lease, { leaseDurationSeconds: 1 }),
    }),
    {},
    'server',
  ],
  [
    'answers with an old version',
    ({ before }) => ({
      instead: (lease) => ({
        ...lease,
        metadata: {
          ...lease.metadata,
          resourceVersion: before.metadata.resourceVersion,
        },
      }),
    }),
    {},
    'server',
  ],
  [
    'a conflict that is answered although it was applied',
    () => ({
      instead: () => {
        throw new LeaseStoreError('conflict', 'conflict', { status: 409 });
      },
    }),
    {},
    'conflict',
  ],
];

/** It has no right to patch, so it does not know the line. */
function withoutPatch(pod: LockProcess<MemoryLeaseStore>): typeof pod {
  pod.store.plan({ refused: { reason: 'forbidden', status: 403 } }, 'patch');
  return pod;
}

function withSpec(lease: StoredLease, spec: object): StoredLease {
  return { ...lease, spec: { ...lease.spec, ...spec } };
}

describe.each(VAIN)('with %s', (_, fateIn, options, reason) => {
  it('a try ends with that reason, and leaves nothing taken', async () => {
    const world = setUp();
    const { clock, cluster, pod } = world;
    pod.store.plan(fateIn(world), 'update');
    const tried = outcomeOf(pod.try(JOB, options));
    await clock.advance(4_000);

    expect(tried.reason).toBeInstanceOf(LockBackendError);
    expect(tried.reason).toMatchObject({ reason });
    await clock.advance(10_000);
    expect(cluster.holder()).toBeUndefined();
    expect(countOf(world, 'update')).toBeLessThan(8);
    expect(clock.pending()).toBe(0);
  });

  it('a call that waits reports it, pauses between tries, leaves no lock taken, and ends with that reason', async () => {
    const world = setUp();
    const { clock, cluster, pod } = world;
    pod.store.plan(fateIn(world), 'update');
    const waiting = outcomeOf(
      pod.acquire(JOB, { ...options, waitTimeout: 60_000 }),
    );
    await clock.advance(30_000);
    expect(waiting.state).toBe('pending');
    expect(failures(world, 'acquire').length).toBeGreaterThan(3);
    expect(new Set(failures(world, 'acquire'))).toEqual(new Set([reason]));
    expect(pod.store.requests.length).toBeLessThan(80);

    const other = withoutPatch(cluster.process('other'));
    const taken = outcomeOf(other.acquire());
    await clock.advance(15_000);
    expect(taken.state).toBe('resolved');
    await taken.value!.release();
    await clock.advance(15_000);
    expect(waiting.reason).toBeInstanceOf(LockBackendError);
    expect(waiting.reason).toMatchObject({ reason });
    await clock.advance(10_000);
    expect(cluster.holder()).toBeUndefined();
    expect(clock.pending()).toBe(0);
  });

  it('a lock that is granted is lost at the end of the grant, since no renewal counts', async () => {
    const world = setUp();
    const { clock, cluster, pod } = world;
    const held = await cluster.process('holder').acquire();
    const waiting = outcomeOf(pod.acquire(JOB, options));
    await settled();
    pod.store.plan(fateIn(world), 'update');
    await held.release();
    await clock.advance(100);
    expect(waiting.state).toBe('resolved');
    const next = outcomeOf(cluster.process('next').acquire());
    const lost = waiting.value!.signal;
    await clock.advance(2_600);
    expect(lost.reason).toMatchObject({ reason: 'deadline' });
    await clock.advance(15_000);
    expect(next.value!.isHeld).toBe(true);
  });

  it('a call gets the lock as soon as the API server is well again', async () => {
    const world = setUp();
    const { clock, cluster, pod } = world;
    pod.store.plan(fateIn(world), 'update', 4);
    const waiting = outcomeOf(pod.acquire(JOB, options));
    await clock.advance(20_000);

    expect(waiting.value!.isHeld).toBe(true);
    expect(cluster.spec().holderIdentity).toBe(waiting.value!.holderIdentity);
  });
});

describe('answers that come too late', () => {
  it('are said to be so', async () => {
    const { clock, pod } = setUp();
    pod.store.plan({ answeredAfter: 950 }, 'update');
    const tried = outcomeOf(pod.try(JOB, SHORT));
    await clock.advance(4_000);
    expect(tried.reason).toMatchObject({
      explanation:
        'Lock "job" (Lease default/job): The lock can\'t be held: the API server took 950 ms to answer, which is longer than the 900 ms to the deadline of a holder (leaseDuration - safetyMargin). Use a longer leaseDuration.',
    });
  });

  it('leave nothing taken when the call is cancelled before it tries again', async () => {
    const { clock, cluster, pod } = setUp();
    pod.store.plan({ answeredAfter: 950 }, 'update', 1);
    const abort = new AbortController();
    outcomeOf(pod.acquire(JOB, SHORT, abort.signal));
    await clock.advance(960);
    expect(cluster.holder()).toBe('pod');
    abort.abort();
    await settled();
    expect(cluster.holder()).toBeUndefined();
  });
});

describe('an answer that shows more than was written', () => {
  it('is as good as any: a webhook may add to the metadata', async () => {
    const { clock, pod } = setUp();
    pod.store.plan(
      {
        instead: (lease) => ({
          ...lease,
          metadata: {
            ...lease.metadata,
            labels: { team: 'blue' },
            annotations: { ...lease.metadata.annotations, note: 'seen' },
          },
        }),
      },
      'update',
    );
    const lock = await pod.acquire();
    await clock.advance(60_000);
    expect(lock.isHeld).toBe(true);
    await lock.release();
    expect(pod.eventTypes()).not.toContain('backend-error');
  });
});

describe('an answer that does not show the claim of a fire', () => {
  it('is a failure: others would not find it', async () => {
    const world = setUp();
    const { clock, pod } = world;
    pod.store.plan(
      {
        instead: (lease) => ({
          ...lease,
          metadata: { ...lease.metadata, annotations: {} },
        }),
      },
      'update',
      1,
    );
    const begun = outcomeOf(fire(pod, { minute: 1 }));
    await clock.advance(1_000);
    expect(failures(world, 'acquire')).toEqual(['server']);
    expect(begun.value!.isHeld).toBe(true);
  });
});

describe('a holder whose writes are answered with another record', () => {
  it('loses its lock at the deadline of the last write that was answered rightly', async () => {
    const world = await holding();
    await world.clock.advance(13_499);
    expect(world.lock.isHeld).toBe(true);
    await world.clock.advance(1);
    expect(world.lock.signal.reason).toMatchObject({ reason: 'deadline' });
    expect(failures(world, 'renew').length).toBeGreaterThan(2);
    expect(world.pod.store.requests.length).toBeLessThan(40);
  });

  it('has released it when a look says so', async () => {
    const world = await holding();
    outcomeOf(world.lock.release());
    await world.clock.advance(1_000);
    expect(world.cluster.holder()).toBeUndefined();
    expect(failures(world, 'release')).toEqual(['server']);
    expect(world.clock.pending()).toBe(0);
  });

  it('can be thrown out, which ends with an error', async () => {
    const { cluster, before } = await holding();
    const admin = cluster.process('admin');
    admin.store.plan({ instead: () => before }, 'update');
    const forced = outcomeOf(
      admin.engine.forceRelease({
        name: JOB,
        namespace: 'default',
        leaseName: JOB,
      }),
    );
    await settled();
    expect(forced.reason).toMatchObject({ reason: 'server' });
    expect(cluster.holder()).toBeUndefined();
  });
});

describe('conflicts without end', () => {
  const refused: Fate = { refused: { reason: 'conflict', status: 409 } };

  it('of a record that does not change are a failure: a try ends with it', async () => {
    const world = setUp();
    world.pod.store.plan(refused, 'update');
    await expect(world.pod.try()).rejects.toMatchObject({ reason: 'conflict' });
    expect(world.pod.store.verbs()).toBe('get update get');
  });

  it('of a record that does not change are reported, with pauses, until the waitTimeout', async () => {
    const world = setUp();
    const { clock, pod } = world;
    pod.store.plan(refused, 'update');
    const waiting = outcomeOf(pod.acquire(JOB, { waitTimeout: 30_000 }));
    await clock.advance(30_000);
    expect(waiting.reason).toBeInstanceOf(LockBackendError);
    expect(waiting.reason).toMatchObject({ reason: 'conflict' });
    expect(failures(world, 'acquire').length).toBeGreaterThan(5);
    expect(countOf(world, 'update')).toBeLessThan(20);
  });

  it('with others that are faster end a try after so many', async () => {
    const world = setUp();
    const { clock, cluster, pod } = world;
    const send = pod.store.replace.bind(pod.store);
    let transitions = 0;
    pod.store.replace = (...request) => {
      transitions += 1;
      cluster.writeSpec({ leaseTransitions: transitions });
      return send(...request);
    };
    const tried = outcomeOf(pod.try());
    await clock.advance(60_000);
    expect(tried.reason).toMatchObject({ reason: 'held' });
    expect(transitions).toBeLessThan(12);
  });

  it('of renewals are reported from the second on', async () => {
    const world = setUp();
    const lock = await world.pod.acquire();
    world.pod.store.plan(refused, 'update', 4);
    await world.clock.advance(12_000);
    expect(lock.isHeld).toBe(true);
    expect(failures(world, 'renew')).toEqual(
      Array.from({ length: 3 }, () => 'conflict'),
    );
  });

  it('of a release are reported from the second on', async () => {
    const world = setUp();
    const lock = await world.pod.acquire();
    world.pod.store.plan(refused, 'update', 4);
    outcomeOf(lock.release());
    await world.clock.advance(5_000);
    expect(world.cluster.holder()).toBeUndefined();
    expect(failures(world, 'release')).toEqual(
      Array.from({ length: 3 }, () => 'conflict'),
    );
  });
});

/** Another process always acquires the lock just before the pod's creation, and deletes the Lease just after. */
function setUpQuickOther(times = Infinity) {
  const cluster = new Cluster();
  const pod = cluster.process('pod');
  const send = pod.store.create.bind(pod.store);
  let met = 0;
  pod.store.create = async (...request) => {
    met += 1;
    if (met > times) {
      return send(...request);
    }
    cluster.writeSpec(foreignSpec());
    try {
      return await send(...request);
    } finally {
      cluster.delete();
    }
  };
  return { cluster, clock: cluster.clock, pod, met: () => met };
}

describe('a creation that meets a Lease', () => {
  const exists: Fate = { refused: { reason: 'conflict', status: 409 } };

  it('is tried again when the Lease has gone meanwhile', async () => {
    const { clock, process: start } = setUpWithoutLease();
    const pod = start('pod');
    pod.store.plan(exists, 'create', 3);
    const tried = outcomeOf(pod.try());
    await clock.advance(4_000);
    expect(tried.state).toBe('resolved');
    expect(pod.eventTypes()).toBe('acquired');
  });

  it('fails when that goes on, and nothing says that a Lease existed', async () => {
    const { clock, process: start } = setUpWithoutLease();
    const pod = start('pod');
    pod.store.plan(exists, 'create');
    const tried = outcomeOf(pod.try());
    await clock.advance(60_000);
    expect(tried.reason).toBeInstanceOf(LockBackendError);
  });

  it('of others that delete it each time ends a try as held', async () => {
    const { clock, pod, met } = setUpQuickOther();
    const tried = outcomeOf(pod.try());
    await clock.advance(60_000);
    expect(tried.reason).toMatchObject({ reason: 'held' });
    expect(met()).toBe(9);
    expect(pod.eventTypes()).not.toContain('backend-error');
  });

  it('of others that delete it eight times lets a try acquire the lock', async () => {
    const { clock, pod } = setUpQuickOther(8);
    const tried = outcomeOf(pod.try());
    await clock.advance(4_000);
    expect(tried.state).toBe('resolved');
    expect(pod.eventTypes()).toBe('acquired');
  });

  it('of others that delete it each time is no failure for a call that waits, which keeps pauses', async () => {
    const { clock, pod, met } = setUpQuickOther();
    const waiting = outcomeOf(pod.acquire(JOB, { waitTimeout: 60_000 }));
    await clock.advance(60_000);
    expect(waiting.reason).toMatchObject({ reason: 'timeout' });
    expect(waiting.reason).not.toBeInstanceOf(LockBackendError);
    expect(pod.eventTypes()).not.toContain('backend-error');
    expect(met()).toBeGreaterThan(8);
    expect(met()).toBeLessThan(400);
  });
});

describe('a renewal', () => {
  it('that was surely not applied is sent again without a look', async () => {
    const { clock, pod } = setUp();
    const lock = await pod.acquire();
    const before = pod.store.requests.length;
    pod.store.plan({ breaks: 'unsent' }, 'update', 1);
    await clock.advance(6_000);
    const verbs = pod.store.requests.slice(before).map(({ verb }) => verb);
    expect(verbs.filter((verb) => verb === 'get')).toEqual([]);
    expect(lock.isHeld).toBe(true);
  });

  it('is not put off by a look that failed, however long the API server wants to be left alone', async () => {
    const { clock, cluster, pod } = setUp();
    const lock = await pod.acquire(JOB, { retryInterval: 60_000 });
    pod.observe();
    await settled();
    pod.store.plan(wishing(60_000), 'get', 1);
    pod.store.tellWatches(cluster.lease()!, true);
    await clock.advance(60_000);
    expect(lock.isHeld).toBe(true);
  });
});

describe('a watch that says again and again that the Lease is gone', () => {
  it.each([
    ['looks', 'get'],
    ['renewals', 'update'],
    ['looks and renewals', ['get', 'update']],
  ] as const)('does not cost the pauses while %s fail', async (_, verbs) => {
    const { clock, cluster, pod } = setUp();
    const lock = await pod.acquire();
    pod.observe();
    await settled();
    pod.store.plan({ refused: { reason: 'server', status: 500 } }, verbs);
    await clock.advance(5_010); // a renewal has failed
    const pauses: number[] = [];
    while (lock.isHeld) {
      const before = pod.store.requests.length;
      const toldAt = clock.now();
      pod.store.tellWatches(cluster.lease()!, true);
      // oxlint-disable-next-line no-await-in-loop -- one moment after the other
      await clock.advance(700);
      const [look, ...others] = pod.store.requests
        .slice(before)
        .map(({ sentAt }) => sentAt - toldAt);
      expect(look).toBe(0);
      pauses.push(...others.slice(0, 1));
    }
    expect(pauses.length).toBeGreaterThan(0);
    expect(Math.min(...pauses)).toBeGreaterThan(0);
  });

  it('does not keep a lock from being renewed', async () => {
    const { clock, cluster, pod } = setUp();
    const lock = await pod.acquire();
    pod.observe();
    await settled();
    for (let i = 0; i < 40; i++) {
      pod.store.tellWatches(cluster.lease()!, true);
      // oxlint-disable-next-line no-await-in-loop -- one moment after the other
      await clock.advance(700);
    }
    expect(lock.isHeld).toBe(true);
    expect(
      countOf({ cluster, clock, pod, before: cluster.lease()! }, 'update'),
    ).toBeGreaterThan(3);
  });
});

describe('a write that landed without an answer', () => {
  it('does not stay when the one that is to confirm it is refused', async () => {
    const { clock, cluster, pod } = setUp();
    pod.store.plan({ breaks: 'after' }, 'update', 1);
    pod.store.plan(
      { refused: { reason: 'throttled', status: 429 } },
      'update',
      1,
    );
    const tried = outcomeOf(pod.try());
    await clock.advance(1_000);
    expect(tried.reason).toMatchObject({ reason: 'throttled' });
    expect(cluster.holder()).toBeUndefined();
  });

  it('is withdrawn for as long as it may land, be the lease as short as it may', async () => {
    const { clock, cluster, pod } = setUp();
    pod.store.plan({ appliedAfter: 34_000 }, 'update', 1);
    const abort = new AbortController();
    outcomeOf(pod.acquire(JOB, SHORT, abort.signal));
    await clock.advance(100);
    pod.store.plan({ breaks: 'unsent' }, ['get', 'update']);
    abort.abort();
    await clock.advance(20_000);
    pod.store.heal();
    await clock.advance(14_500);
    expect(cluster.holder()).toBeUndefined();
  });
});

describe('a refused deletion', () => {
  const forbidden: Fate = { refused: { reason: 'forbidden', status: 403 } };

  it('is followed by the release without one', async () => {
    const world = setUp();
    const lock = await world.pod.acquire(JOB, { deleteOnRelease: true });
    world.pod.store.plan(forbidden, 'delete');
    await lock.release();
    expect(world.pod.store.verbs()).toBe('get update delete get update');
    expect(failures(world, 'release')).toEqual(['forbidden']);
  });

  it('and a refused release are tried with pauses, until the lease has expired', async () => {
    const world = setUp();
    const lock = await world.pod.acquire(JOB, { deleteOnRelease: true });
    world.pod.store.plan(forbidden, ['delete', 'update']);
    outcomeOf(lock.release());
    await world.clock.advance(60_000);
    expect(countOf(world, 'delete')).toBe(1);
    expect(countOf(world, 'update')).toBeLessThan(12);
    expect(world.clock.pending()).toBe(0);
  });
});

describe('the API server’s wish to be left alone (Retry-After)', () => {
  it('does not cost others a lock that is released', async () => {
    const { clock, cluster, pod } = setUp();
    const lock = await pod.acquire();
    pod.store.plan(wishing(20_000), 'update', 1);
    outcomeOf(lock.release());
    await clock.advance(8_000);
    expect(cluster.holder()).toBeUndefined();
  });

  it('does not keep a write from being withdrawn', async () => {
    const { clock, cluster, pod } = setUp();
    pod.store.plan({ answeredAfter: Infinity }, 'update', 1);
    pod.store.plan(wishing(3_600_000), 'update', 1);
    const abort = new AbortController();
    const options = { leaseDuration: 300_000 };
    outcomeOf(pod.acquire(JOB, options, abort.signal));
    await clock.advance(100);
    abort.abort();
    await clock.advance(61_000);
    expect(cluster.holder()).toBeUndefined();
  });

  it('leaves a call time to get the lock before its waitTimeout', async () => {
    const { clock, pod } = setUp();
    pod.store.plan(wishing(20_000), ['get', 'update'], 1);
    const acquired = outcomeOf(pod.acquire(JOB, { waitTimeout: 5_000 }));
    await clock.advance(4_999);
    expect(acquired.state).toBe('resolved');
  });

  it('lasts a minute at most for a call that waits as long as it takes', async () => {
    const { clock, pod } = setUp();
    pod.store.plan(wishing(86_400_000), ['get', 'update'], 1);
    const acquired = outcomeOf(pod.acquire());
    await clock.advance(59_999);
    expect(acquired.state).toBe('pending');
    await clock.advance(1);
    expect(acquired.state).toBe('resolved');
  });

  it('lasts a minute at most for a lease that does not expire, when renewing or releasing', async () => {
    const { clock, cluster, pod } = setUp();
    const lock = await pod.acquire(JOB, { leaseDuration: 'infinite' });
    pod.store.plan(wishing(86_400_000), 'update', 1);
    await clock.advance(65_001);
    expect(pod.events.at(-1)).toMatchObject({ type: 'renewed' });
    pod.store.plan(wishing(86_400_000), 'update', 1);
    outcomeOf(lock.release());
    await clock.advance(60_001);
    expect(cluster.holder()).toBeUndefined();
  });
});

it('a renewal that comes between the look and the write of a forced release costs it no time', async () => {
  const cluster = new Cluster();
  const admin = cluster.process('admin');
  await cluster.process('a').acquire();
  admin.store.plan(
    { refused: { reason: 'conflict', status: 409 } },
    'update',
    1,
  );
  const state = await admin.forceRelease();
  expect(state).toMatchObject({ state: 'held' });
  expect(cluster.holder()).toBeUndefined();
  expect(cluster.clock.elapsed).toBe(0);
  expect(admin.store.verbs()).toBe('get update get update');
});
