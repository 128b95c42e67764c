/** One replica: what the application's own main.ts would do, and reports to the parent process. */
import { NestFactory } from '@nestjs/core';
import { startReplica } from '../stage/parent.js';
import { AppModule } from './app/app.module.js';
import { reportWork } from './show/report.js';

await startReplica(async () => {
  const app = await NestFactory.create(AppModule, {
    logger: ['fatal', 'error', 'warn'],
  });
  // On SIGTERM: no new runs, the one under way ends, its lock is released.
  app.enableShutdownHooks();
  reportWork(app);
  await app.listen(process.env.PORT ?? 0, '127.0.0.1');
  return app.getUrl();
});
