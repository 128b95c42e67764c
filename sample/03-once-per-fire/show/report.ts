/** What a replica tells its parent: each run. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { INestApplicationContext } from '@nestjs/common';
import { SchedulerRegistry } from '@nestjs/schedule';
import { tellParent } from '../../stage/parent.js';
import { StatementService, type Job } from '../app/statement.service.js';

/** A job was run. */
export interface Report {
  readonly job: Job;
  /** The planned second, in milliseconds since the epoch, by the replica's own clock. */
  readonly fire: number;
}

/**
 * Reports each run from around the method that does the work, whatever the lock says. It is for the
 * second in which the scheduler called, however long it took to get the lock.
 */
export function reportRuns(app: INestApplicationContext): void {
  const calledAt = new AsyncLocalStorage<number>();
  for (const job of app.get(SchedulerRegistry).getCronJobs().values()) {
    const call = job.fireOnTick.bind(job);
    job.fireOnTick = () => calledAt.run(Date.now(), call);
  }

  const statements = app.get(StatementService);
  const send = statements.send.bind(statements);
  statements.send = async (job) => {
    const fire = Math.round(calledAt.getStore()! / 1_000) * 1_000;
    tellParent({ job, fire } satisfies Report);
    await send(job);
  };
}
