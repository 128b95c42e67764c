/**
 * Prints as JSON which functions of the package one fire of a locked `@Cron` method enters, by V8's precise
 * coverage: the third fire, so that the record is cached, the connection open and the code warm. Nobody else
 * wants the lock.
 */
import { EventEmitter, once } from 'node:events';
import { Session } from 'node:inspector/promises';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Cron, ScheduleModule } from '@nestjs/schedule';
import { K8sLockModule, LockService, WithLeaseLock } from 'nestjs-k8s-lock';
import { LeaseApiServer } from 'nestjs-k8s-lock/testing';

const dist = fileURLToPath(
  new URL('.', import.meta.resolve('nestjs-k8s-lock')),
);

@Injectable()
class Jobs {
  @Cron('* * * * * *')
  @WithLeaseLock('job')
  async run(): Promise<void> {}
}

const server = await LeaseApiServer.start();

@Module({
  imports: [
    ScheduleModule.forRoot(),
    K8sLockModule.forRoot({ kubeConfig: await server.kubeConfig() }),
  ],
  providers: [Jobs],
})
class App {}

const app = await NestFactory.createApplicationContext(App, {
  logger: ['fatal', 'error', 'warn', 'log'],
});
const fires = new EventEmitter();
app.get(LockService).events$.subscribe(({ type }) => {
  if (type === 'released') {
    // What follows the release in its turn belongs to the call, too.
    setImmediate(() => fires.emit('released'));
  }
});

await once(fires, 'released');
await once(fires, 'released');
const session = new Session();
session.connect();
await session.post('Profiler.enable');
await session.post('Profiler.startPreciseCoverage', {
  callCount: true,
  detailed: false,
});
await session.post('Profiler.takePreciseCoverage');
await once(fires, 'released');
const { result } = await session.post('Profiler.takePreciseCoverage');

const path: Record<string, string[]> = {};
for (const { url, functions } of result) {
  const file = url.startsWith('file:')
    ? relative(dist, fileURLToPath(url))
    : '';
  // The first range of a module is its own, as a function without a name.
  const entered = functions
    .filter(({ ranges: [range] }) => range!.count > 0 && range!.startOffset > 0)
    .map(({ functionName }) => functionName);
  if (/^(?!\.\.|testing\/)[^/].*\.js$/.test(file) && entered.length > 0) {
    path[file] = entered;
  }
}
process.stdout.write(`\n${JSON.stringify(path)}\n`);

await app.close();
await server.stop();
