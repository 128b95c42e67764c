/** What the API server takes for a Lease, and how it refuses the rest. */
import { expect, it } from 'vitest';
import { describeOnServer } from '../api-servers.js';
import { failure, HELD, RawLeases, type Json } from './raw-api.js';

const invalid = (name: string, ...fields: string[]) =>
  failure(422, 'Invalid', {
    name,
    group: 'coordination.k8s.io',
    kind: 'Lease',
    causes: fields.map((field) =>
      expect.objectContaining({
        reason: 'FieldValueInvalid',
        field,
        message: expect.stringMatching(/^Invalid value: /),
      }),
    ),
  });

describeOnServer('The rules of a Lease', (server) => {
  const leases = new RawLeases(server);

  it.each([
    ['no duration', { leaseDurationSeconds: 0 }, ['leaseDurationSeconds']],
    [
      'a negative duration',
      { leaseDurationSeconds: -1 },
      ['leaseDurationSeconds'],
    ],
    ['negative transitions', { leaseTransitions: -1 }, ['leaseTransitions']],
    [
      'two faults',
      { leaseDurationSeconds: 0, leaseTransitions: -1 },
      ['leaseDurationSeconds', 'leaseTransitions'],
    ],
  ])('forbid %s, in all writes', async (what, spec, fields) => {
    const name = what.replaceAll(' ', '-');
    const refused = invalid(name, ...fields.map((field) => `spec.${field}`));
    expect(await leases.post({ metadata: { name }, spec })).toMatchObject(
      refused,
    );
    expect(await leases.put(name, { metadata: { name }, spec })).toMatchObject(
      refused,
    );
    const { metadata } = await leases.create(name);
    expect(await leases.put(name, { metadata, spec })).toMatchObject(refused);
    expect(await leases.patch(name, 'merge-patch', { spec })).toMatchObject(
      refused,
    );
  });

  it('come after the compare-and-swap', async () => {
    const { metadata } = await leases.create('order');
    const put = {
      metadata: { ...metadata, resourceVersion: '1' },
      spec: { leaseDurationSeconds: 0 },
    };
    expect(await leases.put('order', put)).toMatchObject(
      failure(409, 'Conflict'),
    );
  });

  it('allow the largest duration', async () => {
    const spec = { ...HELD, leaseDurationSeconds: 2_147_483_647 };
    expect((await leases.create('forever', { spec }))['spec']).toEqual(spec);
  });

  it('tell an empty holder from none', async () => {
    const empty = await leases.create('empty', {
      spec: { holderIdentity: '' },
    });
    expect(empty['spec']).toEqual({ holderIdentity: '' });
    const none = await leases.create('none', {
      spec: { holderIdentity: null, leaseDurationSeconds: null },
    });
    expect(none['spec']).toEqual({});
  });

  it.each([
    ['a longer duration than 32 bits hold', { leaseDurationSeconds: 2 ** 31 }],
    ['a broken number', { leaseDurationSeconds: 1.5 }],
    ['text for a number', { leaseDurationSeconds: '15' }],
    ['a number for text', { holderIdentity: 15 }],
    ['a list for the spec', []],
  ])('forbid %s', async (_, spec) => {
    expect(
      await leases.post({ metadata: { name: 'mistyped' }, spec }),
    ).toMatchObject(failure(400, 'BadRequest'));
  });

  it('drop strategy and preferredHolder while the feature is off', async () => {
    const strategy = 'OldestEmulationVersion';
    const spec = { ...HELD, strategy, preferredHolder: 'b' };
    expect((await leases.create('cle', { spec }))['spec']).toEqual(HELD);
  });

  it('drop unknown fields', async () => {
    const lease = {
      metadata: { name: 'unknown', shoeSize: 44 },
      spec: { ...HELD, colour: 'red' },
      extra: true,
    };
    const { code, body } = await leases.post(lease);
    expect(code).toBe(201);
    expect(body['spec']).toEqual(HELD);
    expect(body).not.toHaveProperty('extra');
    expect(body['metadata']).not.toHaveProperty('shoeSize');
  });
});

describeOnServer('The times of a Lease', (server) => {
  const leases = new RawLeases(server);
  let count = 0;
  const renewedAt = (renewTime: unknown) =>
    leases.post({
      metadata: { name: `time-${(count += 1)}` },
      spec: { renewTime },
    });

  it.each([
    ['2026-01-02T03:04:05.678901Z', '2026-01-02T03:04:05.678901Z'],
    ['2026-01-02T03:04:05.678901+02:00', '2026-01-02T01:04:05.678901Z'],
    ['2024-02-29T23:59:59.999999Z', '2024-02-29T23:59:59.999999Z'],
  ])('are kept to the microsecond, in UTC: %s', async (given, kept) => {
    const { code, body } = await renewedAt(given);
    expect(code).toBe(201);
    expect(body['spec']).toEqual({ renewTime: kept });
  });

  it.each([
    '2026-01-02T03:04:05Z',
    '2026-01-02T03:04:05.678Z',
    '2026-01-02T03:04:05.67890Z',
    '2026-01-02T03:04:05.6789012Z',
    '2026-01-02T03:04:05.678901',
    '2026-01-02T03:04:05.678901z',
    '2026-01-02T03:04:05.678901+0200',
    '2026-01-02 03:04:05.678901Z',
    '2026-02-29T03:04:05.678901Z',
    '2026-01-02T24:00:00.000000Z',
    '2026-01-02T23:59:60.000000Z',
    '',
    1_767_323_045,
  ])('have six fraction digits and nothing odd: %j', async (given) => {
    expect(await renewedAt(given)).toMatchObject(failure(400, 'BadRequest'));
  });

  it('can be absent', async () => {
    expect((await renewedAt(null)).body['spec']).toEqual({});
  });

  it('are absent for the zero time of Go', async () => {
    const { body } = await renewedAt('0001-01-01T00:00:00.000000Z');
    expect(body['spec'].renewTime ?? null).toBeNull();
  });
});

describeOnServer('The metadata of a Lease', (server) => {
  const leases = new RawLeases(server);

  it('allows a name of 253 characters', async () => {
    const name = `${'a'.repeat(250)}.b1`;
    await leases.create(name);
    expect((await leases.get(name)).code).toBe(200);
  });

  it.each([
    'a'.repeat(254),
    'Upper',
    'under_score',
    'a..b',
    '-a',
    'a-',
    'a.b-.c',
    'a b',
    'ä',
  ])('forbids the name %s', async (name) => {
    expect(await leases.post({ metadata: { name } })).toMatchObject(
      invalid(name, 'metadata.name'),
    );
  });

  it('requires a name', async () => {
    expect(await leases.post({})).toMatchObject(
      failure(422, 'Invalid', {
        causes: [
          expect.objectContaining({
            reason: 'FieldValueRequired',
            field: 'metadata.name',
          }),
        ],
      }),
    );
  });

  it.each([
    ['label-key', 'labels', { 'a b': 'c' }],
    ['label-prefix', 'labels', { 'Under_score/a': 'c' }],
    ['label-value', 'labels', { a: 'b c' }],
    ['label-length', 'labels', { a: 'b'.repeat(64) }],
    ['annotation-key', 'annotations', { 'a b': 'c' }],
  ])('forbids a bad %s', async (name, field, value) => {
    expect(
      await leases.post({ metadata: { name, [field]: value } }),
    ).toMatchObject(invalid(name, `metadata.${field}`));
  });

  it('has room for 256 KiB of annotations', async () => {
    const most = { a: 'x'.repeat(256 * 1024 - 1) };
    const full = { metadata: { name: 'full', annotations: most } };
    const { code, body } = await leases.post(full);
    expect(code).toBe(201);
    expect(body['metadata'].annotations).toEqual(most);
    const more = { a: `${most.a}x` };
    const over = { metadata: { name: 'over', annotations: more } };
    expect(await leases.post(over)).toMatchObject(
      failure(422, 'Invalid', {
        causes: [
          expect.objectContaining({
            reason: 'FieldValueTooLong',
            field: 'metadata.annotations',
          }),
        ],
      }),
    );
  });

  it('keeps any text', async () => {
    const annotations = { note: 'zażółć "<&>" \\ \u2028 \u{1F512}\n' };
    const spec = { holderIdentity: 'pod/ü_\u{1F512}' };
    const created = await leases.create('text', {
      metadata: { annotations },
      spec,
    });
    expect(created['metadata'].annotations).toEqual(annotations);
    expect((await leases.get('text')).body['spec']).toEqual(spec);
  });
});

const named = (name: string) => JSON.stringify({ metadata: { name } });

describeOnServer('The body of a write', (server) => {
  const leases = new RawLeases(server);
  const send = (body: string, contentType?: string) =>
    leases.api.request('POST', leases.path(), {
      body,
      ...(contentType !== undefined && { contentType }),
    });

  it.each(['', '{', '[]', '"lease"', `${named('a')} x`])(
    'must be a JSON object: %j',
    async (body) => {
      expect(await send(body)).toMatchObject(failure(400, 'BadRequest'));
    },
  );

  it.each<Json>([
    { kind: 'Pod' },
    { apiVersion: 'v1', kind: 'Lease' },
    { apiVersion: 'coordination.k8s.io/v1beta1', kind: 'Lease' },
  ])('must be of the right kind: %j', async (type) => {
    expect(
      await leases.post({ ...type, metadata: { name: 'kind' } }),
    ).toMatchObject(failure(400, 'BadRequest'));
  });

  it('may be announced as JSON in any way', async () => {
    const types = ['application/json; charset=utf-8', 'Application/JSON'];
    for (const [i, type] of types.entries()) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await send(named(`type-${i}`), type)).code).toBe(201);
    }
  });

  it('must not be over 3 MiB', async () => {
    const spec = { holderIdentity: 'x'.repeat(3 * 1024 * 1024) };
    expect(
      await leases.post({ metadata: { name: 'large' }, spec }),
    ).toMatchObject(failure(413, 'RequestEntityTooLarge'));
  });
});
