/** The order in which an application closes, and what it logs about locks while it runs. */
import { once } from 'node:events';
import {
  Injectable,
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
import { describe, expect, it } from 'vitest';
import {
  currentLock,
  LockLostError,
  LockNotAcquiredError,
  WithLeaseLock,
  type LockEvent,
} from '../../lib/index.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { defer, startLockApp, WarningLog } from '../decorators/lock-app.js';

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

describe('shutdown', () => {
  it('stops schedulers, closes HTTP, asks the work to stop, and releases last', async () => {
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
        await once(signal, 'abort');
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
      'beforeApplicationShutdown',
      'HTTP closed',
      'onApplicationShutdown',
      'asked to stop: shutdown',
      'still held',
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
      { logger: log },
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

  it('tells of a lock that was lost', async () => {
    const logger = new WarningLog();
    await using fixture = await startLockApp({}, { logger });
    const lock = await fixture.locks.acquire('job', FAST);
    const aborted = once(lock.signal, 'abort');
    await fixture.others.forceRelease('job');
    await aborted;
    expect(lock.signal.reason).toBeInstanceOf(LockLostError);
    expect(await logger.next('was lost')).toBe(lock.signal.reason.message);
  });

  it('tells of a renewal and of a release that fail, and not of an acquisition', async () => {
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
    expect(logger.warnings).toEqual([]);
    failNext('update');
    expect(await logger.next('renew: ')).toContain('"job"');
    lock.assertHeld();
    failNext('update');
    await lock.release();
    expect(await logger.next('release: ')).toContain('"job"');
  });
});
