/** Every kind of provider reaches the LockService of its own application. */
import {
  Controller,
  Get,
  Inject,
  Injectable,
  Scope,
  type Provider,
} from '@nestjs/common';
import { ContextIdFactory, ModuleRef } from '@nestjs/core';
import { describe, expect, it } from 'vitest';
import { currentLock, WithLeaseLock } from '../../lib/index.js';
import { startLockApp } from './lock-app.js';

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

describe('a provider that is not what it seems', () => {
  it('does not disturb the startup', async () => {
    let touched = false;
    class Lazy {
      get expensive() {
        touched = true;
        return 1;
      }
    }
    const values = {
      undefined,
      null: null,
      'a string': 'text',
      'a function': () => 1,
      'no prototype': Object.create(null),
      'a class': Job,
      'an array': [new Job()],
      'a forbidding Proxy': new Proxy(
        {},
        {
          getPrototypeOf: forbid,
          has: forbid,
        },
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
});
