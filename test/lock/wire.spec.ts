/** The requests and connections of each operation, counted at the API server. */
import { clientOf } from '../../lib/lock.client.js';
import { describe, expect, it } from 'vitest';
import { useApi } from './lock-services.js';

const api = useApi();

describe('on the wire', () => {
  it('a cold acquisition of a Lease that does not exist is a look and a creation', async () => {
    const service = await api.service();
    await service.acquire('new');
    // The creation names the Lease in its body only.
    expect(api.verbs('new')).toBe('get');
    expect(api.server.requests.all().at(-1)).toMatchObject({
      verb: 'create',
      status: 201,
    });
  });

  it('a cold acquisition of a free Lease is two requests, a warm one is one, a release is one', async () => {
    await (await (await api.service()).acquire('cycle')).release();
    const service = await api.service();
    api.server.requests.clear();

    const first = await service.acquire('cycle');
    expect(api.verbs('cycle')).toBe('get update');
    await first.release();
    expect(api.verbs('cycle')).toBe('get update update');
    const second = await service.acquire('cycle');
    expect(api.verbs('cycle')).toBe('get update update update');
    await second.release();
    expect(api.server.requests.count()).toBe(5);
  });

  it('a renewal is one request', async () => {
    const service = await api.service({ renewInterval: 50 });
    const lock = await service.acquire('renewed');
    await service.next('renewed');
    await service.next('renewed');
    await lock.release();

    const renewals = service.seen.filter(({ type }) => type === 'renewed');
    const updates = api.server.requests.count({
      name: 'renewed',
      verb: 'update',
    });
    // One more for the release, and at most one for a renewal that was on its way.
    expect(updates - 1 - renewals.length).toBeLessThanOrEqual(1);
    expect(api.server.requests.count({ name: 'renewed', verb: 'get' })).toBe(1);
  });

  it('a handover within the process is one request', async () => {
    const service = await api.service();
    const first = await service.acquire('handover');
    const isWaiting = service.next('waiting');
    const next = service.acquire('handover');
    await isWaiting;
    api.server.requests.clear();
    await first.release();
    await next;
    expect(api.verbs('handover')).toBe('update');
  });

  it('a try is one request when the lock is held, two when it is free and was never seen', async () => {
    await (await api.service()).acquire('tried');
    const service = await api.service();
    api.server.requests.clear();
    await expect(service.tryAcquire('tried')).resolves.toBeUndefined();
    expect(api.verbs('tried')).toBe('get');
  });

  it('1,000 cycles are 2,001 requests over at most 3 connections', async () => {
    const service = await api.service();
    await (await service.acquire('busy')).release();
    await clientOf(service)!.shutdown();
    const fresh = await api.service();
    api.server.requests.clear();
    for (let i = 0; i < 1_000; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one cycle after the other
      await (await fresh.acquire('busy')).release();
    }

    expect(api.server.requests.count()).toBe(2_001);
    expect(api.server.requests.connections()).toBeLessThanOrEqual(3);
  });
});

describe('on the wire, a skip on an observed lock', () => {
  it('is one request when the lock is free', async () => {
    await (await (await api.service()).acquire('observed')).release();
    const service = await api.service();
    const watching = api.server.requests.next({ verb: 'watch' });
    await clientOf(service)!.observe('observed', {});
    await watching;
    api.server.requests.clear();

    await expect(
      clientOf(service)!.acquireForMethod({
        name: 'observed',
        onLocked: 'skip',
        options: {},
      }),
    ).resolves.toMatchObject({
      isHeld: true,
    });
    expect(api.verbs('observed')).toBe('update');
  });

  it('is none when its holder is alive', async () => {
    const holder = await api.service({ leaseDuration: 60_000 });
    const service = await api.service();
    await (await holder.acquire('alive')).release();
    const watching = api.server.requests.next({ verb: 'watch' });
    await clientOf(service)!.observe('alive', {});
    await watching;
    // Seen by the watch as it happens.
    await holder.acquire('alive');
    await expect
      .poll(async () => {
        api.server.requests.clear();
        await clientOf(service)!.acquireForMethod({
          name: 'alive',
          onLocked: 'skip',
          options: {},
        });
        return api.server.requests.count();
      })
      .toBe(0);
    expect(service.seen.at(-1)).toMatchObject({
      type: 'skipped',
      holder: expect.stringContaining('_'),
    });
  });
});
