/** Measures a decorated method: the cost of its lock beyond its requests. */
import { KubeConfig } from '@kubernetes/client-node';
import { Injectable } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { K8sLockModule, LockService, WithLeaseLock } from 'nestjs-k8s-lock';
import { answer } from '../../verification/processes/programs/calls.js';
import { inTurns, timeOf, type Samples } from './in-turns.js';

@Injectable()
class Work {
  async unlocked(): Promise<void> {}

  @WithLeaseLock('measured')
  async locked(): Promise<void> {}
}

const calls = {
  /** Locked calls, without the time in which a request of them is under way, against unlocked ones. */
  async decorated(kubeConfigYaml: string, rounds: number): Promise<Samples> {
    const kubeConfig = new KubeConfig();
    kubeConfig.loadFromString(kubeConfigYaml);
    const app = await NestFactory.createApplicationContext(
      {
        module: class App {
          readonly name = 'app';
        },
        imports: [K8sLockModule.forRoot({ kubeConfig })],
        providers: [Work],
      },
      { logger: false, abortOnError: false },
    );
    const work = app.get(Work);
    let inRequests = 0;
    app.get(LockService).requests$.subscribe(({ duration }) => {
      inRequests += duration;
    });
    return inTurns(
      rounds,
      async () => {
        inRequests = 0;
        const time = await timeOf(() => work.locked());
        return time - inRequests;
      },
      () => timeOf(() => work.unlocked()),
    );
  },
};

export type LockedMethodCalls = typeof calls;

answer(calls);
