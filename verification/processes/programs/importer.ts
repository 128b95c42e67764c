/** A program that imports the package where `@kubernetes/client-node` can't be loaded. */
import { createRequire, Module, register } from 'node:module';
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
    const entries = ['', '/testing', '/telemetry', '/health'].map(
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
