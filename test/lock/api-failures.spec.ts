/** Failures of the API server and the network, over HTTP: an acquire retries while there is time, a holder until its deadline. */
import { assert, describe, expect, it } from 'vitest';
import { LockBackendError, LockLostError } from '../../lib/lock.errors.js';
import type { Fault } from '../../lib/testing/index.js';
import { useApi } from './lock-services.js';

const api = useApi();
let names = 0;
const newName = (): string => `lock-${++names}`;

const PASSING: [string, Fault][] = [
  ['409', { kind: 'status', code: 409 }],
  ['409 though it was applied', { kind: 'status', code: 409, when: 'after' }],
  ['429', { kind: 'status', code: 429 }],
  ['500', { kind: 'status', code: 500 }],
  ['500 though it was applied', { kind: 'status', code: 500, when: 'after' }],
  ['503', { kind: 'status', code: 503 }],
  ['an answer that is not JSON', { kind: 'answer', body: '<html>' }],
  ['a connection that breaks before', { kind: 'drop', when: 'before' }],
  ['a connection that breaks after', { kind: 'drop', when: 'after' }],
  ['half of an answer', { kind: 'drop', when: 'mid-answer' }],
];

const FINAL: [number, string][] = [
  [401, 'unauthorized'],
  [403, 'forbidden'],
  [422, 'invalid'],
];

/** A Lease that is there and free. */
async function freeLease(): Promise<string> {
  const name = newName();
  await (await (await api.service()).acquire(name)).release();
  return name;
}

describe('while acquiring', () => {
  it.each(PASSING)('%s is survived', async (_, fault) => {
    const name = await freeLease();
    const service = await api.service();
    const met = api.server.faults.inject(fault, {
      name,
      verb: 'update',
      times: 1,
    });
    const lock = await service.acquire(name);

    expect(met.hits).toBe(1);
    expect(api.spec(name).holderIdentity).toBe(lock.holderIdentity);
    await lock.release();
    expect(api.spec(name)).not.toHaveProperty('holderIdentity');
  });

  it('a time-out is survived', async () => {
    const name = await freeLease();
    const service = await api.service({ requestTimeout: 100 });
    api.server.faults.inject(
      { kind: 'hold', when: 'after' },
      { name, verb: 'update', times: 1 },
    );
    const lock = await service.acquire(name);
    expect(api.spec(name).holderIdentity).toBe(lock.holderIdentity);
    expect(service.seen).toContainEqual(
      expect.objectContaining({
        type: 'backend-error',
        operation: 'acquire',
        error: expect.objectContaining({ reason: 'timeout' }),
      }),
    );
  });

  it.each([429, 503])('%d: Retry-After is honoured', async (code) => {
    const name = await freeLease();
    const service = await api.service();
    const met = api.server.faults.inject(
      { kind: 'status', code, retryAfter: 1 },
      { name, verb: 'update', times: 1 },
    );
    const acquired = service.acquire(name);
    const refused = await met.hit();
    const again = await api.server.requests.next({ name });
    await acquired;
    expect(again.at - refused.at).toBeGreaterThanOrEqual(990);
  });

  it('a pause that the API server asks for holds for all calls of the process, and for no renewal', async () => {
    const service = await api.service();
    await service.acquire(newName(), { renewInterval: 100 });
    const [refused, other] = [await freeLease(), await freeLease()];
    const met = api.server.faults.inject(
      { kind: 'status', code: 429, retryAfter: 2 },
      { name: refused, verb: 'update', times: 1 },
    );
    const acquired = service.acquire(refused);
    const { at } = await met.hit();
    await service.next('backend-error');
    const next = api.server.requests.next({ name: other });
    const otherAcquired = service.acquire(other);
    await service.next('renewed');
    await service.next('renewed');
    expect((await next).at - at).toBeGreaterThanOrEqual(1_990);
    await Promise.all([acquired, otherAcquired]);
  });

  it('a call that does not wait fails at once in a pause that is longer than a request may take', async () => {
    const service = await api.service();
    const [refused, other] = [newName(), newName()];
    api.server.faults.inject(
      { kind: 'status', code: 429, retryAfter: 60 },
      { name: refused },
    );
    await expect(service.tryAcquire(refused)).rejects.toMatchObject({
      reason: 'throttled',
    });
    const error: unknown = await service
      .tryAcquire(other)
      .catch((e: unknown) => e);
    assert(error instanceof LockBackendError);
    expect(error).toMatchObject({
      reason: 'throttled',
      explanation: expect.stringContaining(
        'the API server has refused another request and asked this process to pause (Retry-After): ',
      ),
    });
    expect(error.retryAfter).toBeGreaterThan(30);
    expect(api.verbs(other)).toBe('');
  });

  it.each(FINAL)('%d fails at once', async (code, reason) => {
    const name = newName();
    const service = await api.service();
    api.server.faults.inject({ kind: 'status', code }, { name });
    const error: unknown = await service.acquire(name).catch((e: unknown) => e);

    expect(error).toBeInstanceOf(LockBackendError);
    expect(error).toMatchObject({ reason, backendStatus: code });
    expect(api.verbs(name)).toBe('get');
  });

  it('goes on until waitTimeout, and then says what the matter is', async () => {
    const name = newName();
    const service = await api.service();
    api.server.faults.inject({ kind: 'status', code: 500 }, { name });
    await expect(
      service.acquire(name, { waitTimeout: 500 }),
    ).rejects.toMatchObject({ reason: 'server', backendStatus: 500 });
    expect(api.server.requests.count({ name })).toBeGreaterThan(1);
  });

  it.each(['tryAcquire', 'acquire'] as const)(
    '%s with no time to wait rejects at the first failure',
    async (call) => {
      const name = newName();
      const service = await api.service();
      api.server.faults.inject({ kind: 'status', code: 500 }, { name });
      const failed =
        call === 'tryAcquire'
          ? service.tryAcquire(name)
          : service.acquire(name, { waitTimeout: 0 });
      await expect(failed).rejects.toMatchObject({ reason: 'server' });
      expect(api.verbs(name)).toBe('get');
    },
  );
});

describe('while holding', () => {
  it.each([
    ...PASSING,
    ...FINAL.map(([code]): [string, Fault] => [
      String(code),
      { kind: 'status', code },
    ]),
  ])('%s does not cost the lock', async (_, fault) => {
    const name = newName();
    const service = await api.service({
      leaseDuration: 30_000,
      renewInterval: 50,
    });
    const lock = await service.acquire(name);
    const met = api.server.faults.inject(fault, {
      name,
      verb: 'update',
      times: 2,
    });
    await met.hit(2);
    await service.next('renewed');

    expect(lock.isHeld).toBe(true);
    expect(api.spec(name).holderIdentity).toBe(lock.holderIdentity);
  });

  it('Retry-After is granted only as far as it does not cost the lock', async () => {
    const name = newName();
    const service = await api.service({
      leaseDuration: 6_000,
      safetyMargin: 2_000,
      renewInterval: 50,
    });
    const lock = await service.acquire(name);
    api.server.faults.inject(
      { kind: 'status', code: 429, retryAfter: 60 },
      { name, verb: 'update', times: 1 },
    );
    await service.next('backend-error');
    await service.next('renewed');
    expect(lock.isHeld).toBe(true);
  });

  it.each<[string, () => Promise<void> | void]>([
    ['refuses', () => api.server.refuseConnections()],
    [
      'hangs',
      () => {
        api.server.faults.inject({ kind: 'hold', when: 'before' });
      },
    ],
    [
      'throttles',
      () => {
        api.server.faults.inject({ kind: 'status', code: 429, retryAfter: 60 });
      },
    ],
  ])(
    'an API server that %s makes the signal abort before the lease is over',
    async (_, breakDown) => {
      const name = newName();
      const service = await api.service({
        leaseDuration: 3_000,
        safetyMargin: 1_500, // room for a machine that is busy
        renewInterval: 500,
      });
      const before = performance.now();
      const lock = await service.acquire(name);
      const isLost = service.next('lost');
      await breakDown();
      const lost = await isLost;
      const after = performance.now();

      expect(lost.reason).toBe('deadline');
      expect(lock.signal.reason).toBeInstanceOf(LockLostError);
      expect(after - before).toBeLessThan(3_000);
      expect(service.seen.some(({ type }) => type === 'backend-error')).toBe(
        true,
      );
      if (_ === 'refuses') {
        await api.server.acceptConnections();
      }
    },
  );
});
