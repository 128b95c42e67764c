/** Delivers events to listeners, and isolates their errors from locks and from other listeners. */
import { Logger } from '@nestjs/common';
import {
  Observable,
  type Observer,
  type Operator,
  type Subscriber,
  type Subscription,
} from 'rxjs';
import { isError } from './lock.errors.js';

/**
 * Delivers events to listeners, and isolates their errors from the sender and from other listeners: an
 * error that a listener or one of its operators throws, or the rejection of a promise that it returns,
 * is logged, and the listener still gets the next event. (rxjs would report the error as an uncaught
 * exception, which ends the process.)
 *
 * Delivery is synchronous, and in the same order for all listeners: an event that a listener causes is
 * delivered after the present one.
 */
export class EventStream<Event> {
  /** Completes when the stream does; a later subscriber gets the completion at once. */
  readonly events$: Observable<Event>;
  private readonly listeners = new Set<Subscriber<Event>>();
  private readonly queue: Event[] = [];
  private isDelivering = false;
  private isComplete = false;

  /**
   * @param name the public name of the stream, for the log
   * @param present makes the event that a new listener gets at once
   */
  constructor(
    private readonly name: string,
    private readonly present?: () => Event,
  ) {
    this.events$ = new IsolatingObservable<Event>(
      (listener) => this.add(listener),
      (error) => this.report(error),
    );
  }

  /** Whether there is a listener. */
  get isObserved(): boolean {
    return this.listeners.size > 0;
  }

  /** Never throws. */
  readonly emit = (event: Event): void => {
    this.queue.push(event);
    if (this.isDelivering) {
      return;
    }
    this.isDelivering = true;
    for (let next; (next = this.queue.shift()) !== undefined;) {
      this.deliver(next);
    }
    this.isDelivering = false;
  };

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
        this.report(error); // from a custom operator
      }
    }
  }

  private add(listener: Subscriber<Event>): (() => void) | undefined {
    if (this.isComplete) {
      listener.complete();
      return undefined;
    }
    this.listeners.add(listener);
    if (this.present !== undefined) {
      listener.next(this.present());
    }
    return () => this.listeners.delete(listener);
  }

  private report(error: unknown): void {
    new Logger('LockService').error(
      `A listener of ${this.name} threw; locks are not affected.`,
      isError(error) ? error.stack : String(error),
    );
  }
}

/** Isolates the listener at the end of each chain of operators that starts with this Observable. */
class IsolatingObservable<T> extends Observable<T> {
  constructor(
    connect: (subscriber: Subscriber<T>) => (() => void) | undefined,
    private readonly report: (error: unknown) => void,
  ) {
    super(connect);
  }

  /** rxjs operators call this to make their Observable, which must isolate its listeners, too. */
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

/** Whether it is rxjs's internal link between two operators, not a listener. */
function isLink(observer: unknown): observer is Subscriber<unknown> {
  return (
    typeof observer === 'object' &&
    observer !== null &&
    'add' in observer &&
    'unsubscribe' in observer
  );
}
