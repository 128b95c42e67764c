/** Re-entrancy: which calls share a lock with its holder, until when, and which do not. */
import { clientOf } from '../../lib/lock.client.js';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { LockLostError, LockNotAcquiredError } from '../../lib/lock.errors.js';
import { currentLock } from '../../lib/lock/hold/current-lock.js';
import type { LeaseLock } from '../../lib/lock/hold/lease-lock.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { defer } from '../decorators/lock-app.js';
import { TestService, useApi } from './lock-services.js';
import { aborted } from '../support/aborted.js';

const api = useApi();
let names = 0;
const newName = () => `reentrant-${(names += 1)}`;

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => expect.fail('it was to fail'),
    (error: unknown) => error,
  );

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

describe('work that outlives the work which started it', () => {
  it('keeps the lock until it has ended, too', async () => {
    const name = newName();
    const [service, other] = [await api.service(), await api.service()];
    const slow = defer();
    const begun = defer<LeaseLock>();
    let inner: Promise<unknown> | undefined;
    const outer = await service.withLock(name, async (lock) => {
      inner = service.withLock(name, async (shared) => {
        begun.resolve(shared);
        await slow.promise;
        shared.assertHeld();
      });
      await begun.promise;
      return lock;
    });
    const shared = await begun.promise;
    expect(outer.isHeld).toBe(false);
    expect(() => outer.assertHeld()).toThrow(LockLostError);
    expect(shared.isHeld).toBe(true);
    expect(api.spec(name).holderIdentity).toBe(shared.holderIdentity);
    expect(await other.tryAcquire(name)).toBeUndefined();
    expect(service.eventTypes()).toBe('acquired');

    slow.resolve();
    await inner;
    expect(service.eventTypes()).toBe('acquired released');
    await using _ = await other.acquire(name);
  });

  it('shares the lock even if the work ends in the turn of the call', async () => {
    const name = newName();
    const service = await api.service();
    let inner: Promise<bigint> | undefined;
    const outer = await service.withLock(name, ({ fencingToken }) => {
      inner = service.withLock(name, (lock) => lock.fencingToken);
      return fencingToken;
    });
    expect(await inner).toBe(outer);
    expect(service.eventTypes()).toBe('acquired released');
  });

  it('does not keep the lock for a call for another one', async () => {
    const [a, b] = [newName(), newName()];
    const [service, others] = [await api.service(), await api.service()];
    const theirs = await others.acquire(b);
    let inner: Promise<unknown> | undefined;
    await service.withLock(a, () => {
      inner = service.withLock(b, () => undefined);
    });
    const meanwhile = await others.acquire(a);
    expect(meanwhile.isHeld).toBe(true);
    await meanwhile.release();
    await theirs.release();
    await inner;
  });

  it('shares the lock with what it starts itself', async () => {
    const name = newName();
    const service = await api.service();
    const [begun, outerEnded] = [defer(), defer()];
    let inner: Promise<unknown> | undefined;
    await service.withLock(name, (outer) => {
      inner = service.withLock(name, async () => {
        begun.resolve();
        await outerEnded.promise;
        await service.withLock(name, (lock) => {
          expect(lock.fencingToken).toBe(outer.fencingToken);
        });
      });
      return begun.promise;
    });
    outerEnded.resolve();
    await inner;
    expect(service.eventTypes()).toBe('acquired released');
  });

  it('hears of a loss', async () => {
    const name = newName();
    const [service, other] = [await api.service(), await api.service()];
    const begun = defer();
    let inner: Promise<unknown> | undefined;
    await service.withLock(
      name,
      { leaseDuration: 1_000, renewInterval: 50 },
      () => {
        inner = service.withLock(name, (lock) => {
          begun.resolve();
          return aborted(lock.signal);
        });
        return begun.promise;
      },
    );
    await other.forceRelease(name);
    expect(await inner).toMatchObject({ reason: 'freed' });
  });

  it('hears of a shutdown', async () => {
    const name = newName();
    const service = await api.service({ shutdownTimeout: 10_000 });
    const begun = defer<LeaseLock>();
    let inner: Promise<unknown> | undefined;
    await service.withLock(name, async () => {
      inner = service.withLock(name, (lock) => {
        begun.resolve(lock);
        return aborted(lock.signal);
      });
      await begun.promise;
    });
    await clientOf(service)!.shutdown();
    await inner;
    expect(api.spec(name).holderIdentity).toBeUndefined();
  });
});

describe('a lock is not shared', () => {
  it('by two services: each has a cluster', async () => {
    const name = newName();
    const [eu, us, others] = [
      await api.service(),
      await api.service(),
      await api.service(),
    ];
    await using elsewhere = await LeaseApiServer.start();
    const inUs = new TestService({
      kubeConfig: await elsewhere.kubeConfig(),
      shutdownTimeout: 0,
    });
    const theirs = await others.acquire(name);
    await expect(
      inUs.withLock(name, () =>
        us.withLock(name, { waitTimeout: 0 }, () => expect.fail('it runs')),
      ),
    ).rejects.toBeInstanceOf(LockNotAcquiredError);
    await theirs.release();
    await expect(
      eu.withLock(name, () =>
        us.withLock(name, { waitTimeout: 0 }, () => expect.fail('it runs')),
      ),
    ).rejects.toBeInstanceOf(LockNotAcquiredError);
    await clientOf(inUs)!.shutdown();
  });

  it('under reentrant: false, of the holder or of the call', async () => {
    const name = newName();
    const service = await api.service();
    const own = { reentrant: false };
    for (const [outer, inner] of [
      [own, {}],
      [{}, own],
    ]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const error = await service.withLock(name, outer!, () =>
        failure(
          service.withLock(name, { ...inner, waitTimeout: 0 }, () => undefined),
        ),
      );
      expect(error).toBeInstanceOf(LockNotAcquiredError);
    }
  });

  it('with the jobs of a queue that the holder has set going, under reentrant: false', async () => {
    const name = newName();
    const service = await api.service();
    const jobs: (() => Promise<void>)[] = [];
    const runAll = async (): Promise<void> => {
      for (let job = jobs.shift(); job; job = jobs.shift()) {
        // oxlint-disable-next-line no-await-in-loop -- as queues do
        await job();
      }
    };
    let inside = 0;
    const section = async (): Promise<void> => {
      inside += 1;
      expect(inside).toBe(1);
      await new Promise(setImmediate);
      inside -= 1;
    };
    const ended: Promise<unknown>[] = [];
    jobs.push(() => {
      ended.push(service.withLock(name, { reentrant: false }, section));
      return Promise.resolve();
    });
    await service.withLock(name, async () => {
      await runAll();
      await section();
    });
    await Promise.all(ended);
    expect(ended).toHaveLength(1);
  });

  it('with a call whose signal is aborted', async () => {
    const name = newName();
    const service = await api.service();
    const error = await service.withLock(name, () =>
      failure(
        service.withLock(name, { signal: AbortSignal.abort('gone') }, () =>
          expect.fail('it runs'),
        ),
      ),
    );
    expect(error).toBe('gone');
  });
});

describe('what runs on after the release', () => {
  it('is under no lock, or under the one around it', async () => {
    const [a, b] = [newName(), newName()];
    const service = await api.service();
    const inTimer = defer<string | undefined>();
    await service.withLock(a, async () => {
      const released = service.next('released');
      await service.withLock(b, () => {
        void released.then(() =>
          setImmediate(() => inTimer.resolve(currentLock()?.name)),
        );
      });
      expect(await inTimer.promise).toBe(a);
    });
    const later = defer<LeaseLock | undefined>();
    const released = service.next('released');
    await service.withLock(a, () => {
      void released.then(() =>
        setImmediate(() => later.resolve(currentLock())),
      );
    });
    expect(await later.promise).toBeUndefined();
  });

  it.each([
    ['under the same lock', 0, () => 'same'],
    ['under locks in turn', 0, (call: number) => `turn-${call % 2}`],
    ['while two before it run', 2, (call: number) => `turn-${call % 5}`],
    ['before the lock is released', 1, (call: number) => `turn-${call % 2}`],
  ])('may plan its own next call %s, for ever', async (_, overlap, nameOf) => {
    const CALLS = 300;
    const service = await api.service();
    const prefix = newName();
    const remembered: WeakRef<object>[] = [];
    const last = defer();
    /** Ends a call that goes on until a later one has begun. */
    const ends = new Map<number, () => void>();
    const run = (call: number): Promise<void> =>
      service.withLock(`${prefix}-${nameOf(call)}`, async (lock) => {
        const scopes: Set<object> = Reflect.get(lock, 'scopes');
        remembered.push(...[lock, ...scopes].map((each) => new WeakRef(each)));
        ends.get(call - overlap)?.();
        ends.delete(call - overlap);
        if (call === CALLS) {
          ends.forEach((end) => end());
          collectGarbage();
          await new Promise(setImmediate);
          collectGarbage();
          last.resolve();
          return;
        }
        setImmediate(() => void run(call + 1));
        if (overlap > 0) {
          await new Promise<void>((resolve) => ends.set(call, resolve));
        }
      });
    await run(1);
    await last.promise;
    const alive = remembered.filter((each) => each.deref() !== undefined);
    expect(remembered.length).toBe(2 * CALLS);
    expect(alive.length).toBeLessThan(50);
  });
});
