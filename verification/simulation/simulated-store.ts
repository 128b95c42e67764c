/** The LeaseStore of one process: its requests take time, meet their fates, and fail as they do over HTTP. */
import { setMaxListeners } from 'node:events';
import { ExchangeError } from '../../lib/kube/http-request.js';
import {
  failureOfAnswer,
  failureOfExchange,
  type Operation,
} from '../../lib/kube/api-errors.js';
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
} from '../../lib/kube/lease-store.js';
import { CLAIM } from '../../lib/lock/record/fire-claim.js';
import { authorize } from '../../lib/testing/access.js';
import { ApiError } from '../../lib/testing/api-status.js';
import type { ApiModel, Author } from './api-model.js';
import type { Machine } from './machine.js';
import type { Fate, Network } from './network.js';
import type { Scheduler } from './scheduler.js';
import { SimulatedWatch, type WatchFaults } from './simulated-watch.js';
import type { Statistics } from './statistics.js';
import type { Timeline } from './timeline.js';

/** What all clients share. */
export interface Surroundings {
  readonly scheduler: Scheduler;
  readonly timeline: Timeline;
  readonly api: ApiModel;
  readonly network: Network;
  readonly statistics: Statistics;
  readonly watchFaults: WatchFaults;
  /** Whether the machine of this name may patch Leases. */
  readonly mayPatch: (name: string) => boolean;
  /** Is told of a patch by one that was lately told that it may not. */
  readonly onPatchTooSoon: (name: string, leaseName: string) => void;
  /** Is told of every replacing write when it is sent; `basedOn`: the version that it replaces, undefined of a renewal by content. */
  readonly onReplace: (
    key: LeaseKey,
    lease: StoredLease,
    basedOn?: bigint,
  ) => void;
}

/** How the names of sessions begin. */
const SESSION_NAME = 'session-';
/** Milliseconds for which a process that may not patch a Lease does not try to. */
const REFUSAL_COUNTS = 60_000;

interface Request<T> extends Operation {
  readonly signal: AbortSignal | undefined;
  /** Has the API server do it. */
  readonly perform: () => T;
}

export class SimulatedStore implements LeaseStore {
  readonly capacity = Infinity;
  /** Whether it has been told that it may not patch the Lease of a lock. */
  wasRefusedPatch = false;
  /** Is told of each enrolment when it is sent. */
  onEnrolment: ((key: LeaseKey) => void) | undefined;
  /** By the Lease: when it was told so, by its own clock. */
  private readonly patchRefusedAt = new Map<string, number>();
  private readonly watches = new Set<SimulatedWatch>();
  private readonly abort = new AbortController();
  private onAnswer: (() => void) | undefined;
  private onBeginning: (() => void) | undefined;

  constructor(
    private readonly surroundings: Surroundings,
    private readonly author: Author & { machine: Machine },
    private readonly requestTimeout: number,
  ) {
    // Each request listens to it, and there may be many at once.
    setMaxListeners(0, this.abort.signal);
  }

  /** Resolves in the very turn in which the answer to a write arrives, before anybody has dealt with it. */
  nextAnswer(): Promise<void> {
    return new Promise((resolve) => {
      this.onAnswer = resolve;
    });
  }

  /** Resolves when the write is sent that begins claimed work, or renews the lock of work that was begun. */
  nextBeginning(): Promise<void> {
    return new Promise((resolve) => {
      this.onBeginning = resolve;
    });
  }

  get openWatches(): number {
    return this.watches.size;
  }

  defaultNamespace(): Promise<string> {
    return Promise.resolve('default');
  }

  async get(
    key: LeaseKey,
    options?: RequestOptions,
  ): Promise<StoredLease | undefined> {
    return this.send('get', key, options, () => this.surroundings.api.get(key));
  }

  async create(
    key: LeaseKey,
    lease: Made<Lease>,
    options?: RequestOptions,
  ): Promise<StoredLease> {
    const made = make(lease);
    const { uid: _uid, resourceVersion: _version, ...metadata } = made.metadata;
    return this.send('create', key, options, () =>
      this.surroundings.api.create(this.author, key, { ...made, metadata }),
    );
  }

  async replace(
    key: LeaseKey,
    lease: Made<StoredLease>,
    options?: RequestOptions,
  ): Promise<StoredLease> {
    const made = make(lease);
    const basedOn = BigInt(made.metadata.resourceVersion);
    this.surroundings.onReplace(key, made, basedOn);
    if (isBeginning(made)) {
      this.onBeginning?.();
    }
    return this.send('update', key, options, () =>
      this.surroundings.api.update(this.author, key, made),
    );
  }

  async patch(
    key: LeaseKey,
    patch: Made<LeasePatch>,
    options?: RequestOptions,
  ): Promise<StoredLease> {
    const made = make(patch);
    const isEnrolment = made.type === 'merge';
    if (isEnrolment) {
      this.onEnrolment?.(key);
    }
    const lease = this.surroundings.api.get(key);
    const replacement = replacementBy(made, lease);
    if (replacement) {
      this.surroundings.onReplace(key, replacement);
      if (isBeginning(replacement)) {
        this.onBeginning?.();
      }
    }
    // A session may be deleted by now; its holder is told of an eviction if it can be, and nobody else cares.
    if (key.name.startsWith(SESSION_NAME)) {
      return this.sendPatch(key, made, options);
    }
    const { machine } = this.author;
    const refusedAt = this.patchRefusedAt.get(key.name) ?? Infinity;
    const elapsed = machine.localTime() - refusedAt;
    if (elapsed > 0 && elapsed < REFUSAL_COUNTS) {
      this.surroundings.onPatchTooSoon(machine.name, key.name);
    }
    try {
      const patched = await this.sendPatch(key, made, options);
      this.patchRefusedAt.delete(key.name);
      return patched;
    } catch (error) {
      if (error instanceof LeaseStoreError && error.reason === 'forbidden') {
        this.wasRefusedPatch = true;
        this.patchRefusedAt.set(key.name, machine.localTime());
      }
      throw error;
    }
  }

  async delete(
    key: LeaseKey,
    precondition: { uid: string; resourceVersion: string },
    options?: RequestOptions,
  ): Promise<boolean> {
    return this.send('delete', key, options, () => {
      if (this.surroundings.api.get(key) !== undefined) {
        this.surroundings.api.delete(this.author, key, precondition);
      }
      return true;
    });
  }

  async list(
    namespace: string,
    options?: RequestOptions,
  ): Promise<StoredLease[]> {
    return this.send('list', { namespace }, options, () =>
      this.surroundings.api.list(namespace),
    );
  }

  watch(
    key: LeaseKey,
    observer: LeaseObserver,
    selection?: WatchSelection,
  ): { close(): void } {
    const watch = new SimulatedWatch(
      this.surroundings,
      this.author.machine,
      key,
      observer,
      selection,
      () => this.watches.delete(watch),
    );
    this.watches.add(watch);
    return watch;
  }

  mayI(): Promise<boolean> {
    return Promise.resolve(true);
  }

  close(): void {
    for (const watch of this.watches) {
      watch.close();
    }
    this.abort.abort();
  }

  private async send<T>(
    verb: Operation['verb'],
    { namespace, name }: { namespace: string; name?: string },
    { timeout = this.requestTimeout, signal }: RequestOptions = {},
    perform: () => T,
  ): Promise<T> {
    const request = { verb, namespace, name, timeout, signal, perform };
    if (this.abort.signal.aborted) {
      throw failureOfExchange(
        request,
        new ExchangeError('aborted', 'credentials'),
      );
    }
    if (signal?.aborted) {
      throw failureOfExchange(
        request,
        new ExchangeError('aborted', 'connection'),
      );
    }
    const { machine } = this.author;
    machine.maybePause();
    const fate = this.surroundings.network.fateOf(
      machine.name,
      machine.now,
      timeout,
    );
    return this.underWay(request, fate);
  }

  private underWay<T>(request: Request<T>, fate: Fate): Promise<T> {
    const { scheduler, network, statistics } = this.surroundings;
    const { machine } = this.author;
    const sentAt = machine.now;
    const phase =
      fate.isUnconnected || fate.breaks?.isSent === false
        ? 'connection'
        : 'answer';
    return new Promise((resolve, reject) => {
      const deliveries: { cancel(): void }[] = [];
      let isSettled = false;
      const settle = (end: () => void): void => {
        isSettled = true;
        for (const delivery of deliveries) {
          delivery.cancel();
        }
        request.signal?.removeEventListener('abort', giveUp);
        this.abort.signal.removeEventListener('abort', giveUp);
        end();
      };
      const fail = (fault: 'aborted' | 'network' | 'timeout') => (): void =>
        settle(() =>
          reject(failureOfExchange(request, new ExchangeError(fault, phase))),
        );
      const giveUp = fail('aborted');
      request.signal?.addEventListener('abort', giveUp);
      this.abort.signal.addEventListener('abort', giveUp);
      const timeoutAt = sentAt + Math.max(request.timeout, 0) / machine.rate;
      deliveries.push(machine.deliver(timeoutAt, 'timer', fail('timeout')));
      if (fate.breaks) {
        const brokenAt = sentAt + fate.breaks.after;
        deliveries.push(machine.deliver(brokenAt, 'arrival', fail('network')));
      }
      if (fate.arrivesAfter !== undefined) {
        network.underWay += 1;
        scheduler.at(sentAt + fate.arrivesAfter, () => {
          network.underWay -= 1;
          if (isSettled) {
            statistics.count('late requests');
          }
          const answer = this.perform(request, fate);
          if (fate.answeredAfter !== undefined) {
            deliveries.push(
              machine.deliver(
                scheduler.now + fate.answeredAfter,
                'arrival',
                () => {
                  if (request.verb !== 'get') {
                    this.onAnswer?.();
                  }
                  settle(() => answer(resolve, reject));
                },
              ),
            );
          }
        });
      }
    });
  }

  private sendPatch(
    key: LeaseKey,
    patch: LeasePatch,
    options?: RequestOptions,
  ): Promise<StoredLease> {
    return this.send('patch', key, options, () => {
      this.authorizePatch(key);
      return this.surroundings.api.patch(this.author, key, patch);
    });
  }

  /** @throws ApiError 403 */
  private authorizePatch(key: LeaseKey): void {
    const { name } = this.author.machine;
    const isAllowed = this.surroundings.mayPatch(name);
    if (!isAllowed) {
      this.surroundings.statistics.count('patches refused');
    }
    authorize(
      {
        user: name,
        verb: 'patch',
        group: 'coordination.k8s.io',
        resource: 'leases',
        ...key,
      },
      { allow: () => isAllowed },
    );
  }

  /** At the API server. @returns what hands the answer over */
  private perform<T>(
    request: Request<T>,
    { instead }: Fate,
  ): (resolve: (value: T) => void, reject: (error: Error) => void) => void {
    if (instead && !instead.isApplied) {
      return (_, reject) => reject(refusal(request, instead));
    }
    try {
      const value = request.perform();
      return instead
        ? (_, reject) => reject(refusal(request, instead))
        : (resolve) => resolve(value);
    } catch (error) {
      if (!(error instanceof ApiError)) {
        throw error;
      }
      return (_, reject) =>
        reject(instead ? refusal(request, instead) : failure(request, error));
    }
  }
}

/** The record that the renewal of a holder makes of a Lease that names it; undefined for other patches. */
function replacementBy(
  patch: LeasePatch,
  lease: StoredLease | undefined,
): StoredLease | undefined {
  if (patch.type !== 'json' || lease === undefined) {
    return undefined;
  }
  const made = structuredClone(lease);
  const fields: Record<string, unknown> = (made.spec ??= {});
  const annotations: Record<string, unknown> = (made.metadata.annotations ??=
    {});
  for (const operation of patch.operations) {
    const [, part, ...keys] = operation.path.split('/');
    const target = part === 'spec' ? fields : annotations;
    if (operation.op !== 'remove' && operation.path === '/spec') {
      Object.assign(fields, operation.value);
    } else if (operation.op !== 'remove') {
      target[keys.at(-1)!.replaceAll('~1', '/')] = operation.value;
    }
  }
  const changed = patch.operations
    .filter(({ op }) => op !== 'test')
    .map(({ path }) => path);
  return changed.includes('/spec/renewTime') &&
    !changed.includes('/spec/holderIdentity')
    ? made
    : undefined;
}

function isBeginning({ metadata, spec }: StoredLease): boolean {
  const claim = metadata.annotations?.[CLAIM] ?? '';
  return claim.endsWith(` begun by ${spec?.holderIdentity}`);
}

function refusal(
  operation: Operation,
  { status, retryAfter }: NonNullable<Fate['instead']>,
): Error {
  const headers =
    retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) };
  return failureOfAnswer(operation, { status, headers, body: undefined });
}

function failure(operation: Operation, { code, status }: ApiError): Error {
  return failureOfAnswer(operation, {
    status: code,
    headers: {},
    body: JSON.stringify(status),
  });
}
