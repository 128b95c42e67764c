/** A program that imports the package where `@kubernetes/client-node` can't be loaded. */
import { Module, register } from 'node:module';
import { NestFactory } from '@nestjs/core';
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
