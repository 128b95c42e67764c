/**
 * A LeaseStore on the storage of the embedded API server, without HTTP: for tests in which a request
 * takes exactly the time, and meets exactly the fate, that the test says.
 */
import type {
  Lease,
  LeaseKey,
  LeaseObserver,
  LeasePatch,
  LeaseStore,
  LeaseStoreFailure,
  RequestOptions,
  StoredLease,
} from '../../lib/kube/lease-store.js';
import {
  LeaseStoreError,
  make,
  type Made,
} from '../../lib/kube/lease-store.js';
import { failureOfAnswer } from '../../lib/kube/api-errors.js';
import { contentOf } from '../../lib/kube/kubernetes-lease-store.js';
import type { Clock } from '../../lib/lock/clock.js';
import { ApiError } from '../../lib/testing/api-status.js';
import { LeaseApi, type ApiRequest } from '../../lib/testing/lease-api.js';
import type { LeaseStorage } from '../../lib/testing/lease-storage.js';

/** What happens to a request on its way; by default it is applied and answered at once. */
export interface Fate {
  /** Milliseconds until it is applied, even when the client has given up by then. Infinity: never. */
  appliedAfter?: number;
  /** Milliseconds from then until the answer. Infinity: never. */
  answeredAfter?: number;
  /** The connection breaks: before anything was sent, before the request was applied, or after it. */
  breaks?: 'unsent' | 'before' | 'after';
  /** It is applied, and this is made of the answer. */
  instead?: (lease: StoredLease) => StoredLease;
  /** It is not applied but refused. */
  refused?: {
    reason: LeaseStoreFailure;
    status?: number;
    retryAfter?: number;
    ambiguous?: boolean;
    alreadyExists?: boolean;
  };
}

export type Verb = 'get' | 'list' | 'create' | 'update' | 'patch' | 'delete';

export interface SentRequest {
  readonly verb: Verb;
  readonly name: string;
  /** What a write carries. */
  readonly lease?: Lease;
  readonly patch?: LeasePatch;
  readonly precondition?: { uid: string; resourceVersion: string };
  /** Milliseconds after which the client gives up. */
  readonly timeout: number;
  /** On the clock of the sender. */
  readonly sentAt: number;
}

interface Planned {
  readonly fate: Fate;
  readonly verbs: readonly Verb[];
  times: number;
}

export class MemoryLeaseStore implements LeaseStore {
  /** Every request that was sent, in order. */
  readonly requests: SentRequest[] = [];
  /** Watches report what happens; false: nothing arrives any more, and nobody is told. */
  watchesWork = true;
  /** Milliseconds until a watch reports what has happened. */
  watchDelay = 0;
  closed = false;
  /** The renewals a second that the process can do. */
  capacity = Infinity;
  private readonly api: LeaseApi;
  private readonly planned: Planned[] = [];
  private readonly watches = new Set<{
    key: LeaseKey;
    observer: LeaseObserver;
  }>();
  private readonly stopFollowing: () => void;

  constructor(
    private readonly storage: LeaseStorage,
    private readonly clock: Clock,
    /** Keeps the time of what is on its way: it lands even when the sender is gone. */
    private readonly network: Clock = clock,
  ) {
    this.api = new LeaseApi(storage, undefined);
    this.stopFollowing = storage.subscribe(({ before, after }) => {
      const { lease } = after ?? before;
      const tell = (): void => {
        if (this.watchesWork) {
          this.tellWatches(lease, after === undefined);
        }
      };
      if (this.watchDelay > 0) {
        this.network.schedule(this.network.now() + this.watchDelay, tell);
      } else {
        queueMicrotask(tell);
      }
    });
  }

  /** Gives the next `times` requests of these verbs this fate. What is planned first comes first. An `update` may be a PATCH. */
  plan(fate: Fate, verbs: Verb | readonly Verb[], times = Infinity): void {
    this.planned.push({ fate, verbs: [verbs].flat(), times });
  }

  /** The network is as it should be again. */
  heal(): void {
    this.planned.length = 0;
  }

  /** How many watches are open. */
  get openWatches(): number {
    return this.watches.size;
  }

  /** Every watch is broken and comes back, which makes it list what it watches. */
  reconnectWatches(): void {
    for (const { key, observer } of this.watches) {
      this.tellState(key, observer);
    }
  }

  /** Makes the watches report a record, whatever is stored. */
  tellWatches(lease: StoredLease, deleted = false): void {
    const { name, namespace } = lease.metadata;
    for (const { key, observer } of this.watches) {
      if (name !== key.name || namespace !== key.namespace) {
        continue;
      }
      if (deleted) {
        observer.deleted();
      } else {
        observer.changed(structuredClone(lease), true);
      }
    }
  }

  /** The verbs of what was sent, oldest first: the shortest way to say what should have been. */
  verbs(): string {
    return this.requests.map(({ verb }) => verb).join(' ');
  }

  defaultNamespace(): Promise<string> {
    return Promise.resolve('default');
  }

  async get(
    key: LeaseKey,
    options?: RequestOptions,
  ): Promise<StoredLease | undefined> {
    try {
      return await this.send({ verb: 'get', name: key.name }, options, () =>
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
    const keyOfAny = { ...key, name: undefined };
    const { request, sent } = writeOf(keyOfAny, make(lease));
    return this.send(
      { verb: 'create', name: key.name, lease: sent },
      options,
      () => this.api.create(request),
    );
  }

  replace(
    key: LeaseKey,
    lease: Made<StoredLease>,
    options?: RequestOptions,
  ): Promise<StoredLease> {
    const { request, sent } = writeOf(key, make(lease));
    return this.send(
      { verb: 'update', name: key.name, lease: sent },
      options,
      () => this.api.update(request),
    );
  }

  patch(
    key: LeaseKey,
    patch: Made<LeasePatch>,
    options?: RequestOptions,
  ): Promise<StoredLease> {
    const made = make(patch);
    const { body, contentType } = contentOf(made);
    return this.send(
      { verb: 'patch', name: key.name, patch: structuredClone(made) },
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
      const { kind } = await this.send<{ kind?: string }>(
        { verb: 'delete', name: key.name, precondition },
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
    const { items } = await this.send<{ items: StoredLease[] }>(
      { verb: 'list', name: '' },
      options,
      () => this.api.list(requestOf({ namespace })),
    );
    return items;
  }

  watch(key: LeaseKey, observer: LeaseObserver): { close(): void } {
    const watch = { key, observer };
    this.watches.add(watch);
    queueMicrotask(() => {
      if (this.watches.has(watch)) {
        this.tellState(key, observer);
      }
    });
    return { close: () => this.watches.delete(watch) };
  }

  mayI(): Promise<boolean> {
    return Promise.resolve(true);
  }

  address(): Promise<string> {
    return Promise.resolve('memory:');
  }

  findNamespaceFault(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  close(): void {
    this.closed = true;
    this.watches.clear();
    this.stopFollowing();
  }

  private tellState(key: LeaseKey, observer: LeaseObserver): void {
    if (!this.watchesWork) {
      return;
    }
    const lease = this.storage.get(key)?.lease;
    if (lease) {
      observer.changed(structuredClone(lease), false);
    } else {
      observer.deleted();
    }
  }

  private send<T = StoredLease>(
    what: Omit<SentRequest, 'sentAt' | 'timeout'>,
    { signal, timeout = 5_000 }: RequestOptions = {},
    apply: () => { body: string },
  ): Promise<T> {
    const isWrite = what.verb !== 'get' && what.verb !== 'list';
    const failure = (
      reason: LeaseStoreFailure,
      details: Fate['refused'] | { ambiguous?: boolean } = {},
    ) => new LeaseStoreError(reason, `${what.verb}: ${reason}`, details);
    if (signal?.aborted || this.closed) {
      return Promise.reject(failure('aborted'));
    }
    if (timeout <= 0) {
      return Promise.reject(failure('timeout'));
    }
    this.requests.push({ ...what, timeout, sentAt: this.clock.now() });
    const { appliedAfter = 0, ...fate } = this.fateOf(what.verb);

    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        cancelTimeout();
        signal?.removeEventListener('abort', abort);
        settle();
      };
      const fail = (error: Error): void => end(() => reject(error));
      const abort = (): void =>
        fail(failure('aborted', { ambiguous: isWrite }));
      const cancelTimeout = this.clock.schedule(
        this.clock.now() + timeout,
        () => fail(failure('timeout', { ambiguous: isWrite })),
      );
      signal?.addEventListener('abort', abort, { once: true });

      this.after(appliedAfter, () => {
        const { refused, breaks, answeredAfter = 0 } = fate;
        if (refused) {
          return fail(failure(refused.reason, refused));
        }
        if (breaks === 'unsent') {
          return fail(failure('network'));
        }
        const broken = failure('network', { ambiguous: isWrite });
        if (breaks === 'before') {
          return fail(broken);
        }
        let answer: () => void;
        try {
          const value = JSON.parse(apply().body);
          const { instead } = fate;
          const shown: T = instead ? instead(value) : value;
          answer = () => resolve(shown);
        } catch (error) {
          answer = () => reject(refusal(what, error));
        }
        if (breaks === 'after') {
          return fail(broken);
        }
        this.after(answeredAfter, () => end(answer));
      });
    });
  }

  private after(milliseconds: number, run: () => void): void {
    if (milliseconds === 0) {
      queueMicrotask(run);
    } else if (milliseconds < Infinity) {
      this.network.schedule(this.network.now() + milliseconds, run);
    }
  }

  private fateOf(verb: Verb): Fate {
    const next = this.planned.find(
      ({ verbs, times }) =>
        times > 0 &&
        (verbs.includes(verb) ||
          (verb === 'patch' && verbs.includes('update'))),
    );
    if (next === undefined) {
      return {};
    }
    next.times -= 1;
    return next.fate;
  }
}

function requestOf(key: Partial<LeaseKey>, body = ''): ApiRequest {
  return {
    ...key,
    query: new URLSearchParams(),
    contentType: 'application/json',
    body,
  };
}

function writeOf(
  key: { namespace: string; name: string | undefined },
  lease: Lease,
): { request: ApiRequest; sent: Lease } {
  const { name, ...rest } = key;
  const body = JSON.stringify(lease);
  const sent: Lease = JSON.parse(body);
  return {
    request: requestOf(name === undefined ? rest : { ...rest, name }, body),
    sent,
  };
}

/** What the API server answers, as the KubernetesLeaseStore words it. */
function refusal(
  { verb, name }: Pick<SentRequest, 'verb' | 'name'>,
  error: unknown,
): unknown {
  return error instanceof ApiError
    ? failureOfAnswer(
        { verb, namespace: 'default', name, timeout: 0 },
        {
          status: error.code,
          headers: {},
          body: JSON.stringify(error.status),
        },
      )
    : error;
}
