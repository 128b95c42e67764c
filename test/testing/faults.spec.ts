/** The faults of the embedded API server do to a request what they say, and to no other. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { failure, HELD, RawApi, type Json } from '../contract/raw-api.js';

const CUT_OFF = /ECONNRESET|aborted|socket hang up/;

describe('Faults', () => {
  let server: LeaseApiServer;
  let api: RawApi;
  let lease: Json;

  const path = RawApi.leases('default', 'a');
  const get = () => api.request('GET', path);
  /** Writes the Lease, with a mark to recognise it by. */
  const write = (leaseTransitions: number) =>
    api.request('PUT', path, {
      body: { ...lease, spec: { ...HELD, leaseTransitions } },
    });
  const stored = () =>
    server.lease({ namespace: 'default', name: 'a' })?.spec?.leaseTransitions;

  const codes = async (count: number) => {
    const answers: number[] = [];
    for (let i = 0; i < count; i += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      answers.push((await get()).code);
    }
    return answers;
  };

  beforeEach(async () => {
    server = await LeaseApiServer.start();
    api = new RawApi(server.kubeConfigYaml({ user: 'pod-a' }));
    const created = await api.request('POST', RawApi.leases('default'), {
      body: { metadata: { name: 'a' }, spec: HELD },
    });
    lease = created.body;
  });

  afterEach(() => server.stop());

  describe('drop', () => {
    it('before: the write is lost', async () => {
      server.faults.inject({ kind: 'drop', when: 'before' });
      await expect(write(7)).rejects.toThrow(CUT_OFF);
      expect(stored()).toBe(3);
    });

    it('after: the write lands, its answer is lost', async () => {
      server.faults.inject({ kind: 'drop', when: 'after' });
      await expect(write(7)).rejects.toThrow(CUT_OFF);
      expect(stored()).toBe(7);
    });

    it('mid-answer: the write lands, half of the answer comes', async () => {
      server.faults.inject({ kind: 'drop', when: 'mid-answer' });
      await expect(write(7)).rejects.toThrow(CUT_OFF);
      expect(stored()).toBe(7);
    });
  });

  describe('hold', () => {
    it('before: the write lands when it is let go', async () => {
      const hold = server.faults.inject({ kind: 'hold', when: 'before' });
      const answer = write(7);
      await hold.hit();
      expect(stored()).toBe(3);
      hold.release();
      expect((await answer).code).toBe(200);
      expect(stored()).toBe(7);
    });

    it('before: the write lands after its client has gone', async () => {
      const hold = server.faults.inject({ kind: 'hold', when: 'before' });
      const answer = write(7);
      await hold.hit();
      server.resetConnections();
      await expect(answer).rejects.toThrow(CUT_OFF);
      hold.remove();
      const read = await get();
      expect(read.body['spec'].leaseTransitions).toBe(7);
    });

    it('after: the write lands at once, its answer waits', async () => {
      const hold = server.faults.inject(
        { kind: 'hold', when: 'after' },
        { verb: 'update' },
      );
      const answer = write(7);
      await hold.hit();
      expect(stored()).toBe(7);
      hold.remove();
      expect((await answer).code).toBe(200);
    });
  });

  it.each(['before', 'after'] as const)('delay %s', async (when) => {
    const delay = server.faults.inject({ kind: 'delay', [when]: 60 });
    const start = performance.now();
    const answer = write(7);
    await delay.hit();
    expect(stored()).toBe(when === 'before' ? 3 : 7);
    expect((await answer).code).toBe(200);
    expect(performance.now() - start).toBeGreaterThan(55);
    expect(stored()).toBe(7);
  });

  describe('status', () => {
    it.each([
      [401, 'Unauthorized'],
      [403, 'Forbidden'],
      [409, 'Conflict'],
      [429, 'TooManyRequests'],
      [500, 'InternalError'],
      [503, 'ServiceUnavailable'],
    ])('%i is answered, and nothing is written', async (code, reason) => {
      server.faults.inject({ kind: 'status', code });
      expect(await write(7)).toMatchObject(failure(code, reason));
      expect(stored()).toBe(3);
    });

    it('names the time to come again', async () => {
      server.faults.inject({ kind: 'status', code: 429, retryAfter: 3 });
      expect(await write(7)).toMatchObject({
        headers: { 'retry-after': '3' },
        body: { details: { retryAfterSeconds: 3 } },
      });
    });

    it('can hide that the write landed', async () => {
      server.faults.inject({ kind: 'status', code: 500, when: 'after' });
      expect((await write(7)).code).toBe(500);
      expect(stored()).toBe(7);
    });
  });

  it('answer: anything comes in place of the answer', async () => {
    server.faults.inject({
      kind: 'answer',
      body: '<html>',
      contentType: 'text/html',
      when: 'after',
    });
    expect(await write(7)).toMatchObject({ code: 200, text: '<html>' });
    expect(stored()).toBe(7);
  });

  it('answer: it may be as long as one likes', async () => {
    const body = ' '.repeat(8 * 1024 * 1024);
    server.faults.inject({ kind: 'answer', body, contentType: 'text/plain' });
    expect((await get()).text).toHaveLength(body.length);
  });

  describe('can be meant for', () => {
    it('some requests, after others', async () => {
      server.faults.inject(
        { kind: 'status', code: 503 },
        { skip: 1, times: 2 },
      );
      expect(await codes(4)).toEqual([200, 503, 503, 200]);
    });

    it.each([
      { verb: 'update' as const },
      { verb: ['create', 'delete'] as const },
      { name: 'b' },
      { namespace: 'other' },
      { user: 'pod-b' },
      { resource: 'selfsubjectaccessreviews' },
      { where: () => false },
    ])('others: %j', async (match) => {
      server.faults.inject({ kind: 'status', code: 503 }, match);
      expect(await codes(1)).toEqual([200]);
    });

    it('exactly these', async () => {
      server.faults.inject(
        { kind: 'status', code: 503 },
        {
          verb: 'get',
          resource: 'leases',
          namespace: 'default',
          name: 'a',
          user: 'pod-a',
          where: ({ method }) => method === 'GET',
        },
      );
      expect(await codes(1)).toEqual([503]);
    });

    it('as long as a scope lasts', async () => {
      {
        using fault = server.faults.inject({ kind: 'status', code: 503 });
        expect(await codes(1)).toEqual([503]);
        expect(fault.hits).toBe(1);
      }
      expect(await codes(1)).toEqual([200]);
    });
  });

  it('take effect one after the other', async () => {
    const start = performance.now();
    server.faults.inject({ kind: 'delay', before: 60 });
    server.faults.inject({ kind: 'status', code: 503 });
    expect((await write(7)).code).toBe(503);
    expect(performance.now() - start).toBeGreaterThan(55);
  });

  it('can all be switched off', async () => {
    server.faults.inject({ kind: 'drop', when: 'before' });
    server.faults.inject({ kind: 'status', code: 503 });
    server.faults.clear();
    expect((await get()).code).toBe(200);
  });

  it('name the holder that they met', async () => {
    const fault = server.faults.inject({ kind: 'delay', before: 1 });
    const second = fault.hit(2);
    await get();
    await write(7);
    expect(await second).toMatchObject({ verb: 'update', name: 'a' });
    expect(fault.hits).toBe(2);
  });
});
