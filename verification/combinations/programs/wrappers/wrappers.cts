/**
 * Real decorators that replace a method, above and below @WithLeaseLock under @Cron, in two replicas of
 * which one is late, and a route whose handler a tracer swaps. Prints what came of them, as JSON.
 */
import { instrumentation } from './instrument.cjs';
import { CreateRequestContext, MikroORM } from '@mikro-orm/mongodb';
import { Controller, Injectable, Post, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Cron, ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { SentryCron, SentryTraced } from '@sentry/nestjs';
import { ClsModule, UseCls } from 'nestjs-cls';
import { K8sLockModule, LockService, WithLeaseLock } from 'nestjs-k8s-lock';
import { LeaseApiServer } from 'nestjs-k8s-lock/testing';
import { setTimeout as sleep } from 'node:timers/promises';
import { filter, firstValueFrom, map } from 'rxjs';
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

async function skipRoute() {
  await using server = await LeaseApiServer.start();
  @Controller()
  class Items {
    @Post()
    @WithLeaseLock('route', { onLocked: 'skip' })
    async make(): Promise<string | undefined> {
      return 'made';
    }
  }
  const app = await start(server, [], [Items]);
  const url = await app.getUrl();
  const post = async () => (await fetch(url, { method: 'POST' })).status;
  const free = await post();
  const other = await start(server, []);
  const lock = await other
    .get(LockService)
    .acquire('route', { renewInterval: 50, leaseDuration: 2_000 });
  const skipped = await post();
  await lock.release();
  await app.close();
  await other.close();
  return `${free}, ${skipped}`;
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
  results['a skipped route under a tracer'] = await skipRoute();
  const original: () => unknown = Date.now;
  const descriptor = { value: original };
  Cron('* * * * *')({}, 'run', descriptor);
  results['@Cron is replaced by Sentry'] = String(
    descriptor.value !== original,
  );
  results['a tracer of handlers is on'] = String(instrumentation.isEnabled());
  console.log(`RESULT ${JSON.stringify(results)}`);
  process.exit(0);
}
void main();
