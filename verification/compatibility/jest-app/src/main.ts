import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { K8sLockModule, LeaseLock } from 'nestjs-k8s-lock';
import { LeaseApiServer } from 'nestjs-k8s-lock/testing';
import { AppService } from './app.service';

/** Prints what the decorated parameter came to, compiled and at run time. */
async function main(): Promise<void> {
  const server = await LeaseApiServer.start();
  const locks = K8sLockModule.forRoot({
    kubeConfig: await server.kubeConfig(),
  });
  const app = await NestFactory.createApplicationContext(
    { module: class Root {}, imports: [locks], providers: [AppService] },
    { logger: false },
  );
  const [type] = Reflect.getMetadata(
    'design:paramtypes',
    AppService.prototype,
    'nightly',
  ) as [unknown];
  console.log(
    JSON.stringify({
      held: await app.get(AppService).nightly(),
      isLeaseLock: type === LeaseLock,
    }),
  );
  await app.close();
  await server.stop();
}
void main();
