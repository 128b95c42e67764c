/** How Leases are created, replaced and deleted, and which requests are refused. */
import { expect, it } from 'vitest';
import { describeOnServer } from '../api-servers.js';
import {
  aboutLease,
  failure,
  HELD,
  RawApi,
  RawLeases,
  versionOf,
  type Json,
} from './raw-api.js';

const OTHER_UID = '00000000-0000-4000-8000-000000000000';

/** A Lease as another write would leave it. */
const renewed = (lease: Json): Json => ({
  ...lease,
  spec: { ...lease['spec'], renewTime: '2026-01-02T03:04:10.000000Z' },
});

const without = (lease: Json, field: 'uid' | 'resourceVersion'): Json => ({
  ...lease,
  metadata: { ...lease['metadata'], [field]: undefined },
});

describeOnServer('Creating a Lease', (server) => {
  const leases = new RawLeases(server);

  it('gives it a uid, a version and a time of creation', async () => {
    const { code, body } = await leases.post({
      metadata: { name: 'new', uid: OTHER_UID },
      spec: HELD,
    });
    expect(code).toBe(201);
    expect(body).toMatchObject({
      kind: 'Lease',
      apiVersion: 'coordination.k8s.io/v1',
      metadata: {
        name: 'new',
        namespace: server.namespace,
        uid: expect.stringMatching(/^[0-9a-f-]{36}$/),
        resourceVersion: expect.stringMatching(/^[1-9]\d*$/),
        creationTimestamp: expect.stringMatching(
          /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/,
        ),
      },
      spec: HELD,
    });
    expect(body['metadata'].uid).not.toBe(OTHER_UID);
    expect((await leases.get('new')).body).toEqual(body);
  });

  it('is refused when it exists', async () => {
    await leases.create('twice');
    expect(await leases.post({ metadata: { name: 'twice' } })).toMatchObject(
      failure(409, 'AlreadyExists', aboutLease('twice')),
    );
  });

  it('is done once by many at a time', async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () =>
        leases.post({ metadata: { name: 'raced' } }),
      ),
    );
    const codes = answers.map(({ code }) => code).toSorted((a, b) => a - b);
    expect(codes).toEqual([201, ...Array.from({ length: 7 }, () => 409)]);
  });

  it('needs a namespace that exists', async () => {
    const path = RawApi.leases('nowhere');
    const missing = failure(404, 'NotFound', {
      name: 'nowhere',
      kind: 'namespaces',
    });
    const body = { metadata: { name: 'a' } };
    const { api } = leases;
    expect(await api.request('POST', path, { body })).toMatchObject(missing);
    expect(await api.request('PUT', `${path}/a`, { body })).toMatchObject(
      missing,
    );
    expect(await api.request('GET', `${path}/a`)).toMatchObject(
      failure(404, 'NotFound', aboutLease('a')),
    );
    expect((await api.request('GET', path)).body['items']).toEqual([]);
  });

  it('is refused in a namespace that terminates, while updates go on', async () => {
    const namespace = await server.createNamespace();
    const path = RawApi.leases(namespace);
    const { api } = leases;
    const create = (name: string) =>
      api.request('POST', path, { body: { metadata: { name } } });
    const { body: existing } = await create('existing');
    await server.terminateNamespace(namespace);

    const terminating = failure(403, 'Forbidden', {
      ...aboutLease('late'),
      causes: [
        expect.objectContaining({
          reason: 'NamespaceTerminating',
          field: 'metadata.namespace',
        }),
      ],
    });
    expect(await create('late')).toMatchObject(terminating);
    expect(
      await api.request('PUT', `${path}/late`, {
        body: { metadata: { name: 'late' } },
      }),
    ).toMatchObject(terminating);
    const update = { body: renewed(existing) };
    expect((await api.request('PUT', `${path}/existing`, update)).code).toBe(
      200,
    );
  });

  it('stores nothing in a dry run', async () => {
    const metadata = { name: 'dry' };
    const { code, body } = await leases.post({ metadata }, '?dryRun=All');
    expect(code).toBe(201);
    expect(body['metadata'].resourceVersion).toBeUndefined();
    expect((await leases.get('dry')).code).toBe(404);
  });
});

describeOnServer('Replacing a Lease', (server) => {
  const leases = new RawLeases(server);

  it('is allowed with its present version', async () => {
    const created = await leases.create('cas');
    const { code, body } = await leases.put('cas', renewed(created));
    expect(code).toBe(200);
    expect(body['spec']).toEqual(renewed(created)['spec']);
    expect(body['metadata'].uid).toBe(created['metadata'].uid);
    expect(versionOf(body)).toBeGreaterThan(versionOf(created));
  });

  it('is refused with an older version', async () => {
    const created = await leases.create('stale');
    const { body: current } = await leases.put('stale', renewed(created));
    const late = { ...created, spec: { ...HELD, holderIdentity: 'late' } };
    const stale = failure(409, 'Conflict', aboutLease('stale'));
    expect(await leases.put('stale', late)).toMatchObject(stale);
    expect((await leases.get('stale')).body).toEqual(current);
    // Even when it asks for what is there already.
    expect(await leases.put('stale', renewed(created))).toMatchObject(stale);
  });

  it('succeeds for one of many at a time', async () => {
    const created = await leases.create('contended');
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        leases.put('contended', {
          ...created,
          spec: { ...HELD, holderIdentity: `pod-${i}` },
        }),
      ),
    );
    const [won, ...others] = answers.toSorted((a, b) => a.code - b.code);
    expect(won!.code).toBe(200);
    for (const lost of others) {
      expect(lost).toMatchObject(failure(409, 'Conflict'));
    }
    expect((await leases.get('contended')).body).toEqual(won!.body);
  });

  it.each(['', '0'])('is refused without a version (%j)', async (version) => {
    const name = `unversioned${version}`;
    const { metadata, ...created } = await leases.create(name);
    const put = {
      ...created,
      metadata: { ...metadata, resourceVersion: version },
    };
    expect(await leases.put(name, put)).toMatchObject(
      failure(422, 'Invalid', {
        ...aboutLease(name),
        causes: [
          {
            reason: 'FieldValueInvalid',
            field: 'metadata.resourceVersion',
            message: expect.stringContaining('must be specified for an update'),
          },
        ],
      }),
    );
  });

  it('is refused for another uid', async () => {
    const created = await leases.create('uid');
    const metadata = { ...created['metadata'], uid: OTHER_UID };
    expect(
      await leases.put('uid', { ...renewed(created), metadata }),
    ).toMatchObject(failure(409, 'Conflict', aboutLease('uid')));
  });

  it('does not need the uid', async () => {
    const created = await leases.create('no-uid');
    const { code, body } = await leases.put(
      'no-uid',
      without(renewed(created), 'uid'),
    );
    expect(code).toBe(200);
    expect(body['metadata'].uid).toBe(created['metadata'].uid);
  });

  it('that changes nothing is no write', async () => {
    const created = await leases.create('same');
    const metadata = {
      ...created['metadata'],
      creationTimestamp: '2020-01-01T00:00:00Z',
    };
    const { code, body } = await leases.put('same', { ...created, metadata });
    expect(code).toBe(200);
    expect(body).toEqual(created);
  });

  it('replaces labels and annotations too', async () => {
    const created = await leases.create('meta', {
      metadata: { labels: { a: '1' }, annotations: { 'example.com/b': '2' } },
    });
    expect(created['metadata']).toMatchObject({
      labels: { a: '1' },
      annotations: { 'example.com/b': '2' },
    });
    const { body: kept } = await leases.put('meta', renewed(created));
    expect(kept['metadata']).toMatchObject({
      labels: { a: '1' },
      annotations: { 'example.com/b': '2' },
    });
    const { name, resourceVersion } = kept['metadata'];
    const { body: bare } = await leases.put('meta', {
      metadata: { name, resourceVersion },
      spec: HELD,
    });
    expect(bare['metadata'].labels).toBeUndefined();
    expect(bare['metadata'].annotations).toBeUndefined();
  });

  it.each([
    ['another name', { name: 'other' }],
    ['no name', { name: undefined }],
    ['another namespace', { namespace: 'other' }],
  ])('is refused for %s than the URL', async (what, change) => {
    const name = `mismatch-${what.replaceAll(' ', '-')}`;
    const created = await leases.create(name);
    const metadata = { ...created['metadata'], ...change };
    expect(await leases.put(name, { ...created, metadata })).toMatchObject(
      failure(400, 'BadRequest'),
    );
  });
});

describeOnServer('Replacing a Lease that is gone', (server) => {
  const leases = new RawLeases(server);

  const deleted = async (name: string) => {
    const lease = await leases.create(name);
    await leases.delete(name);
    return lease;
  };

  it('brings it back when only a stale version is named', async () => {
    const gone = await deleted('revived');
    const { code, body } = await leases.put('revived', without(gone, 'uid'));
    expect(code).toBe(201);
    expect(body['metadata'].uid).not.toBe(gone['metadata'].uid);
    // Above the version of the deletion, too.
    expect(versionOf(body)).toBeGreaterThan(versionOf(gone) + 1n);
  });

  it('is refused when its uid is named', async () => {
    const gone = await deleted('buried');
    expect(await leases.put('buried', gone)).toMatchObject(
      failure(409, 'Conflict', aboutLease('buried')),
    );
    expect((await leases.get('buried')).code).toBe(404);
  });

  it('creates it when nothing is named', async () => {
    const { code, body } = await leases.put('fresh', {
      metadata: { name: 'fresh' },
      spec: HELD,
    });
    expect(code).toBe(201);
    expect(body['spec']).toEqual(HELD);
  });

  it('is refused when another took its name', async () => {
    const gone = await deleted('succeeded');
    const successor = await leases.create('succeeded');
    for (const late of [gone, without(gone, 'uid')]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await leases.put('succeeded', late)).toMatchObject(
        failure(409, 'Conflict'),
      );
    }
    expect((await leases.get('succeeded')).body).toEqual(successor);
  });

  it('never lets a version come twice', async () => {
    const versions: bigint[] = [];
    for (let round = 0; round < 3; round += 1) {
      // oxlint-disable no-await-in-loop -- one after the other
      const created = await leases.create('versions');
      const { body } = await leases.put('versions', renewed(created));
      await leases.delete('versions');
      // oxlint-enable no-await-in-loop
      versions.push(versionOf(created), versionOf(body));
    }
    const sorted = versions.toSorted((a, b) => Number(a - b));
    expect(versions).toEqual(sorted);
    expect(new Set(versions).size).toBe(versions.length);
  });
});

describeOnServer('Deleting a Lease', (server) => {
  const leases = new RawLeases(server);

  it('is answered with its uid, and once', async () => {
    const { metadata } = await leases.create('plain');
    const { code, body } = await leases.delete('plain');
    expect(code).toBe(200);
    expect(body).toEqual({
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Success',
      details: { ...aboutLease('plain'), uid: metadata.uid },
    });
    const gone = failure(404, 'NotFound', aboutLease('plain'));
    expect(await leases.delete('plain')).toMatchObject(gone);
    expect(await leases.get('plain')).toMatchObject(gone);
  });

  it('heeds its preconditions', async () => {
    const { metadata } = await leases.create('guarded');
    const { uid, resourceVersion } = metadata;
    const refused = failure(409, 'Conflict', {
      name: 'guarded',
      group: 'coordination.k8s.io',
    });
    const guard = (preconditions: Json) =>
      leases.delete('guarded', { preconditions });
    expect(await guard({ uid: OTHER_UID, resourceVersion })).toMatchObject(
      refused,
    );
    expect(await guard({ uid, resourceVersion: '1' })).toMatchObject(refused);
    expect((await leases.get('guarded')).code).toBe(200);
    expect((await guard({ uid, resourceVersion })).code).toBe(200);
    expect((await leases.get('guarded')).code).toBe(404);
  });
});

const keeping = (lease: Json, some: string[]): Json => ({
  ...lease,
  metadata: { ...lease['metadata'], finalizers: some },
});

describeOnServer('Deleting a Lease that has finalizers', (server) => {
  const leases = new RawLeases(server);
  const finalizers = ['example.com/one', 'example.com/two'];
  const going = {
    deletionTimestamp: expect.stringMatching(/^[-\d]{10}T[:\d]{8}Z$/),
    deletionGracePeriodSeconds: 0,
  };

  it('is answered with the Lease, which stays and is marked', async () => {
    const created = await leases.create('kept', { metadata: { finalizers } });
    const { uid, resourceVersion } = created['metadata'];
    const { code, body } = await leases.delete('kept', {
      preconditions: { uid, resourceVersion },
    });
    expect(code).toBe(200);
    expect(body).toEqual({
      ...created,
      metadata: {
        ...created['metadata'],
        ...going,
        resourceVersion: body['metadata'].resourceVersion,
      },
    });
    expect(versionOf(body)).toBeGreaterThan(versionOf(created));
    expect((await leases.get('kept')).body).toEqual(body);
  });

  it('is answered alike when it is deleted again, and changes nothing', async () => {
    await leases.create('again', { metadata: { finalizers } });
    const { body } = await leases.delete('again');
    expect(await leases.delete('again')).toMatchObject({ code: 200, body });
    expect((await leases.get('again')).body).toEqual(body);
  });

  it('leaves it open to writes, which do not take the mark away', async () => {
    await leases.create('written', { metadata: { finalizers } });
    const { body: marked } = await leases.delete('written');
    const { deletionTimestamp: _, ...metadata } = marked['metadata'];
    const { code, body } = await leases.put('written', {
      ...renewed(marked),
      metadata,
    });
    expect(code).toBe(200);
    expect(body['metadata']).toMatchObject({
      deletionTimestamp: marked['metadata'].deletionTimestamp,
      finalizers,
    });
  });

  it('is done with the last of its finalizers, which is a deletion to a watch', async () => {
    await leases.create('released', { metadata: { finalizers } });
    const { body: marked } = await leases.delete('released');
    const since = marked['metadata'].resourceVersion;
    const watch = await leases.watch('released', `resourceVersion=${since}`);
    const one = keeping(marked, ['example.com/two']);
    const { body: less } = await leases.put('released', one);
    expect(less['metadata'].finalizers).toEqual(['example.com/two']);
    expect((await watch.next())?.['type']).toBe('MODIFIED');

    const last = await leases.put('released', keeping(less, []));
    expect(last.code).toBe(200);
    expect(last.body['metadata']).not.toHaveProperty('finalizers');
    expect((await leases.get('released')).code).toBe(404);
    const event = await watch.next();
    expect(event?.['type']).toBe('DELETED');
    expect(versionOf(event!['object'])).toBeGreaterThan(versionOf(less));
  });

  it('is not deleted by removing its finalizers alone', async () => {
    const created = await leases.create('stays', { metadata: { finalizers } });
    const { code, body } = await leases.put('stays', keeping(created, []));
    expect(code).toBe(200);
    expect((await leases.get('stays')).body).toEqual(body);
  });
});
