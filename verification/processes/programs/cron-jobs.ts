/** A program with scheduled jobs, whose wall clock is off; in one of them the work never ends. */
import { KubeConfig } from '@kubernetes/client-node';
import { Injectable, type INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Cron, ScheduleModule } from '@nestjs/schedule';
import { K8sLockModule, LockService, WithLeaseLock } from 'nestjs-k8s-lock';
import { answer, report } from './calls.js';
import { skewWallClock } from './wall-clock.js';

const HOUR = 3_600_000;
/** Between two fires, in seconds. */
export const PERIOD = 4;
const EVERY_PERIOD = `*/${PERIOD} * * * * *`;

export interface CronJobsOptions {
  kubeConfigYaml: string;
  /** Before the names of its locks. */
  namePrefix?: string;
  leaseDuration: number;
  /** Milliseconds by which the wall clock is wrong. */
  shift: number;
  /** Whether work never ends. */
  hangs: boolean;
}

let hangs = false;
let app: INestApplicationContext;

async function work(job: string): Promise<void> {
  const period = PERIOD * 1_000;
  report('run', { job, fire: Math.round(Date.now() / period) * period });
  if (hangs) {
    await new Promise(() => undefined);
  }
}

@Injectable()
class Jobs {
  @Cron(EVERY_PERIOD)
  @WithLeaseLock('left')
  async left(): Promise<void> {
    await work('left');
  }

  @Cron(EVERY_PERIOD)
  @WithLeaseLock('retried', { onFailure: 'retry' })
  async retried(): Promise<void> {
    await work('retried');
  }
}

const calls = {
  async start(options: CronJobsOptions): Promise<void> {
    skewWallClock(options.shift / HOUR);
    ({ hangs } = options);
    const kubeConfig = new KubeConfig();
    kubeConfig.loadFromString(options.kubeConfigYaml);
    const { leaseDuration, namePrefix } = options;
    app = await NestFactory.createApplicationContext(
      {
        module: class App {
          readonly name = 'app';
        },
        imports: [
          ScheduleModule.forRoot(),
          K8sLockModule.forRoot({ kubeConfig, leaseDuration, namePrefix }),
        ],
        providers: [Jobs],
      },
      { logger: false, abortOnError: false },
    );
    app.get(LockService).events$.subscribe((event) => {
      if (event.type === 'executed' || event.type === 'skipped') {
        const reason = 'reason' in event ? event.reason : undefined;
        report(event.type, {
          job: event.name,
          fire: Number(event.fire),
          reason,
        });
      }
    });
  },

  /** Shuts the application down, as Nest does on SIGTERM. */
  async close(): Promise<void> {
    await app.close();
  },
};

export type CronJobsCalls = typeof calls;

answer(calls);
