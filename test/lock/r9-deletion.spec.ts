/** R9: a Lease is not deleted, except with deleteOnRelease, and then only as it was seen. */
import { describe, expect, it } from 'vitest';
import { settled } from './controlled-clock.js';
import { Cluster, foreignSpec, JOB, keyOf, outcomeOf } from './processes.js';

const DELETING = { deleteOnRelease: true };

async function holding(options = {}) {
  const cluster = new Cluster();
  const pod = cluster.process('pod');
  const lock = await pod.acquire(JOB, options);
  return { cluster, pod, lock, clock: cluster.clock };
}

/** A Lease on which somebody has put a finalizer, and which is held. */
async function finalized() {
  const cluster = new Cluster();
  cluster.write(({ metadata }) => {
    metadata['finalizers'] = ['example.com/keep'];
  });
  const pod = cluster.process('pod');
  const lock = await pod.acquire(JOB, DELETING);
  return { cluster, pod, lock, clock: cluster.clock };
}

describe('R9 a Lease is not deleted', () => {
  it('by a lock that ends in any way, if the option is off', async () => {
    const { cluster, pod, lock, clock } = await holding();
    await lock.release();
    const lost = await pod.acquire(JOB, { autoRenew: false });
    await clock.advance(20_000);
    await lost.release();
    await clock.advance(1_000);
    await (await pod.acquire(JOB, { minHold: 1_000 })).release();
    await clock.advance(5_000);
    const cancelled = outcomeOf(pod.acquire(JOB, { waitTimeout: 1_000 }));
    pod.store.plan({ answeredAfter: Infinity }, 'update', 1);
    await clock.advance(60_000);
    if (cancelled.value) {
      await cancelled.value.release();
    }
    await pod.forceRelease();
    await pod.engine.shutdown(0);

    expect(pod.store.verbs()).not.toContain('delete');
    expect(cluster.storage.get(keyOf(JOB))).toBeDefined();
  });
});

describe('R9 with deleteOnRelease', () => {
  it('a release deletes the Lease, by its uid and resourceVersion', async () => {
    const { cluster, pod, lock } = await holding(DELETING);
    const { uid, resourceVersion } = cluster.lease()!.metadata;
    await lock.release();

    expect(pod.store.verbs()).toBe('get create delete');
    expect(pod.store.requests.at(-1)!.precondition).toEqual({
      uid,
      resourceVersion,
    });
    expect(cluster.lease()).toBeUndefined();
  });

  it('the next acquisition makes a new Lease with one request, and a greater token', async () => {
    const { pod, lock } = await holding(DELETING);
    await lock.release();
    const next = await pod.acquire(JOB, DELETING);

    expect(pod.store.verbs()).toBe('get create delete create');
    expect(next.fencingToken).toBeGreaterThan(lock.fencingToken);
  });

  it('a Lease that a finalizer would keep is marked free instead', async () => {
    const { cluster, pod, lock } = await finalized();
    await lock.release();
    expect(pod.store.verbs()).toBe('get update update');
    expect(cluster.holder()).toBeUndefined();
    const next = await cluster.process('other').acquire(JOB, DELETING);
    expect(next.isHeld).toBe(true);
  });

  it('a Lease that stays all the same is marked free then', async () => {
    const { cluster, pod, lock } = await holding(DELETING);
    pod.store.delete = async () => {
      pod.store.requests.push({
        verb: 'delete',
        namespace: 'default',
        name: JOB,
        timeout: 0,
        sentAt: 0,
      });
      return false;
    };
    await lock.release();
    expect(pod.store.verbs()).toBe('get create delete get update');
    expect(cluster.holder()).toBeUndefined();
  });

  it('a terminating Lease is released, and can not be acquired again', async () => {
    const { cluster, clock, pod, lock } = await finalized();
    cluster.delete();
    await clock.advance(20_000);
    expect(lock.isHeld).toBe(true);
    await lock.release();
    expect(cluster.holder()).toBeUndefined();

    await expect(pod.try()).rejects.toMatchObject({
      explanation: expect.stringContaining('its finalizers keep it'),
    });
    const waiting = outcomeOf(pod.acquire());
    await clock.advance(60_000);
    expect(waiting.state).toBe('pending');
    expect(cluster.holder()).toBeUndefined();
    cluster.write(({ metadata }) => {
      metadata['finalizers'] = [];
    });
    expect(cluster.lease()).toBeUndefined();
    await clock.advance(6_000);
    expect(waiting.value!.isHeld).toBe(true);
  });

  it('a Lease that others wrote to meanwhile is looked at before it is deleted', async () => {
    const { cluster, pod, lock } = await holding(DELETING);
    cluster.write(({ metadata }) => {
      metadata.labels = { team: 'blue' };
    });
    await lock.release();

    expect(pod.store.verbs()).toBe('get create delete get delete');
    expect(cluster.lease()).toBeUndefined();
  });

  it('a Lease that is another’s by now is left alone', async () => {
    const { cluster, pod, lock } = await holding(DELETING);
    cluster.writeSpec(foreignSpec());
    await lock.release();

    expect(pod.store.verbs()).toBe('get create delete get');
    expect(cluster.spec()).toEqual(foreignSpec());
  });

  it('a Lease that was made anew meanwhile is left alone, even when it is free', async () => {
    const { cluster, pod, lock } = await holding(DELETING);
    cluster.delete();
    cluster.writeSpec({ leaseTransitions: 3 });
    await lock.release();

    expect(pod.store.verbs()).toBe('get create delete get');
    expect(cluster.spec()).toEqual({ leaseTransitions: 3 });
  });

  it('a Lease that is gone already is no failure', async () => {
    const { cluster, pod, lock } = await holding(DELETING);
    cluster.delete();
    await lock.release();
    expect(pod.eventTypes()).toBe('acquired released');
  });

  it('the lock passes to a waiter of the same process without a deletion in between', async () => {
    const { pod, lock } = await holding(DELETING);
    const next = outcomeOf(pod.acquire(JOB, DELETING));
    await lock.release();
    await settled();

    expect(next.state).toBe('resolved');
    expect(pod.store.verbs()).toBe('get create update');
  });

  it('the lock passes to a process in line without a deletion in between, and is deleted at its release', async () => {
    const { cluster, pod, lock } = await holding(DELETING);
    const other = cluster.process('other');
    const next = outcomeOf(other.acquire(JOB, DELETING));
    await settled();
    await lock.release();
    await cluster.clock.advance(10);

    expect(next.state).toBe('resolved');
    expect(next.value!.fencingToken).toBeGreaterThan(lock.fencingToken);
    // The holder does not watch, and meets a conflict.
    expect(pod.store.verbs()).toBe('get create delete get patch');
    await next.value!.release();
    expect(other.store.verbs()).toBe('get patch delete');
    expect(cluster.lease()).toBeUndefined();
  });

  it('a process that enrols at the same moment gets the lock: the Lease is not deleted', async () => {
    const { cluster, pod, lock } = await holding(DELETING);
    const other = cluster.process('other');
    pod.store.plan({ appliedAfter: 2 }, 'delete', 1);
    const released = lock.release();
    await settled();
    const next = outcomeOf(other.acquire(JOB, DELETING));
    await cluster.clock.advance(10);
    await released;

    expect(pod.store.verbs()).toBe('get create delete get patch');
    expect(next.state).toBe('resolved');
  });

  it('a waiter without a place in line makes the Lease anew', async () => {
    const { cluster, lock } = await holding(DELETING);
    const other = cluster.process('other');
    other.store.plan(
      { refused: { reason: 'forbidden', status: 403 } },
      'patch',
    );
    const next = outcomeOf(other.acquire(JOB, DELETING));
    await settled();
    await lock.release();
    await cluster.clock.advance(10);

    expect(next.state).toBe('resolved');
    expect(next.value!.fencingToken).toBeGreaterThan(lock.fencingToken);
    expect(other.store.verbs()).toBe('get patch create');
  });

  it('minHold goes first: the Lease stays, taken', async () => {
    const { cluster, pod, lock } = await holding({
      ...DELETING,
      minHold: 5_000,
    });
    await lock.release();
    expect(pod.store.verbs()).toBe('get create update');
    expect(cluster.holder()).toBe('pod');
  });

  it('a Lease that a creation on its way would bring back taken is marked free instead', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    pod.store.plan({ appliedAfter: 20_000 }, 'create', 1);
    const acquired = outcomeOf(
      pod.acquire(JOB, { ...DELETING, leaseDuration: 'infinite' }),
    );
    await cluster.clock.advance(6_000);
    await acquired.value!.release();
    await cluster.clock.advance(60_000);

    expect(pod.store.verbs()).not.toContain('delete');
    expect(cluster.holder()).toBeUndefined();
  });
});
