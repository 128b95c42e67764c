/** Fire claims: each fire is begun by one holder only, in whatever order processes come, die, lag or lose answers. */
import { describe, expect, it } from 'vitest';
import {
  LockBackendError,
  LockNotAcquiredError,
} from '../../lib/lock.errors.js';
import { FireClaimedError } from '../../lib/lock/record/fire-claim.js';
import { giveBack } from '../../lib/lock/hold/lock-handle.js';
import { settled } from './controlled-clock.js';
import {
  claimFire,
  CLAIM,
  claimOf,
  die,
  fire,
  MINUTE,
  observed,
} from './fires.js';
import { Cluster, foreignSpec, outcomeOf } from './processes.js';

const ended = (state: string, pod: string) =>
  new RegExp(`^2026-01-01T00:01:00.000Z ${state} by ${pod}_[-0-9a-f]{36}$`);

describe('a claim', () => {
  it('is made by the write that takes the lock, begun by another, and ended by the one that releases it', async () => {
    const { a, annotation } = await observed();
    const lock = await claimFire(a, { minute: 1 });
    expect(a.store.verbs()).toBe('update');
    expect(annotation()).toMatch(ended('claimed', 'a'));
    await lock.begin();
    expect(a.store.verbs()).toBe('update update');
    expect(annotation()).toBe(
      `2026-01-01T00:01:00.000Z begun by ${lock.holderIdentity}`,
    );
    await lock.release();
    expect(a.store.verbs()).toBe('update update update');
    expect(annotation()).toMatch(ended('done', 'a'));
  });

  it('is made by the creation of the Lease, too', async () => {
    const cluster = new Cluster();
    const [a, b] = [cluster.process('a'), cluster.process('b')];
    const first = outcomeOf(fire(a, { minute: 1 }));
    const second = outcomeOf(fire(b, { minute: 1 }));
    await cluster.clock.advance(10);
    expect([first.state, second.state].toSorted()).toEqual([
      'rejected',
      'resolved',
    ]);
  });

  it('keeps others out without a request, while the work goes on and after it', async () => {
    const { a, b } = await observed();
    const lock = await fire(a, { minute: 1 });
    await settled();
    await expect(fire(b, { minute: 1 })).rejects.toThrow(FireClaimedError);
    await lock.release();
    await settled();
    await expect(fire(b, { minute: 1 })).rejects.toMatchObject({
      verdict: { state: 'taken', by: lock.holderIdentity },
    });
    expect(b.store.requests).toEqual([]);
  });

  it('costs a process that does not watch one read', async () => {
    const { cluster, a } = await observed();
    await (await fire(a, { minute: 1 })).release();
    const late = cluster.process('late');
    for (const mode of ['skip', 'wait', 'try'] as const) {
      // oxlint-disable-next-line no-await-in-loop
      await expect(fire(late, { minute: 1, mode })).rejects.toThrow(
        FireClaimedError,
      );
    }
    expect(late.store.verbs()).toBe('get');
  });

  it('of a later fire covers those before, and gives way to the next', async () => {
    const { a, b } = await observed();
    await (await fire(a, { minute: 5 })).release();
    await settled();
    await expect(fire(b, { minute: 4 })).rejects.toThrow(FireClaimedError);
    await (await fire(b, { minute: 6 })).release();
  });

  it('counts for nothing when it lies too far ahead', async () => {
    const { cluster, a } = await observed();
    cluster.write((lease) => {
      lease.metadata.annotations = { [CLAIM]: '2038-01-19T03:14:07.000Z' };
    });
    const lock = await fire(a, { minute: 1 });
    expect(lock.isHeld).toBe(true);
  });

  it('is won by one of many who try at once', async () => {
    const { cluster, a, b, c } = await observed();
    const outcomes = [a, b, c].map((pod) =>
      outcomeOf(fire(pod, { minute: 1 })),
    );
    await settled();
    const winner = outcomes.find(({ state }) => state === 'resolved');
    await winner!.value!.release();
    await cluster.clock.advance(5_000);
    expect(outcomes.map(({ state }) => state).toSorted()).toEqual([
      'rejected',
      'rejected',
      'resolved',
    ]);
  });

  it('holds against a process whose watch is behind', async () => {
    const { a, b } = await observed();
    b.store.watchesWork = false;
    await (await fire(a, { minute: 1 })).release();
    await expect(fire(b, { minute: 1 })).rejects.toThrow(FireClaimedError);
    expect(b.store.verbs()).toBe('update get');
  });

  it('survives a foreign holder, a forced release, and locks without a claim', async () => {
    const { cluster, a, b } = await observed();
    await (await fire(a, { minute: 1 })).release();
    cluster.write((lease) => {
      lease.spec = foreignSpec();
    });
    await b.forceRelease();
    await (await b.acquire()).release();
    await expect(fire(b, { minute: 1 })).rejects.toThrow(FireClaimedError);
  });

  it('survives a lock that is to be deleted on release', async () => {
    const { a, b, annotation } = await observed();
    await (await fire(a, { minute: 1 })).release();
    await (await b.acquire('job', { deleteOnRelease: true })).release();
    expect(annotation()).toMatch(ended('done', 'a'));
    await settled();
    await expect(fire(b, { minute: 1 })).rejects.toThrow(FireClaimedError);
  });

  it('is compared before the lock is: a claimed fire does not wait for its turn', async () => {
    const { a, b, clock } = await observed();
    await fire(a, { minute: 1 });
    await settled();
    for (const mode of ['skip', 'wait', 'try'] as const) {
      // oxlint-disable-next-line no-await-in-loop
      await expect(fire(b, { minute: 1, mode })).rejects.toThrow(
        FireClaimedError,
      );
    }
    const next = outcomeOf(fire(b, { minute: 2 }));
    await clock.advance(5_000); // its holder renews
    expect(next.reason).toBeInstanceOf(LockNotAcquiredError);
  });

  it('is found to be made by another process after a wait for the lock', async () => {
    const { cluster, a, b, c } = await observed();
    const other = await a.acquire();
    const calls = [b, c].map((pod) =>
      outcomeOf(fire(pod, { minute: 1, mode: 'wait' })),
    );
    await settled();
    await other.release();
    await cluster.clock.advance(1_000);
    const winner = calls.find(({ state }) => state === 'resolved')!;
    await winner.value!.release();
    await cluster.clock.advance(5_000);
    expect(calls.map(({ state }) => state).toSorted()).toEqual([
      'rejected',
      'resolved',
    ]);
  });

  it('ends with minHold, while the lock stays taken', async () => {
    const { a, b, annotation } = await observed();
    const options = { minHold: 30_000 };
    await (await fire(a, { minute: 1, options })).release();
    expect(annotation()).toMatch(ended('done', 'a'));
    await settled();
    await expect(fire(b, { minute: 1, retry: true })).rejects.toMatchObject({
      verdict: { state: 'taken' },
    });
  });

  it('ends with a handover to a caller of the same process', async () => {
    const { a, annotation } = await observed();
    const lock = await fire(a, { minute: 1 });
    const next = a.acquire();
    await lock.release();
    await next;
    expect(a.store.verbs()).toBe('update update update');
    expect(annotation()).toMatch(ended('done', 'a'));
  });

  it('is its own when its write landed and the answer was lost', async () => {
    const { cluster, a } = await observed();
    a.store.plan({ breaks: 'after' }, ['update'], 1);
    const call = outcomeOf(fire(a, { minute: 1 }));
    await cluster.clock.advance(1_000);
    expect(call.state).toBe('resolved');
  });

  it('is undone with a write whose caller has given up', async () => {
    const { cluster, a, b, annotation } = await observed();
    const abort = new AbortController();
    a.store.plan({ answeredAfter: Infinity }, ['update'], 1);
    const call = outcomeOf(fire(a, { minute: 1, signal: abort.signal }));
    await settled();
    abort.abort();
    await cluster.clock.advance(1_000);
    expect(call.state).toBe('rejected');
    expect(annotation()).toMatch(ended('open', 'a'));

    await (await fire(b, { minute: 1 })).release();
    expect(annotation()).toMatch(ended('done', 'b'));
  });
});

describe('a fire that is run by another', () => {
  it('while a call opens its session, is not run again', async () => {
    const { cluster, a } = await observed();
    const late = cluster.process('late', cluster.clock, { session: {} });
    late.observe();
    await settled();
    late.store.plan({ answeredAfter: 1_000 }, 'create', 1);
    const call = outcomeOf(fire(late, { minute: 1 }));
    await settled();
    await (await fire(a, { minute: 1 })).release();
    await cluster.clock.advance(1_000);
    expect(cluster.sessions()).toHaveLength(1);
    expect(call.reason).toBeInstanceOf(FireClaimedError);
  });

  it('while a call leaves the lock to other clients for a moment, is not run again', async () => {
    const { cluster, a, b, clock } = await observed();
    await (await a.acquire()).release();
    cluster.write(({ metadata, spec }) => {
      metadata.annotations!['nestjs-k8s-lock/grant'] =
        `open ${spec!.leaseTransitions}`;
    });
    await settled();
    const late = outcomeOf(fire(b, { minute: 1, mode: 'wait' }));
    await clock.advance(10);
    expect(late.state).toBe('pending');
    await (await fire(a, { minute: 1 })).release();
    await clock.advance(2_000);
    expect(late.reason).toBeInstanceOf(FireClaimedError);
  });

  it('while a call waits in line, is not run again when the lock is granted to it', async () => {
    const { a, b, clock } = await observed();
    const held = await fire(a, { minute: 1 });
    const next = outcomeOf(b.acquire());
    await settled();
    const late = outcomeOf(fire(b, { minute: 1, mode: 'wait' }));
    await settled();
    await held.release();
    await settled();
    expect(next.state).toBe('resolved');
    await next.value!.release();
    await clock.advance(100);
    expect(late.reason).toBeInstanceOf(FireClaimedError);
  });
});

describe('work that is claimed and has not begun', () => {
  it('is left out by others as soon as it begins, and not before', async () => {
    const { a, b, clock } = await observed();
    const lock = await claimFire(a, { minute: 1 });
    await settled();
    const others = (['skip', 'wait', 'try'] as const).map((mode) =>
      outcomeOf(fire(b, { minute: 1, mode, options: { waitTimeout: 1 } })),
    );
    await clock.advance(7_000); // renewed once
    expect(others.map(({ state }) => state)).toEqual([
      'pending',
      'pending',
      'pending',
    ]);
    await lock.begin();
    await settled();
    for (const { reason } of others) {
      expect(reason).toBeInstanceOf(FireClaimedError);
    }
    expect(b.store.requests).toEqual([]);
  });

  it('is run by another when it is given back', async () => {
    const { a, b, annotation } = await observed();
    const lock = await claimFire(a, { minute: 1 });
    await settled();
    const other = outcomeOf(fire(b, { minute: 1 }));
    await settled();
    await giveBack(lock);
    await settled();
    expect(other.state).toBe('resolved');
    expect(annotation()).toMatch(ended('begun', 'b'));
  });

  it('is run by another when its process dies', async () => {
    const { a, b, c, clock } = await observed();
    await claimFire(a, { minute: 1 });
    await settled();
    die(a);
    const others = [b, c].map((pod) => outcomeOf(fire(pod, { minute: 1 })));
    await clock.advance(15_100);
    expect(others.map(({ state }) => state).toSorted()).toEqual([
      'rejected',
      'resolved',
    ]);
  });

  it('is run by another when its process has lost the answer and is cut off', async () => {
    const { a, b, annotation, clock } = await observed();
    const options = { leaseDuration: 3_000, waitTimeout: 3_000 };
    a.store.plan({ breaks: 'after' }, ['update'], 1);
    die(a);
    const first = outcomeOf(fire(a, { minute: 1, options }));
    await settled();
    const second = outcomeOf(fire(b, { minute: 1, options }));
    await clock.advance(6_000);
    expect(second.state).toBe('resolved');
    await second.value?.release();
    a.store.heal();
    await clock.advance(20_000);
    expect(first.state).toBe('rejected');
    expect(annotation()).toMatch(ended('done', 'b'));
  });

  it('is run by another when its process closes before it has the answer', async () => {
    const { a, b, annotation, clock } = await observed();
    a.store.plan({ answeredAfter: Infinity }, ['update'], 1);
    const first = outcomeOf(fire(a, { minute: 1 }));
    await settled();
    const second = outcomeOf(fire(b, { minute: 1 }));
    await settled();
    expect(annotation()).toMatch(ended('claimed', 'a'));
    const closed = a.engine.shutdown(0);
    await clock.advance(1_000);
    await closed;
    expect(first.reason).toMatchObject({ reason: 'shutdown' });
    expect(second.state).toBe('resolved');
  });

  it('is left alone in the end under a lock that never expires', async () => {
    const { a, b, clock } = await observed();
    await claimFire(a, {
      minute: 1,
      options: { leaseDuration: 'infinite' },
    });
    await settled();
    die(a);
    const other = outcomeOf(fire(b, { minute: 1 }));
    await clock.advance(59_000);
    expect(other.state).toBe('pending');
    await clock.advance(3_000);
    expect(other.reason).toBeInstanceOf(FireClaimedError);
  });
});

/** A fire that waits behind a call which gets nothing, and follows the claim of a pod with this lease. */
async function behind(leaseDuration: number) {
  const pods = await observed();
  const { a, b } = pods;
  const first = { minute: 1, options: { leaseDuration } };
  const claimed = await claimFire(a, first);
  await settled();
  outcomeOf(b.acquire());
  b.store.plan({ appliedAfter: Infinity }, ['update']);
  const call = outcomeOf(
    fire(b, { minute: 1, mode: 'wait', options: { waitTimeout: 2_000 } }),
  );
  return { ...pods, claimed, call };
}

describe('a fire behind a call of its process, that follows a claim', () => {
  it('waits no longer than any other once the claim is given back', async () => {
    const { claimed, call, clock } = await behind(15_000);
    await clock.advance(6_000);
    expect(call.state).toBe('pending');
    await giveBack(claimed);
    await clock.advance(1_999);
    expect(call.state).toBe('pending');
    await clock.advance(1);
    expect(call.reason).toBeInstanceOf(LockBackendError);
  });

  it('waits no longer than any other once the claimer is dead', async () => {
    const { a, call, clock } = await behind(10_000);
    die(a);
    await clock.advance(11_999);
    expect(call.state).toBe('pending');
    await clock.advance(1);
    expect(call.reason).toBeInstanceOf(LockBackendError);
  });

  it('is left out in time under a lock that never expires', async () => {
    const { cluster, a, call, clock } = await behind(15_000);
    die(a);
    cluster.write((lease) => {
      lease.spec!.leaseDurationSeconds = 2_147_483_647;
    });
    await clock.advance(59_999);
    expect(call.state).toBe('pending');
    await clock.advance(1);
    expect(call.reason).toBeInstanceOf(FireClaimedError);
  });
});

describe('work that has begun, as the record says', () => {
  it('begins though the answer was lost', async () => {
    const { a, b, clock } = await observed();
    const lock = await claimFire(a, { minute: 1 });
    a.store.plan({ breaks: 'after' }, ['update'], 1);
    const begun = outcomeOf(lock.begin());
    await settled();
    await expect(fire(b, { minute: 1 })).rejects.toThrow(FireClaimedError);
    await clock.advance(1_000);
    expect(begun.state).toBe('resolved');
  });

  it('begins under another acquisition, when the lock is lost before the answer is there', async () => {
    const { a, b, annotation, clock } = await observed();
    const options = { leaseDuration: 3_000, waitTimeout: 3_000 };
    a.store.plan({}, ['update'], 1);
    a.store.plan({ breaks: 'after' }, ['update'], 1);
    die(a);
    const first = outcomeOf(fire(a, { minute: 1, options }));
    await settled();
    expect(annotation()).toMatch(ended('begun', 'a'));
    await expect(fire(b, { minute: 1 })).rejects.toThrow(FireClaimedError);
    // Somebody else has the lock meanwhile, for something else.
    const byHand = b.acquire();
    await clock.advance(6_000);
    const other = await byHand;
    a.store.heal();
    await clock.advance(2_000);
    expect(first.state).toBe('pending');
    await other.release();
    await clock.advance(2_000);
    expect(first.state).toBe('resolved');
    await first.value?.release();
    expect(annotation()).toMatch(ended('done', 'a'));
  });

  it.each(['skip', 'wait'] as const)(
    'begins under another acquisition, be its process cut off for longer than it waits for a lock: %s',
    async (mode) => {
      const { a, annotation, clock } = await observed();
      const options = { leaseDuration: 3_000, waitTimeout: 500 };
      a.store.plan({}, ['update'], 1);
      a.store.plan({ breaks: 'after' }, ['update'], 1);
      a.store.watchesWork = false;
      die(a);
      const first = outcomeOf(fire(a, { minute: 1, mode, options }));
      await settled();
      expect(annotation()).toMatch(ended('begun', 'a'));
      // The lock is lost, and another caller of the process is the first in its line.
      await clock.advance(2_700);
      const other = outcomeOf(a.acquire());
      await clock.advance(17_300);
      expect(first.state).toBe('pending');
      a.store.heal();
      await clock.advance(10_000);
      await other.value?.release();
      await clock.advance(1_000);
      expect(first.state).toBe('resolved');
      expect(annotation()).toMatch(ended('begun', 'a'));
    },
  );

  it('leaves nothing behind in an application that closes before the next try', async () => {
    const { a, b, clock } = await observed();
    a.store.plan({}, ['update'], 1);
    a.store.plan({ answeredAfter: Infinity }, ['update'], 1);
    const call = outcomeOf(fire(a, { minute: 1 }));
    await settled();
    await b.forceRelease();
    await settled();
    expect(call.state).toBe('pending');
    await a.engine.shutdown(0);
    await settled();
    expect(call.reason).toMatchObject({ reason: 'shutdown' });
    await b.engine.shutdown(0);
    expect(clock.pending()).toBe(0);
  });

  it('begins though its process closes meanwhile, and is asked to stop', async () => {
    const { a, b, clock } = await observed();
    const lock = await claimFire(a, { minute: 1 });
    a.store.plan({ answeredAfter: 1_000 }, ['update'], 1);
    const begun = outcomeOf(lock.begin());
    await settled();
    const closed = outcomeOf(a.engine.shutdown(0));
    await expect(fire(b, { minute: 1 })).rejects.toThrow(FireClaimedError);
    await clock.advance(900);
    expect(closed.state).toBe('pending');
    await clock.advance(200);
    expect(begun.state).toBe('resolved');
    expect(lock.signal.aborted).toBe(true);
    expect(closed.state).toBe('resolved');
  });

  it('begins though its process closes, and the first answer was lost', async () => {
    const { a, b, clock } = await observed();
    const lock = await claimFire(a, { minute: 1 });
    a.store.plan({ breaks: 'after' }, ['update'], 1);
    const begun = outcomeOf(lock.begin());
    await settled();
    const closed = outcomeOf(a.engine.shutdown(0));
    await expect(fire(b, { minute: 1 })).rejects.toThrow(FireClaimedError);
    await clock.advance(2_000);
    expect(begun.state).toBe('resolved');
    expect(closed.state).toBe('resolved');
  });

  it('begins though the credentials are refused once, when the first answer was lost', async () => {
    const { a, b, clock } = await observed();
    const lock = await claimFire(a, { minute: 1 });
    a.store.plan({ breaks: 'after' }, ['update'], 1);
    a.store.plan(
      { refused: { reason: 'unauthorized', status: 401 } },
      ['get', 'update'],
      1,
    );
    const begun = outcomeOf(lock.begin());
    await settled();
    await expect(fire(b, { minute: 1 })).rejects.toThrow(FireClaimedError);
    await clock.advance(3_000);
    expect(begun.state).toBe('resolved');
  });

  it('has all of maxHold for itself', async () => {
    const { a, clock } = await observed();
    const options = { maxHold: 1_000 };
    const lock = await claimFire(a, { minute: 1, options });
    await clock.advance(5_000);
    expect(lock.isHeld).toBe(true);
    await lock.begin();
    await clock.advance(999);
    expect(lock.isHeld).toBe(true);
    await clock.advance(1);
    expect(lock.signal.reason).toMatchObject({ reason: 'max-hold' });
  });

  it('is not taken back by a call that gives up', async () => {
    const { a, annotation } = await observed();
    const lock = await fire(a, { minute: 1 });
    await giveBack(lock);
    expect(annotation()).toMatch(ended('begun', 'a'));
  });

  it('does not begin in an application that closes', async () => {
    const { a, annotation, clock } = await observed();
    const lock = await claimFire(a, { minute: 1 });
    const closed = a.engine.shutdown(0);
    await expect(lock.begin()).rejects.toMatchObject({ reason: 'shutdown' });
    await clock.advance(1_000);
    await closed;
    expect(annotation()).toMatch(ended('open', 'a'));
  });

  it('is not run again by the same call, even if its lock is lost', async () => {
    const { cluster, a } = await observed();
    const claim = claimOf({ minute: 1 });
    await fire(a, { minute: 1 }, claim);
    await cluster.process('b').forceRelease();
    await expect(fire(a, { minute: 1 }, claim)).rejects.toThrow(
      FireClaimedError,
    );
  });
});

describe('work whose lock is lost before its beginning was sent', () => {
  it.each([
    ['is left out by a call that skips', 'skip'],
    ['is an error for a call that fails at once', 'try'],
  ] as const)('%s', async (_, mode) => {
    const { cluster, a, annotation, clock } = await observed();
    a.store.plan({}, ['update'], 1);
    a.store.plan({ breaks: 'unsent' }, ['update'], 1);
    const call = outcomeOf(fire(a, { minute: 1, mode }));
    await settled();
    a.store.heal();
    cluster.writeSpec(foreignSpec());
    await clock.advance(1_000);
    expect(annotation()).toMatch(/ claimed by a_/);
    expect(call.state).toBe('pending'); // that holder may be dead
    const renewTime = '2026-01-01T00:00:09.000000Z';
    cluster.writeSpec(foreignSpec({ renewTime }));
    await settled();
    expect(call.reason).toMatchObject({ reason: 'held' });
  });

  it('waits for its own waitTimeout, and not for a minute', async () => {
    const { cluster, a, clock } = await observed();
    a.store.plan({}, ['update'], 1);
    a.store.plan({ breaks: 'unsent' }, ['update'], 1);
    const options = { waitTimeout: 2_000 };
    const call = outcomeOf(fire(a, { minute: 1, mode: 'wait', options }));
    await settled();
    a.store.heal();
    cluster.writeSpec(foreignSpec());
    await clock.advance(1_000);
    const renewTime = '2026-01-01T00:00:09.000000Z';
    cluster.writeSpec(foreignSpec({ renewTime }));
    await clock.advance(2_000);
    expect(call.reason).toMatchObject({ reason: 'timeout' });
  });
});

describe('the work of a holder that dies', () => {
  it('is left alone by default, and the next fire goes on', async () => {
    const { a, b, clock } = await observed();
    await fire(a, { minute: 1 });
    await settled();
    die(a);
    await expect(fire(b, { minute: 1 })).rejects.toThrow(FireClaimedError);
    await clock.advance(MINUTE);
    await expect(fire(b, { minute: 1 })).rejects.toThrow(FireClaimedError);
    await fire(b, { minute: 2 });
  });

  it('is taken over by one of the followers under onFailure retry', async () => {
    const { a, b, c, annotation, clock } = await observed();
    await fire(a, { minute: 1, retry: true });
    await settled();
    const followers = [b, c].map((pod) =>
      outcomeOf(fire(pod, { minute: 1, retry: true })),
    );
    const states = () => followers.map(({ state }) => state).toSorted();
    await clock.advance(7_000); // renewed once, at 5 s
    die(a);
    await clock.advance(12_900);
    expect(states()).toEqual(['pending', 'pending']);
    await clock.advance(2_000);
    expect(states()).toEqual(['pending', 'resolved']);
    // Whoever is second sees so by its watch.
    const writes = [b, c].map(({ store }) => store.verbs());
    expect(writes.toSorted()).toEqual(['', 'update update']);

    const winner = followers.find(({ state }) => state === 'resolved');
    await winner?.value?.release();
    await clock.advance(100);
    expect(annotation()).toMatch(ended('done', '[bc]'));
    expect(states()).toEqual(['rejected', 'resolved']);
  });

  it.each(['skip', 'wait'] as const)(
    'is taken over before the next fire, under %s, where it is to be retried',
    async (mode) => {
      const { a, b, c, annotation, clock } = await observed();
      await fire(a, { minute: 1, retry: true });
      await settled();
      const followers = [b, c].map((pod) =>
        outcomeOf(fire(pod, { minute: 1, retry: true, mode })),
      );
      die(a);
      await clock.advance(10_000);
      const next = [b, c].map((pod) =>
        outcomeOf(fire(pod, { minute: 2, retry: true, mode })),
      );
      await clock.advance(10_000);
      expect(annotation()).toMatch(ended('begun', '[bc]'));
      // Under wait, one of the next comes after it, and the other follows that one.
      for (const calls of [followers, next]) {
        const held = calls.find(({ state }) => state === 'resolved');
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await held?.value?.release();
        // oxlint-disable-next-line no-await-in-loop
        await clock.advance(1_000);
      }
      const states = [...followers, ...next].map(({ state }) => state);
      expect(states).not.toContain('pending');
      expect(states.slice(0, 2).toSorted()).toEqual(['rejected', 'resolved']);
    },
  );

  it('is taken over one lease after its last renewal by a follower whose watch tells nothing', async () => {
    const { cluster, a, clock } = await observed();
    const blind = cluster.process('blind');
    blind.store.watchesWork = false;
    await fire(a, { minute: 1, retry: true });
    await settled();
    const follower = outcomeOf(fire(blind, { minute: 1, retry: true }));
    await clock.advance(7_000); // renewed once, at 5 s
    die(a);
    await clock.advance(12_900);
    expect(follower.state).toBe('pending');
    await clock.advance(3_000); // and a poll
    expect(follower.state).toBe('resolved');
  });

  it('is still repeated although another call has held the lock since, for other work', async () => {
    const { a, b, c, annotation, clock } = await observed();
    await fire(a, { minute: 1, retry: true });
    await settled();
    die(a);
    const byHand = outcomeOf(b.acquire());
    await clock.advance(15_100);
    await byHand.value?.release();
    expect(annotation()).toMatch(ended('begun', 'a'));
    await clock.advance(1_000);
    await (await fire(c, { minute: 1, retry: true })).release();
    expect(annotation()).toMatch(ended('done', 'c'));
  });

  it('is not taken over when it ends well, and following costs nothing', async () => {
    const { a, b, clock } = await observed();
    const lock = await fire(a, { minute: 1, retry: true });
    await settled();
    const follower = outcomeOf(fire(b, { minute: 1, retry: true }));
    await clock.advance(5 * MINUTE);
    expect(follower.state).toBe('pending');
    await lock.release();
    await settled();
    expect(follower.reason).toBeInstanceOf(FireClaimedError);
    expect(b.store.requests).toEqual([]);
  });

  it('is overtaken by the next fire', async () => {
    const { cluster, a, b, clock } = await observed();
    await fire(a, { minute: 1, retry: true });
    await settled();
    const follower = outcomeOf(fire(b, { minute: 1, retry: true }));
    await settled();
    cluster.write((lease) => {
      lease.metadata.annotations = { [CLAIM]: '2026-01-01T00:02:00.000Z' };
    });
    await clock.advance(0);
    expect(follower.reason).toBeInstanceOf(FireClaimedError);
  });

  it('does not keep its followers from the next fire', async () => {
    const { a, b } = await observed();
    const lock = await fire(a, { minute: 1, retry: true });
    await settled();
    const follower = outcomeOf(fire(b, { minute: 1, retry: true }));
    await settled();
    await lock.release();
    // In the very turn in which the release is seen.
    await (await fire(b, { minute: 2, retry: true })).release();
    expect(follower.state).toBe('rejected');
  });

  it('is not followed any longer by an application that closes', async () => {
    const { a, b } = await observed();
    await fire(a, { minute: 1, retry: true });
    await settled();
    const follower = outcomeOf(fire(b, { minute: 1, retry: true }));
    await settled();
    await b.engine.shutdown(0);
    expect(follower.reason).toBeInstanceOf(FireClaimedError);
  });

  it('does not stay with a follower whose caller has gone', async () => {
    const { a, b } = await observed();
    await fire(a, { minute: 1, retry: true });
    await settled();
    const caller = new AbortController();
    const follower = outcomeOf(
      fire(b, { minute: 1, retry: true, signal: caller.signal }),
    );
    await settled();
    caller.abort('gone');
    await settled();
    expect(follower.reason).toBe('gone');
  });
});

describe('work that was cut short', () => {
  it('by the closing of its application is taken over at once, where it is to be retried', async () => {
    const { a, b, c, annotation, clock } = await observed();
    await fire(a, { minute: 1, retry: true });
    await settled();
    const follower = outcomeOf(fire(b, { minute: 1, retry: true }));
    await settled();
    const closed = a.engine.shutdown(0);
    await clock.advance(0);
    await closed;
    expect(follower.state).toBe('resolved');
    expect(annotation()).toMatch(ended('begun', 'b'));
    await expect(fire(c, { minute: 1 })).rejects.toThrow(FireClaimedError);
  });

  it('and has said so is not done', async () => {
    const { a, b, annotation } = await observed();
    const lock = await fire(a, { minute: 1 });
    lock.endClaimAs('begun');
    await lock.release();
    expect(annotation()).toMatch(ended('begun', 'a'));
    await settled();
    await fire(b, { minute: 1, retry: true });
  });

  it('is not kept from others by minHold', async () => {
    const { a, b, clock } = await observed();
    const options = { minHold: 50_000 };
    await fire(a, { minute: 1, retry: true, options });
    await settled();
    const follower = outcomeOf(fire(b, { minute: 1, retry: true }));
    const closed = a.engine.shutdown(0);
    await clock.advance(0);
    await closed;
    expect(follower.state).toBe('resolved');
  });

  it('is done if only what shares its lock was cut short', async () => {
    const { a, b, annotation, clock } = await observed();
    const lock = await fire(a, { minute: 1, retry: true });
    const shared = lock.lend();
    await lock.release();
    expect(shared.isHeld).toBe(true);
    await settled();
    const follower = outcomeOf(fire(b, { minute: 1, retry: true }));
    const closed = a.engine.shutdown(0);
    await clock.advance(0);
    await closed;
    expect(annotation()).toMatch(ended('done', 'a'));
    expect(follower.reason).toBeInstanceOf(FireClaimedError);
  });

  it('is done if it ended although its lock was lost', async () => {
    const { a, annotation, clock } = await observed();
    const options = { maxHold: 3_000 };
    const lock = await fire(a, { minute: 1, options });
    await clock.advance(3_000);
    expect(lock.isHeld).toBe(false);
    await lock.release();
    expect(annotation()).toMatch(ended('done', 'a'));
  });
});
