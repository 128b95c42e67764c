/** How a Lease is changed in part. */
import { expect, it } from 'vitest';
import { describeOnServer } from '../api-servers.js';
import { aboutLease, failure, HELD, RawLeases, versionOf } from './raw-api.js';

describeOnServer('Patching a Lease', (server) => {
  const leases = new RawLeases(server);

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

  it.each([
    [{ op: 'test', path: '/spec/leaseTransitions', value: 7 }],
    [{ op: 'test', path: '/metadata/resourceVersion', value: '1' }],
    [{ op: 'remove', path: '/spec/strategy' }],
    [{ op: 'add', path: '/metadata/annotations/a', value: '1' }],
    [{ op: 'jump', path: '/spec/renewTime' }],
  ])('is refused when an operation does not apply: %j', async (operation) => {
    const name = `refused-${operation.op}${operation.path.toLowerCase().replaceAll('/', '-')}`;
    const created = await leases.create(name);
    expect(await leases.patch(name, 'json-patch', [operation])).toMatchObject(
      failure(422, 'Invalid'),
    );
    expect((await leases.get(name)).body).toEqual(created);
  });

  it('heeds a version and a uid where it names them', async () => {
    await leases.create('named');
    const patch = (metadata: object) =>
      leases.patch('named', 'merge-patch', {
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
  });

  it('must leave a Lease', async () => {
    await leases.create('broken');
    const patch = { spec: { renewTime: 'yesterday' } };
    expect(await leases.patch('broken', 'merge-patch', patch)).toMatchObject(
      failure(422, 'Invalid', {
        causes: [expect.objectContaining({ field: 'patch' })],
      }),
    );
  });

  it.each(['{', 'null', '[]'])('must be an object: %s', async (patch) => {
    await leases.put('text', { metadata: { name: 'text' } });
    expect(await leases.patch('text', 'merge-patch', patch)).toMatchObject(
      failure(400, 'BadRequest'),
    );
  });

  it('does not create', async () => {
    expect(await leases.patch('none', 'merge-patch', {})).toMatchObject(
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
