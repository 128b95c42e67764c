/**
 * One replica of a sample: does what the `main.ts` of the sample does, and reports to the process that has
 * started it. The application does not know: its work is observed from around the method that does it.
 */
// oxlint-disable-next-line import/no-unassigned-import -- for its effect
import './shifted-clock.js';
import { AsyncLocalStorage } from 'node:async_hooks';
import { Module, type INestApplication, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { SchedulerRegistry } from '@nestjs/schedule';
import { K8sLockDashboardModule } from 'nestjs-k8s-lock/dashboard';
import { currentLock, LockService, type LockLostError } from 'nestjs-k8s-lock';
import { AppModule as CronJobs } from '../01-cron-jobs/app.module.js';
import { InvoiceService } from '../01-cron-jobs/invoice.service.js';
import { AppModule as Http } from '../02-http/app.module.js';
import { LedgerService } from '../02-http/ledger.service.js';
import { AppModule as OncePerFire } from '../03-once-per-fire/app.module.js';
import { RatesJob } from '../03-once-per-fire/rates.job.js';
import { StatementJob } from '../03-once-per-fire/statement.job.js';
import type { GoOn, Report } from './reports.js';

type Method = (...args: never[]) => Promise<unknown>;

/** The module of a sample, and the methods that do its work. */
const SAMPLES: Readonly<
  Record<string, [module: Type, ...works: [provider: Type, method: string][]]>
> = {
  '01-cron-jobs': [CronJobs, [InvoiceService, 'sendDue']],
  '02-http': [Http, [LedgerService, 'add']],
  '03-once-per-fire': [
    OncePerFire,
    [StatementJob, 'sendDue'],
    [RatesJob, 'fetchRates'],
  ],
};

/** The application, with the dashboard beside it. */
@Module({})
class Root {}

const fires = new AsyncLocalStorage<number>();
let works = 0;

// It ends with its parent, in whatever way that has ended.
process.once('disconnect', () => process.exit(1));
if (!process.connected) {
  process.exit(1);
}
const [module, ...methods] = SAMPLES[process.argv[2]!]!;
try {
  // Public, for it listens on the loopback interface.
  const dashboard = K8sLockDashboardModule.forRoot({
    public: true,
    allowForceRelease: true,
    title: 'Locks of the sample',
  });
  const app = await NestFactory.create(
    { module: Root, imports: [module, dashboard] },
    { logger: ['fatal', 'error', 'warn'] },
  );
  app.enableShutdownHooks();
  for (const [provider, method] of methods) {
    observeWork(app.get(provider), method);
  }
  reportLocks(app);
  await app.listen(0, '127.0.0.1');
  if (module !== Http) {
    reportFires(app.get(SchedulerRegistry));
  }
  send({ type: 'ready', url: await app.getUrl() });
} catch (error) {
  process.stderr.write(`The application does not start. ${String(error)}\n`);
  process.exit(1);
}

/** Reports each call of a method, and keeps it from its work until the parent lets it go on. */
function observeWork(provider: Record<string, Method>, name: string): void {
  const method = provider[name]!.bind(provider);
  provider[name] = async (...args) => {
    const lock = currentLock()!;
    works += 1;
    const id = works;
    const mayGoOn = untilGoOn(id, lock.signal);
    send({
      type: 'begin',
      at: process.hrtime.bigint(),
      id,
      subject: lock.name,
      token: lock.fencingToken,
      fire: fires.getStore(),
    });
    let isDone = false;
    try {
      await mayGoOn;
      const result = await method(...args);
      isDone = true;
      return result;
    } finally {
      send({ type: 'end', at: process.hrtime.bigint(), id, isDone });
    }
  };
}

/**
 * Rejects as the work of a real service does when its lock is lost. Work that is under way while the application
 * closes goes on.
 */
function untilGoOn(id: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      process.off('message', hear);
      signal.removeEventListener('abort', lose);
    };
    const hear = ({ goOn }: GoOn): void => {
      if (goOn === id) {
        end();
        resolve();
      }
    };
    const lose = (): void => {
      const lost: LockLostError = signal.reason;
      if (lost.reason !== 'shutdown') {
        end();
        reject(lost);
      }
    };
    process.on('message', hear);
    signal.addEventListener('abort', lose);
    if (signal.aborted) {
      lose();
    }
  });
}

function reportLocks(app: INestApplication): void {
  app.get(LockService).events$.subscribe((event) => {
    const at = process.hrtime.bigint();
    const subject = event.name;
    if (event.type === 'waiting') {
      send({ type: 'waiting', at, subject });
    } else if (event.type === 'skipped' && event.reason !== 'shutdown') {
      send({ type: event.reason, at, subject });
    } else if (event.type === 'not-acquired' && event.reason === 'cancelled') {
      send({ type: 'cancelled', at, subject });
    }
  });
}

/** Reports each call of the scheduler, and remembers in its async context for which second it is. */
function reportFires(registry: SchedulerRegistry): void {
  for (const [job, cronJob] of registry.getCronJobs()) {
    const call = cronJob.fireOnTick.bind(cronJob);
    cronJob.fireOnTick = () => {
      const fire = Math.floor(cronJob.lastDate()!.getTime() / 1_000) * 1_000;
      send({ type: 'fire', job, fire });
      return fires.run(fire, call);
    };
  }
}

function send(report: Report): void {
  process.send?.(report);
}
