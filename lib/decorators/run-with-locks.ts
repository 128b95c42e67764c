/** Runs work under its locks and holds them for as long as it lasts: until its promise settles or its Observable ends. */
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
  throwError,
  type Subscriber,
} from 'rxjs';
import { LockError } from '../lock.errors.js';
import type { LockClient, LockRequest } from '../lock.client.js';
import { acquireAndBegin } from '../lock/acquire/begin-work.js';
import {
  currentCall,
  currentRequestScope,
} from '../lock/acquire/request-scope.js';
import type { FireClaim } from '../lock/record/fire-claim.js';
import { anyOf } from '../lock/abort-signals.js';
import { giveBack, type LockHandle } from '../lock/hold/lock-handle.js';
import { acquireAll, releaseAll, runUnderAll } from './lock-set.js';

/** How a piece of work ended. */
export interface RunEnd {
  /** Milliseconds that it took. */
  readonly duration: number;
  /** Undefined when it ended well. */
  readonly failure?: { readonly error: unknown };
}

/** A call of work that wants locks. */
export class LockedRun {
  /** Of the moment of the call: later subscriptions are for the same one. */
  private readonly caller = currentRequestScope();
  private readonly call = currentCall();

  /**
   * @param requests those of the outermost scope first
   * @param skipped what the call comes to when it is skipped
   */
  constructor(
    private readonly client: LockClient,
    private readonly requests: readonly LockRequest[],
    readonly skipped: () => unknown,
  ) {}

  /** Undefined = the call is to be skipped. The wait is cancelled when the caller goes away. */
  async enter(
    signal?: AbortSignal,
  ): Promise<readonly LockHandle[] | undefined> {
    const until = anyOf(signal, this.caller?.aborted);
    try {
      return this.claim === undefined
        ? await this.acquire(undefined, until.signal)
        : await acquireAndBegin(
            this.client.engine,
            this.claim,
            ({ waitTimeout }) => this.acquire(waitTimeout, until.signal),
          );
    } finally {
      until.end();
    }
  }

  private async acquire(
    waitTimeout: number | undefined,
    signal: AbortSignal | undefined,
  ): Promise<readonly LockHandle[] | undefined> {
    const requests =
      waitTimeout === undefined
        ? this.requests
        : this.requests.map((request) => waitFor(request, waitTimeout));
    if (requests.length > 1) {
      return acquireAll(this.client, requests, signal);
    }
    const lock = await this.client.acquireForMethod(requests[0]!, signal);
    return lock && [lock];
  }

  /** What the lowest lock claims. */
  private get claim(): FireClaim | undefined {
    return this.requests.at(-1)?.claim;
  }

  /** Tells of the end, before the locks are released. */
  ended(locks: readonly LockHandle[], end: RunEnd): void {
    const error = end.failure?.error;
    if (error instanceof LockError) {
      this.caller?.refused(error);
    }
    const fire = this.claim && new Date(this.claim.at);
    for (const lock of locks) {
      // Another decorator, or an interceptor, with the same lock is no second call.
      const tellers = this.call?.tellers ?? new Map<string, object>();
      const teller = tellers.get(lock.holderIdentity) ?? this;
      tellers.set(lock.holderIdentity, teller);
      if (teller === this) {
        const isLowest = lock === locks.at(-1);
        this.client.reportRun(lock, isLowest ? { ...end, fire } : end);
      }
    }
  }
}

function waitFor(request: LockRequest, waitTimeout: number): LockRequest {
  return {
    ...request,
    onLocked: 'wait',
    options: { ...request.options, waitTimeout },
  };
}

/**
 * Acquires, runs `work`, releases. A rejection of `work` is passed on after the release, which has no
 * error of its own.
 *
 * When `work` comes to an Observable, the locks are held on for it: see {@link holdForSubscriber}.
 */
export async function runWithLocks(
  run: LockedRun,
  work: (lock: LockHandle) => unknown,
): Promise<unknown> {
  const locks = await run.enter();
  if (locks === undefined) {
    return run.skipped();
  }
  const end = startRun(run, locks);
  let result: unknown;
  try {
    result = await runUnderAll(locks, work);
  } catch (error) {
    end({ error });
    await releaseAll(locks);
    throw error;
  }
  if (isObservable(result)) {
    return holdForSubscriber(result, locks, run);
  }
  end();
  await releaseAll(locks);
  return result;
}

/**
 * The same for work that is begun by a subscription, each time by its own, in the async context of this
 * call.
 *
 * @param isStream whether an unsubscription ends the work at any moment. What may be a promise (of a
 * handler that Nest calls) goes on to its first value, and holds the locks until then.
 */
export function observeLocked(
  run: LockedRun,
  work: () => Observable<unknown>,
  isStream: boolean,
): Observable<unknown> {
  const scope = new AsyncResource('nestjs-k8s-lock');
  const source = defer(work);
  const skipped = defer(() => {
    const result = run.skipped();
    return isObservable(result) ? result : of(result);
  });
  return new Observable((subscriber) =>
    scope.runInAsyncScope(() => {
      void enterForSubscriber(subscriber, run, skipped, (locks) =>
        subscribeUnderLocks(source, subscriber, locks, run, isStream),
      );
    }),
  );
}

/** Returns what is to be called once, at the end. */
function startRun(
  run: LockedRun,
  locks: readonly LockHandle[],
): (failure?: RunEnd['failure']) => void {
  const begin = performance.now();
  let hasEnded = false;
  return (failure) => {
    if (hasEnded) {
      return;
    }
    hasEnded = true;
    if (failure && locks.some((lock) => lock.signal.aborted)) {
      // What was claimed with them is not done.
      locks.forEach((lock) => lock.endClaimAs('begun'));
    }
    const duration = performance.now() - begin;
    run.ended(locks, { duration, ...(failure && { failure }) });
  };
}

/**
 * Keeps the locks for the first subscriber, until `source` completes, errors or is unsubscribed. Every
 * other subscription (a retry, a repeat, a second subscriber) is work of its own and enters them by
 * itself.
 *
 * Nest subscribes to what a handler returns at once, but not when the client has gone meanwhile, and
 * others may never do it. Locks that nobody has claimed by the next turn of the event loop are
 * therefore released, and a later subscription enters like any other.
 */
function holdForSubscriber(
  source: Observable<unknown>,
  locks: readonly LockHandle[],
  run: LockedRun,
): Observable<unknown> {
  let unclaimed: readonly LockHandle[] | undefined = locks;
  const claim = (): readonly LockHandle[] | undefined => {
    const claimed = unclaimed;
    unclaimed = undefined;
    return claimed;
  };
  setImmediate(() => void releaseAll(claim() ?? []));

  return new Observable((subscriber) => {
    const subscribe = (held: readonly LockHandle[]): void =>
      subscribeUnderLocks(source, subscriber, held, run, true);
    const claimed = claim();
    if (claimed === undefined) {
      void enterForSubscriber(subscriber, run, EMPTY, subscribe);
    } else {
      subscribe(claimed);
    }
  });
}

async function enterForSubscriber(
  subscriber: Subscriber<unknown>,
  run: LockedRun,
  skipped: Observable<unknown>,
  subscribe: (locks: readonly LockHandle[]) => void,
): Promise<void> {
  const unsubscribed = new AbortController();
  subscriber.add(() => unsubscribed.abort());
  try {
    const locks = await run.enter(unsubscribed.signal);
    if (locks === undefined) {
      skipped.subscribe(subscriber);
    } else if (subscriber.closed) {
      await giveBack(locks);
    } else {
      subscribe(locks);
    }
  } catch (error) {
    subscriber.error(error);
  }
}

/** Like a promise's, the end of the Observable is told after the release: whoever hears of it finds the locks free. */
function subscribeUnderLocks(
  source: Observable<unknown>,
  subscriber: Subscriber<unknown>,
  locks: readonly LockHandle[],
  run: LockedRun,
  isStream: boolean,
): void {
  const end = startRun(run, locks);
  const released = (failure?: RunEnd['failure']): Observable<never> =>
    defer(() => {
      end(failure);
      return releaseAll(locks);
    }).pipe(ignoreElements());
  const left = new Subject<void>();
  let canStop = isStream;
  subscriber.add(() => {
    if (canStop) {
      left.next();
    }
  });
  runUnderAll(locks, () =>
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
