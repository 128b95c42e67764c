/** A request is sent once, on a connection that is kept, and ends in time whatever hangs. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import {
  answer,
  kubeConfigFor,
  leaseNamed,
  portOf,
  StubApi,
  type Handler,
} from './stub-api.js';
import { eventually } from '../support/eventually.js';

const key = { namespace: 'default', name: 'a' };
const silent: Handler = () => {};

function storeFor(api: StubApi, requestTimeout = 5_000) {
  return new KubernetesLeaseStore({
    kubeConfig: api.kubeConfig({ token: 'abc' }),
    requestTimeout,
  });
}

/** Those that keep the process from ending. */
function activeSockets(): number {
  return process
    .getActiveResourcesInfo()
    .filter((name) => name === 'TCPSocketWrap').length;
}

describe('connections', () => {
  it('are at most three for a thousand cycles of a lock beside its watch', async () => {
    await using server = await LeaseApiServer.start();
    const store = new KubernetesLeaseStore({
      kubeConfig: await server.kubeConfig(),
      requestTimeout: 5_000,
    });
    let seen = 0;
    store.watch(key, { changed: () => seen++, deleted: () => {} });
    let lease = await store.create(key, { metadata: { name: 'a' }, spec: {} });
    for (let i = 0; i < 1_000; i++) {
      lease = await store.replace(key, {
        ...lease,
        spec: {
          holderIdentity: `holder-${i}`,
          leaseDurationSeconds: 15,
          leaseTransitions: i,
        },
      });
      lease = await store.replace(key, {
        ...lease,
        spec: { leaseTransitions: i },
      });
    }
    await eventually(() => expect(seen).toBeGreaterThan(1_900));
    expect(server.connections.accepted).toBeLessThanOrEqual(3);

    store.close();
    await eventually(() => expect(server.connections.open).toBe(0));
  });

  it('are limited, and never wait for a watch', async () => {
    await using api = await StubApi.start((response, { url }) => {
      if (url.searchParams.has('watch')) {
        response.writeHead(200).flushHeaders();
      } else if (url.searchParams.has('fieldSelector')) {
        answer(response, 200, { metadata: { resourceVersion: '5' } });
      } else {
        answer(response, 200, leaseNamed('a'));
      }
    });
    const store = storeFor(api);
    for (let i = 0; i < 50; i++) {
      store.watch(
        { namespace: `namespace-${i}`, name: 'watched' },
        { changed: () => {}, deleted: () => {} },
      );
    }
    await eventually(() => expect(api.accepted).toHaveLength(50));
    await Promise.all(Array.from({ length: 200 }, () => store.get(key)));
    expect(api.accepted.length).toBeLessThanOrEqual(50 + 32);
    store.close();
    await eventually(() => expect(api.openConnections).toBe(0));
  });

  it('that were closed by the server while idle are not used again', async () => {
    await using api = await StubApi.start();
    const store = storeFor(api);
    await store.get(key);
    api.accepted[0]?.end();
    await eventually(() => expect(api.openConnections).toBe(0));
    await store.get(key);
    store.close();
    expect(api.received.map(({ connection }) => connection)).toEqual([1, 2]);
  });

  it('that are idle are closed when one of them turns out to be dead', async () => {
    let dead = false;
    await using api = await StubApi.start((response) => {
      if (!dead) {
        setTimeout(() => answer(response, 200, leaseNamed('a')), 20);
      }
    });
    const store = storeFor(api);
    await Promise.all(Array.from({ length: 5 }, () => store.get(key)));
    expect(api.openConnections).toBe(5);
    dead = true;
    await expect(store.get(key, { timeout: 50 })).rejects.toMatchObject({
      reason: 'timeout',
    });
    await eventually(() => expect(api.openConnections).toBe(0));
    dead = false;
    await store.get(key);
    store.close();
  });

  it('lead to the path of the address too', async () => {
    await using api = await StubApi.start();
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig(
        {},
        { server: `${api.url}/k8s/clusters/c-1/` },
      ),
      requestTimeout: 5_000,
    });
    await store.get(key);
    store.close();
    expect(api.received[0]?.url.pathname).toBe(
      '/k8s/clusters/c-1/apis/coordination.k8s.io/v1/namespaces/default/leases/a',
    );
  });

  it('are closed before the server closes them, if it announces its keep-alive timeout', async () => {
    await using api = await StubApi.start((response) =>
      answer(response, 200, leaseNamed('a'), {
        connection: 'keep-alive',
        'keep-alive': 'timeout=2',
      }),
    );
    const store = storeFor(api);
    await store.get(key);
    await vi.waitFor(() => expect(api.openConnections).toBe(0), 5_000);
    store.close();
  });

  it('do not keep a process from ending, neither idle ones nor those of watches', async () => {
    await using server = await LeaseApiServer.start();
    const before = activeSockets();
    const store = new KubernetesLeaseStore({
      kubeConfig: await server.kubeConfig(),
      requestTimeout: 5_000,
    });
    await store.get(key);
    store.watch(key, { changed: () => {}, deleted: () => {} });
    await eventually(() => expect(server.openWatches()).toBe(1));
    // The server's ends of both connections, and not the client's.
    await eventually(() => expect(activeSockets() - before).toBe(2));
    store.close();
  });
});

describe('a write', () => {
  it('is not sent again when the connection breaks before the answer', async () => {
    await using api = await StubApi.start((response, { method }) => {
      if (method === 'PUT') {
        response.destroy();
      } else {
        answer(response, 200, leaseNamed('a'));
      }
    });
    const store = storeFor(api);
    await store.get(key);
    await expect(store.replace(key, leaseNamed('a'))).rejects.toMatchObject({
      reason: 'network',
      ambiguous: true,
    });
    store.close();
    expect(api.received.map(({ method }) => method)).toEqual(['GET', 'PUT']);
  });

  it('without uid or resourceVersion is never sent: it would compare nothing', async () => {
    await using api = await StubApi.start();
    const store = storeFor(api);
    const blank = leaseNamed('a');
    blank.metadata.resourceVersion = '';
    await expect(store.replace(key, blank)).rejects.toMatchObject({
      reason: 'invalid',
    });
    await expect(
      store.delete(key, { uid: '', resourceVersion: '1' }),
    ).rejects.toMatchObject({ reason: 'invalid' });
    store.close();
    expect(api.received).toEqual([]);
  });

  it.each([
    ['..', 'a'],
    ['default', '../../nodes'],
    ['', 'a'],
    ['default', 'a?dryRun=All'],
    ['Default', 'a'],
    ['default', 'a\nb'],
    ['default', 'x'.repeat(254)],
  ])(
    'under a name that could lead elsewhere is never sent: %j %j',
    async (namespace, name) => {
      await using api = await StubApi.start();
      const store = storeFor(api);
      const error: unknown = await store
        .create({ namespace, name }, { metadata: { name } })
        .catch((reason: unknown) => reason);
      expect(error).toMatchObject({ reason: 'invalid', ambiguous: false });
      expect(String(error)).not.toContain('\n');
      expect(() =>
        store.watch({ namespace, name }, { changed() {}, deleted() {} }),
      ).toThrow('DNS-1123');
      store.close();
      expect(api.accepted).toEqual([]);
    },
  );
});

describe('the timeout', () => {
  it('covers an exec plugin that hangs, which holds up no later request', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'lease-store-'));
    const script = join(folder, 'plugin.mjs');
    const started = join(folder, 'started');
    // The first run lasts longer than the request; every other answers.
    await writeFile(
      script,
      `import { existsSync, writeFileSync } from 'node:fs';
       const first = !existsSync(${JSON.stringify(started)});
       writeFileSync(${JSON.stringify(started)}, '');
       if (first) setTimeout(() => process.exit(1), 3000);
       else console.log('{"status":{"token":"abc"}}');`,
    );
    await using api = await StubApi.start();
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig({
        exec: { command: process.execPath, args: [script] },
      }),
      requestTimeout: 20_000,
    });
    const error: unknown = await store
      .replace(key, leaseNamed('a'), { timeout: 300 })
      .catch((reason: unknown) => reason);
    expect(error).toMatchObject({ reason: 'timeout', ambiguous: false });
    expect(String(error)).toContain('exec plugin');
    expect(api.accepted).toEqual([]);

    await vi.waitUntil(() => existsSync(started), 10_000);
    expect((await store.get(key))?.metadata.name).toBe('a');
    store.close();
    await rm(folder, { recursive: true });
  });

  it('covers a TLS handshake that hangs, before which nothing is sent', async () => {
    const received: Buffer[] = [];
    const sockets: net.Socket[] = [];
    const server = net.createServer((socket) => {
      sockets.push(socket);
      socket.on('data', (data: Buffer) => received.push(data));
      socket.on('error', () => {});
    });
    await new Promise<void>((resolve) =>
      server.listen(0, '127.0.0.1', resolve),
    );
    const store = new KubernetesLeaseStore({
      kubeConfig: kubeConfigFor(`https://127.0.0.1:${portOf(server)}`),
      requestTimeout: 200,
    });
    await expect(store.replace(key, leaseNamed('a'))).rejects.toMatchObject({
      reason: 'timeout',
      ambiguous: false,
    });
    await eventually(() =>
      expect(sockets.map(({ destroyed }) => destroyed)).toEqual([true]),
    );
    // A ClientHello, and no HTTP.
    expect(Buffer.concat(received)[0]).toBe(0x16);
    store.close();
    server.close();
  });

  it.each<[string, Handler]>([
    ['an answer that does not come', silent],
    [
      'an answer that stops halfway',
      (response) => {
        response.writeHead(200, { 'content-length': 99 }).write('{');
      },
    ],
  ])('covers %s, and the connection is not used again', async (_, handle) => {
    await using api = await StubApi.start(handle);
    const store = storeFor(api, 150);
    await expect(store.replace(key, leaseNamed('a'))).rejects.toMatchObject({
      reason: 'timeout',
      ambiguous: true,
    });
    await expect(store.get(key)).rejects.toMatchObject({
      reason: 'timeout',
      ambiguous: false,
    });
    store.close();
    expect(api.received.map(({ connection }) => connection)).toEqual([1, 2]);
    await eventually(() => expect(api.openConnections).toBe(0));
  });

  it('covers the wait for one of the connections, in which nothing is sent', async () => {
    await using api = await StubApi.start(silent);
    const store = storeFor(api, 60_000);
    const holdAll = new AbortController();
    const holding = Array.from({ length: 24 }, () =>
      store
        .replace(key, leaseNamed('a'), { signal: holdAll.signal })
        .catch((error: { ambiguous: boolean }) => error),
    );
    await eventually(() => expect(api.received).toHaveLength(24));
    await expect(
      store.replace(key, leaseNamed('a'), { timeout: 100 }),
    ).rejects.toMatchObject({ reason: 'timeout', ambiguous: false });
    expect(api.received).toHaveLength(24);
    holdAll.abort();
    expect(await Promise.all(holding)).toEqual(
      Array.from({ length: 24 }, () =>
        expect.objectContaining({ reason: 'aborted', ambiguous: true }),
      ),
    );
    store.close();
  });

  it('does not throw an answer away that came in time, while the process was busy', async () => {
    // In another process: this one is going to be busy.
    const server = spawn(process.execPath, [
      '-e',
      `const server = require('http').createServer((_, response) =>
         setTimeout(() => response.end(${JSON.stringify(JSON.stringify(leaseNamed('a')))}), 50));
       server.listen(0, '127.0.0.1', () => console.log(server.address().port));`,
    ]);
    const port = String(await once(server.stdout, 'data')).trim();
    const store = new KubernetesLeaseStore({
      kubeConfig: kubeConfigFor(
        `http://127.0.0.1:${port}`,
        {},
        { skipTLSVerify: true },
      ),
      requestTimeout: 5_000,
    });
    await store.get(key);
    const read = store.get(key, { timeout: 200 });
    // The request is on its way, and timers are what the event loop comes to next.
    await new Promise((resolve) => setTimeout(resolve, 20));
    await new Promise(setImmediate);
    const until = performance.now() + 400;
    while (performance.now() < until) {}
    expect((await read)?.metadata.name).toBe('a');
    store.close();
    server.kill();
  });

  it('that has passed already sends nothing', async () => {
    await using api = await StubApi.start();
    const store = storeFor(api);
    for (const timeout of [0, -5, Number.NaN]) {
      await expect(
        store.replace(key, leaseNamed('a'), { timeout }),
      ).rejects.toMatchObject({ reason: 'timeout', ambiguous: false });
    }
    store.close();
    expect(api.accepted).toEqual([]);
  });
});

describe('a signal', () => {
  it('that is aborted before sends nothing', async () => {
    await using api = await StubApi.start();
    const store = storeFor(api);
    await expect(
      store.replace(key, leaseNamed('a'), { signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({ reason: 'aborted', ambiguous: false });
    store.close();
    expect(api.accepted).toEqual([]);
  });

  it('that is aborted while credentials are obtained sends nothing', async () => {
    await using api = await StubApi.start();
    const config = api.kubeConfig();
    let obtained!: () => void;
    config.applyToHTTPSOptions = () =>
      new Promise((resolve) => (obtained = resolve));
    const store = new KubernetesLeaseStore({
      kubeConfig: config,
      requestTimeout: 5_000,
    });
    const abort = new AbortController();
    const write = store.replace(key, leaseNamed('a'), abort);
    await eventually(() => expect(obtained).toBeDefined());
    abort.abort();
    await expect(write).rejects.toMatchObject({
      reason: 'aborted',
      ambiguous: false,
    });
    obtained();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(api.accepted).toEqual([]);
    store.close();
  });

  it('that is aborted after sending leaves the outcome open, and no listener behind', async () => {
    await using api = await StubApi.start((response, { method }) => {
      if (method === 'GET') {
        answer(response, 200, leaseNamed('a'));
      }
    });
    const store = storeFor(api);
    const abort = new AbortController();
    const add = vi.spyOn(abort.signal, 'addEventListener');
    const remove = vi.spyOn(abort.signal, 'removeEventListener');
    await store.get(key, abort);
    const write = store.replace(key, leaseNamed('a'), abort);
    await eventually(() => expect(api.received).toHaveLength(2));
    abort.abort();
    await expect(write).rejects.toMatchObject({
      reason: 'aborted',
      ambiguous: true,
    });
    expect(remove).toHaveBeenCalledTimes(add.mock.calls.length);
    await eventually(() => expect(api.openConnections).toBe(0));
    store.close();
  });
});

describe('close', () => {
  it('gives up what is under way, and everything after', async () => {
    await using api = await StubApi.start(silent);
    const store = storeFor(api);
    const write = store.replace(key, leaseNamed('a'));
    await eventually(() => expect(api.received).toHaveLength(1));
    store.close();
    store.close();
    await expect(write).rejects.toMatchObject({
      reason: 'aborted',
      ambiguous: true,
    });
    await expect(store.get(key)).rejects.toMatchObject({ reason: 'aborted' });
    store.watch(key, { changed: () => {}, deleted: () => {} }).close();
    await eventually(() => expect(api.openConnections).toBe(0));
    expect(api.accepted).toHaveLength(1);
  });
});
