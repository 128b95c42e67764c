/** Runs work under a lock and holds it for as long as the work lasts: until its promise settles or its Observable ends. */
import {
  catchError,
  concat,
  concatWith,
  defer,
  finalize,
  from,
  ignoreElements,
  isObservable,
  Observable,
  throwError,
  type Subscriber,
} from 'rxjs';
import { cutShort } from '../lock/hold.js';
import { runUnderLock, type LeaseLock } from '../lock/lease-lock.js';

/** How a piece of work ended. */
export interface RunEnd {
  /** Milliseconds that it took. */
  readonly duration: number;
  /** Undefined when it ended well. */
  readonly failure?: { readonly error: unknown };
}

/** Work to be run under a lock. */
export interface LockedRun {
  /** Acquires the lock, by the policy of whoever asks; undefined = the work is skipped. */
  readonly enter: (signal?: AbortSignal) => Promise<LeaseLock | undefined>;
  readonly work: (lock: LeaseLock) => unknown;
  /** Is told of the end, before the lock is released. */
  readonly ended: (lock: LeaseLock, end: RunEnd) => void;
}

/**
 * Acquires, runs `work`, releases. A rejection of `work` is passed on after the release, which has no
 * error of its own. Resolves with undefined when the work was skipped.
 *
 * When `work` comes to an Observable, the lock is held on for it: see {@link holdForSubscriber}.
 */
export async function runLocked(run: LockedRun): Promise<unknown> {
  const lock = await run.enter();
  if (lock === undefined) {
    return undefined;
  }
  const end = startRun(run, lock);
  let result: unknown;
  try {
    result = await runUnderLock(lock, () => run.work(lock));
  } catch (error) {
    end({ error });
    await lock.release();
    throw error;
  }
  if (isObservable(result)) {
    return holdForSubscriber(result, lock, run);
  }
  end();
  await lock.release();
  return result;
}

/** Returns what is to be called once, at the end. */
function startRun(
  { ended }: LockedRun,
  lock: LeaseLock,
): (failure?: RunEnd['failure']) => void {
  const begin = performance.now();
  let hasEnded = false;
  return (failure) => {
    if (hasEnded) {
      return;
    }
    hasEnded = true;
    if (failure && lock.signal.aborted) {
      cutShort(lock);
    }
    const duration = performance.now() - begin;
    ended(lock, { duration, ...(failure && { failure }) });
  };
}

/**
 * Keeps `lock` for the first subscriber, until `source` completes, errors or is unsubscribed. Every
 * other subscription (a retry, a repeat, a second subscriber) is work of its own and enters the lock
 * by itself.
 *
 * Nest subscribes to what a handler returns at once, but not when the client has gone meanwhile, and
 * others may never do it. A lock that nobody has claimed by the next turn of the event loop is
 * therefore released, and a later subscription enters like any other.
 */
function holdForSubscriber(
  source: Observable<unknown>,
  lock: LeaseLock,
  run: LockedRun,
): Observable<unknown> {
  let unclaimed: LeaseLock | undefined = lock;
  const claim = (): LeaseLock | undefined => {
    const claimed = unclaimed;
    unclaimed = undefined;
    return claimed;
  };
  setImmediate(() => void claim()?.release());

  return new Observable((subscriber) => {
    const claimed = claim();
    if (claimed === undefined) {
      void enterForSubscriber(source, subscriber, run);
    } else {
      subscribeUnderLock(source, subscriber, claimed, run);
    }
  });
}

async function enterForSubscriber(
  source: Observable<unknown>,
  subscriber: Subscriber<unknown>,
  run: LockedRun,
): Promise<void> {
  const unsubscribed = new AbortController();
  subscriber.add(() => unsubscribed.abort());
  try {
    const lock = await run.enter(unsubscribed.signal);
    if (lock === undefined) {
      subscriber.complete();
    } else if (subscriber.closed) {
      await lock.release();
    } else {
      subscribeUnderLock(source, subscriber, lock, run);
    }
  } catch (error) {
    subscriber.error(error);
  }
}

/** Like a promise's, the end of the Observable is told after the release: whoever hears of it finds the lock free. */
function subscribeUnderLock(
  source: Observable<unknown>,
  subscriber: Subscriber<unknown>,
  lock: LeaseLock,
  run: LockedRun,
): void {
  const end = startRun(run, lock);
  const released = (failure?: RunEnd['failure']): Observable<never> =>
    defer(() => {
      end(failure);
      return lock.release();
    }).pipe(ignoreElements());
  runUnderLock(lock, () =>
    from(source)
      .pipe(
        catchError((error: unknown) =>
          concat(
            released({ error }),
            throwError(() => error),
          ),
        ),
        concatWith(released()),
        finalize(() => {
          end(); // unsubscribed
          void lock.release();
        }),
      )
      .subscribe(subscriber),
  );
}
