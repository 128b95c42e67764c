/** The store keeps the promises of LeaseStore, on the embedded API server and on the real one. */
import { KubeConfig } from '@kubernetes/client-node';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import type { LeaseKey, LeasePatch } from '../../lib/kube/lease-store.js';
import { describeOnServer } from '../api-servers.js';

describeOnServer('KubernetesLeaseStore', (server) => {
  let store: KubernetesLeaseStore;
  let key: LeaseKey;
  let count = 0;
  beforeEach(() => {
    store = new KubernetesLeaseStore({
      kubeConfig: server.kubeConfig,
      requestTimeout: 10_000,
      watch: { backoff: 50 },
    });
    key = { namespace: server.namespace, name: `lease-${count++}` };
  });
  afterEach(() => store.close());

  const spec = {
    holderIdentity: 'me',
    leaseDurationSeconds: 15,
    acquireTime: '2026-01-01T00:00:00.000001Z',
    renewTime: '2026-01-01T00:00:00.000002Z',
    leaseTransitions: 1,
  };
  const create = () =>
    store.create(key, { metadata: { name: key.name }, spec });

  it('knows the namespace of the context', async () => {
    expect(await store.defaultNamespace()).toBe(server.namespace);
  });

  it('reads what it created', async () => {
    expect(await store.get(key)).toBeUndefined();
    const created = await store.create(key, {
      metadata: {
        name: key.name,
        annotations: { 'example.com/a': 'ü 🔒' },
        labels: { app: 'x' },
      },
      spec,
    });
    expect(created.spec).toEqual(spec);
    expect(await store.get(key)).toEqual(created);
  });

  it('creates from a Lease that was stored before', async () => {
    const first = await create();
    await store.delete(key, first.metadata);
    const {
      creationTimestamp: _,
      managedFields: __,
      ...metadata
    } = first.metadata;
    const second = await store.create(key, { ...first, metadata });
    expect(second.metadata.uid).not.toBe(first.metadata.uid);
    expect(second.spec).toEqual(spec);
    expect(BigInt(second.metadata.resourceVersion)).toBeGreaterThan(
      BigInt(first.metadata.resourceVersion),
    );
  });

  it('creates once', async () => {
    await create();
    await expect(create()).rejects.toMatchObject({
      reason: 'conflict',
      status: 409,
      ambiguous: false,
      alreadyExists: true,
      message: expect.stringContaining('exists already') as unknown,
    });
  });

  it('replaces the version it was given, and no other', async () => {
    const first = await create();
    const second = await store.replace(key, {
      ...first,
      spec: { ...spec, holderIdentity: 'you' },
    });
    expect(second.spec?.holderIdentity).toBe('you');
    expect(second.metadata.uid).toBe(first.metadata.uid);
    await expect(store.replace(key, first)).rejects.toMatchObject({
      reason: 'conflict',
      ambiguous: false,
    });
    expect(await store.get(key)).toEqual(second);
  });

  it('does not create when it replaces', async () => {
    const first = await create();
    await store.delete(key, first.metadata);
    await expect(store.replace(key, first)).rejects.toMatchObject({
      reason: expect.stringMatching(/^(conflict|not-found)$/) as unknown,
      ambiguous: false,
    });
    expect(await store.get(key)).toBeUndefined();
  });

  it('does not replace the next Lease of the same name', async () => {
    const first = await create();
    await store.delete(key, first.metadata);
    const second = await create();
    await expect(
      store.replace(key, {
        ...first,
        metadata: {
          ...first.metadata,
          resourceVersion: second.metadata.resourceVersion,
        },
      }),
    ).rejects.toMatchObject({ reason: 'conflict' });
    expect(await store.get(key)).toEqual(second);
  });

  it('changes a part, whatever became of the rest', async () => {
    const first = await create();
    await store.replace(key, {
      ...first,
      spec: { ...spec, leaseTransitions: 7 },
    });
    const merged = await store.patch(key, {
      type: 'merge',
      body: {
        metadata: {
          uid: first.metadata.uid,
          annotations: { 'example.com/a': '1' },
        },
      },
    });
    expect(merged.spec).toEqual({ ...spec, leaseTransitions: 7 });
    // Made when it is sent.
    const patched = await store.patch(key, () => ({
      type: 'json',
      operations: [
        { op: 'test', path: '/metadata/uid', value: first.metadata.uid },
        { op: 'test', path: '/spec/holderIdentity', value: 'me' },
        { op: 'replace', path: '/spec/holderIdentity', value: 'you' },
        { op: 'remove', path: '/metadata/annotations/example.com~1a' },
      ],
    }));
    expect(patched.spec?.holderIdentity).toBe('you');
    expect(patched.metadata.annotations).toBeUndefined();
    expect(await store.get(key)).toEqual(patched);
  });

  const absent = '/metadata/annotations/absent';
  const otherUid = '00000000-0000-4000-8000-000000000000';
  it.each<[string, LeasePatch]>([
    [
      'a test fails',
      {
        type: 'json',
        operations: [
          { op: 'test', path: '/spec/holderIdentity', value: 'you' },
          { op: 'replace', path: '/spec/holderIdentity', value: 'you' },
        ],
      },
    ],
    [
      'a path is absent',
      { type: 'json', operations: [{ op: 'remove', path: absent }] },
    ],
    [
      'a parent is absent',
      { type: 'json', operations: [{ op: 'add', path: absent, value: '1' }] },
    ],
    [
      'the uid is another',
      { type: 'merge', body: { metadata: { uid: otherUid } } },
    ],
    [
      'the version is another',
      { type: 'merge', body: { metadata: { resourceVersion: '1' } } },
    ],
  ])('changes nothing if %s', async (_, patch) => {
    const created = await create();
    await expect(store.patch(key, patch)).rejects.toMatchObject({
      reason: 'conflict',
      ambiguous: false,
      message: expect.stringContaining('changed the Lease first') as unknown,
    });
    expect(await store.get(key)).toEqual(created);
  });

  it('changes no Lease that is missing, and none to what is invalid', async () => {
    const patch: LeasePatch = {
      type: 'merge',
      body: { spec: { leaseDurationSeconds: 0 } },
    };
    await expect(store.patch(key, patch)).rejects.toMatchObject({
      reason: 'not-found',
      ambiguous: false,
      message: expect.stringContaining('does not exist') as unknown,
    });
    const created = await create();
    await expect(store.patch(key, patch)).rejects.toMatchObject({
      reason: 'invalid',
      ambiguous: false,
    });
    expect(await store.get(key)).toEqual(created);
  });

  it('deletes the version it was given, and no other', async () => {
    const first = await create();
    const second = await store.replace(key, { ...first, spec: {} });
    await expect(store.delete(key, first.metadata)).rejects.toMatchObject({
      reason: 'conflict',
    });
    await store.delete(key, second.metadata);
    expect(await store.get(key)).toBeUndefined();
    await store.delete(key, second.metadata);
  });

  it('refuses what the API server finds wrong', async () => {
    await expect(
      store.create(key, {
        metadata: { name: key.name },
        spec: { ...spec, leaseDurationSeconds: 0 },
      }),
    ).rejects.toMatchObject({ reason: 'invalid', ambiguous: false });
  });

  it('lists a namespace', async () => {
    const created = await create();
    const leases = await store.list(key.namespace);
    const found = leases.find(({ metadata }) => metadata.name === key.name);
    expect(found?.metadata.resourceVersion).toBe(
      created.metadata.resourceVersion,
    );
    expect(await store.list(await server.createNamespace())).toEqual([]);
  });

  it('says that a namespace is missing', async () => {
    const elsewhere = { ...key, namespace: 'no-such-namespace' };
    await expect(
      store.create(elsewhere, { metadata: { name: key.name }, spec }),
    ).rejects.toMatchObject({
      reason: 'not-found',
      message: expect.stringContaining('does not exist') as unknown,
    });
    expect(await store.get(elsewhere)).toBeUndefined();
  });

  it('says that a namespace is being deleted', async () => {
    const namespace = await server.createNamespace();
    await server.terminateNamespace(namespace);
    await expect(
      store.create(
        { ...key, namespace },
        { metadata: { name: key.name }, spec },
      ),
    ).rejects.toMatchObject({
      reason: 'forbidden',
      message: expect.stringContaining('is being deleted') as unknown,
    });
  });

  it('knows what it may do, and says which right is missing', async ({
    skip,
  }) => {
    expect(await store.mayI('update', key)).toBe(true);
    const restricted = server.restrictedKubeConfigYaml;
    skip(!restricted, 'needs a user without rights');
    const kubeConfig = new KubeConfig();
    kubeConfig.loadFromString(restricted ?? '');
    const outsider = new KubernetesLeaseStore({
      kubeConfig,
      requestTimeout: 10_000,
    });
    expect(await outsider.mayI('update', key)).toBe(false);
    expect(await outsider.mayI('list', { namespace: key.namespace })).toBe(
      false,
    );
    const nothing: LeasePatch = { type: 'merge', body: {} };
    await expect(outsider.patch(key, nothing)).rejects.toMatchObject({
      reason: 'forbidden',
      message: expect.stringContaining('the verb "patch"') as unknown,
    });
    await expect(outsider.get(key)).rejects.toMatchObject({
      reason: 'forbidden',
      message: expect.stringContaining('the verb "get"') as unknown,
    });
    outsider.close();
  });

  it('says that the credentials are refused', async () => {
    const kubeConfig = server.kubeConfig;
    const cluster = kubeConfig.getCurrentCluster();
    kubeConfig.loadFromOptions({
      clusters: [cluster],
      users: [{ name: 'nobody', token: 'not-a-token' }],
      contexts: [{ name: 'x', cluster: cluster?.name, user: 'nobody' }],
      currentContext: 'x',
    });
    const nobody = new KubernetesLeaseStore({
      kubeConfig,
      requestTimeout: 10_000,
    });
    await expect(nobody.get(key)).rejects.toMatchObject({
      reason: 'unauthorized',
      status: 401,
    });
    nobody.close();
  });

  it('watches a Lease come, change, go and come again', async () => {
    const seen: unknown[] = [];
    store.watch(key, {
      changed: ({ metadata }) => seen.push(metadata.resourceVersion),
      deleted: () => seen.push('none'),
    });
    const expected: unknown[] = ['none'];
    const settled = () =>
      vi.waitFor(() => expect(seen).toEqual(expected), 5_000);
    await settled();
    const first = await create();
    expected.push(first.metadata.resourceVersion);
    await settled();
    const second = await store.replace(key, { ...first, spec: {} });
    expected.push(second.metadata.resourceVersion);
    await settled();
    await store.delete(key, second.metadata);
    expected.push('none');
    await settled();
    expected.push((await create()).metadata.resourceVersion);
    await settled();
  });

  it('watches what is there, and each name by itself', async () => {
    const created = await create();
    const other = { ...key, name: `${key.name}-other` };
    const seen: unknown[] = [];
    store.watch(key, {
      changed: ({ metadata }) => seen.push(metadata.resourceVersion),
      deleted: () => seen.push('none'),
    });
    store.watch(other, {
      changed: ({ metadata }) => seen.push(metadata.name),
      deleted: () => seen.push('no other'),
    });
    await vi.waitFor(
      () =>
        expect(new Set(seen)).toEqual(
          new Set([created.metadata.resourceVersion, 'no other']),
        ),
      5_000,
    );
    await store.create(other, { metadata: { name: other.name }, spec });
    await vi.waitFor(() => expect(seen).toContain(other.name), 5_000);
    expect(seen).toHaveLength(3);
  });

  it('carries many requests at once', async () => {
    const created = await create();
    const reads = await Promise.all(
      Array.from({ length: 100 }, () => store.get(key)),
    );
    expect(
      reads.every((read) => read?.metadata.uid === created.metadata.uid),
    ).toBe(true);
  });
});
