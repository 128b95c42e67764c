/** `@WithLeaseLock` and `LeaseLockInterceptor()` with `permits`, in Nest applications on one API server. */
import {
  Controller,
  Get,
  Injectable,
  UseInterceptors,
  type Type,
} from '@nestjs/common';
import { Cron, CronExpression, ScheduleModule } from '@nestjs/schedule';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  currentLock,
  HeldLock,
  LeaseLockInterceptor,
  LockNotAcquiredError,
  WithLeaseLock,
  type LeaseLock,
  type LockEvent,
} from '../../lib/index.js';
import { eventually } from '../support/eventually.js';
import {
  defer,
  LIVELY,
  startLockApp,
  WarningLog,
  type Deferred,
  type LockApp,
} from './lock-app.js';

let end: Deferred<void>;
let running: (number | undefined)[];

/** Runs until the test ends it. */
async function work(lock = currentLock()): Promise<number | undefined> {
  running.push(lock?.slot);
  await end.promise;
  return lock?.slot;
}

@Controller()
@Injectable()
class Pool {
  @WithLeaseLock('pool', { permits: 3, waitTimeout: 30_000 })
  async waits(@HeldLock() lock?: LeaseLock): Promise<number | undefined> {
    return work(lock === currentLock() ? lock : undefined);
  }

  @WithLeaseLock('pool', { permits: 3, onLocked: 'throw' })
  async throws() {
    return work();
  }

  @WithLeaseLock('pool', { permits: 3, onLocked: 'skip' })
  async skips(): Promise<number | undefined> {
    return work();
  }

  @WithLeaseLock('pool', { permits: 3 })
  async nests() {
    return this.throws();
  }

  @WithLeaseLock('single')
  @WithLeaseLock('pool', { permits: 3, onLocked: 'throw' })
  async several(@HeldLock() lock?: LeaseLock) {
    return [lock?.name, lock?.slot];
  }

  @Get('pool')
  @UseInterceptors(
    LeaseLockInterceptor('handlers', { permits: 2, onLocked: 'throw' }),
  )
  async handle() {
    await work();
    return 'handled';
  }
}

let one: LockApp;
let two: LockApp;
let events: LockEvent[];

beforeAll(async () => {
  const metadata = { providers: [Pool], controllers: [Pool] };
  one = await startLockApp(metadata, { lock: LIVELY });
  two = await startLockApp(metadata, { server: one.server, lock: LIVELY });
  for (const { locks } of [one, two]) {
    locks.events$.subscribe((event) => events.push(event));
  }
});
beforeEach(() => {
  end = defer();
  running = [];
  events = [];
});
afterAll(async () => {
  await two[Symbol.asyncDispose]();
  await one[Symbol.asyncDispose]();
});

const poolOf = ({ app }: LockApp): Pool => app.get(Pool);

/** Takes the three permits of the pool in both applications. */
async function fill(): Promise<Promise<unknown>[]> {
  const calls = [one, two, one].map((app) => poolOf(app).waits());
  await eventually(() => expect(running).toHaveLength(3));
  return calls;
}

describe('@WithLeaseLock with permits', () => {
  it('runs that many calls at a time in all pods, and the next when one ends', async () => {
    const calls = await fill();
    const more = [one, two].map((app) => poolOf(app).waits());
    await eventually(() =>
      expect(
        events.filter(({ type }) => type === 'waiting').length,
      ).toBeGreaterThanOrEqual(2),
    );
    expect(new Set(running)).toEqual(new Set([0, 1, 2]));
    expect(running).toHaveLength(3);
    end.resolve();
    await Promise.all([...calls, ...more]);
    expect(running).toHaveLength(5);
    await eventually(async () =>
      expect(
        await one.locks.semaphore('pool', { permits: 3 }).inspect(),
      ).toMatchObject({ held: 0 }),
    );
    const executed = events.filter(({ type }) => type === 'executed');
    expect(executed).toHaveLength(5);
    expect(executed[0]).toMatchObject({ name: 'pool', method: 'Pool.waits' });
    for (const { slot = 0, leaseName } of executed) {
      expect(leaseName).toBe(slot === 0 ? 'pool' : `pool--slot-${slot}`);
    }
  });

  it("rejects under onLocked: 'throw', and skips under 'skip', when all are held", async () => {
    const calls = await fill();
    await expect(poolOf(two).throws()).rejects.toThrow(LockNotAcquiredError);
    expect(await poolOf(one).skips()).toBeUndefined();
    expect(events.filter(({ type }) => type === 'skipped')).toMatchObject([
      { name: 'pool', leaseName: 'pool', reason: 'held' },
    ]);
    end.resolve();
    await Promise.all(calls);
  });

  it('shares its permit with a nested call, even if all are held', async () => {
    const call = poolOf(one).nests();
    await eventually(() => expect(running).toHaveLength(1));
    const others = [two, two].map((app) => poolOf(app).waits());
    await eventually(() => expect(running).toHaveLength(3));
    end.resolve();
    const [slot] = running;
    expect(await call).toBe(slot);
    await Promise.all(others);
  });

  it('stands among several locks', async () => {
    const calls = await Promise.all([
      poolOf(one).several(),
      poolOf(two).several(),
    ]);
    expect(calls.map(([name]) => name)).toEqual(['pool', 'pool']);
    const filled = await fill();
    await expect(poolOf(two).several()).rejects.toThrow(LockNotAcquiredError);
    expect(await one.locks.inspect('single')).toMatchObject({ state: 'free' });
    end.resolve();
    await Promise.all(filled);
  });

  it('is for handlers too', async () => {
    const answers = [one, two].map((app) => app.request('pool'));
    await eventually(() => expect(running).toHaveLength(2));
    expect((await one.request('pool')).status).toBe(423);
    end.resolve();
    const statuses = (await Promise.all(answers)).map(({ status }) => status);
    expect(statuses).toEqual([200, 200]);
  });

  it('says in the log that others have another number of permits', async () => {
    const logger = new WarningLog();
    await using app = await startLockApp(
      { providers: [Pool] },
      { server: one.server, logger },
    );
    end.resolve();
    await one.locks.withLock('pool', { permits: 2 }, () => undefined);
    // The number is in the record of each Lease that was used.
    await using lock = await one.locks.acquire('pool', { permits: 2 });
    const pool = poolOf(app);
    await Promise.all([1, 2, 3, 4].map(() => pool.waits()));
    expect(lock.isHeld).toBe(true);
    expect(await logger.next('3 permits here')).toContain(
      'has 3 permits here and 2 in another process, so up to 3 can hold it at a time',
    );
  });
});

const start = (provider: Type): Promise<LockApp> =>
  startLockApp(
    { imports: [ScheduleModule.forRoot()], providers: [provider] },
    { server: one.server },
  );

describe('permits that make no sense', () => {
  it.each([0, 1.5, Number.NaN, 101])(
    '%s are refused at start',
    async (permits) => {
      class Wrong {
        @WithLeaseLock('wrong', { permits })
        async run() {}
      }
      await expect(start(Wrong)).rejects.toThrow(
        `Wrong.run: permits must be a whole number from 1 to 100, not ${permits}`,
      );
    },
  );

  it('are refused at start with oncePerFire, which is on under @Cron', async () => {
    class Twice {
      @Cron(CronExpression.EVERY_YEAR)
      @WithLeaseLock('twice', { permits: 2 })
      async run() {}
    }
    await expect(start(Twice)).rejects.toThrow(
      'Twice.run: permits: 2 cannot be used with oncePerFire, which runs each fire once in the cluster. Set oncePerFire: false to run it in up to 2 pods, or permits: 1',
    );
  });

  it('are not those of one permit, nor of a fire that is not claimed', async () => {
    class Sound {
      @Cron(CronExpression.EVERY_YEAR)
      @WithLeaseLock('sound-1', { permits: 1 })
      async once() {}

      @Cron(CronExpression.EVERY_YEAR)
      @WithLeaseLock('sound-2', { permits: 2, oncePerFire: false })
      async each() {}
    }
    await using app = await start(Sound);
    expect(app.locks).toBeDefined();
  });
});
