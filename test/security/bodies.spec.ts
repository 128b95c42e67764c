/** No answer, however long or packed, fills the memory or takes a request past its time. */
import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import { answer, leaseNamed, StubApi, type Handler } from '../kube/stub-api.js';

const MEBIBYTE = 1024 * 1024;
const key = { namespace: 'default', name: 'a' };
const lease = leaseNamed('a');
const emptyList = { metadata: { resourceVersion: '5' }, items: [] };

let api: StubApi | undefined;
let store: KubernetesLeaseStore | undefined;
afterEach(async () => {
  store?.close();
  await api?.[Symbol.asyncDispose]();
});

async function against(
  handle: Handler,
  requestTimeout = 20_000,
): Promise<KubernetesLeaseStore> {
  api = await StubApi.start(handle);
  store = new KubernetesLeaseStore({
    kubeConfig: api.kubeConfig(),
    requestTimeout,
    watch: { backoff: 20, backoffLimit: 60 },
  });
  return store;
}

/** Writes pieces for as long as they are taken; returns how many bytes that were. */
async function pour(response: ServerResponse, piece: Buffer): Promise<number> {
  let bytes = 0;
  const endless = function* () {
    for (;;) {
      bytes += piece.length;
      yield piece;
    }
  };
  await pipeline(Readable.from(endless()), response).catch(() => undefined);
  return bytes;
}

/** The calls that read an answer to its end, each with what it takes at most. */
const CALLS: [
  name: string,
  mebibytes: number,
  call: (store: KubernetesLeaseStore) => Promise<unknown>,
][] = [
  ['get', 3, (at) => at.get(key)],
  ['create', 3, (at) => at.create(key, lease)],
  ['replace', 3, (at) => at.replace(key, lease)],
  ['delete', 3, (at) => at.delete(key, lease.metadata)],
  ['mayI', 3, (at) => at.mayI('get', key)],
  ['list', 32, (at) => at.list('default')],
];

describe('an answer without an end', () => {
  it.each(CALLS)(
    'to %s is given up after %d MiB',
    async (_, mebibytes, call) => {
      let poured: Promise<number> | undefined;
      // A refusal, so that `delete` reads its body too.
      const at = await against((response) => {
        response.writeHead(500);
        poured = pour(response, Buffer.alloc(MEBIBYTE / 4, '['));
      });
      await expect(call(at)).rejects.toMatchObject({ status: 500 });
      const bytes = await poured!;
      expect(bytes).toBeGreaterThan(mebibytes * MEBIBYTE);
      // What was on the way when it was given up is lost.
      expect(bytes).toBeLessThan((mebibytes + 16) * MEBIBYTE);
    },
  );

  it('to the list of a watch is given up, and the watch begins anew', async () => {
    const poured: Promise<number>[] = [];
    const at = await against((response) => {
      response.writeHead(200);
      poured.push(pour(response, Buffer.alloc(MEBIBYTE / 4, '[')));
    });
    at.watch(key, { changed: () => {}, deleted: () => {} });
    await vi.waitFor(() => expect(poured.length).toBeGreaterThan(1), 20_000);
    expect(await poured[0]!).toBeLessThan(19 * MEBIBYTE);
  });

  it('that drips is aborted at the timeout of the request', async () => {
    const at = await against((response) => {
      response.writeHead(200);
      const drip = setInterval(() => response.write('['), 10);
      response.once('close', () => clearInterval(drip));
    }, 300);
    await expect(at.replace(key, lease)).rejects.toMatchObject({
      reason: 'timeout',
      ambiguous: true,
    });
  });

  it('in its head is given up', async () => {
    const at = await against((response) => {
      response.socket?.write(
        `HTTP/1.1 200 OK\r\nx-long: ${'x'.repeat(MEBIBYTE)}`,
      );
    });
    await expect(at.get(key)).rejects.toMatchObject({ reason: 'server' });
  });
});

describe('a packed answer', () => {
  it('is not asked for', async () => {
    const at = await against((response) => answer(response, 200, lease));
    await at.get(key);
    expect(api!.received[0]!.headers).not.toHaveProperty('accept-encoding');
  });

  it('is not unpacked, so it never fills the memory', async () => {
    // A gibibyte in a mebibyte: packed parts one after the other are packed as a whole.
    const part = gzipSync(Buffer.alloc(64 * MEBIBYTE), { level: 9 });
    const bomb = Buffer.concat(Array.from({ length: 16 }, () => part));
    expect(bomb.length).toBeLessThan(3 * MEBIBYTE);
    const at = await against((response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' });
      response.end(bomb);
    });
    const before = process.memoryUsage.rss();
    await expect(at.get(key)).rejects.toMatchObject({
      reason: 'server',
      message: expect.stringContaining('it is not JSON'),
    });
    expect(process.memoryUsage.rss() - before).toBeLessThan(256 * MEBIBYTE);
  });

  it('of a watch is not unpacked, and begins anew', async () => {
    let watches = 0;
    const changes: unknown[] = [];
    const line = JSON.stringify({ type: 'ADDED', object: leaseNamed('a', 7) });
    const at = await against((response, { url }) => {
      if (!url.searchParams.has('watch')) {
        return answer(response, 200, emptyList);
      }
      watches++;
      response.writeHead(200, { 'content-encoding': 'gzip' });
      return void response.end(gzipSync(`${line}\n`));
    });
    at.watch(key, {
      changed: (change) => changes.push(change),
      deleted: () => {},
    });
    await vi.waitFor(() => expect(watches).toBeGreaterThan(1), 5_000);
    expect(changes).toEqual([]);
  });
});

describe('a watch', () => {
  it('takes a line of the size of the largest Lease, and none that is longer', async () => {
    const sizes: number[] = [];
    let watches = 0;
    const at = await against((response, { url }) => {
      if (!url.searchParams.has('watch')) {
        return answer(response, 200, emptyList);
      }
      response.writeHead(200);
      for (const mebibytes of watches++ === 0 ? [2.9, 3.1, 0.5] : [0.1]) {
        const holderIdentity = 'x'.repeat(mebibytes * MEBIBYTE);
        const version = 10 + watches * 10 + sizes.length;
        const object = leaseNamed('a', version, { holderIdentity });
        response.write(`${JSON.stringify({ type: 'MODIFIED', object })}\n`);
      }
    });
    at.watch(key, {
      changed: ({ spec }) => sizes.push(spec!.holderIdentity!.length),
      deleted: () => {},
    });
    await vi.waitFor(() => expect(watches).toBe(2), 10_000);
    await vi.waitFor(() => expect(sizes).toHaveLength(2), 10_000);
    expect(sizes.map((size) => size / MEBIBYTE)).toEqual([
      expect.closeTo(2.9),
      expect.closeTo(0.1),
    ]);
  });
});
