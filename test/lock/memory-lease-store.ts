/**
 * A LeaseStore on the storage of the embedded API server, without HTTP: for tests in which a request
 * takes exactly the time, and meets exactly the fate, that the test says.
 */
import type {
  LeaseStoreFailure,
  RequestOptions,
  StoredLease,
} from '../../lib/kube/lease-store.js';
import { LeaseStoreError } from '../../lib/kube/lease-store.js';
import type { Clock } from '../../lib/lock/clock.js';
import {
  DirectLeaseStore,
  type DirectRequest,
  type DirectVerb,
  type DirectWatch,
} from '../../lib/testing/direct-lease-store.js';
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

export type Verb = DirectVerb;

export interface SentRequest extends DirectRequest {
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

export class MemoryLeaseStore extends DirectLeaseStore {
  /** Every request that was sent, in order. */
  readonly requests: SentRequest[] = [];
  /** Watches report what happens; false: nothing arrives any more, and nobody is told. */
  watchesWork = true;
  /** Milliseconds until a watch reports what has happened. */
  watchDelay = 0;
  private readonly planned: Planned[] = [];

  constructor(
    storage: LeaseStorage,
    private readonly clock: Clock,
    /** Keeps the time of what is on its way: it lands even when the sender is gone. */
    private readonly network: Clock = clock,
  ) {
    super(storage);
  }

  /** Gives the next `times` requests of these verbs this fate. What is planned first comes first. An `update` may be a PATCH. */
  plan(fate: Fate, verbs: Verb | readonly Verb[], times = Infinity): void {
    this.planned.push({ fate, verbs: [verbs].flat(), times });
  }

  /** The network is as it should be again. */
  heal(): void {
    this.planned.length = 0;
  }

  get closed(): boolean {
    return this.isClosed;
  }

  /** The verbs of what was sent, oldest first: the shortest way to say what should have been. */
  verbs(): string {
    return this.requests.map(({ verb }) => verb).join(' ');
  }

  protected override deliver(tell: () => void): void {
    const tellIfWorking = (): void => {
      if (this.watchesWork) {
        tell();
      }
    };
    if (this.watchDelay > 0) {
      this.network.schedule(
        this.network.now() + this.watchDelay,
        tellIfWorking,
      );
    } else {
      super.deliver(tellIfWorking);
    }
  }

  protected override tellState(watch: DirectWatch): void {
    if (this.watchesWork) {
      super.tellState(watch);
    }
  }

  protected send<T>(
    what: DirectRequest,
    { signal, timeout = 5_000 }: RequestOptions = {},
    apply: () => T,
  ): Promise<T> {
    const isWrite = what.verb !== 'get' && what.verb !== 'list';
    const failure = (
      reason: LeaseStoreFailure,
      details: Fate['refused'] | { ambiguous?: boolean } = {},
    ) => new LeaseStoreError(reason, `${what.verb}: ${reason}`, details);
    if (signal?.aborted || this.isClosed) {
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
          const { instead } = fate;
          const value = apply();
          const shown: T = instead ? copy(instead(copy(value))) : value;
          answer = () => resolve(shown);
        } catch (error) {
          answer = () => reject(error);
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

const copy = (value: unknown) => JSON.parse(JSON.stringify(value));
