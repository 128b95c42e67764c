/** How long a method that returns an Observable holds its lock. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import {
  defer as deferObservable,
  lastValueFrom,
  NEVER,
  Observable,
  of,
  repeat,
  retry,
  Subject,
  take,
  tap,
  throwError,
  toArray,
} from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  currentLock,
  LockNotAcquiredError,
  WithLeaseLock,
} from '../../lib/index.js';
import { LIVELY, startLockApp, type LockApp } from './lock-app.js';

@Injectable()
class Feed {
  /** What Nest calls; the promise is what the decorator makes of it. */
  @WithLeaseLock('feed')
  open<T>(source: Observable<T>): Observable<T> {
    return source;
  }

  @WithLeaseLock('feed')
  async openLater<T>(source: Observable<T>): Promise<Observable<T>> {
    return source;
  }

  @WithLeaseLock('feed-skip', { onLocked: 'skip' })
  async openOrSkip<T>(
    source: Observable<T>,
  ): Promise<Observable<T> | undefined> {
    return source;
  }

  @WithLeaseLock('feed-throw', { onLocked: 'throw' })
  async openOrThrow<T>(source: Observable<T>): Promise<Observable<T>> {
    return source;
  }
}

let fixture: LockApp;
let feed: Feed;

beforeAll(async () => {
  fixture = await startLockApp({ providers: [Feed] });
  feed = fixture.app.get(Feed);
});
afterAll(() => fixture[Symbol.asyncDispose]());

const isHeld = (): boolean =>
  Boolean(
    fixture.server.lease({ namespace: 'default', name: 'feed' })?.spec
      ?.holderIdentity,
  );

/** Resolves once another process could have it. */
const released = async (): Promise<void> => {
  await using _ = await fixture.others.acquire('feed');
};

describe.each(['open', 'openLater'] as const)('a method like %s', (method) => {
  it('holds the lock from before the subscription until completion', async () => {
    const states: boolean[] = [];
    const source = new Subject<number>();
    const opened = await feed[method](
      deferObservable(() => {
        states.push(isHeld());
        return source;
      }),
    );
    const values: unknown[] = [];
    const completed = new Promise<void>((resolve) =>
      opened.subscribe({
        next: (value) => values.push(value),
        complete: () => {
          states.push(isHeld());
          resolve();
        },
      }),
    );
    source.next(1);
    await nextTurn();
    await nextTurn();
    states.push(isHeld());
    source.next(2);
    source.complete();
    await completed;
    expect(values).toEqual([1, 2]);
    expect(states).toEqual([true, true, false]);
  });

  it('passes an error on after the release', async () => {
    const error = new Error('the source failed');
    const opened = await feed[method](throwError(() => error));
    await expect(lastValueFrom(opened)).rejects.toBe(error);
    expect(isHeld()).toBe(false);
  });

  it('releases and stops the source when it is unsubscribed', async () => {
    let stopped = false;
    const opened = await feed[method](
      new Observable(() => () => {
        stopped = true;
      }),
    );
    const subscription = opened.subscribe();
    expect(isHeld()).toBe(true);
    subscription.unsubscribe();
    expect(stopped).toBe(true);
    await released();
  });

  it('ends a source that never pauses when the subscriber has enough', async () => {
    const opened = await feed[method](of('again').pipe(repeat()));
    expect(await lastValueFrom(opened.pipe(take(3), toArray()))).toHaveLength(
      3,
    );
    await released();
  });

  it('runs the subscription under currentLock()', async () => {
    const opened = await feed[method](
      deferObservable(async () => {
        await nextTurn();
        return currentLock()?.name;
      }),
    );
    expect(await lastValueFrom(opened)).toBe('feed');
  });
});

describe('a second subscription', () => {
  it('takes the lock for itself', async () => {
    const states: boolean[] = [];
    const opened = await feed.openLater(
      deferObservable(() => {
        states.push(isHeld());
        return states.length < 3 ? throwError(() => 'again') : of('done');
      }),
    );
    const result = await lastValueFrom(opened.pipe(retry(2)));
    expect(result).toBe('done');
    expect(states).toEqual([true, true, true]);
    expect(isHeld()).toBe(false);
  });

  it('waits for the first', async () => {
    const first = new Subject<string>();
    const sources = [first, of('second')];
    const opened = await feed.openLater(
      deferObservable(() => sources.shift()!),
    );
    const order: string[] = [];
    const both = [opened, opened].map((each) =>
      lastValueFrom(each.pipe(tap((value) => order.push(value)))),
    );
    await nextTurn();
    expect(sources).toHaveLength(1); // the second has not begun
    first.next('first');
    first.complete();
    expect(await Promise.all(both)).toEqual(['first', 'second']);
    expect(order).toEqual(['first', 'second']);
  });

  it('that is unsubscribed while it waits gives up the lock', async () => {
    let begun = 0;
    let acquired = 0;
    const counting = fixture.locks.events$.subscribe(({ type }) => {
      acquired += type === 'acquired' ? 1 : 0;
    });
    const opened = await feed.openLater(
      deferObservable(() => {
        begun += 1;
        return NEVER;
      }),
    );
    const first = opened.subscribe();
    const second = opened.subscribe();
    await nextTurn();
    second.unsubscribe();
    first.unsubscribe();
    await released();
    counting.unsubscribe();
    expect([begun, acquired]).toEqual([1, 1]);
  });
});

describe('a subscription that ends in the very moment in which the lock is acquired', () => {
  it('does not begin, and leaves the lock free', async () => {
    let begun = 0;
    const opened = await feed.openLater(
      deferObservable(() => {
        begun += 1;
        return NEVER;
      }),
    );
    await released();
    const acquired = new Promise<void>((resolve) => {
      const listening = fixture.locks.events$.subscribe(({ type }) => {
        if (type === 'acquired') {
          subscription.unsubscribe();
          listening.unsubscribe();
          resolve();
        }
      });
    });
    const subscription = opened.subscribe();
    await acquired;
    await released();
    expect(begun).toBe(0);
  });
});

describe('an Observable that nobody subscribes to', () => {
  it('holds the lock for no longer than the turn of the event loop', async () => {
    await feed.openLater(NEVER);
    expect(isHeld()).toBe(true);
    await released();
  });

  it('takes the lock again for a late subscriber', async () => {
    const opened = await feed.openLater(deferObservable(async () => isHeld()));
    await released();
    expect(isHeld()).toBe(false);
    expect(await lastValueFrom(opened)).toBe(true);
  });

  it("completes for a late subscriber that is skipped, and errors for one under 'throw'", async () => {
    const skipped = await feed.openOrSkip(of(1));
    const refused = await feed.openOrThrow(of(1));
    await using skipHeld = await fixture.others.acquire('feed-skip', LIVELY);
    await using throwHeld = await fixture.others.acquire('feed-throw');
    const end = await lastValueFrom(skipped!, { defaultValue: 'completed' });
    expect(end).toBe('completed');
    await expect(lastValueFrom(refused)).rejects.toThrow(LockNotAcquiredError);
    expect([skipHeld.isHeld, throwHeld.isHeld]).toEqual([true, true]);
  });
});
