/** A process caches the Leases that it has used lately, so that an acquire costs one request; those in use are never dropped. */
import { describe, expect, it, vi } from 'vitest';
import { LocalLease } from '../../lib/lock/lease/local-lease.js';
import { Cluster } from './processes.js';

describe('a process that has used more Leases than it knows', () => {
  it('forgets those that it has not used for the longest, and none in use', async () => {
    const pod = new Cluster().process('pod');
    await pod.acquire('held');
    for (let i = 0; i < 1_100; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await (await pod.acquire(`used-${i}`)).release();
    }
    const requestsFor = async (act: () => Promise<unknown>) => {
      const before = pod.store.requests.length;
      await act();
      return pod.store.requests.slice(before).map(({ verb }) => verb);
    };
    const tryHeld = () => expect(pod.try('held')).rejects.toThrow('held');
    expect(await requestsFor(tryHeld)).toEqual([]);
    expect(await requestsFor(() => pod.acquire('used-1099'))).toEqual([
      'update',
    ]);
    expect(await requestsFor(() => pod.acquire('used-0'))).toEqual([
      'get',
      'update',
    ]);
  });

  it('finds those without going through all that are in use', async () => {
    const pod = new Cluster().process('pod');
    const looks = vi.spyOn(LocalLease.prototype, 'isIdle', 'get');
    for (let i = 0; i < 1_500; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await pod.acquire(`held-${i}`);
    }
    expect(looks.mock.calls.length).toBeLessThanOrEqual(2 * 500);
    looks.mockRestore();
  });
});
