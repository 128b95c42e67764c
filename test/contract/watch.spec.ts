/** What a watch reports, from where, and how it ends. */
import { expect, it } from 'vitest';
import { describeOnServer } from '../api-servers.js';
import {
  failure,
  HELD,
  RawApi,
  RawLeases,
  versionOf,
  type Json,
  type RawWatch,
} from './raw-api.js';

/** What matters of the next event: its type, and the transitions of the Lease as a mark. */
async function seen(watch: RawWatch) {
  const event = await watch.next();
  return event && [event.type, event.object['spec'].leaseTransitions];
}

const marked = (leaseTransitions: number) => ({ ...HELD, leaseTransitions });

describeOnServer('A watch', (server) => {
  const leases = new RawLeases(server);

  /** Writes a mark, which tests recognise in events. */
  const mark = async (lease: Json, transitions: number, metadata?: Json) => {
    const { code, body } = await leases.put(lease['metadata'].name, {
      ...lease,
      metadata: { ...lease['metadata'], ...metadata },
      spec: marked(transitions),
    });
    expect(code).toBe(200);
    return body;
  };

  it('reports the life of a Lease in order', async () => {
    const watch = await leases.watch('life');
    expect(watch.code).toBe(200);
    const created = await leases.create('life', { spec: marked(1) });
    const updated = await mark(created, 2);
    await leases.delete('life');
    const again = await leases.create('life', { spec: marked(3) });

    expect(await watch.next()).toEqual({ type: 'ADDED', object: created });
    expect(await watch.next()).toEqual({ type: 'MODIFIED', object: updated });
    const deleted = await watch.next();
    expect(deleted).toMatchObject({
      type: 'DELETED',
      object: { metadata: { uid: created['metadata'].uid }, spec: marked(2) },
    });
    // Under the version of the deletion.
    expect(versionOf(deleted!.object)).toBeGreaterThan(versionOf(updated));
    expect(versionOf(deleted!.object)).toBeLessThan(versionOf(again));
    expect(await watch.next()).toEqual({ type: 'ADDED', object: again });
  });

  it.each(['', 'resourceVersion=0'])(
    'begins with the present state: %j',
    async (query) => {
      const name = `present${query.length}`;
      const created = await mark(await leases.create(name), 1);
      const watch = await leases.watch(name, query);
      expect(await watch.next()).toEqual({ type: 'ADDED', object: created });
      await mark(created, 2);
      expect(await seen(watch)).toEqual(['MODIFIED', 2]);
    },
  );

  it('catches up from a version', async () => {
    const created = await leases.create('catch-up', { spec: marked(1) });
    await mark(await mark(created, 2), 3);
    const { resourceVersion } = created['metadata'];
    const watch = await leases.watch(
      'catch-up',
      `resourceVersion=${resourceVersion}`,
    );
    expect(await seen(watch)).toEqual(['MODIFIED', 2]);
    expect(await seen(watch)).toEqual(['MODIFIED', 3]);
  });

  it('reports nothing of other Leases', async () => {
    const watch = await leases.watch('mine');
    await leases.create('other', { spec: marked(1) });
    await leases.create('mine', { spec: marked(2) });
    expect(await seen(watch)).toEqual(['ADDED', 2]);
  });

  it('reports no write that changes nothing', async () => {
    const created = await leases.create('idle', { spec: marked(1) });
    const watch = await leases.watch('idle');
    expect(await seen(watch)).toEqual(['ADDED', 1]);
    await mark(created, 1);
    await mark(created, 2);
    expect(await seen(watch)).toEqual(['MODIFIED', 2]);
  });

  it('of all namespaces reports this one too', async () => {
    const watch = await leases.api.watch(
      '/apis/coordination.k8s.io/v1/leases?watch=true&fieldSelector=metadata.name%3Deverywhere',
    );
    const created = await leases.create('everywhere');
    expect(await watch.next()).toEqual({ type: 'ADDED', object: created });
  });

  it('of a namespace goes on from the version of a list of one Lease', async () => {
    const namespace = await server.createNamespace();
    const path = RawApi.leases(namespace);
    const create = async (name: string) =>
      (
        await leases.api.request('POST', path, {
          body: { metadata: { name }, spec: HELD },
        })
      ).body;
    await create('a');
    const before = await create('b');
    const { body } = await leases.api.request('GET', `${path}?limit=1`);
    expect(body['items']).toHaveLength(1);
    expect(versionOf(body)).toBeGreaterThanOrEqual(versionOf(before));

    const later = [await create('c'), await create('d')];
    const watch = await leases.api.watch(
      `${path}?watch=1&resourceVersion=${body['metadata'].resourceVersion}`,
    );
    expect([await watch.next(), await watch.next()]).toEqual(
      later.map((object) => ({ type: 'ADDED', object })),
    );
  });

  it.each([
    ['equal', 'role%3Dlock'],
    ['among', 'role+in+(all%2Clock)'],
  ])(
    'with a label selector (%s) reports what begins and ceases to fit',
    async (name, selector) => {
      const labels = { role: 'lock' };
      const created = await leases.create(name, {
        metadata: { labels },
        spec: marked(1),
      });
      const watch = await leases.watch(name, `labelSelector=${selector}`);
      const left = await mark(created, 2, { labels: {} });
      const other = await mark(left, 3, { labels: { role: 'other' } });
      const back = await mark(other, 4, { labels });
      await mark(back, 5);

      expect(await seen(watch)).toEqual(['ADDED', 1]);
      // As it was while it still fitted, but under the new version.
      const gone = await watch.next();
      expect(gone).toMatchObject({
        type: 'DELETED',
        object: { metadata: { labels }, spec: marked(1) },
      });
      expect(versionOf(gone!.object)).toBe(versionOf(left));
      expect(await seen(watch)).toEqual(['ADDED', 4]);
      expect(await seen(watch)).toEqual(['MODIFIED', 5]);
    },
  );

  it('ends cleanly at its time-out', async () => {
    const start = performance.now();
    const watch = await leases.watch('brief', 'timeoutSeconds=1');
    expect(await watch.next()).toBeUndefined();
    expect(performance.now() - start).toBeGreaterThan(950);
  });

  it('tells how far it is before it ends', async () => {
    const created = await leases.create('booked');
    const { resourceVersion } = created['metadata'];
    const watch = await leases.watch(
      'booked',
      `allowWatchBookmarks=true&timeoutSeconds=4&resourceVersion=${resourceVersion}`,
    );
    const other = await leases.create('not-booked');
    const bookmark = await watch.next();
    expect(bookmark).toMatchObject({
      type: 'BOOKMARK',
      object: { kind: 'Lease', apiVersion: 'coordination.k8s.io/v1', spec: {} },
    });
    expect(versionOf(bookmark!.object)).toBeGreaterThanOrEqual(
      versionOf(other),
    );
    expect(Object.keys(bookmark!.object['metadata'])).toEqual([
      'resourceVersion',
    ]);
  });

  it('tells where the present state ends', async () => {
    const created = await leases.create('initial');
    const watch = await leases.watch('initial', 'allowWatchBookmarks=true');
    expect(await watch.next()).toEqual({ type: 'ADDED', object: created });
    expect(await watch.next()).toMatchObject({
      type: 'BOOKMARK',
      object: {
        metadata: { annotations: { 'k8s.io/initial-events-end': 'true' } },
      },
    });
  });

  it('of a Lease by its path is a plain read', async () => {
    const created = await leases.create('read');
    const { api } = leases;
    expect(
      (await api.request('GET', `${leases.path('read')}?watch=1`)).body,
    ).toEqual(created);
  });

  it('by a field that no Lease is selected by is refused', async () => {
    const path = `${leases.path()}?watch=1&fieldSelector=spec.holderIdentity%3Da`;
    expect(await leases.api.request('GET', path)).toMatchObject(
      failure(400, 'BadRequest'),
    );
  });
});
