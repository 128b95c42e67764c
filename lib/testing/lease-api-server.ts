/** LeaseApiServer: an HTTP server that answers for Leases as the Kubernetes API server does, for tests. */
import { findObjectFaults, throwFaults } from '../k8s-lock.options.js';
import { createServer, type Server } from 'node:http';
import type { Socket } from 'node:net';
import type { KubeConfigLike } from '../k8s-lock.options.js';
import type { LeaseKey, StoredLease } from '../kube/lease-store.js';
import type { Access } from './access.js';
import { EmbeddedKubeConfig } from './embedded-kube-config.js';
import { Faults } from './faults.js';
import { HttpFront } from './http-front.js';
import { LeaseApi, type NamespacePhase } from './lease-api.js';
import { LeaseStorage } from './lease-storage.js';
import { RequestLog, type RequestMatch } from './requests.js';
import { Watches, type WatchEnd } from './watches.js';

/** The options of a {@link LeaseApiServer}; all are optional. */
export interface LeaseApiServerOptions {
  /** TCP port on 127.0.0.1. Default 0: a free one. */
  port?: number;
  /**
   * The namespaces that exist. A write in another namespace gets a 404, a creation in a terminating
   * namespace a 403. The map may change while the server runs. Default: all exist.
   */
  namespaces?: ReadonlyMap<string, NamespacePhase>;
  /** Bearer token to user name; an unknown token gets a 401, a request without one a 403. Default: every token is accepted and names its user. */
  tokens?: Record<string, string>;
  /** Authorizes each request, and answers SelfSubjectAccessReviews; false means 403. Default: everything is allowed. */
  allow?: (access: Access) => boolean;
  /** The resourceVersion before the first write. Default 990, so that a comparison as text fails after a few writes. */
  firstVersion?: bigint;
  /** A watch may be at least this many changes behind before its resourceVersion has expired (410). Default 1000. */
  historySize?: number;
  /** The least number of requests that {@link LeaseApiServer.requests} keeps. Default 100 000. */
  requestLogSize?: number;
  /** Keep `spec.strategy` and `spec.preferredHolder`, which a cluster without the feature gate drops. Default false. */
  coordinatedLeaderElection?: boolean;
}

/** The options of a kubeconfig. */
export interface KubeConfigOptions {
  /** The context's namespace. Default `default`. */
  namespace?: string;
  /** The user, by which faults, rights and recorded requests can be distinguished. Default `test`. */
  user?: string;
}

/**
 * An HTTP server that answers for Leases as the Kubernetes API server does: versions, uids, conflicts,
 * validation, watches, errors. One contract suite runs against this server and the real kube-apiserver.
 * It keeps everything in memory and listens on 127.0.0.1 only.
 *
 * Not supported: resources other than Leases, server-side apply, YAML and protobuf, managedFields, lists of a
 * past version, selectors beyond equality, generateName, dry runs of anything but a creation, and
 * `copy` and `move` in a JSON patch. Its messages are in its own words.
 *
 * @example
 * await using server = await LeaseApiServer.start();
 * const moduleRef = await Test.createTestingModule({
 *   imports: [K8sLockModule.forRoot({ kubeConfig: await server.kubeConfig() })],
 * }).compile();
 */
export class LeaseApiServer implements AsyncDisposable {
  /** Injects faults into requests. */
  readonly faults = new Faults();
  /** The received requests. */
  readonly requests: RequestLog;

  private readonly storage: LeaseStorage;
  private readonly watches: Watches;
  private readonly tokens: Map<string, string> | undefined;
  private readonly http: Server;
  private readonly sockets = new Set<Socket>();
  private accepted = 0;
  private port: number;

  private constructor(options: LeaseApiServerOptions) {
    const { tokens, namespaces, allow } = options;
    this.port = options.port ?? 0;
    this.tokens = tokens && new Map(Object.entries(tokens));
    this.requests = new RequestLog(options.requestLogSize ?? 100_000);
    this.storage = new LeaseStorage({
      firstVersion: options.firstVersion ?? 990n,
      historySize: options.historySize ?? 1_000,
      coordinatedLeaderElection: options.coordinatedLeaderElection ?? false,
    });
    this.watches = new Watches(this.storage, this.faults);
    const front = new HttpFront(
      new LeaseApi(this.storage, namespaces),
      this.watches,
      this.faults,
      this.requests,
      {
        ...(this.tokens && { tokens: this.tokens }),
        ...(allow && { allow }),
      },
    );
    // Like the real server, it does not announce its keep-alive timeout.
    this.http = createServer(
      { keepAliveTimeout: 0 },
      (message, response) => void front.handle(message, response),
    );
    this.http.on('connection', (socket: Socket) => {
      front.connected(socket, ++this.accepted);
      this.sockets.add(socket);
      socket.once('close', () => this.sockets.delete(socket));
    });
  }

  /** Starts a server, which is ready when the promise resolves. */
  static async start(
    options: LeaseApiServerOptions = {},
  ): Promise<LeaseApiServer> {
    throwFaults(
      findObjectFaults('the argument of LeaseApiServer.start()', options),
    );
    const server = new LeaseApiServer(options);
    await server.acceptConnections();
    return server;
  }

  /** The server's address, for instance `http://127.0.0.1:40123`. It stays the same while the server refuses connections. */
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** The resourceVersion of the latest write. */
  get resourceVersion(): string {
    return String(this.storage.version);
  }

  /** TCP connections: how many are open, and how many were accepted since the start. */
  get connections(): { open: number; accepted: number } {
    return { open: this.sockets.size, accepted: this.accepted };
  }

  /** A stored Lease, read without HTTP and faults; undefined if there is none. */
  lease(key: LeaseKey): StoredLease | undefined {
    const stored = this.storage.get(key)?.lease;
    return stored && structuredClone(stored);
  }

  /** The stored Leases of one namespace or of all, read without HTTP and faults. */
  leases(namespace?: string): StoredLease[] {
    return this.storage
      .list(namespace)
      .map(({ lease }) => structuredClone(lease));
  }

  /**
   * A configuration for this server, for `K8sLockModule.forRoot()`. It does not load
   * `@kubernetes/client-node`, so it works under Jest, too. To get a `KubeConfig` of that package, load
   * {@link kubeConfigYaml}.
   */
  async kubeConfig({
    namespace = 'default',
    user = 'test',
  }: KubeConfigOptions = {}): Promise<KubeConfigLike> {
    return new EmbeddedKubeConfig(this.url, namespace, this.tokenOf(user));
  }

  /**
   * The text of a kubeconfig file for this server, for child processes.
   *
   * @example
   * await writeFile(path, server.kubeConfigYaml({ namespace: 'jobs', user: 'pod-a' }));
   * spawn('node', ['dist/main.js'], { env: { ...process.env, KUBECONFIG: path } });
   */
  kubeConfigYaml({
    namespace = 'default',
    user = 'test',
  }: KubeConfigOptions = {}): string {
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      // Without skipTLSVerify client-node refuses plain HTTP.
      clusters: [
        {
          name: 'embedded',
          cluster: { server: this.url, 'insecure-skip-tls-verify': true },
        },
      ],
      users: [{ name: user, user: { token: this.tokenOf(user) } }],
      contexts: [
        { name: 'embedded', context: { cluster: 'embedded', user, namespace } },
      ],
      'current-context': 'embedded',
    };
    // JSON is YAML.
    return JSON.stringify(config, null, 2);
  }

  /** Accepts a token from now on, for instance a rotated one. */
  addToken(token: string, user: string): void {
    this.requireTokens().set(token, user);
  }

  /** Answers 401 to a token from now on. */
  revokeToken(token: string): void {
    this.requireTokens().delete(token);
  }

  /** Clears the history: a watch from a resourceVersion before the present one gets a 410. */
  compact(): void {
    this.storage.compact();
  }

  /** How many watches are open. */
  openWatches(match: RequestMatch = {}): number {
    return this.watches.count(match);
  }

  /**
   * Breaks the open watches that match. @returns their number.
   *
   * @param how `end` as after an hour (default), `reset` as by a broken connection, `expired` with
   * a 410 in the stream.
   */
  killWatches(how: WatchEnd = 'end', match: RequestMatch = {}): number {
    return this.watches.end(how, match);
  }

  /** Resets every open connection; new ones are accepted. */
  resetConnections(): void {
    for (const socket of this.sockets) {
      socket.resetAndDestroy();
    }
  }

  /** Resets every open connection and refuses new ones, as when the API server is down. Stored Leases stay. */
  async refuseConnections(): Promise<void> {
    const closed = new Promise<void>((resolve) =>
      this.http.close(() => resolve()),
    );
    this.resetConnections();
    await closed;
  }

  /** Listens again on the same port, after {@link refuseConnections}. */
  async acceptConnections(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.http.once('error', reject);
      this.http.listen(this.port, '127.0.0.1', () => {
        this.http.off('error', reject);
        resolve();
      });
    });
    const address = this.http.address();
    if (typeof address === 'object' && address) {
      this.port = address.port;
    }
  }

  /** Closes every connection and stops. Requests that a fault still holds are never applied. */
  async stop(): Promise<void> {
    if (this.http.listening) {
      await this.refuseConnections();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  private tokenOf(user: string): string {
    if (!this.tokens) {
      return user;
    }
    for (const [token, owner] of this.tokens) {
      if (owner === user) {
        return token;
      }
    }
    throw new Error(`no token is configured for the user ${user}`);
  }

  private requireTokens(): Map<string, string> {
    if (this.tokens) {
      return this.tokens;
    }
    throw new Error('start the server with the option `tokens`');
  }
}
