/** Makes kept-alive agents that reach the API server through the proxy of a kubeconfig. */
import http from 'node:http';
import type { AgentOptions } from 'node:https';
import tls from 'node:tls';

/** The agent of hpagent, client-node's package for HTTP proxies; these options are added to each CONNECT. */
type TunnelAgent = http.Agent & { proxyRequestOptions: http.RequestOptions };

export class ProxyAgents {
  /** One for each CONNECT in flight: a CONNECT belongs to no request, so destroying requests does not abort it. */
  private readonly connecting = new Set<AbortController>();

  /**
   * Makes an agent that reaches `server` through a proxy, of the class of `template`, the agent that
   * client-node made for the same proxy. client-node's agents have no keep-alive, and are made for
   * each request (1.x) or once with the first certificates (2.x).
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
      // If the host is an IP address, these classes would check the certificate against another name.
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
      // CONNECT needs an IPv6 host with its brackets.
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
  // This class applies `timeout` to connections in use, too, which would end every watch.
  const { timeout: _, ...lasting } = options;
  return Reflect.construct(template.constructor, [proxyUrl, lasting]);
}

const withoutBrackets = (hostname: string) => hostname.replace(/^\[|\]$/g, '');

/** hpagent reports the proxy's status only in the message of the error. */
function withCode(error: Error): Error {
  const [, status] = /^Bad response: (\d{3})$/.exec(error.message) ?? [];
  return status === undefined ? error : failure(`ERR_PROXY_ANSWERED_${status}`);
}

function failure(code: string): Error {
  return Object.assign(new Error('The proxy did not open a tunnel'), { code });
}
