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
import { runUnderLock, type LeaseLock } from '../lock/lease-lock.js';

/** Acquires the lock, by the policy of whoever asks; undefined = the work is skipped. */
export type EnterLock = (
  signal?: AbortSignal,
) => Promise<LeaseLock | undefined>;

/**
 * Acquires, runs `work`, releases. A rejection of `work` is passed on after the release, which has no
 * error of its own. Resolves with undefined when the work was skipped.
 *
 * When `work` comes to an Observable, the lock is held on for it: see {@link holdForSubscriber}.
 */
export async function runLocked(
  enter: EnterLock,
  work: (lock: LeaseLock) => unknown,
): Promise<unknown> {
  const lock = await enter();
  if (lock === undefined) {
    return undefined;
  }
  let result: unknown;
  try {
    result = await runUnderLock(lock, () => work(lock));
  } catch (error) {
    await lock.release();
    throw error;
  }
  if (isObservable(result)) {
    return holdForSubscriber(result, lock, enter);
  }
  await lock.release();
  return result;
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
  enter: EnterLock,
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
      void enterForSubscriber(source, subscriber, enter);
    } else {
      subscribeUnderLock(source, subscriber, claimed);
    }
  });
}

async function enterForSubscriber(
  source: Observable<unknown>,
  subscriber: Subscriber<unknown>,
  enter: EnterLock,
): Promise<void> {
  const unsubscribed = new AbortController();
  subscriber.add(() => unsubscribed.abort());
  try {
    const lock = await enter(unsubscribed.signal);
    if (lock === undefined) {
      subscriber.complete();
    } else if (subscriber.closed) {
      await lock.release();
    } else {
      subscribeUnderLock(source, subscriber, lock);
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
): void {
  const released = defer(() => lock.release()).pipe(ignoreElements());
  runUnderLock(lock, () =>
    from(source)
      .pipe(
        catchError((error: unknown) =>
          concat(
            released,
            throwError(() => error),
          ),
        ),
        concatWith(released),
        finalize(() => void lock.release()), // unsubscribed
      )
      .subscribe(subscriber),
  );
}
