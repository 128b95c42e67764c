/** The cluster of locks in a test: Leases in memory, one clock, and the failures that are planned. */
import type { LockBackend, LockClient } from '../lock.client.js';
import {
  LeaseStoreError,
  type LeaseKey,
  type RequestOptions,
} from '../kube/lease-store.js';
import type { ResolvedModuleOptions } from '../k8s-lock.options.js';
import { ApiError } from './api-status.js';
import {
  DirectLeaseStore,
  refusal,
  type DirectRequest,
  type DirectVerb,
} from './direct-lease-store.js';
import { LeaseStorage } from './lease-storage.js';
import { TestingClock } from './testing-clock.js';

/** Why a request fails. */
export type LockTestingFailure =
  /** 409: another client changed the Lease first. */
  | 'conflict'
  /** 403: the right is missing. */
  | 'forbidden'
  /** 401: the credentials were refused. */
  | 'unauthorized'
  /** 429: too many requests. */
  | 'throttled'
  /** 503: the API server can't serve the request. */
  | 'unavailable'
  /** The connection broke; the request was not applied. */
  | 'network'
  /** No answer came in time; the request was not applied. The failure comes at once. */
  | 'timeout';

const ANSWERS: Record<LockTestingFailure, [number, string] | undefined> = {
  conflict: [409, 'Conflict'],
  forbidden: [403, 'Forbidden'],
  unauthorized: [401, 'Unauthorized'],
  throttled: [429, 'TooManyRequests'],
  unavailable: [503, 'ServiceUnavailable'],
  network: undefined,
  timeout: undefined,
};

export const FAILURES: readonly string[] = Object.keys(ANSWERS);

/** The clientId of {@link TestingCluster.elsewhere}, whose requests never fail by plan. */
const ELSEWHERE = 'elsewhere';

interface PlannedFailure {
  readonly failure: LockTestingFailure;
  /** Without a namespace: in any. */
  readonly key?: Partial<LeaseKey>;
  readonly verbs?: readonly DirectVerb[];
  /** Undefined: that of any client of the application. */
  readonly clientId?: string;
  times: number;
}

export class TestingCluster implements LockBackend {
  readonly clock = new TestingClock();
  readonly storage = new LeaseStorage({
    firstVersion: 990n,
    historySize: 0,
    coordinatedLeaderElection: false,
  });
  readonly clients = new Set<LockClient>();
  private readonly planned = new Set<PlannedFailure>();
  private isPaused = false;

  connect(
    client: LockClient,
    { clientId }: ResolvedModuleOptions,
  ): { store: TestingLeaseStore; clock: TestingClock } {
    this.clients.add(client);
    return { store: this.storeFor(clientId), clock: this.clock };
  }

  storeFor(clientId: string = ELSEWHERE): TestingLeaseStore {
    return new TestingLeaseStore(this, clientId);
  }

  /** @returns a function that removes the failure */
  plan(failure: PlannedFailure): () => void {
    this.planned.add(failure);
    return () => this.planned.delete(failure);
  }

  /** No request fails any more. */
  heal(): void {
    this.planned.clear();
  }

  /** Runs `work`, whose requests do not fail by plan. */
  async withoutFailures<T>(work: () => Promise<T>): Promise<T> {
    this.isPaused = true;
    try {
      return await work();
    } finally {
      this.isPaused = false;
    }
  }

  /** The failure of a request, which counts; undefined if it does not fail. */
  failureOf(
    { verb, namespace, name }: DirectRequest,
    clientId: string,
  ): LockTestingFailure | undefined {
    if (this.isPaused) {
      return undefined;
    }
    for (const each of this.planned) {
      const { key = {}, verbs } = each;
      const isMeant =
        (each.clientId === undefined
          ? clientId !== ELSEWHERE
          : clientId === each.clientId) &&
        (key.namespace ?? namespace) === namespace &&
        (key.name ?? name) === name &&
        (verbs === undefined || verbs.includes(verb));
      if (isMeant) {
        each.times -= 1;
        if (each.times <= 0) {
          this.planned.delete(each);
        }
        return each.failure;
      }
    }
    return undefined;
  }
}

export class TestingLeaseStore extends DirectLeaseStore {
  constructor(
    private readonly cluster: TestingCluster,
    private readonly clientId: string,
  ) {
    super(cluster.storage);
  }

  protected async send<T>(
    request: DirectRequest,
    { signal }: RequestOptions = {},
    apply: () => T,
  ): Promise<T> {
    // No request is answered in the turn in which it is sent.
    await Promise.resolve();
    if (signal?.aborted || this.isClosed) {
      throw new LeaseStoreError('aborted', 'the request was cancelled');
    }
    const failure = this.cluster.failureOf(request, this.clientId);
    if (failure !== undefined) {
      throw errorOf(failure, request);
    }
    return apply();
  }
}

function errorOf(
  failure: LockTestingFailure,
  request: DirectRequest,
): LeaseStoreError {
  const answer = ANSWERS[failure];
  if (answer !== undefined) {
    const [code, reason] = answer;
    return refusal(request, new ApiError(code, reason, 'failNext()'));
  }
  const { verb, namespace, name } = request;
  const isRead = verb === 'get' || verb === 'list';
  return new LeaseStoreError(
    failure === 'timeout' ? 'timeout' : 'network',
    `Can't ${verb} Lease ${namespace}/${name}: failNext('${failure}').`,
    { ambiguous: !isRead },
  );
}
