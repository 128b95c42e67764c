/** Makes agents that reach the API server through the proxy of a kubeconfig, and keep their connections. */
import http from 'node:http';
import type { AgentOptions } from 'node:https';
import tls from 'node:tls';

/** The agent of client-node's own package for HTTP proxies, hpagent: it adds these to each CONNECT. */
type TunnelAgent = http.Agent & { proxyRequestOptions: http.RequestOptions };

export class ProxyAgents {
  /** One for each CONNECT under way: it belongs to no request that could be destroyed instead. */
  private readonly connecting = new Set<AbortController>();

  /**
   * An agent that reaches `server` through a proxy, of the class of `template`. client-node made
   * that one for the same proxy; it makes one anew for each request (1.x), or once with the first
   * certificates (2.x), and without keep-alive.
   */
  create(
    proxyUrl: string,
    server: URL,
    options: AgentOptions,
    template: http.Agent | undefined,
  ): http.Agent {
    if (!template || !('proxy' in template)) {
      throw failure('ERR_PROXY_UNSUPPORTED');
    }
    const name = options.servername ?? withoutBrackets(server.hostname);
    const verified: AgentOptions = {
      ...options,
      // Where the host is an address, these classes would have the certificate be one for another name.
      checkServerIdentity: (_host, certificate) =>
        tls.checkServerIdentity(name, certificate),
    };
    return proxyUrl.startsWith('socks')
      ? socksAgent(proxyUrl, verified, template)
      : this.tunnelAgent(new URL(proxyUrl), server, verified, template);
  }

  close(): void {
    for (const connect of this.connecting) {
      connect.abort();
    }
  }

  private tunnelAgent(
    { protocol, hostname, port, username, password }: URL,
    server: URL,
    options: AgentOptions,
    template: http.Agent,
  ): http.Agent {
    const proxy = {
      protocol,
      hostname: withoutBrackets(hostname),
      port,
      username,
      password,
    };
    const agent: TunnelAgent = Reflect.construct(template.constructor, [
      { ...options, proxy },
    ]);
    const connect = agent.createConnection.bind(agent);
    agent.createConnection = (connection, connected) => {
      const connecting = new AbortController();
      this.connecting.add(connecting);
      agent.proxyRequestOptions = { signal: connecting.signal };
      // The host with its brackets, as CONNECT wants it.
      return connect(
        { ...connection, host: server.hostname },
        (error, socket) => {
          this.connecting.delete(connecting);
          connected?.(error && withCode(error), socket);
        },
      );
    };
    return agent;
  }
}

function socksAgent(
  proxyUrl: string,
  options: AgentOptions,
  template: http.Agent,
): http.Agent {
  // To this class `timeout` is the limit of a connection in use as well: no watch would last.
  const { timeout: _, ...lasting } = options;
  return Reflect.construct(template.constructor, [proxyUrl, lasting]);
}

const withoutBrackets = (hostname: string) => hostname.replace(/^\[|\]$/g, '');

/** hpagent tells only in words what a proxy answered. */
function withCode(error: Error): Error {
  const [, status] = /^Bad response: (\d{3})$/.exec(error.message) ?? [];
  return status === undefined ? error : failure(`ERR_PROXY_ANSWERED_${status}`);
}

function failure(code: string): Error {
  return Object.assign(new Error('The proxy is of no use'), { code });
}
