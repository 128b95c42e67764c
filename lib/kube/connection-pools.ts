/** Pools kept-alive connections to the API server, one pair of pools for each set of TLS material. */
import http from 'node:http';
import https from 'node:https';
import tls from 'node:tls';
import { ProxyAgents } from './proxy-agents.js';
import { HIGHEST_LIMIT } from './flight-limit.js';

/** Certificates, keys and other TLS options that client-node sets in the options of a request. */
export type TlsMaterial = Record<string, unknown>;

/** The target of connections. */
export interface Endpoint {
  /** Scheme, host and port. */
  readonly origin: string;
  /** The HTTP or SOCKS proxy to go through. */
  readonly proxyUrl?: string;
  readonly material: TlsMaterial;
}

/** The two pools: a watch holds its connection for minutes and must never take one from a renewal. */
export interface Pools {
  readonly requests: http.Agent;
  readonly watches: http.Agent;
}

/** Shorter than the 90 s after which an API server closes an idle connection, and than the limit of most load balancers. */
const IDLE_TIMEOUT = 45_000;
const TCP_KEEP_ALIVE = 15_000;

/** Fields of TlsMaterial that are expensive to parse; they go into one shared secure context. */
const CONTEXT_FIELDS = new Set([
  'ca',
  'cert',
  'crl',
  'key',
  'passphrase',
  'pfx',
]);

export class ConnectionPools {
  #endpoint?: Endpoint;
  #pools?: Pools;
  private readonly proxies = new ProxyAgents();

  /**
   * The pools for an endpoint. When the endpoint differs from the last one (after a certificate was
   * rotated, for instance), new pools replace the old; an old connection closes after its request.
   *
   * `template` is the agent that client-node made.
   */
  get(endpoint: Endpoint, template: http.Agent | undefined): Pools {
    if (this.#pools && this.#endpoint && isSame(this.#endpoint, endpoint)) {
      return this.#pools;
    }
    const pools = this.create(endpoint, template);
    this.drain();
    this.#endpoint = endpoint;
    this.#pools = pools;
    return pools;
  }

  /**
   * Closes the idle connections. When one connection turns out to be dead, the others that were idle
   * are probably dead, too: after a network partition each of them would otherwise cost the timeout
   * of one request.
   */
  dropIdle(): void {
    for (const agent of this.agents()) {
      for (const sockets of Object.values(agent.freeSockets)) {
        for (const socket of sockets ?? []) {
          socket.destroy();
        }
      }
    }
  }

  close(): void {
    this.proxies.close();
    // A connection that is still being established closes once it is.
    this.drain();
    for (const agent of this.agents()) {
      agent.destroy();
    }
    this.#pools = undefined;
  }

  private create(endpoint: Endpoint, template: http.Agent | undefined): Pools {
    const secured = endpoint.origin.startsWith('https:')
      ? secure(endpoint.material)
      : {};
    const open = (limits: http.AgentOptions) => {
      const options: https.AgentOptions = {
        ...secured,
        keepAlive: true,
        keepAliveMsecs: TCP_KEEP_ALIVE,
        timeout: IDLE_TIMEOUT,
        // The connection used last is the least likely to have been closed by the server meanwhile.
        scheduling: 'lifo',
        ...limits,
      };
      if (endpoint.proxyUrl) {
        return this.proxies.create(
          endpoint.proxyUrl,
          new URL(endpoint.origin),
          options,
          template,
        );
      }
      return endpoint.origin.startsWith('https:')
        ? new https.Agent(options)
        : new http.Agent(options);
    };
    return {
      requests: open({
        maxSockets: HIGHEST_LIMIT,
        maxFreeSockets: HIGHEST_LIMIT,
      }),
      watches: open({}),
    };
  }

  private drain(): void {
    for (const agent of this.agents()) {
      agent.maxFreeSockets = 0;
    }
    this.dropIdle();
  }

  private agents(): http.Agent[] {
    return this.#pools ? [this.#pools.requests, this.#pools.watches] : [];
  }
}

/** Parses certificates and keys once, not for each connection; throws if they are invalid. */
function secure(material: TlsMaterial): https.AgentOptions {
  const options: Record<string, unknown> = {
    secureContext: tls.createSecureContext(material),
  };
  for (const [field, value] of Object.entries(material)) {
    if (value !== undefined && !CONTEXT_FIELDS.has(field)) {
      options[field] = value;
    }
  }
  return options;
}

function isSame(a: Endpoint, b: Endpoint): boolean {
  if (a.origin !== b.origin || a.proxyUrl !== b.proxyUrl) {
    return false;
  }
  const fields = new Set([
    ...Object.keys(a.material),
    ...Object.keys(b.material),
  ]);
  for (const field of fields) {
    const before = a.material[field];
    const now = b.material[field];
    if (before === now) {
      continue;
    }
    if (!Buffer.isBuffer(before) || !Buffer.isBuffer(now)) {
      return false;
    }
    if (!before.equals(now)) {
      return false;
    }
  }
  return true;
}
