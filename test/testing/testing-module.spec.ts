/** K8sLockTestingModule: locks in memory, by the engine and the rules of production, in real Nest applications. */
import { Injectable, Module } from '@nestjs/common';
import { Cron, ScheduleModule } from '@nestjs/schedule';
import { Test, type TestingModule } from '@nestjs/testing';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  K8sLockModule,
  LockBackendError,
  LockConfigurationError,
  LockNotAcquiredError,
  LockService,
  WithLeaseLock,
  type LeaseLock,
} from '../../lib/index.js';
import {
  K8sLockTestingModule,
  LockTestingController,
  type K8sLockTestingOptions,
  type LockTestingFailure,
} from '../../lib/testing/index.js';
import { outcomeOf } from '../lock/processes.js';

@Injectable()
class Reports {
  runs = 0;
  work: (lock?: LeaseLock) => Promise<void> = async () => undefined;

  @Cron('0 3 * * *')
  @WithLeaseLock('nightly-report')
  async nightly(): Promise<string | undefined> {
    await this.work();
    return `run ${++this.runs}`;
  }

  @WithLeaseLock('stock')
  @WithLeaseLock('import')
  async importAll(): Promise<number> {
    return ++this.runs;
  }

  @WithLeaseLock('fails')
  async fails(): Promise<void> {
    throw new Error('own error');
  }
}

const opened: TestingModule[] = [];
afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(opened.splice(0).map((module) => module.close()));
});

async function open(
  imports: Parameters<typeof Test.createTestingModule>[0]['imports'],
): Promise<TestingModule> {
  const module = await Test.createTestingModule({
    imports,
    providers: [Reports],
  }).compile();
  opened.push(module);
  return module.init();
}

/** An application with locks in memory, whose time stands still. */
async function start(options?: K8sLockTestingOptions) {
  const module = await open([K8sLockTestingModule.forRoot(options)]);
  const controller = module.get(LockTestingController);
  controller.stopTime();
  return {
    module,
    controller,
    locks: module.get(LockService),
    reports: module.get(Reports),
  };
}

describe('the module', () => {
  it('runs decorated methods and LockService, and keeps others out', async () => {
    const { locks, reports, controller } = await start();
    expect(await reports.nightly()).toBe('run 1');
    await locks.withLock('import', async (lock) => {
      expect(lock.isHeld).toBe(true);
      expect(await locks.tryAcquire('import')).toBeUndefined();
    });
    const [first] = await locks.list();
    expect(first).toMatchObject({ name: 'import', state: 'free' });
    controller.assertRanOnce('Reports.nightly');
  });

  it('takes the locks of an application into memory, whose module has options of its own', async () => {
    @Module({
      imports: [
        K8sLockModule.forRootAsync({
          useFactory: () => ({ namespace: 'jobs', namePrefix: 'test-' }),
        }),
      ],
    })
    class AppModule {}

    const module = await open([
      AppModule,
      K8sLockTestingModule.forApplication(),
    ]);
    const lock = await module.get(LockService).acquire('import');
    expect(lock).toMatchObject({
      namespace: 'jobs',
      leaseName: 'test-import',
    });
    await module.get(LockTestingController).stealFrom('import');
    expect(lock.signal.reason).toMatchObject({ reason: 'taken' });
    await lock.release();
  });

  it('stands in for the very module that an application imports', async () => {
    const locks = K8sLockModule.forRoot({ namespace: 'jobs' });

    @Module({ imports: [locks], providers: [Reports], exports: [Reports] })
    class AppModule {}

    const module = await Test.createTestingModule({ imports: [AppModule] })
      .overrideModule(locks)
      .useModule(K8sLockTestingModule.forRoot({ namespace: 'test' }))
      .compile();
    opened.push(await module.init());
    expect(await module.get(Reports).nightly()).toBe('run 1');
    module.get(LockTestingController).assertRanOnce('nightly-report');
  });

  it('refuses to stand beside a module whose locks would not be in memory', async () => {
    const compiled = Test.createTestingModule({
      imports: [K8sLockModule.forRoot(), K8sLockTestingModule.forRoot()],
    }).compile();
    await expect(compiled).rejects.toThrow(
      'import K8sLockTestingModule.forApplication()',
    );
  });

  it.each(['kubeConfig', 'inCluster'])('refuses the option %s', (name) => {
    expect(() => K8sLockTestingModule.forRoot({ [name]: true })).toThrow(
      LockConfigurationError,
    );
    expect(() => K8sLockTestingModule.forRoot({ [name]: true })).toThrow(name);
  });

  it('validates options as K8sLockModule does', async () => {
    await expect(
      open([K8sLockTestingModule.forRoot({ leaseDuration: 1 })]),
    ).rejects.toThrow('leaseDuration must be');
  });

  it('is global, or not', async () => {
    const inner = K8sLockTestingModule.forRoot({ isGlobal: false });
    expect([inner.global, K8sLockTestingModule.forRoot().global]).toEqual([
      false,
      true,
    ]);
    const module = await open([inner]);
    expect(await module.get(Reports).nightly()).toBe('run 1');
  });

  it('shares locks among the applications of one controller', async () => {
    const controller = new LockTestingController();
    const [one, two] = await Promise.all(
      [1, 2].map(() => open([K8sLockTestingModule.forRoot({}, controller)])),
    );
    await using _ = await one!.get(LockService).acquire('import');
    expect(await two!.get(LockService).tryAcquire('import')).toBeUndefined();
    const other = await open([K8sLockTestingModule.forRoot()]);
    await using own = await other.get(LockService).tryAcquire('import');
    expect(own?.isHeld).toBe(true);
  });
});

describe('holdElsewhere()', () => {
  it('makes calls skip, until it is released', async () => {
    const { reports, controller } = await start();
    const release = await controller.holdElsewhere('nightly-report');
    const skipped = reports.nightly();
    await controller.advance(15_000);
    expect(await skipped).toBeUndefined();
    controller.assertSkipped('nightly-report', 'held');
    controller.assertSkipped('Reports.nightly');
    controller.assertRan('Reports.nightly', 0);
    await release();
    expect(await reports.nightly()).toBe('run 1');
    controller.assertRanOnce('nightly-report');
  });

  it('holds for as long as time goes on, and lets waiters in at once', async () => {
    const { locks, controller } = await start();
    const release = await controller.holdElsewhere('import');
    const call = outcomeOf(locks.acquire('import'));
    await controller.advance(120_000);
    expect(call.state).toBe('pending');
    await release();
    await controller.advance(0);
    expect(call.value?.isHeld).toBe(true);
  });

  it('refuses a lock that is held', async () => {
    const { locks, controller } = await start();
    await using _ = await locks.acquire('import');
    await expect(controller.holdElsewhere('import')).rejects.toThrow(
      /Lock "import" can't be held elsewhere, since it is held by .+: use stealFrom\(\)/,
    );
  });

  it('is of the namespace that it names', async () => {
    const { locks, controller } = await start({ namespace: 'jobs' });
    await controller.holdElsewhere('import', { namespace: 'other' });
    const lock = await locks.tryAcquire('import');
    expect(lock?.isHeld).toBe(true);
    expect(
      await locks.tryAcquire('import', { namespace: 'other' }),
    ).toBeUndefined();
  });
});

describe('a slot of a semaphore', () => {
  it('is held elsewhere, expires and is stolen as a lock', async () => {
    const { locks, controller } = await start();
    const pool = locks.semaphore('pool', { permits: 2 });
    const release = await controller.holdElsewhere('pool', { slot: 1 });
    const lock = await pool.acquire();
    expect(lock.slot).toBe(0);
    expect(await pool.tryAcquire()).toBeUndefined();
    await release();
    const other = await pool.tryAcquire();
    expect(other?.slot).toBe(1);
    await controller.stealFrom('pool', { slot: 1 });
    expect([lock.isHeld, other?.isHeld]).toEqual([true, false]);
    await controller.expireNow('pool', { slot: 0 });
    expect(lock.signal.reason).toMatchObject({ reason: 'deadline' });
    controller.failNext('unavailable', { name: 'pool', slot: 0, times: 1 });
    await expect(
      locks.semaphore('pool', { permits: 2 }).tryAcquire(),
    ).rejects.toBeInstanceOf(LockBackendError);
  });
});

describe('stealFrom()', () => {
  it('takes the lock from its holder, who knows at once', async () => {
    const { locks, controller } = await start();
    const lock = await locks.acquire('import');
    const giveBack = await controller.stealFrom('import');
    expect(lock.isHeld).toBe(false);
    expect(lock.signal.reason).toMatchObject({ reason: 'taken' });
    expect(await locks.tryAcquire('import')).toBeUndefined();
    await controller.advance(120_000);
    expect(await locks.tryAcquire('import')).toBeUndefined();
    await giveBack();
    await giveBack();
    expect((await locks.acquire('import')).isHeld).toBe(true);
  });

  it('refuses a lock that is free', async () => {
    const { controller } = await start();
    await expect(controller.stealFrom('import')).rejects.toThrow(
      'Lock "import" (Lease default/import) is free: use holdElsewhere()',
    );
  });
});

describe('expireNow()', () => {
  it('lets a lock expire, and no other', async () => {
    const { locks, controller } = await start();
    const lock = await locks.acquire('import');
    const other = await locks.acquire('other');
    await controller.expireNow('import');
    expect(lock.signal.reason).toMatchObject({ reason: 'deadline' });
    expect([lock.isHeld, other.isHeld]).toEqual([false, true]);
    const next = await locks.acquire('import');
    expect(next.isHeld).toBe(true);
    await controller.advance(60_000);
    expect(next.isHeld).toBe(true);
  });

  it('lets another pod die, whose lock the next call takes', async () => {
    const { locks, controller } = await start();
    const release = await controller.holdElsewhere('import');
    const waiting = outcomeOf(locks.acquire('import', { waitTimeout: 20_000 }));
    await controller.expireNow('import');
    await controller.advance(1_000);
    expect(waiting.value?.isHeld).toBe(true);
    await release();
    expect(waiting.value?.isHeld).toBe(true);
  });

  it('lets a call that comes later take it at once', async () => {
    const { locks, controller } = await start();
    await controller.holdElsewhere('import');
    await controller.expireNow('import');
    expect((await locks.acquire('import')).isHeld).toBe(true);
  });

  it('refuses a lock that is free, or that does not expire', async () => {
    const { locks, controller } = await start();
    await expect(controller.expireNow('import')).rejects.toThrow(
      'is free: nothing can expire',
    );
    await locks.acquire('import', { leaseDuration: 'infinite' });
    await expect(controller.expireNow('import')).rejects.toThrow(
      'does not expire by itself',
    );
  });
});

describe('failNext()', () => {
  it.each<[LockTestingFailure, string]>([
    ['conflict', 'conflict'],
    ['forbidden', 'forbidden'],
    ['unauthorized', 'unauthorized'],
    ['throttled', 'throttled'],
    ['unavailable', 'server'],
    ['network', 'network'],
    ['timeout', 'timeout'],
  ])('%s: the next request fails so', async (failure, reason) => {
    const { locks, controller } = await start();
    controller.failNext(failure);
    const failed: unknown = await locks
      .inspect('import')
      .catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(LockBackendError);
    expect(failed).toMatchObject({ reason });
    expect(await locks.inspect('import')).toMatchObject({ state: 'free' });
  });

  it('makes a call wait for the retry, or fail where a retry is useless', async () => {
    const { locks, controller } = await start();
    controller.failNext('unavailable', { times: 2 });
    const call = outcomeOf(locks.acquire('import'));
    await controller.advance(10_000);
    expect(call.value?.isHeld).toBe(true);
    controller.failNext('forbidden');
    await expect(locks.acquire('other')).rejects.toMatchObject({
      reason: 'forbidden',
    });
  });

  it('is of the lock and the verb that it names, until it is ended', async () => {
    const { locks, controller } = await start({ namePrefix: 'test-' });
    const lock = await locks.acquire('import');
    const other = await locks.acquire('other');
    const heal = controller.failNext('unavailable', {
      name: 'import',
      verb: ['update', 'patch'],
      times: Infinity,
    });
    await controller.advance(10_000);
    heal();
    await controller.advance(2_000);
    expect([lock.isHeld, other.isHeld]).toEqual([true, true]);
    controller.failNext('unavailable', { name: 'import', times: Infinity });
    await controller.advance(15_000);
    expect([lock.isHeld, other.isHeld]).toEqual([false, true]);
  });

  it('spares what the controller does itself', async () => {
    const { locks, controller } = await start();
    const lock = await locks.acquire('import');
    controller.failNext('unavailable', { times: Infinity });
    await controller.holdElsewhere('other');
    await controller.stealFrom('import');
    expect(lock.isHeld).toBe(false);
  });
});

describe('time', () => {
  it('passes in waits, holds and renewals, and only when told', async () => {
    const { locks, controller } = await start();
    await controller.holdElsewhere('import');
    const call = outcomeOf(locks.acquire('import', { waitTimeout: 5_000 }));
    await controller.advance(4_999);
    expect(call.state).toBe('pending');
    await controller.advance(1);
    expect(call.reason).toBeInstanceOf(LockNotAcquiredError);

    const lock = await locks.acquire('short', { maxHold: 30_000 });
    await controller.advance(29_999);
    expect(lock.isHeld).toBe(true);
    await controller.advance(1);
    expect(lock.signal.reason).toMatchObject({ reason: 'max-hold' });

    await (await locks.acquire('kept', { minHold: 60_000 })).release();
    expect(await locks.tryAcquire('kept')).toBeUndefined();
    await controller.advance(61_000);
    expect((await locks.acquire('kept')).isHeld).toBe(true);
  });

  it('goes on by itself until it is stopped', async () => {
    const module = await open([K8sLockTestingModule.forRoot()]);
    const locks = module.get(LockService);
    const controller = module.get(LockTestingController);
    await controller.holdElsewhere('import');
    await expect(locks.acquire('import', { waitTimeout: 20 })).rejects.toThrow(
      LockNotAcquiredError,
    );
    const lock = await locks.acquire('other', { leaseDuration: 1_000 });
    await controller.advance(10_000);
    expect(lock.isHeld).toBe(true);
    const call = outcomeOf(locks.acquire('import', { waitTimeout: 5_000 }));
    await controller.advance(5_100);
    expect(call.state).toBe('rejected');
  });

  it('goes on from where it was moved to', async () => {
    const module = await open([K8sLockTestingModule.forRoot()]);
    const controller = module.get(LockTestingController);
    await controller.holdElsewhere('import');
    const call = module
      .get(LockService)
      .acquire('import', { waitTimeout: 600_000 });
    const ended = call.catch((error: unknown) => error);
    await controller.advance(599_900);
    expect(await ended).toBeInstanceOf(LockNotAcquiredError);
  });

  it('stands still when one of several applications closes, which waits for nothing', async () => {
    const controller = new LockTestingController();
    const one = await open([K8sLockTestingModule.forRoot({}, controller)]);
    const two = await open([K8sLockTestingModule.forRoot({}, controller)]);
    controller.stopTime();
    const lock = await one.get(LockService).acquire('import');
    const next = two.get(LockService).acquire('import');
    await one.close();
    expect(lock.isHeld).toBe(false);
    await controller.advance(1_000);
    expect((await next).isHeld).toBe(true);
    const kept = await two
      .get(LockService)
      .acquire('kept', { autoRenew: false });
    await controller.advance(13_499);
    expect(kept.isHeld).toBe(true);
    await controller.advance(1);
    expect(kept.isHeld).toBe(false);
  });

  it('goes on when the last application closes', async () => {
    const { module, locks, controller } = await start({ shutdownTimeout: 20 });
    const lock = await locks.acquire('import');
    const [one] = opened;
    expect(one).toBe(module);
    await module.close();
    expect(lock.isHeld).toBe(false);
    expect(controller.events.at(-1)?.type).toBe('released');
  });

  it('is that of fake timers', async () => {
    vi.useFakeTimers();
    const module = await open([K8sLockTestingModule.forRoot()]);
    const locks = module.get(LockService);
    const controller = module.get(LockTestingController);
    await controller.holdElsewhere('import');
    const call = outcomeOf(locks.acquire('import', { waitTimeout: 5_000 }));
    const lock = await locks.acquire('other');
    await vi.advanceTimersByTimeAsync(4_999);
    expect(call.state).toBe('pending');
    await vi.advanceTimersByTimeAsync(1);
    expect(call.state).toBe('rejected');
    await vi.advanceTimersByTimeAsync(60_000);
    expect(lock.isHeld).toBe(true);
    await controller.advance(60_000);
    expect(lock.isHeld).toBe(true);
    await module.close();
    expect(lock.isHeld).toBe(false);
  });

  it('goes on where it was when fake timers come and go', async () => {
    const module = await open([K8sLockTestingModule.forRoot()]);
    const locks = module.get(LockService);
    const controller = module.get(LockTestingController);
    const lock = await locks.acquire('import', { autoRenew: false });
    vi.useFakeTimers();
    await controller.advance(13_000);
    expect(lock.isHeld).toBe(true);
    await controller.advance(1_000);
    expect(lock.signal.reason).toMatchObject({ reason: 'deadline' });
    await controller.advance(2_000);
    const next = await locks.acquire('import');
    await vi.advanceTimersByTimeAsync(60_000);
    vi.useRealTimers();
    expect(next.isHeld).toBe(true);
    await controller.advance(60_000);
    expect(next.isHeld).toBe(true);
  });

  it.each([-1, NaN, Infinity])('does not move by %s', async (milliseconds) => {
    const { controller } = await start();
    await expect(controller.advance(milliseconds)).rejects.toThrow(
      'advance() needs a number of milliseconds, 0 or more',
    );
  });
});

describe('the assertions', () => {
  it('count the runs of a method, whatever locks it has and however it ends', async () => {
    const { reports, controller } = await start();
    await reports.importAll();
    controller.assertRanOnce('Reports.importAll');
    controller.assertRanOnce('stock');
    await reports.importAll();
    controller.assertRan('Reports.importAll', 2);
    await expect(reports.fails()).rejects.toThrow('own error');
    controller.assertRanOnce('Reports.fails');
    controller.clearEvents();
    controller.assertRan('Reports.fails', 0);
  });

  it('say what happened', async () => {
    const { reports, controller } = await start();
    expect(() => controller.assertRanOnce('nightly-report')).toThrow(
      '"nightly-report" ran 0 times, not once. Nothing happened to any lock.',
    );
    await reports.nightly();
    await reports.nightly();
    expect(() => controller.assertRanOnce('nightly-report')).toThrow(
      /"nightly-report" ran 2 times, not once\. What happened:\n {2}acquired: lock "nightly-report" by Reports\.nightly\n/,
    );
    expect(() => controller.assertRanOnce('nigthly')).toThrow(
      'No event names it; the events name "Reports.nightly", "nightly-report".',
    );
    expect(() => controller.assertSkipped('nightly-report', 'held')).toThrow(
      '"nightly-report" was not skipped because of "held". What happened:',
    );
    expect(() => controller.assertSkipped('nightly-report')).toThrow(
      '"nightly-report" was not skipped. What happened:',
    );
  });

  it('do not take a call that gave its locks back for a run', async () => {
    const { reports, controller } = await start();
    await controller.holdElsewhere('stock');
    const call = outcomeOf(reports.importAll());
    await controller.advance(10_000);
    expect(call.reason).toBeInstanceOf(LockNotAcquiredError);
    controller.assertRan('import', 0);
    expect(controller.events.map(({ type }) => type)).toContain('acquired');
  });
});

describe('the controller', () => {
  it.each<[string, unknown[], string]>([
    ...(['holdElsewhere', 'stealFrom', 'expireNow'] as const).flatMap(
      (method): [string, unknown[], string][] => [
        [method, [], 'a lock name must be a non-empty string'],
        [method, [''], 'a lock name must be a non-empty string'],
        [method, ['a', { slot: -1 }], 'slot must be a whole number from 0'],
        [method, ['a', { slot: 100 }], 'slot must be a whole number from 0'],
        [method, ['a', { slot: 0.5 }], 'to 99, not 0.5'],
        [method, ['a', { slots: 1 }], 'the options are namespace, slot'],
        [method, ['a', { namespace: 'A' }], 'namespace must be'],
        [method, ['a', 1], `the options of ${method}() must be an object`],
      ],
    ),
    ['failNext', ['down'], 'the failure must be one of conflict, '],
    ['failNext', ['timeout', null], 'the options of failNext() must be'],
    ['failNext', ['timeout', { names: 'a' }], '"names" is not an option'],
    ['failNext', ['timeout', { name: '' }], 'name must be a non-empty string'],
    ['failNext', ['timeout', { slot: 1.5 }], 'slot must be a whole number'],
    ['failNext', ['timeout', { verb: 'put' }], 'verb must be one or more of'],
    ['failNext', ['timeout', { verb: [] }], 'verb must be one or more of get'],
    ['failNext', ['timeout', { times: 0 }], 'times must be a whole number'],
    ['failNext', ['timeout', { times: NaN }], 'from 1, or Infinity, not NaN'],
    ['assertRan', ['a'], 'the number of runs must be a whole number from 0'],
    ['assertRan', ['a', -1], 'not -1'],
  ])('%s() refuses %j: %s', async (method, given, fault) => {
    const { controller } = await start();
    const call = async (): Promise<unknown> =>
      Reflect.apply(Reflect.get(controller, method), controller, given);
    await expect(call()).rejects.toThrow(LockConfigurationError);
    await expect(call()).rejects.toThrow(fault);
  });

  it('says that no application uses it', async () => {
    const controller = new LockTestingController();
    expect(() => controller.failNext('timeout')).toThrow(
      'no application uses this LockTestingController',
    );
    const { module, controller: used } = await start();
    await used.holdElsewhere('import');
    await module.close();
    await expect(used.holdElsewhere('import')).rejects.toThrow(
      'no application uses this LockTestingController',
    );
  });
});

it('runs scheduled jobs, once per fire', async () => {
  const module = await open([
    ScheduleModule.forRoot(),
    K8sLockTestingModule.forRoot(),
  ]);
  const reports = module.get(Reports);
  expect(await reports.nightly()).toBe('run 1');
  module.get(LockTestingController).assertRanOnce('Reports.nightly');
});
