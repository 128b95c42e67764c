import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';

async function bootstrap(): Promise<void> {
  const app = await NestFactory.createApplicationContext(AppModule);
  // On SIGTERM no new run starts. The signal of the present one aborts, and its lock is released when it has ended.
  app.enableShutdownHooks();
}

void bootstrap();
