/** R11: the holder grants the lock to the first in line, with the write that releases it. */
import { describe, expect, it } from 'vitest';
import type { StoredLease } from '../../lib/kube/lease-store.js';
import { LockLostError } from '../../lib/lock.errors.js';
import type { LeaseLock } from '../../lib/lock/hold/lease-lock.js';
import { SESSION } from '../../lib/lock/record/session.js';
import { settled } from './controlled-clock.js';
import { CLAIM, claimFire, fire } from './fires.js';
import { Cluster, foreignSpec, JOB, outcomeOf } from './processes.js';
import {
  enrol,
  enrolDead,
  GRANT,
  held,
  inLine,
  lineIn,
  TICKET,
  writeTickets,
  type Pod,
} from './waiting-processes.js';

const annotationOf = (cluster: Cluster, key: string): string | undefined =>
  cluster.lease()?.metadata.annotations?.[key];

const lossOf = (lock: LeaseLock): unknown =>
  lock.signal.reason instanceof LockLostError
    ? lock.signal.reason.reason
    : undefined;

/** No request of it arrives any more. */
const cutOff = ({ store }: Pod): void => {
  store.plan({ breaks: 'unsent' }, ['get', 'create', 'update']);
};

/** A free record with a line, since a process without the right to patch has released it. */
function writeTicketsOfFree(cluster: Cluster): StoredLease {
  return cluster.write((lease) => {
    lease.metadata.annotations = { [`${TICKET}n`]: '1 15 dead_n' };
    lease.spec = { leaseTransitions: 0 };
  });
}

/** Two processes of which the holder comes back at once each time. */
async function comingBack() {
  const world = await held('b', 'c');
  const { clock, holder, pods } = world;
  let lock = world.lock;
  const b = await enrol(pods[0]!);
  await lock.release();
  const again = await enrol(holder); // at once: next time its release keeps a place
  await clock.advance(100);
  await b.value!.release();
  await clock.advance(10);
  lock = again.value!;
  const next = await enrol(pods[0]!);
  await clock.advance(100);
  const sent = holder.store.requests.length;
  await lock.release();
  return { ...world, next, sent };
}

/** A grant that is seen so many milliseconds after the enrolment. */
async function startedWith(delay: number) {
  const { clock, lock, pods } = await held('b');
  const [b] = pods;
  const waiting = await enrol(b!, { retryInterval: 60_000 });
  b!.store.watchDelay = delay - 100;
  await clock.advance(100);
  await lock.release();
  b!.store.plan({ answeredAfter: 10 }, 'update', 1);
  await clock.advance(delay - 100);
  const wasPending = waiting.state === 'pending';
  await clock.advance(10);
  const verbs = b!.store.verbs();
  cutOff(b!);
  return { clock, lock: waiting.value!, verbs, wasPending };
}

describe('R11 a grant', () => {
  it('is one request, which writes the whole record of the next holder', async () => {
    const { cluster, clock, holder, lock, pods } = await held('b', 'c');
    await enrol(pods[0]!, { leaseDuration: 20_000 });
    await enrol(pods[1]!);
    const [ticket] = lineIn(cluster.lease());
    await clock.advance(400);
    const sent = holder.store.requests.length;
    await lock.release();

    const identity = `b_${ticket!.nonce}`;
    const time = '2026-01-01T00:00:00.400000Z';
    expect(holder.store.requests).toHaveLength(sent + 1);
    expect(cluster.spec()).toEqual({
      holderIdentity: identity,
      leaseDurationSeconds: 20,
      acquireTime: time,
      renewTime: time,
      leaseTransitions: 1,
    });
    expect(cluster.lease()!.metadata.annotations).toEqual({
      'nestjs-k8s-lock/name': JOB,
      'nestjs-k8s-lock/acquired-at': `${time} by ${identity}`,
      [GRANT]: `3000 250 ${identity}`,
      ...Object.fromEntries(
        Object.entries(cluster.lease()!.metadata.annotations!).filter(([key]) =>
          key.startsWith(TICKET),
        ),
      ),
    });
    expect(inLine(cluster)).toEqual(['c']);
  });

  it('lasts for no longer than the lease of the grantee', async () => {
    const { cluster, lock, pods } = await held('b');
    await enrol(pods[0]!, { leaseDuration: 2_000 });
    await lock.release();
    expect(annotationOf(cluster, GRANT)).toMatch(/^2000 /);
  });

  it('keeps what others wrote, even since the holder has looked', async () => {
    const { cluster, clock, holder, lock, pods } = await held('b');
    await enrol(pods[0]!);
    await clock.advance(10);
    holder.store.watchesWork = false;
    cluster.write(({ metadata }) => {
      metadata.annotations!['example.com/note'] = 'by a person';
      metadata.labels = { ...metadata.labels, 'example.com/team': 'blue' };
      metadata.finalizers = ['example.com/keep'];
    });
    await lock.release();
    await settled();
    expect(cluster.holder()).toBe('b');
    expect(holder.store.verbs()).toBe('create patch');
    expect(cluster.lease()!.metadata).toMatchObject({
      annotations: { 'example.com/note': 'by a person' },
      labels: { 'example.com/team': 'blue' },
      finalizers: ['example.com/keep'],
    });
  });

  it('gives a greater token each time, whatever is written in between', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c');
    pods[0]!.store.watchDelay = 50;
    const tokens = [lock.fencingToken];
    const waiting = await enrol(pods[0]!);
    await clock.advance(50);
    await lock.release();
    const granted = BigInt(cluster.lease()!.metadata.resourceVersion);
    const next = await enrol(pods[1]!); // before the grantee has seen its grant
    await clock.advance(50);
    tokens.push(waiting.value!.fencingToken);
    await waiting.value!.release();
    await settled();
    tokens.push(next.value!.fencingToken);
    expect(tokens[1]).toBeGreaterThanOrEqual(granted);
    expect(tokens).toEqual([...tokens].toSorted((a, b) => (a < b ? -1 : 1)));
    expect(new Set(tokens).size).toBe(3);
  });

  it('is not written by a holder whose lock is another’s by now', async () => {
    const { cluster, clock, holder, lock, pods } = await held('b');
    await enrol(pods[0]!);
    await clock.advance(10);
    holder.store.watchesWork = false;
    cluster.writeSpec(foreignSpec());
    await lock.release();
    await clock.advance(1_000);
    expect(cluster.spec()).toEqual(foreignSpec());
    expect(inLine(cluster)).toEqual(['b']);
    expect(holder.store.verbs()).toBe('create patch get');
  });
});

describe('R11 the deadline of a grantee', () => {
  it.each([
    [15_000, 8_500 / 13_500],
    [3_000, 1_700 / 2_700],
  ])(
    'is soon, so the renewal that confirms the grant does not tell what was left: of a lease of %i ms',
    async (leaseDuration, margin) => {
      const { clock, lock, pods } = await held('b');
      const [b] = pods;
      await enrol(b!, { leaseDuration });
      await clock.advance(100);
      await lock.release();
      await clock.advance(10_000);
      const margins = b!.events.flatMap((event) =>
        event.type === 'renewed' ? [event.margin] : [],
      );
      expect(margins.slice(0, 2)).toEqual([undefined, margin]);
    },
  );

  it('counts from the enrolment: a request that was sent before the grant', async () => {
    const { clock, lock, pods } = await held('b');
    const waiting = await enrol(pods[0]!);
    await clock.advance(800);
    await lock.release();
    await settled();
    cutOff(pods[0]!);
    expect(waiting.value!.isHeld).toBe(true);
    await clock.advance(1_899); // 2.7 s of 3 s, after 0.8 s
    expect(lossOf(waiting.value!)).toBeUndefined();
    await clock.advance(1);
    expect(lossOf(waiting.value!)).toBe('deadline');
  });

  it('counts from the last look that showed an older record, from when it was SENT', async () => {
    const { clock, lock, pods } = await held('b');
    const [b] = pods;
    const waiting = await enrol(b!);
    b!.store.plan({ answeredAfter: 300 }, 'get', 1);
    await clock.advance(1_500); // a look at 1 s, answered at 1.3 s
    expect(b!.store.verbs()).toBe('get patch get');
    await lock.release();
    await settled();
    cutOff(b!);
    await clock.advance(2_199);
    expect(lossOf(waiting.value!)).toBeUndefined();
    await clock.advance(1);
    expect(lossOf(waiting.value!)).toBe('deadline');
  });

  it('does not count from a look that was overtaken by the grant', async () => {
    const { clock, lock, pods } = await held('b');
    const [b] = pods;
    const waiting = await enrol(b!);
    b!.store.plan({ appliedAfter: 400 }, 'get', 1);
    b!.store.watchesWork = false;
    await clock.advance(1_200); // a look that was sent at 1 s is on its way
    await lock.release();
    b!.store.plan({ breaks: 'unsent' }, 'update');
    await clock.advance(200); // and shows the grant
    expect(waiting.value!.isHeld).toBe(true);
    await clock.advance(1_299);
    expect(lossOf(waiting.value!)).toBeUndefined();
    await clock.advance(1);
    expect(lossOf(waiting.value!)).toBe('deadline');
  });

  it('comes before k8slock takes a grant for expired that was written long after it was sent', async () => {
    const { cluster, clock, lock, pods, holder } = await held('b');
    const [b] = pods;
    const options = { leaseDuration: 4_000, retryInterval: 1_000 };
    const waiting = await enrol(b!, options);
    holder.store.plan({ appliedAfter: 2_500 }, 'patch', 1);
    outcomeOf(lock.release());
    await clock.advance(2_400);
    cutOff(b!); // after a look at 2 s, which has shown an older record
    await clock.advance(100);
    const { acquireTime } = cluster.lease()!.spec!;
    const expiry = Date.parse(acquireTime!) + options.leaseDuration;
    expect(waiting.value!.isHeld).toBe(true);
    while (waiting.value!.isHeld) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await clock.advance(1);
    }
    expect(expiry - clock.wallMicroseconds() / 1_000).toBeGreaterThan(398);
  });

  it('comes before others may take the lock, whatever the clocks', async () => {
    const { cluster, clock, lock } = await held();
    const slow = cluster.process('slow', clock.elsewhere({ rate: 0.96 }));
    const fast = cluster.process('fast', clock.elsewhere({ rate: 1.04 }));
    const waiting = await enrol(slow);
    await lock.release();
    const next = await enrol(fast);
    await settled();
    cutOff(slow);
    let lostAt = Infinity;
    let takenAt = Infinity;
    for (let time = 0; time < 3_200; time++) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await clock.advance(1);
      lostAt = waiting.value!.isHeld ? lostAt : Math.min(lostAt, time);
      takenAt = next.value ? Math.min(takenAt, time) : takenAt;
    }
    expect(takenAt).toBeLessThan(3_200);
    expect(lostAt).toBeLessThan(takenAt);
  });

  it('is that of its lease once it has confirmed, in the background', async () => {
    const { cluster, clock, lock, pods } = await held('b');
    const waiting = await enrol(pods[0]!);
    await lock.release();
    await settled();
    expect(waiting.value!.isHeld).toBe(true);
    expect(pods[0]!.store.verbs()).toBe('get patch');
    await clock.advance(1_000); // a third of 3 s
    expect(pods[0]!.store.verbs()).toBe('get patch update');
    expect(annotationOf(cluster, GRANT)).toBeUndefined();
    cutOff(pods[0]!);
    await clock.advance(13_499);
    expect(lossOf(waiting.value!)).toBeUndefined();
    await clock.advance(1);
    expect(lossOf(waiting.value!)).toBe('deadline');
  });

  it('does not let the work start with too little time: the grant is confirmed first', async () => {
    const started = await startedWith(2_201);
    expect(started.verbs).toBe('get patch update');
    // And then there is the time of the whole lease.
    await started.clock.advance(13_489);
    expect(lossOf(started.lock)).toBeUndefined();
    await started.clock.advance(1);
    expect(lossOf(started.lock)).toBe('deadline');
  });

  it('lets it start with half a second, without a request', async () => {
    const started = await startedWith(2_200);
    expect(started.wasPending).toBe(false);
    expect(started.verbs).toBe('get patch');
  });

  it.each([15_000, 3_000])(
    'is renewed when its share of the time that is left has passed, not at once after a wait: of a lease of %i ms',
    async (leaseDuration) => {
      const { clock, lock, pods } = await held('b');
      const [b] = pods;
      const options = { leaseDuration, retryInterval: 60_000 };
      const waiting = await enrol(b!, options);
      await clock.advance(2_000);
      await lock.release();
      await clock.advance(258); // of 700 ms to the deadline
      expect(waiting.value!.isHeld).toBe(true);
      expect(b!.store.verbs()).toBe('get patch');
      await clock.advance(2);
      expect(b!.store.verbs()).toBe('get patch update');
    },
  );

  it.each([
    [15_000, 13_450],
    [3_000, 2_650],
  ])(
    'leaves the time for a renewal: of a lease of %i ms that is renewed every %i ms',
    async (leaseDuration, renewInterval) => {
      const { clock, lock, pods } = await held('b');
      const [b] = pods;
      const timing = { leaseDuration, renewInterval };
      const waiting = await enrol(b!, { ...timing, retryInterval: 60_000 });
      await clock.advance(2_000);
      await lock.release();
      await clock.advance(649); // of 700 ms to the deadline
      expect(waiting.value!.isHeld).toBe(true);
      expect(b!.store.verbs()).toBe('get patch');
      await clock.advance(1);
      expect(b!.store.verbs()).toBe('get patch update');
    },
  );

  it('does not make its lock look overdue before it could be renewed', async () => {
    const { clock, lock, pods } = await held('b');
    const [b] = pods;
    const waiting = await enrol(b!, { retryInterval: 60_000 });
    b!.store.plan({ appliedAfter: Infinity }, 'update');
    await clock.advance(2_000);
    await lock.release();
    await settled();
    expect(waiting.value!.isHeld).toBe(true);
    expect(b!.engine.check()).toMatchObject([{ state: 'held' }]);
    await clock.advance(600);
    expect(b!.engine.check()).toMatchObject([{ state: 'overdue' }]);
    await clock.advance(100);
    expect(b!.engine.check()).toMatchObject([{ state: 'lost' }]);
  });

  it('has passed if nobody looked: the grant is confirmed, if nobody has taken the lock', async () => {
    const { clock, lock, pods } = await held('b');
    const [b] = pods;
    b!.store.watchesWork = false;
    const waiting = await enrol(b!, { retryInterval: 10_000 });
    await lock.release();
    await clock.advance(9_999);
    expect(waiting.state).toBe('pending');
    await clock.advance(1);
    expect(waiting.value!.isHeld).toBe(true);
    expect(b!.store.verbs()).toBe('get patch get update');
  });
});

describe.each([
  ['an infinite lease', { leaseDuration: 'infinite' as const }],
  ['a lease that is not renewed', { autoRenew: false }],
])('R11 a grant for %s', (_, options) => {
  it('is confirmed before the work starts', async () => {
    const { cluster, clock, lock, pods } = await held('b');
    const waiting = await enrol(pods[0]!, options);
    pods[0]!.store.plan({ answeredAfter: 20 }, 'update', 1);
    await lock.release();
    await clock.advance(19);
    expect(waiting.state).toBe('pending');
    await clock.advance(1);
    expect(waiting.value!.isHeld).toBe(true);
    expect(pods[0]!.store.verbs()).toBe('get patch update');
    expect(annotationOf(cluster, GRANT)).toBeUndefined();
  });

  it('lapses as any other if its process is dead', async () => {
    const { cluster, clock, lock, pods } = await held('b');
    const machine = clock.elsewhere();
    const dead = cluster.process('dead', machine);
    await enrol(dead, options);
    machine.switchOff();
    dead.store.watchesWork = false;
    dead.store.plan({ appliedAfter: Infinity }, ['get', 'update']);
    const waiting = await enrol(pods[0]!);
    await lock.release();
    // Peers, too, must find it expired some time.
    expect(cluster.spec().leaseDurationSeconds).toBeLessThan(16);
    await clock.advance(3_000);
    expect(waiting.state).toBe('resolved');
  });
});

it('R11 a grant that is longer than the lease of the call that uses the place is confirmed before the work starts', async () => {
  const { cluster, clock, lock, pods } = await held('b');
  const [b] = pods;
  const first = new AbortController();
  await enrol(b!, {}, first.signal);
  const waiting = await enrol(b!, { leaseDuration: 1_000 });
  first.abort();
  await settled();
  b!.store.plan({ answeredAfter: 20 }, 'update', 1);
  await lock.release();
  await clock.advance(19);
  expect(waiting.state).toBe('pending');
  await clock.advance(1);
  expect(waiting.value!.isHeld).toBe(true);
  expect(cluster.spec().leaseDurationSeconds).toBe(1);
  expect(annotationOf(cluster, GRANT)).toBeUndefined();
});

describe('R11 a grant for a fire', () => {
  it('is confirmed by the claim, before the work starts', async () => {
    const { cluster, clock, lock, pods } = await held('b');
    const claimed = outcomeOf(claimFire(pods[0]!, { minute: 1, mode: 'wait' }));
    await settled();
    expect(inLine(cluster)).toEqual(['b']);
    pods[0]!.store.plan({ answeredAfter: 20 }, 'update', 1);
    await lock.release();
    await clock.advance(19);
    expect(claimed.state).toBe('pending');
    expect(annotationOf(cluster, CLAIM)).toBe(
      `2026-01-01T00:01:00.000Z claimed by ${cluster.spec().holderIdentity}`,
    );
    await clock.advance(1);
    expect(claimed.state).toBe('resolved');
    expect(cluster.spec().holderIdentity).toBe(claimed.value!.holderIdentity);
  });

  it('that has ended ends the claim, and the next caller of the process follows', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c');
    await lock.release();
    const [b, c] = pods;
    b!.observe();
    await settled();
    const work = await fire(b!, { minute: 1 });
    const next = await enrol(b!);
    const other = await enrol(c!);
    await work.release(); // handed over, with another process in line
    await clock.advance(10);
    expect(next.state).toBe('resolved');
    expect(annotationOf(cluster, CLAIM)).toMatch(/ done by b_/);
    await next.value!.release();
    await clock.advance(10);
    expect(other.state).toBe('resolved');
    expect(annotationOf(cluster, CLAIM)).toMatch(/ done by b_/);
  });
});

describe('R11 under a session', () => {
  it('a grant is confirmed under the session of the grantee before the work starts', async () => {
    const { cluster, clock, lock } = await held();
    const b = cluster.process('b', clock, { session: {} });
    const waiting = await enrol(b);
    b.store.plan({ answeredAfter: 20 }, ['create', 'update']);
    await lock.release();
    await clock.advance(19); // the session is open by now
    expect(waiting.state).toBe('pending');
    await clock.advance(1);
    expect(waiting.value!.isHeld).toBe(true);
    expect(annotationOf(cluster, GRANT)).toBeUndefined();
    expect(annotationOf(cluster, SESSION)).toContain(
      `by ${waiting.value!.holderIdentity}`,
    );
    await clock.advance(60_000);
    expect(waiting.value!.isHeld).toBe(true);
  });

  it('a holder grants the lock to a process without one, whose grant lapses by itself', async () => {
    const { cluster, clock, lock, pods } = await held('c');
    await lock.release();
    const b = cluster.process('b', clock, { session: {} });
    b.observe();
    const holding = outcomeOf(b.acquire());
    await settled();
    await enrolDead(cluster, 'dead');
    const waiting = await enrol(pods[0]!);
    await holding.value!.release();
    expect(cluster.spec().leaseDurationSeconds).toBe(15);
    expect(cluster.holder()).toBe('dead');
    expect(annotationOf(cluster, SESSION)).toBeUndefined();
    await clock.advance(3_000);
    expect(waiting.state).toBe('resolved');
  });
});

describe('R11 a grant to a process that is dead', () => {
  it('costs its duration once: who takes the lock drops all tickets, and the living enrol again', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c');
    const [b, c] = pods;
    await enrolDead(cluster, 'dead');
    const waiting = await enrol(b!);
    await enrolDead(cluster, 'buried');
    const next = await enrol(c!);
    const before = lineIn(cluster.lease());
    await lock.release();
    expect(cluster.holder()).toBe('dead');
    await clock.advance(2_999);
    expect(cluster.holder()).toBe('dead');
    await clock.advance(1);
    expect(waiting.state).toBe('resolved');

    // With its old number, and an identity that nobody can have granted the lock to.
    const after = lineIn(cluster.lease());
    expect(after).toMatchObject([{ client: 'c', number: before[3]!.number }]);
    expect(before.map(({ nonce }) => nonce)).not.toContain(after[0]!.nonce);
    await waiting.value!.release();
    await settled();
    expect(next.state).toBe('resolved');
    expect(next.value!.holderIdentity).toBe(`c_${after[0]!.nonce}`);
  });

  it('costs no more if the waiting look rarely, and the holder before was alive for long', async () => {
    const { cluster, clock, lock, pods } = await held('b');
    await enrolDead(cluster, 'dead');
    const waiting = await enrol(pods[0]!, { retryInterval: 60_000 });
    await clock.advance(20_000);
    await lock.release();
    expect(cluster.holder()).toBe('dead');
    await clock.advance(3_000);
    expect(waiting.state).toBe('resolved');
  });

  it('does not end the leases of the living: a confirmed grant has the duration of its lease', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c');
    const waiting = await enrol(pods[0]!);
    const next = await enrol(pods[1]!);
    await lock.release();
    await clock.advance(60_000);
    expect(waiting.value!.isHeld).toBe(true);
    expect(next.state).toBe('pending');
    expect(inLine(cluster)).toEqual(['c']);
  });
});

/** What makes a waiting call end without the lock. */
const ENDS: [string, (pod: Pod, abort: AbortController) => void][] = [
  ['is cancelled', (_, abort) => abort.abort()],
  ['shuts down', ({ engine }) => void engine.shutdown(10_000)],
];

describe.each(ENDS)('R11 a grant to a process that %s', (_, end) => {
  async function waitingForTwo() {
    const world = await held('b', 'c');
    const [b, c] = world.pods;
    const abort = new AbortController();
    const ended = await enrol(b!, {}, abort.signal);
    const next = await enrol(c!);
    return { ...world, ended, next, end: () => end(b!, abort) };
  }

  it('is passed on at once', async () => {
    const world = await waitingForTwo();
    const { cluster, clock, lock, pods, ended, next } = world;
    pods[0]!.store.watchDelay = 20;
    await clock.advance(20);
    await lock.release();
    expect(cluster.holder()).toBe('b');
    world.end();
    await clock.advance(10);
    expect(ended.state).toBe('rejected');
    expect(next.state).toBe('resolved');
    expect(inLine(cluster)).toEqual([]);
  });

  it('and whose withdrawal crosses the grant, is passed on', async () => {
    const world = await waitingForTwo();
    const { cluster, clock, lock, pods, next } = world;
    pods[0]!.store.plan({ appliedAfter: 20 }, 'patch', 1);
    world.end();
    await settled();
    await lock.release();
    expect(cluster.holder()).toBe('b');
    await clock.advance(30);
    expect(next.state).toBe('resolved');
    expect(inLine(cluster)).toEqual([]);
  });

  it('and whose withdrawal comes first, is refused: the next is granted', async () => {
    const world = await waitingForTwo();
    const { cluster, clock, holder, lock, pods, next } = world;
    pods[0]!.store.plan({ appliedAfter: 10 }, 'patch', 1);
    holder.store.plan({ appliedAfter: 20 }, 'patch', 1);
    world.end();
    const released = outcomeOf(lock.release());
    await clock.advance(30);
    expect(released.state).toBe('resolved');
    expect(next.state).toBe('resolved');
    expect(cluster.spec().leaseTransitions).toBe(1);
  });

  it('with nobody else in line leaves the lock free', async () => {
    const world = await held('b');
    const { cluster, clock, lock, pods } = world;
    const abort = new AbortController();
    await enrol(pods[0]!, {}, abort.signal);
    pods[0]!.store.plan({ appliedAfter: 20 }, 'patch', 1);
    end(pods[0]!, abort);
    await settled();
    await lock.release();
    await clock.advance(100);
    expect(cluster.holder()).toBeUndefined();
    expect(annotationOf(cluster, GRANT)).toBeUndefined();
  });
});

describe('R11 a grant at the end of the waitTimeout', () => {
  it('is passed on', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c');
    pods[0]!.store.watchDelay = 20;
    const ended = await enrol(pods[0]!, { waitTimeout: 100 });
    const next = await enrol(pods[1]!);
    await clock.advance(90);
    await lock.release();
    await clock.advance(20);
    expect(ended.reason).toMatchObject({ reason: 'timeout' });
    expect(next.state).toBe('resolved');
    expect(inLine(cluster)).toEqual([]);
  });
});

describe('R11 an enrolment whose answer was lost', () => {
  it('counts if it was applied', async () => {
    const { cluster, clock, lock, pods } = await held('b');
    pods[0]!.store.plan({ breaks: 'after' }, 'patch', 1);
    const waiting = await enrol(pods[0]!);
    await clock.advance(500);
    const line = lineIn(cluster.lease());
    expect(line).toHaveLength(1);
    await lock.release();
    await settled();
    expect(waiting.value!.holderIdentity).toBe(`b_${line[0]!.nonce}`);
  });

  it('is replaced after a second, and removed when it is applied 34 s later', async () => {
    const { cluster, clock, pods } = await held('b');
    pods[0]!.store.plan({ appliedAfter: 34_000 }, 'patch', 1);
    await enrol(pods[0]!);
    await clock.advance(33_000);
    const [ticket] = lineIn(cluster.lease());
    expect(ticket!.client).toBe('b');
    await clock.advance(1_000);
    expect(lineIn(cluster.lease())).toEqual([ticket]);
    await clock.advance(60_000);
    expect(lineIn(cluster.lease())).toEqual([ticket]);
  });

  it('is passed on if the lock was granted to it before it could be removed', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c');
    const [b, c] = pods;
    b!.store.plan({ appliedAfter: 8_000 }, 'patch', 1);
    const waiting = await enrol(b!);
    const next = await enrol(c!);
    await clock.advance(7_990);
    expect(inLine(cluster).toSorted()).toEqual(['b', 'c']);
    // Its removal takes some time.
    b!.store.plan({ appliedAfter: 100 }, 'patch', 1);
    await clock.advance(10);
    expect(inLine(cluster)).toHaveLength(3);
    await lock.release();
    await clock.advance(1_000);
    expect([waiting.state, next.state].toSorted()).toEqual([
      'pending',
      'resolved',
    ]);
    await (waiting.value ?? next.value)!.release();
    await clock.advance(1_000);
    expect([waiting.state, next.state]).toEqual(['resolved', 'resolved']);
    expect(inLine(cluster)).toEqual([]);
  });

  it('does not keep a call from a lock that is free by now', async () => {
    const { cluster, clock, lock, pods } = await held('b');
    pods[0]!.store.plan({ appliedAfter: 20_000 }, 'patch', 1);
    const waiting = await enrol(pods[0]!);
    await lock.release();
    await clock.advance(6_000);
    expect(waiting.value!.isHeld).toBe(true);
    await clock.advance(15_000); // its ticket comes, and goes
    expect(inLine(cluster)).toEqual([]);
    expect(waiting.value!.isHeld).toBe(true);
    await waiting.value!.release();
    expect(cluster.holder()).toBeUndefined();
  });

  it('leaves nothing behind when its call has ended', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c');
    const abort = new AbortController();
    pods[0]!.store.plan({ appliedAfter: 20_000 }, 'patch', 1);
    await enrol(pods[0]!, {}, abort.signal);
    abort.abort();
    await clock.advance(20_001);
    expect(inLine(cluster)).toEqual([]);
    await lock.release();
    expect((await pods[1]!.try()).isHeld).toBe(true);
  });
});

describe('R11 a grant whose answer was lost', () => {
  it('is not repeated if it was applied', async () => {
    const { cluster, clock, holder, lock, pods } = await held('b', 'c');
    const waiting = await enrol(pods[0]!);
    await enrol(pods[1]!);
    holder.store.plan({ breaks: 'after' }, 'patch', 1);
    const released = outcomeOf(lock.release());
    await clock.advance(1_000);
    expect(released.state).toBe('resolved');
    expect(waiting.value!.isHeld).toBe(true);
    expect(inLine(cluster)).toEqual(['c']);
  });

  it('has no effect if it is applied 34 s later', async () => {
    const { cluster, clock, holder, lock, pods } = await held('b', 'c');
    const waiting = await enrol(pods[0]!);
    const next = await enrol(pods[1]!);
    holder.store.plan({ appliedAfter: 34_000 }, 'patch', 1);
    void lock.release();
    await clock.advance(6_000);
    expect(waiting.value!.isHeld).toBe(true);
    await waiting.value!.release();
    await settled();
    expect(next.value!.isHeld).toBe(true);
    await clock.advance(60_000);
    expect(next.value!.isHeld).toBe(true);
    expect(cluster.spec().holderIdentity).toBe(next.value!.holderIdentity);
  });

  it('does not add a place twice, nor lose it', async () => {
    const { cluster, clock, holder, lock, pods } = await held('b');
    const waiting = await enrol(pods[0]!);
    const again = [await enrol(holder), await enrol(holder)];
    let last = lock;
    for (const next of again) {
      // oxlint-disable-next-line no-await-in-loop -- two handovers within the process
      await last.release();
      // oxlint-disable-next-line no-await-in-loop -- as above
      await clock.advance(10);
      last = next.value!;
    }
    const third = await enrol(holder);
    holder.store.plan({ breaks: 'after' }, 'patch', 1);
    void last.release();
    await clock.advance(1_000);
    expect(waiting.value!.isHeld).toBe(true);
    expect(inLine(cluster)).toEqual(['holder']);
    await waiting.value!.release();
    await clock.advance(10);
    expect(third.value!.isHeld).toBe(true);
    expect(inLine(cluster)).toEqual([]);
  });
});

describe('R11 a withdrawal whose answer was lost', () => {
  it.each([
    ['was applied', { breaks: 'after' } as const],
    ['was not applied', { breaks: 'before' } as const],
    ['is applied 34 s later', { appliedAfter: 34_000 }],
  ])('leaves no ticket when it %s', async (_, fate) => {
    const { cluster, clock, lock, pods } = await held('b', 'c');
    const abort = new AbortController();
    await enrol(pods[0]!, {}, abort.signal);
    pods[0]!.store.plan(fate, 'patch', 1);
    abort.abort();
    await clock.advance(6_000);
    expect(inLine(cluster)).toEqual([]);
    // A ticket that comes later is another.
    const waiting = await enrol(pods[0]!);
    await clock.advance(40_000);
    expect(inLine(cluster)).toEqual(['b']);
    await lock.release();
    await settled();
    expect(waiting.state).toBe('resolved');
    expect(pods[0]!.store.openWatches).toBeLessThan(2);
  });
});

describe('R11 a taking write whose answer was lost', () => {
  it('counts if it was applied', async () => {
    const { cluster, clock, pods } = await held('b');
    const waiting = await enrol(pods[0]!);
    pods[0]!.store.plan({ breaks: 'after' }, 'update', 1);
    cluster.writeSpec({ leaseTransitions: 1 });
    await clock.advance(500);
    expect(waiting.value!.isHeld).toBe(true);
    expect(cluster.spec().holderIdentity).toBe(waiting.value!.holderIdentity);
  });

  it('has no effect when it is applied 34 s later, after its call has ended, though others enrol meanwhile', async () => {
    const cluster = new Cluster();
    const { clock } = cluster;
    writeTicketsOfFree(cluster);
    const b = cluster.process('b');
    b.store.plan({ appliedAfter: 34_000 }, 'update', 2);
    const tried = outcomeOf(b.try(JOB, { leaseDuration: 'infinite' }));
    // Both tries have no answer in time. Tickets move the version, and not what is compared.
    for (const nonce of ['one', 'two']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await clock.advance(4_500);
      writeTickets(cluster, { [`${TICKET}${nonce}`]: `9 15 dead_${nonce}` });
    }
    await clock.advance(60_000);
    expect(tried.state).toBe('rejected');
    expect(b.store.verbs()).toBe('get update get update get update');
    expect(cluster.holder()).toBeUndefined();
  });
});

describe('R11 the renewal of a holder', () => {
  it('is not disturbed by those who enrol', async () => {
    const { clock, holder, lock, pods } = await held('b', 'c');
    await enrol(pods[0]!);
    await clock.advance(4_990);
    holder.store.plan({ appliedAfter: 20 }, 'update', 1);
    await clock.advance(20);
    await enrol(pods[1]!);
    await clock.advance(100);
    expect(lock.isHeld).toBe(true);
    expect(holder.store.verbs()).toBe('create patch');
    expect(holder.eventTypes()).toBe('acquired renewed');
  });

  it('that is applied late does not bring the holder back', async () => {
    const { cluster, clock, holder, lock, pods } = await held('b');
    const waiting = await enrol(pods[0]!);
    holder.store.plan({ appliedAfter: 34_000 }, 'update', 1);
    await clock.advance(5_001);
    void lock.release();
    await clock.advance(10_000);
    expect(waiting.value!.isHeld).toBe(true);
    await clock.advance(30_000);
    expect(waiting.value!.isHeld).toBe(true);
    expect(cluster.spec().holderIdentity).toBe(waiting.value!.holderIdentity);
  });
});

describe('R11 a place that a release keeps', () => {
  it('rides in the grant if callers of the process wait', async () => {
    const { cluster, clock, holder, lock, pods } = await held('b');
    const waiting = await enrol(pods[0]!);
    const more = [
      await enrol(holder),
      await enrol(holder),
      await enrol(holder),
    ];
    await lock.release();
    await clock.advance(10);
    await more[0]!.value!.release();
    await clock.advance(10);
    const sent = holder.store.requests.length;
    await more[1]!.value!.release();
    await clock.advance(10);
    // Two handovers in a row, and then the other process; one request in all.
    expect(waiting.state).toBe('resolved');
    expect(inLine(cluster)).toEqual(['holder']);
    expect(holder.store.requests).toHaveLength(sent + 1);
    await waiting.value!.release();
    await clock.advance(10);
    expect(more[2]!.value!.isHeld).toBe(true);
    expect(holder.store.requests).toHaveLength(sent + 1);
  });

  it('waits for a caller that comes back at once, as it did before', async () => {
    const { cluster, clock, holder, next, sent } = await comingBack();
    expect(inLine(cluster)).toEqual(['holder']);
    await clock.advance(3);
    const again = await enrol(holder);
    await clock.advance(100);
    expect(inLine(cluster)).toEqual(['holder']);
    await next.value!.release();
    await clock.advance(10);
    expect(again.value!.isHeld).toBe(true);
    expect(holder.store.requests).toHaveLength(sent + 1);
  });

  it('is given up if none comes within 50 ms', async () => {
    const { cluster, clock, next } = await comingBack();
    await clock.advance(49);
    expect(inLine(cluster)).toEqual(['holder']);
    await clock.advance(1);
    expect(inLine(cluster)).toEqual([]);
    // And not kept again.
    expect(next.value!.isHeld).toBe(true);
  });

  it('is passed on if the lock is granted to it and no caller comes', async () => {
    const { cluster, clock, next, pods } = await comingBack();
    const last = await enrol(pods[1]!);
    await clock.advance(10);
    await next.value!.release();
    expect(cluster.holder()).toBe('holder');
    await clock.advance(40);
    expect(last.state).toBe('resolved');
    expect(inLine(cluster)).toEqual([]);
  });

  it('is used by a call that does not wait, if the lock has been granted to it', async () => {
    const { clock, holder, next } = await comingBack();
    await clock.advance(10);
    await next.value!.release();
    await clock.advance(10);
    expect((await holder.try()).isHeld).toBe(true);
  });

  it.each(['try', 'acquire'] as const)(
    'may be granted while its process takes the free lock (%s), which is no failure',
    async (call) => {
      const { cluster, clock, holder } = await comingBack();
      cluster.writeSpec({ leaseTransitions: 9 });
      holder.store.plan({ appliedAfter: 5 }, ['patch', 'update'], 1);
      const acquired = outcomeOf(holder[call]());
      await clock.advance(1);
      cluster.write((lease) => {
        const { nonce } = lineIn(cluster.lease())[0]!;
        const identity = `holder_${nonce}`;
        const times = '2026-01-01T00:00:00.000000Z';
        lease.spec = {
          holderIdentity: identity,
          leaseDurationSeconds: 3,
          acquireTime: times,
          renewTime: times,
          leaseTransitions: 10,
        };
        const annotations = lease.metadata.annotations!;
        delete annotations[`${TICKET}${nonce}`];
        annotations[GRANT] = `3000 10 ${identity}`;
      });
      await clock.advance(10);
      expect(acquired.value?.isHeld).toBe(true);
      expect(
        holder.events.filter(({ type }) => type === 'backend-error'),
      ).toEqual([]);
    },
  );

  it('is given up by an application that shuts down', async () => {
    const { cluster, clock, holder } = await comingBack();
    const shutdown = outcomeOf(holder.engine.shutdown(10_000));
    await clock.advance(10);
    expect(inLine(cluster)).toEqual([]);
    expect(shutdown.state).toBe('resolved');
  });
});
