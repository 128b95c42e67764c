/**
 * The LeaseStore on a Kubernetes API server.
 *
 * `new KubernetesLeaseStore({ kubeConfig?, inCluster?, requestTimeout, requests?, watch? })`.
 * Nothing is loaded, read or connected before the first call. If no usable Kubernetes configuration
 * is found, every call rejects with KubeConfigurationError instead of LeaseStoreError.
 */
import {
  continuationOf,
  isMissingLease,
  isNamespaceTerminating,
  parseObject,
  retryAfterOf,
  statusOf,
  toLeaseList,
  toStoredLease,
  UnreadableAnswer,
} from './api-response.js';
import { ExchangeError, type Answer, type Call } from './http-request.js';
import {
  failureOfAnswer,
  failureOfContent,
  failureOfExchange,
  failureOfInput,
  failureOfList,
  failureOfPause,
  type Operation,
} from './api-errors.js';
import {
  CollectionWatch,
  type CollectionObserver,
} from './collection-watch.js';
import {
  defaultNamespaceOf,
  KubeConfigurationError,
  loadKubeConfig,
  type KubeConfigSource,
} from './kube-config.js';
import { KubeHttpClient, type RequestSink } from './kube-http-client.js';
import {
  make,
  type Lease,
  type LeaseKey,
  type LeaseObserver,
  type LeasePatch,
  type LeaseStore,
  type LeaseVerb,
  type Made,
  type RequestOptions,
  type StoredLease,
  type WatchSelection,
} from './lease-store.js';
import type { WatchTiming } from './lease-watch.js';
import { NamespaceWatches } from './namespace-watches.js';
import { PausedError, RequestQueue } from './request-queue.js';

export interface KubernetesLeaseStoreOptions extends KubeConfigSource {
  /** Milliseconds for a request, unless the call gives another timeout. */
  readonly requestTimeout: number;
  /** Receives an event for each request. */
  readonly requests?: RequestSink;
  /** Timing of watches, for tests. */
  readonly watch?: Partial<WatchTiming>;
}

/** Stands for all namespaces in a list, as in Kubernetes (NamespaceAll). */
export const ALL_NAMESPACES = '';
/** etcd stores no object over 1.5 MiB; JSON may need twice the space. */
const MAX_LEASE_BYTES = 3 * 1024 * 1024;
/** Limit of one page of a list. */
const MAX_PAGE_BYTES = 32 * 1024 * 1024;
/** Leases per page. */
const PAGE_SIZE = 500;
/** A list fails after this many restarts, or pages without a new Lease, in a row. */
const MAX_FRUITLESS_PAGES = 10;

const NAMESPACE = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const NAME =
  /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

export class KubernetesLeaseStore implements LeaseStore {
  /** `#private` because it can hold credentials: a logger that prints a lock follows every other field to here. */
  readonly #options: KubernetesLeaseStoreOptions;
  private readonly client: KubeHttpClient;
  private readonly queue = new RequestQueue();
  private readonly watches = new Map<string, NamespaceWatches>();
  private readonly collections = new Set<CollectionWatch>();
  private closed = false;

  constructor(options: KubernetesLeaseStoreOptions) {
    this.#options = options;
    const load = () => loadKubeConfig(options);
    this.client = new KubeHttpClient(load, options.requests);
  }

  async defaultNamespace(): Promise<string> {
    const namespace = defaultNamespaceOf(await this.client.config());
    if (!NAMESPACE.test(namespace)) {
      throw new KubeConfigurationError(
        "The namespace of the Kubernetes configuration's context, or in the file of the service account, is not a DNS-1123 label. Correct it there.",
      );
    }
    return namespace;
  }

  /** The address of the API server. */
  async address(): Promise<string> {
    return new URL((await this.client.config()).getCurrentCluster()!.server)
      .href;
  }

  async get(
    key: LeaseKey,
    options?: RequestOptions,
  ): Promise<StoredLease | undefined> {
    const operation = this.operation('get', key, options);
    const answer = await this.send(
      operation,
      () => ({ method: 'GET', path: pathOf(key) }),
      options,
    );
    if (answer.status === 404 && isMissingLease(statusOf(answer.body))) {
      return undefined;
    }
    return this.read(operation, answer, toStoredLease);
  }

  async create(
    key: LeaseKey,
    lease: Made<Lease>,
    options?: RequestOptions,
  ): Promise<StoredLease> {
    const operation = this.operation('create', key, options);
    const answer = await this.send(
      operation,
      () => {
        const made = make(lease);
        const { uid: _, resourceVersion: __, ...metadata } = made.metadata;
        return {
          method: 'POST',
          path: pathOf({ namespace: key.namespace }),
          body: bodyOf(key, { ...made, metadata }),
        };
      },
      options,
    );
    return this.read(operation, answer, toStoredLease);
  }

  /**
   * Sends a `dryRun` creation of a Lease: the API server can grant the right to create a Lease in a
   * namespace that does not exist or is being deleted, and reports the fault only on creation.
   *
   * @returns the fault of the namespace; undefined if it has none, or if the request fails for another reason
   */
  async findNamespaceFault(
    namespace: string,
    options?: RequestOptions,
  ): Promise<string | undefined> {
    const key = { namespace, name: 'nestjs-k8s-lock-check' };
    const operation = this.operation('create', key, options);
    const answer = await this.send(
      operation,
      () => ({
        method: 'POST',
        path: `${pathOf({ namespace })}?dryRun=All`,
        body: bodyOf(key, { metadata: { name: key.name } }),
      }),
      options,
    );
    const status = statusOf(answer.body);
    return answer.status === 404 || isNamespaceTerminating(status)
      ? failureOfAnswer(operation, answer, status).message
      : undefined;
  }

  async replace(
    key: LeaseKey,
    lease: Made<StoredLease>,
    options?: RequestOptions,
  ): Promise<StoredLease> {
    const operation = this.operation('update', key, options);
    const answer = await this.send(
      operation,
      () => {
        const made = make(lease);
        checkPrecondition(operation, made.metadata);
        return { method: 'PUT', path: pathOf(key), body: bodyOf(key, made) };
      },
      options,
    );
    return this.read(operation, answer, toStoredLease);
  }

  async patch(
    key: LeaseKey,
    patch: Made<LeasePatch>,
    options?: RequestOptions,
  ): Promise<StoredLease> {
    const operation = this.operation('patch', key, options);
    const answer = await this.send(
      operation,
      () => ({
        method: 'PATCH',
        path: pathOf(key),
        ...contentOf(make(patch)),
      }),
      options,
    );
    return this.read(operation, answer, toStoredLease);
  }

  async delete(
    key: LeaseKey,
    precondition: { uid: string; resourceVersion: string },
    options?: RequestOptions,
  ): Promise<boolean> {
    const operation = this.operation('delete', key, options);
    checkPrecondition(operation, precondition);
    const { uid, resourceVersion } = precondition;
    const answer = await this.send(
      operation,
      () => ({
        method: 'DELETE',
        path: pathOf(key),
        body: JSON.stringify({
          apiVersion: 'v1',
          kind: 'DeleteOptions',
          preconditions: { uid, resourceVersion },
        }),
      }),
      options,
    );
    // The Lease is gone already, as intended.
    if (answer.status === 404 && isMissingLease(statusOf(answer.body))) {
      return true;
    }
    // The answer is a Status if the Lease is gone, and the Lease itself if finalizers keep it.
    return this.read(operation, answer, ({ kind }) => kind === 'Status');
  }

  /** @param namespace {@link ALL_NAMESPACES} for those of all */
  async list(
    namespace: string,
    options?: RequestOptions,
  ): Promise<StoredLease[]> {
    const found = new Map<string, StoredLease>();
    let token: string | undefined;
    let limit = PAGE_SIZE;
    for (let fruitless = 0; ;) {
      // oxlint-disable-next-line no-await-in-loop -- each page has the token of the next
      const answer = await this.listPage(namespace, { limit, token }, options);
      const operation = this.operation('list', { namespace }, options);
      const before = found.size;
      if (answer.body === undefined && limit > 1) {
        limit = Math.ceil(limit / 10); // very large Leases
        continue;
      }
      if (answer.status === 410 && token !== undefined) {
        // The resourceVersion of the list has expired: continue with the token of the 410, or start over.
        token = continuationOf(answer.body);
      } else {
        const page = this.read(operation, answer, toLeaseList);
        for (const lease of page.leases) {
          found.set(
            `${lease.metadata.namespace}/${lease.metadata.name}`,
            lease,
          );
        }
        token = page.continuation;
        if (token === undefined) {
          return Array.from(found.values());
        }
      }
      fruitless = found.size > before ? 0 : fruitless + 1;
      if (fruitless >= MAX_FRUITLESS_PAGES) {
        throw failureOfList(operation, answer);
      }
    }
  }

  private listPage(
    namespace: string,
    { limit, token }: { limit: number; token: string | undefined },
    options: RequestOptions | undefined,
  ): Promise<Answer> {
    const query = new URLSearchParams({ limit: String(limit) });
    if (token !== undefined) {
      query.set('continue', token);
    }
    return this.send(
      this.operation('list', { namespace }, options),
      () => ({
        method: 'GET',
        path: `${pathOf({ namespace })}?${query.toString()}`,
      }),
      options,
      MAX_PAGE_BYTES,
    );
  }

  /** Throws LeaseStoreError `invalid` at once if the key is not valid. */
  watch(
    key: LeaseKey,
    observer: LeaseObserver,
    selection?: WatchSelection,
  ): { close(): void } {
    this.operation('watch', key);
    const { namespace, name } = key;
    if (this.closed) {
      return { close: () => {} };
    }
    let watches = this.watches.get(namespace);
    if (!watches) {
      const { requestTimeout, watch: timing } = this.#options;
      watches = new NamespaceWatches(
        this.client,
        namespace,
        pathOf({ namespace }),
        { requestTimeout, timing },
      );
      this.watches.set(namespace, watches);
    }
    return watches.watch(name, observer, selection);
  }

  /** Watches all Leases of a namespace, for which its credentials need the rights to list and to watch them. */
  watchAll(namespace: string, observer: CollectionObserver): { close(): void } {
    this.operation('watch', { namespace });
    if (this.closed) {
      return { close: () => {} };
    }
    const { requestTimeout, watch: timing } = this.#options;
    const collection = new CollectionWatch(
      this.client,
      namespace,
      pathOf({ namespace }),
      { requestTimeout, timing },
      () => this.list(namespace),
      observer,
    );
    this.collections.add(collection);
    return {
      close: () => {
        this.collections.delete(collection);
        collection.close();
      },
    };
  }

  async mayI(
    verb: LeaseVerb,
    target: { namespace: string; name?: string },
    options?: RequestOptions,
  ): Promise<boolean> {
    const operation = this.operation('review', target, options);
    const { namespace, name } = target;
    const group = 'coordination.k8s.io';
    const resourceAttributes = {
      group,
      resource: 'leases',
      verb,
      namespace,
      name,
    };
    const answer = await this.send(
      operation,
      () => ({
        method: 'POST',
        path: '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
        body: JSON.stringify({
          apiVersion: 'authorization.k8s.io/v1',
          kind: 'SelfSubjectAccessReview',
          spec: { resourceAttributes },
        }),
      }),
      options,
    );
    return this.read(operation, answer, (value) => {
      const { allowed } = (value.status ?? {}) as { allowed?: unknown };
      if (typeof allowed === 'boolean') {
        return allowed;
      }
      throw new UnreadableAnswer('status.allowed is missing');
    });
  }

  get capacity(): number {
    return this.queue.capacity;
  }

  close(): void {
    this.closed = true;
    for (const watches of this.watches.values()) {
      watches.close();
    }
    for (const collection of this.collections) {
      collection.close();
    }
    this.queue.close();
    this.client.close();
  }

  private operation(
    verb: Operation['verb'],
    { namespace, name }: { namespace: string; name?: string },
    options: RequestOptions = {},
  ): Operation {
    const timeout = options.timeout ?? this.#options.requestTimeout;
    const operation = { verb, namespace, name, timeout };
    const isAll = verb === 'list' && namespace === ALL_NAMESPACES;
    if (!isAll && !NAMESPACE.test(namespace)) {
      throw failureOfInput(operation, 'the namespace is not a DNS-1123 label');
    }
    if (name !== undefined && !NAME.test(name)) {
      throw failureOfInput(operation, 'the name is not a DNS-1123 subdomain');
    }
    return operation;
  }

  private async send(
    operation: Operation,
    /** Called at the moment the request is sent. */
    makeCall: () => Pick<Call, 'method' | 'path' | 'body' | 'contentType'>,
    { signal, within, priority = 'look' }: RequestOptions = {},
    maxBytes = MAX_LEASE_BYTES,
  ): Promise<Answer> {
    const limits = { timeout: operation.timeout, within, signal };
    try {
      return await this.queue.run(priority, limits, async (timeout) => {
        const answer = await this.client.exchange(
          operation,
          { ...makeCall(), timeout, signal },
          maxBytes,
        );
        this.heed(answer);
        return answer;
      });
    } catch (error) {
      if (error instanceof PausedError) {
        throw failureOfPause(operation, error.left);
      }
      if (!(error instanceof ExchangeError)) {
        throw error;
      }
      throw failureOfExchange(operation, error);
    }
  }

  /** Pauses the queue if an overloaded API server asks for that. */
  private heed({ status, headers, body }: Answer): void {
    if (status === 429 || status === 503) {
      const delay = retryAfterOf(headers, statusOf(body));
      if (delay !== undefined) {
        this.queue.pause(delay);
      }
    }
  }

  private read<T>(
    operation: Operation,
    answer: Answer,
    read: (value: Record<string, unknown>, about: Operation) => T,
  ): T {
    if (answer.status < 200 || answer.status >= 300) {
      throw failureOfAnswer(operation, answer);
    }
    try {
      return read(parseObject(answer.body), operation);
    } catch (error) {
      if (!(error instanceof UnreadableAnswer)) {
        throw error;
      }
      throw failureOfContent(operation, answer, error);
    }
  }
}

/** R1: the API server would accept a write without uid or resourceVersion, but not compare. */
function checkPrecondition(
  operation: Operation,
  { uid, resourceVersion }: { uid: string; resourceVersion: string },
): void {
  if (!uid || !resourceVersion) {
    throw failureOfInput(operation, 'uid or resourceVersion is missing');
  }
}

/** Names are validated before, so nothing needs to be encoded. */
function pathOf({ namespace, name }: { namespace: string; name?: string }) {
  const place = namespace === ALL_NAMESPACES ? '' : `/namespaces/${namespace}`;
  const leases = `/apis/coordination.k8s.io/v1${place}/leases`;
  return name === undefined ? leases : `${leases}/${name}`;
}

function bodyOf({ namespace, name }: LeaseKey, lease: Lease): string {
  return JSON.stringify({
    ...lease,
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: { ...lease.metadata, name, namespace },
  });
}

/** The body of a PATCH, and its content type, by which the API server knows how to apply it. */
export function contentOf(patch: LeasePatch): {
  body: string;
  contentType: string;
} {
  return {
    body: JSON.stringify(patch.type === 'json' ? patch.operations : patch.body),
    contentType: `application/${patch.type}-patch+json`,
  };
}
