/** Methods that follow an election, health checks of it, and mistakes. */
import {
  Controller,
  Get,
  Injectable,
  Module,
  Scope,
  SetMetadata,
} from '@nestjs/common';
import { LazyModuleLoader, REQUEST } from '@nestjs/core';
import {
  Cron,
  CronExpression,
  ScheduleModule,
  SchedulerRegistry,
} from '@nestjs/schedule';
import { Test } from '@nestjs/testing';
import { of } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  LockConfigurationError,
  LockNotAcquiredError,
  LockService,
  WithLeaseLock,
} from '../../lib/index.js';
import {
  getLeaderElectionToken,
  InjectLeaderElection,
  LeaderElection,
  LeaderElectionModule,
  LeaderHealthIndicator,
  LeaderOnly,
  OnDeposed,
  OnElected,
} from '../../lib/leader/index.js';
import { K8sLockTestingModule } from '../../lib/testing/index.js';
import { decorateMethod, defer, startLockApp } from '../decorators/lock-app.js';
import { PLATFORMS } from '../decorators/http-clients.js';
import { leads, NAME, Pods, type Pod } from './pods.js';

let pods: Pods;
beforeEach(() => {
  pods = new Pods();
});
afterEach(() => pods[Symbol.asyncDispose]());

@Injectable()
class Stock {
  work: () => unknown = () => undefined;

  @LeaderOnly(NAME)
  async refresh(item: string): Promise<string | undefined> {
    await this.work();
    return `${item} refreshed`;
  }

  @LeaderOnly(NAME, { onLocked: 'throw' })
  async count(): Promise<number> {
    return 3;
  }
}

/** The scheduler calls its jobs. */
async function fire({ module }: Pod): Promise<void> {
  const jobs = module.get(SchedulerRegistry).getCronJobs();
  expect(jobs.size).toBe(2);
  await Promise.all([...jobs.values()].map((job) => job.fireOnTick()));
}

describe('a method under @LeaderOnly()', () => {
  it('runs in the leader only; other calls are skipped, or rejected under throw', async () => {
    const metadata = { providers: [Stock] };
    const one = await pods.startLeader('one', { metadata });
    const two = await pods.startFollower('two', { metadata });
    const leading = one.module.get(Stock);
    const following = two.module.get(Stock);
    expect(await leading.refresh('A')).toBe('A refreshed');
    expect(await leading.count()).toBe(3);
    expect(await following.refresh('A')).toBeUndefined();
    const refused: unknown = await following.count().catch((error) => error);
    expect(refused).toBeInstanceOf(LockNotAcquiredError);
    expect(refused).toMatchObject({ reason: 'held', lock: { name: NAME } });
    await two.module.close();
    await expect(following.count()).rejects.toMatchObject({
      reason: 'shutdown',
    });
  });

  it('is waited for before another process can lead, when the application closes', async () => {
    const metadata = { providers: [Stock] };
    const one = await pods.startLeader('one', { metadata });
    const two = await pods.startFollower('two', { metadata });
    const stock = one.module.get(Stock);
    const work = defer();
    stock.work = () => work.promise;
    const running = stock.refresh('A');
    const closing = one.module.close();
    await pods.settle();
    expect(two.election.isLeader).toBe(false);
    expect(await stock.refresh('B')).toBeUndefined();
    const elected = leads(two);
    work.resolve();
    expect(await running).toBe('A refreshed');
    await Promise.all([closing, elected]);
  });

  it('keeps the name, the length and the metadata of the method, in any order of decorators', async () => {
    const runs: string[] = [];
    class Jobs {
      async run(item: string): Promise<void> {
        runs.push(item);
      }
    }
    decorateMethod(Jobs.prototype, 'run', [
      LeaderOnly(NAME),
      WithLeaseLock('job'),
      SetMetadata('mark', 1),
    ]);
    const run: object = Reflect.get(Jobs.prototype, 'run');
    expect([Reflect.get(run, 'name'), Reflect.get(run, 'length')]).toEqual([
      'run',
      1,
    ]);
    expect(Reflect.getMetadata('mark', run)).toBe(1);
    const one = await pods.startLeader('one', {
      metadata: { providers: [Jobs] },
    });
    await one.module.get(Jobs).run('A');
    pods.controller.assertRanOnce('Jobs.run');
    const two = await pods.startFollower('two', {
      metadata: { providers: [Jobs] },
    });
    await two.module.get(Jobs).run('B');
    expect(runs).toEqual(['A']);
  });

  it('works in instances that Nest did not inject, and in request-scoped ones', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class Scoped {
      @LeaderOnly(NAME)
      async run(): Promise<string | undefined> {
        return 'ran';
      }
    }
    const one = await pods.startLeader('one', {
      metadata: {
        providers: [Scoped, { provide: Stock, useFactory: () => new Stock() }],
      },
    });
    expect(await one.module.get(Stock).count()).toBe(3);
    expect(await (await one.module.resolve(Scoped)).run()).toBe('ran');
    await expect(new Stock().count()).rejects.toThrow(
      'Stock.count has no LockService, so it did not run',
    );
  });

  it('runs under @Cron in the leader only, in any order of the decorators', async () => {
    const runs: string[] = [];
    class Jobs {
      async above(): Promise<void> {
        runs.push('above');
      }

      async below(): Promise<void> {
        runs.push('below');
      }
    }
    const cron = Cron(CronExpression.EVERY_YEAR);
    decorateMethod(Jobs.prototype, 'above', [cron, LeaderOnly(NAME)]);
    decorateMethod(Jobs.prototype, 'below', [LeaderOnly(NAME), cron]);
    const metadata = { imports: [ScheduleModule.forRoot()], providers: [Jobs] };
    const one = await pods.startLeader('one', { metadata });
    const two = await pods.startFollower('two', { metadata });
    await fire(two);
    expect(runs).toEqual([]);
    await fire(one);
    expect(runs.toSorted()).toEqual(['above', 'below']);
  });

  it('refuses a result whose work would run later', async () => {
    class Jobs {
      @LeaderOnly(NAME, { onLocked: 'throw' })
      async stream(): Promise<unknown> {
        return of(1);
      }
    }
    const one = await pods.startLeader('one', {
      metadata: { providers: [Jobs] },
    });
    await expect(one.module.get(Jobs).stream()).rejects.toThrow(
      'returned an Observable',
    );
  });

  it.each(Object.entries(PLATFORMS))(
    'answers 204 on a route that is skipped, and 423 with Retry-After under throw: %s',
    async (_, adapter) => {
      @Controller('stock')
      class StockController {
        @Get('refresh')
        @LeaderOnly(NAME)
        async refresh(): Promise<string | undefined> {
          return 'refreshed';
        }

        @Get('count')
        @LeaderOnly(NAME, { onLocked: 'throw' })
        async count(): Promise<number> {
          return 3;
        }
      }
      const metadata = {
        imports: [LeaderElectionModule.forFeature(NAME)],
        controllers: [StockController],
      };
      await using one = await startLockApp(metadata, { adapter: adapter() });
      const election: LeaderElection = one.app.get(
        getLeaderElectionToken(NAME),
      );
      await election.whenLeader(() => undefined);
      await using two = await startLockApp(metadata, {
        server: one.server,
        adapter: adapter(),
      });
      const answers = async (pod: typeof one) => {
        const both = [
          await pod.request('stock/refresh'),
          await pod.request('stock/count'),
        ];
        return both.map(({ status, headers }) => [
          status,
          headers.get('retry-after'),
        ]);
      };
      expect(await answers(one)).toEqual([
        [200, null],
        [200, null],
      ]);
      expect(await answers(two)).toEqual([
        [204, null],
        [423, '1'],
      ]);
    },
  );
});

describe('methods under @OnElected() and @OnDeposed()', () => {
  it('are called on providers of any module, inherited ones too, with the instance as this', async () => {
    const calls: string[] = [];
    class Base {
      readonly own: string = 'base';

      @OnElected(NAME)
      begin(): void {
        calls.push(`${this.own} begins`);
      }

      @OnDeposed(NAME)
      end(): void {
        calls.push(`${this.own} ends`);
        throw new Error('own error');
      }
    }
    @Injectable()
    class Derived extends Base {
      override readonly own = 'derived';
    }
    @Module({ providers: [Derived] })
    class OtherModule {}

    const one = await pods.startLeader('one', {
      metadata: { imports: [OtherModule] },
    });
    await one.module.close();
    expect(calls).toEqual(['derived begins', 'derived ends']);
    expect(pods.log.errors).toEqual(['Derived.end has failed']);
  });
});

describe('several elections', () => {
  it('are independent, and each is injected by its name', async () => {
    @Injectable()
    class Both {
      constructor(
        @InjectLeaderElection(NAME) readonly one: LeaderElection,
        @InjectLeaderElection('other') readonly other: LeaderElection,
      ) {}
    }
    const pod = await pods.startLeader('one', {
      metadata: {
        imports: [LeaderElectionModule.forFeature('other')],
        providers: [Both],
      },
    });
    const both = pod.module.get(Both);
    await both.other.whenLeader(() => undefined);
    expect([both.one, both.other].map(({ name }) => name)).toEqual([
      NAME,
      'other',
    ]);
    await pods.controller.stealFrom('other');
    expect([both.one.isLeader, both.other.isLeader]).toEqual([true, false]);
  });
});

describe('LeaderHealthIndicator', () => {
  it('is up for the leader and those in line, and down while the process can not contend', async () => {
    const metadata = { providers: [LeaderHealthIndicator] };
    const work = defer();
    const one = await pods.startLeader('one', {
      metadata,
      work: () => work.promise,
    });
    const two = await pods.startFollower('two', { metadata });
    const ask = ({ module }: typeof one) =>
      module.get(LeaderHealthIndicator).isHealthy(NAME)[NAME];
    expect(ask(one)).toEqual({ status: 'up', isLeader: true });
    expect(ask(two)).toEqual({ status: 'up', isLeader: false });
    await pods.controller.expireNow(NAME);
    expect(ask(one)).toEqual({
      status: 'down',
      isLeader: false,
      reason: 'ending',
    });
    work.resolve();
    await pods.settle();
    expect(ask(one)).toEqual({ status: 'up', isLeader: false });
    expect(ask(two)).toEqual({ status: 'up', isLeader: true });
  });

  it('is down during the pause after a failure', async () => {
    const one = await pods.start('one', {
      metadata: { providers: [LeaderHealthIndicator] },
      work: () => {
        throw new Error('no queue');
      },
    });
    const indicator = one.module.get(LeaderHealthIndicator);
    await pods.controller.advance(10);
    expect(indicator.isHealthy(NAME, 'leader')).toEqual({
      leader: { status: 'down', isLeader: false, reason: 'failing' },
    });
    expect(() => indicator.isHealthy('other')).toThrow(
      'there is no election "other": the elections are "dispatcher"',
    );
  });
});

const forFeature = (...args: unknown[]): unknown =>
  Reflect.apply(
    Reflect.get(LeaderElectionModule, 'forFeature'),
    LeaderElectionModule,
    args,
  );

const startWith = async (
  providers: NonNullable<Parameters<Pods['start']>[1]>['metadata'] = {},
): Promise<unknown> =>
  pods.start('one', { metadata: providers }).catch((error) => error.message);

const SYMBOL = Symbol('own');
const use = (decorator: Function, target: object, key: string | symbol) => () =>
  Reflect.apply(decorator, undefined, [
    target,
    key,
    Object.getOwnPropertyDescriptor(target, key),
  ]);

describe('a mistake', () => {
  it.each([
    [[], 'the name of an election must be a non-empty string'],
    [[''], 'not ""'],
    [[NAME, 5], 'the election "dispatcher": the options must be an object'],
    [
      [NAME, { leaseDuration: 10 }],
      'the election "dispatcher": leaseDuration must be whole seconds',
    ],
    [
      [NAME, { waitTimeout: 5 }],
      'the election "dispatcher": "waitTimeout" is not an option; the options are namespace, leaseDuration, renewInterval, safetyMargin, retryInterval, createLease',
    ],
  ])('in the arguments %j of forFeature() is refused', (args, fault) => {
    expect(() => forFeature(...args)).toThrow(LockConfigurationError);
    expect(() => forFeature(...args)).toThrow(fault);
  });

  it('with the options of the module keeps the application from starting', async () => {
    const starting = pods.start('one', { lock: { leaseDuration: 'infinite' } });
    await expect(starting).rejects.toThrow(
      'the election "dispatcher": leaseDuration must be a number of milliseconds, not "infinite"',
    );
    const contradicting = pods.start('two', {
      options: { renewInterval: 20_000 },
    });
    await expect(contradicting).rejects.toThrow(
      'the election "dispatcher": renewInterval must be at most',
    );
  });

  it('with an election that is registered twice, or not at all, keeps the application from starting', async () => {
    expect(
      await startWith({ imports: [LeaderElectionModule.forFeature(NAME)] }),
    ).toContain('the election "dispatcher" is registered twice');
    class Jobs {
      @OnElected('other')
      begin(): void {}

      @LeaderOnly('third')
      async run(): Promise<void> {}
    }
    const message = await startWith({ providers: [Jobs] });
    expect(message).toContain(
      'Jobs.begin: @OnElected() names the election "other", which is not registered; the elections are "dispatcher"',
    );
    expect(message).toContain('Jobs.run: @LeaderOnly() names');
  });

  it('with an election in a module that is loaded lazily keeps the module from loading', async () => {
    const one = await pods.startLeader('one');
    @Module({ imports: [LeaderElectionModule.forFeature('late')] })
    class LateModule {}
    await expect(
      one.module.get(LazyModuleLoader).load(() => LateModule),
    ).rejects.toThrow('the election "late" would never begin');
  });

  it('with options that each request makes anew is refused to all requests', async () => {
    const one = await pods.start('one', {
      metadata: {
        imports: [
          LeaderElectionModule.forFeatureAsync('scoped', {
            inject: [REQUEST],
            useFactory: () => ({}),
          }),
        ],
      },
    });
    const token = getLeaderElectionToken('scoped');
    for (let requests = 0; requests < 2; requests += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await expect(one.module.resolve(token)).rejects.toThrow(
        'the election "scoped" would never begin',
      );
    }
  });

  it('with a listener in a class of many instances keeps the application from starting', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class Scoped {
      @OnElected(NAME)
      begin(): void {}
    }
    @Injectable({ scope: Scope.TRANSIENT })
    class Transient {
      @OnDeposed(NAME)
      end(): void {}
    }
    const message = await startWith({ providers: [Scoped, Transient] });
    expect(message).toContain('Scoped.begin: @OnElected() is for classes');
    expect(message).toContain('Transient.end: @OnDeposed() is for classes');
  });

  it('in the use of a decorator is refused at once', () => {
    class Jobs {
      static run(): void {}
      run(): void {}
      [SYMBOL](): void {}
      get value(): number {
        return 1;
      }
    }
    const { prototype } = Jobs;
    expect(use(OnElected(NAME), prototype, SYMBOL)).toThrow(
      '@OnElected() cannot be applied to Jobs[Symbol(own)]: it is for methods with a name',
    );
    expect(use(OnElected, prototype, 'run')).toThrow(
      '@OnElected was used without parentheses on Jobs.run, which would never be called: write @OnElected(…)',
    );
    expect(use(LeaderOnly, prototype, 'run')).toThrow(
      'which would run in each pod: write @LeaderOnly(…)',
    );
    expect(use(OnDeposed(NAME), Jobs, 'run')).toThrow(
      '@OnDeposed() cannot be applied to Jobs.run: it is for methods of instances, not for classes or static methods',
    );
    expect(use(LeaderOnly(NAME), prototype, 'value')).toThrow(
      '@LeaderOnly() cannot be applied to Jobs.value',
    );
    expect(() =>
      Reflect.apply(LeaderOnly, undefined, [NAME, { onLocked: 'wait' }]),
    ).toThrow("onLocked must be 'skip' or 'throw', not \"wait\"");
  });
});

it('never leads with a stub of LockService', async () => {
  const module = await Test.createTestingModule({
    imports: [
      K8sLockTestingModule.forRoot(),
      LeaderElectionModule.forFeature(NAME),
    ],
    providers: [Stock],
  })
    .overrideProvider(LockService)
    .useValue({ withLock: (_: string, work: () => unknown) => work() })
    .compile();
  await module.init();
  const election: LeaderElection = module.get(getLeaderElectionToken(NAME));
  expect(election.isLeader).toBe(false);
  expect(await module.get(Stock).refresh('A')).toBeUndefined();
  const waiting = election.whenLeader(() => 1);
  const refused = Promise.allSettled([waiting]);
  await module.close();
  expect(await refused).toMatchObject([{ reason: { reason: 'shutdown' } }]);
});
