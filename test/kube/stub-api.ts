/** A bare HTTP server in the place of an API server, for what a correct one never does: TLS faults, silence, nonsense. */
import { KubeConfig, type Cluster, type User } from '@kubernetes/client-node';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { Server, Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { StoredLease } from '../../lib/kube/lease-store.js';

export interface Received {
  readonly method: string;
  readonly url: URL;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
  /** Which connection it came on, counted from 1. */
  readonly connection: number;
  /** The common name of the client's certificate. */
  readonly client?: string;
}

export type Handler = (
  response: ServerResponse,
  request: Received,
) => void | Promise<void>;

export class StubApi implements AsyncDisposable {
  readonly received: Received[] = [];
  /** Every connection ever accepted, in order. */
  readonly accepted: Socket[] = [];
  readonly #server: http.Server | https.Server;

  private constructor(
    private readonly handle: Handler,
    tls?: https.ServerOptions,
  ) {
    const receive = (request: IncomingMessage, response: ServerResponse) => {
      void this.#receive(request, response);
    };
    this.#server = tls
      ? https.createServer(tls, receive)
      : http.createServer(receive);
    this.#server.keepAliveTimeout = 0;
    // For TLS too this is the TCP connection: it counts when the handshake fails.
    this.#server.on('connection', (socket: Socket) => {
      this.accepted.push(socket);
      socket.on('error', () => {});
    });
  }

  static async start(
    handle: Handler = (response) => answer(response, 200, leaseNamed('a')),
    tls?: https.ServerOptions,
    port = 0,
  ): Promise<StubApi> {
    const stub = new StubApi(handle, tls);
    await new Promise<void>((resolve) =>
      stub.#server.listen(port, '127.0.0.1', resolve),
    );
    return stub;
  }

  get port(): number {
    return portOf(this.#server);
  }

  get openConnections(): number {
    return this.accepted.filter(({ destroyed }) => !destroyed).length;
  }

  get url(): string {
    const scheme = this.#server instanceof https.Server ? 'https' : 'http';
    return `${scheme}://127.0.0.1:${this.port}`;
  }

  kubeConfig(
    user: Partial<User> = {},
    cluster: Partial<Cluster> = {},
  ): KubeConfig {
    return kubeConfigFor(this.url, user, {
      skipTLSVerify: this.url.startsWith('http:'),
      ...cluster,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.accepted) {
      socket.destroy();
    }
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #receive(
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    response.on('error', () => {});
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) {
        chunks.push(chunk);
      }
    } catch {
      return;
    }
    const { socket } = request;
    const peer =
      socket instanceof TLSSocket ? socket.getPeerCertificate() : undefined;
    const received: Received = {
      method: request.method ?? '',
      url: new URL(request.url ?? '', this.url),
      headers: request.headers,
      body: Buffer.concat(chunks).toString(),
      connection:
        1 +
        this.accepted.findIndex((one) => one.remotePort === socket.remotePort),
      ...(peer?.subject && { client: String(peer.subject.CN) }),
    };
    this.received.push(received);
    await this.handle(response, received);
  }
}

export function portOf(server: Server): number {
  const address = server.address();
  if (typeof address !== 'object' || !address) {
    throw new Error('not listening');
  }
  return address.port;
}

export function kubeConfigFor(
  server: string,
  user: Partial<User> = {},
  cluster: Partial<Cluster> = {},
): KubeConfig {
  const config = new KubeConfig();
  config.loadFromOptions({
    clusters: [{ name: 'stub', server, skipTLSVerify: false, ...cluster }],
    users: [{ name: 'user', ...user }],
    contexts: [{ name: 'stub', cluster: 'stub', user: 'user' }],
    currentContext: 'stub',
  });
  return config;
}

/** Answers with JSON. */
export function answer(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: http.OutgoingHttpHeaders = {},
): void {
  response.writeHead(status, {
    'content-type': 'application/json',
    ...headers,
  });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

export function leaseNamed(name: string, version = 1, spec = {}): StoredLease {
  return {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: {
      name,
      namespace: 'default',
      uid: `uid-of-${name}`,
      resourceVersion: String(version),
    },
    spec,
  };
}

/** The object with which an API server explains a failure. */
export function statusObject(
  code: number,
  reason: string,
  details: Record<string, unknown> = {},
  message = '',
) {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    code,
    reason,
    message,
    details,
  };
}
