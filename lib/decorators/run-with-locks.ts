/** Runs work under its locks, and holds them until its promise settles or its Observable ends. */
import { AsyncResource } from 'node:async_hooks';
import {
  catchError,
  concat,
  concatWith,
  defer,
  EMPTY,
  from,
  ignoreElements,
  isObservable,
  Observable,
  of,
  Subject,
  takeUntil,
  tap,
  throwError,
  type Subscriber,
} from 'rxjs';
import type { LockClient, RequestedLock } from '../lock.client.js';
import { acquireAndBegin } from '../lock/acquire/begin-work.js';
import {
  currentCall,
  currentRequestScope,
} from '../lock/acquire/request-scope.js';
import type { FireClaim } from '../lock/record/fire-claim.js';
import { anyOf } from '../lock/abort-signals.js';
import {
  isGenerator,
  refuseLazyResult,
  runUnderLock,
} from '../lock/hold/current-lock.js';
import { giveBack, type LockHandle } from '../lock/hold/lock-handle.js';
import { acquireAll, runUnderAll } from '../lock-set.js';

/** How a piece of work ended. */
export interface RunEnd {
  /** Milliseconds. */
  readonly duration: number;
  /** Undefined if the work succeeded. */
  readonly failure?: { readonly error: unknown };
}

/** A call of work under its locks: of a decorated method, or of a handler under an interceptor. */
export class LockedCall {
  /** The request scope of the call, which later subscriptions share. */
  private readonly caller = currentRequestScope();
  private readonly methodCall = currentCall();
  /** The fire claim of the lowest lock. */
  private readonly claim: FireClaim | undefined;
  /** A call with one lock may still hold a JoinedLock, shared with a caller that has several. */
  private readonly hasSeveral: boolean;

  /**
   * @param requests outermost lock first
   * @param skipped returns the result of a skipped call
   */
  constructor(
    private readonly client: LockClient,
    private readonly requests: readonly RequestedLock[],
    readonly skipped: () => unknown,
  ) {
    this.claim = requests.at(-1)?.claim;
    this.hasSeveral = requests.length > 1;
  }

  /** Acquires the locks. Undefined if the call is to be skipped. The wait is cancelled when the client goes away. */
  async enter(signal?: AbortSignal): Promise<LockHandle | undefined> {
    const until = this.caller && anyOf(signal, this.caller.aborted);
    try {
      return await acquireAndBegin(
        this.client.engine,
        this.claim,
        ({ waitTimeout }) =>
          this.acquire(waitTimeout, until ? until.signal : signal),
      );
    } finally {
      until?.end();
    }
  }

  private acquire(
    waitTimeout: number | undefined,
    signal: AbortSignal | undefined,
  ): Promise<LockHandle | undefined> {
    const requests =
      waitTimeout === undefined
        ? this.requests
        : this.requests.map((request) => waitFor(request, waitTimeout));
    return this.hasSeveral
      ? acquireAll(this.client, requests, signal)
      : this.client.acquireForMethod(requests[0]!, signal);
  }

  /** @throws LockConfigurationError for a generator, whose body would run after the release */
  refuseGenerator(result: unknown): void {
    if (isGenerator(result)) {
      refuseLazyResult(
        this.methodCall?.label ?? 'the work',
        'a generator',
        'return a Promise of its values, or an Observable',
      );
    }
  }

  runUnder<T>(lock: LockHandle, work: () => T): T {
    return this.hasSeveral ? runUnderAll(lock, work) : runUnderLock(lock, work);
  }

  /** Reports the end, before the locks are released. */
  ended(held: LockHandle, end: RunEnd): void {
    const fire = this.claim && new Date(this.claim.at);
    const locks = this.hasSeveral ? held.parts : [held];
    for (const lock of locks) {
      // A second decorator or interceptor with the same lock does not count as a second call.
      const reporters = this.methodCall?.reporters ?? new Map<string, object>();
      const reporter = reporters.get(lock.holderIdentity) ?? this;
      reporters.set(lock.holderIdentity, reporter);
      if (reporter === this) {
        const isLowest = lock === locks.at(-1);
        this.client.reportRun(lock, isLowest ? { ...end, fire } : end);
      }
    }
  }
}

function waitFor(request: RequestedLock, waitTimeout: number): RequestedLock {
  return {
    ...request,
    onLocked: 'wait',
    options: { ...request.options, waitTimeout },
  };
}

/**
 * A3: acquires the locks, runs `work`, and releases. A rejection of `work` is passed on after the release,
 * which never rejects.
 *
 * If `work` resolves with an Observable, the locks stay held for it: see {@link holdForSubscriber}.
 */
export async function runWithLocks(
  call: LockedCall,
  work: (lock: LockHandle) => unknown,
): Promise<unknown> {
  const lock = await call.enter();
  if (lock === undefined) {
    return call.skipped();
  }
  const end = startRun(call, lock);
  let result: unknown;
  try {
    result = await call.runUnder(lock, () => work(lock));
    call.refuseGenerator(result);
  } catch (error) {
    end({ error });
    await lock.release();
    throw error;
  }
  if (isObservable(result)) {
    return holdForSubscriber(result, lock, call);
  }
  end();
  await lock.release();
  return result;
}

/**
 * The same for work that each subscription starts anew, in the async context of this call.
 *
 * @param isStream whether unsubscribing ends the work at any moment. Otherwise the work may be a promise
 * (of a handler that Nest calls), which runs to its first value and holds the locks until then.
 */
export function observeLocked(
  call: LockedCall,
  work: () => Observable<unknown>,
  isStream: boolean,
): Observable<unknown> {
  const scope = new AsyncResource('nestjs-k8s-lock');
  const source = defer(work).pipe(tap((value) => call.refuseGenerator(value)));
  const skipped = defer(() => {
    const result = call.skipped();
    return isObservable(result) ? result : of(result);
  });
  return new Observable((subscriber) =>
    scope.runInAsyncScope(() => {
      void enterForSubscriber(subscriber, call, skipped, (lock) =>
        subscribeUnderLock(source, subscriber, lock, call, isStream),
      );
    }),
  );
}

/** Returns a function to call once at the end. */
function startRun(
  call: LockedCall,
  lock: LockHandle,
): (failure?: RunEnd['failure']) => void {
  const begin = performance.now();
  let hasEnded = false;
  return (failure) => {
    if (hasEnded) {
      return;
    }
    hasEnded = true;
    if (failure && lock.signal.aborted) {
      // The claimed fire is not done.
      lock.endClaimAs('begun');
    }
    const duration = performance.now() - begin;
    call.ended(lock, { duration, ...(failure && { failure }) });
  };
}

/**
 * Keeps the locks for the first subscriber, until `source` completes, errors or is unsubscribed. Every
 * other subscription (a retry, a repeat, a second subscriber) is separate work that acquires the locks
 * itself.
 *
 * Nest subscribes to the result of a handler at once, except when the client has gone away, and other
 * callers may never subscribe. Locks without a subscriber in the next turn of the event loop are
 * therefore released, and a later subscription acquires them like any other.
 */
function holdForSubscriber(
  source: Observable<unknown>,
  lock: LockHandle,
  call: LockedCall,
): Observable<unknown> {
  let unclaimed: LockHandle | undefined = lock;
  const claim = (): LockHandle | undefined => {
    const claimed = unclaimed;
    unclaimed = undefined;
    return claimed;
  };
  setImmediate(() => void claim()?.release());

  return new Observable((subscriber) => {
    const subscribe = (held: LockHandle): void =>
      subscribeUnderLock(source, subscriber, held, call, true);
    const claimed = claim();
    if (claimed === undefined) {
      void enterForSubscriber(subscriber, call, EMPTY, subscribe);
    } else {
      subscribe(claimed);
    }
  });
}

async function enterForSubscriber(
  subscriber: Subscriber<unknown>,
  call: LockedCall,
  skipped: Observable<unknown>,
  subscribe: (lock: LockHandle) => void,
): Promise<void> {
  const unsubscribed = new AbortController();
  subscriber.add(() => unsubscribed.abort());
  try {
    const lock = await call.enter(unsubscribed.signal);
    if (lock === undefined) {
      skipped.subscribe(subscriber);
    } else if (subscriber.closed) {
      await giveBack(lock);
    } else {
      subscribe(lock);
    }
  } catch (error) {
    subscriber.error(error);
  }
}

/** As with a promise, the end of the Observable is emitted after the release, so that its listeners find the locks free. */
function subscribeUnderLock(
  source: Observable<unknown>,
  subscriber: Subscriber<unknown>,
  lock: LockHandle,
  call: LockedCall,
  isStream: boolean,
): void {
  const end = startRun(call, lock);
  const released = (failure?: RunEnd['failure']): Observable<never> =>
    defer(() => {
      end(failure);
      return lock.release();
    }).pipe(ignoreElements());
  const left = new Subject<void>();
  let canStop = isStream;
  subscriber.add(() => {
    if (canStop) {
      left.next();
    }
  });
  call.runUnder(lock, () =>
    from(source)
      .pipe(
        takeUntil(left),
        catchError((error: unknown) =>
          concat(
            released({ error }),
            throwError(() => error),
          ),
        ),
        concatWith(released()),
      )
      .subscribe({
        next: (value) => {
          canStop = true;
          if (subscriber.closed) {
            left.next();
          } else {
            subscriber.next(value);
          }
        },
        error: (error: unknown) => subscriber.error(error),
        complete: () => subscriber.complete(),
      }),
  );
}
