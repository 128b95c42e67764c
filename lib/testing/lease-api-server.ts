/** A Kubernetes API server for Leases alone, in this process: for tests that need a real one's answers. */
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

/** How a {@link LeaseApiServer} is set up; all of it is optional. */
export interface LeaseApiServerOptions {
  /** TCP port on 127.0.0.1. Default 0: a free one. */
  port?: number;
  /**
   * The namespaces that exist: a write in another is answered with 404, a creation in one that
   * terminates with 403. The map may change while the server runs. Default: all exist.
   */
  namespaces?: ReadonlyMap<string, NamespacePhase>;
  /** Bearer token to user name; another is answered with 401, none with 403. Default: every token is accepted and names its user. */
  tokens?: Record<string, string>;
  /** Decides about each request, and answers SelfSubjectAccessReviews; false is 403. Default: all is allowed. */
  allow?: (access: Access) => boolean;
  /** The resourceVersion before the first write. Default 990, so that a comparison as text goes wrong soon. */
  firstVersion?: bigint;
  /** How many changes a watch may be behind at least before its resourceVersion has expired (410). Default 1000. */
  historySize?: number;
  /** How many requests {@link LeaseApiServer.requests} keeps at least. Default 100 000. */
  requestLogSize?: number;
  /** Keep `spec.strategy` and `spec.preferredHolder`, which a cluster without the feature gate drops. Default false. */
  coordinatedLeaderElection?: boolean;
}

/** Who a kubeconfig is for. */
export interface KubeConfigOptions {
  /** The context's namespace. Default `default`. */
  namespace?: string;
  /** The user; faults, rights and recorded requests can be told apart by it. Default `test`. */
  user?: string;
}

/**
 * An HTTP server that answers for Leases what the Kubernetes API server answers: versions, uids,
 * conflicts, validation, watches, errors. A contract suite that also runs against the real
 * kube-apiserver keeps the two alike. It keeps everything in memory and listens on 127.0.0.1 only.
 *
 * Not there: other resources than Leases, server-side apply, YAML and protobuf, managedFields, and lists
 * of a past version.
 *
 * @example
 * await using server = await LeaseApiServer.start();
 * const moduleRef = await Test.createTestingModule({
 *   imports: [K8sLockModule.forRoot({ kubeConfig: await server.kubeConfig() })],
 * }).compile();
 */
export class LeaseApiServer implements AsyncDisposable {
  /** Switches that make requests fail. */
  readonly faults = new Faults();
  /** What was received. */
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
    // Like the real one, it does not announce how long it keeps an idle connection.
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

  /** Starts a server; it is ready when the promise resolves. */
  static async start(
    options: LeaseApiServerOptions = {},
  ): Promise<LeaseApiServer> {
    throwFaults(
      findObjectFaults('what LeaseApiServer.start() is given', options),
    );
    const server = new LeaseApiServer(options);
    await server.acceptConnections();
    return server;
  }

  /** Where it listens, for instance `http://127.0.0.1:40123`. Stays the same while it refuses connections. */
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

  /** A stored Lease, read past HTTP and faults; undefined when there is none. */
  lease(key: LeaseKey): StoredLease | undefined {
    const stored = this.storage.get(key)?.lease;
    return stored && structuredClone(stored);
  }

  /** The stored Leases of one namespace or of all, read past HTTP and faults. */
  leases(namespace?: string): StoredLease[] {
    return this.storage
      .list(namespace)
      .map(({ lease }) => structuredClone(lease));
  }

  /**
   * A configuration that leads here, for `K8sLockModule.forRoot()`. It does not load
   * `@kubernetes/client-node`, so it works under Jest, too; a `KubeConfig` of that package is made from
   * {@link kubeConfigYaml}.
   */
  async kubeConfig({
    namespace = 'default',
    user = 'test',
  }: KubeConfigOptions = {}): Promise<KubeConfigLike> {
    return new EmbeddedKubeConfig(this.url, namespace, this.tokenOf(user));
  }

  /**
   * The text of a kubeconfig file that leads here, for child processes.
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
      // Without it client-node refuses to talk plain HTTP.
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

  /** Forgets the history: a watch from a resourceVersion before the present one is answered with 410. */
  compact(): void {
    this.storage.compact();
  }

  /** How many watches are open. */
  openWatches(match: RequestMatch = {}): number {
    return this.watches.count(match);
  }

  /**
   * Breaks the open watches that fit. @returns how many.
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

  /** Resets every open connection and refuses new ones, as when the API server is down. What is stored stays. */
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

  /** Closes every connection and stops. What a fault holds by then is never applied. */
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
