/** Each way to fail has its reason, says whether a write may have been applied, and gives no secret away. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KubeConfig } from '@kubernetes/client-node';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import { LeaseStoreError } from '../../lib/kube/lease-store.js';
import {
  answer,
  kubeConfigFor,
  leaseNamed,
  portOf,
  statusObject,
  StubApi,
  type Handler,
} from './stub-api.js';
import { eventually } from '../support/eventually.js';

const key = { namespace: 'default', name: 'a' };
const lease = leaseNamed('a');
const SECRET = 'very-secret-token';

const breakOff: Handler = (response) => {
  response.destroy();
};
const answerSecret: Handler = (response) => answer(response, 200, SECRET);
const answerSecrets: Handler = (response) =>
  answer(
    response,
    500,
    statusObject(500, 'InternalError', { name: SECRET }, SECRET),
    { 'x-echo': SECRET },
  );

async function failureOf(call: Promise<unknown>): Promise<LeaseStoreError> {
  const error: unknown = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof LeaseStoreError) {
    return error;
  }
  throw new Error(`expected a LeaseStoreError, not ${inspect(error)}`);
}

const byPut = (store: KubernetesLeaseStore) => store.replace(key, lease);
const byPatch = (store: KubernetesLeaseStore) =>
  store.patch(key, { type: 'json', operations: [] });

/** What a write fails with, where the server does this. */
async function failureBy(
  handle: Handler,
  write: (store: KubernetesLeaseStore) => Promise<unknown> = byPut,
): Promise<LeaseStoreError> {
  await using api = await StubApi.start(handle);
  const store = new KubernetesLeaseStore({
    kubeConfig: api.kubeConfig({ token: SECRET }),
    requestTimeout: 5_000,
  });
  try {
    return await failureOf(write(store));
  } finally {
    store.close();
  }
}

async function failureWith(kubeConfig: KubeConfig): Promise<LeaseStoreError> {
  const store = new KubernetesLeaseStore({ kubeConfig, requestTimeout: 5_000 });
  try {
    return await failureOf(store.replace(key, lease));
  } finally {
    store.close();
  }
}

describe('a write that is answered', () => {
  it.each([
    [301, 'server', false],
    [400, 'invalid', false],
    [401, 'unauthorized', false],
    [403, 'forbidden', false],
    [404, 'not-found', false],
    [405, 'invalid', false],
    [408, 'server', true],
    [409, 'conflict', false],
    [410, 'invalid', false],
    [413, 'invalid', false],
    [415, 'invalid', false],
    [422, 'invalid', false],
    [429, 'throttled', false],
    [500, 'server', true],
    [502, 'server', true],
    [503, 'server', true],
    [504, 'server', true],
  ])('with %i is %s, ambiguous: %s', async (status, reason, ambiguous) => {
    const error = await failureBy((response) =>
      answer(response, status, statusObject(status, 'SomeReason'), {
        location: '/elsewhere',
      }),
    );
    expect(error).toMatchObject({ reason, ambiguous, status });
    expect(error.message).toContain(`Can't update Lease default/a`);
    expect(error.message).toContain(`${status} SomeReason`);
  });

  it.each([
    ['nothing', ''],
    ['half an object', '{"metadata":'],
    ['a list', '[]'],
    ['null', 'null'],
    ['HTML', '<html></html>'],
    ['no metadata', '{}'],
    ['no uid', { metadata: { name: 'a', resourceVersion: '1' } }],
    [
      'a version that is a number',
      { metadata: { ...lease.metadata, resourceVersion: 1 } },
    ],
    [
      'an empty version',
      { metadata: { ...lease.metadata, resourceVersion: '' } },
    ],
    ['another Lease', leaseNamed('b')],
    [
      'a Lease of another namespace',
      { metadata: { ...lease.metadata, namespace: 'other' } },
    ],
    ['a spec that is a text', { ...lease, spec: 'x' }],
    ['a holder that is a number', { ...lease, spec: { holderIdentity: 5 } }],
    ['a time that is a number', { ...lease, spec: { renewTime: 5 } }],
    [
      'a duration that is a text',
      { ...lease, spec: { leaseDurationSeconds: '15' } },
    ],
    [
      'a duration that is not whole',
      { ...lease, spec: { leaseDurationSeconds: 1.5 } },
    ],
    [
      'annotations that are not texts',
      { ...lease, metadata: { ...lease.metadata, annotations: { a: 1 } } },
    ],
    [
      'labels that are a list',
      { ...lease, metadata: { ...lease.metadata, labels: [] } },
    ],
  ])('with success and %s is of the server, and ambiguous', async (_, body) => {
    const error = await failureBy((response) => answer(response, 200, body));
    expect(error).toMatchObject({
      reason: 'server',
      ambiguous: true,
      status: 200,
    });
  });

  it('with fields that are null, absent or unknown is read all the same', async () => {
    const body = {
      ...lease,
      extra: { deep: [1] },
      metadata: { ...lease.metadata, annotations: null, managedFields: [{}] },
      spec: { holderIdentity: null, renewTime: null, more: true },
    };
    await using api = await StubApi.start((response, { method, body: sent }) =>
      answer(response, 200, method === 'GET' ? body : sent),
    );
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig(),
      requestTimeout: 5_000,
    });
    const read = await store.get(key);
    expect(read).toEqual(body);
    // And is sent back as it came.
    expect(read && (await store.replace(key, read))).toEqual(body);
    store.close();
  });

  it('with a prototype to pollute pollutes nothing', async () => {
    const json = JSON.stringify(lease).replace(
      /^\{/,
      '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},',
    );
    await using api = await StubApi.start((response) =>
      answer(response, 200, json),
    );
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig(),
      requestTimeout: 5_000,
    });
    const read = await store.get(key);
    expect(read?.polluted).toBeUndefined();
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    store.close();
  });
});

describe('a patch that is answered with 422', () => {
  const about = { name: 'a', group: 'coordination.k8s.io', kind: 'leases' };
  const policy =
    'leases.coordination.k8s.io "a" is forbidden: ValidatingAdmissionPolicy \'p\' denied request: no more';
  it.each([
    ['no object and no cause', {}, '', 'conflict'],
    [
      'the uid',
      { ...about, causes: [{ field: 'spec' }, { field: 'metadata.uid' }] },
      '',
      'conflict',
    ],
    [
      'a field',
      { ...about, causes: [{ field: 'spec.renewTime' }] },
      '',
      'invalid',
    ],
    ['the object alone', about, '', 'invalid'],
    ['an objection', {}, policy, 'invalid'],
  ])('and names %s', async (_, details, message, reason) => {
    const handle: Handler = (response) =>
      answer(response, 422, statusObject(422, 'Invalid', details, message));
    expect(await failureBy(handle, byPatch)).toMatchObject({
      reason,
      ambiguous: false,
      status: 422,
    });
    // A PUT has no conditions that the API server answers so.
    expect(await failureBy(handle)).toMatchObject({ reason: 'invalid' });
  });

  it('by a proxy is no conflict', async () => {
    const error = await failureBy(
      (response) => answer(response, 422, '<html></html>'),
      byPatch,
    );
    expect(error).toMatchObject({ reason: 'invalid', ambiguous: false });
  });
});

describe('an answer that is too long', () => {
  const MEBIBYTE = 1024 * 1024;

  it.each([
    ['says so', { 'content-length': 64 * MEBIBYTE }],
    ['does not say so', {}],
  ])('and %s is not read to its end', async (_, headers) => {
    let sent = 0;
    await using api = await StubApi.start(async (response) => {
      response.writeHead(200, headers);
      for (; sent < 64 && !response.destroyed; sent++) {
        if (!response.write(Buffer.alloc(MEBIBYTE, 0x20))) {
          await new Promise<void>((resolve) => {
            response.once('drain', resolve).once('close', resolve);
          });
        }
      }
    });
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig(),
      requestTimeout: 5_000,
    });
    expect(await failureOf(store.replace(key, lease))).toMatchObject({
      reason: 'server',
      ambiguous: true,
    });
    await eventually(() => expect(api.openConnections).toBe(0));
    expect(sent).toBeLessThan(32);
    store.close();
  });

  it('and is a refusal is still a refusal', async () => {
    const error = await failureBy((response) =>
      answer(response, 409, ' '.repeat(4 * MEBIBYTE)),
    );
    expect(error).toMatchObject({ reason: 'conflict', ambiguous: false });
  });
});

describe('a write that is not answered', () => {
  it('since nobody listens was not applied', async () => {
    const server = net.createServer();
    await new Promise<void>((resolve) =>
      server.listen(0, '127.0.0.1', resolve),
    );
    const port = portOf(server);
    await new Promise((resolve) => server.close(resolve));
    const error = await failureWith(
      kubeConfigFor(`https://127.0.0.1:${port}`, { token: SECRET }),
    );
    expect(error).toMatchObject({ reason: 'network', ambiguous: false });
    expect(error.message).toContain(`127.0.0.1:${port} (ECONNREFUSED)`);
  });

  it('since the host has no address was not applied', async () => {
    const error = await failureWith(kubeConfigFor('https://nowhere.invalid'));
    expect(error).toMatchObject({ reason: 'network', ambiguous: false });
  });

  it('since the server does not speak TLS was not applied', async () => {
    await using api = await StubApi.start();
    const error = await failureWith(
      kubeConfigFor(`https://127.0.0.1:${api.port}`, { token: SECRET }),
    );
    expect(error).toMatchObject({ reason: 'network', ambiguous: false });
    expect(api.received).toEqual([]);
  });

  it.each<[string, Handler]>([
    ['before the answer', breakOff],
    [
      'in the middle of the answer',
      (response) => {
        response.writeHead(200, { 'content-length': 999 });
        response.write('{"kind":', () => response.destroy());
      },
    ],
  ])(
    'since the connection breaks %s may have been applied',
    async (_, handle) => {
      expect(await failureBy(handle)).toMatchObject({
        reason: 'network',
        ambiguous: true,
      });
    },
  );

  it('of a part may have been applied too', async () => {
    expect(await failureBy(breakOff, byPatch)).toMatchObject({
      reason: 'network',
      ambiguous: true,
    });
  });

  it('in HTTP may have been applied', async () => {
    const error = await failureBy((response) => {
      response.socket?.end('SMTP ready\r\n');
    });
    expect(error).toMatchObject({ reason: 'server', ambiguous: true });
  });

  it('since it broke in the same ways is not ambiguous when it only reads', async () => {
    await using api = await StubApi.start(breakOff);
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig(),
      requestTimeout: 5_000,
    });
    for (const call of [
      store.get(key),
      store.list('default'),
      store.mayI('get', key),
    ]) {
      expect(await failureOf(call)).toMatchObject({
        reason: 'network',
        ambiguous: false,
      });
    }
    store.close();
  });
});

describe('credentials that can not be had', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lease-store-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it.each([
    [
      'an exec plugin that is missing',
      { exec: { command: '/no/such/plugin' } },
      'ENOENT',
    ],
    [
      'an exec plugin that fails, and prints a secret',
      {
        exec: {
          command: process.execPath,
          args: ['-e', `console.error('${SECRET}');process.exit(1)`],
        },
      },
      'exec plugin',
    ],
    [
      'an exec plugin that prints a secret, and no JSON',
      {
        exec: {
          command: process.execPath,
          args: ['-e', `console.log('${SECRET}')`],
        },
      },
      'exec plugin',
    ],
    [
      'a token file that is missing',
      {
        authProvider: {
          name: 'tokenFile',
          config: { tokenFile: '/no/such/file' },
        },
      },
      'ENOENT',
    ],
    [
      'a client certificate that is missing',
      { certFile: '/no/such/file' },
      'ENOENT',
    ],
    [
      'a token that is no header',
      { token: `${SECRET}\u0000` },
      'ERR_INVALID_CHAR',
    ],
  ])('because of %s fail the request, unsent', async (_, user, said) => {
    await using api = await StubApi.start();
    const error = await failureWith(api.kubeConfig(user));
    expect(error).toMatchObject({ reason: 'unauthorized', ambiguous: false });
    expect(error.message).toContain(said);
    expect(inspect(error, { showHidden: true, depth: null })).not.toContain(
      SECRET,
    );
    expect(api.received).toEqual([]);
  });

  it('because of a certificate that can not be parsed fail the request, unsent', async () => {
    const certFile = join(folder, 'broken.crt');
    await writeFile(certFile, 'not a certificate');
    const error = await failureWith(
      kubeConfigFor('https://127.0.0.1:1', { certFile }),
    );
    expect(error).toMatchObject({ reason: 'unauthorized', ambiguous: false });
  });
});

describe('Retry-After', () => {
  const DATE = 'Wed, 21 Oct 2026 07:28:00 GMT';

  it.each([
    ['3', 3_000],
    ['0', 0],
    ['86400', 60_000],
    ['99999999999999999999', 60_000],
    ['-3', undefined],
    ['soon', undefined],
    ['', undefined],
    // By the server's own clock.
    ['Wed, 21 Oct 2026 07:28:07 GMT', 7_000],
    ['Wed, 21 Oct 2026 07:27:00 GMT', 0],
    ['Thu, 22 Oct 2026 07:28:00 GMT', 60_000],
  ])('of %j is %s ms', async (value, expected) => {
    for (const status of [429, 503]) {
      const error = await failureBy((response) =>
        answer(response, status, statusObject(status, 'TooManyRequests'), {
          'retry-after': value,
          date: DATE,
        }),
      );
      expect(error.retryAfter).toBe(expected);
    }
  });

  it('is taken from the Status where there is no header', async () => {
    const details = { retryAfterSeconds: 2 };
    const error = await failureBy((response) =>
      answer(response, 429, statusObject(429, 'TooManyRequests', details)),
    );
    expect(error.retryAfter).toBe(2_000);
  });
});

describe('a message', () => {
  const failCreate = async (
    status: number,
    reason: string,
    details = {},
    message = '',
  ) => {
    await using api = await StubApi.start((response) =>
      answer(response, status, statusObject(status, reason, details, message)),
    );
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig({ token: SECRET }),
      requestTimeout: 5_000,
    });
    try {
      return (await failureOf(store.create(key, lease))).message;
    } finally {
      store.close();
    }
  };

  it('says which right is missing', async () => {
    const message =
      'leases.coordination.k8s.io is forbidden: User "system:serviceaccount:default:app" cannot create resource "leases" in API group "coordination.k8s.io" in the namespace "default"';
    expect(await failCreate(403, 'Forbidden', {}, message)).toBe(
      `Can't create Lease default/a: the API server answered 403 Forbidden. Grant these credentials the verb "create" on leases.coordination.k8s.io in namespace default (for a at least).`,
    );
  });

  it.each([
    [
      403,
      'leases.coordination.k8s.io "a" is forbidden: exceeded quota: few, requested: count/leases=1, used: count/leases=5, limited: count/leases=5',
      'It says: exceeded quota: few, requested',
    ],
    [
      403,
      "leases.coordination.k8s.io \"a\" is forbidden: ValidatingAdmissionPolicy 'freeze' with binding 'all' denied request: no changes today",
      "It says: ValidatingAdmissionPolicy 'freeze' with binding 'all' denied request: no changes today",
    ],
    [
      403,
      'admission webhook "policy.example.com" denied the request: no changes today',
      'It says: admission webhook "policy.example.com" denied the request: no changes today',
    ],
    [
      400,
      'admission webhook "policy.example.com" denied the request: no\nchanges today',
      'It says: admission webhook "policy.example.com" denied the request: no?changes today',
    ],
    [403, '', 'It gives no reason. A missing right would be named'],
    [403, `Bearer ${SECRET}`, 'It gives no reason'],
  ])(
    'passes on what else keeps the request out (%d): %s',
    async (code, message, said) => {
      const told = await failCreate(code, 'Forbidden', {}, message);
      expect(told).toContain(said);
      expect(told).not.toContain('Grant');
      expect(told).not.toContain(SECRET);
    },
  );

  it('says that the namespace is going, rather than that a right is missing', async () => {
    const causes = [
      { reason: 'NamespaceTerminating', field: 'metadata.namespace' },
    ];
    expect(await failCreate(403, 'Forbidden', { causes })).toContain(
      'The namespace default is being deleted',
    );
  });

  it('says that the namespace is missing', async () => {
    const details = { kind: 'namespaces', name: 'default' };
    expect(await failCreate(404, 'NotFound', details)).toContain(
      'The namespace default does not exist',
    );
  });

  it('says that the address is wrong', async () => {
    expect(await failCreate(404, 'NotFound')).toContain('no such API');
  });

  it.each([SECRET, 'Two words', 'line\nfeed', 'x'.repeat(65), 5, null])(
    'leaves out a reason that is not a word: %j',
    async (reason) => {
      const error = await failureBy((response) =>
        answer(response, 409, { ...statusObject(409, ''), reason }),
      );
      expect(error.message).toContain('answered 409. ');
    },
  );

  it('never shows a token, a header or a body', async () => {
    for (const handle of [answerSecrets, answerSecret, breakOff]) {
      const error = await failureBy(handle);
      expect(inspect(error, { showHidden: true, depth: null })).not.toContain(
        SECRET,
      );
      expect(String(error.stack)).not.toContain(SECRET);
    }
  });
});

async function against<T>(
  body: unknown,
  use: (store: KubernetesLeaseStore) => Promise<T>,
): Promise<T> {
  await using api = await StubApi.start((response) =>
    answer(response, 404, body),
  );
  const store = new KubernetesLeaseStore({
    kubeConfig: api.kubeConfig(),
    requestTimeout: 5_000,
  });
  try {
    return await use(store);
  } finally {
    store.close();
  }
}

describe('404', () => {
  const precondition = { uid: 'u', resourceVersion: '1' };

  it('for the Lease means that there is none, and that it is deleted', async () => {
    const body = statusObject(404, 'NotFound', { kind: 'leases', name: 'a' });
    await against(body, async (store) => {
      expect(await store.get(key)).toBeUndefined();
      await expect(store.delete(key, precondition)).resolves.toBe(true);
    });
  });

  it.each([
    ['the API', statusObject(404, 'NotFound')],
    ['whatever a web server means', '404 page not found'],
  ])('for %s is a failure', async (_, body) => {
    await against(body, async (store) => {
      for (const call of [
        store.get(key),
        store.delete(key, precondition),
        store.list('default'),
      ]) {
        expect(await failureOf(call)).toMatchObject({ reason: 'not-found' });
      }
    });
  });
});
