/** How a Lease is changed in part. */
import { expect, it } from 'vitest';
import { describeOnServer } from '../api-servers.js';
import { aboutLease, failure, HELD, RawLeases, versionOf } from './raw-api.js';

describeOnServer('Patching a Lease', (server) => {
  const leases = new RawLeases(server);
  let refused = 0;

  it('merges objects, and null removes', async () => {
    const created = await leases.create('merged', {
      metadata: { annotations: { a: '1', b: '2' } },
    });
    const { code, body } = await leases.patch('merged', 'merge-patch', {
      metadata: { annotations: { b: null, c: '3' } },
      spec: { holderIdentity: null, leaseTransitions: 4 },
    });
    expect(code).toBe(200);
    const { holderIdentity: _, ...rest } = HELD;
    expect(body['spec']).toEqual({ ...rest, leaseTransitions: 4 });
    expect(body['metadata'].annotations).toEqual({ a: '1', c: '3' });
    expect(versionOf(body)).toBeGreaterThan(versionOf(created));
  });

  it('that changes nothing is no write', async () => {
    const created = await leases.create('same');
    const { code, body } = await leases.patch('same', 'merge-patch', {});
    expect(code).toBe(200);
    expect(body).toEqual(created);
  });

  it('applies operations in order', async () => {
    await leases.create('operations');
    const { code, body } = await leases.patch('operations', 'json-patch', [
      { op: 'test', path: '/spec/leaseTransitions', value: 3 },
      { op: 'add', path: '/metadata/annotations', value: {} },
      { op: 'add', path: '/metadata/annotations/example.com~1a', value: '1' },
      { op: 'replace', path: '/spec/leaseTransitions', value: 4 },
      { op: 'add', path: '/spec/acquireTime', value: HELD.renewTime },
      { op: 'remove', path: '/spec/holderIdentity' },
    ]);
    expect(code).toBe(200);
    const { holderIdentity: _, ...rest } = HELD;
    expect(body['spec']).toEqual({
      ...rest,
      leaseTransitions: 4,
      acquireTime: HELD.renewTime,
    });
    expect(body['metadata'].annotations).toEqual({ 'example.com/a': '1' });
  });

  it('takes an absent field for null, and adds it where it replaces', async () => {
    await leases.create('absent', { metadata: { annotations: { a: '1' } } });
    const { code, body } = await leases.patch('absent', 'json-patch', [
      { op: 'test', path: '/metadata/labels', value: null },
      { op: 'test', path: '/metadata/annotations/b', value: null },
      { op: 'replace', path: '/metadata/annotations/b', value: '2' },
      { op: 'replace', path: '/metadata/labels', value: { app: 'x' } },
    ]);
    expect(code).toBe(200);
    expect(body['metadata']).toMatchObject({
      annotations: { a: '1', b: '2' },
      labels: { app: 'x' },
    });
  });

  it('compares objects by their content, whatever the order of their fields', async () => {
    await leases.create('compared');
    const spec = Object.fromEntries(Object.entries(HELD).toReversed());
    const { code } = await leases.patch('compared', 'json-patch', [
      { op: 'test', path: '/spec', value: spec },
    ]);
    expect(code).toBe(200);
  });

  it('counts the elements of a list from 0, and adds at its end', async () => {
    const finalizers = ['example.com/a', 'example.com/b'];
    await leases.create('listed', { metadata: { finalizers } });
    const path = '/metadata/finalizers';
    const { code, body } = await leases.patch('listed', 'json-patch', [
      { op: 'test', path: `${path}/1`, value: 'example.com/b' },
      { op: 'add', path: `${path}/2`, value: 'example.com/c' },
      { op: 'add', path: `${path}/-`, value: 'example.com/d' },
      { op: 'remove', path: `${path}/0` },
    ]);
    expect(code).toBe(200);
    expect(body['metadata'].finalizers).toEqual([
      'example.com/b',
      'example.com/c',
      'example.com/d',
    ]);
  });

  it.each([
    [{ op: 'test', path: '/spec/leaseTransitions', value: 7 }],
    [{ op: 'test', path: '/spec/leaseTransitions', value: '3' }],
    [{ op: 'test', path: '/spec/leaseTransitions', value: null }],
    [{ op: 'test', path: '/spec', value: { leaseTransitions: 3 } }],
    [{ op: 'test', path: '/metadata/resourceVersion', value: '1' }],
    [{ op: 'test', path: '/metadata/annotations/a', value: '1' }],
    [{ op: 'test', path: '/metadata/annotations/a', value: null }],
    [{ op: 'test', path: '/metadata/finalizers/1', value: null }],
    [{ op: 'test', path: '/metadata/finalizers/-', value: null }],
    [{ op: 'remove', path: '/spec/strategy' }],
    [{ op: 'remove', path: '/metadata/annotations' }],
    [{ op: 'remove', path: '/metadata/annotations/a' }],
    [{ op: 'remove', path: '/spec/constructor' }],
    [{ op: 'remove', path: '/metadata/finalizers/-' }],
    [{ op: 'add', path: '/metadata/annotations/a', value: '1' }],
    [{ op: 'add', path: '/metadata/finalizers/2', value: 'example.com/b' }],
    [{ op: 'add', path: '/metadata/finalizers/b', value: 'example.com/b' }],
    [{ op: 'replace', path: '/metadata/annotations/a', value: '1' }],
    [{ op: 'replace', path: '/metadata/finalizers/1', value: 'example.com/b' }],
    [{ op: 'jump', path: '/spec/renewTime' }],
  ])('is refused when an operation does not apply: %j', async (operation) => {
    const name = `refused-${refused++}`;
    const finalizers = ['example.com/a'];
    const created = await leases.create(name, { metadata: { finalizers } });
    const answer = await leases.patch(name, 'json-patch', [
      { op: 'add', path: '/spec/leaseTransitions', value: 9 },
      operation,
    ]);
    expect(answer).toMatchObject(failure(422, 'Invalid'));
    // Unlike what is refused for its content, it names no object and no cause.
    expect(answer.body['details']).toEqual({});
    expect((await leases.get(name)).body).toEqual(created);
  });

  it('heeds a version and a uid where it names them', async () => {
    await leases.create('named');
    const patch = (metadata: object, name = 'named') =>
      leases.patch(name, 'merge-patch', {
        metadata,
        spec: { leaseTransitions: 5 },
      });
    expect(await patch({ resourceVersion: '1' })).toMatchObject(
      failure(409, 'Conflict', aboutLease('named')),
    );
    expect(
      await patch({ uid: '00000000-0000-4000-8000-000000000000' }),
    ).toMatchObject(
      failure(422, 'Invalid', {
        causes: [expect.objectContaining({ field: 'metadata.uid' })],
      }),
    );
    expect(await patch({ name: 'other' })).toMatchObject(
      failure(400, 'BadRequest'),
    );
    expect(await patch({ uid: 'any' }, 'missing')).toMatchObject(
      failure(404, 'NotFound', aboutLease('missing')),
    );
  });

  it.each([
    ['patch', { spec: { renewTime: 'yesterday' } }],
    ['patch', { spec: { leaseTransitions: 'many' } }],
    ['spec.leaseDurationSeconds', { spec: { leaseDurationSeconds: 0 } }],
    ['metadata.annotations', { metadata: { annotations: { '!': '' } } }],
  ])('must leave a valid Lease: %s of %j', async (field, patch) => {
    const name = `broken-${refused++}`;
    await leases.create(name);
    expect(await leases.patch(name, 'merge-patch', patch)).toMatchObject(
      failure(422, 'Invalid', {
        causes: expect.arrayContaining([
          expect.objectContaining({ field }),
        ]) as unknown,
      }),
    );
  });

  it.each(['{', 'null', '[]'])('must be an object: %s', async (patch) => {
    await leases.put('text', { metadata: { name: 'text' } });
    expect(await leases.patch('text', 'merge-patch', patch)).toMatchObject(
      failure(400, 'BadRequest'),
    );
  });

  it.each([
    ['merge-patch', {}],
    ['json-patch', [{ op: 'add', path: '/spec', value: HELD }]],
  ])('does not create: %s', async (type, patch) => {
    expect(await leases.patch('none', type, patch)).toMatchObject(
      failure(404, 'NotFound', aboutLease('none')),
    );
  });

  it('needs a type of patch', async () => {
    await leases.create('typeless');
    const path = leases.path('typeless');
    expect(await leases.api.request('PATCH', path, { body: {} })).toMatchObject(
      failure(415, 'UnsupportedMediaType'),
    );
  });
});
