/** One replica: what the application's own main.ts would do, under a clock that is off, and reports to the parent process. */
// oxlint-disable-next-line import/no-unassigned-import -- it is there for what it does
import './show/shifted-clock.js';
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app/app.module.js';
import { endWithParent, report, reportRuns } from './show/report.js';

endWithParent();

try {
  const app = await NestFactory.createApplicationContext(AppModule, {
    logger: ['fatal', 'error', 'warn'],
  });
  app.enableShutdownHooks();
  reportRuns(app);
  report({ type: 'ready' });
} catch (error) {
  process.stderr.write(`The application does not start. ${String(error)}\n`);
  process.exit(1);
}
