/** Watches of many Leases share a connection, and report what each would by itself. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { KubeConfig } from '@kubernetes/client-node';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import type {
  StoredLease,
  WatchSelection,
} from '../../lib/kube/lease-store.js';
import type { WatchTiming } from '../../lib/kube/lease-watch.js';
import type { ApiRequestEvent } from '../../lib/lock.events.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { describeOnServer } from '../api-servers.js';
import { eventually } from '../support/eventually.js';
import { answer, leaseNamed, portOf, StubApi } from './stub-api.js';

/** More names than are watched one by one, and few enough to be. */
const MANY = 20;
const MOST_SINGLE = 16;
const FEW = 4;

const namesUpTo = (count: number, prefix = 'lease') =>
  Array.from({ length: count }, (_, i) => `${prefix}-${i}`);

/** Notes what is reported of a Lease: its `leaseTransitions`, `+` before it for a change, and `none`. */
class Watched {
  readonly seen: string[] = [];
  readonly failures: Error[] = [];
  readonly watch: { close(): void };

  constructor(
    store: KubernetesLeaseStore,
    namespace: string,
    name: string,
    selection?: WatchSelection,
  ) {
    this.watch = store.watch(
      { namespace, name },
      {
        changed: ({ spec }, live) =>
          this.seen.push(`${live ? '+' : ''}${spec?.leaseTransitions}`),
        deleted: () => this.seen.push('none'),
        unselected: (version) => this.seen.push(`not as of ${version}`),
        failed: (error) => this.failures.push(error),
      },
      selection,
    );
  }
}

const watchAll = (
  store: KubernetesLeaseStore,
  namespace: string,
  names: readonly string[],
) => names.map((name) => new Watched(store, namespace, name));

const allSeen = (watched: readonly Watched[], last: string) =>
  eventually(() => {
    const others = watched.filter(({ seen }) => seen.at(-1) !== last);
    expect(others.map(({ seen }) => seen)).toEqual([]);
  });

/** Writes marks: a Lease's `leaseTransitions`. */
class Writer {
  private readonly stored = new Map<string, StoredLease>();

  constructor(
    private readonly store: KubernetesLeaseStore,
    private readonly namespace: string,
  ) {}

  async mark(name: string, leaseTransitions: number): Promise<void> {
    const key = { namespace: this.namespace, name };
    const before = this.stored.get(name);
    const spec = { holderIdentity: 'a', leaseTransitions };
    const written = before
      ? await this.store.replace(key, { ...before, spec })
      : await this.store.create(key, { metadata: { name }, spec });
    this.stored.set(name, written);
  }

  async markAll(names: readonly string[], mark: number): Promise<void> {
    await Promise.all(names.map((name) => this.mark(name, mark)));
  }

  async delete(name: string): Promise<void> {
    const key = { namespace: this.namespace, name };
    await this.store.delete(key, this.stored.get(name)!.metadata);
    this.stored.delete(name);
  }
}

/** A Lease with a label, which is written again and again. */
async function labelled(store: KubernetesLeaseStore, namespace: string) {
  const key = { namespace, name: 'labelled' };
  let lease = await store.create(key, {
    metadata: { name: key.name },
    spec: { leaseTransitions: 0 },
  });
  const write = async (leaseTransitions: number, to?: string) => {
    const labels: Record<string, string> = to === undefined ? {} : { to };
    const metadata = { ...lease.metadata, labels };
    lease = await store.replace(key, {
      ...lease,
      metadata,
      spec: { leaseTransitions },
    });
    return lease.metadata.resourceVersion;
  };
  return { name: key.name, write, from: lease.metadata.resourceVersion };
}

/** Passes connections on to an API server, and counts them. */
class Front implements AsyncDisposable {
  accepted = 0;
  private readonly sockets = new Set<Socket>();

  private constructor(private readonly server: Server) {}

  static async start(to: URL): Promise<Front> {
    const server = createServer((socket) => {
      front.accepted += 1;
      const onward = connect(Number(to.port), to.hostname);
      for (const [one, other] of [
        [socket, onward],
        [onward, socket],
      ] as const) {
        front.sockets.add(one);
        one.pipe(other);
        one.on('error', () => {});
        one.on('close', () => {
          front.sockets.delete(one);
          other.destroy();
        });
      }
    });
    const front = new Front(server);
    await new Promise<void>((resolve) =>
      server.listen(0, '127.0.0.1', resolve),
    );
    return front;
  }

  get port(): number {
    return portOf(this.server);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) {
      socket.destroy();
    }
    await new Promise((resolve) => this.server.close(resolve));
  }
}

describeOnServer('Watches of many Leases', (server) => {
  const stores: KubernetesLeaseStore[] = [];
  const requests: ApiRequestEvent[] = [];
  let namespace: string;
  let writer: Writer;

  const open = (kubeConfigYaml = server.kubeConfigYaml) => {
    const kubeConfig = new KubeConfig();
    kubeConfig.loadFromString(kubeConfigYaml);
    const store = new KubernetesLeaseStore({
      kubeConfig,
      requestTimeout: 10_000,
      watch: { linger: 0 },
      requests: { isObserved: true, emit: (event) => requests.push(event) },
    });
    stores.push(store);
    return store;
  };

  beforeEach(async () => {
    namespace = await server.createNamespace();
    writer = new Writer(open(), namespace);
    requests.length = 0;
  });

  it('of which one is limited to what has a label tell when it has that no more', async () => {
    const store = open();
    const { name, write, from } = await labelled(store, namespace);
    await write(1, 'me');
    const labelSelector = 'to in (all,me)';
    const { seen } = new Watched(store, namespace, name, {
      labelSelector,
      from,
    });
    await eventually(() => expect(seen).toEqual(['+1']));
    await write(2, 'all');
    const other = await write(3, 'other');
    await write(4, 'other');
    await write(5, 'me');
    const none = await write(6);
    await eventually(() =>
      expect(seen).toEqual([
        '+1',
        '+2',
        `not as of ${other}`,
        '+5',
        `not as of ${none}`,
      ]),
    );
  });

  it('of which one is limited to what has a label may tell all, if the namespace is watched', async () => {
    const store = open();
    const { name, write, from } = await labelled(store, namespace);
    const watched = watchAll(store, namespace, namesUpTo(MANY));
    await allSeen(watched, 'none');
    const labelSelector = 'to in (all,me)';
    const { seen } = new Watched(store, namespace, name, {
      labelSelector,
      from,
    });
    await eventually(() => expect(seen).toEqual(['0']));
    await write(1, 'other');
    await eventually(() => expect(seen).toEqual(['0', '+1']));
    for (const { watch } of watched.slice(FEW)) {
      watch.close();
    }
    const gone: string[] = [];
    await eventually(async () => {
      await write(2, 'me');
      gone.push(`not as of ${await write(3)}`);
      expect(seen.some((each) => gone.includes(each))).toBe(true);
    });
  });

  afterEach(() => {
    for (const store of stores.splice(0)) {
      store.close();
    }
  });

  it('a thousand cost a few connections', async () => {
    const address = new URL(server.kubeConfig.getCurrentCluster()!.server);
    await using front = await Front.start(address);
    const names = namesUpTo(1_000);
    await writer.markAll(names.slice(0, 100), 1);
    const yaml = server.kubeConfigYaml.replaceAll(
      address.host,
      `127.0.0.1:${front.port}`,
    );
    const watched = watchAll(open(yaml), namespace, names);
    await allSeen(watched.slice(0, 100), '1');
    await allSeen(watched.slice(100), 'none');
    await writer.markAll(names.slice(50, 150), 2);
    await allSeen(watched.slice(50, 150), '+2');
    expect(front.accepted).toBeLessThan(50);
  });

  it('report each what comes, changes, goes and comes again', async () => {
    const names = namesUpTo(MANY);
    const watched = watchAll(open(), namespace, names);
    await allSeen(watched, 'none');
    await writer.markAll(names, 1);
    await allSeen(watched, '+1');
    await writer.mark('lease-7', 2);
    await allSeen(watched.slice(7, 8), '+2');
    await writer.delete('lease-7');
    await allSeen(watched.slice(7, 8), 'none');
    await writer.mark('lease-7', 3);
    await allSeen(watched.slice(7, 8), '+3');
    expect(watched[7]?.seen.slice(-4)).toEqual(['+1', '+2', 'none', '+3']);
    expect(watched[8]?.seen.at(-1)).toBe('+1');
  });

  it('report the present state to one that joins, and nothing to one that was closed', async () => {
    const names = namesUpTo(MANY);
    const store = open();
    const watched = watchAll(store, namespace, names);
    await allSeen(watched, 'none');
    await writer.mark('late', 5);
    const late = new Watched(store, namespace, 'late');
    await allSeen([late], '5');
    late.watch.close();
    late.watch.close();
    const again = new Watched(store, namespace, 'late');
    await allSeen([again], '5');
    await writer.mark('late', 6);
    await allSeen([again], '+6');
    // From the watch, the list or both.
    expect(late.seen.filter((one) => one !== '5')).toEqual([]);
  });

  it('go on one by one when few are left', async () => {
    const names = namesUpTo(MANY);
    const watched = watchAll(open(), namespace, names);
    await allSeen(watched, 'none');
    // Each of the first by its own watch, the version of the namespace, and each again.
    await eventually(() =>
      expect(requests.filter(({ verb }) => verb === 'list')).toHaveLength(
        MOST_SINGLE + 1 + MANY,
      ),
    );
    await writer.markAll(names, 1);
    await allSeen(watched, '+1');
    requests.length = 0;
    for (const { watch } of watched.slice(FEW)) {
      watch.close();
    }
    await eventually(() => expect(requests).toHaveLength(FEW));
    expect(requests.map(({ verb }) => verb)).toEqual(Array(FEW).fill('watch'));
    await writer.markAll(names.slice(0, FEW), 2);
    await allSeen(watched.slice(0, FEW), '+2');
    const seen = watched.slice(0, FEW).map((one) => one.seen.slice(-2));
    expect(seen).toEqual(seen.map(() => ['+1', '+2']));
  });

  it('are not disturbed by the Leases of others', async () => {
    const names = namesUpTo(MANY);
    const watched = watchAll(open(), namespace, names);
    await allSeen(watched, 'none');
    const foreign = namesUpTo(50, 'node');
    for (let round = 0; round < 20; round++) {
      // oxlint-disable-next-line no-await-in-loop -- each writes on what the one before has written
      await writer.markAll(foreign, round);
    }
    await writer.markAll(names, 1);
    await allSeen(watched, '+1');
    const told = watched.map(({ seen }) => seen.filter((s) => s !== 'none'));
    expect(told).toEqual(told.map(() => ['+1']));
  });

  it('stay single, without a word, where a Role names the Leases', async () => {
    const names = namesUpTo(MANY, 'named');
    ({ namespace } = server);
    writer = new Writer(open(), namespace);
    requests.length = 0;
    await server.grant({
      apiGroups: ['coordination.k8s.io'],
      resources: ['leases'],
      resourceNames: [...names, 'late'],
      verbs: ['list', 'watch'],
    });
    const store = open(server.restrictedKubeConfigYaml);
    const watched = watchAll(store, namespace, names);
    await allSeen(watched, 'none');
    await writer.markAll(names, 1);
    await allSeen(watched, '+1');
    const late = new Watched(store, namespace, 'late');
    await allSeen([late], 'none');
    expect([...watched, late].flatMap(({ failures }) => failures)).toEqual([]);
    const refused = requests.filter(({ status }) => status === 403);
    expect(refused).toHaveLength(1);
  });
});

describe('The watch of a namespace', () => {
  const namespace = 'default';
  const names = namesUpTo(MANY);
  /** Requests for no single Lease. */
  const whole = {
    verb: ['list', 'watch'],
    where: ({ name }: { name?: string }) => name === undefined,
  } as const;
  let server: LeaseApiServer;
  let store: KubernetesLeaseStore;
  let writer: Writer;
  let mayWatchAll: boolean;

  const open = async (watch: Partial<WatchTiming> = {}) =>
    new KubernetesLeaseStore({
      kubeConfig: await server.kubeConfig(),
      // Longer than a test waits: what is held must not go on by itself.
      requestTimeout: 60_000,
      // A watch may be broken at once: none counts as too short.
      watch: { backoff: 20, backoffLimit: 60, shortLife: 0, ...watch },
    });
  const listsAndWatches = () => ({
    lists: server.requests.count({ verb: 'list' }),
    watches: server.requests.count({ verb: 'watch' }),
  });
  /** Resolves once it is the only watch, and each of so many Leases was listed for it. */
  const settled = (many = MANY) =>
    eventually(() => {
      expect(server.openWatches()).toBe(1);
      expect(server.openWatches(whole)).toBe(1);
      expect(server.requests.count({ verb: 'list' })).toBe(
        MOST_SINGLE + 1 + many,
      );
    });

  beforeEach(async () => {
    mayWatchAll = true;
    server = await LeaseApiServer.start({
      allow: ({ verb, name }) =>
        mayWatchAll || name !== undefined || verb === 'create',
    });
    store = await open();
    writer = new Writer(await open(), namespace);
  });

  afterEach(async () => {
    store.close();
    await server.stop();
  });

  it.each(
    (['list', 'watch', 'list of a Lease'] as const).flatMap((which) =>
      (['before', 'after'] as const).map((when) => [which, when] as const),
    ),
  )(
    'takes over without a loss, when the %s is held up %s the answer',
    async (which, when) => {
      const watched = watchAll(store, namespace, names.slice(0, MOST_SINGLE));
      await allSeen(watched, 'none');
      await eventually(() => expect(server.openWatches()).toBe(MOST_SINGLE));
      const isOfOne = which === 'list of a Lease';
      const held = server.faults.inject(
        { kind: 'hold', when },
        {
          verb: isOfOne ? 'list' : which,
          where: ({ name }) => (name !== undefined) === isOfOne,
        },
      );
      watched.push(...watchAll(store, namespace, names.slice(MOST_SINGLE)));
      await held.hit();
      await writer.markAll(names, 1);
      await allSeen(watched.slice(0, MOST_SINGLE), '+1');
      held.remove();
      await eventually(() =>
        expect(
          watched.filter(({ seen }) => !/^\+?1$/.test(seen.at(-1) ?? '')),
        ).toEqual([]),
      );
      await settled();
      await writer.markAll(names, 2);
      await allSeen(watched, '+2');
      for (const [i, { seen }] of watched.entries()) {
        const since = seen.slice(seen.findIndex((one) => /1/.test(one)));
        expect(since).not.toContain('none');
        // A change is told once, and not as new to one that joins.
        const changes = i < MOST_SINGLE ? 1 : isOfOne ? 0 : 1;
        expect(seen.filter((one) => one === '+1').length).toBeLessThanOrEqual(
          changes,
        );
      }
    },
  );

  it('lists each Lease again, when its version has expired', async () => {
    const watched = watchAll(store, namespace, names);
    await settled();
    const held = server.faults.inject(
      { kind: 'hold', when: 'before' },
      { ...whole, verb: 'list' },
    );
    server.killWatches('expired');
    await held.hit();
    await writer.markAll(names, 1);
    held.remove();
    await allSeen(watched, '1');
    await writer.markAll(names, 2);
    await allSeen(watched, '+2');
    expect(watched.flatMap(({ failures }) => failures)).toEqual([]);
  });

  it('does not trust a list that is older than its own beginning', async () => {
    watchAll(store, namespace, names);
    await settled();
    const stale = server.faults.inject(
      { kind: 'hold', when: 'after' },
      { verb: 'list', name: 'late', times: 1 },
    );
    const late = new Watched(store, namespace, 'late');
    await stale.hit();
    const restart = server.faults.inject(
      { kind: 'hold', when: 'before' },
      { ...whole, verb: 'list' },
    );
    server.killWatches('expired');
    await restart.hit();
    await writer.mark('late', 1);
    restart.remove();
    await allSeen([late], '1');
    stale.remove();
    await writer.mark('late', 2);
    await allSeen([late], '+2');
    expect(late.seen).toEqual(['1', '+2']);
  });

  it('accepts the states of a cluster that was restored from a backup', async () => {
    await using api = await StubApi.start((response, { url }) => {
      const isWatch = url.searchParams.has('watch');
      const name = url.searchParams.get('fieldSelector')?.split('=')[1];
      if (isWatch) {
        response.writeHead(200).flushHeaders();
        if (name === undefined) {
          streams.push(response);
        }
      } else {
        const resourceVersion = String(version);
        answer(response, 200, {
          metadata: { resourceVersion },
          items: name ? [leaseNamed(name, version - 1)] : [],
        });
      }
    });
    const streams: { write(line: string): void }[] = [];
    let version = 100;
    const stubbed = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig({ token: 'abc' }),
      requestTimeout: 10_000,
      watch: { backoff: 20, backoffLimit: 60, shortLife: 30 },
    });
    const seen: string[] = [];
    for (const name of names) {
      stubbed.watch(
        { namespace, name },
        {
          changed: ({ metadata }) => seen.push(metadata.resourceVersion),
          deleted: () => {},
        },
      );
    }
    await eventually(() =>
      expect(seen).toEqual(Array(MOST_SINGLE + MANY).fill('99')),
    );
    version = 50;
    seen.length = 0;
    const status = { kind: 'Status', code: 504, reason: 'Timeout' };
    streams[0]?.write(`${JSON.stringify({ type: 'ERROR', object: status })}\n`);
    await eventually(() => expect(seen).toEqual(Array(MANY).fill('49')));
    const object = leaseNamed('lease-3', 51);
    streams[1]?.write(`${JSON.stringify({ type: 'MODIFIED', object })}\n`);
    await eventually(() => expect(seen.at(-1)).toBe('51'));
    stubbed.close();
  });

  it('goes on where it was, when its connection breaks', async () => {
    const watched = watchAll(store, namespace, names);
    await settled();
    const before = listsAndWatches();
    const held = server.faults.inject(
      { kind: 'hold', when: 'before' },
      { ...whole, verb: 'watch' },
    );
    server.killWatches('reset');
    await held.hit();
    await writer.markAll(names, 1);
    held.remove();
    await allSeen(watched, '+1');
    expect(listsAndWatches()).toEqual({
      lists: before.lists,
      watches: before.watches + 1,
    });
  });

  it('is replaced, when it falls silent', async () => {
    store.close();
    store = await open({ silence: 300 });
    const watched = watchAll(store, namespace, names);
    await settled();
    const silence = server.faults.inject({ kind: 'silence' }, whole);
    await writer.mark('lease-3', 1);
    await silence.hit();
    expect(watched[3]?.seen.at(-1)).toBe('none');
    silence.remove();
    await allSeen(watched.slice(3, 4), '+1');
  });

  it('tells each when it fails, and comes back', async () => {
    const watched = watchAll(store, namespace, names);
    await settled();
    const failing = server.faults.inject({ kind: 'status', code: 500 }, whole);
    server.killWatches('reset');
    await eventually(() =>
      expect(watched.map(({ failures }) => failures.length)).not.toContain(0),
    );
    expect(watched[5]?.failures[0]).toMatchObject({
      status: 500,
      message: expect.stringContaining('namespace default') as unknown,
    });
    await writer.markAll(names, 1);
    failing.remove();
    await allSeen(watched, '1');
  });

  it('gives way to single ones, without a word, when its right is taken away', async () => {
    const watched = watchAll(store, namespace, names);
    await settled();
    mayWatchAll = false;
    server.killWatches('reset');
    await eventually(() => expect(server.openWatches()).toBe(MANY));
    await writer.markAll(names, 1);
    await allSeen(watched, '+1');
    expect(watched.flatMap(({ failures }) => failures)).toEqual([]);
    const refusals = () =>
      server.requests.all(whole).filter(({ status }) => status === 403).length;
    const before = refusals();
    await allSeen(watchAll(store, namespace, namesUpTo(MANY, 'more')), 'none');
    expect(refusals()).toBe(before);
  });

  it('is one, however many names come and go', async () => {
    const watched = watchAll(store, namespace, names);
    await settled();
    const { watches } = listsAndWatches();
    for (let i = 0; i < 100; i++) {
      const brief = new Watched(store, namespace, `brief-${i}`);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await allSeen([brief], 'none');
      brief.watch.close();
    }
    for (let i = 0; i < 20; i++) {
      for (const { watch } of watched.splice(0)) {
        watch.close();
      }
      watched.push(...watchAll(store, namespace, names));
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await allSeen(watched, 'none');
    }
    expect(listsAndWatches().watches).toBe(watches);
    expect(server.connections.open).toBeLessThan(50);
  });

  it('ends some time after all were closed, and with the store', async () => {
    store.close();
    store = await open({ linger: 100 });
    const watched = watchAll(store, namespace, names);
    await settled();
    for (const { watch } of watched) {
      watch.close();
    }
    expect(server.openWatches()).toBe(1);
    await eventually(() => expect(server.openWatches()).toBe(0));
    watchAll(store, namespace, names);
    await eventually(() => expect(server.openWatches(whole)).toBe(1));
    store.close();
    await eventually(() => expect(server.openWatches()).toBe(0));
  });

  it('hands over what it has not listed yet, to be listed', async () => {
    store.close();
    store = await open({ linger: 0 });
    const watched = watchAll(store, namespace, names);
    await settled();
    await writer.mark('late', 1);
    await writer.mark('lease-0', 1);
    await allSeen(watched.slice(0, 1), '+1');
    const held = server.faults.inject(
      { kind: 'hold', when: 'before' },
      { verb: 'list', name: 'late', times: 1 },
    );
    const late = new Watched(store, namespace, 'late');
    await held.hit();
    for (const { watch } of watched) {
      watch.close();
    }
    await allSeen([late], '1');
    await eventually(() => {
      expect(server.openWatches({ name: 'late' })).toBe(1);
      expect(server.openWatches(whole)).toBe(0);
    });
  });

  it('lists a few at once, and the next when one is closed', async () => {
    watchAll(store, namespace, names);
    await settled();
    const held = server.faults.inject(
      { kind: 'hold', when: 'before' },
      {
        verb: 'list',
        where: ({ name }) => name?.startsWith('late') ?? false,
        times: 8,
      },
    );
    const late = watchAll(store, namespace, namesUpTo(9, 'late'));
    await held.hit(8);
    await writer.mark('other', 1);
    expect(server.requests.count({ verb: 'list', name: 'late-8' })).toBe(0);
    late[0]?.watch.close();
    await allSeen(late.slice(8), 'none');
    held.remove();
    await allSeen(late.slice(1), 'none');
    expect(late[0]?.seen).toEqual([]);
  });

  it('lets an observer open another watch when it is told', async () => {
    const watched = watchAll(store, namespace, names);
    await settled();
    let opened = 0;
    const openNext = () => {
      if (opened < 100) {
        opened += 1;
        watch.close();
        watch = store.watch({ namespace, name: 'lease-3' }, observer);
      }
    };
    const observer = {
      changed: () => {},
      deleted: () => {},
      failed: openNext,
    };
    let watch = store.watch({ namespace, name: 'lease-3' }, observer);
    await settled(MANY + 1);
    server.faults.inject({ kind: 'status', code: 500 }, whole);
    server.killWatches('reset');
    await eventually(() => expect(opened).toBeGreaterThan(1));
    expect(opened).toBeLessThanOrEqual(1 + watched[3]!.failures.length);
  });
});

describe('What a watch of a namespace brings', () => {
  const namespace = 'default';
  const names = namesUpTo(MANY);

  /** A server without Leases, of which a test sends each event of the namespace itself. */
  async function start() {
    const streams: { write(line: string, sent?: () => void): boolean }[] = [];
    const api = await StubApi.start((response, { url }) => {
      if (!url.searchParams.has('watch')) {
        return answer(response, 200, { metadata: { resourceVersion: '10' } });
      }
      response.writeHead(200).flushHeaders();
      if (!url.searchParams.has('fieldSelector')) {
        streams.push(response);
      }
    });
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig({ token: 'abc' }),
      requestTimeout: 10_000,
    });
    const watched = watchAll(store, namespace, names);
    // The connection of the watch of the namespace is the last that stays in use.
    await eventually(() => {
      expect(streams).toHaveLength(1);
      const told = watched.flatMap(({ seen }) => seen);
      expect(told).toHaveLength(MOST_SINGLE + MANY);
    });
    const send = (object: unknown) =>
      new Promise<void>((resolve) => {
        const line = `${JSON.stringify({ type: 'MODIFIED', object })}\n`;
        streams.at(-1)?.write(line, resolve);
      });
    return { api, store, watched, streams, send };
  }

  it('of a Lease that is none does not matter to others', async () => {
    const { api, store, watched, streams, send } = await start();
    await using _ = api;
    await send({ metadata: { name: 'foreign' }, spec: 'none' });
    await send({ metadata: null });
    await send(null);
    await send({ metadata: { name: 'lease-3', resourceVersion: '11' } });
    await send(leaseNamed('lease-4', 12, { leaseTransitions: 4 }));
    await allSeen(watched.slice(4, 5), '+4');
    expect(watched[3]?.failures).toEqual([
      expect.objectContaining({
        message: expect.stringContaining('default/lease-3') as unknown,
      }),
    ]);
    expect(watched[4]?.failures).toEqual([]);
    expect(streams).toHaveLength(1);
    store.close();
  });

  it('is not kept, if nobody here watches it', async () => {
    const { api, store, watched, send } = await start();
    await using _ = api;
    setFlagsFromString('--expose-gc');
    const collectGarbage: () => void = runInNewContext('gc');
    collectGarbage();
    const before = process.memoryUsage().heapUsed;
    const text = 'x'.repeat(10_000);
    for (let i = 0; i < 5_000; i++) {
      const foreign = leaseNamed(`foreign-${i}`, 20 + i, {
        holderIdentity: `${i}${text}`,
      });
      // oxlint-disable-next-line no-await-in-loop -- no faster than they are read
      await send(foreign);
    }
    await send(leaseNamed('lease-0', 9_000, { leaseTransitions: 1 }));
    await allSeen(watched.slice(0, 1), '+1');
    collectGarbage();
    const grown = process.memoryUsage().heapUsed - before;
    // Of 50 MB.
    expect(grown).toBeLessThan(10_000_000);
    store.close();
  });
});
