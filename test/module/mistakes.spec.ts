/** The module and the decorators, used wrongly where no compiler has said so: what the error says. */
import { Controller, Get, Module, UseInterceptors } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { describe, expect, it } from 'vitest';
import { LockHealthIndicator } from '../../lib/health/index.js';
import {
  HeldLock,
  K8sLockModule,
  LeaseLockInterceptor,
  LockConfigurationError,
  LockService,
  WithLeaseLock,
} from '../../lib/index.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { startLockApp } from '../decorators/lock-app.js';

async function faultsOf(work: () => unknown): Promise<unknown> {
  try {
    return await work();
  } catch (error) {
    return error instanceof LockConfigurationError ? error.faults : error;
  }
}

/** As a program without types calls it. */
function callModule(method: string, ...args: readonly unknown[]): any {
  return Reflect.apply(Reflect.get(K8sLockModule, method), K8sLockModule, args);
}

const start = (module: any) => async (): Promise<unknown> =>
  Test.createTestingModule({ imports: [module] }).compile();

const decorate = (
  decorator: any,
  ...args: readonly unknown[]
): Promise<unknown> =>
  faultsOf(() => Reflect.apply(decorator, undefined, args));

function makeConfig(): object {
  return {};
}

class KubeConfig {
  readonly clusters = [];
}

const BARE_INTERCEPTOR: any = LeaseLockInterceptor;

describe('the module says what is wrong', () => {
  it('imported without forRoot()', async () => {
    expect(await faultsOf(start(K8sLockModule))).toEqual([
      expect.stringMatching(
        /^K8sLockModule is imported without options: import K8sLockModule\.forRoot\(\) or K8sLockModule\.forRootAsync\(\)/,
      ),
    ]);
  });

  it.each<[unknown, string]>([
    [5, '5'],
    [null, 'null'],
    ['jobs', '"jobs"'],
    [Promise.resolve({}), 'a Promise: await it'],
    [() => ({}), 'a function: pass its result'],
  ])('given no options: %#', async (options, shown) => {
    expect(await faultsOf(() => callModule('forRoot', options))).toEqual([
      `the argument of forRoot() must be an object with options, not ${shown}`,
    ]);
  });

  it.each(['no', 1, null])('isGlobal: %j', async (isGlobal) => {
    const fault = `isGlobal must be true or false, not ${JSON.stringify(isGlobal)}`;
    expect(await faultsOf(() => callModule('forRoot', { isGlobal }))).toEqual([
      fault,
    ]);
    expect(
      await faultsOf(() =>
        callModule('forRootAsync', {
          isGlobal,
          useFactory: () => ({}),
        }),
      ),
    ).toEqual([fault]);
  });

  it.each<[unknown, string]>([
    [
      undefined,
      'the argument of forRootAsync() must be an object with options, not undefined',
    ],
    [
      {},
      'forRootAsync() must be given one of useFactory, useClass, useExisting, not none of them',
    ],
    [
      { useFactory: {} },
      'useFactory must be a function that returns the options, not an object',
    ],
    [
      { useFactory: KubeConfig },
      'useFactory must be a function that returns the options, not a class: pass it as useClass',
    ],
    [
      { useFactory: Promise.resolve({}) },
      'useFactory must be a function that returns the options, not a Promise: await it',
    ],
    [
      { useClass: Promise.resolve({}) },
      'useClass must be a class with createK8sLockOptions(), not a Promise: await it',
    ],
    [
      { useClass: () => ({}) },
      'useClass must be a class with createK8sLockOptions(), not the function useClass: pass its result',
    ],
  ])('forRootAsync() of %o', async (options, fault) => {
    expect(await faultsOf(() => callModule('forRootAsync', options))).toEqual([
      fault,
    ]);
  });

  it('a class for the options without its method; one that is a property will do', async () => {
    expect(
      await faultsOf(
        start(callModule('forRootAsync', { useClass: KubeConfig })),
      ),
    ).toEqual([
      'the class of useClass or useExisting in forRootAsync() must have the method createK8sLockOptions(), but an instance of KubeConfig has none',
    ]);
    class Options {
      readonly createK8sLockOptions = (): object => ({ clientId: this.id });
      private readonly id = 'of-the-instance';
    }
    const module = callModule('forRootAsync', { useClass: Options });
    expect(await start(module)()).toBeDefined();
  });

  it.each<[unknown, string]>([
    [undefined, 'undefined'],
    [null, 'null'],
    [7, '7'],
    [[], 'an array'],
  ])('a factory that returns %j', async (options, shown) => {
    const module = callModule('forRootAsync', {
      useFactory: async () => options,
    });
    expect(await faultsOf(start(module))).toEqual([
      `the result of the factory of forRootAsync() must be an object with options, not ${shown}`,
    ]);
  });

  it('an option in the wrong place', async () => {
    const module = callModule('forRootAsync', {
      useFactory: () => ({ isGlobal: true, onLocked: 'skip' }),
    });
    expect(await faultsOf(start(module))).toEqual([
      expect.stringMatching(
        /^"isGlobal" is not an option here: it goes beside useFactory/,
      ),
      expect.stringMatching(
        /^"onLocked" is not an option here: it is for @WithLeaseLock\(\)/,
      ),
    ]);
  });

  it.each<[string, unknown, string]>([
    ['a Promise', Promise.resolve({}), 'a Promise: await it'],
    ['a class', KubeConfig, 'the class KubeConfig: pass an instance of it'],
    ['a function', makeConfig, 'the function makeConfig: pass its result'],
    ['another object', new Map(), 'an instance of Map'],
  ])('a kubeConfig that is %s', async (_, kubeConfig, shown) => {
    const module = callModule('forRoot', { kubeConfig });
    expect(await faultsOf(start(module))).toEqual([
      `kubeConfig must be a KubeConfig of @kubernetes/client-node, not ${shown}`,
    ]);
  });
});

it.each<[unknown, string]>([
  [Promise.resolve({}), 'a Promise: await it'],
  [() => ({}), 'a function: pass its result'],
])('the testing server says what is wrong: %o', async (options, shown) => {
  expect(
    await faultsOf(() =>
      Reflect.apply(Reflect.get(LeaseApiServer, 'start'), LeaseApiServer, [
        options,
      ]),
    ),
  ).toEqual([
    `the argument of LeaseApiServer.start() must be an object with options, not ${shown}`,
  ]);
});

describe('a decorator says what is wrong', () => {
  class Jobs {
    static async all(): Promise<void> {}
    async run(): Promise<void> {}
  }
  const descriptor = Object.getOwnPropertyDescriptor(Jobs.prototype, 'run');

  it.each<[string, unknown, unknown[], string]>([
    [
      '@WithLeaseLock on a method',
      WithLeaseLock,
      [Jobs.prototype, 'run', descriptor],
      '@WithLeaseLock was used without parentheses on Jobs.run',
    ],
    [
      '@WithLeaseLock on a static method',
      WithLeaseLock,
      [Jobs, 'all', descriptor],
      '@WithLeaseLock was used without parentheses on Jobs.all',
    ],
    [
      '@WithLeaseLock on a class',
      WithLeaseLock,
      [Jobs],
      '@WithLeaseLock was used without parentheses on Jobs',
    ],
    [
      '@HeldLock on a parameter',
      HeldLock,
      [Jobs.prototype, 'run', 0],
      '@HeldLock was used without parentheses on Jobs.run',
    ],
  ])('without parentheses: %s', async (_, decorator, args, fault) => {
    expect(await decorate(decorator, ...args)).toEqual([
      expect.stringContaining(fault),
    ]);
  });

  it.each<[string, unknown, unknown[]]>([
    ['applied', WithLeaseLock('job'), [descriptor?.value]],
    ['without parentheses', WithLeaseLock, [descriptor?.value]],
  ])('compiled by the new standard, %s', async (_, decorator, args) => {
    const context = { kind: 'method', name: 'run', static: false };
    expect(await decorate(decorator, ...args, context)).toEqual([
      expect.stringMatching(
        /^@WithLeaseLock\(\) on run was compiled as a standard ECMAScript decorator.*"experimentalDecorators": true/,
      ),
    ]);
  });

  it.each<[string, object, string]>([
    [
      'an arrow function',
      Jobs.prototype,
      'Jobs.later: it is not a method, but a property',
    ],
    [
      'a static arrow function',
      Jobs,
      'the static property Jobs.later: it is for methods of instances',
    ],
  ])('on %s', async (_, target, fault) => {
    expect(await decorate(WithLeaseLock('job'), target, 'later')).toEqual([
      expect.stringContaining(fault),
    ]);
  });

  it.each([null, 5, 'skip'])('with options that are %j', async (options) => {
    const shown = JSON.stringify(options);
    expect(await decorate(WithLeaseLock, 'job', options)).toEqual([
      `the options of @WithLeaseLock() must be an object with options, not ${shown}`,
    ]);
    expect(await decorate(LeaseLockInterceptor, 'job', options)).toEqual([
      `the options of LeaseLockInterceptor() must be an object with options, not ${shown}`,
    ]);
  });
});

describe('LeaseLockInterceptor says what is wrong', () => {
  it('bound without parentheses', async () => {
    @Controller()
    @UseInterceptors(BARE_INTERCEPTOR)
    class Routes {
      @Get()
      find(): string {
        return 'found';
      }
    }
    expect(
      await faultsOf(() => startLockApp({ controllers: [Routes] })),
    ).toEqual([expect.stringContaining('was bound without parentheses')]);
  });

  it('made by hand without the LockService, and works with it', async () => {
    @Controller()
    class Routes {
      @Get()
      find(): string {
        return 'found';
      }
    }
    @Module({ controllers: [Routes] })
    class RoutesModule {}
    const Lock = LeaseLockInterceptor('job');
    const fault = await faultsOf(() => new Lock());
    expect(fault).toEqual([
      expect.stringMatching(
        /was made by hand and has no LockService.*APP_INTERCEPTOR.*app\.get\(LockService\)/,
      ),
    ]);
    await using fixture = await startLockApp(
      { imports: [RoutesModule] },
      {
        configure: (app) =>
          app.useGlobalInterceptors(new Lock(app.get(LockService))),
      },
    );
    expect(await (await fixture.request('/')).text()).toBe('found');
    expect(fixture.server.requests.count({ verb: 'create' })).toBe(1);
  });
});

it.each<[string, unknown, string]>([
  [
    'isHealthy',
    { timeout: NaN },
    'timeout must be a number of milliseconds greater than 0, not NaN',
  ],
  [
    'isHealthy',
    null,
    'the options of isHealthy() must be an object with options, not null',
  ],
  [
    'isAlive',
    { tolerance: '5' },
    'tolerance must be a number of milliseconds, 0 or more, not "5"',
  ],
])(
  'a health check is not asked with wrong options: %s(%j)',
  async (method, options, fault) => {
    await using fixture = await startLockApp({
      providers: [LockHealthIndicator],
    });
    const health = fixture.app.get(LockHealthIndicator);
    expect(
      await faultsOf(() =>
        Reflect.apply(Reflect.get(health, method), health, ['locks', options]),
      ),
    ).toEqual([fault]);
  },
);
