/** @nestjs/bullmq: a processor, which gets its jobs from a real Redis. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  BullModule,
  getQueueToken,
  Processor,
  WorkerHost,
} from '@nestjs/bullmq';
import { SetMetadata } from '@nestjs/common';
import type { Job, Queue } from 'bullmq';
import { Redis } from 'ioredis';
import type { Combinations } from './combination-run.js';

export const bullmq: Combinations = {
  'BullMQ @Processor process()': async (run) => {
    const { above, below } = run.lock();
    @Processor('mails')
    class Mails extends WorkerHost {
      @above
      @SetMetadata('audited', true)
      @below
      async process(job: Job<{ to: string }>) {
        run.enter();
        if (job.data.to === 'nobody') {
          throw new Error('no such address');
        }
        return `mail to ${job.data.to}`;
      }
    }
    const connection = new Redis({
      path: run.redis,
      maxRetriesPerRequest: null,
    });
    run.onClose(() => connection.quit());
    const app = await run.start({
      imports: [
        BullModule.forRoot({ connection, prefix: randomUUID() }),
        BullModule.registerQueue({ name: 'mails' }),
      ],
      providers: [Mails],
    });
    const { worker } = app.get(Mails);
    const queue = app.get<Queue>(getQueueToken('mails'));
    const send = async (to: string, end: 'completed' | 'failed') => {
      const ended = once(worker, end);
      await queue.add('welcome', { to }, { jobId: to });
      await ended;
      const job = await queue.getJob(to);
      return job?.toJSON();
    };
    const failed = await send('nobody', 'failed');
    const completed = await send('ann', 'completed');
    return {
      status: failed?.failedReason,
      body: completed?.returnvalue,
      method: [Mails, 'process'],
      registration: {
        worker: worker.name,
        workers: await queue.getWorkersCount(),
      },
    };
  },
};
