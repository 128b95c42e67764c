/** Several @WithLeaseLock on one method: acquired in one global order, and all or none. */
import { Injectable, SetMetadata } from '@nestjs/common';
import {
  Cron,
  CronExpression,
  ScheduleModule,
  SchedulerRegistry,
} from '@nestjs/schedule';
import { lastValueFrom, Subject, type Observable } from 'rxjs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  currentLock,
  HeldLock,
  LockConfigurationError,
  LockLostError,
  LockNotAcquiredError,
  WithLeaseLock,
  type LeaseLock,
  type LockEvent,
} from '../../lib/index.js';
import { CLAIM } from '../../lib/lock/record/fire-claim.js';
import { nextEvent } from './http-clients.js';
import { LIVELY, startLockApp, type LockApp } from './lock-app.js';
import { aborted } from '../support/aborted.js';

const THROW = { onLocked: 'throw' } as const;

/** Wraps the method as decorators of other packages do, and copies the metadata. */
function Foreign(): MethodDecorator {
  return (_target, _key, descriptor: PropertyDescriptor) => {
    const method: (...args: unknown[]) => unknown = descriptor.value;
    const wrapper = function (this: unknown, ...args: unknown[]): unknown {
      return Reflect.apply(method, this, args);
    };
    for (const key of Reflect.getMetadataKeys(method)) {
      Reflect.defineMetadata(key, Reflect.getMetadata(key, method), wrapper);
    }
    descriptor.value = wrapper;
  };
}

@Injectable()
class Transfers {
  readonly source = new Subject<string>();

  @WithLeaseLock('a')
  @WithLeaseLock('b')
  async forth() {
    return currentLock()?.name;
  }

  @WithLeaseLock('b')
  @SetMetadata('stands', 'between')
  @WithLeaseLock('a')
  async back(@HeldLock() lock?: LeaseLock) {
    return [currentLock()?.name, lock === currentLock()];
  }

  @WithLeaseLock('kept-a', THROW)
  @WithLeaseLock('kept-b', THROW)
  async both() {
    return currentLock()?.name;
  }

  @WithLeaseLock('b', { namespace: 'x' })
  @WithLeaseLock('Z', { namespace: 'x' })
  @WithLeaseLock('c', { namespace: 'w' })
  async anywhere() {}

  @WithLeaseLock('a')
  @WithLeaseLock('b')
  @WithLeaseLock('a', THROW)
  async twice() {
    return currentLock()?.name;
  }

  @WithLeaseLock('b')
  @Foreign()
  @WithLeaseLock('a')
  async parted() {
    return currentLock()?.name;
  }

  @WithLeaseLock('a')
  @Foreign()
  @WithLeaseLock('a')
  async partedTwice() {
    return currentLock()?.name;
  }

  @WithLeaseLock('a')
  async again(times: number) {
    if (times > 1) {
      await this.again(times - 1);
    }
  }

  @WithLeaseLock('a')
  @Foreign()
  @WithLeaseLock('a')
  async failsPartedTwice() {
    throw new Error('own error');
  }

  @WithLeaseLock('b', { onLocked: 'skip' })
  @WithLeaseLock('a')
  async skips(): Promise<string | undefined> {
    return 'ran';
  }

  @WithLeaseLock('b', THROW)
  @WithLeaseLock('a')
  async throws() {
    return 'ran';
  }

  @WithLeaseLock((to: string) => to)
  @WithLeaseLock('a')
  async named(_to: string) {
    return 'ran';
  }

  @WithLeaseLock('b')
  @WithLeaseLock('a')
  stream(): Observable<string> {
    return this.source;
  }

  @WithLeaseLock('b')
  @WithLeaseLock('a')
  async untilLost(@HeldLock() lock?: LeaseLock) {
    await aborted(lock!.signal);
    if (lock?.isHeld === false) {
      lock.assertHeld();
    }
  }

  @WithLeaseLock('b')
  @WithLeaseLock('a')
  async fails(): Promise<void> {
    throw new Error('own error');
  }

  @WithLeaseLock('b')
  @WithLeaseLock('a')
  async outer() {
    return this.back();
  }
}

let fixture: LockApp;
let transfers: Transfers;
let events: LockEvent[];

const follow = (app: LockApp): LockEvent[] => {
  const seen: LockEvent[] = [];
  app.locks.events$.subscribe((event) => seen.push(event));
  return seen;
};
const namesOf = (seen: readonly LockEvent[], type: LockEvent['type']) =>
  seen.filter((event) => event.type === type).map(({ name }) => name);

beforeAll(async () => {
  fixture = await startLockApp(
    { providers: [Transfers] },
    { lock: { renewInterval: 100 } },
  );
  transfers = fixture.app.get(Transfers);
  events = follow(fixture);
});
beforeEach(() => {
  events.length = 0;
});
afterAll(() => fixture[Symbol.asyncDispose]());

describe('several locks on one method', () => {
  it('do not deadlock with those of another process in the other order', async () => {
    const { server, others } = fixture;
    await using second = await startLockApp(
      { providers: [Transfers] },
      { server },
    );
    // Both calls are under way before either can have its first lock.
    const before = [await others.acquire('a'), await others.acquire('b')];
    const waiting = [fixture, second].map((app) => nextEvent(app, 'waiting'));
    const calls = [transfers.forth(), second.app.get(Transfers).back()];
    expect((await Promise.all(waiting)).map(({ name }) => name)).toEqual([
      'a',
      'a',
    ]);
    await Promise.all(before.map((lock) => lock.release()));
    expect(await Promise.all(calls)).toEqual(['b', ['a', true]]);
  });

  it('do not deadlock with acquireAll() and withLocks() in the other order', async () => {
    const { locks, others } = fixture;
    const order = ['b', 'a'];
    const before = await others.acquireAll(order);
    const waiting = nextEvent(fixture, 'waiting');
    const calls = [
      transfers.forth(),
      others.withLocks(order, () => 'ran'),
      transfers.back(),
      locks.acquireAll(order).then(async (held) => {
        await held.release();
        return held.locks.map(({ name }) => name);
      }),
    ];
    expect((await waiting).name).toBe('a');
    await before.release();
    expect(await Promise.all(calls)).toEqual(['b', 'ran', ['a', true], order]);
  });

  it('are shared with withLocks() of their method, and the other way round', async () => {
    const result = await fixture.locks.withLocks(['a', 'b'], () =>
      transfers.outer(),
    );
    expect(result).toEqual(['a', true]);
    expect(namesOf(events, 'acquired')).toEqual(['a', 'b']);
  });

  it.each(['forth', 'back'] as const)(
    'are taken by name, and released in reverse: %s',
    async (method) => {
      await transfers[method]();
      expect(namesOf(events, 'acquired')).toEqual(['a', 'b']);
      expect(namesOf(events, 'released')).toEqual(['b', 'a']);
    },
  );

  it.each<[string, () => Promise<unknown>, LockEvent['type'], string[]]>([
    ['two locks', () => transfers.forth(), 'executed', ['a', 'b']],
    ['one lock, twice', () => transfers.twice(), 'executed', ['a', 'b']],
    ['two locks, parted', () => transfers.parted(), 'executed', ['a', 'b']],
    ['one lock, parted', () => transfers.partedTwice(), 'executed', ['a']],
    [
      'one lock, parted, and an error',
      () => transfers.failsPartedTwice().catch(() => undefined),
      'failed',
      ['a'],
    ],
    [
      'one lock, and calls within the call',
      () => transfers.again(3),
      'executed',
      ['a', 'a', 'a'],
    ],
  ])(
    'end with one event for each lock and call: %s',
    async (_, call, type, names) => {
      await call();
      expect(namesOf(events, type).toSorted()).toEqual(names);
      const ends = ['executed', 'failed'];
      expect(events.filter((event) => ends.includes(event.type))).toHaveLength(
        names.length,
      );
    },
  );

  it('are shared by a call whose caller ends in the same turn', async () => {
    let inner: Promise<unknown> | undefined;
    await fixture.locks.withLock('kept-a', () => {
      inner = transfers.both();
    });
    expect(await inner).toBe('kept-b');
    expect(namesOf(events, 'acquired')).toEqual(['kept-a', 'kept-b']);
  });

  it('are ordered by namespace and Lease name', async () => {
    await transfers.anywhere();
    // 'Z' is the Lease z--….
    expect(namesOf(events, 'acquired')).toEqual(['c', 'b', 'Z']);
  });

  it('give the method the lock of the lowest', async () => {
    expect(await transfers.forth()).toBe('b');
    expect(await transfers.back()).toEqual(['a', true]);
  });

  it('tell the method of the loss of any', async () => {
    const lost = transfers.untilLost();
    await nextEvent(fixture, 'acquired', 'b');
    await fixture.others.forceRelease('b');
    await expect(lost).rejects.toMatchObject({
      lock: { name: 'b' },
      reason: 'freed',
    });
    expect(namesOf(events, 'failed').toSorted()).toEqual(['a', 'b']);
  });

  it('are one lock where they have the same name', async () => {
    expect(await transfers.twice()).toBe('a');
    expect(namesOf(events, 'acquired')).toEqual(['a', 'b']);
    expect(namesOf(events, 'released')).toEqual(['b', 'a']);
    await using _ = await fixture.others.acquire('a');
    await expect(transfers.twice()).rejects.toThrow(LockNotAcquiredError);
  });

  it('nest where another decorator wraps the method in between', async () => {
    expect(await transfers.parted()).toBe('a');
    expect(namesOf(events, 'acquired')).toEqual(['b', 'a']);
    expect(namesOf(events, 'released')).toEqual(['a', 'b']);
  });

  it('run on under those that are held already', async () => {
    expect(await transfers.outer()).toEqual(['a', true]);
    expect(namesOf(events, 'acquired')).toEqual(['a', 'b']);
    expect(namesOf(events, 'released')).toEqual(['b', 'a']);
  });

  it('are reported one by one when the method ends', async () => {
    await transfers.back();
    expect(namesOf(events, 'executed').toSorted()).toEqual(['a', 'b']);
    events.length = 0;
    await expect(transfers.fails()).rejects.toThrow('own error');
    expect(namesOf(events, 'failed').toSorted()).toEqual(['a', 'b']);
    expect(namesOf(events, 'released')).toEqual(['b', 'a']);
  });

  it('are held until the last value of an Observable', async () => {
    // What is called is the wrapper, whose result is a promise.
    const stream = await Promise.resolve(transfers.stream());
    const last = lastValueFrom(stream);
    transfers.source.next('value');
    expect(namesOf(events, 'acquired')).toEqual(['a', 'b']);
    expect(namesOf(events, 'released')).toEqual([]);
    transfers.source.complete();
    expect(await last).toBe('value');
    expect(namesOf(events, 'released')).toEqual(['b', 'a']);
  });
});

describe('when one of several locks can not be acquired', () => {
  it('the call is skipped, and what was taken is given back', async () => {
    expect(await transfers.skips()).toBe('ran');
    events.length = 0;
    await using _ = await fixture.others.acquire('b', LIVELY);
    expect(await transfers.skips()).toBeUndefined();
    expect(
      events
        .map(({ type, name }) => `${type} ${name}`)
        .filter((text) => !text.startsWith('waiting')),
    ).toEqual(['acquired a', 'skipped b', 'released a']);
  });

  it('the call is refused, and what was taken is given back', async () => {
    await using _ = await fixture.others.acquire('b');
    await expect(transfers.throws()).rejects.toMatchObject({
      lock: { name: 'b' },
      reason: 'held',
    });
    expect(namesOf(events, 'released')).toEqual(['a']);
  });

  it('nothing is taken if one has no name', async () => {
    await expect(transfers.named('')).rejects.toThrow(LockConfigurationError);
    expect(events).toEqual([]);
  });

  it('waits no longer once one that was taken is lost', async () => {
    const other = await fixture.others.acquire('b');
    const waiting = nextEvent(fixture, 'waiting', 'b');
    const call = transfers.back();
    await waiting;
    await fixture.others.forceRelease('a');
    await expect(call).rejects.toThrow(LockLostError);
    expect(namesOf(events, 'executed')).toEqual([]);
    await other.release();
  });
});

describe('several locks under @Cron', () => {
  @Injectable()
  class Jobs {
    @Cron(CronExpression.EVERY_DAY_AT_4AM, { name: 'job' })
    @WithLeaseLock('y-guard')
    @WithLeaseLock('x-job')
    async run() {}
  }

  it('claim the fire with the lowest, and leave it open if the method does not run', async () => {
    await using app = await startLockApp({
      imports: [ScheduleModule.forRoot()],
      providers: [Jobs],
    });
    const other = await app.others.acquire('y-guard', LIVELY);
    const seen = follow(app);
    const skipped = nextEvent(app, 'skipped');
    const released = nextEvent(app, 'released');
    fire(app);
    expect(await skipped).toMatchObject({ name: 'y-guard', reason: 'held' });
    expect(await released).toMatchObject({ name: 'x-job' });
    await turnOf(app, 'x-job');
    expect(claimOf(app, 'x-job')).toBe('open');
    await other.release();
    await turnOf(app, 'y-guard');

    seen.length = 0;
    fire(app);
    await nextEvent(app, 'executed');
    await turnOf(app, 'x-job');
    expect(claimOf(app, 'x-job')).toBe('done');
    expect(claimOf(app, 'y-guard')).toBeUndefined();
    expect(
      seen
        .filter((event) => event.type === 'executed')
        .map(({ name, fire: planned }) => [name, planned instanceof Date]),
    ).toEqual([
      ['y-guard', false],
      ['x-job', true],
    ]);
  });

  it('leave the fire undone when the work stops since any of them was lost', async () => {
    @Injectable()
    class Guarded {
      @Cron(CronExpression.EVERY_DAY_AT_4AM, { name: 'job' })
      @WithLeaseLock('y-guard')
      @WithLeaseLock('x-job')
      async run(@HeldLock() lock?: LeaseLock) {
        await aborted(lock!.signal);
        throw lock!.signal.reason;
      }
    }
    await using app = await startLockApp(
      { imports: [ScheduleModule.forRoot()], providers: [Guarded] },
      { lock: { renewInterval: 100 } },
    );
    const begun = nextEvent(app, 'renewed', 'x-job');
    const failed = nextEvent(app, 'failed', 'x-job');
    fire(app);
    await begun;
    await app.others.forceRelease('y-guard');
    await failed;
    await turnOf(app, 'x-job');
    expect(claimOf(app, 'x-job')).toBe('begun');
  });
});

/** Resolves when the application knows that the lock is free. */
async function turnOf({ locks }: LockApp, name: string): Promise<void> {
  await using _ = await locks.acquire(name);
}

/** What has become of the work that was claimed with the lock. */
function claimOf({ server }: LockApp, name: string): string | undefined {
  const lease = server.lease({ namespace: 'default', name });
  return lease?.metadata.annotations?.[CLAIM]?.split(' ')[1];
}

/** As the timer of the job does. */
function fire({ app }: LockApp): void {
  const job = app.get(SchedulerRegistry).getCronJob('job');
  job.lastExecution = new Date();
  void job.fireOnTick();
}
