/** What a handle shows of itself: in JSON and on the console it is one readable object. */
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { LeaseLock } from '../../lib/lock/hold/lease-lock.js';
import { LockHandle, JoinedLock } from '../../lib/lock/hold/lock-handle.js';
import { useApi } from './lock-services.js';

const api = useApi();

/** Of each kind of handle one. */
const HANDLES: Record<string, () => Promise<LeaseLock>> = {
  'of acquire()': async () => (await api.service()).acquire('shown'),
  'of tryAcquire()': async () =>
    (await (await api.service()).tryAcquire('shown'))!,
  'of withLock()': async () =>
    (await api.service()).withLock('shown', (lock) => lock),
  'that was borrowed': async () => {
    const service = await api.service();
    return service.withLock('shown', () =>
      service.withLock('shown', (lock) => lock),
    );
  },
  'of several locks': async () => {
    const service = await api.service();
    const locks = [
      await service.acquire('other'),
      await service.acquire('shown'),
    ];
    return new JoinedLock(locks.filter((lock) => lock instanceof LockHandle));
  },
};

describe.each(Object.entries(HANDLES))('a handle %s', (_, make) => {
  it('is one readable object', async () => {
    const lock = await make();
    const { namespace, holderIdentity, fencingToken, isHeld } = lock;
    const shown = {
      name: 'shown',
      namespace,
      leaseName: 'shown',
      holderIdentity,
      fencingToken: String(fencingToken),
      isHeld,
    };
    expect(JSON.parse(JSON.stringify({ lock }))).toEqual({ lock: shown });
    expect(inspect(lock)).toBe(`LeaseLock ${inspect(shown)}`);
    expect(inspect({ lock }).split('\n').length).toBeLessThan(12);
    expect(
      inspect({ in: { a: { deep: { object: { lock } } } } }),
    ).not.toContain('holderIdentity');
    expect(lock).toBeInstanceOf(LeaseLock);
    await lock.release();
    expect(lock.toJSON().isHeld).toBe(false);
  });
});
