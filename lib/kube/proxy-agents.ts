/** Makes agents that reach the API server through the proxy of a kubeconfig, and keep what they have set up. */
import http, { type ClientRequest } from 'node:http';
import https from 'node:https';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';

/** Calls back with a connection, as `createConnection` of an agent does. */
type Connected = (error: Error | null, socket: Duplex) => void;

const TUNNEL_TIMEOUT = 30_000;

export class ProxyAgents {
  /** CONNECT requests under way: they belong to no request that could be destroyed instead. */
  readonly #connecting = new Set<ClientRequest>();

  /**
   * An agent that reaches `server` through a proxy. client-node makes agents for proxies too, but
   * anew for each request (1.x), or once with the first certificates (2.x), and without keep-alive.
   * Only for SOCKS its agent is of use, as `template`: this package has no SOCKS client of its own.
   */
  create(
    proxyUrl: string,
    server: URL,
    options: https.AgentOptions,
    template: http.Agent | undefined,
  ): http.Agent {
    return proxyUrl.startsWith('socks')
      ? socksAgent(proxyUrl, server, options, template)
      : this.httpAgent(new URL(proxyUrl), server, options);
  }

  close(): void {
    for (const connect of this.#connecting) {
      connect.destroy();
    }
  }

  private httpAgent(
    proxy: URL,
    server: URL,
    options: https.AgentOptions,
  ): http.Agent {
    if (server.protocol === 'http:') {
      const agent = new http.Agent(options);
      agent.createConnection = (_, connected) => {
        if (connected) {
          this.tunnel(proxy, server, connected);
        }
        return undefined;
      };
      return agent;
    }
    const agent = new https.Agent(options);
    const secure = agent.createConnection.bind(agent);
    agent.createConnection = (connection, connected) => {
      this.tunnel(proxy, server, (error, socket) => {
        const tunnelled = { ...connection, socket };
        const secured = error ? undefined : secure(tunnelled);
        connected?.(error, secured ?? socket);
      });
      return undefined;
    };
    return agent;
  }

  private tunnel(proxy: URL, server: URL, connected: Connected): void {
    // With an error there is no connection, though the type wants one.
    const fail = (error: Error) => connected(error, new Socket());
    const host = `${server.hostname}:${server.port || (server.protocol === 'https:' ? 443 : 80)}`;
    const headers: http.OutgoingHttpHeaders = { Host: host };
    if (proxy.username) {
      const user = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
      headers['Proxy-Authorization'] =
        `Basic ${Buffer.from(user).toString('base64')}`;
    }
    const connect = (proxy.protocol === 'https:' ? https : http).request({
      method: 'CONNECT',
      hostname: proxy.hostname.replace(/^\[|\]$/g, ''),
      port: proxy.port,
      path: host,
      headers,
      agent: false,
      timeout: TUNNEL_TIMEOUT,
    });
    this.#connecting.add(connect);
    connect.once('close', () => this.#connecting.delete(connect));
    connect.once('connect', ({ statusCode }, socket) => {
      this.#connecting.delete(connect);
      // What this was set to would go on and end a watch that has nothing to say.
      socket.setTimeout(0);
      if (statusCode === 200) {
        return connected(null, socket);
      }
      socket.destroy();
      return fail(refusal(`ERR_PROXY_ANSWERED_${statusCode}`));
    });
    connect.once('response', ({ statusCode }) => {
      connect.destroy();
      fail(refusal(`ERR_PROXY_ANSWERED_${statusCode}`));
    });
    connect.once('timeout', () =>
      connect.destroy(refusal('ERR_PROXY_TIMEOUT')),
    );
    connect.on('error', fail);
    connect.end();
  }
}

function socksAgent(
  proxyUrl: string,
  server: URL,
  options: https.AgentOptions,
  template: http.Agent | undefined,
): http.Agent {
  if (!template) {
    throw new TypeError('client-node made no agent');
  }
  // To this class `timeout` is the limit of a connection in use as well: no watch would last.
  const { timeout: _, ...lasting } = options;
  const name = options.servername ?? server.hostname.replace(/^\[|\]$/g, '');
  return Reflect.construct(template.constructor, [
    proxyUrl,
    {
      ...lasting,
      // Where the host is an address, this class would have the certificate be one for `localhost`.
      checkServerIdentity: (_host: string, certificate: tls.PeerCertificate) =>
        tls.checkServerIdentity(name, certificate),
    },
  ]);
}

function refusal(code: string): Error {
  return Object.assign(new Error('The proxy refused'), { code });
}
