/** Every kind of provider reaches the LockService of its own application. */
import {
  Controller,
  Get,
  Inject,
  Injectable,
  Module,
  Scope,
  type Provider,
} from '@nestjs/common';
import {
  ContextIdFactory,
  LazyModuleLoader,
  ModuleRef,
  ModulesContainer,
} from '@nestjs/core';
import { Cron, ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { describe, expect, it } from 'vitest';
import { currentLock, WithLeaseLock } from '../../lib/index.js';
import { LockedMethodExplorer } from '../../lib/decorators/lock.explorer.js';
import { defer, startLockApp } from './lock-app.js';

class Job {
  ran = false;

  @WithLeaseLock('job')
  async run() {
    this.ran = true;
    return currentLock()?.name ?? 'unlocked';
  }
}

/** A Proxy whose methods see the object behind it as "this". */
const makeProxy = (): Job =>
  new Proxy(new Job(), {
    get(target, key) {
      const value: unknown = Reflect.get(target, key);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });

class FrozenJob {
  @WithLeaseLock('job')
  async run() {
    return currentLock()?.name ?? 'unlocked';
  }
}

@Injectable()
class FreezesItself extends FrozenJob {
  constructor() {
    super();
    Object.freeze(this);
  }
}

@Injectable()
class Config {
  readonly value = 'config';
}

@Injectable()
class InheritsAndInjects extends Job {
  @Inject(Config) readonly config!: Config;
}

class Overrides extends Job {
  override async run() {
    return `super: ${await super.run()}`;
  }
}

class LocksAgain extends Job {
  @WithLeaseLock('derived')
  override async run() {
    return `${currentLock()?.name} > ${await super.run()} > ${currentLock()?.name}`;
  }
}

abstract class Base {
  @WithLeaseLock(function (this: Base) {
    return this.lockName;
  })
  async run() {
    return currentLock()?.name ?? 'unlocked';
  }

  abstract readonly lockName: string;
}

class Derived extends Base {
  readonly lockName = 'named-by-derived';
}

const TOKEN = Symbol('the provider under test');

describe('a provider made by', () => {
  const kinds: [kind: string, provider: Provider, result?: string][] = [
    ['useClass', { provide: TOKEN, useClass: Job }],
    ['useValue', { provide: TOKEN, useValue: new Job() }],
    [
      'a frozen useValue',
      { provide: TOKEN, useValue: Object.freeze(new FrozenJob()) },
    ],
    ['useFactory', { provide: TOKEN, useFactory: () => new Job() }],
    [
      'an async useFactory',
      { provide: TOKEN, useFactory: async () => new Job() },
    ],
    ['a useFactory of a Proxy', { provide: TOKEN, useFactory: makeProxy }],
    [
      'useFactory with moduleRef.create',
      {
        provide: TOKEN,
        inject: [ModuleRef],
        useFactory: (moduleRef: ModuleRef) => moduleRef.create(Job),
      },
    ],
    [
      'a class that freezes itself',
      { provide: TOKEN, useClass: FreezesItself },
    ],
    [
      'a derived class that injects properties',
      { provide: TOKEN, useClass: InheritsAndInjects },
    ],
    [
      'a derived class with an override',
      { provide: TOKEN, useClass: Overrides },
      'super: job',
    ],
    [
      'a derived class with a lock of its own',
      { provide: TOKEN, useClass: LocksAgain },
      'derived > job > derived',
    ],
    [
      'an abstract class that is derived',
      { provide: TOKEN, useClass: Derived },
      'named-by-derived',
    ],
    [
      'useFactory of a derived class',
      { provide: TOKEN, useFactory: () => new LocksAgain() },
      'derived > job > derived',
    ],
  ];

  it.each(kinds)('%s runs locked', async (_, provider, result = 'job') => {
    await using fixture = await startLockApp({ providers: [provider, Config] });
    expect(await fixture.app.get<Job>(TOKEN).run()).toBe(result);
  });

  it('a class listed as itself and once more by useExisting runs locked', async () => {
    await using fixture = await startLockApp({
      providers: [Job, { provide: TOKEN, useExisting: Job }],
    });
    expect(await fixture.app.get(Job).run()).toBe('job');
    expect(await fixture.app.get<Job>(TOKEN).run()).toBe('job');
  });

  it.each([Scope.REQUEST, Scope.TRANSIENT])(
    'a class of scope %s runs locked',
    async (scope) => {
      await using fixture = await startLockApp({
        providers: [{ provide: TOKEN, useClass: Job, scope }],
      });
      const first = await fixture.app.resolve<Job>(TOKEN);
      const second = await fixture.app.resolve<Job>(
        TOKEN,
        ContextIdFactory.create(),
      );
      expect(first).not.toBe(second);
      expect([await first.run(), await second.run()]).toEqual(['job', 'job']);
    },
  );

  it('a transient class under @Cron runs locked on what the scheduler calls', async () => {
    const ran = defer<string | undefined>();
    @Injectable({ scope: Scope.TRANSIENT })
    class Jobs {
      @Cron('0 0 0 1 1 *', { name: 'job' })
      @WithLeaseLock('transient')
      async run() {
        ran.resolve(currentLock()?.name);
      }
    }
    await using fixture = await startLockApp({
      imports: [ScheduleModule.forRoot()],
      providers: [Jobs],
    });
    void fixture.app.get(SchedulerRegistry).getCronJob('job').fireOnTick();
    expect(await ran.promise).toBe('transient');
  });

  it('a transient useFactory, injected, runs locked', async () => {
    @Injectable()
    class User {
      constructor(@Inject(TOKEN) readonly job: Job) {}
    }
    await using fixture = await startLockApp({
      providers: [
        User,
        {
          provide: TOKEN,
          scope: Scope.TRANSIENT,
          useFactory: () => new Job(),
        },
      ],
    });
    expect(await fixture.app.get(User).job.run()).toBe('job');
  });

  it.each([Scope.DEFAULT, Scope.REQUEST])(
    'a controller of scope %s runs locked',
    async (scope) => {
      @Controller({ path: 'job', scope })
      class Jobs {
        @Get()
        @WithLeaseLock('route')
        async run() {
          return currentLock()?.name ?? 'unlocked';
        }
      }
      await using fixture = await startLockApp({ controllers: [Jobs] });
      expect(await (await fixture.request('job')).text()).toBe('route');
    },
  );
});

describe('the LockService on an instance', () => {
  it('is nothing that a copy, a comparison or a log would show', async () => {
    await using fixture = await startLockApp({
      providers: [Job, { provide: TOKEN, useFactory: () => new Job() }],
    });
    for (const job of [fixture.app.get(Job), fixture.app.get<Job>(TOKEN)]) {
      expect(Reflect.ownKeys(Object.assign({}, job))).toEqual(['ran']);
      expect(job).toStrictEqual(new Job());
    }
  });

  it('is that of its own application', async () => {
    const metadata = {
      providers: [Job, { provide: TOKEN, useFactory: () => new Job() }],
    };
    await using first = await startLockApp(metadata);
    await using second = await startLockApp(metadata);
    for (const token of [Job, TOKEN]) {
      first.server.requests.clear();
      second.server.requests.clear();
      await first.app.get<Job>(token).run();
      expect(first.server.requests.count({ name: 'job' })).toBeGreaterThan(0);
      expect(second.server.requests.count()).toBe(0);
      await second.app.get<Job>(token).run();
      expect(second.server.requests.count({ name: 'job' })).toBeGreaterThan(0);
    }
  });

  it('of a value that several applications provide is that of the latest', async () => {
    const metadata = { providers: [{ provide: TOKEN, useValue: new Job() }] };
    {
      await using first = await startLockApp(metadata);
      expect(await first.app.get<Job>(TOKEN).run()).toBe('job');
    }
    await using second = await startLockApp(metadata);
    expect(await second.app.get<Job>(TOKEN).run()).toBe('job');
  });
});

const forbid = (): never => {
  throw new Error('do not touch');
};

/** Every trap there is throws. */
const forbidding: ProxyHandler<object> = Object.fromEntries(
  [
    'apply',
    'construct',
    'defineProperty',
    'deleteProperty',
    'get',
    'getOwnPropertyDescriptor',
    'getPrototypeOf',
    'has',
    'isExtensible',
    'ownKeys',
    'preventExtensions',
    'set',
    'setPrototypeOf',
  ].map((trap) => [trap, forbid]),
);

/**
 * As the strict proxy providers of nestjs-cls 5 and 6: outside of a request each property throws, but for
 * those that every object has, and those that Nest asks for.
 */
function makeStrictProxy(target: object = {}): object {
  return new Proxy(target, {
    get: (from, key) =>
      OF_NEST.has(key) || key in from ? Reflect.get(from, key) : forbid(),
  });
}

/** The properties that Nest asks each provider for. */
const OF_NEST = new Set<string | symbol>([
  ...Object.getOwnPropertyNames(Object.prototype),
  'then',
  'onModuleInit',
  'onApplicationBootstrap',
  'onModuleDestroy',
  'beforeApplicationShutdown',
  'onApplicationShutdown',
]);

describe('a provider that is not what it seems', () => {
  it('does not disturb the startup, and is not touched', async () => {
    let touched = false;
    class Lazy {
      get expensive() {
        touched = true;
        return 1;
      }
    }
    const touch = (_: object, key: string | symbol): undefined => {
      touched ||= !OF_NEST.has(key);
      return undefined;
    };
    const values = {
      undefined,
      null: null,
      'a string': 'text',
      'a function': () => 1,
      'no prototype': Object.create(null),
      'a class': Job,
      'an array': [new Job()],
      'a Proxy that tells': new Proxy({}, { get: touch, has: forbid }),
      'a Proxy that may not be looked at': new Proxy(
        {},
        { getPrototypeOf: forbid, has: forbid },
      ),
      'a strict Proxy': makeStrictProxy(),
      'a strict Proxy of what is no class': makeStrictProxy(
        Object.create(null),
      ),
      'a Proxy of an object whose prototype may not be looked at':
        makeStrictProxy(
          Object.create(new Proxy({}, { ...forbidding, get: undefined })),
        ),
      'a getter': new Lazy(),
    };
    await using fixture = await startLockApp({
      providers: [
        Job,
        ...Object.entries(values).map(([provide, value]) => ({
          provide,
          useFactory: () => value,
        })),
      ],
    });
    expect(await fixture.app.get(Job).run()).toBe('job');
    expect(touched).toBe(false);
  });

  it('is not touched before the pass, whatever its traps do', async () => {
    // Nest itself would touch it, so it is put in the place of a provider when Nest has done so.
    await using fixture = await startLockApp({
      imports: [ScheduleModule.forRoot()],
      providers: [Job, { provide: TOKEN, useFactory: () => new Config() }],
    });
    const [wrapper] = Array.from(
      fixture.app.get(ModulesContainer).values(),
      ({ providers }) => providers.get(TOKEN),
    ).filter((each) => each !== undefined);
    const { instance } = wrapper!;
    wrapper!.instance = new Proxy({}, forbidding);
    const explorer = fixture.app.get(LockedMethodExplorer, { strict: false });
    await explorer.explore(fixture.locks, {});
    expect(explorer.findSchedulers()).toHaveLength(1);
    await expect(new Job().run()).rejects.toThrow('has no LockService');
    wrapper!.instance = instance;
  });

  it('runs locked, if it is a strict Proxy of an instance of ours', async () => {
    await using fixture = await startLockApp({
      providers: [
        { provide: TOKEN, useFactory: () => makeStrictProxy(new Job()) },
      ],
    });
    expect(await fixture.app.get<Job>(TOKEN).run()).toBe('job');
  });
});

describe('a provider that comes after the start', () => {
  @Module({
    providers: [
      { provide: TOKEN, useFactory: () => new Job() },
      { provide: 'class', useClass: Job },
      {
        provide: 'transient',
        useFactory: () => new Job(),
        scope: Scope.TRANSIENT,
      },
      {
        provide: 'user',
        inject: ['transient'],
        useFactory: (job: Job) => ({ job }),
      },
    ],
  })
  class LateModule {
    readonly isLate = true;
  }

  it('in a module that is loaded lazily runs locked', async () => {
    await using fixture = await startLockApp({});
    const late = await fixture.app.get(LazyModuleLoader).load(() => LateModule);
    expect(await late.get<Job>(TOKEN).run()).toBe('job');
    expect(await late.get<Job>('class').run()).toBe('job');
    expect(await late.get<{ job: Job }>('user').job.run()).toBe('job');
    expect(await late.get<Job>(TOKEN).run()).toBe('job');
  });

  it('runs locked in the application that loads it, of several', async () => {
    await using first = await startLockApp({});
    await using second = await startLockApp({});
    const late = await second.app.get(LazyModuleLoader).load(() => LateModule);
    await late.get<Job>(TOKEN).run();
    expect(first.server.requests.count()).toBe(0);
    expect(second.server.requests.count({ name: 'job' })).toBeGreaterThan(0);
  });

  it('made by moduleRef.create() runs locked', async () => {
    await using fixture = await startLockApp({});
    const job = await fixture.app.get(ModuleRef).create(Job);
    expect(await job.run()).toBe('job');
  });

  it('of a durable class runs locked, in each of its contexts', async () => {
    await using fixture = await startLockApp({
      providers: [
        {
          provide: TOKEN,
          useClass: Job,
          scope: Scope.REQUEST,
          durable: true,
        },
      ],
    });
    for (const tenant of ['a', 'b']) {
      const context = { id: tenant.length, payload: { tenant } };
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const job = await fixture.app.resolve<Job>(TOKEN, context);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await job.run()).toBe('job');
    }
  });

  it('made by a durable useFactory says what to do, and runs locked when it does so', async () => {
    const durable = { scope: Scope.REQUEST, durable: true };
    await using fixture = await startLockApp({
      providers: [
        { provide: TOKEN, ...durable, useFactory: () => new Job() },
        {
          provide: 'created',
          ...durable,
          inject: [ModuleRef],
          useFactory: (moduleRef: ModuleRef) => moduleRef.create(Job),
        },
      ],
    });
    await expect((await fixture.app.resolve<Job>(TOKEN)).run()).rejects.toThrow(
      'or by a useFactory with a scope',
    );
    expect(await (await fixture.app.resolve<Job>('created')).run()).toBe('job');
  });

  it('made by a useFactory, whose method another calls in onModuleInit, runs locked', async () => {
    @Injectable()
    class Eager {
      result = '';

      constructor(@Inject(TOKEN) private readonly job: Job) {}

      async onModuleInit() {
        this.result = await this.job.run();
      }
    }
    await using fixture = await startLockApp({
      providers: [Eager, { provide: TOKEN, useFactory: () => new Job() }],
    });
    expect(fixture.app.get(Eager).result).toBe('job');
  });

  it('is called in its constructor: does not run, and says why', async () => {
    @Injectable()
    class Impatient extends Job {
      readonly refusal = this.run().catch(String);
    }
    await using fixture = await startLockApp({ providers: [Impatient] });
    expect(await fixture.app.get(Impatient).refusal).toContain(
      'Impatient.run was called in the constructor of Impatient, where Nest has not injected the LockService yet, so it did not run: call it in onModuleInit() or later',
    );
    expect(await fixture.app.get(Impatient).run()).toBe('job');
  });
});
