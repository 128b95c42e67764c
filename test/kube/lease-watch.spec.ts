/** A watch reports what is, then what changes, and comes back from everything that can happen to it. */
import type { ServerResponse } from 'node:http';
import { describe, expect, it, vi } from 'vitest';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import type { StoredLease } from '../../lib/kube/lease-store.js';
import type { WatchTiming } from '../../lib/kube/lease-watch.js';
import {
  answer,
  leaseNamed,
  statusObject,
  StubApi,
  type Handler,
} from './stub-api.js';

const key = { namespace: 'default', name: 'a' };

/** A server of which a test sends each line itself. */
class ScriptedApi implements AsyncDisposable {
  /** What a list finds. */
  version = 10;
  lease: StoredLease | undefined;
  /** Takes the place of the usual answers, once. */
  instead: Handler | undefined;
  readonly lists: number[] = [];
  /** The versions that watches started from, and where their events go. */
  readonly watches: { from: string | null; response: ServerResponse }[] = [];

  private constructor(readonly api: StubApi) {}

  static async start(): Promise<ScriptedApi> {
    const handle: Handler = (response, request) => {
      const { instead } = scripted;
      const { searchParams } = request.url;
      if (searchParams.has('watch')) {
        const from = searchParams.get('resourceVersion');
        scripted.watches.push({ from, response });
      } else {
        scripted.lists.push(performance.now());
      }
      scripted.instead = undefined;
      if (instead) {
        return instead(response, request);
      }
      if (!searchParams.has('watch')) {
        return answer(response, 200, {
          metadata: { resourceVersion: String(scripted.version) },
          items: scripted.lease ? [scripted.lease] : null,
        });
      }
      response.writeHead(200, { 'content-type': 'application/json' });
      return response.flushHeaders();
    };
    const scripted = new ScriptedApi(await StubApi.start(handle));
    return scripted;
  }

  /** Resolves once so many watches were opened, with the latest. */
  async watch(count: number): Promise<ServerResponse> {
    const { response } = await vi.waitUntil(
      () => this.watches[count - 1],
      5_000,
    );
    return response;
  }

  send(type: string, object: unknown): void {
    this.watches.at(-1)?.response.write(eventLine(type, object));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.api[Symbol.asyncDispose]();
  }
}

const eventLine = (type: string, object: unknown) =>
  `${JSON.stringify({ type, object })}\n`;
const bookmark = (version: number) => ({
  kind: 'Lease',
  metadata: { resourceVersion: String(version) },
});

/** Watches, and notes what is reported: versions, and `none`. */
function observe(api: StubApi, timing: Partial<WatchTiming> = {}) {
  const failures: Error[] = [];
  const seen: string[] = [];
  const store = new KubernetesLeaseStore({
    kubeConfig: api.kubeConfig({ token: 'abc' }),
    requestTimeout: 2_000,
    watch: { backoff: 20, backoffLimit: 60, shortLife: 30, ...timing },
  });
  const watch = store.watch(key, {
    changed: ({ metadata }) => seen.push(metadata.resourceVersion),
    deleted: () => seen.push('none'),
    failed: (error) => failures.push(error),
  });
  return { store, watch, seen, failures };
}

const soon = (check: () => void) => vi.waitFor(check, 5_000);
const pause = (milliseconds: number) =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

describe('a watch', () => {
  it('reports the state at its start, and asks for one Lease only', async () => {
    await using scripted = await ScriptedApi.start();
    scripted.lease = leaseNamed('a', 7);
    const { store, seen } = observe(scripted.api);
    await scripted.watch(1);
    expect(seen).toEqual(['7']);
    const [list, watch] = scripted.api.received.map(({ url }) => url);
    expect(list?.pathname).toBe(
      '/apis/coordination.k8s.io/v1/namespaces/default/leases',
    );
    expect(list?.searchParams.get('fieldSelector')).toBe('metadata.name=a');
    expect(Object.fromEntries(watch?.searchParams ?? [])).toEqual({
      fieldSelector: 'metadata.name=a',
      watch: 'true',
      allowWatchBookmarks: 'true',
      resourceVersion: '10',
      timeoutSeconds: expect.stringMatching(/^(2[4-9]\d|[34]\d\d)$/) as unknown,
    });
    // Both over the same connection.
    expect(scripted.api.accepted).toHaveLength(1);
    store.close();
  });

  it('reports that there is no Lease, each change, and the end', async () => {
    await using scripted = await ScriptedApi.start();
    const { store, seen } = observe(scripted.api);
    await scripted.watch(1);
    scripted.send('ADDED', leaseNamed('a', 11));
    scripted.send('MODIFIED', leaseNamed('a', 12));
    scripted.send('DELETED', leaseNamed('a', 13));
    await soon(() => expect(seen).toEqual(['none', '11', '12', 'none']));
    store.close();
  });

  it('reads lines and characters that come in pieces', async () => {
    await using scripted = await ScriptedApi.start();
    const holders: unknown[] = [];
    const { store } = observe(scripted.api);
    store.watch(key, {
      changed: ({ spec }) => holders.push(spec?.holderIdentity),
      deleted: () => {},
    });
    const response = await scripted.watch(2);
    const text = ['Zoë 🔒', '鎖', 'x']
      .map((holderIdentity, i) =>
        eventLine('MODIFIED', leaseNamed('a', 11 + i, { holderIdentity })),
      )
      .join('\n\r\n');
    for (const byte of Buffer.from(text)) {
      response.write(Buffer.of(byte));
      if (Math.random() < 0.1) {
        await new Promise(setImmediate);
      }
    }
    await soon(() => expect(holders).toEqual(['Zoë 🔒', '鎖', 'x']));
    store.close();
  });

  it('drops what goes backwards, is about another object, or is unknown', async () => {
    await using scripted = await ScriptedApi.start();
    scripted.version = 99;
    const { store, seen } = observe(scripted.api);
    await scripted.watch(1);
    scripted.send('MODIFIED', leaseNamed('a', 98));
    scripted.send('MODIFIED', leaseNamed('a', 99));
    scripted.send('MODIFIED', leaseNamed('b', 100));
    scripted.send('SOMETHING', leaseNamed('a', 101));
    // Above 99 as a number, below it as a text.
    scripted.send('MODIFIED', leaseNamed('a', 100));
    scripted.send('MODIFIED', leaseNamed('a', 100));
    scripted.send('DELETED', leaseNamed('a', 99));
    scripted.send('MODIFIED', leaseNamed('a', 102));
    await soon(() => expect(seen).toEqual(['none', '100', '102']));
    expect(scripted.watches).toHaveLength(1);
    store.close();
  });

  it('survives an observer that throws', async () => {
    await using scripted = await ScriptedApi.start();
    const { store } = observe(scripted.api);
    await scripted.watch(1);
    let told = 0;
    const fail = () => {
      told++;
      throw new Error('observer');
    };
    store.watch(key, { changed: fail, deleted: fail });
    const response = await scripted.watch(2);
    response.write(eventLine('ADDED', leaseNamed('a', 11)));
    response.write(eventLine('MODIFIED', leaseNamed('a', 12)));
    await soon(() => expect(told).toBe(3));
    expect(scripted.watches).toHaveLength(2);
    store.close();
  });
});

describe('a watch goes on', () => {
  it('at once and where it was, when the server ends it', async () => {
    await using scripted = await ScriptedApi.start();
    const { store, seen, failures } = observe(scripted.api, {
      backoff: 60_000,
      backoffLimit: 60_000,
    });
    (await scripted.watch(1)).write(eventLine('ADDED', leaseNamed('a', 11)));
    await pause(40);
    (await scripted.watch(1)).end();
    (await scripted.watch(2)).write(eventLine('BOOKMARK', bookmark(50)));
    await pause(40);
    (await scripted.watch(2)).end();
    await scripted.watch(3);
    scripted.send('MODIFIED', leaseNamed('a', 51));
    await soon(() => expect(seen).toEqual(['none', '11', '51']));
    expect(scripted.watches.map(({ from }) => from)).toEqual([
      '10',
      '11',
      '50',
    ]);
    expect(scripted.lists).toHaveLength(1);
    expect(scripted.api.accepted).toHaveLength(1);
    expect(failures).toEqual([]);
    store.close();
  });

  it.each<[string, (response: ServerResponse) => void]>([
    ['breaks', (response) => response.destroy()],
    [
      'breaks in the middle of a line',
      (response) => {
        response.write('{"type":"MODI', () => response.destroy());
      },
    ],
    ['ends in the middle of a line', (response) => response.end('{"type":"MO')],
    ['brings no JSON', (response) => response.write('{"type":\n')],
    ['brings what is no event', (response) => response.write('[]\n')],
    [
      'brings a Lease that is none',
      (response) => response.write(eventLine('ADDED', { metadata: {} })),
    ],
  ])('where it was, when the connection %s', async (_, fault) => {
    await using scripted = await ScriptedApi.start();
    const { store, seen } = observe(scripted.api);
    (await scripted.watch(1)).write(eventLine('ADDED', leaseNamed('a', 11)));
    await soon(() => expect(seen).toEqual(['none', '11']));
    fault(await scripted.watch(1));
    await scripted.watch(2);
    scripted.send('MODIFIED', leaseNamed('a', 12));
    await soon(() => expect(seen).toEqual(['none', '11', '12']));
    expect(scripted.watches[1]?.from).toBe('11');
    store.close();
  });

  it('when a line never ends, without keeping it all', async () => {
    await using scripted = await ScriptedApi.start();
    const { store } = observe(scripted.api);
    const response = await scripted.watch(1);
    let sent = 0;
    for (; sent < 64 && !response.destroyed; sent++) {
      response.write(Buffer.alloc(1024 * 1024, 0x20));
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    expect(sent).toBeLessThan(64);
    await scripted.watch(2);
    store.close();
  });

  it('when no bytes arrive any more, though the connection stays open', async () => {
    await using scripted = await ScriptedApi.start();
    const { store, seen } = observe(scripted.api, { silence: 500 });
    await scripted.watch(1);
    // Each byte proves that it is alive.
    for (let i = 0; i < 4; i++) {
      await pause(150);
      scripted.send('BOOKMARK', bookmark(20 + i));
    }
    expect(scripted.watches).toHaveLength(1);
    await scripted.watch(2);
    scripted.send('ADDED', leaseNamed('a', 30));
    await soon(() => expect(seen).toEqual(['none', '30']));
    expect(scripted.watches[1]?.from).toBe('23');
    await soon(() => expect(scripted.api.openConnections).toBe(1));
    store.close();
  });

  it.each<[string, (scripted: ScriptedApi, first: ServerResponse) => void]>([
    [
      'in the stream',
      (_, first) =>
        first.write(eventLine('ERROR', statusObject(410, 'Expired'))),
    ],
    [
      'as the status of the next watch',
      (scripted, first) => {
        scripted.instead = (response) =>
          answer(response, 410, statusObject(410, 'Expired'));
        first.end();
      },
    ],
  ])('from a new list, when its version has expired: %s', async (_, expire) => {
    await using scripted = await ScriptedApi.start();
    const { store, seen } = observe(scripted.api, {
      backoff: 60_000,
      backoffLimit: 60_000,
    });
    const first = await scripted.watch(1);
    await pause(40);
    scripted.version = 500;
    scripted.lease = leaseNamed('a', 400);
    expire(scripted, first);
    await soon(() => expect(seen).toEqual(['none', '400']));
    await soon(() => expect(scripted.watches.at(-1)?.from).toBe('500'));
    scripted.send('DELETED', leaseNamed('a', 501));
    await soon(() => expect(seen).toEqual(['none', '400', 'none']));
    expect(scripted.lists).toHaveLength(2);
    store.close();
  });

  it('from a list with lower versions, when the cluster was restored', async () => {
    await using scripted = await ScriptedApi.start();
    scripted.version = 1_000;
    const { store, seen } = observe(scripted.api);
    const first = await scripted.watch(1);
    scripted.version = 20;
    scripted.lease = leaseNamed('a', 15);
    // What an API server says to a version from the future.
    first.write(eventLine('ERROR', statusObject(504, 'Timeout')));
    await scripted.watch(2);
    scripted.send('MODIFIED', leaseNamed('a', 21));
    await soon(() => expect(seen).toEqual(['none', '15', '21']));
    store.close();
  });

  it.each([401, 403, 429, 500, 503])(
    'after a pause, when the server answers %i',
    async (status) => {
      await using scripted = await ScriptedApi.start();
      const refuse: Handler = (response) =>
        answer(response, status, statusObject(status, 'No'));
      scripted.instead = refuse;
      const { store, seen, failures } = observe(scripted.api);
      await soon(() => expect(seen).toEqual(['none']));
      const first = await scripted.watch(1);
      scripted.instead = refuse;
      scripted.lease = leaseNamed('a', 15);
      scripted.version = 15;
      first.destroy();
      await soon(() => expect(seen).toEqual(['none', '15']));
      const refused = expect.objectContaining({ status });
      expect(failures.slice(0, 1)).toEqual([refused]);
      expect(failures.slice(-1)).toEqual([refused]);
      store.close();
    },
  );

  it('no sooner than the server asks', async () => {
    await using scripted = await ScriptedApi.start();
    scripted.instead = (response) =>
      answer(response, 429, statusObject(429, 'TooManyRequests'), {
        'retry-after': '1',
      });
    const { store } = observe(scripted.api);
    await scripted.watch(1);
    const [first = 0, second = 0] = scripted.lists;
    expect(second - first).toBeGreaterThan(990);
    store.close();
  });

  it('ever more slowly, when a server ends every watch at once', async () => {
    await using scripted = await ScriptedApi.start();
    const { store, failures } = observe(scripted.api, {
      backoff: 20,
      backoffLimit: 1_000,
      shortLife: 1_000,
    });
    for (let i = 1; i <= 5; i++) {
      (await scripted.watch(i)).end();
    }
    await pause(200);
    // 20, 40, 80, 160, 320 ms, each at least half of it.
    expect(scripted.watches.length).toBeLessThanOrEqual(6);
    expect(failures.length).toBeGreaterThan(2);
    expect(failures[0]).toMatchObject({
      reason: 'server',
      message: expect.stringContaining('ends at once'),
    });
    store.close();
  });

  it('ever more slowly, when a server ends every watch after an event', async () => {
    await using scripted = await ScriptedApi.start();
    const { store, failures } = observe(scripted.api, {
      backoff: 20,
      backoffLimit: 1_000,
      shortLife: 1_000,
    });
    for (let i = 1; i <= 5; i++) {
      const response = await scripted.watch(i);
      response.end(eventLine('MODIFIED', leaseNamed('a', 10 + i)));
    }
    await pause(200);
    expect(scripted.watches.length).toBeLessThanOrEqual(6);
    expect(failures.length).toBeGreaterThan(2);
    store.close();
  });

  it('ever more slowly, when each list is followed by an expired watch', async () => {
    await using scripted = await ScriptedApi.start();
    const { store } = observe(scripted.api, {
      backoff: 100,
      backoffLimit: 5_000,
      shortLife: 1_000,
    });
    for (let i = 1; i <= 3; i++) {
      // 0, 200 and 400 ms, each at least half of it.
      (await scripted.watch(i)).write(
        eventLine('ERROR', statusObject(410, 'Expired')),
      );
    }
    await pause(100);
    expect(scripted.lists.length).toBeLessThanOrEqual(3);
    store.close();
  });

  it('when the server was away', async () => {
    const scripted = await ScriptedApi.start();
    const { port } = scripted.api;
    const { store, failures } = observe(scripted.api);
    await scripted.watch(1);
    await scripted[Symbol.asyncDispose]();
    await soon(() => expect(failures.length).toBeGreaterThan(1));
    expect(failures.at(-1)).toMatchObject({ reason: 'network' });

    await using back = await StubApi.start(undefined, undefined, port);
    await soon(() => expect(back.received.length).toBeGreaterThan(0));
    store.close();
  });
});

describe('a closed watch', () => {
  it('reports nothing more, not even of what has arrived with the same bytes', async () => {
    await using scripted = await ScriptedApi.start();
    const seen: string[] = [];
    const { store } = observe(scripted.api);
    await scripted.watch(1);
    const watch = store.watch(key, {
      changed: ({ metadata }) => {
        seen.push(metadata.resourceVersion);
        watch.close();
      },
      deleted: () => {},
    });
    const response = await scripted.watch(2);
    response.write(
      eventLine('ADDED', leaseNamed('a', 11)) +
        eventLine('MODIFIED', leaseNamed('a', 12)),
    );
    await soon(() => expect(scripted.api.openConnections).toBe(1));
    expect(seen).toEqual(['11']);
    expect(scripted.watches).toHaveLength(2);
    store.close();
  });

  it.each<[string, (scripted: ScriptedApi) => Promise<unknown>]>([
    ['before anything', () => Promise.resolve()],
    [
      'while it lists',
      (scripted) => {
        scripted.instead = () => {};
        return soon(() => expect(scripted.lists).toHaveLength(1));
      },
    ],
    ['while it follows', (scripted) => scripted.watch(1)],
    [
      'while it pauses',
      async (scripted) => {
        (await scripted.watch(1)).destroy();
        await pause(20);
      },
    ],
  ])(
    '%s leaves no connection, no timer and no request behind',
    async (_, reach) => {
      await using scripted = await ScriptedApi.start();
      const { store, watch, seen } = observe(scripted.api, {
        backoff: 300,
        backoffLimit: 300,
      });
      await reach(scripted);
      watch.close();
      watch.close();
      const told = seen.length;
      const asked = scripted.api.received.length;
      await pause(400);
      expect(scripted.api.openConnections).toBe(0);
      expect(seen).toHaveLength(told);
      expect(scripted.api.received.length).toBeLessThanOrEqual(asked + 1);
      expect(scripted.watches.length).toBeLessThanOrEqual(1);
      // What else the store does goes on.
      scripted.instead = (response) => answer(response, 200, leaseNamed('a'));
      expect((await store.get(key))?.metadata.name).toBe('a');
      store.close();
    },
  );
});
