/** A program that imports the package where `@kubernetes/client-node` can't be loaded. */
import { createRequire, Module, register } from 'node:module';
import { Socket } from 'node:net';
import type { KubeConfigLike } from 'nestjs-k8s-lock';
import { answer } from './calls.js';
import { refuseClientNode } from './client-node-ban.js';

register('./client-node-ban.js', import.meta.url);
const load: (id: string) => unknown = Reflect.get(Module.prototype, 'require');
Module.prototype.require = function (this: Module, id: string) {
  refuseClientNode(id);
  return load.call(this, id);
};

/** Reads a lock, in an application. */
async function inspect(kubeConfig?: KubeConfigLike): Promise<string> {
  const { NestFactory } = await import('@nestjs/core');
  const { K8sLockModule, LockService } = await import('nestjs-k8s-lock');
  const app = await NestFactory.createApplicationContext(
    K8sLockModule.forRoot({ verifyAtStartup: false, kubeConfig }),
    { logger: false, abortOnError: false },
  );
  const { state } = await app.get(LockService).inspect('any');
  await app.close();
  return state;
}

const calls = {
  /** @returns the names of what the package exports */
  async importPackage(): Promise<string[]> {
    return Object.keys(await import('nestjs-k8s-lock'));
  },

  async importTesting(): Promise<string[]> {
    return Object.keys(await import('nestjs-k8s-lock/testing'));
  },

  /** @returns the names of what is not the same when it is required, of all entries */
  async findTwins(): Promise<string[]> {
    const requireHere = createRequire(import.meta.url);
    const entries = ['', '/testing', '/telemetry', '/health', '/leader'].map(
      (entry) => `nestjs-k8s-lock${entry}`,
    );
    // At once, with Nest in between: an ES module that is being imported can not be required.
    const [core, ...imported] = await Promise.all(
      ['@nestjs/core', ...entries, '@nestjs/common'].map(
        (specifier): Promise<Record<string, unknown>> => import(specifier),
      ),
    );
    if (!('NestFactory' in core!)) {
      throw new Error('Nest was not imported');
    }
    return entries.flatMap((entry, index) => {
      const required: Record<string, unknown> = requireHere(entry);
      const own = Object.keys(required);
      return own
        .filter((name) => required[name] !== imported[index]![name])
        .concat(own.length === 0 ? [`${entry} exports nothing`] : []);
    });
  },

  async inspectWithConfig(): Promise<string> {
    const { LeaseApiServer } = await import('nestjs-k8s-lock/testing');
    await using server = await LeaseApiServer.start();
    return await inspect(await server.kubeConfig());
  },

  /** Works with locks in memory, in a process that can open no connection. */
  async workInMemory(): Promise<string[]> {
    Socket.prototype.connect = () => {
      throw new Error('a connection was opened');
    };
    const { NestFactory } = await import('@nestjs/core');
    const { LockService } = await import('nestjs-k8s-lock');
    const { K8sLockTestingModule, LockTestingController } =
      await import('nestjs-k8s-lock/testing');
    const app = await NestFactory.createApplicationContext(
      K8sLockTestingModule.forRoot({ verifyAtStartup: 'require' }),
      { logger: false, abortOnError: false },
    );
    const locks = app.get(LockService);
    const controller = app.get(LockTestingController);
    await locks.withLock('any', async () => {
      await controller.stealFrom('any');
    });
    await controller.expireNow('other').catch(() => undefined);
    await app.close();
    return controller.events.map(({ type }) => type);
  },

  /** Does what needs client-node. */
  async inspectWithout(): Promise<string> {
    const { LockError } = await import('nestjs-k8s-lock');
    return inspect().catch((error: unknown) => {
      throw error instanceof LockError ? new Error(error.explanation) : error;
    });
  },
};

export type ImporterCalls = typeof calls;

answer(calls);
