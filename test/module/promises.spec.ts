/** Promises of the manual that no example shows and no other suite tests. */
import { Controller, Get, UseGuards, type CanActivate } from '@nestjs/common';
import { describe, expect, it } from 'vitest';
import { LockNotAcquiredError, WithLeaseLock } from '../../lib/index.js';
import { startLockApp } from '../decorators/lock-app.js';
import { eventually } from '../support/eventually.js';
import { aborted } from '../support/aborted.js';

describe('LockService', () => {
  it('names the Lease like the lock where it can, and never two alike', async () => {
    await using fixture = await startLockApp({});
    const leaseNameOf = async (name: string) =>
      (await fixture.locks.inspect(name)).leaseName;
    expect(await leaseNameOf('order-7')).toBe('order-7');
    expect(await leaseNameOf('Order #7')).toMatch(/^order-7--[0-9a-f]{32}$/);
    expect(await leaseNameOf('Order #7')).not.toBe(
      await leaseNameOf('order #7'),
    );
  });

  it('takes a dead holder that it sees for the first time for alive, in tryAcquire', async () => {
    await using fixture = await startLockApp({});
    const dead = { autoRenew: false, leaseDuration: 1_000, safetyMargin: 0 };
    const { signal } = await fixture.others.acquire('import', dead);
    await eventually(() => expect(signal.aborted).toBe(true));
    expect(await fixture.locks.tryAcquire('import')).toBeUndefined();
    const acquired = await eventually(async () => {
      const lock = await fixture.locks.tryAcquire('import');
      expect(lock).toBeDefined();
      return lock;
    });
    await acquired?.release();
  });

  it('waits for itself in acquire under the same lock', async () => {
    await using fixture = await startLockApp({});
    await using _ = await fixture.locks.acquire('import');
    await expect(
      fixture.locks.acquire('import', { waitTimeout: 20 }),
    ).rejects.toThrow(LockNotAcquiredError);
  });

  it('sends the stated number of requests', async () => {
    await using fixture = await startLockApp({});
    const { server, locks, others } = fixture;
    const count = async (work: () => Promise<unknown>) => {
      server.requests.clear();
      await work();
      return server.requests.count({ resource: 'leases' });
    };
    const acquireAndRelease = async () => {
      await using _ = await locks.acquire('import');
    };
    expect(await count(acquireAndRelease)).toBe(3);
    expect(await count(acquireAndRelease)).toBe(2);
    const other = await others.acquire('import');
    expect(await locks.tryAcquire('import')).toBeUndefined();
    await other.release();
    expect(await count(acquireAndRelease)).toBe(3);
  });
});

describe('the options', () => {
  it('autoRenew: false loses the lock safetyMargin before leaseDuration is over', async () => {
    await using fixture = await startLockApp({});
    const before = performance.now();
    const { signal } = await fixture.locks.acquire('import', {
      autoRenew: false,
      leaseDuration: 10_000,
      safetyMargin: 9_900,
    });
    await aborted(signal);
    const held = performance.now() - before;
    expect(held).toBeGreaterThanOrEqual(100);
    expect(held).toBeLessThan(10_000);
  });

  it('deleteOnRelease deletes the Lease, but not one that minHold keeps taken', async () => {
    await using fixture = await startLockApp({});
    for (const [name, minHold] of [
      ['short', 0],
      ['long', 60_000],
    ] as const) {
      const options = { deleteOnRelease: true, minHold };
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await (await fixture.locks.acquire(name, options)).release();
    }
    expect(
      fixture.server.leases().map(({ metadata }) => metadata.name),
    ).toEqual(['long']);
  });
});

it('a pod that starts while minHold lasts knows that the run is over', async () => {
  class Jobs {
    @WithLeaseLock('job', { onLocked: 'skip' })
    async run(): Promise<string | undefined> {
      return 'ran';
    }
  }
  await using first = await startLockApp({});
  const { server, locks } = first;
  await (await locks.acquire('job', { minHold: 60_000 })).release();
  await using second = await startLockApp({ providers: [Jobs] }, { server });
  expect(await second.app.get(Jobs).run()).toBeUndefined();
});

it('guards run before the lock is taken', async () => {
  class Nobody implements CanActivate {
    canActivate(): boolean {
      return false;
    }
  }
  @Controller()
  class Routes {
    @WithLeaseLock('import')
    @Get('import')
    @UseGuards(Nobody)
    async import() {}
  }
  await using fixture = await startLockApp({ controllers: [Routes] });
  expect((await fixture.request('import')).status).toBe(403);
  expect(fixture.server.requests.count()).toBe(0);
});
