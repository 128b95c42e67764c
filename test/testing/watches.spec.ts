/** The watches of the embedded API server break as a test wants it. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LeaseApiServer, type WatchEnd } from '../../lib/testing/index.js';
import {
  failure,
  HELD,
  RawApi,
  type Json,
  type RawWatch,
} from '../contract/raw-api.js';

/** The mark of the next event. */
const seen = async (watch: RawWatch) =>
  (await watch.next())?.object['spec'].leaseTransitions;

const since = ({ metadata }: Json) =>
  `resourceVersion=${metadata.resourceVersion}`;

describe('Watches', () => {
  let server: LeaseApiServer;
  let api: RawApi;

  const leases = RawApi.leases('default');
  const open = (query = '', by = api) =>
    by.watch(`${leases}?watch=1&fieldSelector=metadata.name%3Da&${query}`);
  const create = async () => {
    const body = { metadata: { name: 'a' }, spec: HELD };
    return (await api.request('POST', leases, { body })).body;
  };
  const mark = async (lease: Json, leaseTransitions: number) => {
    const body = { ...lease, spec: { ...HELD, leaseTransitions } };
    return (await api.request('PUT', `${leases}/a`, { body })).body;
  };

  beforeEach(async () => {
    server = await LeaseApiServer.start({ historySize: 4 });
    api = new RawApi(server.kubeConfigYaml());
  });

  afterEach(() => server.stop());

  it('are counted while they are open', async () => {
    expect(server.openWatches()).toBe(0);
    const watch = await open();
    expect(server.openWatches()).toBe(1);
    expect(server.openWatches({ name: 'b' })).toBe(0);
    server.killWatches();
    expect(await watch.next()).toBeUndefined();
    expect(server.openWatches()).toBe(0);
  });

  it('end', async () => {
    const watch = await open();
    expect(server.killWatches()).toBe(1);
    expect(await watch.next()).toBeUndefined();
  });

  it('expire', async () => {
    const watch = await open();
    server.killWatches('expired');
    expect(await watch.next()).toMatchObject({
      type: 'ERROR',
      object: failure(410, 'Expired').body,
    });
    expect(await watch.next()).toBeUndefined();
  });

  it('are reset', async () => {
    const watch = await open();
    server.killWatches('reset');
    await expect(watch.next()).rejects.toThrow(/aborted|ECONNRESET/);
  });

  it.each<WatchEnd>(['end', 'expired', 'reset'])(
    'of others stay (%s)',
    async (how) => {
      const watch = await open();
      expect(server.killWatches(how, { user: 'other' })).toBe(0);
      await create();
      expect(await seen(watch)).toBe(3);
    },
  );

  it('fall silent: events are lost, even the end', async () => {
    const watch = await open('timeoutSeconds=1');
    const silence = server.faults.inject({ kind: 'silence' });
    const lease = await create();
    await mark(lease, 4);
    // Two changes and the end.
    await silence.hit(3);
    expect(server.openWatches()).toBe(1);
    expect(silence.hits).toBe(3);
    server.killWatches();
    expect(await watch.next()).toBeUndefined();
  });

  it('fall silent for one user only', async () => {
    const other = new RawApi(server.kubeConfigYaml({ user: 'other' }));
    const [mute, loud] = [await open(), await open('', other)];
    using _ = server.faults.inject({ kind: 'silence' }, { user: 'test' });
    const lease = await create();
    expect(await seen(loud)).toBe(3);
    server.faults.clear();
    await mark(lease, 4);
    expect(await seen(loud)).toBe(4);
    // The creation never came.
    expect(await seen(mute)).toBe(4);
  });

  it('lag, in order', async () => {
    const watch = await open();
    const lag = server.faults.inject({ kind: 'lag', delay: 80 });
    const start = performance.now();
    const lease = await create();
    lag.remove();
    await mark(lease, 4);
    expect(await seen(watch)).toBe(3);
    expect(performance.now() - start).toBeGreaterThan(75);
    // It would have come at once, had it not had to wait for its elder.
    expect(await seen(watch)).toBe(4);
  });

  it('can be refused when they are opened', async () => {
    server.faults.inject({ kind: 'status', code: 503 }, { verb: 'watch' });
    expect((await open()).code).toBe(503);
    expect(server.openWatches()).toBe(0);
  });

  it('expire when they are too far behind', async () => {
    const lease = await create();
    let latest = lease;
    for (let i = 0; i < 9; i += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      latest = await mark(latest, 10 + i);
    }
    const behind = await open(since(lease));
    expect(await behind.next()).toMatchObject({ type: 'ERROR' });

    const watch = await open(since(latest));
    await mark(latest, 99);
    expect(await seen(watch)).toBe(99);
  });

  it('expire when the history is compacted', async () => {
    const lease = await create();
    await mark(lease, 4);
    server.compact();
    const watch = await open(since(lease));
    expect(await watch.next()).toMatchObject({ type: 'ERROR' });
  });
});
