/** K8sLockModule and LazyModuleLoader: Nest calls no lifecycle hooks of modules that are loaded lazily. */
import {
  Inject,
  Injectable,
  Module,
  type ModuleMetadata,
  type OnModuleInit,
} from '@nestjs/common';
import { LazyModuleLoader } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  K8sLockModule,
  LockConfigurationError,
  LockService,
  WithLeaseLock,
  type K8sLockModuleExtras,
  type K8sLockModuleOptions,
} from '../../lib/index.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { aborted } from '../support/aborted.js';

@Injectable()
class Jobs {
  constructor(@Inject(LockService) readonly locks: LockService) {}

  @WithLeaseLock('job')
  async run() {
    return 'ran';
  }
}

type Imports = NonNullable<ModuleMetadata['imports']>;

let server: LeaseApiServer;
let options: K8sLockModuleOptions & K8sLockModuleExtras;
beforeAll(async () => {
  server = await LeaseApiServer.start();
  options = {
    kubeConfig: await server.kubeConfig(),
    verifyAtStartup: false,
    shutdownTimeout: 0,
  };
});
beforeEach(() => server.requests.clear());
afterAll(() => server.stop());

async function makeApp(...imports: Imports) {
  const testing = await Test.createTestingModule({
    imports,
  }).compile();
  return testing.createNestApplication({ logger: false });
}

const lazyModule = (...imports: Imports) => {
  @Module({ imports, providers: [Jobs] })
  class LazyModule {
    readonly isLazy = true;
  }
  return LazyModule;
};

async function load(
  app: Awaited<ReturnType<typeof makeApp>>,
  module: ReturnType<typeof lazyModule>,
): Promise<Jobs> {
  const loaded = await app.get(LazyModuleLoader).load(() => module);
  return loaded.get(Jobs);
}

/** Closes the application while it holds a lock, whose signal aborts. */
async function isHeldAfterClose(
  app: Awaited<ReturnType<typeof makeApp>>,
  { locks }: Jobs,
): Promise<boolean> {
  const lock = await locks.acquire('job');
  const closing = aborted(lock.signal);
  await app.close();
  await closing;
  return lock.isHeld;
}

const REFUSAL =
  /loaded by LazyModuleLoader.*import K8sLockModule\.forRoot\(\) in the root module/;

/** The calls of a service, and of a decorated method, that are not refused. */
async function findAccepted(jobs: Jobs): Promise<string[]> {
  const { locks } = jobs;
  const calls: Record<string, () => Promise<unknown>> = {
    acquire: async () => (await locks.acquire('job')).release(),
    tryAcquire: async () => (await locks.tryAcquire('job'))?.release(),
    withLock: () => locks.withLock('job', () => 'ran'),
    inspect: () => locks.inspect('job'),
    'a decorated method': () => jobs.run(),
  };
  const accepted: string[] = [];
  for (const [name, call] of Object.entries(calls)) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const error: unknown = await call().catch((reason: unknown) => reason);
    if (!(
      error instanceof LockConfigurationError && REFUSAL.test(error.message)
    )) {
      accepted.push(name);
    }
  }
  return accepted;
}

describe('K8sLockModule that is loaded lazily', () => {
  it.each([true, false])(
    'refuses every call, since nothing would release its locks at shutdown; isGlobal: %s',
    async (isGlobal) => {
      const app = await makeApp();
      await app.init();
      const module = K8sLockModule.forRoot({ ...options, isGlobal });
      expect(await findAccepted(await load(app, lazyModule(module)))).toEqual(
        [],
      );
      expect(server.requests.count()).toBe(0);
      await app.close();
    },
  );

  it('refuses every call beside a module that other modules import, whose locks work', async () => {
    const root = K8sLockModule.forRoot({ ...options, isGlobal: false });
    const app = await makeApp(root);
    await app.init();
    const own = K8sLockModule.forRoot({ ...options, namePrefix: 'lazy-' });
    expect(await findAccepted(await load(app, lazyModule(own)))).toEqual([]);
    expect(server.requests.count()).toBe(0);
    await app
      .select(root)
      .get(LockService, { strict: true })
      .withLock('job', () => undefined);
    await app.close();
  });

  it('before the application starts works from its start on, and releases at shutdown', async () => {
    const app = await makeApp();
    const jobs = await load(app, lazyModule(K8sLockModule.forRoot(options)));
    expect(await findAccepted(jobs)).toEqual([]);
    expect(server.requests.count()).toBe(0);
    await app.init();
    expect(await jobs.run()).toBe('ran');
    expect(await isHeldAfterClose(app, jobs)).toBe(false);
  });
});

describe('a module that is loaded lazily', () => {
  it.each(['nothing', 'the same module again', 'another one'] as const)(
    'uses the locks of the root module, which are released at shutdown, when it imports %s',
    async (imported) => {
      const root = K8sLockModule.forRoot(options);
      const app = await makeApp(root);
      await app.init();
      const imports = {
        nothing: [],
        'the same module again': [root],
        'another one': [K8sLockModule.forRoot(options)],
      }[imported];
      const jobs = await load(app, lazyModule(...imports));
      expect(await jobs.run()).toBe('ran');
      expect(await isHeldAfterClose(app, jobs)).toBe(false);
    },
  );
});

describe('a module of the root module that is not started yet', () => {
  it.each([true, false])(
    'gives locks, in a test without init(), in a constructor and in onModuleInit(); isGlobal: %s',
    async (isGlobal) => {
      const held: string[] = [];
      @Injectable()
      class Early implements OnModuleInit {
        readonly atOnce: Promise<unknown>;

        constructor(@Inject(LockService) private readonly locks: LockService) {
          this.atOnce = this.hold('constructor');
        }

        async onModuleInit(): Promise<void> {
          await this.hold('onModuleInit');
        }

        private hold(name: string): Promise<unknown> {
          return this.locks.withLock(name, () => held.push(name));
        }
      }
      const lockModule = K8sLockModule.forRoot({ ...options, isGlobal });
      @Module({ imports: [lockModule], providers: [Early, Jobs] })
      class EarlyModule {
        readonly isEarly = true;
      }
      const app = await makeApp(EarlyModule);
      await app.get(Early).atOnce;
      expect(await app.get(Jobs).run()).toBe('ran');
      await app.init();
      expect(held).toEqual(['constructor', 'onModuleInit']);
      await app.close();
    },
  );
});
