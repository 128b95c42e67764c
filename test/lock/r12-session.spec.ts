/** R12: locks under one session are lost with it, and nobody takes one before its session has ended. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { LockOptions } from '../../lib/k8s-lock.options.js';
import {
  LeaseStoreError,
  type StoredLease,
} from '../../lib/kube/lease-store.js';
import { LockLostError } from '../../lib/lock.errors.js';
import type { LeaseLock } from '../../lib/lock/hold/lease-lock.js';
import { IS_SESSION, SESSION } from '../../lib/lock/record/session.js';
import { settled, type Machine } from './controlled-clock.js';
import type { MemoryLeaseStore } from './memory-lease-store.js';
import {
  Cluster,
  foreignSpec,
  JOB,
  outcomeOf,
  type LockProcess,
} from './processes.js';

type Process = LockProcess<MemoryLeaseStore>;

const INFINITE = 2_147_483_647;
/** When a holder gives up, and when others may take what it held: after its last renewal. */
const DEADLINE = 13_500;
const DURATION = 15_000;

let cluster: Cluster;
let machine: Machine;
/** Holds its locks under a session. */
let a: Process;
/** Renews each lock, as does every process by default. */
let b: Process;

beforeEach(() => {
  cluster = new Cluster();
  machine = cluster.clock.elsewhere();
  a = cluster.process('a', machine, { session: {} });
  b = cluster.process('b');
});

const reasonOf = ({ signal }: LeaseLock): string | undefined =>
  signal.reason instanceof LockLostError ? signal.reason.reason : undefined;

/** The writes of a process, as `verb name`; `session` stands for the name of a session. */
const writesOf = ({ store }: Process): string[] =>
  store.requests
    .filter(({ verb }) => verb !== 'get' && verb !== 'list')
    .map(({ verb, name }) => `${verb} ${nameOf(name)}`);

const nameOf = (name: string): string =>
  name.startsWith('session-') ? 'session' : name;

const session = (): StoredLease => {
  const [found, ...others] = cluster.sessions();
  expect(others).toEqual([]);
  return found!;
};

/** Crashes: it does nothing any more. */
const crash = (): void => {
  machine.switchOff();
};

/** A loses its connection: no request of it arrives. */
const cutOff = (process: Process): void =>
  process.store.plan({ appliedAfter: Infinity }, [
    'get',
    'create',
    'update',
    'delete',
  ]);

describe('a process that holds locks under a session', () => {
  it('opens one for all of its locks, which name it and do not expire', async () => {
    const [one, two] = [await a.acquire('one'), await a.acquire('two')];
    const { metadata, spec } = session();
    expect(spec).toMatchObject({
      holderIdentity: expect.stringMatching(/^a_/),
      leaseDurationSeconds: 15,
    });
    for (const lock of [one, two]) {
      const lease = cluster.lease(lock.name)!;
      expect(lease.spec).toMatchObject({
        holderIdentity: lock.holderIdentity,
        leaseDurationSeconds: INFINITE,
      });
      expect(lease.metadata.annotations?.[SESSION]).toBe(
        `${metadata.name} ${metadata.uid} 15 by ${lock.holderIdentity}`,
      );
    }
  });

  it('renews the session, and no lock', async () => {
    const locks = [await a.acquire('one'), await a.acquire('two')];
    a.store.requests.length = 0;
    await cluster.clock.advance(60_000);
    expect(new Set(writesOf(a))).toEqual(new Set(['update session']));
    expect(writesOf(a)).toHaveLength(12);
    expect(locks.map(({ isHeld }) => isHeld)).toEqual([true, true]);
    expect(a.eventTypes()).toBe('acquired acquired');
  });

  it.each([
    [1, 1],
    [4, 4],
    [25, 10],
  ])(
    'reads, of %d locks, %d in each renewal interval',
    async (count, reads) => {
      await Promise.all(
        Array.from({ length: count }, (_, i) => a.acquire(`lock-${i}`)),
      );
      await cluster.clock.advance(20_000);
      a.store.requests.length = 0;
      await cluster.clock.advance(50_000);
      const names = a.store.requests
        .filter(({ verb }) => verb === 'get')
        .map(({ name }) => name);
      expect(names.length / 10).toBeCloseTo(reads, 0);
      expect(new Set(names).size).toBe(count);
    },
  );

  it.each([
    ['deleted', () => cluster.delete()],
    ['taken', () => cluster.writeSpec(foreignSpec())],
    ['freed', () => cluster.writeSpec({ leaseTransitions: 9 })],
  ])(
    'loses a lock that was %s within a renewal interval',
    async (reason, act) => {
      const [job, other] = [await a.acquire(), await a.acquire('other')];
      act();
      await cluster.clock.advance(5_000);
      expect(reasonOf(job)).toBe(reason);
      expect(other.isHeld).toBe(true);
    },
  );

  it('is told by its session that a release was forced, however many locks it holds', async () => {
    const names = Array.from({ length: 100 }, (_, i) => `lock-${i}`);
    const locks = await Promise.all(names.map((name) => a.acquire(name)));
    const robbed = locks[99]!;
    expect(await b.forceRelease(robbed.name)).toMatchObject({
      holder: robbed.holderIdentity,
    });
    expect(robbed.isHeld).toBe(true);
    await cluster.clock.advance(5_000);
    expect(reasonOf(robbed)).toBe('freed');
    expect(locks.filter(({ isHeld }) => isHeld)).toHaveLength(99);
    await robbed.release();
    const again = await a.acquire(robbed.name);
    await b.forceRelease(robbed.name);
    await cluster.clock.advance(5_000);
    expect(reasonOf(again)).toBe('freed');
    expect(session().spec?.holderIdentity).toMatch(/^a_/);
  });

  it('has no timer for a lock', async () => {
    await a.acquire('one');
    const before = cluster.clock.pending();
    await a.acquire('two');
    await a.acquire('three');
    expect(cluster.clock.pending()).toBe(before);
  });

  it('loses all of its locks at the deadline of the session, before others can take them', async () => {
    const locks = [await a.acquire('one'), await a.acquire('two')];
    const waiting = outcomeOf(b.acquire('two'));
    await settled();
    cutOff(a);
    await cluster.clock.advance(DEADLINE - 1);
    expect(locks.map(({ isHeld }) => isHeld)).toEqual([true, true]);
    await cluster.clock.advance(1);
    expect(locks.map(reasonOf)).toEqual(['deadline', 'deadline']);
    expect(waiting.state).toBe('pending');
    await cluster.clock.advance(DURATION - DEADLINE);
    expect(waiting.state).toBe('resolved');
    expect(a.eventTypes()).toMatch(/acquired acquired .*lost lost/);
  });

  it('checks the deadline of the session when it is asked, also in a process whose timers are late', async () => {
    const lock = await a.acquire();
    cluster.clock.block(DEADLINE);
    expect(lock.isHeld).toBe(false);
    expect(reasonOf(lock)).toBe('deadline');
  });

  it('opens another session after a loss, and never renews the lost one', async () => {
    const lock = await a.acquire();
    const first = session();
    await b.forceRelease(first.metadata.name);
    await cluster.clock.advance(5_000);
    expect(reasonOf(lock)).toBe('session');
    await lock.release();
    const again = await a.acquire();
    const names = cluster.sessions().map(({ metadata }) => metadata.name);
    expect(names).toHaveLength(2);
    expect(again.isHeld).toBe(true);
    expect(cluster.lease()?.metadata.annotations?.[SESSION]).toContain(
      names.find((name) => name !== first.metadata.name),
    );
    await cluster.clock.advance(20_000);
    expect(cluster.spec(first.metadata.name).holderIdentity).toBeUndefined();
    expect(again.isHeld).toBe(true);
  });

  it('frees a lock by one write, which keeps the session', async () => {
    const lock = await a.acquire();
    a.store.requests.length = 0;
    await lock.release();
    expect(writesOf(a)).toEqual(['update job']);
    expect(cluster.holder()).toBeUndefined();
    expect(cluster.lease()?.metadata.annotations).not.toHaveProperty([SESSION]);
    expect(session().spec?.holderIdentity).toBeDefined();
  });

  it('tries to free a lock for as long as the session lives, since its record does not expire', async () => {
    const [job, other] = [await a.acquire(), await a.acquire('other')];
    const replace = a.store.replace.bind(a.store);
    a.store.replace = (key, ...rest) =>
      key.name === JOB
        ? Promise.reject(new LeaseStoreError('server', 'out of order'))
        : replace(key, ...rest);
    const released = job.release();
    await cluster.clock.advance(3 * DURATION);
    await released;
    expect(cluster.holder()).toBe('a');
    a.store.replace = replace;
    await cluster.clock.advance(5_000);
    expect(cluster.holder()).toBeUndefined();
    expect(other.isHeld).toBe(true);
  });

  it('deletes the session at shutdown', async () => {
    await (await a.acquire()).release();
    await a.engine.shutdown(0);
    expect(cluster.sessions()).toEqual([]);
    expect(cluster.clock.pending()).toBe(0);
  });

  it('leaves no timer behind if the shutdown finds that the session was lost', async () => {
    await (await a.acquire()).release();
    cluster.clock.block(DEADLINE);
    await a.engine.shutdown(0);
    expect(cluster.clock.pending()).toBe(0);
  });

  it('deletes a session under which nothing is held for long, and opens a new one when needed', async () => {
    const lock = await a.acquire();
    await cluster.clock.advance(600_000);
    const { name } = session().metadata;
    await lock.release();
    await cluster.clock.advance(299_000);
    expect(session().metadata.name).toBe(name);
    await cluster.clock.advance(1_000);
    expect(cluster.sessions()).toEqual([]);
    const again = await a.acquire();
    expect(session().metadata.name).not.toBe(name);
    expect(again.isHeld).toBe(true);
  });
});

describe('a lock whose acquiring write is under way when the session is lost', () => {
  it('is not held, but acquired again under another session', async () => {
    await a.acquire('other');
    const { name } = session().metadata;
    await cluster.clock.advance(1_000);
    cutOff(a);
    await cluster.clock.advance(DEADLINE - 1_000 - 2);
    a.store.heal();
    // It is applied in time, and answered too late. So are the renewals.
    a.store.plan({ answeredAfter: 4 }, 'create', 1);
    const acquiring = a.acquire();
    await cluster.clock.advance(3);
    expect(cluster.lease()?.metadata.annotations?.[SESSION]).toContain(name);
    await cluster.clock.advance(2_000);
    const lock = await acquiring;
    expect(lock.isHeld).toBe(true);
    expect(cluster.lease()?.metadata.annotations?.[SESSION]).not.toContain(
      name,
    );
    expect(a.eventTypes().match(/lost/g)).toHaveLength(1);
  });

  it('is free for others when its write lands after all, without a holder', async () => {
    await a.acquire('other');
    const waiting = b.acquire('other');
    await settled();
    cutOff(a);
    await cluster.clock.advance(DEADLINE - 1_000);
    a.store.heal();
    a.store.plan({ appliedAfter: 4_000 }, 'create', 1);
    const acquiring = outcomeOf(a.acquire());
    await settled();
    cutOff(a);
    await cluster.clock.advance(2_900);
    expect((await waiting).isHeld).toBe(true);
    await cluster.clock.advance(1_200);
    expect(cluster.holder()).toBe('a'); // by a write that was under way
    expect(acquiring.state).toBe('pending');
    expect((await b.try()).isHeld).toBe(true);
  });
});

describe('the opening of a session', () => {
  it('is one request, whatever number of locks wait for it', async () => {
    const names = ['one', 'two', 'three'];
    a.store.plan({ answeredAfter: 100 }, 'create', 1);
    const acquiring = names.map((name) => a.acquire(name));
    await cluster.clock.advance(100);
    await Promise.all(acquiring);
    expect(writesOf(a).filter((w) => w === 'create session')).toHaveLength(1);
  });

  it('whose answer is lost is settled by looking', async () => {
    a.store.plan({ breaks: 'after' }, 'create', 1);
    const acquiring = a.acquire();
    await cluster.clock.advance(1_000);
    expect((await acquiring).isHeld).toBe(true);
    expect(session().spec?.holderIdentity).toMatch(/^a_/);
  });

  it('that lands late makes a session under which nobody holds a lock', async () => {
    a.store.plan({ appliedAfter: 20_000 }, 'create', 1);
    const acquiring = a.acquire();
    await cluster.clock.advance(12_000);
    const lock = await acquiring;
    const { name } = session().metadata;
    await cluster.clock.advance(10_000);
    expect(cluster.sessions()).toHaveLength(2);
    expect(lock.isHeld).toBe(true);
    expect(cluster.lease()?.metadata.annotations?.[SESSION]).toContain(name);
  });

  it('never takes a session that has no holder: to others it has ended', async () => {
    a.store.plan({ breaks: 'after' }, 'create', 1);
    const acquiring = outcomeOf(a.acquire());
    await settled();
    const { name } = session().metadata;
    cluster.writeSpec({ leaseTransitions: 0 }, name);
    await cluster.clock.advance(10_000);
    expect(acquiring.state).toBe('resolved');
    expect(cluster.spec(name).holderIdentity).toBeUndefined();
    expect(cluster.lease()?.metadata.annotations?.[SESSION]).not.toContain(
      name,
    );
  });

  it('fails the call when it is refused, with the Lease and the right in the error', async () => {
    a.store.plan({ refused: { reason: 'forbidden', status: 403 } }, 'create');
    await expect(a.acquire()).rejects.toMatchObject({ reason: 'forbidden' });
  });

  it('is tried again while the call waits', async () => {
    a.store.plan({ refused: { reason: 'server' } }, 'create', 3);
    const acquiring = a.acquire();
    await cluster.clock.advance(5_000);
    expect((await acquiring).isHeld).toBe(true);
    expect(a.eventTypes()).toContain('backend-error');
  });

  it('ends with the application', async () => {
    a.store.plan({ answeredAfter: Infinity }, 'create');
    const acquiring = outcomeOf(a.acquire());
    await settled();
    const closed = a.engine.shutdown(0);
    await cluster.clock.advance(10_000);
    await closed;
    expect(acquiring).toMatchObject({
      state: 'rejected',
      reason: { reason: 'shutdown' },
    });
    expect(cluster.clock.pending()).toBe(0);
  });
});

describe('a Lease that a process with a session does not know', () => {
  it('is created by the acquisition, in one request', async () => {
    await a.acquire('other');
    a.store.requests.length = 0;
    const lock = await a.acquire();
    expect(a.store.verbs()).toBe('create');
    expect(lock.isHeld).toBe(true);
  });

  it('is read if it exists', async () => {
    await a.acquire('other');
    cluster.writeSpec({ leaseTransitions: 3 });
    a.store.requests.length = 0;
    const lock = await a.acquire();
    expect(a.store.verbs()).toBe('create get update');
    expect(lock.isHeld).toBe(true);
    expect(cluster.spec().leaseTransitions).toBe(4);
  });

  it('is not created without a look if createLease is false', async () => {
    await a.acquire('other');
    a.store.requests.length = 0;
    await expect(a.acquire(JOB, { createLease: false })).rejects.toMatchObject({
      reason: 'lease-missing',
    });
    expect(a.store.verbs()).toBe('get');
  });

  it('is freed again if its creation lands after all, without a holder', async () => {
    await a.acquire('other');
    a.store.plan({ appliedAfter: 30_000 }, 'create', 1);
    const controller = new AbortController();
    const acquiring = outcomeOf(a.acquire(JOB, {}, controller.signal));
    await cluster.clock.advance(1_000);
    controller.abort(new Error('enough'));
    await cluster.clock.advance(1_000);
    expect(acquiring.state).toBe('rejected');
    // The Lease that keeps it from landing is deleted.
    expect(cluster.spec()).toEqual({ leaseTransitions: 0 });
    cluster.delete();
    await cluster.clock.advance(28_000);
    expect(cluster.holder()).toBe('a');
    const waiting = outcomeOf(b.acquire());
    await cluster.clock.advance(30_999);
    expect(waiting.state).toBe('pending'); // for the session lives
    await cluster.clock.advance(2);
    expect(waiting.state).toBe('resolved');
  });
});

it('a session whose record is older than before is lost: etcd was restored, and with it the records of its locks', async () => {
  const lock = await a.acquire();
  const { name } = session().metadata;
  const backup = new Map(cluster.storage['entries']);
  await cluster.clock.advance(6_000);
  for (const [id, entry] of backup) {
    cluster.storage['entries'].set(id, entry);
  }
  await cluster.clock.advance(5_000);
  expect(reasonOf(lock)).toBe('session');
  const again = a.acquire('other');
  await cluster.clock.advance(1_000);
  expect((await again).isHeld).toBe(true);
  const waiting = outcomeOf(b.acquire());
  await cluster.clock.advance(2 * DURATION);
  expect(waiting.state).toBe('resolved');
  expect(cluster.spec(name).holderIdentity).toBeUndefined();
});

describe('under a session', () => {
  it('a lock is lost after maxHold, and others can have it when its lease would have expired', async () => {
    const lock = await a.acquire(JOB, { maxHold: 2_000 });
    const waiting = outcomeOf(b.acquire());
    await cluster.clock.advance(2_000);
    expect(reasonOf(lock)).toBe('max-hold');
    expect(cluster.spec().leaseDurationSeconds).toBe(15);
    await cluster.clock.advance(DURATION - 1);
    expect(waiting.state).toBe('pending');
    await cluster.clock.advance(1);
    expect(waiting.state).toBe('resolved');
    expect(session().spec?.holderIdentity).toMatch(/^a_/);
  });

  it('a lock stays taken for minHold, and no longer', async () => {
    const lock = await a.acquire(JOB, { minHold: 5_000 });
    await cluster.clock.advance(500);
    await lock.release();
    expect(cluster.spec().leaseDurationSeconds).toBe(5);
    const waiting = outcomeOf(b.acquire());
    await cluster.clock.advance(4_900);
    expect(waiting.state).toBe('pending');
    await cluster.clock.advance(100);
    expect(waiting.state).toBe('resolved');
  });

  it.each<[string, LockOptions, number]>([
    ['that ends without renewal', { autoRenew: false }, 15],
    ['that does not expire', { leaseDuration: 'infinite' }, INFINITE],
    ['with another duration', { leaseDuration: 30_000 }, 30],
    ['that is renewed more often', { renewInterval: 1_000 }, 15],
    ['with another margin', { safetyMargin: 3_000 }, 15],
  ])(
    'stands no lock %s: it has a lease of its own',
    async (_, options, seconds) => {
      await a.acquire(JOB, options);
      expect(cluster.sessions()).toEqual([]);
      expect(cluster.spec().leaseDurationSeconds).toBe(seconds);
      expect(cluster.lease()?.metadata.annotations).not.toHaveProperty([
        SESSION,
      ]);
    },
  );

  it('a lock is known to have been taken away once a watch or a read shows it', async () => {
    const lock = await a.acquire();
    await b.forceRelease();
    await a.inspect();
    expect(reasonOf(lock)).toBe('freed');
    expect(cluster.holder()).toBeUndefined();
  });

  it('locks are what is listed, with the session under which they are held', async () => {
    await a.acquire();
    const leaseName = session().metadata.name;
    const states = await b.engine.list('default', (name) => name);
    expect(states).toEqual([
      expect.objectContaining({
        name: JOB,
        state: 'held',
        session: leaseName,
        leaseDuration: undefined,
        until: undefined,
      }),
    ]);
    expect(session().metadata.labels).toMatchObject({
      'app.kubernetes.io/managed-by': 'nestjs-k8s-lock',
      [IS_SESSION]: '',
    });
  });

  it('locks are overdue when the renewal of the session is', async () => {
    await a.acquire('one');
    await a.acquire('two');
    cutOff(a);
    await cluster.clock.advance(9_500);
    expect(a.engine.check().map(({ name, state }) => [name, state])).toEqual([
      ['one', 'overdue'],
      ['two', 'overdue'],
    ]);
    await cluster.clock.advance(5_000);
    expect(a.engine.check().map(({ state }) => state)).toEqual([
      'lost',
      'lost',
    ]);
  });

  it('a handover within the process is one write', async () => {
    const lock = await a.acquire();
    const next = a.acquire();
    await settled();
    a.store.requests.length = 0;
    await lock.release();
    expect((await next).isHeld).toBe(true);
    expect(writesOf(a)).toEqual(['update job']);
  });

  it('a lock of another session is taken as by any process', async () => {
    const c = cluster.process('c', cluster.clock, { session: {} });
    await a.acquire();
    const waiting = c.acquire();
    await settled();
    crash();
    await cluster.clock.advance(DURATION);
    expect((await waiting).isHeld).toBe(true);
    const names = cluster
      .sessions()
      .filter(({ spec }) => spec?.holderIdentity)
      .map(({ metadata }) => metadata.name);
    expect(names).toHaveLength(1);
    expect(cluster.lease()?.metadata.annotations?.[SESSION]).toContain(
      names[0],
    );
  });

  it('a process that was paused finds its locks lost, and leaves the records of others alone', async () => {
    const paused = cluster.process('p', cluster.clock, { session: {} });
    const [job, other] = [
      await paused.acquire(),
      await paused.acquire('other'),
    ];
    cutOff(paused);
    const waiting = b.acquire();
    await cluster.clock.advance(2 * DURATION);
    await waiting;
    paused.store.heal();
    expect([job, other].map(reasonOf)).toEqual(['deadline', 'deadline']);
    await Promise.all([job.release(), other.release()]);
    await cluster.clock.advance(5_000);
    expect(cluster.holder()).toBe('b');
    expect(cluster.holder('other')).toBeUndefined();
    expect((await paused.acquire('other')).isHeld).toBe(true);
  });
});

describe('who takes a lock from a session', () => {
  it('ends the session first, by a write that compares with the record that has expired', async () => {
    await a.acquire();
    const { name } = session().metadata;
    const waiting = b.acquire();
    await cluster.clock.advance(4_000);
    crash();
    const { resourceVersion } = session().metadata;
    await cluster.clock.advance(DURATION);
    const lock = await waiting;
    // It enrols while the lock is held, and takes it by a change of what it compares.
    expect(writesOf(b)).toEqual(['patch job', 'update session', 'patch job']);
    expect(b.store.requests.at(-2)?.lease?.metadata).toMatchObject({
      name,
      resourceVersion,
    });
    expect(session().spec?.holderIdentity).toBeUndefined();
    expect(lock.isHeld).toBe(true);
    expect(cluster.lease()?.metadata.annotations).not.toHaveProperty([SESSION]);
  });

  it('does not take it while the session is renewed unseen', async () => {
    const lock = await a.acquire();
    const waiting = outcomeOf(b.acquire());
    await settled();
    b.store.watchesWork = false;
    await cluster.clock.advance(10 * DURATION);
    expect(waiting.state).toBe('pending');
    expect(lock.isHeld).toBe(true);
    expect(session().spec?.holderIdentity).toMatch(/^a_/);
    crash();
    await cluster.clock.advance(2 * DURATION);
    expect(waiting.state).toBe('resolved');
  });

  it('takes all locks of a dead process with one write for the session and one for each', async () => {
    const names = Array.from({ length: 5 }, (_, i) => `lock-${i}`);
    await Promise.all(names.map((name) => a.acquire(name)));
    const c = cluster.process('c');
    const waiting = names.map((name, i) => (i < 3 ? b : c).acquire(name));
    await settled();
    crash();
    await cluster.clock.advance(DURATION + 1);
    await Promise.all(waiting);
    const writes = [...writesOf(b), ...writesOf(c)];
    // With a place in line for each.
    expect(writes.filter((write) => write !== 'update session')).toHaveLength(
      2 * names.length,
    );
    // Both may try, and one of them is told that it was late.
    expect(
      writesOf(b).filter((w) => w === 'update session').length,
    ).toBeLessThan(2);
    expect(
      writesOf(c).filter((w) => w === 'update session').length,
    ).toBeLessThan(2);
    const sessionReads = b.store.requests.filter(
      ({ verb, name }) => verb === 'get' && name.startsWith('session-'),
    );
    expect(sessionReads.length).toBeLessThan(2);
  });

  it('need not wait for a session that has ended', async () => {
    await a.acquire('one');
    await a.acquire('two');
    const waiting = b.acquire('one');
    await settled();
    crash();
    await cluster.clock.advance(DURATION);
    await waiting;
    const c = cluster.process('c');
    const lock = await c.try('two');
    expect(lock.isHeld).toBe(true);
    expect(writesOf(c)).toEqual(['update two']);
  });

  it('counts a session that was deleted as ended when its duration has passed since it was first seen absent', async () => {
    const lock = await a.acquire();
    await cluster.clock.advance(1_000);
    cluster.delete(session().metadata.name);
    await cluster.clock.advance(2_000);
    const waiting = outcomeOf(b.acquire());
    await settled();
    await cluster.clock.advance(DURATION - 1);
    expect(waiting.state).toBe('pending');
    expect(reasonOf(lock)).toBe('session'); // its renewal found no Lease
    expect(cluster.sessions()).toEqual([]);
    await cluster.clock.advance(1);
    expect(waiting.state).toBe('resolved');
  });

  it('does not take a Lease of the same name for the session that it waits for', async () => {
    await a.acquire();
    const { name, ...metadata } = session().metadata;
    crash();
    cluster.delete(name);
    cluster.write((lease) => {
      lease.metadata.labels = metadata.labels;
      lease.spec = foreignSpec();
    }, name);
    const waiting = outcomeOf(b.acquire());
    await cluster.clock.advance(DURATION);
    expect(waiting.state).toBe('resolved');
    expect(cluster.spec(name)).toEqual(foreignSpec());
  });

  it('writes no Lease that is no session, whatever a record says', async () => {
    const controller = cluster.writeSpec(foreignSpec(), 'controller');
    const { uid } = controller.metadata;
    cluster.write((lease) => {
      lease.spec = foreignSpec({ leaseDurationSeconds: INFINITE });
      lease.metadata.annotations = {
        [SESSION]: `controller ${uid} 15 by stranger`,
      };
    });
    const waiting = outcomeOf(b.acquire());
    await cluster.clock.advance(10 * DURATION);
    expect(waiting.state).toBe('pending');
    expect(cluster.lease('controller')).toEqual(controller);
  });

  it.each([
    [
      'the holder is another than the annotation says',
      'somebody-else',
      'c 1 15 by stranger',
    ],
    ['it can’t be read', 'stranger', 'nothing'],
    ['it names no holder', 'stranger', 'c 1 15'],
  ])('heeds no annotation if %s', async (_, holderIdentity, value) => {
    cluster.write((lease) => {
      lease.spec = foreignSpec({
        holderIdentity,
        leaseDurationSeconds: INFINITE,
      });
      lease.metadata.annotations = { [SESSION]: value };
    });
    const waiting = outcomeOf(b.acquire());
    await cluster.clock.advance(10 * DURATION);
    expect(waiting.state).toBe('pending');
  });

  it('takes a lock over from a peer that kept the annotation, by the record of the peer', async () => {
    const lock = await a.acquire();
    const { annotations } = cluster.lease()!.metadata;
    cluster.writeSpec(foreignSpec({ leaseDurationSeconds: 2 }));
    expect(cluster.lease()?.metadata.annotations).toEqual(annotations);
    const waiting = outcomeOf(b.acquire());
    await cluster.clock.advance(2_000);
    expect(waiting.state).toBe('resolved');
    await lock.release();
    expect(cluster.holder()).toBe('b');
  });

  it('tries again when the API server does not answer', async () => {
    await a.acquire();
    const waiting = outcomeOf(b.acquire());
    await settled();
    crash();
    b.store.plan({ breaks: 'before' }, 'update', 2);
    b.store.plan({ breaks: 'after' }, 'update', 1);
    await cluster.clock.advance(DURATION);
    expect(waiting.state).toBe('pending');
    await cluster.clock.advance(5_000);
    expect(waiting.state).toBe('resolved');
    expect(b.eventTypes()).toContain('backend-error');
  });

  it('need not be the first to try: others end the session as well', async () => {
    await a.acquire('one');
    await a.acquire('two');
    const c = cluster.process('c', cluster.clock.elsewhere({ rate: 1.001 }));
    const [one, two] = [
      outcomeOf(b.acquire('one')),
      outcomeOf(c.acquire('two')),
    ];
    await settled();
    crash();
    await cluster.clock.advance(DURATION);
    expect([one.state, two.state]).toEqual(['resolved', 'resolved']);
    expect(writesOf(c)).toEqual(['patch two', 'update session', 'patch two']);
    expect(writesOf(b)).toEqual(['patch one', 'patch one']);
  });

  it('deletes the ended session later', async () => {
    await a.acquire();
    const waiting = b.acquire();
    await settled();
    crash();
    await cluster.clock.advance(DURATION);
    await waiting;
    await cluster.clock.advance(59_000);
    expect(cluster.sessions()).toHaveLength(1);
    await cluster.clock.advance(1_000);
    expect(cluster.sessions()).toEqual([]);
  });

  describe('at once', () => {
    it('knows nothing of a session that it sees for the first time', async () => {
      await a.acquire();
      crash();
      await expect(b.try()).rejects.toMatchObject({ reason: 'held' });
      await cluster.clock.advance(DURATION - 1);
      await expect(b.try()).rejects.toMatchObject({ reason: 'held' });
      await cluster.clock.advance(1);
      expect((await b.try()).isHeld).toBe(true);
    });

    it('sees at each try whether the session was renewed', async () => {
      await a.acquire();
      for (let tries = 0; tries < 5; tries += 1) {
        // oxlint-disable-next-line no-await-in-loop -- one try after the other
        await expect(b.try()).rejects.toMatchObject({ reason: 'held' });
        // oxlint-disable-next-line no-await-in-loop
        await cluster.clock.advance(DURATION);
      }
    });

    it('takes a lock at once whose session it has observed', async () => {
      b.observe();
      await a.acquire();
      await settled();
      crash();
      await cluster.clock.advance(DURATION);
      b.store.requests.length = 0;
      expect((await b.try()).isHeld).toBe(true);
      expect(writesOf(b)).toEqual(['update session', 'update job']);
    });
  });

  describe('unless its holder is alive', () => {
    it('skips as soon as the session is renewed', async () => {
      await a.acquire();
      await cluster.clock.advance(1_000);
      const skipping = outcomeOf(b.skip());
      await cluster.clock.advance(3_999);
      expect(skipping.state).toBe('pending');
      await cluster.clock.advance(1);
      expect(skipping).toMatchObject({
        state: 'rejected',
        reason: { reason: 'held' },
      });
    });

    it('skips at once if it has observed the session', async () => {
      b.observe();
      await a.acquire();
      await cluster.clock.advance(6_000);
      b.store.requests.length = 0;
      await expect(b.skip()).rejects.toMatchObject({ reason: 'held' });
      expect(b.store.requests).toEqual([]);
    });

    it('takes the lock of a holder that proves to be dead', async () => {
      await a.acquire();
      crash();
      const skipping = outcomeOf(b.skip());
      await cluster.clock.advance(DURATION - 1);
      expect(skipping.state).toBe('pending');
      await cluster.clock.advance(1);
      expect(skipping.state).toBe('resolved');
    });
  });
});
