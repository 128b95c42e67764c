/** A process takes no lock that it can't renew beside those that it holds: calls wait for that, or fail. */
import { assert, describe, expect, it } from 'vitest';
import { LockNotAcquiredError } from '../../lib/index.js';
import type { LockSaturatedEvent } from '../../lib/lock.events.js';
import { lineOf } from '../../lib/lock/record/line.js';
import type { LeaseLock } from '../../lib/lock/hold/lease-lock.js';
import { settled } from './controlled-clock.js';
import { Cluster, foreignSpec, outcomeOf, type Outcome } from './processes.js';

/** Renewed every 5 s: five of them need one renewal a second. */
const DEFAULT = 1 / 5;

function setUp(capacity: number) {
  const cluster = new Cluster();
  const pod = cluster.process('pod');
  pod.store.capacity = capacity;
  const ofType = (type: string) =>
    pod.events.filter((event) => event.type === type);
  return { cluster, pod, clock: cluster.clock, ofType };
}

type World = ReturnType<typeof setUp>;

/** Holds the locks `held-0`, `held-1`, … */
async function hold({ pod }: World, count: number): Promise<LeaseLock[]> {
  const locks: LeaseLock[] = [];
  for (let i = 0; i < count; i++) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    locks.push(await pod.acquire(`held-${i}`));
  }
  return locks;
}

/** A process that renews as many locks as it can. */
async function saturated(count = 5) {
  const world = setUp(count * DEFAULT);
  const held = await hold(world, count);
  world.pod.store.requests.length = 0;
  return { ...world, held };
}

/** The number of processes in line for a lock. */
const lineFor = ({ cluster }: World, name: string): number =>
  lineOf(cluster.lease(name)!).length;

const states = (outcomes: readonly Outcome<unknown>[]): string =>
  outcomes.map(({ state }) => state).join(' ');

const SATURATED = {
  reason: 'saturated',
  explanation: expect.stringContaining(
    'its 5 locks need 1.0 renewals a second; at the speed at which the API server answers now, 1.0 are safe',
  ),
};

describe('a call for one lock more', () => {
  it('waits without a request, and is next when a lock is released', async () => {
    const { pod, held, clock } = await saturated();
    const waiters = [0, 1].map((i) => outcomeOf(pod.acquire(`next-${i}`)));
    await clock.advance(4_000);
    expect(states(waiters)).toBe('pending pending');
    expect(pod.store.requests).toEqual([]);
    await held[0]!.release();
    await settled();
    expect(states(waiters)).toBe('resolved pending');
  });

  it('is next when a lock is lost', async () => {
    const { pod, cluster, clock } = await saturated();
    const waiter = outcomeOf(pod.acquire('next'));
    await clock.advance(1_000);
    cluster.writeSpec(foreignSpec(), 'held-3');
    await clock.advance(5_000);
    expect(waiter.state).toBe('resolved');
  });

  it('is next when the API server answers faster', async () => {
    const { pod, clock } = await saturated();
    const waiter = outcomeOf(pod.acquire('next'));
    await clock.advance(1_000);
    expect(waiter.state).toBe('pending');
    pod.store.capacity = 6 * DEFAULT;
    await clock.advance(100);
    expect(waiter.state).toBe('resolved');
  });

  it('fails when waitTimeout is over, with the reason', async () => {
    const { pod, clock } = await saturated();
    const waiter = outcomeOf(pod.acquire('next', { waitTimeout: 3_000 }));
    await clock.advance(2_999);
    expect(waiter.state).toBe('pending');
    await clock.advance(1);
    expect(waiter.reason).toMatchObject(SATURATED);
  });

  it('ends with its signal, and leaves its turn to the next', async () => {
    const { pod, held } = await saturated();
    const abort = new AbortController();
    const cancelled = outcomeOf(pod.acquire('first', {}, abort.signal));
    const next = outcomeOf(pod.acquire('second'));
    await settled();
    abort.abort('cancelled');
    await settled();
    expect(cancelled.reason).toBe('cancelled');
    await held[0]!.release();
    await settled();
    expect(next.state).toBe('resolved');
  });

  it('fails at once if it does not wait, with 503 and advice', async () => {
    const { pod } = await saturated();
    const error: unknown = await pod.try('next').catch((e: unknown) => e);
    assert(error instanceof LockNotAcquiredError);
    expect(error).toMatchObject(SATURATED);
    expect(error.getStatus()).toBe(503);
    expect(error.message).toBe(
      'Lock "next" was not acquired: this process holds as many locks as it can renew.',
    );
    expect(error.explanation).toContain("renewal: 'session'");
  });

  it('fails when its waitTimeout is over if it would skip a held lock', async () => {
    const { pod, clock } = await saturated();
    const skipped = outcomeOf(pod.skip('next', { waitTimeout: 2_000 }));
    await clock.advance(1_900);
    expect(skipped.state).toBe('pending');
    await clock.advance(200);
    expect(skipped.reason).toMatchObject(SATURATED);
  });

  it('that does not wait is told that another process holds the lock', async () => {
    const { pod, cluster } = await saturated();
    cluster.writeSpec(foreignSpec(), 'next');
    await expect(pod.try('next')).rejects.toMatchObject({ reason: 'held' });
  });

  it('notices when another process takes the lock meanwhile', async () => {
    const { pod, cluster, held, clock } = await saturated();
    cluster.writeSpec({}, 'next');
    pod.observe('next');
    await settled();
    const waiter = outcomeOf(pod.acquire('next', { waitTimeout: 5_000 }));
    await clock.advance(1_000);
    cluster.writeSpec(foreignSpec(), 'next');
    await clock.advance(1_000);
    // It holds no permit: the next call gets that.
    await held[0]!.release();
    await settled();
    const other = outcomeOf(pod.acquire('other'));
    await settled();
    expect(other.state).toBe('resolved');
    await clock.advance(4_000);
    expect(waiter.reason).toMatchObject({ reason: 'timeout' });
  });
});

describe('a lock of another process', () => {
  it('is waited for in line only when there is room for it', async () => {
    const world = await saturated();
    const other = await world.cluster.process('other').acquire('shared');
    const waiter = outcomeOf(world.pod.acquire('shared'));
    await world.clock.advance(1_000);
    expect(lineFor(world, 'shared')).toBe(0);
    await world.held[0]!.release();
    await world.clock.advance(100);
    expect(lineFor(world, 'shared')).toBe(1);
    await other.release();
    await settled();
    expect(waiter.state).toBe('resolved');
  });

  it('is passed on if it is granted when there is no room for it any more', async () => {
    const world = setUp(5 * DEFAULT);
    const { cluster, pod, clock } = world;
    const held = await hold(world, 4);
    const other = await cluster.process('other').acquire('shared');
    const waiter = outcomeOf(pod.acquire('shared'));
    await settled();
    expect(lineFor(world, 'shared')).toBe(1);
    const last = await pod.acquire('last');
    const third = outcomeOf(cluster.process('third').acquire('shared'));
    await clock.advance(100);
    await other.release();
    await clock.advance(100);
    expect(states([waiter, third])).toBe('pending resolved');
    expect(world.ofType('lost')).toEqual([]);
    await last.release();
    await clock.advance(100);
    expect(lineFor(world, 'shared')).toBe(1);
    expect(held.every(({ isHeld }) => isHeld)).toBe(true);
  });
});

describe('what needs no permit', () => {
  it.each([
    ['a lock that is not renewed', { autoRenew: false }],
    ['a lock that never expires', { leaseDuration: 'infinite' as const }],
  ])('%s', async (_, options) => {
    const { pod, ofType } = await saturated();
    await pod.acquire('first', options);
    await pod.try('second', options);
    expect(ofType('saturated')).toEqual([]);
  });

  it('the first lock of a process, however short its lease', async () => {
    const { pod, held } = await saturated(1);
    await held[0]!.release();
    const only = await pod.acquire('only', { leaseDuration: 1_000 });
    expect(only.isHeld).toBe(true);
  });

  it('a lock that goes from one call of the process to the next', async () => {
    const { pod, held } = await saturated();
    const before = outcomeOf(pod.acquire('other'));
    const next = outcomeOf(pod.acquire('held-0'));
    await settled();
    await held[0]!.release();
    await settled();
    expect(next.state).toBe('resolved');
    expect(before.state).toBe('resolved'); // the released lock returned its permit
  });
});

it('a lock under a session needs no permit', async () => {
  const cluster = new Cluster();
  const pod = cluster.process('pod', cluster.clock, { session: {} });
  pod.store.capacity = 1; // the session needs a fifth
  const held = await Promise.all(
    Array.from({ length: 50 }, (_, i) => pod.try(`lock-${i}`)),
  );
  expect(held.every(({ isHeld }) => isHeld)).toBe(true);
  expect(pod.eventTypes()).not.toContain('saturated');
});

describe('a permit', () => {
  it('is returned by a call whose write fails, until its next attempt', async () => {
    const { pod, clock } = setUp(DEFAULT);
    pod.store.plan({ refused: { reason: 'server', status: 500 } }, 'create', 1);
    const failing = outcomeOf(pod.acquire('failing'));
    await settled();
    const other = outcomeOf(pod.acquire('other'));
    await settled();
    expect(other.state).toBe('resolved');
    await clock.advance(4_000);
    expect(failing.state).toBe('pending');
  });

  it('is returned by a call that finds the lock taken', async () => {
    const { pod, cluster } = setUp(DEFAULT);
    cluster.writeSpec(foreignSpec(), 'taken');
    const waiting = outcomeOf(pod.acquire('taken'));
    await settled();
    const other = outcomeOf(pod.acquire('other'));
    await settled();
    expect(states([waiting, other])).toBe('pending resolved');
  });

  it('counts as long as the renewals of its lock: two a second take as much as ten of a fifth', async () => {
    const world = setUp(2.1);
    await world.pod.acquire('short', { renewInterval: 1_000 });
    await hold(world, 5);
    const waiter = outcomeOf(world.pod.acquire('next'));
    await settled();
    expect(waiter.state).toBe('pending');
    expect(world.ofType('saturated')).toEqual([
      expect.objectContaining({
        locks: 6,
        demand: expect.closeTo(2),
        capacity: 2.1,
      }),
    ]);
  });
});

describe('many calls at once', () => {
  it('acquire 24 locks at a time, so that the capacity is known again before the next', async () => {
    const { pod, clock } = setUp(Infinity);
    pod.store.plan({ answeredAfter: 1_000 }, 'create');
    const calls = Array.from({ length: 100 }, (_, i) =>
      outcomeOf(pod.acquire(`lock-${i}`)),
    );
    await settled();
    const created = () =>
      pod.store.requests.filter(({ verb }) => verb === 'create').length;
    expect(created()).toBe(24);
    pod.store.capacity = 30.5 * DEFAULT;
    await clock.advance(3_000);
    expect(calls.filter(({ state }) => state === 'resolved')).toHaveLength(30);
    expect(created()).toBe(30);
  });

  it('that do not wait are not refused while the process is not saturated', async () => {
    const { pod, clock } = setUp(Infinity);
    pod.store.plan({ answeredAfter: 1_000 }, 'create');
    const calls = Array.from({ length: 30 }, (_, i) =>
      outcomeOf(pod.try(`lock-${i}`)),
    );
    await clock.advance(2_000);
    expect(calls.filter(({ state }) => state !== 'resolved')).toEqual([]);
  });
});

describe('the events', () => {
  it('tell once that calls are held back, and when none is any more', async () => {
    const { pod, held, clock, ofType } = await saturated();
    const waiters = [0, 1].map((i) => outcomeOf(pod.acquire(`next-${i}`)));
    await pod.try('third').catch(() => undefined);
    await clock.advance(1_000);
    expect(ofType('saturated')).toEqual([
      {
        type: 'saturated',
        name: 'next-0',
        namespace: 'default',
        leaseName: 'next-0',
        locks: 5,
        demand: 1,
        capacity: 1,
      } satisfies LockSaturatedEvent,
    ]);
    for (const lock of held) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await lock.release();
    }
    await settled();
    expect(states(waiters)).toBe('resolved resolved');
    expect(ofType('unsaturated')).toEqual([
      expect.objectContaining({ name: 'next-0', duration: 1_000 }),
    ]);
    await clock.advance(60_000);
    expect(ofType('saturated')).toHaveLength(1);
  });

  it('tell of a call that did not wait, until there is room for it', async () => {
    const { pod, clock, ofType } = await saturated();
    await pod.try('next').catch(() => undefined);
    await clock.advance(60_000);
    expect(ofType('unsaturated')).toEqual([]);
    pod.store.capacity = 6 * DEFAULT;
    await clock.advance(100);
    expect(ofType('unsaturated')).toHaveLength(1);
  });

  it('keep no process alive that only holds locks', async () => {
    const { pod, clock } = await saturated();
    await pod.try('next').catch(() => undefined);
    expect(clock.pending({ keepAlive: true })).toBe(0);
  });
});
