/** Keeps connections to the API server alive for as long as what secures them stays the same. */
import http from 'node:http';
import https from 'node:https';
import tls from 'node:tls';
import { ProxyAgents } from './proxy-agents.js';
import { MOST_REQUESTS } from './request-queue.js';

/** What secures a connection, as client-node leaves it in the options of a request. */
export type TlsMaterial = Record<string, unknown>;

/** Where connections go. */
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

/** Below the 90 s after which an API server closes an idle connection, and most load balancers' limit. */
const IDLE_TIMEOUT = 45_000;
const TCP_KEEP_ALIVE = 15_000;

/** Fields of TlsMaterial that are expensive to parse, and go into one secure context. */
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
   * The pools for an endpoint. When it differs from the last one (a certificate was rotated, say),
   * new pools take the place of the old, whose connections end with what is under way on them.
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
   * Closes the connections that carry nothing. When one turns out to be dead, the others that were
   * idle for as long are likely to be so too: a network that came back after a partition would
   * otherwise cost each of them the timeout of a request.
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
    // A connection that is still being set up is to be closed as soon as it is.
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
        maxSockets: MOST_REQUESTS,
        maxFreeSockets: MOST_REQUESTS,
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

/** Parses certificates and keys once, rather than for each connection; throws when they are broken. */
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
