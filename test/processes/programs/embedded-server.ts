/** A program that is nothing but the embedded API server: one that can be stopped and killed by signals. */
import { LeaseApiServer } from 'nestjs-k8s-lock/testing';
import { answer } from './calls.js';

let server: LeaseApiServer;

const calls = {
  /** @returns a kubeconfig */
  async start(): Promise<string> {
    server = await LeaseApiServer.start();
    return server.kubeConfigYaml();
  },
};

export type EmbeddedServerCalls = typeof calls;

answer(calls);
