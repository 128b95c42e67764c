/** A wait for a lock can be cancelled at any moment, by signal or by waitTimeout: it ends at once and leaves nothing behind. */
import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import {
  LockBackendError,
  LockError,
  LockNotAcquiredError,
} from '../../lib/lock.errors.js';
import { settled } from './controlled-clock.js';
import { Cluster, foreignSpec, JOB, outcomeOf } from './processes.js';

type World = ReturnType<typeof newWorld>;

function newWorld() {
  const cluster = new Cluster();
  return { cluster, clock: cluster.clock, pod: cluster.process('pod') };
}

/**
 * A moment in the life of a waiter. `before` the call; `reach` goes on to the phase; `free` is
 * what has to happen for the next waiter to get its turn.
 */
interface Phase {
  before: (world: World) => void;
  reach?: (world: World) => Promise<void>;
  free: (world: World) => void;
  /** What the phase shows as, to be sure that it is the one meant. */
  verbs: string;
}

const anotherHolds = ({ cluster }: World): void => {
  cluster.writeSpec(foreignSpec());
};
const itIsFree = ({ cluster }: World): void => {
  cluster.writeSpec({});
};
const heal = ({ pod }: World): void => pod.store.heal();

const PHASES: Record<string, Phase> = {
  'while its look is on the way': {
    before: (world) => {
      itIsFree(world);
      world.pod.store.plan({ appliedAfter: 4_000 }, 'get');
    },
    free: heal,
    verbs: 'get',
  },
  'while its write is on the way': {
    before: (world) => {
      itIsFree(world);
      world.pod.store.plan({ appliedAfter: 4_000 }, 'update', 1);
    },
    free: heal,
    verbs: 'get update',
  },
  'while its write was applied and the answer is on the way': {
    before: (world) => {
      itIsFree(world);
      world.pod.store.plan({ answeredAfter: 4_000 }, 'update', 1);
    },
    free: heal,
    verbs: 'get update',
  },
  'while it creates the Lease': {
    before: ({ pod }) => pod.store.plan({ appliedAfter: 4_000 }, 'create', 1),
    free: heal,
    verbs: 'get create',
  },
  'while it watches the record of another': {
    before: anotherHolds,
    free: itIsFree,
    verbs: 'get',
  },
  'in the moment that keeps contenders apart': {
    before: anotherHolds,
    reach: async (world) => {
      const { pod } = world;
      pod.store.plan({ refused: { reason: 'conflict' } }, 'update');
      world.clock.randoms.push(...Array.from({ length: 40 }, () => 0.99));
      itIsFree(world);
      await settled();
    },
    free: heal,
    verbs: 'get update get',
  },
  'between two tries while the API server fails': {
    before: ({ pod }) =>
      pod.store.plan({ refused: { reason: 'server', status: 500 } }, 'get'),
    free: heal,
    verbs: 'get',
  },
  'between two tries, having been asked to leave the API server alone': {
    before: ({ pod }) =>
      pod.store.plan(
        { refused: { reason: 'throttled', status: 429, retryAfter: 60_000 } },
        'get',
        1,
      ),
    free: heal,
    verbs: 'get',
  },
};

describe.each(Object.entries(PHASES))('a waiter that goes %s', (_, phase) => {
  /** A waiter in the phase, and the next one behind it. */
  async function inPhase(options = {}) {
    const world = newWorld();
    phase.before(world);
    const abort = new AbortController();
    const waiter = outcomeOf(world.pod.acquire(JOB, options, abort.signal));
    const next = outcomeOf(world.pod.acquire());
    await settled();
    await phase.reach?.(world);
    expect(world.pod.store.verbs()).toBe(phase.verbs);
    return { ...world, abort, waiter, next };
  }

  it('by its signal: rejects at once with the reason, and listens no more', async () => {
    const { abort, waiter, clock } = await inPhase();
    const at = clock.elapsed;
    const reason = new Error('the user went away');
    abort.abort(reason);
    await settled();

    expect(waiter.state).toBe('rejected');
    expect(waiter.reason).toBe(reason);
    expect(clock.elapsed).toBe(at);
    expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
  });

  it('lets the next one proceed, and leaves nothing taken in the end', async () => {
    const { abort, next, clock, cluster, pod, ...world } = await inPhase();
    abort.abort();
    await settled();
    phase.free({ cluster, clock, pod, ...world });
    await clock.advance(6_000);

    expect(next.state).toBe('resolved');
    expect(cluster.spec().holderIdentity).toBe(next.value!.holderIdentity);
    await clock.advance(60_000);
    expect(next.value!.isHeld).toBe(true);
    await next.value!.release();
    await clock.advance(60_000);
    expect(cluster.holder()).toBeUndefined();
    expect(clock.pending()).toBe(0);
    expect(pod.store.openWatches).toBe(0);
  });

  it('by its waitTimeout: rejects at that moment', async () => {
    const { waiter, clock, pod } = await inPhase({ waitTimeout: 3_000 });
    pod.store.plan({ answeredAfter: Infinity }, ['get', 'create', 'update']);
    await clock.advance(3_000 - clock.elapsed - 1);
    expect(waiter.state).toBe('pending');
    await clock.advance(1);
    expect(waiter.reason).toBeInstanceOf(LockError);
  });
});

describe('a waiter that goes', () => {
  it('before its call was made: sends nothing', async () => {
    const { pod } = newWorld();
    const reason = new Error('too late');
    await expect(pod.acquire(JOB, {}, AbortSignal.abort(reason))).rejects.toBe(
      reason,
    );
    expect(pod.store.requests).toEqual([]);
    await expect(pod.acquire()).resolves.toMatchObject({ isHeld: true });
  });

  it('while it is in the queue: blocks no other call', async () => {
    const { pod, clock } = newWorld();
    const lock = await pod.acquire();
    const abort = new AbortController();
    const waiter = outcomeOf(pod.acquire(JOB, {}, abort.signal));
    const next = outcomeOf(pod.acquire());
    const reason = new Error('changed my mind');
    await settled();
    abort.abort(reason);
    await settled();
    expect(waiter.reason).toBe(reason);
    expect(getEventListeners(abort.signal, 'abort')).toEqual([]);

    await lock.release();
    await settled();
    expect(next.state).toBe('resolved');
    await next.value!.release();
    expect(clock.pending()).toBe(0);
  });

  it('by waitTimeout in the queue: rejects with the holder of the lock', async () => {
    const { pod, clock } = newWorld();
    const lock = await pod.acquire();
    const waiter = outcomeOf(pod.acquire(JOB, { waitTimeout: 3_000 }));
    await clock.advance(2_999);
    expect(waiter.state).toBe('pending');
    await clock.advance(1);

    expect(waiter.reason).toBeInstanceOf(LockNotAcquiredError);
    expect(waiter.reason).toMatchObject({
      reason: 'timeout',
      holder: lock.holderIdentity,
      since: new Date('2026-01-01T00:00:00.000Z'),
    });
  });

  it('by waitTimeout while another process holds the lock: rejects with that holder', async () => {
    const { cluster, pod, clock } = newWorld();
    cluster.writeSpec(foreignSpec());
    const waiter = outcomeOf(pod.acquire(JOB, { waitTimeout: 3_000 }));
    await clock.advance(3_000);

    expect(waiter.reason).toMatchObject({
      reason: 'timeout',
      holder: 'stranger',
      explanation:
        'Lock "job" (Lease default/job) was not acquired within 3000 ms (waitTimeout): it is held by stranger (since 2026-01-01T00:00:00.000Z). Wait longer, or inspect the holder with LockService.inspect().',
    });
    expect(clock.pending()).toBe(0);
    expect(pod.store.openWatches).toBe(0);
  });

  it('by waitTimeout while the API server fails: rejects with that failure', async () => {
    const { pod, clock } = newWorld();
    pod.store.plan({ refused: { reason: 'server', status: 500 } }, 'get');
    const waiter = outcomeOf(pod.acquire(JOB, { waitTimeout: 3_000 }));
    await clock.advance(3_000);

    expect(waiter.reason).toBeInstanceOf(LockBackendError);
    expect(waiter.reason).toMatchObject({
      reason: 'server',
      backendStatus: 500,
    });
  });

  it('when its signal aborts after it got the lock: the lock stays', async () => {
    const { pod, clock } = newWorld();
    const abort = new AbortController();
    const lock = await pod.acquire(JOB, {}, abort.signal);
    abort.abort();
    await clock.advance(60_000);
    expect(lock.isHeld).toBe(true);
    expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
  });
});

describe('a call that is over', () => {
  const never = { waitTimeout: 60_000 };

  it('has got the lock: nothing is left of its signal and its waitTimeout', async () => {
    const { pod, clock } = newWorld();
    const abort = new AbortController();
    const lock = await pod.acquire(JOB, never, abort.signal);
    expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
    await lock.release();
    expect(clock.pending()).toBe(0);
  });

  it('was turned away: nothing is left of its signal', async () => {
    const { cluster, pod, clock } = newWorld();
    cluster.writeSpec(foreignSpec({ leaseDurationSeconds: null }));
    const abort = new AbortController();
    await expect(pod.skip(JOB, never, abort.signal)).rejects.toMatchObject({
      reason: 'held',
    });
    expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
    expect(clock.pending()).toBe(0);
  });

  it('was cancelled: nothing is left of its waitTimeout', async () => {
    const { cluster, pod, clock } = newWorld();
    cluster.writeSpec(foreignSpec());
    const abort = new AbortController();
    outcomeOf(pod.acquire(JOB, never, abort.signal));
    await settled();
    expect(clock.pending()).toBeGreaterThan(1);
    abort.abort();
    await settled();
    expect(clock.pending()).toBe(0);
  });
});

describe('waitTimeout 0', () => {
  it('tries once: takes what is free', async () => {
    const { pod } = newWorld();
    await expect(pod.acquire(JOB, { waitTimeout: 0 })).resolves.toMatchObject({
      isHeld: true,
    });
  });

  it.each([
    ['another process', false],
    ['another caller of the process', true],
  ])('rejects at once when %s holds it', async (_, isOwn) => {
    const { cluster, pod, clock } = newWorld();
    if (isOwn) {
      await pod.acquire();
    } else {
      cluster.writeSpec(foreignSpec());
    }
    await expect(pod.acquire(JOB, { waitTimeout: 0 })).rejects.toMatchObject({
      reason: 'timeout',
    });
    expect(clock.elapsed).toBe(0);
  });
});
