/** LockService as its users meet it: work under a lock, reentrancy, events, and looking at locks. */
import { clientOf } from '../../lib/lock.client.js';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import {
  LockConfigurationError,
  LockLostError,
  LockNotAcquiredError,
} from '../../lib/lock.errors.js';
import { currentLock } from '../../lib/lock/hold/current-lock.js';
import { useApi } from './lock-services.js';
import { aborted } from '../support/aborted.js';

const api = useApi();
let names = 0;
const newName = (): string => `lock-${++names}`;
/** What it rejects with. */
const failure = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => new Error('it has not failed'),
    (error: unknown) => {
      if (error instanceof Error) {
        return error;
      }
      throw error;
    },
  );

describe('withLock', () => {
  it('acquires anew for what work that has lost its lock left running', async () => {
    const service = await api.service();
    const name = newName();
    const isOver = service.next('released');
    let leftBehind: Promise<string> | undefined;
    await service.withLock(name, { maxHold: 10 }, async (lock) => {
      leftBehind = isOver.then(() => service.withLock(name, () => 'ran'));
      await aborted(lock.signal);
    });
    expect(await leftBehind).toBe('ran');
  });

  it('runs the work under the lock and returns what it returns', async () => {
    const name = newName();
    const service = await api.service();
    const result = await service.withLock(name, async (lock) => {
      await Promise.resolve();
      expect(lock.isHeld).toBe(true);
      expect(api.spec(name).holderIdentity).toBe(lock.holderIdentity);
      expect(currentLock()).toBe(lock);
      return 42;
    });
    expect(result).toBe(42);
    expect(currentLock()).toBeUndefined();
    expect(api.spec(name)).not.toHaveProperty('holderIdentity');
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
    const name = newName();
    const service = await api.service();
    await expect(service.withLock(name, work)).rejects.toThrow(
      'the work failed',
    );
    expect(api.spec(name)).not.toHaveProperty('holderIdentity');
    expect(service.eventTypes()).toBe('acquired released');
  });

  it.each([
    ['the error', () => Promise.reject(new Error('the work failed'))],
    ['the result', () => Promise.resolve('done')],
  ])('%s of the work survives a release that fails', async (_, work) => {
    const name = newName();
    const service = await api.service({ requestTimeout: 200 });
    const outcome = await failure(
      service
        .withLock(name, () => {
          api.server.faults.inject({ kind: 'status', code: 500 }, { name });
          return work();
        })
        .then((value) => {
          throw new Error(`resolved with ${value}`);
        }),
    );
    expect(outcome).toMatchObject({
      message: _ === 'the error' ? 'the work failed' : 'resolved with done',
    });
    expect(service.eventTypes()).toMatch(/^acquired released backend-error/);
  });

  it('aborts the signal at a loss, and rejects nothing by it', async () => {
    const name = newName();
    const service = await api.service({ renewInterval: 20 });
    const admin = await api.service();
    const result = await service.withLock(name, async (lock) => {
      await admin.forceRelease(name);
      expect(await aborted(lock.signal)).toBeInstanceOf(LockLostError);
      expect(() => lock.assertHeld()).toThrow(LockLostError);
      expect(() => lock.assertHeld()).toThrow('its release was forced');
      return 'all the same';
    });
    expect(result).toBe('all the same');
    expect(service.eventTypes()).toMatch(/^acquired( renewed)* lost released$/);
  });

  it('passes the error of the work on when its lock was lost', async () => {
    const name = newName();
    const service = await api.service({ renewInterval: 20 });
    const admin = await api.service();
    const work = service.withLock(name, async (lock) => {
      await admin.forceRelease(name);
      await aborted(lock.signal);
      throw new Error('the work failed');
    });
    await expect(work).rejects.toThrow('the work failed');
  });

  it('does not run the work without the lock', async () => {
    const name = newName();
    await (await api.service()).acquire(name);
    const service = await api.service();
    let hasRun = false;
    const error = await failure(
      service.withLock(name, { waitTimeout: 0 }, () => {
        hasRun = true;
      }),
    );
    expect(error).toBeInstanceOf(LockNotAcquiredError);
    expect(hasRun).toBe(false);
  });
});

describe('nesting', () => {
  it('the same lock is shared, and its release by one of two leaves it to the other', async () => {
    const name = newName();
    const service = await api.service();
    await service.withLock(name, async (outer) => {
      await service.withLock(name, async (inner) => {
        expect(inner.fencingToken).toBe(outer.fencingToken);
        expect(inner.holderIdentity).toBe(outer.holderIdentity);
        expect(currentLock()).toBe(inner);
        await inner.release();
        expect(inner.isHeld).toBe(false);
        expect(currentLock()).toBe(outer);
      });
      expect(currentLock()).toBe(outer);
      expect(outer.isHeld).toBe(true);
      expect(api.spec(name).holderIdentity).toBe(outer.holderIdentity);
    });
    expect(service.eventTypes()).toBe('acquired released');
  });

  it('the same lock under another, too', async () => {
    const [a, b] = [newName(), newName()];
    const service = await api.service();
    await service.withLock(a, (outer) =>
      service.withLock(b, () =>
        service.withLock(a, (inner) => {
          expect(inner.fencingToken).toBe(outer.fencingToken);
        }),
      ),
    );
    expect(service.eventTypes()).toBe('acquired acquired released released');
  });

  it('rejects with LockLostError under a lock that was lost', async () => {
    const name = newName();
    const service = await api.service({ maxHold: 20 });
    await service.withLock(name, async (lock) => {
      await aborted(lock.signal);
      const error = await failure(service.withLock(name, () => undefined));
      expect(error).toBeInstanceOf(LockLostError);
    });
  });

  it('is not what goes on after the lock was released: that takes the lock anew', async () => {
    const name = newName();
    const service = await api.service();
    const isReleased = service.next('released');
    const { token, later } = await service.withLock(name, (lock) => ({
      token: lock.fencingToken,
      later: isReleased.then(() =>
        service.withLock(name, ({ fencingToken }) => fencingToken),
      ),
    }));
    expect(await later).toBeGreaterThan(token);
  });

  it('acquire() always acquires the lock anew, and shares no handle', async () => {
    const name = newName();
    const service = await api.service();
    await service.withLock(name, async () => {
      const error = await failure(service.acquire(name, { waitTimeout: 10 }));
      expect(error).toMatchObject({ reason: 'timeout' });
    });
  });
});

describe('the handle', () => {
  it('is released by await using', async () => {
    const name = newName();
    const service = await api.service();
    {
      await using lock = await service.acquire(name);
      expect(lock).toMatchObject({
        name,
        namespace: 'default',
        leaseName: name,
        isHeld: true,
      });
    }
    expect(api.spec(name)).not.toHaveProperty('holderIdentity');
    expect(service.eventTypes()).toBe('acquired released');
  });

  it('says after its release that it was released, and does not abort its signal', async () => {
    const service = await api.service();
    const lock = await service.acquire(newName());
    await lock.release();
    await lock.release();
    expect(lock.isHeld).toBe(false);
    expect(lock.signal.aborted).toBe(false);
    expect(() => lock.assertHeld()).toThrow('it was released');
    expect(service.eventTypes()).toBe('acquired released');
  });

  it('has tokens that increase, also when the Lease was deleted in between', async () => {
    const name = newName();
    const service = await api.service({ deleteOnRelease: true });
    let last = 0n;
    for (let i = 0; i < 10; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const lock = await service.acquire(name);
      expect(lock.fencingToken).toBeGreaterThan(last);
      last = lock.fencingToken;
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await lock.release();
    }
  });
});

describe('inspect, list and forceRelease', () => {
  it('list free and held locks, with their holders', async () => {
    const service = await api.service({ namespace: 'looked-at' });
    const free = newName();
    await expect(service.inspect(free)).resolves.toMatchObject({
      state: 'free',
      exists: false,
    });
    await (await service.acquire(free)).release();
    const lock = await service.acquire('Ünreadable name');
    await service.acquire('for-ever', { leaseDuration: 'infinite' });

    await expect(service.inspect(free)).resolves.toEqual({
      state: 'free',
      exists: true,
      name: free,
      namespace: 'looked-at',
      leaseName: free,
      transitions: 0,
      waiting: [],
      version: expect.stringMatching(/^\d+$/),
    });
    const states = await service.list();
    expect(states).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ name: free, state: 'free' }),
        expect.objectContaining({
          name: 'Ünreadable name',
          leaseName: lock.leaseName,
          state: 'held',
          holder: lock.holderIdentity,
          since: expect.any(Date),
          until: expect.any(Date),
          leaseDuration: 15_000,
        }),
        expect.objectContaining({
          name: 'for-ever',
          state: 'held',
          until: undefined,
        }),
      ]),
    );
    expect(states).toHaveLength(3);
  });

  it('keep listing a foreign Lease once it has been a lock', async () => {
    const service = await api.service({ namespace: 'of-others' });
    const [used, unused] = [newName(), newName()];
    const store = new KubernetesLeaseStore({
      kubeConfig: await api.server.kubeConfig(),
      requestTimeout: 5_000,
    });
    for (const name of [used, unused]) {
      const key = { namespace: 'of-others', name };
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await store.create(key, { metadata: { name }, spec: {} });
    }
    store.close();
    expect(await service.list()).toEqual([]);
    await (await service.acquire(used)).release();
    expect(await service.list()).toEqual([
      expect.objectContaining({ name: used, state: 'free' }),
    ]);
    await service.forceRelease(used);
    await (await service.acquire(used, { minHold: 1 })).release();
    expect(await service.list()).toHaveLength(1);
  });

  it('a forced release returns the evicted holder, which learns of it', async () => {
    const name = newName();
    const holder = await api.service({ renewInterval: 20 });
    const lock = await holder.acquire(name);
    const lost = holder.next('lost');
    const admin = await api.service();

    await expect(admin.forceRelease(name)).resolves.toMatchObject({
      state: 'held',
      holder: lock.holderIdentity,
    });
    expect((await lost).reason).toMatch(/^(freed|taken)$/);
    await expect(admin.forceRelease(name)).resolves.toBeUndefined();
    await expect(admin.acquire(name)).resolves.toMatchObject({ isHeld: true });
  });

  it('a forced release does not evict a holder that came meanwhile', async () => {
    const name = newName();
    const service = await api.service();
    const victim = await service.acquire(name);
    const admin = await api.service();
    const conflict = api.server.faults.inject(
      { kind: 'hold', when: 'before' },
      { name, verb: 'update', times: 1 },
    );
    const forced = admin.forceRelease(name);
    await conflict.hit();
    await victim.release();
    const next = await service.acquire(name);
    conflict.release();
    await expect(forced).resolves.toBeUndefined();
    expect(api.spec(name).holderIdentity).toBe(next.holderIdentity);
  });
});

describe('events', () => {
  it('of a wait: waiting, acquired with how long it took, released with how long it was held', async () => {
    const name = newName();
    const first = await (await api.service()).acquire(name);
    const service = await api.service();
    const acquired = service.acquire(name);
    await service.next('waiting');
    await first.release();
    const lock = await acquired;
    await lock.release();

    expect(service.seen).toEqual([
      { type: 'waiting', name, namespace: 'default', leaseName: name },
      expect.objectContaining({
        type: 'acquired',
        fencingToken: lock.fencingToken,
        waited: expect.any(Number),
      }),
      expect.objectContaining({
        type: 'released',
        fencingToken: lock.fencingToken,
        held: expect.any(Number),
      }),
    ]);
  });

  it('of a try in vain: skipped, with the holder', async () => {
    const name = newName();
    const lock = await (await api.service()).acquire(name);
    const service = await api.service();
    await expect(service.tryAcquire(name)).resolves.toBeUndefined();
    expect(service.seen).toEqual([
      expect.objectContaining({
        type: 'skipped',
        name,
        holder: lock.holderIdentity,
      }),
    ]);
  });

  it('complete with the shutdown', async () => {
    const service = await api.service();
    await service.acquire(newName());
    await clientOf(service)!.shutdown();
    expect(service.eventTypes()).toBe('acquired lost released');
    expect(service.hasCompleted).toBe(true);
    await expect(service.acquire(newName())).rejects.toMatchObject({
      reason: 'shutdown',
    });
  });
});

describe('messages', () => {
  it('hold no secrets: neither token, nor header, nor body', async () => {
    const name = newName();
    const service = await api.service({
      kubeConfig: await api.server.kubeConfig({ user: 's3cr3t-token' }),
    });
    api.server.faults.inject(
      { kind: 'answer', code: 403, body: '{"message":"s3cr3t-body"}' },
      { name },
    );
    const error = await failure(service.acquire(name));
    expect(error).toMatchObject({ reason: 'forbidden' });
    const told = [
      String(error),
      error.stack,
      JSON.stringify(error),
      String(error.cause),
    ].join('\n');
    expect(told).not.toContain('s3cr3t');
    expect(told).toContain(name);
  });

  it('say that the holder is this process, which may wait for itself', async () => {
    const name = newName();
    const [service, other] = [await api.service(), await api.service()];
    await using _ = await service.acquire(name);
    for (const options of [{ waitTimeout: 20 }, { waitTimeout: 0 }]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const error = await failure(service.acquire(name, options));
      expect(error.message).toContain(
        'it is held by another call of this process',
      );
      expect(error).toMatchObject({
        isOwnProcess: true,
        explanation: expect.stringContaining('it waits for itself'),
      });
    }
    const foreign = await failure(other.acquire(name, { waitTimeout: 1_000 }));
    expect(foreign).toMatchObject({ isOwnProcess: false });
    expect(foreign.message).toContain('another request or process');
  });

  it('escape control characters, of the lock’s name and of the holder', async () => {
    const service = await api.service();
    const name = 'a\nb\u001B[31m\u202Ec';
    const lock = await service.acquire(name);
    await lock.release();
    const fault = await failure(
      service.withLock(name, async (held) => {
        await held.release();
        held.assertHeld();
      }),
    );
    const told = inspect(fault);
    expect(`${fault.message}${told}`).not.toMatch(/[\p{C}]/u);
    expect(told).toContain(`(Lease default/a-b-31m-c--`);
  });

  it.each<string>(JSON.parse('["", null, 7]'))(
    'name the fault of a name that is %j',
    async (name) => {
      const service = await api.service();
      const error = await failure(service.acquire(name));
      expect(error).toBeInstanceOf(LockConfigurationError);
      expect(error).toMatchObject({
        message: expect.stringContaining(
          'a lock name must be a non-empty string',
        ),
      });
    },
  );
});
