/**
 * Real decorators that replace a method, above and below @WithLeaseLock under @Cron, in two replicas of
 * which one is late, and routes whose handlers a tracer swaps. Prints what came of them, as JSON.
 */
import { instrumentation } from './instrument.cjs';
import { CreateRequestContext, MikroORM } from '@mikro-orm/mongodb';
import {
  Controller,
  Injectable,
  Post,
  Sse,
  type DynamicModule,
  type MessageEvent,
  type Type,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { RouterExecutionContext } from '@nestjs/core/router/router-execution-context.js';
import { Cron, ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { SentryCron, SentryTraced } from '@sentry/nestjs';
import { ClsModule, InjectableProxy, UseCls } from 'nestjs-cls';
import { K8sLockModule, LockService, WithLeaseLock } from 'nestjs-k8s-lock';
import { LeaseApiServer } from 'nestjs-k8s-lock/testing';
import { setTimeout as sleep } from 'node:timers/promises';
import { filter, firstValueFrom, map, of, type Observable } from 'rxjs';
import { DataSource } from 'typeorm';
import {
  addTransactionalDataSource,
  initializeTransactionalContext,
  Transactional,
} from 'typeorm-transactional';

type Decorator = (
  target: object,
  key: string,
  descriptor: TypedPropertyDescriptor<any>,
) => unknown;

const wrappers: Record<string, Decorator> = {
  '@SentryTraced': SentryTraced(),
  '@SentryCron': SentryCron('job'),
  '@CreateRequestContext': CreateRequestContext(),
  '@Transactional': Transactional(),
  '@UseCls': UseCls(),
};

/** Applies them as the compiler does; the first stands on top. */
function decorate(prototype: object, decorators: readonly Decorator[]): void {
  const descriptor = Object.getOwnPropertyDescriptor(prototype, 'run')!;
  for (const decorator of decorators.toReversed()) {
    Object.assign(descriptor, decorator(prototype, 'run', descriptor));
  }
  Object.defineProperty(prototype, 'run', descriptor);
}

async function start(
  server: LeaseApiServer,
  classes: Type[],
  controllers: Type[] = [],
  imports: DynamicModule[] = [],
) {
  const app = await NestFactory.create(
    {
      module: class App {
        readonly name = 'app';
      },
      imports: [
        K8sLockModule.forRoot({
          kubeConfig: await server.kubeConfig(),
          verifyAtStartup: false,
        }),
        ScheduleModule.forRoot(),
        ClsModule.forRoot({ global: true }),
        ...imports,
      ],
      providers: classes,
      controllers,
    },
    { logger: false, abortOnError: false },
  );
  await app.listen(0, '127.0.0.1');
  return app;
}

/** How one fire ended in each of two replicas, one after the other. */
async function fireInBoth(wrap: Decorator, place: string, orm: MikroORM) {
  await using server = await LeaseApiServer.start();
  @Injectable()
  class Jobs {
    runs = 0;
    readonly orm = orm;
    async run() {
      this.runs += 1;
    }
  }
  const cron = Cron('0 0 0 1 1 *', { name: 'job' });
  const lock = WithLeaseLock('lock', { onLocked: 'skip' });
  decorate(
    Jobs.prototype,
    place === 'above' ? [cron, lock, wrap] : [cron, wrap, lock],
  );
  const ends: string[] = [];
  let runs = 0;
  const apps = [await start(server, [Jobs]), await start(server, [Jobs])];
  for (const app of apps) {
    const { events$ } = app.get(LockService);
    const end = firstValueFrom(
      events$.pipe(
        filter(({ type }) => ['skipped', 'executed', 'failed'].includes(type)),
        map((event) => ('reason' in event ? event.reason : event.type)),
      ),
    );
    const job = app.get(SchedulerRegistry).getCronJob('job');
    job.lastExecution = new Date();
    void job.fireOnTick();
    ends.push(await end);
    while (server.leases('default').some(({ spec }) => spec?.holderIdentity)) {
      await sleep(5);
    }
    runs += app.get(Jobs).runs;
  }
  for (const app of apps) {
    await app.close();
  }
  return `${runs} run: ${ends.join(', ')}`;
}

/** What routes answer when their lock is free, and when it is taken. */
async function skipRoutes() {
  await using server = await LeaseApiServer.start();
  const skip = { onLocked: 'skip' } as const;
  @Controller()
  class Items {
    @Post('below')
    @WithLeaseLock('route', skip)
    async below(): Promise<string | undefined> {
      return 'made';
    }

    @WithLeaseLock('route', skip)
    @Post('above')
    async above(): Promise<string | undefined> {
      return 'made';
    }

    @Sse('events')
    @WithLeaseLock('route', skip)
    events(): Observable<MessageEvent> {
      return of({ data: 'made' });
    }
  }
  const app = await start(server, [], [Items]);
  const url = await app.getUrl();
  const answers = async () => {
    const all: number[] = [];
    for (const [path, method] of [
      ['below', 'POST'],
      ['above', 'POST'],
      ['events', 'GET'],
    ] as const) {
      const answer = await fetch(`${url}/${path}`, { method });
      await answer.text();
      all.push(answer.status);
    }
    return all.join(' ');
  };
  const free = await answers();
  const other = await start(server, []);
  const lock = await other
    .get(LockService)
    .acquire('route', { renewInterval: 50, leaseDuration: 2_000 });
  const skipped = await answers();
  await lock.release();
  await app.close();
  await other.close();
  return `${free}, skipped ${skipped}`;
}

/** A provider of CLS that throws at each property that was not set, as the startup pass meets it. */
async function startBesideProxy() {
  await using server = await LeaseApiServer.start();
  @InjectableProxy({ strict: true })
  class Tenant {
    id?: string;
  }
  const app = await start(server, [], [], [ClsModule.forFeature(Tenant)]);
  const tenant = app.get(Tenant);
  let refused = false;
  try {
    void tenant.id;
  } catch {
    refused = true;
  }
  await app.close();
  return `started, and strict: ${refused}`;
}

async function main() {
  initializeTransactionalContext();
  const data = await new DataSource({ type: 'sqljs' }).initialize();
  addTransactionalDataSource(data);
  const orm = MikroORM.initSync({
    entities: [],
    dbName: 'none',
    connect: false,
    discovery: { warnWhenNoEntities: false },
  });
  const results: Record<string, string> = {};
  for (const [name, wrap] of Object.entries(wrappers)) {
    for (const place of ['above', 'below']) {
      results[`${name}, the lock ${place}`] = await fireInBoth(
        wrap,
        place,
        orm,
      );
    }
  }
  results['routes'] = await skipRoutes();
  results['beside a strict proxy of CLS'] = await startBesideProxy();
  const original: () => unknown = Date.now;
  const descriptor = { value: original };
  Cron('* * * * *')({}, 'run', descriptor);
  results['@Cron is replaced by Sentry'] = String(
    descriptor.value !== original,
  );
  const create: object = Reflect.get(
    RouterExecutionContext.prototype,
    'create',
  );
  results['handlers are swapped by a tracer'] = String(
    instrumentation.isEnabled() && '__wrapped' in create,
  );
  console.log(`RESULT ${JSON.stringify(results)}`);
  process.exit(0);
}
void main();
