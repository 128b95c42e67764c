/** K8sLockModule.forRoot and forRootAsync: where the options come from, and how their faults are told. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Controller,
  Inject,
  Injectable,
  Module,
  Scope,
  type DynamicModule,
  type ModuleMetadata,
} from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { Test } from '@nestjs/testing';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  K8sLockModule,
  LockConfigurationError,
  LockService,
  WithLeaseLock,
  type K8sLockModuleOptions,
  type K8sLockOptionsFactory,
} from '../../lib/index.js';
import { LeaseApiServer } from '../../lib/testing/index.js';

let server: LeaseApiServer;
let options: K8sLockModuleOptions;

beforeAll(async () => {
  server = await LeaseApiServer.start();
  options = {
    kubeConfig: await server.kubeConfig(),
    namespace: 'jobs',
    verifyAtStartup: false,
  };
});
afterAll(() => server.stop());

async function start(metadata: ModuleMetadata) {
  const moduleRef = await Test.createTestingModule(metadata).compile();
  await moduleRef.init();
  return moduleRef;
}

/** The namespace in which an application with this module takes its locks. */
async function findNamespace(module: DynamicModule): Promise<string> {
  const moduleRef = await start({ imports: [module] });
  const lock = await moduleRef.get(LockService).acquire('import');
  await lock.release();
  await moduleRef.close();
  return lock.namespace;
}

@Injectable()
class OptionsFactory implements K8sLockOptionsFactory {
  createK8sLockOptions() {
    return options;
  }
}

@Module({ providers: [OptionsFactory], exports: [OptionsFactory] })
class OptionsModule {
  readonly provides = OptionsFactory;
}

describe('the options come from', () => {
  it('forRoot()', async () => {
    expect(await findNamespace(K8sLockModule.forRoot(options))).toBe('jobs');
  });

  it('the environment, for forRoot() without any', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'kubeconfig-'));
    const path = join(folder, 'config');
    await writeFile(path, server.kubeConfigYaml({ namespace: 'from-env' }));
    vi.stubEnv('KUBECONFIG', path);
    try {
      expect(await findNamespace(K8sLockModule.forRoot())).toBe('from-env');
    } finally {
      vi.unstubAllEnvs();
      await rm(folder, { recursive: true });
    }
  });

  it('forRootAsync({ useFactory, inject, imports })', async () => {
    const module = K8sLockModule.forRootAsync({
      imports: [OptionsModule],
      inject: [OptionsFactory],
      useFactory: async (factory: OptionsFactory) =>
        factory.createK8sLockOptions(),
    });
    expect(await findNamespace(module)).toBe('jobs');
  });

  it('forRootAsync({ useClass })', async () => {
    const module = K8sLockModule.forRootAsync({ useClass: OptionsFactory });
    expect(await findNamespace(module)).toBe('jobs');
  });

  it('forRootAsync({ useExisting })', async () => {
    const module = K8sLockModule.forRootAsync({
      imports: [OptionsModule],
      useExisting: OptionsFactory,
    });
    expect(await findNamespace(module)).toBe('jobs');
  });
});

/** How long a call says that it waited, in milliseconds. */
async function findWait(call: Promise<void>): Promise<number> {
  const error: unknown = await call.catch((reason: unknown) => reason);
  expect(error).toMatchObject({ reason: 'timeout' });
  return Number(/within (\d+) ms/.exec(String(error))?.[1]);
}

describe('waitTimeout', () => {
  class Work {
    @WithLeaseLock('waits')
    async waits() {}

    @WithLeaseLock('waits', { waitTimeout: 0 })
    async tries() {}
  }

  it('of the module holds for decorators that name none', async () => {
    const moduleRef = await start({
      imports: [K8sLockModule.forRoot({ ...options, waitTimeout: 400 })],
      providers: [Work],
    });
    const held = await moduleRef.get(LockService).acquire('waits');
    const work = moduleRef.get(Work);
    const wait = await findWait(work.waits());
    expect(wait).toBeGreaterThanOrEqual(400);
    expect(wait).toBeLessThan(5_000);
    expect(await findWait(work.tries())).toBeLessThan(400);
    await held.release();
    await moduleRef.close();
  });
});

describe('the module is', () => {
  @Injectable()
  class Reports {
    constructor(@Inject(LockService) readonly locks: LockService) {}
  }

  @Module({ providers: [Reports] })
  class ReportsModule {
    readonly provides = Reports;
  }

  const startWith = (module: DynamicModule) =>
    start({ imports: [module, ReportsModule] });

  it.each([
    ['forRoot', () => K8sLockModule.forRoot(options)],
    [
      'forRootAsync',
      () => K8sLockModule.forRootAsync({ useFactory: () => options }),
    ],
  ])('global by default: %s', async (_, makeModule) => {
    const moduleRef = await startWith(makeModule());
    expect(moduleRef.get(Reports, { strict: false }).locks).toBeInstanceOf(
      LockService,
    );
    await moduleRef.close();
  });

  it.each([
    ['forRoot', () => K8sLockModule.forRoot({ ...options, isGlobal: false })],
    [
      'forRootAsync',
      () =>
        K8sLockModule.forRootAsync({
          useFactory: () => options,
          isGlobal: false,
        }),
    ],
  ])('not global with isGlobal: false: %s', async (_, makeModule) => {
    await expect(startWith(makeModule())).rejects.toThrow(
      "can't resolve dependencies of the Reports",
    );
  });
});

function makeFaulty() {
  @Controller()
  class Faulty {
    @WithLeaseLock('fine', { waitTimeout: -1 })
    async run() {}
  }
  return Faulty;
}

async function faultsOf(metadata: ModuleMetadata) {
  const error: unknown = await start(metadata).catch(
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(LockConfigurationError);
  return error instanceof LockConfigurationError ? error.faults : [];
}

describe('faults', () => {
  const wrong = {
    leaseDuration: 1_500,
    minHold: -1,
    clientId: 'not printable\n',
    leaseDuraton: 15_000,
  };

  it.each([
    ['forRoot', () => K8sLockModule.forRoot(wrong)],
    [
      'forRootAsync',
      () => K8sLockModule.forRootAsync({ useFactory: () => wrong }),
    ],
  ])('of the module are all told at once: %s', async (_, makeModule) => {
    expect(await faultsOf({ imports: [makeModule()] })).toEqual([
      expect.stringContaining('leaseDuration must be'),
      expect.stringContaining('minHold must be'),
      expect.stringContaining('clientId must be'),
      expect.stringContaining('"leaseDuraton" is not an option'),
    ]);
  });

  it('of all decorators are reported at once, each with its method', async () => {
    class First {
      @WithLeaseLock('')
      async empty() {}

      @WithLeaseLock('fine', { leaseDuration: 10, retryInterval: 0 })
      async options() {}

      // Right by itself, wrong over the options of the module.
      @Cron('0 0 1 1 *')
      @WithLeaseLock('fine', { leaseDuration: 2_000 })
      async together() {}
    }
    class Second {
      @WithLeaseLock(() => 'fine', JSON.parse('{ "onLocked": "ignore" }'))
      async policy() {}

      @WithLeaseLock(JSON.parse('7'), JSON.parse('{ "signal": {} }'))
      async past() {}
    }
    const faults = await faultsOf({
      imports: [K8sLockModule.forRoot({ ...options, renewInterval: 4_000 })],
      providers: [First, { provide: 'second', useFactory: () => new Second() }],
    });
    expect(faults).toEqual([
      'First.empty: the lock name must not be empty',
      expect.stringMatching(/^First\.options: leaseDuration must be/),
      expect.stringMatching(/^First\.options: retryInterval must be/),
      expect.stringMatching(/^First\.together: renewInterval must be at most/),
      "Second.policy: onLocked must be 'wait', 'skip' or 'throw', not \"ignore\"",
      'Second.past: the lock name must be a string, not 7',
      expect.stringMatching(/^Second\.past: "signal" is not an option/),
    ]);
  });

  it.each([
    ['a controller', () => ({ controllers: [makeFaulty()] })],
    [
      'a request-scoped class',
      () => ({
        providers: [
          { provide: 'x', useClass: makeFaulty(), scope: Scope.REQUEST },
        ],
      }),
    ],
    [
      'a transient class',
      () => ({
        providers: [
          { provide: 'x', useClass: makeFaulty(), scope: Scope.TRANSIENT },
        ],
      }),
    ],
    [
      'a derived class',
      () => {
        class Derived extends makeFaulty() {}
        return { providers: [Derived] };
      },
      'Derived',
    ],
  ])('of %s are told', async (_, makeMetadata, name = 'Faulty') => {
    const faults = await faultsOf({
      imports: [K8sLockModule.forRoot(options)],
      ...makeMetadata(),
    });
    expect(faults).toEqual([
      expect.stringContaining(`${name}.run: waitTimeout must be`),
    ]);
  });
});
