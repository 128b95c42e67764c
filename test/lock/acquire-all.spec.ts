/** `LockService.acquireAll()` and `withLocks()`: several locks in one global order, all or none, on a controlled clock. */
import { EMPTY } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { resolveModuleOptions } from '../../lib/k8s-lock.options.js';
import { LockLostError, LockNotAcquiredError } from '../../lib/lock.errors.js';
import type { LockEvent } from '../../lib/lock.events.js';
import { clientOf } from '../../lib/lock.client.js';
import { LockService } from '../../lib/lock.service.js';
import { currentLock } from '../../lib/lock/hold/current-lock.js';
import { LeaseLocks } from '../../lib/lock/hold/lease-lock.js';
import { LeaseStorage } from '../../lib/testing/lease-storage.js';
import { ControlledClock } from './controlled-clock.js';
import { MemoryLeaseStore } from './memory-lease-store.js';
import { outcomeOf, type Outcome } from './processes.js';
import { defer } from '../decorators/lock-app.js';

class Pod {
  readonly store: MemoryLeaseStore;
  readonly locks: LockService;
  readonly events: LockEvent[] = [];

  constructor(storage: LeaseStorage, clock: ControlledClock, clientId: string) {
    const store = new MemoryLeaseStore(storage, clock);
    this.store = store;
    this.locks = new LockService(
      resolveModuleOptions({ clientId, shutdownTimeout: 0 }),
      { connect: () => ({ store, clock }) },
    );
    this.locks.events$.subscribe((event) => this.events.push(event));
  }

  /** The events of this type, by lock name. */
  namesOf(type: LockEvent['type']): string[] {
    return this.events
      .filter((event) => event.type === type)
      .map(({ name }) => name);
  }
}

let clock: ControlledClock;
let storage: LeaseStorage;
let pod: Pod;
let other: Pod;

beforeEach(() => {
  clock = new ControlledClock();
  storage = new LeaseStorage({
    firstVersion: 100n,
    historySize: 1_000,
    coordinatedLeaderElection: false,
  });
  pod = new Pod(storage, clock, 'pod');
  other = new Pod(storage, clock, 'other');
});
afterEach(async () => {
  for (const { locks } of [pod, other]) {
    const closing = clientOf(locks)!.shutdown();
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await clock.advance(60_000);
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await closing;
  }
});

/** As a caller without types does. */
const callWithoutTypes = (
  method: string,
  ...args: unknown[]
): Promise<unknown> =>
  Reflect.apply(Reflect.get(pod.locks, method), pod.locks, args);

const isFree = (name: string): boolean =>
  storage.get({ namespace: 'default', name })?.lease.spec?.holderIdentity ===
  undefined;

/** Resolves once everything that needs no time has happened. */
async function done<T>(work: Promise<T>): Promise<T> {
  const outcome = outcomeOf(work);
  await clock.advance(0);
  expect(outcome.state).not.toBe('pending');
  return work;
}

describe('acquireAll()', () => {
  it.each([[['b', 'c', 'a']], [['c', 'a', 'b']]])(
    'acquires %j by Lease name, and releases in reverse',
    async (names) => {
      const held = await done(pod.locks.acquireAll(names));
      expect(pod.namesOf('acquired')).toEqual(['a', 'b', 'c']);
      expect(held).toBeInstanceOf(LeaseLocks);
      expect(held.isHeld).toBe(true);
      expect(held.locks.map(({ name }) => name)).toEqual(names);
      expect(new Set(held.locks.map((lock) => lock.fencingToken)).size).toBe(3);

      await done(held.release());
      expect(pod.namesOf('released')).toEqual(['c', 'b', 'a']);
      expect(['a', 'b', 'c'].every(isFree)).toBe(true);
      expect(held.isHeld).toBe(false);
      expect(() => held.assertHeld()).toThrow(LockLostError);
      expect(held.signal.aborted).toBe(false);
    },
  );

  it('releases at the end of the block of an await using', async () => {
    {
      await using held = await done(pod.locks.acquireAll(['a', 'b']));
      expect([held.isHeld, isFree('a'), isFree('b')]).toEqual([
        true,
        false,
        false,
      ]);
    }
    expect([isFree('a'), isFree('b')]).toEqual([true, true]);
  });

  it('does not deadlock with calls in other orders', async () => {
    const calls = [
      pod.locks.acquireAll(['a', 'b', 'c']),
      other.locks.acquireAll(['c', 'b', 'a']),
      pod.locks.acquireAll(['b', 'c', 'a']),
      other.locks.acquireAll(['b', 'a']),
    ].map(async (call) => {
      await using held = await call;
      return held.isHeld;
    });
    const all = outcomeOf(Promise.all(calls));
    await clock.advance(20_000);
    expect(all.value).toEqual([true, true, true, true]);
  });

  it('acquires a lock once that is named twice, or in two ways', async () => {
    // The Lease of `Order #7` is the same whoever asks; a name with a digest as its end is encoded too.
    const held = await done(
      pod.locks.acquireAll(['b', 'a', 'b', 'Order #7', 'Order #7']),
    );
    expect(pod.namesOf('acquired').toSorted()).toEqual(['Order #7', 'a', 'b']);
    const [first, , third, fourth, fifth] = held.locks;
    expect(first).toBe(third);
    expect(fourth).toBe(fifth);
    await done(held.release());
    expect(isFree('b')).toBe(true);
  });

  it('is a handle of one lock too', async () => {
    const held = await done(pod.locks.acquireAll(['a']));
    expect(held.locks).toHaveLength(1);
    expect(held.signal).toBe(held.locks[0]?.signal);
    await done(held.release());
    expect(isFree('a')).toBe(true);
  });

  it('waits for waitTimeout in all, and then releases what it has', async () => {
    const [a, b] = await done(
      Promise.all([other.locks.acquire('a'), other.locks.acquire('b')]),
    );
    const call = outcomeOf(
      pod.locks.acquireAll(['a', 'b'], { waitTimeout: 5_000 }),
    );
    await clock.advance(3_000);
    await a.release();
    await clock.advance(1_000);
    expect(pod.namesOf('acquired')).toEqual(['a']);
    await clock.advance(900);
    expect(call.state).toBe('pending');
    await clock.advance(100);
    expect(call.reason).toBeInstanceOf(LockNotAcquiredError);
    expect(call.reason).toMatchObject({
      lock: { name: 'b' },
      reason: 'timeout',
      holder: b.holderIdentity,
    });
    expect(String(call.reason)).toContain('within 5000 ms (waitTimeout)');
    expect([isFree('a'), isFree('b')]).toEqual([true, false]);
  });

  it('waits for the waitTimeout of the module in all', async () => {
    const store = new MemoryLeaseStore(storage, clock);
    const locks = new LockService(
      resolveModuleOptions({ waitTimeout: 2_000, shutdownTimeout: 0 }),
      { connect: () => ({ store, clock }) },
    );
    const [a] = await done(
      Promise.all([other.locks.acquire('a'), other.locks.acquire('b')]),
    );
    const call = outcomeOf(locks.acquireAll(['a', 'b']));
    await clock.advance(1_500);
    await a.release();
    await clock.advance(500);
    expect(call.reason).toMatchObject({ lock: { name: 'b' } });
    await done(clientOf(locks)!.shutdown());
  });

  it('takes the rest that is free even when no time is left', async () => {
    const a = await done(other.locks.acquire('a'));
    const call = outcomeOf(
      pod.locks.acquireAll(['a', 'b'], { waitTimeout: 2_000 }),
    );
    await clock.advance(1_000);
    clock.block(999);
    await a.release();
    await clock.advance(0);
    expect(call.value?.isHeld).toBe(true);
  });

  it('releases what it has, in reverse, when its signal aborts', async () => {
    await done(other.locks.acquire('c'));
    const cancel = new AbortController();
    const { signal } = cancel;
    const call = outcomeOf(pod.locks.acquireAll(['c', 'b', 'a'], { signal }));
    await clock.advance(0);
    expect(pod.namesOf('acquired')).toEqual(['a', 'b']);
    const reason = new Error('no longer needed');
    cancel.abort(reason);
    await clock.advance(0);
    expect(call.reason).toBe(reason);
    expect(pod.namesOf('released')).toEqual(['b', 'a']);
    expect([isFree('a'), isFree('b')]).toEqual([true, true]);
  });

  it('releases what it has when a request is refused', async () => {
    await done(pod.locks.withLock('b', () => undefined));
    pod.store.plan(
      { refused: { reason: 'forbidden', status: 403 } },
      'get',
      Infinity,
    );
    // `b` is known; `c` must be read first.
    const call = outcomeOf(pod.locks.acquireAll(['c', 'b']));
    await clock.advance(0);
    expect(call.reason).toMatchObject({
      lock: { name: 'c' },
      reason: 'forbidden',
    });
    expect(isFree('b')).toBe(true);
  });

  it('is told of the first loss', async () => {
    const held = await done(pod.locks.acquireAll(['b', 'a']));
    const [b, a] = held.locks;
    await done(other.locks.forceRelease('a'));
    await clock.advance(6_000);
    expect(held.signal.reason).toMatchObject({
      lock: { name: 'a' },
      reason: 'freed',
    });
    expect([held.isHeld, a?.isHeld, b?.isHeld]).toEqual([false, false, true]);
    expect(() => held.assertHeld()).toThrow(LockLostError);
    await done(held.release());
    expect(isFree('b')).toBe(true);
  });

  it('rejects when a lock is lost before all are acquired', async () => {
    await done(other.locks.acquire('b'));
    const call = outcomeOf(pod.locks.acquireAll(['a', 'b']));
    await clock.advance(0);
    await done(other.locks.forceRelease('a'));
    await clock.advance(6_000);
    expect(call.reason).toBeInstanceOf(LockLostError);
    expect(call.reason).toMatchObject({ lock: { name: 'a' } });
  });

  it('shares no lock of its caller, and does not keep one', async () => {
    const end = defer();
    let inner: Outcome<LeaseLocks> | undefined;
    const outer = pod.locks.withLock('a', () => {
      inner = outcomeOf(pod.locks.acquireAll(['a', 'b']));
      return end.promise;
    });
    await clock.advance(0);
    expect(inner?.state).toBe('pending');
    end.resolve();
    await done(outer);
    await clock.advance(0);
    expect(inner?.value?.isHeld).toBe(true);
  });
});

describe('withLocks()', () => {
  it('runs the work under all locks, and returns what it returns', async () => {
    const result = await done(
      pod.locks.withLocks(['b', 'a'], async (held) => {
        await Promise.resolve();
        const [b, a] = held.locks;
        expect([a?.isHeld, b?.isHeld, held.isHeld]).toEqual([true, true, true]);
        expect(currentLock()?.signal).toBe(held.signal);
        return [a?.name, b?.name];
      }),
    );
    expect(result).toEqual(['a', 'b']);
    expect(pod.namesOf('released')).toEqual(['b', 'a']);
    expect(currentLock()).toBeUndefined();
  });

  it.each([
    ['rejects', () => Promise.reject(new Error('the work failed'))],
    [
      'throws',
      () => {
        throw new Error('the work failed');
      },
    ],
  ])('releases when the work %s, and passes its error on', async (_, work) => {
    await expect(
      done(pod.locks.withLocks(['a', 'b'], {}, work)),
    ).rejects.toThrow('the work failed');
    expect([isFree('a'), isFree('b')]).toEqual([true, true]);
  });

  it('shares the locks of its caller, and lends its own', async () => {
    await done(
      pod.locks.withLock('b', () =>
        pod.locks.withLocks(['a', 'b'], () =>
          pod.locks.withLocks(['b', 'c'], () =>
            pod.locks.withLock('a', () => undefined),
          ),
        ),
      ),
    );
    expect(pod.namesOf('acquired')).toEqual(['b', 'a', 'c']);
    expect(['a', 'b', 'c'].every(isFree)).toBe(true);
  });

  it('keeps a shared lock for work that its caller left running', async () => {
    const b = await done(other.locks.acquire('b'));
    let inner: Promise<string> | undefined;
    await done(
      pod.locks.withLock('a', () => {
        inner = pod.locks.withLocks(['a', 'b'], () => 'ran');
      }),
    );
    expect(isFree('a')).toBe(false);
    await b.release();
    expect(await done(inner!)).toBe('ran');
    expect(isFree('a')).toBe(true);
  });

  it('does not keep a lock that it will not share', async () => {
    let inner: Promise<string> | undefined;
    await done(
      pod.locks.withLock('a', () => {
        inner = pod.locks.withLocks(
          ['a', 'b'],
          { reentrant: false },
          () => 'ran',
        );
      }),
    );
    expect(await done(inner!)).toBe('ran');
  });

  it('refuses work that would run after the release', async () => {
    await expect(
      done(pod.locks.withLocks(['a', 'b'], () => EMPTY)),
    ).rejects.toThrow('the function of withLocks("a", "b")');
    expect([isFree('a'), isFree('b')]).toEqual([true, true]);
  });

  it('aborts with the first loss', async () => {
    const call = outcomeOf(
      pod.locks.withLocks(['a', 'b'], async ({ signal }) => {
        await new Promise((resolve) =>
          signal.addEventListener('abort', resolve, { once: true }),
        );
        return signal;
      }),
    );
    await clock.advance(0);
    await done(other.locks.forceRelease('b'));
    await clock.advance(6_000);
    expect(call.value?.reason).toMatchObject({ lock: { name: 'b' } });
  });
});

describe('the arguments of acquireAll() and withLocks()', () => {
  it.each<[string, unknown[], string[]]>([
    [
      'acquireAll',
      [[]],
      [
        'the first argument of acquireAll() must be an array of one or more lock names, not an empty one',
      ],
    ],
    [
      'acquireAll',
      ['ab'],
      [
        'the first argument of acquireAll() must be an array of one or more lock names, not "ab"',
      ],
    ],
    [
      'acquireAll',
      [],
      [
        'the first argument of acquireAll() must be an array of one or more lock names, not undefined',
      ],
    ],
    [
      'acquireAll',
      [['a', '', 5, ''], { reentrant: true, signal: 1 }],
      [
        'acquireAll(): a lock name must be a non-empty string, not ""',
        'acquireAll(): a lock name must be a non-empty string, not 5',
        'acquireAll(): signal must be an AbortSignal, not 1',
        'reentrant is not an option of acquireAll(), which never shares a lock of its caller: use withLocks() or @WithLeaseLock() for that',
      ],
    ],
    [
      'withLocks',
      [['a'], {}],
      [
        'lock "a": the last argument of withLocks() must be the function to run under the locks, not an object; to hold locks until you release them, use acquireAll()',
      ],
    ],
    [
      'withLocks',
      [['a'], 5, () => undefined],
      [
        'lock "a": the options of withLocks() must be an object with options, not 5',
      ],
    ],
    [
      'withLocks',
      [['a'], { waitTimeout: -1 }, () => undefined],
      [
        'lock "a": waitTimeout must be a number of milliseconds, 0 or more, not -1',
      ],
    ],
  ])(
    'are refused before anything is acquired: %s(%j)',
    async (method, args, faults) => {
      const outcome = outcomeOf(callWithoutTypes(method, ...args));
      await clock.advance(0);
      expect(outcome.reason).toMatchObject({ faults });
      expect(pod.store.requests).toEqual([]);
    },
  );

  it('may change while the call waits', async () => {
    const b = await done(other.locks.acquire('b'));
    const names = ['a', 'b'];
    const waiting = outcomeOf(pod.locks.acquireAll(names));
    await clock.advance(0);
    names[1] = 'c';
    await done(b.release());
    await clock.advance(0);
    expect(waiting.value?.locks.map(({ name }) => name)).toEqual(['a', 'b']);
  });
});
