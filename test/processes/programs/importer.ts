/** A program that imports the package where `@kubernetes/client-node` can't be loaded. */
import { register } from 'node:module';
import { answer } from './calls.js';

register('./client-node-ban.js', import.meta.url);

const calls = {
  /** @returns the names of what the package exports */
  async importPackage(): Promise<string[]> {
    return Object.keys(await import('nestjs-k8s-lock'));
  },

  async importTesting(): Promise<string[]> {
    return Object.keys(await import('nestjs-k8s-lock/testing'));
  },

  /** Does what needs client-node. */
  async makeKubeConfig(): Promise<void> {
    const { LeaseApiServer } = await import('nestjs-k8s-lock/testing');
    await using server = await LeaseApiServer.start();
    await server.kubeConfig();
  },
};

export type ImporterCalls = typeof calls;

answer(calls);
