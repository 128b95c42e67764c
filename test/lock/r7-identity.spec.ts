/** R7: each acquisition has a unique identity, which shows whether a write without an answer was applied. */
import { describe, expect, it } from 'vitest';
import { settled } from './controlled-clock.js';
import type { Fate } from './memory-lease-store.js';
import { Cluster, foreignSpec, JOB, outcomeOf } from './processes.js';

/** Ways in which the answer to a write gets lost; the client gives up after 5 s. */
const LANDED: [string, Fate][] = [
  ['the connection broke after it was applied', { breaks: 'after' }],
  ['it timed out after it was applied', { answeredAfter: Infinity }],
];
const NOT_LANDED: [string, Fate][] = [
  ['the connection broke before it was applied', { breaks: 'before' }],
  ['it timed out and was never applied', { appliedAfter: Infinity }],
];

/** A free Lease that exists, and a process. */
function setUp() {
  const cluster = new Cluster();
  cluster.writeSpec({});
  return { cluster, pod: cluster.process('pod') };
}

describe('R7 the identity of an acquisition', () => {
  it('is the client id and a nonce, another one for each acquisition', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    const identities = new Set<string>();
    for (let i = 0; i < 5; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one acquisition after the other
      const lock = await pod.acquire();
      expect(lock.holderIdentity).toMatch(/^pod_[-0-9a-f]{36}$/);
      expect(cluster.spec().holderIdentity).toBe(lock.holderIdentity);
      identities.add(lock.holderIdentity);
      // oxlint-disable-next-line no-await-in-loop -- one acquisition after the other
      await lock.release();
    }
    expect(identities.size).toBe(5);
  });

  it('tells two processes apart that were given the same client id', async () => {
    const cluster = new Cluster();
    const lock = await cluster.process('same').acquire();
    const other = outcomeOf(cluster.process('same').acquire());

    await cluster.clock.advance(60_000);
    expect(other.state).toBe('pending');
    expect(lock.isHeld).toBe(true);
  });
});

describe('R7 an acquiring write without an answer', () => {
  it.each(LANDED)('is recognised when it landed: %s', async (_, fate) => {
    const { cluster, pod } = setUp();
    pod.store.plan(fate, 'update', 1);

    const acquired = outcomeOf(pod.acquire());
    await cluster.clock.advance(5_200);

    expect(acquired.state).toBe('resolved');
    expect(pod.store.verbs()).toMatch(/^get update get update/);
    expect(cluster.spec()).toMatchObject({
      holderIdentity: acquired.value!.holderIdentity,
      leaseTransitions: 1,
    });
  });

  it.each(NOT_LANDED)('is sent anew when it did not: %s', async (_, fate) => {
    const { cluster, pod } = setUp();
    pod.store.plan(fate, 'update', 1);

    const acquired = outcomeOf(pod.acquire());
    await cluster.clock.advance(5_200);

    expect(acquired.state).toBe('resolved');
    expect(pod.store.verbs()).toMatch(/^get update get update/);
    expect(cluster.holder()).toBe('pod');
  });

  it('is recognised when it created the Lease', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    pod.store.plan({ breaks: 'after' }, 'create', 1);

    const acquired = outcomeOf(pod.acquire());
    await cluster.clock.advance(200);

    expect(acquired.state).toBe('resolved');
    expect(pod.store.verbs()).toBe('get create get update');
    expect(cluster.spec().leaseTransitions).toBe(0);
  });

  it('does not land any more once a later one has', async () => {
    const { cluster, pod } = setUp();
    pod.store.plan({ appliedAfter: 34_000 }, 'update', 1);

    const acquired = outcomeOf(pod.acquire());
    await cluster.clock.advance(5_200);
    const lock = acquired.value!;
    await lock.release();
    await cluster.clock.advance(60_000);

    expect(cluster.holder()).toBeUndefined();
  });

  it('leaves the lock to the faster contender, if it was not applied', async () => {
    const { cluster, pod } = setUp();
    pod.store.plan({ breaks: 'before' }, 'update', 1);

    const acquired = outcomeOf(pod.acquire());
    await settled();
    cluster.writeSpec(foreignSpec());
    await cluster.clock.advance(10_000);

    expect(acquired.state).toBe('pending');
    expect(cluster.spec()).toEqual(foreignSpec());
  });

  it.each([...LANDED, ...NOT_LANDED])(
    'is settled with one more look by a mere try: %s',
    async (_, fate) => {
      const { cluster, pod } = setUp();
      pod.store.plan(fate, 'update', 1);

      const acquired = outcomeOf(pod.try());
      await cluster.clock.advance(5_200);

      expect(acquired.state).toBe('resolved');
      expect(cluster.holder()).toBe('pod');
    },
  );
});

describe('R7 an acquiring write without an answer, whose caller has given up', () => {
  const gone = new Error('the user went away');

  /** Acquires with a write that meets `fate`, and cancels after 1 s. */
  async function cancelled(
    { cluster, pod }: ReturnType<typeof setUp>,
    fate: Fate,
    verb: 'update' | 'create' = 'update',
    options = {},
  ) {
    pod.store.plan(fate, verb, 1);
    const abort = new AbortController();
    const acquired = outcomeOf(pod.acquire(JOB, options, abort.signal));
    await cluster.clock.advance(1_000);
    abort.abort(gone);
    await settled();
    expect(acquired).toMatchObject({ state: 'rejected', reason: gone });
  }

  it('is withdrawn when it landed', async () => {
    const world = setUp();
    await cancelled(world, { answeredAfter: Infinity });

    expect(world.cluster.spec()).toEqual({ leaseTransitions: 1 });
  });

  it.each([1_500, 5_000, 34_000])(
    'can not land any more: it would have after %d ms',
    async (appliedAfter) => {
      const world = setUp();
      await cancelled(world, { appliedAfter });
      await world.cluster.clock.advance(60_000);

      expect(world.cluster.holder()).toBeUndefined();
      expect(world.cluster.spec().leaseTransitions ?? 0).toBe(0);
    },
  );

  it('can not land any more when it was to create the Lease', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    await cancelled({ cluster, pod }, { appliedAfter: 34_000 }, 'create');
    await cluster.clock.advance(60_000);

    expect(cluster.holder()).toBeUndefined();
  });

  it('is withdrawn when it landed and created the Lease', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    await cancelled({ cluster, pod }, { answeredAfter: Infinity }, 'create');

    expect(cluster.spec()).toEqual({ leaseTransitions: 0 });
  });

  it('is withdrawn as soon as the API server can be reached again', async () => {
    const world = setUp();
    const down: Fate = { breaks: 'unsent' };
    await cancelled(world, { answeredAfter: Infinity }, 'update', {
      leaseDuration: 'infinite',
    }).catch(() => undefined);
    expect(world.cluster.holder()).toBeUndefined();

    const again = setUp();
    again.pod.store.plan({ answeredAfter: Infinity }, 'update', 1);
    const abort = new AbortController();
    outcomeOf(again.pod.acquire(JOB, {}, abort.signal));
    await again.cluster.clock.advance(1_000);
    again.pod.store.plan(down, ['get', 'update']);
    abort.abort(gone);
    await again.cluster.clock.advance(10_000);
    expect(again.cluster.holder()).toBe('pod');
    again.pod.store.heal();
    await again.cluster.clock.advance(5_000);
    expect(again.cluster.holder()).toBeUndefined();
  });

  it('is withdrawn even after an outage of minutes where the lease would not expire by itself', async () => {
    const { cluster, pod } = setUp();
    pod.store.plan({ answeredAfter: Infinity }, 'update', 1);
    const abort = new AbortController();
    outcomeOf(pod.acquire(JOB, { leaseDuration: 'infinite' }, abort.signal));
    await cluster.clock.advance(1_000);
    pod.store.plan({ breaks: 'unsent' }, ['get', 'update']);
    abort.abort(gone);
    await cluster.clock.advance(300_000);
    expect(cluster.holder()).toBe('pod');

    pod.store.heal();
    await cluster.clock.advance(10_000);
    expect(cluster.holder()).toBeUndefined();
  });

  it('is not undone at the cost of a holder that took the lock meanwhile', async () => {
    const world = setUp();
    world.pod.store.plan({ appliedAfter: Infinity }, 'update', 1);
    const abort = new AbortController();
    outcomeOf(world.pod.acquire(JOB, {}, abort.signal));
    await world.cluster.clock.advance(1_000);
    const other = await world.cluster.process('other').acquire();
    const before = world.cluster.lease();
    abort.abort(gone);
    await world.cluster.clock.advance(1_000);

    expect(world.cluster.lease()).toEqual(before);
    expect(other.isHeld).toBe(true);
  });

  it('does not free the lock of the next waiter, whose place it was', async () => {
    const cluster = new Cluster();
    const lock = await cluster.process('holder').acquire();
    const pod = cluster.process('pod');
    const abort = new AbortController();
    // Without renewals, a granted lock is confirmed by a write before the work starts.
    outcomeOf(pod.acquire(JOB, { autoRenew: false }, abort.signal));
    const next = outcomeOf(pod.acquire());
    await settled();
    pod.store.plan({ breaks: 'after' }, 'update', 2);
    pod.store.plan({ appliedAfter: 3_000 }, 'update', 1); // it is undone after a second failure
    await lock.release();
    await cluster.clock.advance(1_000);
    expect(pod.store.verbs()).toMatch(/update$/);
    abort.abort(gone);
    await cluster.clock.advance(10_000);

    expect(next.value!.isHeld).toBe(true);
    expect(pod.eventTypes()).not.toContain('lost');
    expect(cluster.spec().holderIdentity).toBe(next.value!.holderIdentity);
  });

  it('does not keep the next waiter of the process from the lock', async () => {
    const world = setUp();
    const { cluster, pod } = world;
    pod.store.plan({ answeredAfter: Infinity }, 'update', 1);
    const abort = new AbortController();
    outcomeOf(pod.acquire(JOB, {}, abort.signal));
    const next = outcomeOf(pod.acquire());
    await cluster.clock.advance(1_000);
    abort.abort(gone);
    await cluster.clock.advance(100);

    expect(next.state).toBe('resolved');
    expect(cluster.spec().holderIdentity).toBe(next.value!.holderIdentity);
  });
});

describe('R7 a renewal or release without an answer', () => {
  it.each([...LANDED, ...NOT_LANDED])(
    'is settled by a look: %s',
    async (_, fate) => {
      const { cluster, pod } = setUp();
      const lock = await pod.acquire();
      pod.store.plan(fate, 'update', 1);
      await cluster.clock.advance(12_000);
      expect(lock.isHeld).toBe(true);
      expect(pod.eventTypes()).toContain('backend-error renewed');

      pod.store.plan(fate, 'update', 1);
      const released = outcomeOf(lock.release());
      await cluster.clock.advance(10_000);
      expect(released.state).toBe('resolved');
      expect(cluster.holder()).toBeUndefined();
    },
  );

  it('does not take the lock from the next holder when it lands late', async () => {
    const { cluster, pod } = setUp();
    const lock = await pod.acquire();
    pod.store.plan({ appliedAfter: 20_000 }, 'update', 1);
    outcomeOf(lock.release());
    await cluster.clock.advance(6_000);
    const next = await cluster.process('next').acquire();
    await cluster.clock.advance(30_000);

    expect(next.isHeld).toBe(true);
    expect(cluster.spec().holderIdentity).toBe(next.holderIdentity);
  });
});
