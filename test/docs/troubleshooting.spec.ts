/** Every message that README.md explains is one that the library really gives, and the other way round. */
import { randomUUID } from 'node:crypto';
import { Controller, Get, Injectable, Logger, Module } from '@nestjs/common';
import { Cron } from '@nestjs/schedule';
import { Test } from '@nestjs/testing';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import {
  K8sLockModule,
  LeaseLockInterceptor,
  LockError,
  LockService,
  WithLeaseLock,
  type K8sLockModuleOptions,
  type LeaseLock,
} from '../../lib/index.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { askAndLeave } from '../decorators/http-clients.js';
import { startLockApp, WarningLog } from '../decorators/lock-app.js';
import { findCode, findItems } from './pages.js';
import { aborted } from '../support/aborted.js';

@Injectable()
class Jobs {
  @WithLeaseLock('taken', { onLocked: 'throw' })
  async throws() {}

  @WithLeaseLock('taken')
  async waits() {}

  @lockedByAny(async () => 'late')
  async isNamedLate() {}
}

@Controller()
class Routes {
  /** What the handler comes to. */
  static outcome: Promise<void>;

  constructor(private readonly jobs: Jobs) {}

  @Get('taken')
  async wait() {
    Routes.outcome = this.jobs.waits();
    await Routes.outcome;
  }
}

/** The decorator without its types: as in JavaScript. */
function lockedByAny(name: unknown): MethodDecorator {
  return Reflect.apply(WithLeaseLock, undefined, [name]);
}

/** A holder that learns quickly what has become of its lock. */
const ATTENTIVE: K8sLockModuleOptions = {
  leaseDuration: 1_000,
  renewInterval: 20,
};

let server: LeaseApiServer;
let locks: LockService;
let others: LockService;
let jobs: Jobs;
const closing: (() => Promise<void>)[] = [];

beforeAll(async () => {
  Logger.overrideLogger(false);
  server = await LeaseApiServer.start({
    namespaces: new Map([['default', 'Active']]),
    coordinatedLeaderElection: true,
    tokens: { test: 'test', restricted: 'restricted' },
    allow: ({ user, resource }) =>
      user === 'test' || resource === 'selfsubjectaccessreviews',
  });
  locks = await startPod(ATTENTIVE);
  others = await startPod();
  jobs = (await startModule({ kubeConfig: await server.kubeConfig() })).get(
    Jobs,
  );
  await others.acquire('taken');
  for (const [name, mistake] of Object.entries(MISTAKES)) {
    // oxlint-disable-next-line no-await-in-loop -- some change the environment
    messages.set(name, await messageOf(mistake));
  }
});
afterAll(async () => {
  await Promise.all(closing.map((close) => close()));
  await server.stop();
});

/** Two jobs, each with a LockService of its own. */
async function startJobs(
  ...[one, other, ...prefixes]: [string, string, ...string[]]
): Promise<unknown> {
  const kubeConfig = await server.kubeConfig();
  const imports = [one, other].map((lock, index) => {
    class Scheduled {
      @Cron('0 0 1 1 *')
      @WithLeaseLock(lock)
      async run() {}
    }
    @Module({
      imports: [
        K8sLockModule.forRoot({
          kubeConfig,
          namePrefix: prefixes[index],
          isGlobal: false,
        }),
      ],
      providers: [Scheduled],
    })
    class JobsModule {
      readonly lock = lock;
    }
    return JobsModule;
  });
  return (await Test.createTestingModule({ imports }).compile()).init();
}

/** Who is given the messages, and what for: somebody who … */
const MISTAKES: Record<string, () => Promise<unknown>> = {
  'waits in vain': async () => {
    await locks.inspect('taken'); // who holds it is known, however late the timer is
    await locks.acquire('taken', { waitTimeout: 10 });
  },
  'does not want to wait': () => jobs.throws(),
  'waits for itself': async () => {
    const pod = await startPod(ATTENTIVE);
    await using _ = await pod.acquire('own');
    await pod.acquire('own', { waitTimeout: 10 });
  },
  'goes away while a request waits': async () => {
    await using app = await startLockApp(
      { controllers: [Routes], providers: [Jobs] },
      { server },
    );
    const waiting = server.requests.next({ verb: 'watch', name: 'taken' });
    await askAndLeave(app, 'taken', waiting);
    await Routes.outcome;
  },
  'acquires while it closes': async () => {
    const closed = await startPod();
    await closing.pop()!();
    return closed.acquire('free');
  },
  'holds while it closes': () =>
    lossOf(() => closing.pop()!(), { shutdownTimeout: 0 }),
  'can not renew': async () => {
    const refusal = { kind: 'status', code: 500 } as const;
    using _ = server.faults.inject(refusal, { verb: 'update', name: 'outage' });
    return await lossOf(() => undefined, {}, 'outage');
  },
  'is overtaken by another': () =>
    lossOf(
      async ({ name }) => {
        await others.forceRelease(name);
        await others.acquire(name);
      },
      { renewInterval: 300 },
    ),
  'is released by force': () => lossOf(({ name }) => others.forceRelease(name)),
  'has its Lease deleted': () =>
    lossOf(({ name }) => request('DELETE', `/${name}`)),
  'holds for too long': () => lossOf(() => undefined, { maxHold: 50 }),
  'uses a lock after its release': async () => {
    const lock = await locks.acquire('used');
    await lock.release();
    lock.assertHeld();
  },

  'has no rights': async () => {
    const kubeConfig = await server.kubeConfig({ user: 'restricted' });
    return (await startPod({ kubeConfig })).acquire('free');
  },
  'has no rights at startup': async () => {
    const kubeConfig = await server.kubeConfig({ user: 'restricted' });
    return startPod({ kubeConfig, verifyAtStartup: 'require' });
  },
  'is kept out by a policy': async () => {
    const message =
      'leases.coordination.k8s.io "free" is forbidden: exceeded quota: few';
    const body = JSON.stringify({
      kind: 'Status',
      reason: 'Forbidden',
      message,
    });
    using _ = server.faults.inject(
      { kind: 'answer', code: 403, body },
      { name: 'kept-out' },
    );
    await locks.acquire('kept-out');
  },
  'has a token that is not accepted': async () => {
    server.addToken('short-lived', 'test-2');
    const kubeConfig = await server.kubeConfig({ user: 'test-2' });
    server.revokeToken('short-lived');
    return (await startPod({ kubeConfig })).acquire('free');
  },
  'names a namespace that does not exist': () =>
    locks.acquire('free', { namespace: 'nowhere' }),
  'finds nobody at the address': async () => {
    const gone = await LeaseApiServer.start();
    const kubeConfig = await gone.kubeConfig();
    await gone.stop();
    return (await startPod({ kubeConfig })).tryAcquire('free');
  },
  'gets no answer': async () => {
    using _ = server.faults.inject(
      { kind: 'hold', when: 'before' },
      { name: 'silent' },
    );
    return await (await startPod({ requestTimeout: 100 })).inspect('silent');
  },
  'relies on a Lease that is missing': () =>
    locks.acquire('missing', { createLease: false }),
  'wants the Lease of a leader election': async () => {
    await request('POST', '', {
      metadata: { name: 'election' },
      spec: { strategy: 'OldestEmulationVersion' },
    });
    return locks.acquire('election');
  },

  'has no kubeconfig': async () => {
    const pod = await startPod({ kubeConfig: undefined });
    return outsideOfClusters(() => pod.acquire('free'));
  },
  'runs outside of the cluster': async () => {
    const pod = await startPod({ kubeConfig: undefined, inCluster: true });
    return outsideOfClusters(() => pod.acquire('free'));
  },
  'has a cluster without TLS': async () => {
    const kubeConfig = await server.kubeConfig();
    const cluster = { server: server.url, skipTLSVerify: false };
    kubeConfig.getCurrentCluster = () => cluster;
    return (await startPod({ kubeConfig })).acquire('free');
  },

  'makes an instance by hand': () => new Jobs().throws(),
  'calls a method in the constructor': async () => {
    @Injectable()
    class Impatient extends Jobs {
      readonly done = this.throws();
    }
    const module = await Test.createTestingModule({
      imports: [K8sLockModule.forRoot({ verifyAtStartup: false })],
      providers: [Impatient],
    }).compile();
    return module.get(Impatient).done;
  },
  'does not import the module': () =>
    Test.createTestingModule({ providers: [Jobs] }).compile(),
  'provides a mock that runs nothing': async () => {
    const module = await Test.createTestingModule({
      providers: [
        Jobs,
        { provide: LockService, useValue: { withLock: async () => undefined } },
      ],
    }).compile();
    return module.get(Jobs).throws();
  },
  'imports the module without options': () =>
    Test.createTestingModule({ imports: [K8sLockModule] }).compile(),
  'has a factory that returns nothing': () => {
    const options = { useFactory: (): any => undefined };
    return Test.createTestingModule({
      imports: [K8sLockModule.forRootAsync(options)],
    }).compile();
  },
  'makes two modules global': async () => {
    const kubeConfig = await server.kubeConfig();
    const logger = new WarningLog();
    @Module({ imports: [K8sLockModule.forRoot({ kubeConfig })] })
    class LibraryModule {
      readonly isLibrary = true;
    }
    await using _ = await startLockApp(
      { imports: [LibraryModule] },
      { server, logger },
    );
    throw new Error(await logger.next('as global'));
  },
  'gives two jobs one lock': () => startJobs('same', 'same'),
  'gives two jobs one Lease by prefix and name': () =>
    startJobs('b', '-b', 'a-', 'a'),
  'forgets the parentheses': async () => {
    Reflect.apply(WithLeaseLock, undefined, [Jobs.prototype, 'throws', {}]);
  },
  'compiles decorators by the new standard': async () => {
    const context = { kind: 'method', name: 'run' };
    Reflect.apply(lockedByAny('x'), undefined, [() => undefined, context]);
  },
  'makes an interceptor by hand': async () => {
    const Lock = LeaseLockInterceptor('x');
    return new Lock();
  },
  'calls a method without its instance': () => {
    const method: () => Promise<void> = Reflect.get(jobs, 'throws');
    return method();
  },
  'names a lock by a promise': () => jobs.isNamedLate(),
  'decorates a generator': async () => {
    class Rows {
      @lockedByAny('rows')
      *read() {
        yield 'row';
      }
    }
    return Rows;
  },
  'renews too late': () => startPod({ renewInterval: 60_000 }),
};

const messages = new Map<string, string>();
const quotes = findItems('## Troubleshooting')
  .filter((item) => !item.startsWith('TypeScript: ')) // see types.spec.ts
  .flatMap(findCode)
  .map((quote) => ({ quote, pattern: toPattern(quote) }));

it.each(Object.keys(MISTAKES))('explains the error to one who %s', (name) => {
  const message = messages.get(name)!;
  const explained = quotes.filter(({ pattern }) => pattern.test(message));
  expect([message, explained]).toEqual([message, [expect.anything()]]);
});

it.each(quotes)('explains an error that there is: $quote', ({ pattern }) => {
  expect([...messages.values()]).toContainEqual(expect.stringMatching(pattern));
});

function toPattern(quote: string): RegExp {
  const parts = quote
    .split('…')
    .map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`, 's');
}

async function messageOf(mistake: () => Promise<unknown>): Promise<string> {
  try {
    await mistake();
  } catch (error) {
    if (error instanceof Error) {
      return error instanceof LockError ? error.explanation : error.message;
    }
  }
  return '(nothing went wrong)';
}

/** In an environment that leads to no cluster, wherever the tests run. */
async function outsideOfClusters<T>(work: () => Promise<T>): Promise<T> {
  vi.stubEnv('KUBECONFIG', undefined);
  vi.stubEnv('KUBERNETES_SERVICE_HOST', undefined);
  vi.stubEnv('HOME', '/nowhere');
  try {
    return await work();
  } finally {
    vi.unstubAllEnvs();
  }
}

/** Rejects with the loss of a lock, to which `cause` leads. */
async function lossOf(
  cause: (lock: LeaseLock) => unknown,
  options: K8sLockModuleOptions = {},
  name: string = randomUUID(),
): Promise<never> {
  const pod = await startPod({ ...ATTENTIVE, ...options });
  const lock = await pod.acquire(name);
  await cause(lock);
  const reason = await aborted(lock.signal);
  await lock.release();
  throw reason;
}

async function startPod(
  options: K8sLockModuleOptions = {},
): Promise<LockService> {
  const kubeConfig = await server.kubeConfig();
  return (await startModule({ kubeConfig, ...options })).get(LockService);
}

async function startModule(options: K8sLockModuleOptions) {
  const module = await Test.createTestingModule({
    imports: [
      K8sLockModule.forRoot({
        verifyAtStartup: false,
        shutdownTimeout: 0,
        ...options,
      }),
    ],
    providers: [Jobs],
  }).compile();
  closing.push(() => module.close());
  return module.init();
}

function request(method: string, path: string, body?: object) {
  const leases = '/apis/coordination.k8s.io/v1/namespaces/default/leases';
  return fetch(new URL(leases + path, server.url), {
    method,
    headers: {
      authorization: 'Bearer test',
      'content-type': 'application/json',
    },
    body: JSON.stringify(body),
  });
}
