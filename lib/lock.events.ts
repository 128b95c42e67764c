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

/** Common to all events. */
export interface LockEventBase extends LockReference {
  /** `Class.method`, in the call of a decorated method or through an interceptor. */
  method?: string;
}

/** The lock is taken; the caller waits. */
export interface LockWaitingEvent extends LockEventBase {
  type: 'waiting';
}

/** The lock was acquired. */
export interface LockAcquiredEvent extends LockEventBase {
  type: 'acquired';
  fencingToken: bigint;
  /** The holder identity of this acquisition. */
  holder: string;
  /** The planned time of the fire, under `oncePerFire`. */
  fire?: Date;
  /** Milliseconds from the call to the acquisition. */
  waited: number;
}

/** Why a call ended with an error, without the lock. */
export type LockNotAcquiredEventReason =
  /** `waitTimeout` is over. */
  | 'timeout'
  /** The lock was taken, under `onLocked: 'throw'`. */
  | 'held'
  /** The application is closing. */
  | 'shutdown'
  /**
   * Nobody waits for the call any more: its `signal` aborted, its Observable was unsubscribed, or the client of
   * the request has gone away. Or another lock that the same call had acquired before was lost.
   */
  | 'cancelled'
  /** The API server refused, or can't be used. */
  | 'failed';

/** A call ended with an error, without the lock. */
export interface LockNotAcquiredEvent extends LockEventBase {
  type: 'not-acquired';
  reason: LockNotAcquiredEventReason;
  /** The holder identity in the record, if known. */
  holder?: string;
  /** Why the API server could not be used, under `failed`. */
  error?: LockBackendError;
  /** Milliseconds from the call to its end. */
  waited: number;
}

/** The lease of a held lock was renewed. */
export interface LockRenewedEvent extends LockEventBase {
  type: 'renewed';
  fencingToken: bigint;
}

/** The lock was released. */
export interface LockReleasedEvent extends LockEventBase {
  type: 'released';
  fencingToken: bigint;
  /** Milliseconds from the acquisition to the call of `release()`. */
  held: number;
}

/** Why a call ended without the lock and without an error. */
export type LockSkippedReason =
  /** Another call, here or in another process, holds the lock. */
  | 'held'
  /** Another process has run this fire, or is running it. */
  | 'fire-claimed'
  /** The application is closing. */
  | 'shutdown';

/** A call ended without the lock and without an error, under `onLocked: 'skip'` or in `tryAcquire`. */
export interface LockSkippedEvent extends LockEventBase {
  type: 'skipped';
  reason: LockSkippedReason;
  /** The holder identity in the record, or that of the claim, if known. */
  holder?: string;
  /** The planned time of the fire, under `oncePerFire`. */
  fire?: Date;
  /** Milliseconds from the call to the skip. */
  waited: number;
}

/** A decorated method, or a call through an interceptor, has succeeded, even if its lock was lost meanwhile (`lost`). */
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

/** A request to the API server failed. The operation goes on for as long as it can. */
export interface LockBackendErrorEvent extends LockEventBase {
  type: 'backend-error';
  /** What the request was part of. */
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

/** One request to the API server has ended. */
export interface ApiRequestEvent {
  /** A verb of Kubernetes RBAC, or `review` for the access review of this process. */
  verb: 'get' | 'list' | 'watch' | 'create' | 'update' | 'delete' | 'review';
  namespace: string;
  /** Milliseconds to the end of the answer, including obtaining credentials; of a watch, to the answer's head. */
  duration: number;
  /** The HTTP status, if an answer came. */
  status?: number;
  /** Why no answer came. */
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
