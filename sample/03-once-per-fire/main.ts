import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';

const app = await NestFactory.createApplicationContext(AppModule);
// On SIGTERM no new run starts, the present one ends, and its lock is released.
app.enableShutdownHooks();
