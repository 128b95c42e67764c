/** What happens, as events: one type a thing that happens, and the stream that delivers them. */
import { Logger } from '@nestjs/common';
import {
  Observable,
  type Observer,
  type Operator,
  type Subscriber,
  type Subscription,
} from 'rxjs';
import {
  isError,
  type LockBackendError,
  type LockLossReason,
  type LockReference,
} from './lock.errors.js';

/** What every event carries. */
export interface LockEventBase extends LockReference {
  /** The decorated method, or the handler behind an interceptor, in whose call it happens: `Class.method`. */
  method?: string;
}

/** The lock is taken; the caller waits for it. */
export interface LockWaitingEvent extends LockEventBase {
  type: 'waiting';
}

/** The lock was acquired. */
export interface LockAcquiredEvent extends LockEventBase {
  type: 'acquired';
  fencingToken: bigint;
  /** The holder identity of this acquisition. */
  holder: string;
  /** The planned time of the fire that it is for, under `oncePerFire`. */
  fire?: Date;
  /** Milliseconds from the call to the acquisition. */
  waited: number;
}

/** A call ended without the lock, with an error: it is no skip. */
export interface LockNotAcquiredEvent extends LockEventBase {
  type: 'not-acquired';
  /**
   * `timeout` = `waitTimeout` is over; `held` = under `onLocked: 'throw'` it was taken; `shutdown` = the
   * application is closing; `cancelled` = the caller's signal aborted, or the client of its request went
   * away; `failed` = the API server refused, or can't be used.
   */
  reason: 'timeout' | 'held' | 'shutdown' | 'cancelled' | 'failed';
  /** The holder identity of who holds the lock, if that is known. */
  holder?: string;
  /** Why the API server could not be used, where it is that. */
  error?: LockBackendError;
  /** Milliseconds from the call to its end. */
  waited: number;
}

/** The lease of a held lock was renewed. */
export interface LockRenewedEvent extends LockEventBase {
  type: 'renewed';
  fencingToken: bigint;
}

/** The lock was given back. */
export interface LockReleasedEvent extends LockEventBase {
  type: 'released';
  fencingToken: bigint;
  /** Milliseconds from the acquisition to the call of `release()`. */
  held: number;
}

/**
 * A call did not run: under `onLocked: 'skip'` and in `tryAcquire` because the lock was taken, under
 * `onLocked: 'skip'` because the application is closing, or because its fire was claimed.
 */
export interface LockSkippedEvent extends LockEventBase {
  type: 'skipped';
  /**
   * `held` = somebody else holds the lock; `fire-claimed` = somebody else has run this fire, or runs it;
   * `shutdown` = the application is closing.
   */
  reason: 'held' | 'fire-claimed' | 'shutdown';
  /** The holder identity of who holds the lock, or has claimed the fire, if that is known. */
  holder?: string;
  /** The planned time of the fire that was skipped, under `oncePerFire`. */
  fire?: Date;
  /** Milliseconds from the call to the skip. */
  waited: number;
}

/** A method under `@WithLeaseLock`, or a call through `LeaseLockInterceptor()`, has ended well. That its lock was lost meanwhile is an event of its own. */
export interface LockExecutedEvent extends LockEventBase {
  type: 'executed';
  fencingToken: bigint;
  /** The planned time of the fire that was run, under `oncePerFire`. */
  fire?: Date;
  /** Milliseconds that the method took. */
  duration: number;
}

/** Such a method or call has thrown, rejected, or returned an Observable that errored. */
export interface LockFailedEvent extends LockEventBase {
  type: 'failed';
  fencingToken: bigint;
  /** The planned time of the fire that was run, under `oncePerFire`. */
  fire?: Date;
  /** Milliseconds that the method took. */
  duration: number;
  /** What it failed with. */
  error: unknown;
}

/** A held lock was lost. */
export interface LockLostEvent extends LockEventBase {
  type: 'lost';
  fencingToken: bigint;
  reason: LockLossReason;
  /** Milliseconds from the acquisition to the loss. */
  held: number;
}

/** A request to the API server failed. What it was for goes on as long as it can. */
export interface LockBackendErrorEvent extends LockEventBase {
  type: 'backend-error';
  /** What the request was for. */
  operation: 'acquire' | 'renew' | 'release' | 'watch';
  error: LockBackendError;
}

export type LockEvent =
  | LockWaitingEvent
  | LockAcquiredEvent
  | LockNotAcquiredEvent
  | LockRenewedEvent
  | LockReleasedEvent
  | LockSkippedEvent
  | LockExecutedEvent
  | LockFailedEvent
  | LockLostEvent
  | LockBackendErrorEvent;

/** One request to the API server, when it has ended. */
export interface ApiRequestEvent {
  /** In the words of Kubernetes' access rules; `review` = the question for the own rights. */
  verb: 'get' | 'list' | 'watch' | 'create' | 'update' | 'delete' | 'review';
  namespace: string;
  /** Milliseconds to the end of the answer, with obtaining credentials; of a watch, to the answer's head. */
  duration: number;
  /** The HTTP status, if an answer came. */
  status?: number;
  /** Why none came. */
  failure?: 'aborted' | 'credentials' | 'network' | 'timeout' | 'unreadable';
}

/**
 * Delivers events to listeners that can harm neither the sender nor each other: what one throws, what
 * its operators throw and what a promise of it rejects with is logged, and it gets the next event all
 * the same. (rxjs would report it as an uncaught exception, which ends the process.)
 *
 * Delivery is synchronous, and in the same order for everybody: an event that a listener causes comes
 * after the one that it is listening to.
 */
export class EventStream<Event> {
  /** Completes when the stream does; whoever comes later is told so at once. */
  readonly events$: Observable<Event>;
  private readonly listeners = new Set<Subscriber<Event>>();
  private readonly queue: Event[] = [];
  private isDelivering = false;
  private isComplete = false;

  /** @param name what users know it by, for the log */
  constructor(private readonly name: string) {
    this.events$ = new IsolatingObservable<Event>(
      (listener) => this.add(listener),
      (error) => this.report(error),
    );
  }

  /** Whether anybody listens. */
  get isObserved(): boolean {
    return this.listeners.size > 0;
  }

  /** Never throws. */
  emit(event: Event): void {
    this.queue.push(event);
    if (this.isDelivering) {
      return;
    }
    this.isDelivering = true;
    for (let next; (next = this.queue.shift()) !== undefined;) {
      this.deliver(next);
    }
    this.isDelivering = false;
  }

  complete(): void {
    this.isComplete = true;
    for (const listener of this.listeners) {
      listener.complete();
    }
  }

  private deliver(event: Event): void {
    for (const listener of Array.from(this.listeners)) {
      try {
        listener.next(event);
      } catch (error) {
        this.report(error); // a link of a chain that is not rxjs's own
      }
    }
  }

  private add(listener: Subscriber<Event>): (() => void) | undefined {
    if (this.isComplete) {
      listener.complete();
      return undefined;
    }
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private report(error: unknown): void {
    new Logger('LockService').error(
      `A listener of ${this.name} failed, which harms no lock`,
      isError(error) ? error.stack : String(error),
    );
  }
}

/** Guards the end of each chain of operators that begins with it: only there do users' listeners stand. */
class IsolatingObservable<T> extends Observable<T> {
  constructor(
    connect: (subscriber: Subscriber<T>) => (() => void) | undefined,
    private readonly report: (error: unknown) => void,
  ) {
    super(connect);
  }

  /** By which an operator makes a new Observable of this one: that one is to be guarded, too. */
  override lift<R>(operator?: Operator<T, R>): Observable<R> {
    const lifted = new IsolatingObservable<R>(() => undefined, this.report);
    lifted.source = this;
    lifted.operator = operator;
    return lifted;
  }

  override subscribe(
    observer?: Partial<Observer<T>> | ((value: T) => void) | null,
    error?: ((error: unknown) => void) | null,
    complete?: (() => void) | null,
  ): Subscription {
    if (isLink(observer)) {
      return super.subscribe(observer);
    }
    const listener: Partial<Observer<T>> =
      typeof observer === 'object' && observer !== null
        ? observer
        : {
            next: observer ?? undefined,
            error: error ?? undefined,
            complete: complete ?? undefined,
          };
    return super.subscribe({
      next: (value) => this.guard(() => listener.next?.(value)),
      error: (failure: unknown) =>
        listener.error === undefined
          ? this.report(failure)
          : this.guard(() => listener.error?.(failure)),
      complete: () => this.guard(() => listener.complete?.()),
    });
  }

  private guard(call: () => unknown): void {
    try {
      const result = call();
      if (result instanceof Promise) {
        result.catch(this.report); // of an async function
      }
    } catch (error) {
      this.report(error);
    }
  }
}

/** Whether it is rxjs's own link between two operators, rather than a listener. */
function isLink(observer: unknown): observer is Subscriber<unknown> {
  return (
    typeof observer === 'object' &&
    observer !== null &&
    'add' in observer &&
    'unsubscribe' in observer
  );
}
