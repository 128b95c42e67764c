/** Requests and watches go through the proxy that the kubeconfig names, over connections that are kept. */
import http from 'node:http';
import net, { type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import { createAuthority } from './certificates.js';
import {
  answer,
  leaseNamed,
  portOf,
  StubApi,
  type Handler,
} from './stub-api.js';
import { eventually } from '../support/eventually.js';

const key = { namespace: 'default', name: 'a' };
const authority = createAuthority('test-authority');
const caData = Buffer.from(authority.certificate).toString('base64');
const { certificate, key: privateKey } = authority.issue('server', [
  '127.0.0.1',
]);
const tls = { cert: certificate, key: privateKey };

interface Proxy {
  readonly url: string;
  /** What it was asked to connect to, with which credentials. */
  readonly connects: { target: string; authorization?: string }[];
  readonly sockets: Socket[];
}

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) {
    close();
  }
});

async function listen(server: net.Server, sockets: Socket[]): Promise<number> {
  server.on('connection', (socket: Socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    for (const socket of sockets) {
      socket.destroy();
    }
    server.close();
  });
  return portOf(server);
}

function tunnel(
  port: number,
  socket: Socket,
  begin: (to: Socket) => void,
): void {
  const to = net.connect(port, '127.0.0.1', () => begin(to));
  to.pipe(socket).pipe(to);
  to.on('error', () => socket.destroy());
  to.on('close', () => socket.destroy());
  socket.on('close', () => to.destroy());
}

/** An HTTP proxy that knows CONNECT. `hang`: it accepts, and says nothing. */
async function startHttpProxy({
  hang = false,
  refuse = false,
} = {}): Promise<Proxy> {
  const proxy: Proxy & { url: string } = { url: '', connects: [], sockets: [] };
  const server = http.createServer();
  server.on('connect', (request, socket: Socket, head: Buffer) => {
    const target = request.url ?? '';
    const authorization = request.headers['proxy-authorization'];
    proxy.connects.push({ target, ...(authorization && { authorization }) });
    socket.on('error', () => {});
    if (hang) {
      socket.resume().on('end', () => socket.destroy());
    } else if (refuse) {
      socket.end('HTTP/1.1 407 Who are you\r\n\r\n');
    } else {
      tunnel(Number(target.split(':').at(-1)), socket, (to) => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        to.write(head);
      });
    }
  });
  proxy.url = `http://127.0.0.1:${await listen(server, proxy.sockets)}`;
  return proxy;
}

/** A SOCKS 5 proxy without authentication, for IPv4 addresses. */
async function startSocksProxy(): Promise<Proxy> {
  const proxy: Proxy & { url: string } = { url: '', connects: [], sockets: [] };
  const server = net.createServer((socket) => {
    socket.once('data', () => {
      socket.write(Buffer.of(5, 0));
      socket.once('data', (request: Buffer) => {
        const port = request.readUInt16BE(8);
        proxy.connects.push({ target: `127.0.0.1:${port}` });
        tunnel(port, socket, () => {
          socket.write(Buffer.of(5, 0, 0, 1, 127, 0, 0, 1, 0, 0));
        });
      });
    });
  });
  proxy.url = `socks5://127.0.0.1:${await listen(server, proxy.sockets)}`;
  return proxy;
}

/** Lists nothing, keeps watches open, and knows one Lease. */
const handler: Handler = (response, { url }) => {
  if (url.searchParams.get('watch')) {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.write(
      `${JSON.stringify({ type: 'ADDED', object: leaseNamed('a', 7) })}\n`,
    );
  } else if (url.pathname.endsWith('/leases')) {
    answer(response, 200, { metadata: { resourceVersion: '5' }, items: [] });
  } else {
    answer(response, 200, leaseNamed('a'));
  }
};

describe.each([
  ['an HTTP proxy', () => startHttpProxy(), tls],
  ['an HTTP proxy, to plain HTTP', () => startHttpProxy(), undefined],
  ['a SOCKS proxy', startSocksProxy, tls],
  ['a SOCKS proxy, to plain HTTP', startSocksProxy, undefined],
])('through %s', (_, startProxy, serverTls) => {
  it('goes every request, over one connection, and a watch over another', async () => {
    await using api = await StubApi.start(handler, serverTls);
    const proxy = await startProxy();
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig(
        { token: 'abc' },
        { proxyUrl: proxy.url, ...(serverTls && { caData }) },
      ),
      requestTimeout: 5_000,
    });
    for (let i = 0; i < 5; i++) {
      await store.get(key);
    }
    expect(proxy.connects).toEqual([{ target: `127.0.0.1:${api.port}` }]);

    const versions: string[] = [];
    store.watch(key, {
      changed: ({ metadata }) => versions.push(metadata.resourceVersion),
      deleted: () => versions.push('none'),
    });
    await eventually(() => expect(versions).toEqual(['none', '7']));
    await store.get(key);
    expect(proxy.connects).toHaveLength(2);
    expect(api.received[0]?.headers.authorization).toBe('Bearer abc');

    store.close();
    await eventually(() => expect(api.openConnections).toBe(0));
  });
});

describe('an HTTP proxy', () => {
  it('is told the user name and password in its address, which no message shows', async () => {
    await using api = await StubApi.start(handler, tls);
    const proxy = await startHttpProxy({ refuse: true });
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig(
        {},
        { caData, proxyUrl: proxy.url.replace('://', '://me:hidden@') },
      ),
      requestTimeout: 5_000,
    });
    const error = await store.get(key).catch((reason: unknown) => reason);
    store.close();
    expect(proxy.connects[0]?.authorization).toBe(
      `Basic ${Buffer.from('me:hidden').toString('base64')}`,
    );
    expect(error).toMatchObject({ reason: 'network', ambiguous: false });
    expect(String(error)).toContain(
      `through the proxy ${new URL(proxy.url).host}`,
    );
    expect(String(error)).toContain('ERR_PROXY_ANSWERED_407');
    expect(String(error)).not.toContain('hidden');
  });

  it('is asked for an IPv6 address with its brackets', async () => {
    await using api = await StubApi.start(handler, tls);
    const proxy = await startHttpProxy();
    const server = `https://[::1]:${api.port}`;
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig({}, { caData, proxyUrl: proxy.url, server }),
      requestTimeout: 5_000,
    });
    // The certificate is for 127.0.0.1, where the proxy leads: it is the address that is verified.
    await expect(store.get(key)).rejects.toMatchObject({
      message: expect.stringContaining('ERR_TLS_CERT_ALTNAME_INVALID'),
    });
    store.close();
    expect(proxy.connects).toEqual([{ target: `[::1]:${api.port}` }]);
  });

  it('that client-node made no agent for is refused, rather than passed by', async () => {
    await using api = await StubApi.start(handler, tls);
    const proxy = await startHttpProxy();
    const kubeConfig = api.kubeConfig({}, { caData, proxyUrl: proxy.url });
    const apply = kubeConfig.applyToHTTPSOptions.bind(kubeConfig);
    kubeConfig.applyToHTTPSOptions = async (options) => {
      await apply(options);
      options.agent = new http.Agent();
    };
    const store = new KubernetesLeaseStore({
      kubeConfig,
      requestTimeout: 5_000,
    });
    await expect(store.get(key)).rejects.toMatchObject({
      message: expect.stringContaining('ERR_PROXY_UNSUPPORTED'),
    });
    store.close();
    expect(api.accepted).toEqual([]);
  });

  it('that hangs costs a request its timeout, and is let go at the end', async () => {
    await using api = await StubApi.start(handler, tls);
    const proxy = await startHttpProxy({ hang: true });
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig({}, { caData, proxyUrl: proxy.url }),
      requestTimeout: 5_000,
    });
    await expect(
      store.replace(key, leaseNamed('a'), { timeout: 100 }),
    ).rejects.toMatchObject({ reason: 'timeout', ambiguous: false });
    store.close();
    await eventually(() =>
      expect(proxy.sockets.every(({ destroyed }) => destroyed)).toBe(true),
    );
  });
});
