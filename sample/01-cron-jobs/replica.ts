/** One replica: what the application's own main.ts would do, and reports to the parent process. */
import { NestFactory } from '@nestjs/core';
import { AppModule } from './app/app.module.js';
import { endWithParent, reportListening, reportWork } from './show/report.js';

endWithParent();

try {
  const app = await NestFactory.create(AppModule, {
    logger: ['fatal', 'error', 'warn'],
  });
  // On SIGTERM: no new runs, the one under way ends, its lock is released.
  app.enableShutdownHooks();
  reportWork(app);
  await app.listen(process.env.PORT ?? 0, '127.0.0.1');
  await reportListening(app);
} catch (error) {
  process.stderr.write(`The application does not start. ${String(error)}\n`);
  process.exit(1);
}
