/** Semaphores on a controlled clock: at most `permits` holders, whatever happens to processes, requests and watches. */
import { beforeEach, describe, expect, it } from 'vitest';
import {
  resolveLockOptions,
  resolveModuleOptions,
  type OwnLockOptions,
} from '../../lib/k8s-lock.options.js';
import {
  LockBackendError,
  LockConfigurationError,
  LockNotAcquiredError,
} from '../../lib/lock.errors.js';
import { clientOf } from '../../lib/lock.client.js';
import type { LockEvent } from '../../lib/lock.events.js';
import { LockService } from '../../lib/lock.service.js';
import type { AcquireMode } from '../../lib/lock/acquire/wait-policy.js';
import { currentLock } from '../../lib/lock/hold/current-lock.js';
import type { LeaseLock } from '../../lib/lock/hold/lease-lock.js';
import { defer } from '../decorators/lock-app.js';
import type { Machine } from './controlled-clock.js';
import type { MemoryLeaseStore } from './memory-lease-store.js';
import { Cluster, outcomeOf, type LockProcess } from './processes.js';

type Outcome = ReturnType<typeof outcomeOf>;

type Process = LockProcess<MemoryLeaseStore>;

const POOL = { name: 'pool', namespace: 'default', leaseName: 'pool' };
const LINE = 'pool--line';

let cluster: Cluster;
/** The locks that were acquired, to see how many are held at a time. */
let acquired: LeaseLock[];

beforeEach(() => {
  cluster = new Cluster();
  acquired = [];
});

/** Acquires the semaphore, with 3 permits by default. */
async function enter(
  process: Process,
  options: OwnLockOptions = {},
  { mode = 'wait', signal }: { mode?: AcquireMode; signal?: AbortSignal } = {},
): Promise<LeaseLock> {
  const lock = await process.engine.acquire({
    lock: POOL,
    options: resolveLockOptions({ permits: 3, ...options }),
    mode,
    signal,
  });
  acquired.push(lock);
  return lock;
}

/** Resolves once everything that needs no time has happened. */
async function done<T>(work: Promise<T>): Promise<T> {
  const outcome = outcomeOf(work);
  await cluster.clock.advance(0);
  expect(outcome.state).not.toBe('pending');
  return work;
}

/** Has a process acquire every slot. */
const enterAll = (process: Process) =>
  done(Promise.all([enter(process), enter(process), enter(process)]));

const held = (): LeaseLock[] => acquired.filter(({ isHeld }) => isHeld);

/** Who holds each slot, by the records. */
const slots = (permits = 3): (string | undefined)[] =>
  Array.from({ length: permits }, (_, slot) =>
    cluster.holder(slot === 0 ? 'pool' : `pool--slot-${slot}`),
  );

const sorted = <T>(values: readonly T[]): T[] =>
  values.toSorted((a, b) => (String(a) < String(b) ? -1 : 1));

/** The verbs of the requests that were sent meanwhile, watches left out. */
async function verbsOf(
  process: Process,
  work: () => Promise<unknown>,
): Promise<string> {
  const before = process.store.requests.length;
  await work();
  return process.store.requests
    .slice(before)
    .map(({ verb }) => verb)
    .join(' ');
}

/** Works again and again; the calls of a process follow each other at once. */
function loop(
  process: Process,
  milliseconds: number,
  options: OwnLockOptions = {},
): { count: number; stop: () => void } {
  const stopped = new AbortController();
  const work = { count: 0, stop: () => stopped.abort() };
  const run = async (): Promise<void> => {
    while (!stopped.signal.aborted) {
      // oxlint-disable no-await-in-loop -- one after the other
      const lock = await enter(process, options);
      await new Promise<void>((resolve) => {
        cluster.clock.schedule(cluster.clock.now() + milliseconds, resolve);
      });
      await lock.release();
      // oxlint-enable no-await-in-loop
      work.count += 1;
    }
  };
  run().catch(() => undefined); // ends with its process
  return work;
}

/** From now on nothing happens in the process, and nothing that it sends arrives. */
function crash({ store }: Process, machine: Machine): void {
  machine.switchOff();
  store.watchesWork = false;
  store.plan({ appliedAfter: Infinity }, ['get', 'create', 'update']);
}

describe('a semaphore', () => {
  it('is held by as many as it has permits, each in a slot of its own', async () => {
    const processes = ['a', 'b', 'c', 'd'].map((id) => cluster.process(id));
    const calls = processes.map((process) => outcomeOf(enter(process)));
    await cluster.clock.advance(100);
    expect(held()).toHaveLength(3);
    expect(sorted(held().map(({ slot }) => slot))).toEqual([0, 1, 2]);
    expect(calls.filter(({ state }) => state === 'pending')).toHaveLength(1);

    const [first] = held();
    await first!.release();
    await cluster.clock.advance(10);
    expect(held()).toHaveLength(3);
    expect(acquired[3]?.slot).toBe(first!.slot);
  });

  it('is held by as many calls of one process', async () => {
    const process = cluster.process('a');
    const calls = [1, 2, 3, 4].map(() => outcomeOf(enter(process)));
    await cluster.clock.advance(100);
    expect(calls.map(({ state }) => state)).toEqual([
      'resolved',
      'resolved',
      'resolved',
      'pending',
    ]);
  });

  it('has fencing tokens that rise from holder to holder of a slot, and slots that are locks', async () => {
    const process = cluster.process('a');
    const [, lock] = await done(
      Promise.all([
        enter(process, { permits: 2 }),
        enter(process, { permits: 2 }),
      ]),
    );
    const { name, namespace, leaseName, slot, holderIdentity } = lock;
    expect({ name, namespace, leaseName, slot }).toEqual({
      ...POOL,
      leaseName: 'pool--slot-1',
      slot: 1,
    });
    expect(cluster.spec(leaseName).holderIdentity).toBe(holderIdentity);
    expect(lock.fencingToken).toBe(
      BigInt(cluster.lease(leaseName)!.metadata.resourceVersion),
    );
    await lock.release();
    expect(slots(2)).toEqual(['a', undefined]);
    const next = await done(enter(process, { permits: 2 }));
    expect(next.slot).toBe(1);
    expect(next.fencingToken).toBeGreaterThan(lock.fencingToken);
  });

  it('costs what a lock costs, while nobody waits for it', async () => {
    const process = cluster.process('a');
    const lock = await done(enter(process));
    await lock.release();
    await cluster.clock.advance(1_000);
    const verbs = await verbsOf(process, async () => {
      const again = await done(enter(process));
      await again.release();
    });
    expect(verbs).toBe('update update');
  });

  it('with one permit is the lock of its name', async () => {
    const [a, b] = [cluster.process('a'), cluster.process('b')];
    const lock = await done(enter(a, { permits: 1 }));
    expect(lock.slot).toBeUndefined();
    const waiting = outcomeOf(b.acquire('pool'));
    await cluster.clock.advance(5_000);
    expect(waiting.state).toBe('pending');
    await lock.release();
    await cluster.clock.advance(0);
    expect(waiting.value?.isHeld).toBe(true);
    expect(cluster.lease(LINE)).toBeUndefined();
  });

  it('renews its slots, and aborts the signal of one that is lost', async () => {
    const process = cluster.process('a');
    const [one, two] = await done(
      Promise.all([enter(process), enter(process)]),
    );
    await cluster.clock.advance(60_000);
    expect([one.isHeld, two.isHeld]).toEqual([true, true]);
    cluster.write((lease) => {
      lease.spec = { ...lease.spec, holderIdentity: 'thief' };
    }, one.leaseName);
    await cluster.clock.advance(6_000);
    expect([one.signal.aborted, two.signal.aborted]).toEqual([true, false]);
  });
});

describe('the order of a semaphore', () => {
  it('is that in which the calls came, whichever slot is released', async () => {
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((id) => cluster.process(id));
    const order: string[] = [];
    const first = await done(Promise.all([enter(a!), enter(a!), enter(a!)]));
    const note = async (process: Process): Promise<void> => {
      await enter(process);
      order.push(process.clientId);
    };
    for (const process of [c!, b!, d!]) {
      void note(process);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await cluster.clock.advance(300);
    }
    await first[2].release();
    await cluster.clock.advance(50);
    expect(order).toEqual(['c']);
    await first[0].release();
    await cluster.clock.advance(50);
    expect(order).toEqual(['c', 'b']);
    await acquired[3]!.release();
    await cluster.clock.advance(50);
    expect(order).toEqual(['c', 'b', 'd']);
  });

  it('gives each process its share', async () => {
    const workers = Array.from({ length: 9 }, (_, i) =>
      loop(cluster.process(`p${i}`), 1_000),
    );
    await cluster.clock.advance(120_000);
    const counts = workers.map(({ count }) => count);
    workers.forEach(({ stop }) => stop());
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(36);
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(3);
  });

  it('lets nobody wait behind one that holds its slot for long', async () => {
    const long = await done(enter(cluster.process('long')));
    const workers = Array.from({ length: 6 }, (_, i) =>
      loop(cluster.process(`p${i}`), 1_000),
    );
    await cluster.clock.advance(60_000);
    const counts = workers.map(({ count }) => count);
    workers.forEach(({ stop }) => stop());
    expect(long.isHeld).toBe(true);
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(15);
  });

  it('is kept by a process that comes back at once', async () => {
    const greedy = [1, 2, 3].map(() => loop(cluster.process('greedy'), 50));
    await cluster.clock.advance(1_000);
    const late = outcomeOf(enter(cluster.process('late')));
    await cluster.clock.advance(60);
    greedy.forEach(({ stop }) => stop());
    expect(late.value?.isHeld).toBe(true);
  });

  it('is kept while slots are free for longer than the line needs', async () => {
    const locks = await enterAll(cluster.process('holder'));
    // It has the line, and is slow.
    const front = cluster.process('front');
    const line = await done(
      front.engine.acquire({
        lock: { ...POOL, leaseName: LINE },
        options: resolveLockOptions({}),
        mode: 'wait',
      }),
    );
    const process = cluster.process('a');
    const first = outcomeOf(enter(process));
    await cluster.clock.advance(100);
    await Promise.all(locks.map((lock) => lock.release()));
    await cluster.clock.advance(1_000);
    const order: string[] = [];
    const second = enter(process).then(() => order.push('second'));
    await cluster.clock.advance(1_000);
    expect([first.state, order]).toEqual(['pending', []]);
    await line.release();
    await cluster.clock.advance(50);
    expect(first.value?.isHeld).toBe(true);
    await second;
    expect(first.value!.fencingToken).toBeLessThan(
      acquired.at(-1)!.fencingToken,
    );
  });

  it('takes few requests of those who wait', async () => {
    const holder = cluster.process('holder');
    const locks = await enterAll(holder);
    const waiter = cluster.process('waiter');
    const call = outcomeOf(enter(waiter, { waitTimeout: 60_000 }));
    await cluster.clock.advance(100);
    const verbs = await verbsOf(waiter, async () => {
      await cluster.clock.advance(10_000);
      await locks[1].release();
      await cluster.clock.advance(50);
    });
    expect(call.value?.slot).toBe(locks[1].slot);
    // It renews the line, polls one slot each second, takes the slot, and releases the line.
    expect(verbs.split(' ').length).toBeLessThanOrEqual(10 + 7 + 3);

    // Those behind it watch the slots, and ask for none.
    void outcomeOf(enter(waiter));
    const behind = cluster.process('behind');
    const calls = [1, 2, 3, 4].map(() =>
      outcomeOf(enter(behind, { waitTimeout: 60_000 })),
    );
    await cluster.clock.advance(10_000);
    const reads = await verbsOf(behind, () => cluster.clock.advance(30_000));
    expect(calls.every(({ state }) => state === 'pending')).toBe(true);
    // They poll the line, every second or two.
    expect(reads.split(' ').length).toBeLessThanOrEqual(30);
  });
});

describe('a slot that is released', () => {
  it('is found by the next poll of it when the watches are dead', async () => {
    const holder = cluster.process('holder');
    const locks = await enterAll(holder);
    const waiter = cluster.process('waiter');
    const call = outcomeOf(enter(waiter));
    await cluster.clock.advance(500);
    waiter.store.watchesWork = false;
    await locks[1].release();
    await cluster.clock.advance(4_000);
    expect(call.value?.slot).toBe(locks[1].slot);
  });

  it('is left to the one that is next in line, and then to anybody', async () => {
    const process = cluster.process('a');
    const locks = await done(
      Promise.all([enter(process), enter(process), enter(process)]),
    );
    await locks[1].release();
    const line = (): string | undefined =>
      cluster.lease(LINE)?.metadata.resourceVersion;
    const before = line();
    const second = await done(enter(process));
    expect([second.slot, line()]).not.toEqual([locks[1].slot, before]);
    await second.release();
    await cluster.clock.advance(100);
    const then = line();
    const third = await done(enter(process));
    expect([third.slot, line()]).toEqual([locks[1].slot, then]);
  });
});

describe('a crash', () => {
  it('costs one slot for one lease', async () => {
    const machine = cluster.clock.elsewhere();
    const dying = cluster.process('dying', machine);
    await done(enter(dying));
    const [b] = [cluster.process('b')];
    await done(Promise.all([enter(b), enter(b)]));
    const waiting = outcomeOf(enter(cluster.process('c')));
    await cluster.clock.advance(1_000);
    crash(dying, machine);
    await cluster.clock.advance(13_000);
    expect(waiting.state).toBe('pending');
    await cluster.clock.advance(8_000);
    expect(waiting.value?.isHeld).toBe(true);
    expect(held()).toHaveLength(3);
  });

  it('of several slots costs all of them one lease, at the same time', async () => {
    const machine = cluster.clock.elsewhere();
    const dying = cluster.process('dying', machine);
    await done(Promise.all([enter(dying), enter(dying), enter(dying)]));
    const waiters = ['a', 'b', 'c'].map((id) => cluster.process(id));
    const calls = waiters.map((process) => outcomeOf(enter(process)));
    await cluster.clock.advance(60_000);
    crash(dying, machine);
    await cluster.clock.advance(21_000);
    expect(calls.map(({ state }) => state)).toEqual([
      'resolved',
      'resolved',
      'resolved',
    ]);
    expect(held()).toHaveLength(3);
  });

  it('of the first in line costs those behind it some seconds', async () => {
    const holder = cluster.process('holder');
    const locks = await enterAll(holder);
    const machine = cluster.clock.elsewhere();
    const dying = cluster.process('dying', machine);
    void enter(dying);
    await cluster.clock.advance(500);
    const waiting = outcomeOf(enter(cluster.process('c')));
    await cluster.clock.advance(500);
    crash(dying, machine);
    await locks[0].release();
    await cluster.clock.advance(7_000);
    expect(waiting.value?.isHeld).toBe(true);
  });

  it('under sessions frees the slots with the session', async () => {
    const machine = cluster.clock.elsewhere();
    const options = { session: { leaseDuration: 15_000 } };
    const dying = cluster.process('dying', machine, options);
    await done(Promise.all([enter(dying), enter(dying), enter(dying)]));
    const other = cluster.process('other', undefined, options);
    const waiting = outcomeOf(enter(other));
    await cluster.clock.advance(1_000);
    crash(dying, machine);
    await cluster.clock.advance(13_000);
    expect(waiting.state).toBe('pending');
    await cluster.clock.advance(10_000);
    expect(waiting.value?.isHeld).toBe(true);
    expect(held()).toHaveLength(1);
  });
});

/** The same numbers for the same seed. */
const randomOf = (seed: number): ((below: number) => number) => {
  let state = seed * 2_654_435_761 + 1;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 2_246_822_519) + 7) >>> 0;
    state ^= state >>> 13;
    return (state >>> 0) % below;
  };
};

describe('never more than the permits', () => {
  // With and without sessions, and deletions on release.
  it.each([1, 2, 3, 6])(
    'hold it, with crashes, lost answers and dead watches (seed %i)',
    async (seed) => {
      const random = randomOf(seed);
      const machines = new Map<number, { process: Process; die: () => void }>();
      const start = (id: number): void => {
        const machine = cluster.clock.elsewhere();
        const process = cluster.process(
          `p${id}-${random(1_000)}`,
          machine,
          // Some hold their slots under a session.
          seed % 2 === 0 && id < 2 ? { session: {} } : {},
        );
        machines.set(id, { process, die: () => crash(process, machine) });
      };
      const want = (id: number): void => {
        const { process } = machines.get(id)!;
        const cancel = new AbortController();
        const { clock } = process;
        if (random(4) === 0) {
          clock.schedule(clock.now() + random(5_000), () => cancel.abort());
        }
        enter(
          process,
          {
            permits: id % 2 === 0 ? 2 : 3,
            deleteOnRelease: seed % 3 === 0 && random(3) === 0,
            waitTimeout: 1_000 + random(20_000),
          },
          {
            mode: (['wait', 'wait', 'skip', 'try'] as const)[random(4)]!,
            signal: cancel.signal,
          },
        ).then(
          (lock) =>
            void clock.schedule(clock.now() + random(8_000), () => {
              void lock.release();
            }),
          () => undefined,
        );
      };
      for (let id = 0; id < 5; id += 1) {
        start(id);
      }
      let most = 0;
      for (let step = 0; step < 400; step += 1) {
        const id = random(5);
        const { process, die } = machines.get(id)!;
        const { store } = process;
        switch (random(12)) {
          case 0:
            die();
            start(id);
            break;
          case 1:
            store.plan(
              { breaks: 'after' },
              ['update', 'create'],
              1 + random(3),
            );
            break;
          case 2:
            store.plan(
              { appliedAfter: random(9_000) },
              ['update', 'create'],
              1,
            );
            break;
          case 3:
            store.plan({ answeredAfter: random(20_000) }, 'update', 1);
            break;
          case 4:
            store.watchesWork = !store.watchesWork;
            break;
          case 5:
            store.heal();
            break;
          default:
            want(id);
        }
        // oxlint-disable-next-line no-await-in-loop -- one step after the other
        await cluster.clock.advance(random(1_000));
        const now = held();
        most = Math.max(most, now.length);
        expect(now.length).toBeLessThanOrEqual(3);
        expect(new Set(now.map(({ slot }) => slot)).size).toBe(now.length);
      }
      expect(most).toBe(3);
      expect(acquired.length).toBeGreaterThan(40);

      // When nothing is wrong any more, everybody gets it.
      const living = [...machines.values()].map(({ process }) => process);
      for (const { store } of living) {
        store.heal();
        store.watchesWork = true;
      }
      await cluster.clock.advance(60_000);
      expect(held()).toEqual([]);
      const calls = living.map((process) => outcomeOf(enter(process)));
      // The records of the dead must be seen to expire first.
      await cluster.clock.advance(30_000);
      expect(calls.filter(({ state }) => state === 'resolved').length).toBe(3);
      for (const call of calls) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await call.value?.release();
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await cluster.clock.advance(1_000);
      }
      expect(calls.map(({ state }) => state)).toEqual(
        calls.map(() => 'resolved'),
      );
    },
  );
});

const differences = ({ events }: Process): unknown[] =>
  events
    .filter((event) => event.type === 'permits-differ')
    .map(({ permits, others }) => [permits, others]);

describe('permits that differ', () => {
  it.each([
    [3, 5],
    [3, 2],
  ])(
    'in a rollout from %i to %i never exceed the greater, and are reported on both sides',
    async (before, after) => {
      const old = [1, 2, 3, 4].map((i) => cluster.process(`old${i}`));
      const young = [1, 2, 3, 4].map((i) => cluster.process(`new${i}`));
      const workers = [
        ...old.map((process) => loop(process, 700, { permits: before })),
        ...young.map((process) => loop(process, 900, { permits: after })),
      ];
      let most = 0;
      for (let i = 0; i < 300; i += 1) {
        // oxlint-disable-next-line no-await-in-loop -- one look after the other
        await cluster.clock.advance(100);
        most = Math.max(most, held().length);
      }
      workers.forEach(({ stop }) => stop());
      expect(most).toBe(Math.max(before, after));
      for (const process of old) {
        expect(differences(process)).toEqual([[before, after]]);
      }
      for (const process of young) {
        expect(differences(process)).toEqual([[after, before]]);
      }
    },
  );

  it('from a lock to a semaphore exclude each other, and are reported on both sides', async () => {
    const [old, young] = [cluster.process('old'), cluster.process('new')];
    const lock = await done(old.acquire('pool'));
    await done(Promise.all([enter(young), enter(young)]));
    const third = outcomeOf(enter(young));
    await cluster.clock.advance(1_000);
    expect(third.state).toBe('pending');
    await lock.release();
    await cluster.clock.advance(50);
    expect(third.value?.slot).toBe(0);
    expect(differences(young)).toEqual([[3, 1]]);

    const again = outcomeOf(old.acquire('pool'));
    await cluster.clock.advance(1_000);
    expect(again.state).toBe('pending');
    expect(differences(old)).toEqual([[1, 3]]);
    await third.value!.release();
    await cluster.clock.advance(50);
    expect(again.value?.isHeld).toBe(true);
  });

  it('are no matter of what anybody may write', async () => {
    const process = cluster.process('a');
    cluster.write((lease) => {
      lease.metadata.annotations = { 'nestjs-k8s-lock/permits': '-1 or so' };
    }, 'pool');
    await done(Promise.all([enter(process), enter(process), enter(process)]));
    expect(differences(process)).toEqual([]);
  });
});

/** Nothing is left of it: no ticket, no holder of the line, no slot. */
const expectNothingLeft = (expected: readonly (string | undefined)[]): void => {
  expect(cluster.holder(LINE)).toBeUndefined();
  expect(
    Object.keys(cluster.lease(LINE)!.metadata.annotations ?? {}).filter((key) =>
      key.startsWith('line.'),
    ),
  ).toEqual([]);
  expect(slots()).toEqual(expected);
};

describe('a call that ends', () => {
  it.each(['first', 'second'])(
    'by its signal, as the %s in line, leaves nothing',
    async (which) => {
      const holder = cluster.process('holder');
      await done(Promise.all([enter(holder), enter(holder), enter(holder)]));
      const other = cluster.process('other');
      const waiter = cluster.process('waiter');
      const cancel = new AbortController();
      const stopOther = new AbortController();
      const { signal } = cancel;
      const behind = (process: Process, own: AbortSignal) =>
        outcomeOf(enter(process, {}, { signal: own }));
      const inFront =
        which === 'second' ? behind(other, stopOther.signal) : undefined;
      await cluster.clock.advance(500);
      const call = behind(waiter, signal);
      await cluster.clock.advance(1_500);
      expect(call.state).toBe('pending');
      const reason = new Error('no longer needed');
      cancel.abort(reason);
      await cluster.clock.advance(0);
      expect(call.reason).toBe(reason);
      stopOther.abort();
      await cluster.clock.advance(2_000);
      expect(inFront?.state).not.toBe('pending');
      expectNothingLeft(['holder', 'holder', 'holder']);
      expect(waiter.clock).toBe(cluster.clock);
    },
  );

  it('by waitTimeout says so, and leaves nothing', async () => {
    const holder = cluster.process('holder');
    await done(Promise.all([enter(holder), enter(holder), enter(holder)]));
    const waiter = cluster.process('waiter');
    const call = outcomeOf(enter(waiter, { waitTimeout: 3_000 }));
    await cluster.clock.advance(2_999);
    expect(call.state).toBe('pending');
    await cluster.clock.advance(1);
    expect(call.reason).toBeInstanceOf(LockNotAcquiredError);
    expect(call.reason).toMatchObject({ lock: POOL, reason: 'timeout' });
    expect(String(call.reason)).toContain(
      'within 3000 ms (waitTimeout): all of its 3 permits are held',
    );
    await cluster.clock.advance(1_000);
    expectNothingLeft(['holder', 'holder', 'holder']);
  });

  it('by waitTimeout behind others in line says the same', async () => {
    const holder = cluster.process('holder');
    await done(Promise.all([enter(holder), enter(holder), enter(holder)]));
    void outcomeOf(enter(cluster.process('first'), { waitTimeout: 9_000 }));
    await cluster.clock.advance(500);
    const call = outcomeOf(
      enter(cluster.process('second'), { waitTimeout: 3_000 }),
    );
    await cluster.clock.advance(3_000);
    expect(call.reason).toMatchObject({ lock: POOL, reason: 'timeout' });
    await cluster.clock.advance(10_000);
    expectNothingLeft(['holder', 'holder', 'holder']);
  });

  it('by waitTimeout while the API server fails names the failure', async () => {
    const holder = cluster.process('holder');
    await done(Promise.all([enter(holder), enter(holder), enter(holder)]));
    const waiter = cluster.process('waiter');
    const call = outcomeOf(enter(waiter, { waitTimeout: 4_000 }));
    await cluster.clock.advance(500);
    waiter.store.plan({ refused: { reason: 'server', status: 500 } }, [
      'get',
      'update',
    ]);
    await cluster.clock.advance(3_500);
    expect(call.reason).toBeInstanceOf(LockBackendError);
    expect(waiter.eventTypes()).toContain('backend-error');
  });

  it('by waitTimeout while the API server does not answer for a slot ends in time, and says so', async () => {
    const waiter = cluster.process('waiter');
    const silence = { appliedAfter: Infinity };
    const options = { waitTimeout: 3_000 };
    const expectNoAnswer = async (call: Outcome): Promise<void> => {
      await cluster.clock.advance(2_499);
      expect(call.state).toBe('pending');
      await cluster.clock.advance(1);
      expect(call.reason).toBeInstanceOf(LockBackendError);
      expect(call.reason).toMatchObject({ lock: POOL, reason: 'timeout' });
      waiter.store.heal();
      await cluster.clock.advance(10_000);
      expectNothingLeft([undefined, undefined, undefined]);
    };
    // A slot that is known to be free.
    await (await done(enter(waiter))).release();
    await cluster.clock.advance(1_000);
    waiter.store.plan(silence, 'update');
    const first = outcomeOf(enter(waiter, options));
    await cluster.clock.advance(500);
    await expectNoAnswer(first);
    // One that is released to it.
    const locks = await enterAll(cluster.process('holder'));
    const second = outcomeOf(enter(waiter, options));
    await cluster.clock.advance(500);
    waiter.store.plan(silence, 'update');
    await Promise.all(locks.map((lock) => lock.release()));
    await expectNoAnswer(second);
  });

  it('by the shutdown says so, and leaves nothing', async () => {
    const holder = cluster.process('holder');
    await done(Promise.all([enter(holder), enter(holder), enter(holder)]));
    const waiter = cluster.process('waiter');
    const calls = [outcomeOf(enter(waiter)), outcomeOf(enter(waiter))];
    await cluster.clock.advance(1_000);
    const closed = outcomeOf(waiter.engine.shutdown(0));
    await cluster.clock.advance(0);
    for (const call of calls) {
      expect(call.reason).toMatchObject({ lock: POOL, reason: 'shutdown' });
    }
    await cluster.clock.advance(6_000);
    expect(closed.state).toBe('resolved');
    expectNothingLeft(['holder', 'holder', 'holder']);
  });

  it('goes on after a failure that may pass, and ends with one that may not', async () => {
    const holder = cluster.process('holder');
    const locks = await enterAll(holder);
    const waiter = cluster.process('waiter');
    const call = outcomeOf(enter(waiter));
    await cluster.clock.advance(500);
    waiter.store.plan(
      { refused: { reason: 'server', status: 500 } },
      'update',
      2,
    );
    await locks[0].release();
    await cluster.clock.advance(3_000);
    expect(call.value?.isHeld).toBe(true);

    // A slot that is known to be free.
    await call.value!.release();
    await cluster.clock.advance(1_000);
    waiter.store.plan(
      { refused: { reason: 'server', status: 500 } },
      'update',
      2,
    );
    const next = outcomeOf(enter(waiter));
    await cluster.clock.advance(3_000);
    expect(next.value?.isHeld).toBe(true);

    const refused = cluster.process('refused');
    refused.store.plan(
      { refused: { reason: 'forbidden', status: 403 } },
      'get',
    );
    const other = outcomeOf(enter(refused));
    await cluster.clock.advance(100);
    expect(other.reason).toMatchObject({ reason: 'forbidden' });
  });
});

describe('a process that can renew no more locks', () => {
  it('leaves the line to others, and gets a slot that they do not need', async () => {
    const holder = cluster.process('holder');
    const locks = await enterAll(holder);
    const process = cluster.process('full');
    await done(process.acquire('other'));
    process.store.capacity = 0.9; // enough for the line, and not for a slot beside it
    const call = outcomeOf(enter(process));
    await cluster.clock.advance(500);
    const behind = outcomeOf(enter(cluster.process('behind')));
    await cluster.clock.advance(500);
    expect(cluster.holder(LINE)).toBe('full');
    await locks[0].release();
    await cluster.clock.advance(1_000);
    expect(behind.value?.isHeld).toBe(true);
    expect(call.state).toBe('pending');
    await locks[1].release();
    await cluster.clock.advance(10_000);
    expect(call.value?.isHeld).toBe(true);
    expect(held()).toHaveLength(3);
  });

  it('waits for a free slot that it knows, too, for as long as it may', async () => {
    const process = cluster.process('full');
    const lock = await done(enter(process));
    await done(process.acquire('other'));
    await lock.release();
    await cluster.clock.advance(1_000);
    process.store.capacity = 0.2;
    const call = outcomeOf(enter(process, { waitTimeout: 5_000 }));
    await cluster.clock.advance(4_999);
    expect(call.state).toBe('pending');
    await cluster.clock.advance(1);
    expect(call.reason).toMatchObject({ lock: POOL, reason: 'saturated' });
    expect(slots()).toEqual([undefined, undefined, undefined]);
  });
});

describe('a call that does not wait', () => {
  it('takes a free slot, or says that all are held', async () => {
    const [a, b] = [cluster.process('a'), cluster.process('b')];
    await done(Promise.all([enter(a), enter(a)]));
    const third = await done(enter(b, {}, { mode: 'try' }));
    expect(third.isHeld).toBe(true);
    const fourth = outcomeOf(enter(b, {}, { mode: 'try' }));
    await cluster.clock.advance(0);
    expect(fourth.reason).toMatchObject({ lock: POOL, reason: 'held' });
    expect(String(fourth.reason)).toContain('all of its 3 permits are held');
    const once = outcomeOf(enter(b, { waitTimeout: 0 }));
    await cluster.clock.advance(0);
    expect(once.reason).toMatchObject({ lock: POOL, reason: 'timeout' });
    expect(sorted(slots())).toEqual(['a', 'a', 'b']);
  });

  it('does not try on while the API server fails', async () => {
    const process = cluster.process('a');
    process.store.plan({ refused: { reason: 'server', status: 500 } }, 'get');
    const call = outcomeOf(enter(process, {}, { mode: 'try' }));
    await cluster.clock.advance(0);
    expect(call.reason).toBeInstanceOf(LockBackendError);
    expect(process.store.requests).toHaveLength(1);
  });

  it('skips once each holder is known to be alive', async () => {
    const holder = cluster.process('holder');
    await done(Promise.all([enter(holder), enter(holder), enter(holder)]));
    const call = outcomeOf(enter(cluster.process('b'), {}, { mode: 'skip' }));
    await cluster.clock.advance(1_000);
    expect(call.state).toBe('pending');
    await cluster.clock.advance(5_000);
    expect(call.reason).toMatchObject({ lock: POOL, reason: 'held' });
  });

  it('takes the slot of a dead holder instead of a skip', async () => {
    const machine = cluster.clock.elsewhere();
    const dead = await done(enter(cluster.process('dead', machine)));
    const alive = cluster.process('alive');
    await done(Promise.all([enter(alive), enter(alive)]));
    machine.switchOff();
    const call = outcomeOf(enter(cluster.process('b'), {}, { mode: 'skip' }));
    await cluster.clock.advance(16_000);
    expect(call.value?.slot).toBe(dead.slot);
    expect(held()).toHaveLength(3);
  });

  it('asks for no slot that is watched and held', async () => {
    const holder = cluster.process('holder');
    await done(Promise.all([enter(holder), enter(holder), enter(holder)]));
    const observer = cluster.process('observer');
    for (const { leaseName } of acquired) {
      observer.engine.observe({ ...POOL, leaseName });
    }
    await cluster.clock.advance(6_000);
    const verbs = await verbsOf(observer, async () => {
      const call = outcomeOf(enter(observer, {}, { mode: 'skip' }));
      await cluster.clock.advance(0);
      expect(call.reason).toMatchObject({ reason: 'held' });
    });
    expect(verbs).toBe('');
  });
});

describe('the events of a semaphore', () => {
  it('are those of a lock, and none of its line', async () => {
    const holder = cluster.process('holder');
    const locks = await enterAll(holder);
    const waiter = cluster.process('waiter');
    const call = outcomeOf(enter(waiter));
    await cluster.clock.advance(2_000);
    expect(waiter.events).toEqual([{ type: 'waiting', ...POOL }]);
    expect(waiter.engine.check()).toEqual([]);
    await locks[2].release();
    await cluster.clock.advance(0);
    await call.value!.release();
    await cluster.clock.advance(0);
    expect(waiter.eventTypes()).toBe('waiting acquired released');
    expect(waiter.events[1]).toMatchObject({
      name: 'pool',
      slot: locks[2].slot,
      leaseName: locks[2].leaseName,
      waited: 2_000,
    });
  });

  it('name the semaphore when it is not acquired', async () => {
    const holder = cluster.process('holder');
    await done(Promise.all([enter(holder), enter(holder), enter(holder)]));
    const waiter = cluster.process('waiter');
    const call = outcomeOf(enter(waiter, { waitTimeout: 1_000 }));
    await cluster.clock.advance(1_000);
    expect(call.state).toBe('rejected');
    expect(waiter.events.at(-1)).toEqual({
      type: 'not-acquired',
      ...POOL,
      reason: 'timeout',
      waited: 1_000,
    });
  });
});

const callOn = (on: object, method: string, ...args: unknown[]): unknown =>
  Reflect.apply(Reflect.get(on, method), on, args);

const serviceOf = (id: string): LockService => {
  const store = cluster.process(id).store;
  const { clock } = cluster;
  return new LockService(resolveModuleOptions({ shutdownTimeout: 0 }), {
    connect: () => ({ store, clock }),
  });
};

describe('LockService', () => {
  let locks: LockService;
  let events: LockEvent[];

  /** As a caller without types does. */
  const call = (method: string, ...args: unknown[]): unknown =>
    callOn(locks, method, ...args);

  beforeEach(() => {
    events = [];
    locks = serviceOf('a');
    locks.events$.subscribe((event) => events.push(event));
  });

  it('has semaphores by name', async () => {
    const pool = locks.semaphore('pool', { permits: 2, waitTimeout: 500 });
    expect([pool.name, pool.permits]).toEqual(['pool', 2]);
    const [one, two] = await done(
      Promise.all([pool.acquire(), pool.tryAcquire()]),
    );
    expect(sorted([one.slot, two?.slot])).toEqual([0, 1]);
    expect(await done(pool.tryAcquire())).toBeUndefined();
    const third = outcomeOf(pool.acquire());
    const fourth = outcomeOf(pool.acquire({ waitTimeout: 5_000 }));
    await cluster.clock.advance(500);
    expect(third.reason).toMatchObject({ lock: POOL, reason: 'timeout' });
    await one.release();
    await cluster.clock.advance(50);
    expect(fourth.value?.isHeld).toBe(true);
  });

  it('runs work with a permit, which the work shares', async () => {
    const pool = locks.semaphore('pool', { permits: 2 });
    const end = defer();
    const run = outcomeOf(
      pool.withLock(async (lock) => {
        expect(currentLock()).toBe(lock);
        const inner = await pool.withLock(({ slot }) => slot);
        await end.promise;
        return [lock.slot, inner];
      }),
    );
    await cluster.clock.advance(0);
    expect(slots(2).filter(Boolean)).toHaveLength(1);
    end.resolve();
    await cluster.clock.advance(0);
    const [slot, inner] = run.value!;
    expect(inner).toBe(slot);
    expect(slots(2)).toEqual([undefined, undefined]);
  });

  it('takes another permit under reentrant: false', async () => {
    const pool = locks.semaphore('pool', { permits: 2, reentrant: false });
    await done(
      pool.withLock((outer) =>
        pool.withLock((inner) => {
          expect(inner.slot).not.toBe(outer.slot);
        }),
      ),
    );
    expect(events.filter(({ type }) => type === 'acquired')).toHaveLength(2);
  });

  it('does not share a permit with the lock of its name, unless it is that one', async () => {
    const other = serviceOf('b');
    const pool = locks.semaphore('pool', { permits: 2 });
    const first = await done(other.acquire('pool'));
    const nested = outcomeOf(
      pool.withLock(() => locks.withLock('pool', ({ slot }) => slot)),
    );
    await cluster.clock.advance(1_000);
    expect(nested.state).toBe('pending');
    await first.release();
    await cluster.clock.advance(50);
    expect(nested).toMatchObject({ state: 'resolved', value: undefined });
  });

  it('acquires semaphores among several locks, and shares them', async () => {
    const names = await done(
      locks.withLocks(['pool', 'b'], { permits: 2 }, async (outer) => {
        const [pool, b] = outer.locks;
        const inner = await locks.withLocks(
          ['b', 'pool'],
          { permits: 2 },
          ({ locks: shared }) => shared.map(({ leaseName }) => leaseName),
        );
        expect(inner).toEqual([b?.leaseName, pool?.leaseName]);
        return [pool?.name, b?.name];
      }),
    );
    expect(names).toEqual(['pool', 'b']);
    expect(events.filter(({ type }) => type === 'acquired')).toHaveLength(2);
    await cluster.clock.advance(0);
    expect(slots(2)).toEqual([undefined, undefined]);
  });

  it('says of several semaphores, too, that all permits are held', async () => {
    const pool = locks.semaphore('pool', { permits: 2 });
    await done(Promise.all([pool.acquire(), pool.acquire()]));
    const refused = outcomeOf(
      locks.acquireAll(['a', 'pool'], { permits: 2, waitTimeout: 1_000 }),
    );
    await cluster.clock.advance(1_000);
    expect(refused.reason).toMatchObject({
      reason: 'timeout',
      lock: { name: 'pool' },
      message:
        'Lock "pool" was not acquired within 1000 ms (waitTimeout): all of its 2 permits are held.',
    });
  });

  it('shows the slots, and can release one by force', async () => {
    const pool = locks.semaphore('pool', { permits: 2 });
    const lock = await done(pool.acquire());
    await cluster.clock.advance(0);
    const state = await done(pool.inspect());
    expect(state).toMatchObject({
      name: 'pool',
      namespace: 'default',
      permits: 2,
      held: 1,
    });
    expect(state.slots.map(({ slot }) => slot)).toEqual([0, 1]);
    expect(state.slots[lock.slot!]).toMatchObject({
      state: 'held',
      holder: lock.holderIdentity,
    });
    expect(await done(locks.list())).toMatchObject([
      { name: 'pool', leaseName: lock.leaseName, state: 'held' },
    ]);
    const other = await done(pool.acquire());
    expect(await done(locks.list())).toMatchObject([
      { name: 'pool', leaseName: 'pool', holder: lock.holderIdentity },
      { name: 'pool', leaseName: 'pool--slot-1', slot: 1, state: 'held' },
    ]);
    await done(other.release());
    expect(await done(pool.forceRelease(lock.slot!))).toMatchObject({
      holder: lock.holderIdentity,
    });
    expect(slots(2)).toEqual([undefined, undefined]);
    expect(await done(pool.forceRelease(0))).toBeUndefined();
  });

  it.each([2, -1, 0.5, '1', undefined])(
    'refuses slot %s of 2',
    async (slot) => {
      const pool = locks.semaphore('pool', { permits: 2 });
      await expect(
        done(Promise.resolve(callOn(pool, 'forceRelease', slot))),
      ).rejects.toThrow(
        `semaphore("pool"): the slot must be a whole number from 0 to 1, not ${typeof slot === 'string' ? `"${slot}"` : slot}`,
      );
    },
  );

  const WRONG_PERMITS: [unknown, string][] = [
    [0, '0'],
    [-1, '-1'],
    [1.5, '1.5'],
    [Number.NaN, 'NaN'],
    [Infinity, 'Infinity'],
    [101, '101'],
    ['3', '"3"'],
    [null, 'null'],
    [3n, 'the bigint 3'],
  ];

  it.each([...WRONG_PERMITS, [undefined, 'undefined']])(
    'refuses a semaphore with %s permits',
    (permits, shown) => {
      expect(() => call('semaphore', 'pool', { permits })).toThrow(
        `permits must be a whole number from 1 to 100, not ${shown}`,
      );
    },
  );

  it.each(WRONG_PERMITS)(
    'refuses a call with %s permits',
    async (permits, shown) => {
      const outcome = outcomeOf(
        Promise.resolve(call('acquire', 'pool', { permits })),
      );
      await cluster.clock.advance(0);
      expect(outcome.reason).toBeInstanceOf(LockConfigurationError);
      expect(outcome.reason).toMatchObject({
        faults: [
          `lock "pool": permits must be a whole number from 1 to 100, not ${shown}`,
        ],
      });
    },
  );

  it.each<[unknown[], string]>([
    [['', { permits: 2 }], 'a lock name must be a non-empty string, not ""'],
    [
      ['pool'],
      'the options of semaphore() must be an object with options, not undefined',
    ],
    [
      ['pool', 3],
      'the options of semaphore() must be an object with options, not 3',
    ],
    [
      ['pool', { permits: 2, minHold: -1 }],
      'minHold must be a number of milliseconds, 0 or more, not -1',
    ],
  ])('refuses semaphore(%j)', (args, fault) => {
    expect(() => call('semaphore', ...args)).toThrow(fault);
  });

  it('refuses permits for all locks', () => {
    const options: object = { permits: 3 };
    expect(() => resolveModuleOptions(options)).toThrow(
      '"permits" is not an option here: it is for semaphore(), @WithLeaseLock() and LeaseLockInterceptor(), since it belongs to one name',
    );
  });

  it('keeps its permits, whatever a call without types says', async () => {
    const options = { permits: 2 };
    const pool = locks.semaphore('pool', options);
    options.permits = 9;
    await done(
      Promise.all([pool.acquire(), callOn(pool, 'acquire', { permits: 9 })]),
    );
    expect(await done(pool.tryAcquire())).toBeUndefined();
    const wrong = outcomeOf(Promise.resolve(callOn(pool, 'acquire', 5)));
    await cluster.clock.advance(0);
    expect(wrong.reason).toMatchObject({
      faults: [
        'lock "pool": the options of acquire() must be an object with options, not 5',
      ],
    });
  });

  it('waits for no permit when it closes', async () => {
    const pool = locks.semaphore('pool', { permits: 2 });
    await done(Promise.all([pool.acquire(), pool.acquire()]));
    const third = outcomeOf(pool.acquire());
    await cluster.clock.advance(0);
    const closing = clientOf(locks)!.shutdown();
    await cluster.clock.advance(10_000);
    await closing;
    expect(third.reason).toMatchObject({ reason: 'shutdown' });
    expect(slots(2)).toEqual([undefined, undefined]);
  });
});
