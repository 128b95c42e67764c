/** @nestjs/schedule: jobs, intervals and timeouts. */
import { Injectable } from '@nestjs/common';
import {
  Cron,
  Interval,
  ScheduleModule,
  SchedulerRegistry,
  Timeout,
} from '@nestjs/schedule';
import type { Combinations } from './combination-run.js';

const imports = [ScheduleModule.forRoot()];

export const schedule: Combinations = {
  '@Cron': async (run) => {
    const { above, below } = run.lock();
    @Injectable()
    class Reports {
      @above
      @Cron('0 0 3 1 1 *', { name: 'yearly', timeZone: 'Europe/Zurich' })
      @below
      async run() {
        run.enter();
      }
    }
    const app = await run.start({ imports, providers: [Reports] });
    const jobs = app.get(SchedulerRegistry).getCronJobs();
    const registration = [...jobs].map(([name, { cronTime, isActive }]) => ({
      name,
      isActive,
      source: cronTime.source,
      timeZone: cronTime.timeZone,
    }));
    const fired = [...jobs.values()].map((job) => job.fireOnTick());
    await run.entered();
    return {
      status: await Promise.allSettled(fired),
      method: [Reports, 'run'],
      registration,
    };
  },

  // An interval would fire again and again, so each takes what is registered along, and ends it.
  '@Interval': async (run) => {
    const { above, below } = run.lock('work', { isClaiming: true });
    @Injectable()
    class Reports {
      constructor(private readonly registry: SchedulerRegistry) {}

      @above
      @Interval('often', 50)
      @below
      async run() {
        run.enter(this.registry.getIntervals());
        this.registry.deleteInterval('often');
      }
    }
    await run.start({ imports, providers: [Reports] });
    return {
      method: [Reports, 'run'],
      registration: await run.entered(),
    };
  },

  '@Timeout': async (run) => {
    const { above, below } = run.lock();
    @Injectable()
    class Reports {
      constructor(private readonly registry: SchedulerRegistry) {}

      @above
      @Timeout('soon', 5)
      @below
      async run() {
        run.enter(this.registry.getTimeouts());
      }
    }
    await run.start({ imports, providers: [Reports] });
    return {
      method: [Reports, 'run'],
      registration: await run.entered(),
    };
  },
};
