/** How Leases are listed, who may do what, and what the API server says beside Leases. */
import { randomUUID } from 'node:crypto';
import { KubeConfig } from '@kubernetes/client-node';
import { beforeAll, expect, it } from 'vitest';
import { describeOnServer, type ServerUnderTest } from '../api-servers.js';
import {
  aboutLease,
  failure,
  RawApi,
  RawLeases,
  versionOf,
  type Json,
  type RawAnswer,
} from './raw-api.js';

const REVIEWS = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';

const namesOf = ({ body }: RawAnswer) =>
  body['items'].map((item: Json) => item['metadata'].name);

/** A Lease as a list shows it. */
const asItem = ({ kind: _kind, apiVersion: _apiVersion, ...lease }: Json) =>
  lease;

/** Asks whether one may replace the Lease `a`. */
const askToUpdate = (api: RawApi, { namespace }: ServerUnderTest) =>
  api.request('POST', REVIEWS, {
    body: {
      spec: {
        resourceAttributes: {
          namespace,
          group: 'coordination.k8s.io',
          resource: 'leases',
          verb: 'update',
          name: 'a',
        },
      },
    },
  });

describeOnServer('Listing Leases', (server) => {
  const leases = new RawLeases(server);
  const list = (query = '') =>
    leases.api.request('GET', `${leases.path()}${query}`);
  let a: Json;
  let b: Json;

  beforeAll(async () => {
    b = await leases.create('b', { metadata: { labels: { tier: '1' } } });
    const labels = { tier: '2', extra: 'x' };
    a = await leases.create('a', { metadata: { labels } });
  });

  it('gives all of the namespace, and the version they are of', async () => {
    const { code, body } = await list();
    expect(code).toBe(200);
    expect(body).toMatchObject({
      kind: 'LeaseList',
      apiVersion: 'coordination.k8s.io/v1',
    });
    expect(body['items']).toEqual([asItem(a), asItem(b)]);
    expect(versionOf(body)).toBeGreaterThanOrEqual(versionOf(a));
  });

  it.each([
    ['labelSelector=tier%3D1', ['b']],
    ['labelSelector=tier%3D%3D2%2Cextra%3Dx', ['a']],
    ['labelSelector=tier%3D1%2Cextra%3Dx', []],
    ['labelSelector=tier+in+(1%2C3)', ['b']],
    ['labelSelector=tier+in+(1%2C2)%2Cextra%3Dx', ['a']],
    ['labelSelector=other+in+(1%2C2)', []],
    ['fieldSelector=metadata.name%3Da', ['a']],
    ['fieldSelector=metadata.name%3Dc', []],
  ])('selects by %s', async (query, expected) => {
    expect(namesOf(await list(`?${query}`))).toEqual(expected);
  });

  it('gives pages', async () => {
    const first = await list('?limit=1');
    expect(namesOf(first)).toEqual(['a']);
    const token = encodeURIComponent(first.body['metadata'].continue);
    const second = await list(`?limit=1&continue=${token}`);
    expect(namesOf(second)).toEqual(['b']);
    expect(second.body['metadata'].continue).toBeUndefined();
  });

  it.each([
    'fieldSelector=spec.holderIdentity%3Da',
    'labelSelector=a+b',
    'limit=abc',
  ])('refuses %s', async (query) => {
    expect(await list(`?${query}`)).toMatchObject(failure(400, 'BadRequest'));
  });
});

describeOnServer('Access', (server) => {
  const leases = new RawLeases(server);
  it('is denied to an unknown token', async () => {
    const config = new KubeConfig();
    config.loadFromString(server.kubeConfigYaml);
    const user = { name: 'stranger', token: randomUUID() };
    config.users = [user];
    config.contexts = config.contexts.map((context) => ({
      ...context,
      user: 'stranger',
    }));
    const stranger = new RawApi(config.exportConfig());
    expect(await stranger.request('GET', leases.path())).toMatchObject(
      failure(401, 'Unauthorized'),
    );
  });

  it('is allowed for a user with all rights', async () => {
    const { code, body } = await askToUpdate(leases.api, server);
    expect(code).toBe(201);
    expect(body).toMatchObject({
      kind: 'SelfSubjectAccessReview',
      apiVersion: 'authorization.k8s.io/v1',
      status: { allowed: true },
    });
  });

  it('is denied for a user without rights', async (context) => {
    const config = server.restrictedKubeConfigYaml;
    context.skip(config === undefined, 'this cluster has no such user');
    const restricted = new RawApi(config ?? '');
    const answer = await askToUpdate(restricted, server);
    expect(answer).toMatchObject({
      code: 201,
      body: { status: { allowed: false } },
    });

    const body = { metadata: { name: 'a' } };
    const { name: _, ...collection } = aboutLease('a');
    const one = aboutLease('a');
    const byName = `${leases.path()}?watch=1&fieldSelector=metadata.name%3Da`;
    const patch = { body: {}, contentType: 'application/merge-patch+json' };
    for (const [method, path, options, details] of [
      ['GET', leases.path('a'), {}, one],
      ['GET', leases.path(), {}, collection],
      ['GET', byName, {}, one],
      ['POST', leases.path(), { body }, collection],
      ['PUT', leases.path('a'), { body }, one],
      ['PATCH', leases.path('a'), patch, one],
      ['DELETE', leases.path('a'), {}, one],
    ] as const) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await restricted.request(method, path, options)).toMatchObject(
        failure(403, 'Forbidden', details),
      );
    }
  });
});

describeOnServer('Access by name', (server) => {
  const leases = new RawLeases(server);

  it('goes as far as the names', async (context) => {
    const config = server.restrictedKubeConfigYaml;
    context.skip(config === undefined, 'this cluster has no such user');
    const restricted = new RawApi(config ?? '');
    await server.grant({
      apiGroups: ['coordination.k8s.io'],
      resources: ['leases'],
      resourceNames: ['a', 'missing'],
      verbs: ['get', 'list', 'watch', 'update'],
    });
    const a = await leases.create('a');
    const b = await leases.create('b');

    const codeOf = async (method: string, path: string, body?: Json) =>
      (await restricted.request(method, path, { body })).code;
    const collection = (name: string) =>
      `${leases.path()}?fieldSelector=metadata.name%3D${name}`;
    expect(await codeOf('GET', leases.path('a'))).toBe(200);
    expect(await codeOf('GET', leases.path('b'))).toBe(403);
    expect(await codeOf('PUT', leases.path('a'), a)).toBe(200);
    expect(await codeOf('PUT', leases.path('b'), b)).toBe(403);
    expect(await codeOf('GET', leases.path())).toBe(403);
    expect(await codeOf('GET', collection('a'))).toBe(200);
    expect(await codeOf('GET', collection('b'))).toBe(403);
    const watch = await restricted.watch(`${collection('a')}&watch=1`);
    expect(await watch.next()).toEqual({ type: 'ADDED', object: a });
    expect(await codeOf('GET', `${collection('b')}&watch=1`)).toBe(403);
    expect(await codeOf('GET', `${leases.path()}?watch=1`)).toBe(403);

    // An update that creates needs the right to create.
    const missing = { metadata: { name: 'missing' } };
    expect(await codeOf('PUT', leases.path('missing'), missing)).toBe(403);
    expect(
      (await askToUpdate(restricted, server)).body['status'],
    ).toMatchObject({ allowed: true });
  });
});

describeOnServer('Beside Leases', (server) => {
  const leases = new RawLeases(server);
  const get = (path: string) => leases.api.request('GET', path);

  it('there is word of readiness', async () => {
    expect(await get('/readyz')).toMatchObject({ code: 200, text: 'ok' });
  });

  it.each([
    '/apis/coordination.k8s.io/v1/locks',
    '/apis/coordination.k8s.io/v2/leases',
    '/api/v1/namespaces/default/leases',
  ])('there is no %s', async (path) => {
    expect(await get(path)).toMatchObject(failure(404, 'NotFound', {}));
  });

  it('a collection is not replaced, and an object not posted to', async () => {
    const body = { metadata: { name: 'a' } };
    const wrong = failure(405, 'MethodNotAllowed');
    const { api } = leases;
    expect(await api.request('PUT', leases.path(), { body })).toMatchObject(
      wrong,
    );
    expect(await api.request('POST', leases.path('a'), { body })).toMatchObject(
      wrong,
    );
  });
});
