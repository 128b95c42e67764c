/** What a replica tells its parent: that it is ready, and each run. */
import type { INestApplicationContext } from '@nestjs/common';
import { StatementService, type Job } from '../app/statement.service.js';

export type Report =
  | { readonly type: 'ready' }
  /** `fire`: the planned second, in milliseconds since the epoch, by the replica's own clock. */
  | { readonly type: 'run'; readonly job: Job; readonly fire: number };

/** Reports each run from around the method that does the work, whatever the lock says. */
export function reportRuns(app: INestApplicationContext): void {
  const statements = app.get(StatementService);
  const send = statements.send.bind(statements);
  statements.send = async (job) => {
    // The job fires in each second, so the nearest one is the one that it was planned for.
    const fire = Math.round(Date.now() / 1_000) * 1_000;
    report({ type: 'run', job, fire });
    await send(job);
  };
}

export function report(message: Report): void {
  process.send?.(message);
}

/** Ends this process with its parent, however that ended. */
export function endWithParent(): void {
  process.once('disconnect', () => process.exit(1));
  if (!process.connected) {
    process.exit(1);
  }
}
