/** R11: the line of the processes that wait for a lock. Each has a ticket in the record, which conflicts with nothing. */
import { describe, expect, it } from 'vitest';
import type { Lease, LeaseSpec } from '../../lib/kube/lease-store.js';
import type { LeaseLock } from '../../lib/lock/hold/lease-lock.js';
import { settled } from './controlled-clock.js';
import { claimFire } from './fires.js';
import { Cluster, foreignSpec, JOB, outcomeOf } from './processes.js';
import {
  enrol,
  enrolDead,
  FORBIDDEN,
  GRANT,
  held,
  inLine,
  lineIn,
  TICKET,
  ticketOf,
  writeTickets,
  type Pod,
} from './waiting-processes.js';

const failuresOf = (pod: Pod): string[] =>
  pod.events.flatMap((event) =>
    event.type === 'backend-error'
      ? [`${event.operation} ${event.error.reason}`]
      : [],
  );

/** Tickets of processes that nobody knows. */
const others = (count: number, from = 0): Record<string, string> =>
  Object.assign(
    {},
    ...Array.from({ length: count }, (_, i) =>
      ticketOf('other', `n${i}`, from + i),
    ),
  );

const removeTickets = ({ metadata }: Lease): void => {
  for (const key of Object.keys(metadata.annotations ?? {})) {
    if (key.startsWith(TICKET)) {
      delete metadata.annotations![key];
    }
  }
};

describe('R11 an enrolment', () => {
  it('is one request, which changes no spec', async () => {
    const { cluster, pods } = await held('b');
    const { spec, metadata } = cluster.lease()!;
    await enrol(pods[0]!, { leaseDuration: 20_000 });
    expect(pods[0]!.store.verbs()).toBe('get patch');
    expect(cluster.spec()).toEqual(spec);
    expect(lineIn(cluster.lease())).toMatchObject([
      { client: 'b', seconds: 20, number: BigInt(metadata.resourceVersion) },
    ]);
  });

  it('disturbs no other at the same moment, and both get the lock', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c');
    for (const { store } of pods) {
      store.plan({ appliedAfter: 5 }, 'patch', 1);
    }
    const waiting = [await enrol(pods[0]!), await enrol(pods[1]!)];
    await clock.advance(5);
    const [first, second] = lineIn(cluster.lease());
    expect(first!.number).toBe(second!.number);
    expect(first!.nonce < second!.nonce).toBe(true);

    await lock.release();
    await settled();
    expect(cluster.holder()).toBe(first!.client);
    await waiting[first!.client === 'b' ? 0 : 1]!.value!.release();
    await settled();
    expect(cluster.holder()).toBe(second!.client);
    expect(inLine(cluster)).toEqual([]);
    expect(pods.map((pod) => failuresOf(pod))).toEqual([[], []]);
  });

  it('makes a release conflict that did not know of it, and then gets the lock', async () => {
    const cluster = new Cluster();
    const holder = cluster.process('holder');
    const lock = await holder.acquire();
    const waiting = await enrol(cluster.process('b'));
    await lock.release();
    await settled();
    expect(holder.store.verbs()).toBe('get create update get patch');
    expect(waiting.state).toBe('resolved');
    expect(failuresOf(holder)).toEqual([]);
  });

  it('may come after the release: then the lock is taken, and the ticket removed, by one write', async () => {
    const { cluster, clock, lock, pods } = await held('b');
    pods[0]!.store.plan({ appliedAfter: 5 }, 'patch', 1);
    const waiting = await enrol(pods[0]!);
    await lock.release();
    await clock.advance(5);
    expect(waiting.state).toBe('resolved');
    expect(inLine(cluster)).toEqual([]);
    expect(pods[0]!.store.requests).toHaveLength(3);
  });

  it('is made once for all callers of a process, the first of which uses it', async () => {
    const { cluster, lock, pods } = await held('b');
    const waiting = [await enrol(pods[0]!), await enrol(pods[0]!)];
    await enrol(pods[0]!);
    expect(inLine(cluster)).toEqual(['b']);
    await lock.release();
    await settled();
    expect(waiting.map(({ state }) => state)).toEqual(['resolved', 'pending']);
  });

  it('has a number that was seen within a second', async () => {
    const { cluster, clock, pods } = await held('b');
    pods[0]!.observe();
    await clock.advance(1_000);
    cluster.write(({ metadata }) => {
      metadata.annotations!['example.com/note'] = 'read me';
    });
    pods[0]!.store.watchesWork = false;
    await clock.advance(1_000);
    const { resourceVersion } = cluster.lease()!.metadata;
    await enrol(pods[0]!);
    expect(pods[0]!.store.verbs()).toBe('get patch');
    expect(lineIn(cluster.lease())[0]!.number).toBe(BigInt(resourceVersion));
  });

  it('is left out under a holder that does not know the line, whose release may not be disturbed', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('b');
    const before = cluster.writeSpec(foreignSpec());
    const waiting = await enrol(pod);
    await cluster.clock.advance(10_000);
    expect(cluster.lease()).toEqual(before);
    cluster.writeSpec({ leaseTransitions: 7 });
    await settled();
    expect(waiting.state).toBe('resolved');
    expect(pod.store.verbs()).toMatch(/^(get )+update$/);
  });

  it('is left out by a call that does not wait', async () => {
    const { cluster, pods } = await held('b');
    await expect(pods[0]!.try()).rejects.toMatchObject({ reason: 'held' });
    outcomeOf(pods[0]!.skip());
    await settled();
    await expect(
      pods[0]!.acquire(JOB, { waitTimeout: 0 }),
    ).rejects.toMatchObject({ reason: 'timeout' });
    expect(inLine(cluster)).toEqual([]);
    expect(pods[0]!.store.verbs()).not.toContain('patch');
  });

  it('has no effect on a Lease that was made anew', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c');
    pods[0]!.store.plan({ appliedAfter: 50 }, 'patch', 1);
    const waiting = await enrol(pods[0]!);
    cluster.delete();
    const anew = await pods[1]!.acquire();
    await clock.advance(100);
    expect(lock.isHeld).toBe(false);
    expect(lineIn(cluster.lease())).toMatchObject([
      { client: 'b', number: anew.fencingToken },
    ]);
    expect(failuresOf(pods[0]!)).toEqual([]);
    await anew.release();
    await settled();
    expect(waiting.state).toBe('resolved');
  });
});

describe('R11 the order of the line', () => {
  it('is by number, then by nonce', async () => {
    const { cluster, lock } = await held();
    writeTickets(cluster, {
      ...ticketOf('third', 'c', 10),
      ...ticketOf('second', 'b', 9),
      ...ticketOf('first', 'a', 9),
      ...ticketOf('last', '0', 900),
    });
    await settled();
    await lock.release();
    expect(cluster.spec().holderIdentity).toBe('first_a');
    expect(inLine(cluster)).toEqual(['second', 'third', 'last']);
  });

  it.each([
    ['nothing', { [`${TICKET}n`]: '' }],
    ['no number', { [`${TICKET}n`]: 'x 15 dead_n' }],
    ['a negative number', { [`${TICKET}n`]: '-1 15 dead_n' }],
    ['a number that is too long', ticketOf('dead', 'n', 10n ** 20n)],
    ['no duration', { [`${TICKET}n`]: '1 dead_n' }],
    ['no identity', { [`${TICKET}n`]: '1 15 ' }],
    ['a space in the identity', { [`${TICKET}n`]: '1 15 dead or alive_n' }],
    ['an identity that is too long', ticketOf('d'.repeat(400), 'n', 1)],
    ['another nonce', { [`${TICKET}n`]: '1 15 dead_m' }],
    ['a line break', { [`${TICKET}n`]: '1 15 dead_n\n' }],
  ])('ignores a ticket with %s, and leaves it there', async (_, ticket) => {
    const { cluster, lock, pods } = await held('b', 'c');
    writeTickets(cluster, ticket);
    const waiting = await enrol(pods[0]!);
    await lock.release();
    await settled();
    expect(waiting.state).toBe('resolved');
    await waiting.value!.release();
    expect(cluster.holder()).toBeUndefined();
    expect((await pods[1]!.acquire()).isHeld).toBe(true);
    expect(cluster.lease()!.metadata.annotations).toMatchObject(ticket);
  });

  it('may be broken into by a ticket with the greatest of durations, which costs one grant', async () => {
    const { cluster, clock, lock, pods } = await held('b');
    writeTickets(cluster, ticketOf('dead', 'n', 0, 9_999_999_999));
    const waiting = await enrol(pods[0]!);
    await lock.release();
    expect(cluster.spec()).toMatchObject({
      holderIdentity: 'dead_n',
      leaseDurationSeconds: 2_147_483_647,
    });
    await clock.advance(3_000);
    expect(waiting.state).toBe('resolved');
  });

  it('may be broken into by a ticket that names the holder itself, which costs one grant', async () => {
    const { cluster, clock, holder, lock, pods } = await held('b');
    const identity = lock.holderIdentity;
    const nonce = identity.slice('holder_'.length);
    writeTickets(cluster, { [`${TICKET}${nonce}`]: `0 15 ${identity}` });
    const waiting = await enrol(pods[0]!);
    await lock.release();
    await clock.advance(3_000);
    expect(waiting.state).toBe('resolved');
    await waiting.value!.release();
    expect((await holder.acquire()).isHeld).toBe(true);
  });
});

describe('R11 a place in line', () => {
  it('passes to the next caller of the process when the first is cancelled, without a request', async () => {
    const { cluster, lock, pods } = await held('b');
    const abort = new AbortController();
    const first = await enrol(pods[0]!, {}, abort.signal);
    const second = await enrol(pods[0]!);
    const [ticket] = lineIn(cluster.lease());
    abort.abort();
    await settled();
    expect(first.state).toBe('rejected');
    expect(lineIn(cluster.lease())).toEqual([ticket]);
    await lock.release();
    await settled();
    expect(second.state).toBe('resolved');
    expect(second.value!.holderIdentity).toBe(`b_${ticket!.nonce}`);
    expect(pods[0]!.store.verbs()).toBe('get patch');
  });

  it('is withdrawn when its only caller is cancelled', async () => {
    const { cluster, clock, lock, pods } = await held('b');
    const abort = new AbortController();
    await enrol(pods[0]!, {}, abort.signal);
    abort.abort();
    await settled();
    expect(inLine(cluster)).toEqual([]);
    expect(pods[0]!.store.openWatches).toBe(0);
    await lock.release();
    expect(cluster.holder()).toBeUndefined();
    await clock.advance(60_000);
    expect(pods[0]!.store.verbs()).toBe('get patch patch');
    expect(clock.pending({ keepAlive: true })).toBe(0);
  });

  it('is withdrawn when the waitTimeout is over', async () => {
    const { cluster, clock, pods } = await held('b');
    const waiting = await enrol(pods[0]!, { waitTimeout: 500 });
    await clock.advance(500);
    expect(waiting.reason).toMatchObject({ reason: 'timeout' });
    expect(inLine(cluster)).toEqual([]);
  });

  it('is withdrawn by an application that shuts down, at once', async () => {
    const { cluster, clock, pods } = await held('b');
    const waiting = await enrol(pods[0]!);
    const shutdown = outcomeOf(pods[0]!.engine.shutdown(10_000));
    await clock.advance(1);
    expect(waiting.reason).toMatchObject({ reason: 'shutdown' });
    expect(inLine(cluster)).toEqual([]);
    expect(shutdown.state).toBe('resolved');
  });

  it('is left alone by a shutdown while a peer holds the lock, without a delay', async () => {
    const { cluster, clock, pods } = await held('b');
    await enrol(pods[0]!);
    cluster.writeSpec(foreignSpec());
    await settled();
    const before = cluster.lease();
    const shutdown = outcomeOf(pods[0]!.engine.shutdown(10_000));
    await clock.advance(1_000);
    expect(cluster.lease()).toEqual(before);
    expect(shutdown.state).toBe('resolved');
  });

  it('is no reason for a shutdown to wait while its enrolment has no answer', async () => {
    const { clock, pods } = await held('b');
    pods[0]!.store.plan({ appliedAfter: Infinity }, 'patch', 1);
    await enrol(pods[0]!);
    await clock.advance(6_000);
    const shutdown = outcomeOf(pods[0]!.engine.shutdown(10_000));
    await clock.advance(1_000);
    expect(shutdown.state).toBe('resolved');
  });

  it('is not withdrawn while a peer holds the lock, but as soon as the peer has released it', async () => {
    const { cluster, clock, pods } = await held('b');
    const abort = new AbortController();
    await enrol(pods[0]!, {}, abort.signal);
    cluster.writeSpec(foreignSpec());
    await settled();
    abort.abort();
    await clock.advance(10_000);
    expect(inLine(cluster)).toEqual(['b']);
    cluster.writeSpec({ leaseTransitions: 7 });
    await settled();
    expect(inLine(cluster)).toEqual([]);
  });

  it('is kept while a peer takes the lock and releases it, and counts then', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c');
    const first = await enrol(pods[0]!);
    const second = await enrol(pods[1]!);
    cluster.writeSpec(foreignSpec());
    await clock.advance(10_000);
    expect(lock.isHeld).toBe(false);
    expect(inLine(cluster)).toEqual(['b', 'c']);
    const sent = pods.map(({ store }) => store.verbs());
    expect(sent.join(' ')).not.toMatch(/patch.* (patch|update).*get patch/);
    cluster.writeSpec({ leaseTransitions: 7 });
    await settled();
    expect(first.state).toBe('resolved');
    expect(second.state).toBe('pending');
    expect(inLine(cluster)).toEqual(['c']);
  });

  it('is made anew in a Lease that was made anew, with a new number', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c');
    const waiting = await enrol(pods[0]!);
    const [before] = lineIn(cluster.lease());
    cluster.delete();
    const anew = outcomeOf(pods[1]!.acquire());
    await clock.advance(100);
    const holder = anew.value ?? waiting.value!;
    await clock.advance(100);
    expect(lock.isHeld).toBe(false);
    expect(holder.isHeld).toBe(true);
    const [after] = lineIn(cluster.lease());
    expect(after!.nonce).not.toBe(before!.nonce);
    expect(after!.number).toBeGreaterThan(before!.number);
    await holder.release();
    await clock.advance(100);
    expect([anew.state, waiting.state]).toEqual(['resolved', 'resolved']);
  });

  it('is not left behind when a watch tells late that an earlier Lease was deleted', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c');
    const waiting = await enrol(pods[0]!);
    const [before] = lineIn(cluster.lease());
    await enrol(pods[1]!);
    pods[0]!.store.tellWatches(cluster.lease()!, true);
    await clock.advance(10);
    const [after] = lineIn(cluster.lease());
    expect(inLine(cluster)).toEqual(['b', 'c']);
    expect(after!.number).toBe(before!.number);
    await lock.release();
    await clock.advance(10);
    expect(waiting.state).toBe('resolved');
    expect(inLine(cluster)).toEqual(['c']);
  });

  it('survives a forced release, and the first in line gets the lock', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c');
    const waiting = [await enrol(pods[0]!), await enrol(pods[1]!)];
    await cluster.process('admin').forceRelease();
    await clock.advance(10);
    expect(lock.signal.reason).toMatchObject({ reason: 'freed' });
    expect(waiting.map(({ state }) => state)).toEqual(['resolved', 'pending']);
    expect(inLine(cluster)).toEqual(['c']);
    await lock.release(); // touches nothing
    expect(cluster.holder()).toBe('b');
  });

  it('counts when minHold is over', async () => {
    const cluster = new Cluster();
    const holder = cluster.process('holder');
    holder.observe();
    const lock = await holder.acquire(JOB, { minHold: 5_000 });
    const [b, c] = [cluster.process('b'), cluster.process('c')];
    const waiting = [await enrol(b), await enrol(c)];
    await lock.release();
    await cluster.clock.advance(4_999);
    expect(cluster.holder()).toBe('holder');
    expect(inLine(cluster)).toEqual(['b', 'c']);
    await cluster.clock.advance(1);
    expect(waiting.map(({ state }) => state)).toEqual(['resolved', 'pending']);
    expect(inLine(cluster)).toEqual(['c']);
  });
});

describe('R11 a free lock with a line', () => {
  it('goes to the first at once, and to the next 100 ms later for each before it', async () => {
    const { cluster, clock, pods } = await held('b');
    await enrolDead(cluster, 'dead');
    await enrolDead(cluster, 'buried');
    const waiting = await enrol(pods[0]!);
    cluster.writeSpec({ leaseTransitions: 1 });
    await clock.advance(199);
    expect(waiting.state).toBe('pending');
    await clock.advance(1);
    expect(waiting.state).toBe('resolved');
    // Those that did not take it have no place any more.
    expect(inLine(cluster)).toEqual([]);
  });

  it('is not taken from before those in line by a process that comes later', async () => {
    const { cluster, clock, pods } = await held('b', 'c');
    pods[0]!.store.watchDelay = 60;
    const first = await enrol(pods[0]!);
    cluster.writeSpec({ leaseTransitions: 1 });
    const second = await enrol(pods[1]!);
    await clock.advance(60);
    expect([first.state, second.state]).toEqual(['resolved', 'pending']);
    expect(inLine(cluster)).toEqual(['c']);
  });

  it.each<[string, LeaseSpec | undefined]>([
    ['no spec', undefined],
    ['an empty spec', {}],
    ['nothing but a foreign field', { preferredHolder: 'nobody' }],
    ['a holder without a name', { holderIdentity: '', leaseTransitions: 3 }],
  ])('is taken by content if it has %s', async (_, spec) => {
    const { cluster, pods } = await held('b');
    const waiting = await enrol(pods[0]!);
    cluster.write((lease) => {
      lease.spec = spec;
      Object.assign(lease.metadata.annotations!, ticketOf('late', 'n', 9_999));
    });
    await settled();
    expect(pods[0]!.store.verbs()).toBe('get patch patch');
    expect(cluster.spec()).toMatchObject({
      holderIdentity: waiting.value!.holderIdentity,
      leaseTransitions: (spec?.leaseTransitions ?? 0) + 1,
    });
    expect(inLine(cluster)).toEqual(['late']);
  });

  it('is not taken by a write that is applied late, when it is free as before, after a holder by hand', async () => {
    const cluster = new Cluster();
    const { clock } = cluster;
    cluster.write((lease) => {
      lease.metadata.annotations = ticketOf('dead', 'n', 1);
      lease.spec = { leaseTransitions: 0 };
    });
    const pod = cluster.process('b');
    pod.store.plan({ appliedAfter: 30_000 }, 'update', 1);
    const cancel = new AbortController();
    const cancelled = outcomeOf(
      pod.skip(JOB, { leaseDuration: 'infinite' }, cancel.signal),
    );
    await clock.advance(100);
    cluster.writeSpec({ leaseTransitions: 0, holderIdentity: 'by-hand' });
    cancel.abort();
    await clock.advance(1_000);
    cluster.writeSpec({ leaseTransitions: 0 });
    await clock.advance(60_000);
    expect(cancelled.state).toBe('rejected');
    expect(cluster.holder()).toBeUndefined();
  });

  it('is not taken by a write that is applied late, when the expired holder by hand is written again', async () => {
    const cluster = new Cluster();
    const { clock } = cluster;
    const byHand = { holderIdentity: 'by-hand', leaseDurationSeconds: 15 };
    cluster.write((lease) => {
      lease.metadata.annotations = ticketOf('dead', 'n', 1);
      lease.spec = byHand;
    });
    const pod = cluster.process('b');
    pod.store.plan({ appliedAfter: 30_000 }, 'update', 1);
    const cancel = new AbortController();
    const cancelled = outcomeOf(
      pod.skip(JOB, { leaseDuration: 'infinite' }, cancel.signal),
    );
    await clock.advance(15_100);
    cluster.writeSpec({ holderIdentity: 'another' });
    cancel.abort();
    await clock.advance(1_000);
    cluster.writeSpec(byHand);
    await clock.advance(60_000);
    expect(cancelled.state).toBe('rejected');
    expect(cluster.holder()).toBe('by-hand');
  });

  it('is taken although others enrol in the same moment', async () => {
    const { cluster, clock, pods } = await held('b', 'c');
    const waiting = await enrol(pods[0]!);
    pods[0]!.store.plan({ appliedAfter: 10 }, 'update', 1);
    cluster.writeSpec({ leaseTransitions: 1 });
    await settled();
    await enrol(pods[1]!);
    await clock.advance(10);
    expect(waiting.state).toBe('resolved');
    expect(failuresOf(pods[0]!)).toEqual([]);
  });

  it('is not taken by a write that compares with an older record', async () => {
    const { cluster, clock, pods } = await held('b');
    const waiting = await enrol(pods[0]!);
    pods[0]!.store.plan({ appliedAfter: 10 }, 'update', 1);
    cluster.writeSpec({ leaseTransitions: 1 });
    await settled();
    cluster.writeSpec(foreignSpec());
    await clock.advance(100);
    expect(waiting.state).toBe('pending');
    expect(cluster.holder()).toBe('stranger');
  });

  it('is not taken from a holder that has renewed unseen', async () => {
    const { cluster, clock, holder, pods } = await held('b');
    const waiting = await enrol(pods[0]!);
    holder.store.plan({ breaks: 'unsent' }, ['get', 'update']);
    await clock.advance(14_990);
    pods[0]!.store.plan({ appliedAfter: 20 }, 'update', 1);
    await clock.advance(20); // it takes the lock for expired
    expect(pods[0]!.store.requests.at(-1)!.verb).toBe('patch');
    cluster.write(({ spec }) => {
      spec!.renewTime = spec!.acquireTime = '2026-01-01T00:00:15.000000Z';
    });
    await clock.advance(1_000);
    expect(waiting.state).toBe('pending');
    expect(cluster.holder()).toBe('holder');
  });
});

/** Releases the lock while calls of the same process wait, after the two handovers that they may have. */
async function releaseToOthers(
  clock: Cluster['clock'],
  holder: Pod,
  lock: LeaseLock,
): Promise<void> {
  const first = await enrol(holder);
  const second = await enrol(holder);
  await enrol(holder);
  await lock.release();
  await clock.advance(10);
  await first.value!.release();
  await clock.advance(10);
  await second.value!.release();
}

describe('R11 a line that is crowded', () => {
  it('is not joined: the process waits outside, where it reads and does not watch, and enrols when there is room', async () => {
    const { cluster, clock, pods } = await held('b');
    writeTickets(cluster, others(32));
    await enrol(pods[0]!);
    cluster.write(({ metadata }) => {
      delete metadata.annotations![`${TICKET}n7`];
    });
    await clock.advance(700);
    expect(pods[0]!.store.verbs()).toBe('get');
    expect(pods[0]!.store.openWatches).toBe(0);
    await clock.advance(500);
    expect(pods[0]!.store.verbs()).toBe('get get patch');
    expect(inLine(cluster)).toHaveLength(32);
    expect(inLine(cluster).at(-1)).toBe('b');
    expect(pods[0]!.store.openWatches).toBe(1);
  });

  it('is looked at for room once a second, however long the retryInterval', async () => {
    const { cluster, clock, pods } = await held('b');
    writeTickets(cluster, others(36));
    await enrol(pods[0]!, { retryInterval: 60_000 });
    await clock.advance(3_500);
    expect(pods[0]!.store.verbs()).toBe('get get get get');
  });

  it.each([
    { tickets: 33, reads: 3 },
    { tickets: 36, reads: 6 },
    { tickets: 63, reads: 33 },
    { tickets: 64, reads: Infinity },
  ])(
    'of $tickets processes is joined by one that has found no room so often: at read $reads',
    async ({ tickets, reads }) => {
      const { cluster, clock, pods } = await held('b');
      writeTickets(cluster, others(tickets));
      await enrol(pods[0]!);
      await clock.advance(60_000);
      const verbs = pods[0]!.store.verbs().split(' ');
      const patch = verbs.indexOf('patch');
      expect(patch === -1 ? Infinity : patch).toBe(reads);
    },
  );

  it('is joined before those who came later by one that has waited outside', async () => {
    const { cluster, clock, pods } = await held('b');
    writeTickets(cluster, others(32));
    const { resourceVersion } = cluster.lease()!.metadata;
    await enrol(pods[0]!);
    const later = Number(resourceVersion) + 1;
    cluster.write(({ metadata }) => {
      delete metadata.annotations![`${TICKET}n7`];
      delete metadata.annotations![`${TICKET}n8`];
      Object.assign(metadata.annotations!, ticketOf('later', 'n99', later));
    });
    await clock.advance(1_200);
    expect(inLine(cluster).slice(-2)).toEqual(['b', 'later']);
  });

  it('is left for a while by those who have had the lock, so that the others find room', async () => {
    const { cluster, clock, holder, lock, pods } = await held('b');
    const first = await enrol(pods[0]!);
    writeTickets(cluster, others(34, 2_000));
    await releaseToOthers(clock, holder, lock);
    await clock.advance(700);
    expect(first.state).toBe('resolved');
    expect(inLine(cluster)).not.toContain('holder');
    await clock.advance(5_000);
    expect(inLine(cluster)).toContain('holder');
  });

  it('keeps the place of one who comes back, up to 34 tickets', async () => {
    const { cluster, clock, holder, lock, pods } = await held('b');
    const first = await enrol(pods[0]!);
    writeTickets(cluster, others(33, 2_000));
    await releaseToOthers(clock, holder, lock);
    await clock.advance(10);
    expect(first.state).toBe('resolved');
    expect(inLine(cluster)).toContain('holder');
  });

  it('of dead processes costs the grant of one', async () => {
    const { cluster, clock, lock, pods } = await held('b');
    const waiting = await enrol(pods[0]!);
    writeTickets(cluster, others(35));
    await lock.release();
    await clock.advance(3_000 + 36 * 100);
    expect(waiting.state).toBe('resolved');
    expect(inLine(cluster)).toEqual([]);
  });

  it('of dead processes keeps nobody outside for longer', async () => {
    const { cluster, clock, lock, pods } = await held('b');
    writeTickets(cluster, others(36));
    const waiting = await enrol(pods[0]!);
    await lock.release();
    await clock.advance(1_200 + 3_000 + 36 * 100);
    expect(waiting.state).toBe('resolved');
    expect(inLine(cluster)).toEqual([]);
  });
});

/** A process that enrols behind so many others after a slow read. `overtake` lets another client write in between. */
async function crowd(line: number) {
  const world = await held('b');
  const { cluster, clock } = world;
  const pod = world.pods[0]!;
  if (line > 0) {
    writeTickets(cluster, others(line));
  }
  pod.store.plan({ answeredAfter: 30 }, 'get', 1);
  pod.store.plan({ answeredAfter: 2 }, 'get');
  pod.store.plan({ appliedAfter: 5 }, 'patch');
  await enrol(pod);
  const overtake = async (read: number): Promise<void> => {
    await clock.advance(read);
    cluster.write(({ metadata }) => {
      metadata.annotations!['example.com/at'] = String(clock.now());
    });
    await clock.advance(5);
  };
  return { cluster, clock, pod, overtake };
}

describe('R11 a crowd that enrols at once', () => {
  it('does not make the API server repeat itself: after a slow read, an enrolment that is overtaken fails, and comes again at a random time, eight times at most', async () => {
    const { cluster, clock, pod, overtake } = await crowd(16);
    await overtake(30);
    await clock.advance(29);
    expect(pod.store.verbs()).toBe('get patch');
    await clock.advance(1);
    for (let again = 1; again < 8; again += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one try after the other
      await overtake(2);
      const pause = 2 ** (again + 1); // half of the longest, which doubles
      // oxlint-disable-next-line no-await-in-loop -- as above
      await clock.advance(pause);
    }
    expect(inLine(cluster)).not.toContain('b');
    await overtake(2);
    expect(pod.store.verbs()).toBe(Array(9).fill('get patch').join(' '));
    expect(inLine(cluster)).toContain('b');
  });

  it.each([0, 15])(
    'is not overtaken if %i are in line: it is no crowd',
    async (line) => {
      const { cluster, pod, overtake } = await crowd(line);
      await overtake(30);
      expect(pod.store.verbs()).toBe('get patch');
      expect(inLine(cluster)).toContain('b');
    },
  );

  it('names no version when it comes from outside, at a time of its own', async () => {
    const { cluster, clock, pods } = await held('b');
    const { store } = pods[0]!;
    writeTickets(cluster, others(32));
    store.plan({ answeredAfter: 30 }, 'get');
    store.plan({ appliedAfter: 5 }, 'patch');
    await enrol(pods[0]!);
    await clock.advance(30 + 1_000 + 30);
    expect(store.verbs()).toBe('get get patch');
    cluster.write(({ metadata }) => {
      metadata.annotations!['example.com/note'] = 'read me';
    });
    await clock.advance(5);
    expect(inLine(cluster)).toContain('b');
  });

  it('waits for 2 s at most before it comes once more, however slow the read was', async () => {
    const { cluster, clock, pods } = await held('b');
    writeTickets(cluster, others(16));
    const { store } = pods[0]!;
    clock.randoms.push(...Array.from({ length: 9 }, () => 0.99));
    store.plan({ answeredAfter: 4_000 }, 'get', 1);
    store.plan({ appliedAfter: 5 }, 'patch', 1);
    await enrol(pods[0]!);
    await clock.advance(4_000);
    cluster.write(({ metadata }) => {
      metadata.annotations!['example.com/note'] = 'read me';
    });
    await clock.advance(5 + 2_000);
    expect(store.verbs()).toBe('get patch get patch');
  });
});

describe('R11 a watch that is silent', () => {
  it('is replaced by looks, which are rarer for those far from the front', async () => {
    const { cluster, clock, pods } = await held('b');
    const more = Array.from({ length: 6 }, (_, i) => cluster.process(`c${i}`));
    const all = [pods[0]!, ...more];
    for (const pod of all) {
      pod.store.watchesWork = false;
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await enrol(pod);
    }
    await clock.advance(30_400);
    const looks = all.map(
      ({ store }) => store.requests.filter(({ verb }) => verb === 'get').length,
    );
    // One before the enrolment, and then one each 1, 2, 3, 4 and 5 seconds.
    expect(looks).toEqual([31, 16, 11, 8, 7, 7, 7]);
  });

  it('delays a grant by no more than a retryInterval', async () => {
    const { clock, lock, pods } = await held('b');
    pods[0]!.store.watchesWork = false;
    const waiting = await enrol(pods[0]!);
    await clock.advance(100);
    await lock.release();
    await clock.advance(899);
    expect(waiting.state).toBe('pending');
    await clock.advance(1);
    expect(waiting.state).toBe('resolved');
    expect(pods[0]!.store.verbs()).toBe('get patch get');
  });
});

describe.each([
  ['a shutdown', true],
  ['a call that is cancelled', false],
])('R11 %s while the enrolment is on its way', (_, closes) => {
  /** Without a watch, or with one that dies. */
  async function onItsWay(isTold: boolean, appliedAfter = 40) {
    const world = await held('b');
    const pod = world.pods[0]!;
    const abort = new AbortController();
    pod.store.watchesWork = isTold;
    pod.store.plan({ appliedAfter }, 'patch', 1);
    await enrol(pod, {}, abort.signal);
    const end = closes ? pod.engine.shutdown(10_000) : abort.abort();
    await settled();
    pod.store.watchesWork = false;
    return { ...world, pod, end: outcomeOf(Promise.resolve(end)) };
  }

  it('withdraws the ticket soon, without a watch', async () => {
    const { cluster, clock, pod } = await onItsWay(false);
    await clock.advance(50);
    expect(inLine(cluster)).toEqual(['b']);
    await clock.advance(50);
    expect(inLine(cluster)).toEqual([]);
    await clock.advance(60_000);
    expect(pod.store.verbs()).toBe('get patch get get patch');
  });

  it('passes on the lock that is granted meanwhile, without a watch', async () => {
    const { cluster, clock, lock, end } = await onItsWay(false);
    await clock.advance(50);
    await lock.release();
    expect(cluster.holder()).toBe('b');
    await clock.advance(50);
    expect(cluster.holder()).toBeUndefined();
    expect(end.state).toBe('resolved');
  });

  it('looks once more at the end with a watch, which may be dead', async () => {
    const { cluster, clock, pod, end } = await onItsWay(true);
    await clock.advance(closes ? 4_999 : 59_999);
    expect(inLine(cluster)).toEqual(['b']);
    expect(pod.store.verbs()).toBe('get patch get');
    await clock.advance(1);
    expect(inLine(cluster)).toEqual([]);
    expect(end.state).toBe('resolved');
  });

  it('withdraws the ticket although a watch tells late that an earlier Lease was deleted', async () => {
    const { cluster, clock, pod, end } = await onItsWay(true);
    await clock.advance(50);
    expect(inLine(cluster)).toEqual(['b']);
    pod.store.tellWatches(cluster.lease()!, true);
    await settled();
    expect(inLine(cluster)).toEqual([]);
    expect(end.state).toBe('resolved');
  });

  it('looks more and more rarely for an enrolment that never comes', async () => {
    const { clock, pod } = await onItsWay(false, Infinity);
    await clock.advance(60_000);
    expect(pod.store.requests.length).toBe(closes ? 10 : 24);
    expect(pod.store.openWatches).toBe(0);
  });
});

describe('R11 without the right to patch', () => {
  it('a process waits as it can, which is reported once', async () => {
    const { cluster, clock, lock, pods } = await held('b');
    pods[0]!.store.plan(FORBIDDEN, 'patch');
    const waiting = await enrol(pods[0]!);
    const next = await enrol(pods[0]!);
    await clock.advance(5_000);
    expect(inLine(cluster)).toEqual([]);
    await lock.release();
    await settled();
    expect(waiting.state).toBe('resolved');
    await waiting.value!.release();
    await clock.advance(100);
    expect(next.state).toBe('resolved');
    expect(failuresOf(pods[0]!)).toEqual(['acquire forbidden']);
    expect(pods[0]!.store.verbs()).not.toMatch(/patch.*patch/);
  });

  it('a holder frees the lock, and the first in line takes it', async () => {
    const { cluster, clock, holder, lock, pods } = await held('b', 'c');
    holder.store.plan(FORBIDDEN, 'patch');
    const waiting = [await enrol(pods[0]!), await enrol(pods[1]!)];
    await lock.release();
    await clock.advance(200);
    expect(waiting.map(({ state }) => state)).toEqual(['resolved', 'pending']);
    expect(inLine(cluster)).toEqual(['c']);
    expect(failuresOf(holder)).toEqual(['release forbidden']);
  });

  it('a holder goes on to renew', async () => {
    const { cluster, clock, holder, lock, pods } = await held('b');
    holder.store.plan(FORBIDDEN, 'patch');
    await enrol(pods[0]!);
    await clock.advance(60_000);
    expect(lock.isHeld).toBe(true);
    expect(cluster.holder()).toBe('holder');
    expect(failuresOf(holder)).toEqual(['renew forbidden']);
  });

  it('the work of a fire begins', async () => {
    const cluster = new Cluster();
    cluster.write((lease) => {
      lease.metadata.annotations = ticketOf('dead', 'n', 1);
    });
    const pod = cluster.process('b');
    const lock = await claimFire(pod, { minute: 1 });
    pod.store.plan(FORBIDDEN, 'patch');
    await lock.begin();
    expect(pod.store.verbs()).toBe('get update patch update');
    expect(failuresOf(pod)).toEqual(['renew forbidden']);
  });

  it('a holder that is released meanwhile renews no more', async () => {
    const { clock, holder, lock, pods } = await held('b');
    await enrol(pods[0]!);
    holder.store.plan({ ...FORBIDDEN, appliedAfter: 20 }, 'patch');
    await clock.advance(5_001);
    void lock.release();
    await clock.advance(1_000);
    expect(holder.store.verbs()).toBe('create patch update');
    expect(failuresOf(holder)).not.toContain('release forbidden');
  });

  it('a process tries again after a minute, reports that once, and enrols as soon as it may', async () => {
    const { cluster, clock, pods } = await held('b');
    const [pod] = pods;
    pod!.store.plan(FORBIDDEN, 'patch');
    await enrol(pod!);
    await clock.advance(59_000);
    expect(failuresOf(pod!)).toEqual(['acquire forbidden']);
    await clock.advance(3_000);
    expect(failuresOf(pod!)).toEqual(Array(2).fill('acquire forbidden'));
    pod!.store.heal();
    await clock.advance(57_000);
    expect(inLine(cluster)).toEqual([]);
    await clock.advance(5_000);
    expect(inLine(cluster)).toEqual(['b']);
    expect(failuresOf(pod!)).toHaveLength(2);
  });

  it('a holder tries again after a minute, and grants the lock if it may', async () => {
    const { clock, holder, lock, pods } = await held('b');
    holder.store.plan(FORBIDDEN, 'patch');
    const waiting = await enrol(pods[0]!);
    await clock.advance(70_000);
    expect(failuresOf(holder)).toEqual(Array(2).fill('renew forbidden'));
    holder.store.heal();
    await clock.advance(65_000);
    await lock.release();
    await settled();
    expect(holder.store.requests.at(-1)!.verb).toBe('patch');
    expect(waiting.state).toBe('resolved');
    expect(failuresOf(holder)).toHaveLength(2);
  });

  it('a call that has taken the lock, and lost the answer, confirms that it has', async () => {
    const { cluster, clock, lock, pods } = await held('b', 'c');
    await enrolDead(cluster, 'dead');
    cluster.writeSpec({ leaseTransitions: 1 });
    const [b] = pods;
    b!.store.plan(FORBIDDEN, 'patch');
    b!.store.plan({ breaks: 'after' }, 'update', 1);
    const tried = outcomeOf(b!.try());
    await clock.advance(1_000);
    expect(lock.isHeld).toBe(false);
    expect(tried.state).toBe('resolved');
    expect(cluster.spec().holderIdentity).toBe(tried.value!.holderIdentity);
  });
});

describe('R11 something that removes annotations', () => {
  it('does not keep a process from the lock, nor fill the record', async () => {
    const { cluster, clock, lock, pods } = await held('b');
    pods[0]!.store.plan(
      { instead: () => cluster.write((lease) => removeTickets(lease)) },
      'patch',
    );
    const waiting = await enrol(pods[0]!);
    await clock.advance(5_000);
    expect(inLine(cluster)).toEqual([]);
    await lock.release();
    await clock.advance(100);
    expect(waiting.state).toBe('resolved');
    const patches = pods[0]!.store.requests.filter(
      ({ verb }) => verb === 'patch',
    );
    expect(patches).toHaveLength(1);
  });

  it('later than the enrolment makes the process enrol again, with its old number', async () => {
    const { cluster, clock, pods } = await held('b');
    await enrol(pods[0]!);
    const [before] = lineIn(cluster.lease());
    cluster.write((lease) => removeTickets(lease));
    await clock.advance(10);
    const [after] = lineIn(cluster.lease());
    expect(after!.number).toBe(before!.number);
    expect(after!.nonce).not.toBe(before!.nonce);
  });
});

describe('R11 the number of a ticket that was removed', () => {
  it('does not serve a later call, which came after others', async () => {
    const { cluster, pods } = await held('b', 'c');
    const abort = new AbortController();
    await enrol(pods[0]!, {}, abort.signal);
    cluster.write((lease) => removeTickets(lease));
    await settled();
    abort.abort();
    await settled();
    await enrol(pods[1]!);
    await enrol(pods[0]!);
    expect(inLine(cluster)).toEqual(['c', 'b']);
  });
});

describe('R11 courtesy to clients that do not know the line', () => {
  type World = Awaited<ReturnType<typeof held>>;

  /** Two processes hold the lock in turns of 250 ms each; how many turns there are until it is free. */
  async function turnsUntilFree(
    begin: (world: World) => LeaseLock | Promise<LeaseLock>,
  ) {
    const world = await held('b', 'c', 'd');
    const { cluster, clock, pods } = world;
    let lock = await begin(world);
    for (let turns = 1; turns < 20; turns++) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const next = await enrol(pods[turns % 2]!);
      // oxlint-disable-next-line no-await-in-loop -- as above
      await clock.advance(250);
      // oxlint-disable-next-line no-await-in-loop -- as above
      await lock.release();
      if ([undefined, 'd'].includes(cluster.holder())) {
        return { ...world, turns, next };
      }
      // oxlint-disable-next-line no-await-in-loop -- as above
      await settled();
      lock = next.value!;
    }
    throw new Error('never free');
  }

  it('leaves the lock free for 25 ms when it was not free for 2.5 s, and the first in line waits', async () => {
    const { cluster, clock, turns, next } = await turnsUntilFree(
      ({ lock }) => lock,
    );
    expect(turns).toBe(10);
    expect(cluster.lease()!.metadata.annotations![GRANT]).toMatch(/^open \d+$/);
    expect(Object.keys(cluster.spec())).toEqual(['leaseTransitions']);
    await clock.advance(24);
    expect(next.state).toBe('pending');
    await clock.advance(1);
    expect(next.state).toBe('resolved');
    expect(cluster.lease()!.metadata.annotations).not.toHaveProperty([GRANT]);
  });

  it('lets a peer take it in that time', async () => {
    const { cluster, clock, next } = await turnsUntilFree(({ lock }) => lock);
    await clock.advance(10);
    cluster.writeSpec(foreignSpec());
    await clock.advance(1_000);
    expect(next.state).toBe('pending');
    expect(inLine(cluster)).toHaveLength(1);
  });

  it('lets a process take it that has no right to patch', async () => {
    const { cluster, clock, next } = await turnsUntilFree(
      async ({ lock, pods }) => {
        pods[2]!.store.plan(FORBIDDEN, 'patch');
        await enrol(pods[2]!);
        return lock;
      },
    );
    await clock.advance(20);
    expect(cluster.holder()).toBe('d');
    expect(next.state).toBe('pending');
  });

  it('lets a call take it that does not wait', async () => {
    const { clock, pods } = await turnsUntilFree(({ lock }) => lock);
    await clock.advance(10);
    expect((await pods[2]!.try()).isHeld).toBe(true);
  });

  it('comes each half second once a peer was seen', async () => {
    const { turns } = await turnsUntilFree(async ({ cluster, clock, pods }) => {
      pods.forEach((pod) => pod.observe());
      cluster.writeSpec(foreignSpec());
      await clock.advance(10);
      cluster.writeSpec({ leaseTransitions: 8 });
      await clock.advance(10);
      return pods[0]!.acquire();
    });
    expect(turns).toBe(2);
  });

  it('comes each half second once an older version was seen, which keeps what the record said of the line', async () => {
    const { turns } = await turnsUntilFree(async ({ cluster, clock, pods }) => {
      pods.forEach((pod) => pod.observe());
      cluster.write((lease) => {
        lease.metadata.annotations![GRANT] = 'open 0';
        lease.metadata.annotations!['nestjs-k8s-lock/acquired-at'] =
          '2026-01-01T00:00:00.000000Z by stranger';
        lease.spec = foreignSpec();
      });
      await clock.advance(10);
      cluster.writeSpec({ leaseTransitions: 8 });
      await clock.advance(10);
      return pods[0]!.acquire();
    });
    expect(turns).toBe(2);
  });

  it('counts the turns of those to which the lock was passed on', async () => {
    let granted = '';
    const { turns } = await turnsUntilFree(
      async ({ cluster, clock, lock, pods }) => {
        const abort = new AbortController();
        await enrol(pods[2]!, {}, abort.signal);
        const next = await enrol(pods[0]!);
        await clock.advance(250);
        pods[2]!.store.watchDelay = 20;
        await lock.release();
        granted = cluster.holder()!;
        abort.abort();
        await clock.advance(20);
        return next.value!;
      },
    );
    expect(granted).toBe('d');
    expect(turns).toBeLessThan(10);
  });

  it('is not asked for by a record of another time', async () => {
    const { cluster, lock, pods } = await held('b');
    cluster.write(({ metadata }) => {
      metadata.annotations![GRANT] = 'open 0';
    });
    const waiting = await enrol(pods[0]!);
    cluster.writeSpec({ leaseTransitions: 3 });
    await settled();
    expect(lock.isHeld).toBe(false);
    expect(waiting.state).toBe('resolved');
  });
});
