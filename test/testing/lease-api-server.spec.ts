/** The embedded API server starts, stops, tells what it received, and lets itself be configured. */
import type { RequestOptions } from 'node:https';
import { connect } from 'node:net';
import { KubeConfig } from '@kubernetes/client-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { KubeConfigLike } from '../../lib/index.js';
import {
  LeaseApiServer,
  type Access,
  type LeaseApiServerOptions,
} from '../../lib/testing/index.js';
import { failure, HELD, RawApi } from '../contract/raw-api.js';

const LEASES = RawApi.leases('default');
const NO_CONNECTION = /ECONNREFUSED|ECONNRESET|socket hang up/;

async function start(options?: LeaseApiServerOptions) {
  const server = await LeaseApiServer.start(options);
  onTestFinished(() => server.stop());
  return { server, api: new RawApi(server.kubeConfigYaml()) };
}

const create = (api: RawApi, name: string, spec: object = HELD) =>
  api.request('POST', LEASES, { body: { metadata: { name }, spec } });

/** What a configuration tells of the cluster and of the user. */
async function said(config: KubeConfigLike) {
  const request: RequestOptions = { headers: { Accept: 'text/plain' } };
  await config.applyToHTTPSOptions(request);
  const { server: address, skipTLSVerify } = config.getCurrentCluster()!;
  const context = config.getContextObject(config.getCurrentContext());
  return {
    headers: request.headers,
    address,
    skipTLSVerify,
    namespace: context?.namespace,
  };
}

describe('LeaseApiServer', () => {
  it('is ready when it has started, and gone when it has stopped', async () => {
    const { server, api } = await start();
    expect((await api.request('GET', '/readyz')).code).toBe(200);
    await server.stop();
    await expect(api.request('GET', '/readyz')).rejects.toThrow(NO_CONNECTION);
  });

  it('stops when its scope ends, and more than once', async () => {
    let url: string;
    {
      await using server = await LeaseApiServer.start();
      ({ url } = server);
      await server.stop();
    }
    await expect(fetch(url)).rejects.toThrow('fetch failed');
  });

  it('comes back on the same port with what it stored', async () => {
    const { server, api } = await start();
    await create(api, 'a');
    const { url } = server;
    await server.refuseConnections();
    await expect(api.request('GET', LEASES)).rejects.toThrow(NO_CONNECTION);
    await server.acceptConnections();
    expect(server.url).toBe(url);
    expect((await api.request('GET', `${LEASES}/a`)).code).toBe(200);
  });

  it('gives a configuration, which says what client-node makes of the kubeconfig', async () => {
    const { server } = await start();
    const options = { namespace: 'jobs', user: 'me' };
    const ofClientNode = new KubeConfig();
    ofClientNode.loadFromString(server.kubeConfigYaml(options));
    const config = await server.kubeConfig(options);
    expect(await said(config)).toEqual(await said(ofClientNode));
    expect(await said(config)).toMatchObject({ namespace: 'jobs' });
  });

  it('shows what is stored, without giving it away', async () => {
    const { server, api } = await start();
    const { body } = await create(api, 'a');
    expect(server.leases()).toEqual([body]);
    expect(server.leases('other')).toEqual([]);
    expect(server.resourceVersion).toBe(body['metadata'].resourceVersion);
    const key = { namespace: 'default', name: 'a' };
    server.lease(key)!.metadata.name = 'changed';
    expect(server.lease(key)).toEqual(body);
    expect(server.lease({ ...key, name: 'b' })).toBeUndefined();
  });

  describe('records requests', () => {
    it('as they are understood', async () => {
      const { server, api } = await start();
      await create(api, 'a');
      await api.request('GET', `${LEASES}/b?resourceVersion=0`);
      expect(server.requests.all()).toMatchObject([
        {
          method: 'POST',
          path: LEASES,
          verb: 'create',
          resource: 'leases',
          namespace: 'default',
          user: 'test',
          status: 201,
        },
        {
          method: 'GET',
          path: `${LEASES}/b?resourceVersion=0`,
          verb: 'get',
          name: 'b',
          status: 404,
        },
      ]);
      expect(server.requests.count({ verb: 'get', name: 'b' })).toBe(1);
      server.requests.clear();
      expect(server.requests.count()).toBe(0);
    });

    it('with the connection they came over', async () => {
      const { server, api } = await start();
      await api.request('GET', LEASES);
      await api.request('GET', LEASES);
      expect(server.requests.connections()).toBe(1);
      expect(server.connections).toEqual({ open: 1, accepted: 1 });
      await Promise.all([
        api.request('GET', LEASES),
        api.request('GET', LEASES),
      ]);
      expect(server.requests.connections()).toBe(2);
      expect(server.connections).toEqual({ open: 2, accepted: 2 });
    });

    it('and announces them', async () => {
      const { server, api } = await start();
      const next = server.requests.next({ verb: 'create' });
      await api.request('GET', LEASES);
      await create(api, 'a');
      expect(await next).toMatchObject({ verb: 'create', status: 201 });
    });

    it('but forgets the oldest', async () => {
      const { server, api } = await start({ requestLogSize: 2 });
      for (const path of ['/1', '/2', '/3', '/4']) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        await api.request('GET', path);
      }
      expect(server.requests.all().map(({ path }) => path)).toEqual([
        '/3',
        '/4',
      ]);
    });
  });

  it('can know tokens, and let them rotate', async () => {
    const { server } = await start({ tokens: { old: 'test' } });
    const api = new RawApi(server.kubeConfigYaml());
    expect((await api.request('GET', LEASES)).code).toBe(200);
    server.revokeToken('old');
    expect(await api.request('GET', LEASES)).toMatchObject(
      failure(401, 'Unauthorized'),
    );
    expect(() => server.kubeConfigYaml()).toThrow('no token');
    server.addToken('new', 'test');
    const renewed = new RawApi(server.kubeConfigYaml());
    expect((await renewed.request('GET', LEASES)).code).toBe(200);
  });

  it('can know rights', async () => {
    const asked: Access[] = [];
    const { api } = await start({
      allow: (access) => {
        asked.push(access);
        return access.verb !== 'delete';
      },
    });
    await create(api, 'a');
    expect(await api.request('DELETE', `${LEASES}/a`)).toMatchObject(
      failure(403, 'Forbidden'),
    );
    expect(asked).toEqual([
      {
        user: 'test',
        verb: 'create',
        group: 'coordination.k8s.io',
        resource: 'leases',
        namespace: 'default',
      },
      {
        user: 'test',
        verb: 'delete',
        group: 'coordination.k8s.io',
        resource: 'leases',
        namespace: 'default',
        name: 'a',
      },
    ]);
  });

  it('can have any version to begin with', async () => {
    const { api } = await start({ firstVersion: 2n ** 63n });
    const { body } = await create(api, 'a');
    expect(body['metadata'].resourceVersion).toBe(String(2n ** 63n + 1n));
  });

  it('can have coordinated leader election', async () => {
    const { api } = await start({ coordinatedLeaderElection: true });
    const strategy = 'OldestEmulationVersion';
    const preferredHolder = 'b';
    const { body } = await create(api, 'a', { strategy, preferredHolder });
    expect(body['spec']).toEqual({ strategy, preferredHolder });
  });

  it('lives through a request that breaks off', async () => {
    const { server, api } = await start();
    const { port } = new URL(server.url);
    const socket = connect(Number(port), '127.0.0.1');
    await new Promise((resolve) =>
      socket.write(
        `PUT ${LEASES}/a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{`,
        resolve,
      ),
    );
    socket.destroy();
    expect((await api.request('GET', '/readyz')).code).toBe(200);
    await expect.poll(() => server.connections.open).toBe(1);
    expect(server.requests.count({ verb: 'update' })).toBe(0);
  });

  it('can have a fixed port', async () => {
    const { server } = await start();
    const { port } = new URL(server.url);
    await server.stop();
    const again = await start({ port: Number(port) });
    expect(again.server.url).toBe(server.url);
    await expect(LeaseApiServer.start({ port: Number(port) })).rejects.toThrow(
      'EADDRINUSE',
    );
  });
});
