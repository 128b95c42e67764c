/** The order in which an application closes, and what it logs about locks while it runs. */
import {
  Controller,
  Get,
  Inject,
  Injectable,
  Module,
  Sse,
  type BeforeApplicationShutdown,
  type LoggerService,
  type OnApplicationShutdown,
} from '@nestjs/common';
import {
  Cron,
  CronExpression,
  Interval,
  ScheduleModule,
  SchedulerRegistry,
} from '@nestjs/schedule';
import { fromEvent, map, Observable, take } from 'rxjs';
import { describe, expect, it } from 'vitest';
import {
  currentLock,
  LockLostError,
  LockNotAcquiredError,
  LockService,
  WithLeaseLock,
  type LockEvent,
} from '../../lib/index.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { defer, startLockApp, WarningLog } from '../decorators/lock-app.js';
import { aborted } from '../support/aborted.js';

const holderOf = (server: LeaseApiServer, name: string) =>
  server.lease({ namespace: 'default', name })?.spec?.holderIdentity ||
  undefined;

class ErrorLog implements LoggerService {
  readonly errors: unknown[] = [];

  error(message: unknown): void {
    this.errors.push(message);
  }

  log(): void {}
  warn(): void {}
}

/** The connection does not outlast the request. */
const ONCE = { headers: { connection: 'close' } };

describe('shutdown', () => {
  it('asks the work to stop, stops schedulers, closes HTTP, and releases last', async () => {
    const order: string[] = [];
    const started = defer();

    @Injectable()
    class Jobs implements BeforeApplicationShutdown, OnApplicationShutdown {
      @Interval(5)
      @WithLeaseLock('job')
      async run() {
        const { signal } = currentLock()!;
        order.push('job started');
        started.resolve();
        await aborted(signal);
        order.push(`asked to stop: ${signal.reason.reason}`);
        order.push(holderOf(server, 'job') ? 'still held' : 'not held');
      }

      beforeApplicationShutdown() {
        order.push('beforeApplicationShutdown');
      }

      onApplicationShutdown() {
        order.push('onApplicationShutdown');
      }
    }

    await using server = await LeaseApiServer.start();
    await using fixture = await startLockApp(
      { imports: [ScheduleModule.forRoot()], providers: [Jobs] },
      { server, lock: { shutdownTimeout: 5_000 } },
    );
    await started.promise;
    fixture.app.getHttpServer().once('close', () => order.push('HTTP closed'));
    await fixture.app.close();
    expect(order).toEqual([
      'job started',
      'asked to stop: shutdown',
      'still held',
      'beforeApplicationShutdown',
      'HTTP closed',
      'onApplicationShutdown',
    ]);
    expect(holderOf(server, 'job')).toBeUndefined();
  });

  it('takes no new locks, and ends the waiting', async () => {
    class Work {
      @WithLeaseLock('work')
      async run() {}
    }
    await using fixture = await startLockApp({ providers: [Work] });
    await using _ = await fixture.others.acquire('work');
    const waiting = fixture.app.get(Work).run();
    const ended = Promise.allSettled([waiting]);
    await fixture.server.requests.next({ verb: 'watch', name: 'work' });
    await fixture.app.close();
    expect(await ended).toMatchObject([{ reason: { reason: 'shutdown' } }]);
    await expect(fixture.app.get(Work).run()).rejects.toThrow(
      LockNotAcquiredError,
    );
  });

  it('skips a fire that it catches, and the scheduler logs no error', async () => {
    class Jobs {
      @Cron(CronExpression.EVERY_YEAR, { name: 'job' })
      @WithLeaseLock('job')
      async run() {}
    }
    const log = new ErrorLog();
    await using fixture = await startLockApp(
      { imports: [ScheduleModule.forRoot()], providers: [Jobs] },
      { logger: log, lock: { requestTimeout: 1_000 } },
    );
    const { server, locks } = fixture;
    const events: LockEvent[] = [];
    locks.events$.subscribe((event) => events.push(event));
    using _ = server.faults.inject(
      { kind: 'hold', when: 'before' },
      { verb: 'create' },
    );
    const asked = server.requests.next({ verb: 'create' });
    const job = fixture.app.get(SchedulerRegistry).getCronJob('job');
    job.lastExecution = new Date(); // as its timer does
    const fired = job.fireOnTick();
    await asked;
    await fixture.app.close();
    await fired;
    expect(events).toMatchObject([
      { type: 'skipped', reason: 'shutdown', fire: expect.any(Date) },
    ]);
    expect(log.errors).toEqual([]);
  });

  describe('does not wait for what waits for it', () => {
    it('a request whose work heeds the signal', async () => {
      const started = defer();
      @Controller()
      class Work {
        @Get('work')
        @WithLeaseLock('work')
        async run() {
          const { signal } = currentLock()!;
          started.resolve();
          await aborted(signal);
          return signal.reason.reason;
        }
      }
      await using fixture = await startLockApp(
        { controllers: [Work] },
        { lock: { shutdownTimeout: 60_000 } },
      );
      const answer = fixture.request('work', ONCE);
      await started.promise;
      await fixture.app.close();
      expect(await (await answer).text()).toBe('shutdown');
      expect(holderOf(fixture.server, 'work')).toBeUndefined();
    });

    it('a request that waits for a lock', async () => {
      @Controller()
      class Work {
        constructor(@Inject(LockService) private readonly locks: LockService) {}

        @Get('work')
        async run() {
          await using _ = await this.locks.acquire('work');
        }
      }
      await using fixture = await startLockApp(
        { controllers: [Work] },
        { lock: { shutdownTimeout: 60_000 } },
      );
      await using _ = await fixture.others.acquire('work');
      const watched = fixture.server.requests.next({
        verb: 'watch',
        name: 'work',
      });
      const answer = fixture.request('work', ONCE);
      await watched;
      await fixture.app.close();
      expect((await answer).status).toBe(503);
    });

    it('a stream of events that ends with the signal', async () => {
      const started = defer();
      @Controller()
      class Work {
        @Sse('work')
        @WithLeaseLock('work')
        async run() {
          const { signal } = currentLock()!;
          const shutsDown = fromEvent(signal, 'abort').pipe(
            take(1),
            map(() => ({ data: 'last' })),
          );
          return new Observable((subscriber) => {
            subscriber.add(shutsDown.subscribe(subscriber));
            started.resolve();
          });
        }
      }
      await using fixture = await startLockApp(
        { controllers: [Work] },
        { lock: { shutdownTimeout: 60_000 } },
      );
      const answer = fixture.request('work', ONCE).then((each) => each.text());
      await started.promise;
      await fixture.app.close();
      expect(await answer).toContain('last');
      expect(holderOf(fixture.server, 'work')).toBeUndefined();
    });

    it.each([
      'onModuleDestroy',
      'beforeApplicationShutdown',
      'onApplicationShutdown',
    ] as const)(
      'a queue worker that waits in %s for the job which it runs',
      async (hook) => {
        const started = defer();
        let running: Promise<unknown> = Promise.resolve();
        class Worker {
          constructor() {
            Object.assign(this, { [hook]: () => running });
          }

          @WithLeaseLock('job')
          async run() {
            const { signal } = currentLock()!;
            started.resolve();
            await aborted(signal);
          }
        }
        @Module({ providers: [Worker], exports: [Worker] })
        class Queue {}
        for (const isGlobal of [true, false]) {
          // oxlint-disable-next-line no-await-in-loop -- one application after the other
          await using fixture = await startLockApp(
            isGlobal ? { imports: [Queue] } : { providers: [Worker] },
            { lock: { shutdownTimeout: 60_000, isGlobal } },
          );
          running = fixture.app.get(Worker).run();
          // oxlint-disable-next-line no-await-in-loop
          await started.promise;
          // oxlint-disable-next-line no-await-in-loop
          await fixture.app.close();
          expect(holderOf(fixture.server, 'job')).toBeUndefined();
        }
      },
    );

    it('a request that has nothing to do with locks', async () => {
      const started = defer();
      const slow = defer();
      @Controller()
      class Work {
        @Get('slow')
        async run() {
          started.resolve();
          await slow.promise;
        }
      }
      await using fixture = await startLockApp(
        { controllers: [Work] },
        { lock: { shutdownTimeout: 50 } },
      );
      const lock = await fixture.locks.acquire('held');
      const answer = fixture.request('slow', ONCE);
      await started.promise;
      const released = new Promise<void>((resolve) => {
        fixture.locks.events$.subscribe(
          ({ type }) => type === 'released' && resolve(),
        );
      });
      const closed = fixture.app.close();
      await aborted(lock.signal);
      await expect(fixture.locks.acquire('other')).rejects.toMatchObject({
        reason: 'shutdown',
      });
      await released; // nobody has done so: shutdownTimeout is over
      slow.resolve();
      expect((await answer).status).toBe(200);
      await closed;
    });
  });

  it('takes back an acquisition that it cuts short, be shutdownTimeout 0', async () => {
    await using fixture = await startLockApp(
      {},
      { lock: { shutdownTimeout: 0 } },
    );
    await using lock = await fixture.locks.acquire('job');
    await lock.release();
    using _ = fixture.server.faults.inject(
      { kind: 'hold', when: 'after' },
      { verb: 'update', name: 'job', times: 1 },
    );
    const asked = fixture.server.requests.next({ verb: 'update', name: 'job' });
    const call = Promise.allSettled([fixture.locks.acquire('job')]);
    await asked;
    await fixture.app.close();
    expect(await call).toMatchObject([{ reason: { reason: 'shutdown' } }]);
    expect(holderOf(fixture.server, 'job')).toBeUndefined();
  });

  it('waits no longer than shutdownTimeout for work that goes on', async () => {
    const started = defer();
    const endless = defer();
    class Work {
      @WithLeaseLock('work')
      async run() {
        started.resolve();
        await endless.promise;
      }
    }
    await using server = await LeaseApiServer.start();
    await using fixture = await startLockApp(
      { providers: [Work] },
      { server, lock: { shutdownTimeout: 50 } },
    );
    const work = fixture.app.get(Work).run();
    await started.promise;
    await fixture.app.close();
    expect(holderOf(server, 'work')).toBeUndefined();
    endless.resolve();
    await work;
  });
});

describe('the log', () => {
  const FAST = { leaseDuration: 1_000, renewInterval: 30 };

  it('reports a lost lock', async () => {
    const logger = new WarningLog();
    await using fixture = await startLockApp({}, { logger });
    const lock = await fixture.locks.acquire('job', FAST);
    await fixture.others.forceRelease('job');
    await aborted(lock.signal);
    expect(lock.signal.reason).toBeInstanceOf(LockLostError);
    expect(await logger.next('was lost')).toBe(lock.signal.reason.explanation);
  });

  it('reports an acquisition, a renewal and a release that fail, each once', async () => {
    const logger = new WarningLog();
    await using fixture = await startLockApp({}, { logger });
    const failNext = (verb: 'create' | 'update') =>
      fixture.server.faults.inject(
        { kind: 'status', code: 500 },
        { verb, times: 1 },
      );
    const failedAcquisition = failNext('create');
    const lock = await fixture.locks.acquire('job', FAST);
    expect(failedAcquisition.hits).toBe(1);
    expect(await logger.next('acquire: ')).toContain('"job"');
    failNext('update');
    expect(await logger.next('renew: ')).toContain('"job"');
    lock.assertHeld();
    failNext('update');
    await lock.release();
    expect(await logger.next('release: ')).toContain('"job"');
  });
});
