/** One replica: what the application's own main.ts would do, under a clock that is off, and reports to the parent process. */
// oxlint-disable-next-line import/no-unassigned-import -- it is there for what it does
import './show/shifted-clock.js';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app/app.module.js';
import { startReplica } from '../stage/parent.js';
import { reportRuns } from './show/report.js';

await startReplica(async () => {
  const app = await NestFactory.createApplicationContext(AppModule, {
    logger: ['fatal', 'error', 'warn'],
  });
  app.enableShutdownHooks();
  reportRuns(app);
});
