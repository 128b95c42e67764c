/** Sends calls as the Kubernetes configuration says: obtains credentials, picks a connection pool, sends, and reports each call to a listener. */
import {
  Agent,
  type IncomingMessage,
  type OutgoingHttpHeaders,
} from 'node:http';
import type { RequestOptions } from 'node:https';
import type { ApiRequestEvent } from '../lock.events.js';
import type { Operation } from './api-errors.js';
import { ConnectionPools } from './connection-pools.js';
import {
  codeOf,
  ExchangeError,
  openStream,
  send,
  wholeAnswer,
  type Answer,
  type Call,
  type Receive,
  type Target,
} from './http-request.js';
import { CLIENT_NAME } from './lease-store.js';
import type { KubeConfigLike } from '../k8s-lock.options.js';

/** Receives an event for each request. */
export interface RequestSink {
  readonly isObserved: boolean;
  /** Never throws. */
  emit(event: ApiRequestEvent): void;
}

/** The address of the API server, and what follows from it. */
interface ServerAddress {
  readonly server: string;
  readonly url: URL;
  readonly root: string;
  readonly user: string | undefined;
}

export class KubeHttpClient {
  private readonly pools = new ConnectionPools();
  private readonly underWay = new Set<() => void>();
  #target?: Promise<Target>;
  #config?: Promise<KubeConfigLike>;
  private closed = false;
  #address?: ServerAddress;

  constructor(
    private readonly load: () => Promise<KubeConfigLike>,
    private readonly requests: RequestSink | undefined,
  ) {}

  /** The configuration, loaded on first use; after a failure the next call loads it again. */
  config(): Promise<KubeConfigLike> {
    this.#config ??= this.load().catch((error: unknown) => {
      this.#config = undefined;
      throw error;
    });
    return this.#config;
  }

  /** Sends a call and reads the whole answer, up to `maxBytes`. */
  exchange(
    operation: Operation,
    call: Call,
    maxBytes: number,
  ): Promise<Answer> {
    return this.send(operation, call, wholeAnswer(maxBytes));
  }

  /** Sends a call, and returns the response as a stream. */
  stream(operation: Operation, call: Call): Promise<IncomingMessage> {
    return this.send(operation, call, openStream);
  }

  /** Aborts every call in flight and closes every connection; later calls fail. */
  close(): void {
    this.closed = true;
    for (const abort of this.underWay) {
      abort();
    }
    this.pools.close();
  }

  private async send<T extends Answer | IncomingMessage>(
    operation: Operation,
    call: Call,
    receive: Receive<T>,
  ): Promise<T> {
    if (this.closed) {
      throw new ExchangeError('aborted', 'credentials');
    }
    const startedAt = this.requests?.isObserved ? performance.now() : undefined;
    const target = this.findTarget();
    const { outcome, abort } = send(call, target, receive);
    this.underWay.add(abort);
    try {
      const answer = await outcome;
      const status = 'status' in answer ? answer.status : answer.statusCode;
      this.report(operation, startedAt, { status });
      return answer;
    } catch (error) {
      if (error instanceof ExchangeError) {
        this.report(operation, startedAt, { failure: error.fault });
        this.learnFrom(error, target);
      }
      throw error;
    } finally {
      this.underWay.delete(abort);
    }
  }

  /** @param startedAt undefined if nobody listened then */
  private report(
    { verb, namespace }: Operation,
    startedAt: number | undefined,
    end: Pick<ApiRequestEvent, 'status' | 'failure'>,
  ): void {
    if (startedAt !== undefined) {
      const duration = performance.now() - startedAt;
      this.requests?.emit({ verb, namespace, duration, ...end });
    }
  }

  private learnFrom(
    { fault, phase }: ExchangeError,
    target: Promise<Target>,
  ): void {
    if (fault === 'timeout' && phase === 'credentials') {
      // An exec plugin that hangs must not block the following requests.
      this.forget(target);
    } else if (fault === 'timeout' || fault === 'network') {
      this.pools.dropIdle();
    }
  }

  /** Requests that start while credentials are being obtained share them: one run of the exec plugin, not many. */
  private findTarget(): Promise<Target> {
    if (this.#target) {
      return this.#target;
    }
    const target = this.makeTarget();
    this.#target = target;
    const forget = () => this.forget(target);
    target.then(forget, forget);
    return target;
  }

  private forget(target: Promise<Target>): void {
    if (this.#target === target) {
      this.#target = undefined;
    }
  }

  private async makeTarget(): Promise<Target> {
    const config = await this.config();
    const options: RequestOptions = {};
    try {
      await config.applyToHTTPSOptions(options);
      const { headers, auth, agent, ...material } = options;
      const cluster = config.getCurrentCluster();
      if (!cluster || this.closed) {
        throw new Error('no cluster any more');
      }
      const { proxyUrl } = cluster;
      const { url, root, user } = this.resolve(cluster.server);
      const pools = this.pools.get(
        { origin: url.origin, proxyUrl, material },
        agent instanceof Agent ? agent : undefined,
      );
      return {
        // Unlike `href`, `host` contains no user name and password.
        address: proxyUrl
          ? `${url.host} through the proxy ${new URL(proxyUrl).host}`
          : url.host,
        protocol: url.protocol,
        hostname: url.hostname.replace(/^\[|\]$/g, ''),
        port: url.port,
        root,
        headers: headersOf(headers, auth ?? user),
        pools,
      };
    } catch (error) {
      // The error's message may quote a token or the output of an exec plugin, so only its code is kept.
      throw new ExchangeError('credentials', 'credentials', codeOf(error));
    }
  }

  private resolve(server: string): ServerAddress {
    if (this.#address?.server !== server) {
      const url = new URL(server);
      const root = url.pathname.replace(/\/+$/, '');
      this.#address = { server, url, root, user: userOf(url) };
    }
    return this.#address;
  }
}

function headersOf(
  headers: RequestOptions['headers'],
  auth: string | null | undefined,
): OutgoingHttpHeaders {
  const sent: OutgoingHttpHeaders = {
    Accept: 'application/json',
    'User-Agent': CLIENT_NAME,
  };
  for (const [name, value] of Object.entries(headers ?? {})) {
    // A token file may end with a line feed, which is not allowed in a header.
    sent[name] = typeof value === 'string' ? value.trim() : value;
  }
  if (
    auth &&
    !Object.keys(sent).some((name) => /^authorization$/i.test(name))
  ) {
    sent.Authorization = `Basic ${Buffer.from(auth).toString('base64')}`;
  }
  return sent;
}

/** The user name and password in a URL, if there are any. */
function userOf({ username, password }: URL): string | undefined {
  return username
    ? `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
    : undefined;
}
