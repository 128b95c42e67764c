/** A LeaseStore on the API of the embedded server, without HTTP: what a request meets on its way is up to a derived class. */
import { failureOfAnswer } from '../kube/api-errors.js';
import type { CollectionObserver } from '../kube/collection-watch.js';
import { contentOf } from '../kube/kubernetes-lease-store.js';
import {
  LeaseStoreError,
  make,
  type Lease,
  type LeaseKey,
  type LeaseObserver,
  type LeasePatch,
  type LeaseStore,
  type Made,
  type RequestOptions,
  type StoredLease,
  type WatchSelection,
} from '../kube/lease-store.js';
import { ApiError } from './api-status.js';
import { LeaseApi, type ApiRequest } from './lease-api.js';
import type { LeaseStorage } from './lease-storage.js';
import { parseSelectors, type Selects } from './selectors.js';

export type DirectVerb =
  'get' | 'list' | 'create' | 'update' | 'patch' | 'delete';

/** A request, with the content that it carries. */
export interface DirectRequest {
  readonly verb: DirectVerb;
  readonly namespace: string;
  /** Empty for a list. */
  readonly name: string;
  readonly lease?: Lease;
  readonly patch?: LeasePatch;
  readonly precondition?: { uid: string; resourceVersion: string };
}

/** An open watch of a Lease. */
export interface DirectWatch {
  readonly key: LeaseKey;
  readonly observer: LeaseObserver;
  /** Undefined: it tells everything. */
  readonly selects: Selects | undefined;
}

export abstract class DirectLeaseStore implements LeaseStore {
  /** The renewals a second that the process can do. */
  capacity = Infinity;
  protected isClosed = false;
  private readonly api: LeaseApi;
  private readonly watches = new Set<DirectWatch>();
  private readonly collections = new Set<{
    namespace: string;
    observer: CollectionObserver;
  }>();
  private readonly stopFollowing: () => void;

  constructor(private readonly storage: LeaseStorage) {
    this.api = new LeaseApi(storage, undefined);
    this.stopFollowing = storage.subscribe(({ before, after, version }) => {
      const { lease } = after ?? before;
      this.deliver(() =>
        this.tellWatches(lease, after === undefined, {
          before: before?.lease,
          version: String(version),
        }),
      );
    });
  }

  /**
   * Sends a request: calls `apply` once it has arrived.
   *
   * @param apply applies the request and returns the answer; throws LeaseStoreError if it is refused
   */
  protected abstract send<T>(
    request: DirectRequest,
    options: RequestOptions | undefined,
    apply: () => T,
  ): Promise<T>;

  /** Calls `tell`, which tells the watches of a change, after the present turn. */
  protected deliver(tell: () => void): void {
    runSoon(tell);
  }

  /** How many watches are open. */
  get openWatches(): number {
    return this.watches.size;
  }

  defaultNamespace(): Promise<string> {
    return Promise.resolve('default');
  }

  address(): Promise<string> {
    return Promise.resolve('memory:');
  }

  findNamespaceFault(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  mayI(): Promise<boolean> {
    return Promise.resolve(true);
  }

  async get(
    key: LeaseKey,
    options?: RequestOptions,
  ): Promise<StoredLease | undefined> {
    try {
      return await this.request({ verb: 'get', ...key }, options, () =>
        this.api.get(requestOf(key)),
      );
    } catch (error) {
      if (error instanceof LeaseStoreError && error.reason === 'not-found') {
        return undefined;
      }
      throw error;
    }
  }

  create(
    key: LeaseKey,
    lease: Made<Lease>,
    options?: RequestOptions,
  ): Promise<StoredLease> {
    const { namespace } = key;
    const body = JSON.stringify(make(lease));
    return this.request(
      { verb: 'create', ...key, lease: JSON.parse(body) },
      options,
      () => this.api.create(requestOf({ namespace }, body)),
    );
  }

  replace(
    key: LeaseKey,
    lease: Made<StoredLease>,
    options?: RequestOptions,
  ): Promise<StoredLease> {
    const body = JSON.stringify(make(lease));
    return this.request(
      { verb: 'update', ...key, lease: JSON.parse(body) },
      options,
      () => this.api.update(requestOf(key, body)),
    );
  }

  patch(
    key: LeaseKey,
    patch: Made<LeasePatch>,
    options?: RequestOptions,
  ): Promise<StoredLease> {
    const made = make(patch);
    const { body, contentType } = contentOf(made);
    return this.request(
      { verb: 'patch', ...key, patch: structuredClone(made) },
      options,
      () => this.api.patch({ ...requestOf(key, body), contentType }),
    );
  }

  async delete(
    key: LeaseKey,
    precondition: { uid: string; resourceVersion: string },
    options?: RequestOptions,
  ): Promise<boolean> {
    const body = JSON.stringify({
      kind: 'DeleteOptions',
      apiVersion: 'v1',
      preconditions: precondition,
    });
    try {
      const { kind } = await this.request<{ kind?: string }>(
        { verb: 'delete', ...key, precondition },
        options,
        () => this.api.delete(requestOf(key, body)),
      );
      return kind === 'Status';
    } catch (error) {
      // Gone already: what was asked for is so.
      const isGone =
        error instanceof LeaseStoreError && error.reason === 'not-found';
      if (!isGone) {
        throw error;
      }
      return true;
    }
  }

  async list(
    namespace: string,
    options?: RequestOptions,
  ): Promise<StoredLease[]> {
    const { items } = await this.request<{ items: StoredLease[] }>(
      { verb: 'list', namespace, name: '' },
      options,
      () => this.api.list(requestOf({ namespace })),
    );
    return items;
  }

  watch(
    key: LeaseKey,
    observer: LeaseObserver,
    selection?: WatchSelection,
  ): { close(): void } {
    const selects = selection && parseSelectors(selection.labelSelector, null);
    const watch = { key, observer, selects };
    this.watches.add(watch);
    runSoon(() => {
      if (this.watches.has(watch)) {
        this.tellState(watch);
      }
    });
    return { close: () => this.watches.delete(watch) };
  }

  watchAll(namespace: string, observer: CollectionObserver): { close(): void } {
    const collection = { namespace, observer };
    let isOver = false;
    runSoon(() => {
      if (!this.isClosed && !isOver) {
        this.collections.add(collection);
        observer.listed(
          this.storage
            .list(namespace)
            .map(({ lease }) => structuredClone(lease)),
        );
      }
    });
    return {
      close: () => {
        isOver = true;
        this.collections.delete(collection);
      },
    };
  }

  close(): void {
    this.isClosed = true;
    this.watches.clear();
    this.collections.clear();
    this.stopFollowing();
  }

  /** Makes the watches report a record, whatever is stored. */
  tellWatches(
    lease: StoredLease,
    deleted = false,
    { before, version = '' }: { before?: StoredLease; version?: string } = {},
  ): void {
    const { name, namespace } = lease.metadata;
    for (const { key, observer, selects } of this.watches) {
      if (name !== key.name || namespace !== key.namespace) {
        continue;
      }
      if (selects && (deleted || !selects(lease))) {
        if (before && selects(before)) {
          observer.unselected?.(version);
        }
      } else if (deleted) {
        observer.deleted();
      } else {
        observer.changed(structuredClone(lease), true);
      }
    }
    for (const { namespace: all, observer } of this.collections) {
      if (all !== namespace) {
        continue;
      }
      if (deleted) {
        observer.deleted(name);
      } else {
        observer.changed(structuredClone(lease));
      }
    }
  }

  /** Every watch is broken and comes back, which makes it list what it watches. */
  reconnectWatches(): void {
    for (const watch of this.watches) {
      this.tellState(watch);
    }
  }

  protected tellState({ key, observer, selects }: DirectWatch): void {
    const lease = this.storage.get(key)?.lease;
    if (lease && (selects?.(lease) ?? true)) {
      observer.changed(structuredClone(lease), false);
    } else if (selects) {
      observer.unselected?.(String(this.storage.version));
    } else {
      observer.deleted();
    }
  }

  private request<T = StoredLease>(
    request: DirectRequest,
    options: RequestOptions | undefined,
    apply: () => { body: string },
  ): Promise<T> {
    return this.send(request, options, (): T => {
      try {
        return JSON.parse(apply().body);
      } catch (error) {
        throw error instanceof ApiError ? refusal(request, error) : error;
      }
    });
  }
}

/** Not by queueMicrotask(), which fake timers may replace. */
function runSoon(run: () => void): void {
  void Promise.resolve().then(run);
}

function requestOf(key: Partial<LeaseKey>, body = ''): ApiRequest {
  return {
    ...key,
    query: new URLSearchParams(),
    contentType: 'application/json',
    body,
  };
}

/** A refusal of the API server, as the KubernetesLeaseStore words it. */
export function refusal(
  { verb, namespace, name }: DirectRequest,
  error: ApiError,
): LeaseStoreError {
  return failureOfAnswer(
    { verb, namespace, name, timeout: 0 },
    {
      status: error.code,
      headers: {},
      body: JSON.stringify(error.status),
    },
  );
}
