/** Every way in which a KubeConfig can authenticate reaches the API server, also when it changes. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  it,
  vi,
} from 'vitest';
import type { User } from '@kubernetes/client-node';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import { findSecrets } from '../security/secrets.js';
import { createAuthority } from './certificates.js';
import { leaseNamed, answer, StubApi } from './stub-api.js';
import { eventually } from '../support/eventually.js';

const key = { namespace: 'default', name: 'a' };
const authority = createAuthority('test-authority');
const base64 = (text: string) => Buffer.from(text).toString('base64');
const caData = base64(authority.certificate);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lease-store-'));
});
afterAll(() => rm(folder, { recursive: true }));
afterEach(() => vi.useRealTimers());

function serverTls(names = ['127.0.0.1']) {
  const { certificate, key: privateKey } = authority.issue('server', names);
  return {
    cert: certificate,
    key: privateKey,
    ca: authority.certificate,
    requestCert: true,
    rejectUnauthorized: false,
  };
}

async function authorizationOf(
  user: Partial<User>,
): Promise<string | undefined> {
  await using api = await StubApi.start();
  const store = new KubernetesLeaseStore({
    kubeConfig: api.kubeConfig(user),
    requestTimeout: 10_000,
  });
  await store.get(key);
  store.close();
  return api.received[0]?.headers.authorization;
}

/** An exec plugin: a script of this Node.js, so that no shell has to be there. */
async function execPlugin(script: string) {
  const path = join(folder, `plugin-${Math.random()}.mjs`);
  await writeFile(path, script);
  return { command: process.execPath, args: [path] };
}

describe('the credentials of a request', () => {
  it('are a token', async () => {
    expect(await authorizationOf({ token: 'abc' })).toBe('Bearer abc');
  });

  it('are a user name and a password', async () => {
    expect(await authorizationOf({ username: 'me', password: 'p:w' })).toBe(
      `Basic ${base64('me:p:w')}`,
    );
  });

  it('are the user name and password in the address', async () => {
    await using api = await StubApi.start();
    const server = api.url.replace('://', '://me:secret%20word@');
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig({}, { server }),
      requestTimeout: 10_000,
    });
    await store.get(key);
    store.close();
    expect(api.received[0]?.headers.authorization).toBe(
      `Basic ${base64('me:secret word')}`,
    );
  });

  it('come with the user to impersonate', async () => {
    await using api = await StubApi.start();
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig({ token: 'abc', impersonateUser: 'jane' }),
      requestTimeout: 10_000,
    });
    await store.get(key);
    store.close();
    expect(api.received[0]?.headers).toMatchObject({
      authorization: 'Bearer abc',
      'impersonate-user': 'jane',
    });
  });

  it('are what a token file holds, and follow it when it rotates', async () => {
    await using api = await StubApi.start();
    const tokenFile = join(folder, 'token');
    await writeFile(tokenFile, 'first\n');
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig({
        authProvider: { name: 'tokenFile', config: { tokenFile } },
      }),
      requestTimeout: 10_000,
    });
    await store.get(key);

    await writeFile(tokenFile, 'second\n');
    // client-node looks at the file again after a minute.
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 61_000 });
    await store.get(key);
    store.close();

    expect(api.received.map(({ headers }) => headers.authorization)).toEqual([
      'Bearer first',
      'Bearer second',
    ]);
    expect(api.accepted).toHaveLength(1);
  });

  it('are what an exec plugin prints, once for requests that come together', async () => {
    await using api = await StubApi.start();
    const runs = join(folder, 'runs');
    const exec = await execPlugin(`
      import { appendFileSync } from 'node:fs';
      appendFileSync(${JSON.stringify(runs)}, 'x');
      console.log(JSON.stringify({
        apiVersion: 'client.authentication.k8s.io/v1',
        kind: 'ExecCredential',
        status: { token: 'from-plugin', expirationTimestamp: '2049-01-01T00:00:00Z' },
      }));
    `);
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig({ exec }),
      requestTimeout: 10_000,
    });
    await Promise.all(Array.from({ length: 20 }, () => store.get(key)));
    await store.get(key);
    store.close();

    expect(
      new Set(api.received.map(({ headers }) => headers.authorization)),
    ).toEqual(new Set(['Bearer from-plugin']));
    const { readFile } = await import('node:fs/promises');
    expect(await readFile(runs, 'utf8')).toBe('x');
  });
});

describe('over TLS', () => {
  it('the client certificate is shown, from the kubeconfig itself', async () => {
    await using api = await StubApi.start(undefined, serverTls());
    const client = authority.issue('jane');
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig(
        { certData: base64(client.certificate), keyData: base64(client.key) },
        { caData },
      ),
      requestTimeout: 10_000,
    });
    await store.get(key);
    await store.get(key);
    store.close();
    expect(api.received.map(({ client: name }) => name)).toEqual([
      'jane',
      'jane',
    ]);
    expect(api.accepted).toHaveLength(1);
  });

  it('a rotated client certificate is shown from then on, and what is under way ends in peace', async () => {
    let release!: () => void;
    const held = new Promise<void>((resolve) => (release = resolve));
    await using api = await StubApi.start(async (response, { url }) => {
      if (url.pathname.endsWith('/slow')) {
        await held;
      }
      const name = url.pathname.split('/').at(-1) ?? '';
      answer(response, 200, leaseNamed(name));
    }, serverTls());
    const files = {
      caFile: join(folder, 'ca.crt'),
      certFile: join(folder, 'client.crt'),
      keyFile: join(folder, 'client.key'),
    };
    const rotate = async (name: string) => {
      const client = authority.issue(name);
      await writeFile(files.certFile, client.certificate);
      await writeFile(files.keyFile, client.key);
    };
    await writeFile(files.caFile, authority.certificate);
    await rotate('before');
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig(
        { certFile: files.certFile, keyFile: files.keyFile },
        { caFile: files.caFile },
      ),
      requestTimeout: 10_000,
    });

    await store.get(key);
    const slow = store.get({ ...key, name: 'slow' });
    await eventually(() => expect(api.received).toHaveLength(2));
    await store.get(key);
    await rotate('after');
    await store.get(key);
    await store.get(key);
    release();
    expect((await slow)?.metadata.name).toBe('slow');

    expect(api.received.map(({ client }) => client)).toEqual([
      'before',
      'before',
      'before',
      'after',
      'after',
    ]);
    // The connections of the old certificate are gone, also the one that was in use.
    await eventually(() => expect(api.openConnections).toBe(1));
    store.close();
  });

  it('the client certificate of an exec plugin is shown', async () => {
    await using api = await StubApi.start(undefined, serverTls());
    const client = authority.issue('plugin');
    const exec = await execPlugin(
      `console.log(${JSON.stringify(
        JSON.stringify({
          apiVersion: 'client.authentication.k8s.io/v1',
          kind: 'ExecCredential',
          status: {
            clientCertificateData: client.certificate,
            clientKeyData: client.key,
            expirationTimestamp: '2049-01-01T00:00:00Z',
          },
        }),
      )})`,
    );
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig({ exec }, { caData }),
      requestTimeout: 10_000,
    });
    await store.get(key);
    store.close();
    expect(api.received[0]?.client).toBe('plugin');
  });

  it('the name of the certificate may be another than the host', async () => {
    await using api = await StubApi.start(undefined, serverTls(['api.test']));
    const get = async (tlsServerName?: string) => {
      const store = new KubernetesLeaseStore({
        kubeConfig: api.kubeConfig(
          { token: 'abc' },
          { caData, ...(tlsServerName && { tlsServerName }) },
        ),
        requestTimeout: 10_000,
      });
      try {
        return await store.get(key);
      } finally {
        store.close();
      }
    };
    expect((await get('api.test'))?.metadata.name).toBe('a');
    await expect(get()).rejects.toMatchObject({
      reason: 'network',
      ambiguous: false,
      message: expect.stringContaining('ERR_TLS_CERT_ALTNAME_INVALID'),
    });
  });

  it('nothing is sent to a server with a certificate that is not trusted', async () => {
    await using api = await StubApi.start(undefined, serverTls());
    const other = createAuthority('other-authority');
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig(
        { token: 'abc' },
        { caData: base64(other.certificate) },
      ),
      requestTimeout: 10_000,
    });
    await expect(store.replace(key, leaseNamed('a'))).rejects.toMatchObject({
      reason: 'network',
      ambiguous: false,
    });
    store.close();
    expect(api.accepted).toHaveLength(1);
    expect(api.received).toEqual([]);
  });

  it('skipTLSVerify trusts any certificate', async () => {
    await using api = await StubApi.start(undefined, serverTls(['elsewhere']));
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig({ token: 'abc' }, { skipTLSVerify: true }),
      requestTimeout: 10_000,
    });
    await store.get(key);
    await store.get(key);
    store.close();
    expect(api.received).toHaveLength(2);
    expect(api.accepted).toHaveLength(1);
  });
});

describe('a logger that prints all fields of a store', () => {
  it.each<[string, { client: boolean }]>([
    ['a token and a password in the address', { client: false }],
    ['a client certificate', { client: true }],
  ])('finds no credential: %s', async (_, { client }) => {
    await using api = await StubApi.start((response, { url }) => {
      if (url.searchParams.get('watch')) {
        response.writeHead(200).write('\n');
      } else if (url.pathname.endsWith('/leases')) {
        answer(response, 200, {
          metadata: { resourceVersion: '5' },
          items: [],
        });
      } else if (!url.pathname.endsWith('/open')) {
        answer(response, 200, leaseNamed('a'));
      }
    }, serverTls());
    const { certificate, key: privateKey } = authority.issue('jane');
    const secrets = {
      token: 'a-secret-token',
      password: 'a-secret-password',
      key: privateKey,
    };
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig(
        client
          ? { certData: base64(certificate), keyData: base64(privateKey) }
          : { token: secrets.token },
        {
          caData,
          server: api.url.replace('://', `://me:${secrets.password}@`),
        },
      ),
      requestTimeout: 10_000,
    });
    await store.get(key);
    store.watch(key, { changed: () => {}, deleted: () => {} });
    const open = store.get({ ...key, name: 'open' });
    // The watch is open and one request unanswered: what is under way is printed as well.
    await eventually(() => expect(api.received.length).toBe(4));
    const printed = inspect(store, {
      depth: Infinity,
      showHidden: true,
      maxStringLength: Infinity,
      maxArrayLength: Infinity,
    });
    store.close();
    await expect(open).rejects.toBeInstanceOf(Error);
    expect(printed).toContain('LeaseWatch');
    expect(findSecrets(printed, secrets)).toEqual([]);
  });
});
