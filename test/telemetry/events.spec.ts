/** `events$` and `requests$`: what listeners get, in which order, and that their errors are isolated. */
import { Logger } from '@nestjs/common';
import {
  filter,
  firstValueFrom,
  map,
  mergeMap,
  share,
  Subject,
  take,
  tap,
  toArray,
} from 'rxjs';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import {
  LockNotAcquiredError,
  WithLeaseLock,
  type LockEvent,
  type LockService,
} from '../../lib/index.js';
import { EventStream } from '../../lib/event-stream.js';
import type { ApiRequestEvent } from '../../lib/lock.events.js';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import { LIVELY, startLockApp } from '../decorators/lock-app.js';
import { eventually } from '../support/eventually.js';

const FAST = { leaseDuration: 1_000, renewInterval: 10 };

const logged = vi.spyOn(Logger.prototype, 'error').mockReturnValue();
const uncaught: unknown[] = [];
const note = (error: unknown) => uncaught.push(error);
process.on('uncaughtException', note);
process.on('unhandledRejection', note);

afterEach(() => {
  logged.mockClear();
});
afterAll(() => {
  process.off('uncaughtException', note);
  process.off('unhandledRejection', note);
});

/** What rxjs or Node would report, it reports by now. */
async function findUncaught(): Promise<unknown[]> {
  await new Promise((resolve) => {
    setTimeout(resolve, 20);
  });
  return uncaught.splice(0);
}

describe('the events of a lock', () => {
  it('tell its life, each within what it is about', async () => {
    await using fixture = await startLockApp({});
    const { locks } = fixture;
    const types: string[] = [];
    locks.events$.subscribe(({ type }) => types.push(type));
    const lock = await locks.acquire('a');
    expect(types).toEqual(['acquired']);
    const second = locks.acquire('a');
    await eventually(() => expect(types).toEqual(['acquired', 'waiting']));
    await lock.release();
    await (await second).release();
    expect(types.slice(2)).toEqual(['released', 'acquired', 'released']);
  });

  it('tell how a call ended that did not get the lock', async () => {
    class Work {
      @WithLeaseLock('a', { onLocked: 'throw' })
      async run() {}
    }
    await using fixture = await startLockApp({ providers: [Work] });
    const { locks, others, server, app } = fixture;
    const events = listen(locks);
    await others.acquire('a', LIVELY);
    await locks.tryAcquire('a');
    await expect(app.get(Work).run()).rejects.toThrow(LockNotAcquiredError);
    await expect(locks.acquire('a', { waitTimeout: 20 })).rejects.toThrow(
      'waitTimeout',
    );
    const signal = AbortSignal.abort(new Error('gone'));
    await expect(locks.acquire('a', { signal })).rejects.toThrow('gone');
    server.faults.inject({ kind: 'status', code: 403 }, { name: 'b' });
    await expect(locks.acquire('b')).rejects.toThrow('forbidden');
    await app.close();
    await expect(locks.acquire('a')).rejects.toThrow(LockNotAcquiredError);
    expect(
      events
        .filter(({ type }) => type !== 'waiting')
        .map((event) => [event.type, 'reason' in event && event.reason]),
    ).toEqual([
      ['skipped', 'held'],
      ['not-acquired', 'held'],
      ['not-acquired', 'timeout'],
      ['not-acquired', 'cancelled'],
      ['not-acquired', 'failed'],
    ]);
    expect(events.find((event) => 'waited' in event)).toMatchObject({
      waited: expect.any(Number),
    });
  });

  it('complete when the application has shut down, for late listeners too', async () => {
    await using fixture = await startLockApp({});
    const { locks } = fixture;
    const all = firstValueFrom(locks.events$.pipe(toArray()));
    await locks.acquire('a');
    await fixture.app.close();
    expect((await all).map(({ type }) => type)).toEqual([
      'acquired',
      'lost',
      'released',
    ]);
    const complete = vi.fn<() => void>();
    locks.events$.subscribe({ complete });
    locks.requests$.subscribe({ complete });
    expect(complete).toHaveBeenCalledTimes(2);
  });
});

describe('a listener', () => {
  const error = new Error('a listener of a test');
  const fail = (): never => {
    throw error;
  };

  it.each<[string, (locks: LockService) => void]>([
    ['throws', ({ events$ }) => events$.subscribe(fail)],
    [
      'throws, as an object',
      ({ events$ }) => events$.subscribe({ next: fail }),
    ],
    // oxlint-disable-next-line typescript/no-misused-promises -- what users do all the same
    ['rejects', ({ events$ }) => events$.subscribe(async () => fail())],
    [
      'throws behind operators',
      ({ events$ }) =>
        events$
          .pipe(
            filter(({ type }) => type !== 'renewed'),
            map(({ name }) => name),
          )
          .subscribe(fail),
    ],
    [
      'throws behind share()',
      ({ events$ }) => events$.pipe(share()).subscribe(fail),
    ],
    [
      'throws within an operator',
      ({ events$ }) => events$.pipe(tap(fail)).subscribe(),
    ],
    [
      'rejects within an operator',
      ({ events$ }) =>
        events$.pipe(mergeMap(async () => fail())).subscribe(() => undefined),
    ],
    [
      'throws on the error of an operator',
      ({ events$ }) =>
        events$.pipe(tap(fail)).subscribe({ error: fail, complete: fail }),
    ],
  ])('that %s harms nothing, and is logged', async (_, subscribe) => {
    await using fixture = await startLockApp({});
    const { locks } = fixture;
    subscribe(locks);
    const events = listen(locks);
    const lock = await locks.acquire('a', FAST);
    await eventually(() =>
      expect(events.map(({ type }) => type)).toContain('renewed'),
    );
    expect(lock.isHeld).toBe(true);
    await lock.release();
    expect(events.at(-1)?.type).toBe('released');
    expect(await findUncaught()).toEqual([]);
    expect(logged.mock.calls[0]).toEqual([
      'A listener of events$ threw; locks are not affected.',
      error.stack,
    ]);
  });

  it('that throws gets the next event all the same', async () => {
    await using fixture = await startLockApp({});
    const seen: string[] = [];
    fixture.locks.events$.subscribe(({ type }) => {
      seen.push(type);
      fail();
    });
    await (await fixture.locks.acquire('a')).release();
    expect(seen).toEqual(['acquired', 'released']);
  });

  it('that throws when the events complete does not disturb the shutdown', async () => {
    await using fixture = await startLockApp({});
    fixture.locks.events$.subscribe({ complete: fail });
    await fixture.app.close();
    expect(await findUncaught()).toEqual([]);
  });

  it('may be a Subject, and may unsubscribe', async () => {
    await using fixture = await startLockApp({});
    const subject = new Subject<LockEvent>();
    const first = firstValueFrom(subject.pipe(take(1)));
    const listening = fixture.locks.events$.subscribe(subject);
    const lock = await fixture.locks.acquire('a');
    expect(await first).toMatchObject({ type: 'acquired' });
    listening.unsubscribe();
    const rest = vi.fn<() => void>();
    subject.subscribe(rest);
    await lock.release();
    expect(rest).not.toHaveBeenCalled();
  });

  it('may handle the error of its operators by itself', async () => {
    await using fixture = await startLockApp({});
    const handled = vi.fn<(error: unknown) => void>();
    fixture.locks.events$.pipe(tap(fail)).subscribe({ error: handled });
    await fixture.locks.acquire('a');
    expect(handled.mock.calls).toEqual([[error]]);
    expect(logged).not.toHaveBeenCalled();
  });

  it('may release, acquire and look within an event', async () => {
    await using fixture = await startLockApp({});
    const { locks } = fixture;
    const events = listen(locks);
    const lock = await locks.acquire('a', FAST);
    const again = new Promise<void>((resolve, reject) => {
      locks.events$.subscribe((event) => {
        if (event.type === 'renewed') {
          void lock.release();
          void lock.release();
          locks.acquire('a').then(() => resolve(), reject);
        }
      });
    });
    await again;
    expect(events.map(({ type }) => type).slice(0, 5)).toEqual([
      'acquired',
      'renewed',
      'released',
      'waiting',
      'acquired',
    ]);
  });

  it('that blocks the process for longer than the lease loses the lock, and isHeld says so', async () => {
    await using fixture = await startLockApp({});
    const { locks } = fixture;
    locks.events$.pipe(take(1)).subscribe(() => {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_000);
    });
    const lock = await locks.acquire('a', FAST);
    expect(lock.isHeld).toBe(false);
    expect(lock.signal.reason).toMatchObject({ reason: 'deadline' });
    await lock.release();
  });
});

describe('EventStream', () => {
  it('gives everybody the same order, also of events that a listener causes', () => {
    const stream = new EventStream<number>('numbers$');
    const seen: string[] = [];
    stream.events$.subscribe((event) => {
      seen.push(`a${event}`);
      if (event < 3) {
        stream.emit(event + 1);
      }
    });
    stream.events$.subscribe((event) => seen.push(`b${event}`));
    stream.emit(1);
    expect(seen).toEqual(['a1', 'b1', 'a2', 'b2', 'a3', 'b3']);
  });

  it('begins with the next event for whoever subscribes within one', () => {
    const stream = new EventStream<number>('numbers$');
    const seen: number[] = [];
    stream.events$.pipe(take(1)).subscribe(() => {
      stream.events$.subscribe((event) => seen.push(event));
    });
    stream.emit(1);
    stream.emit(2);
    expect(seen).toEqual([2]);
  });

  it('outlives a link of a chain that is not of rxjs', () => {
    const stream = new EventStream<number>('numbers$');
    const seen: number[] = [];
    const link = Object.assign(new Subject<number>(), {
      add: () => undefined,
      remove: () => undefined,
      next: () => {
        throw new Error('a link');
      },
    });
    stream.events$.subscribe(link);
    stream.events$.subscribe((event) => seen.push(event));
    stream.emit(1);
    expect(seen).toEqual([1]);
    expect(logged).toHaveBeenCalledOnce();
  });
});

describe('requests$', () => {
  it('emits each request while there is a listener', async () => {
    await using fixture = await startLockApp({});
    const { locks, server } = fixture;
    const requests: ApiRequestEvent[] = [];
    const listening = locks.requests$.subscribe((event) =>
      requests.push(event),
    );
    const lock = await locks.acquire('a');
    await server.refuseConnections();
    await expect(locks.inspect('a')).rejects.toThrow('network');
    await server.acceptConnections();
    expect(requests).toEqual([
      request({ verb: 'get', status: 404 }),
      request({ verb: 'create', status: 201 }),
      request({ verb: 'get', failure: 'network' }),
    ]);
    listening.unsubscribe();
    await lock.release();
    expect(requests).toHaveLength(3);
  });

  it('has no event of a request that was sent while nobody listened', async () => {
    await using fixture = await startLockApp({});
    const emit = vi.fn<(event: ApiRequestEvent) => void>();
    const requests = { isObserved: false, emit };
    const store = new KubernetesLeaseStore({
      kubeConfig: await fixture.server.kubeConfig(),
      requestTimeout: 5_000,
      requests,
    });
    const key = { namespace: 'default', name: 'a' };
    await store.get(key);
    expect(emit).not.toHaveBeenCalled();
    requests.isObserved = true;
    await store.get(key);
    expect(emit).toHaveBeenCalledExactlyOnceWith(
      request({ verb: 'get', status: 404 }),
    );
    store.close();
  });
});

function listen(locks: LockService): LockEvent[] {
  const events: LockEvent[] = [];
  locks.events$.subscribe((event) => events.push(event));
  return events;
}

function request(details: Partial<ApiRequestEvent>) {
  return { namespace: 'default', duration: expect.any(Number), ...details };
}
