/** Measures a decorated method: the cost of its lock beyond its requests. */
import { KubeConfig } from '@kubernetes/client-node';
import { Injectable } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { K8sLockModule, LockService, WithLeaseLock } from 'nestjs-k8s-lock';
import { answer } from '../../verification/processes/programs/calls.js';
import { inTurns, timeOf, type Samples } from './in-turns.js';
import { storeOfThePackage } from './of-the-package.js';

@Injectable()
class Work {
  async unlocked(): Promise<void> {}

  @WithLeaseLock('measured')
  async locked(): Promise<void> {}
}

let work: Work;
let service: LockService;

const calls = {
  async open(kubeConfigYaml: string): Promise<void> {
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
    work = app.get(Work);
    service = app.get(LockService);
  },

  /** Locked calls, without the time in which a request of them is under way, against unlocked ones. */
  betweenRequests(rounds: number): Promise<Samples> {
    let inRequests = 0;
    service.requests$.subscribe(({ duration }) => {
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

  /**
   * Locked calls against unlocked ones, while each write succeeds at once without being sent. Must be the last
   * measurement: what the application knows from then on is not what the API server has.
   */
  answeredAtOnce(rounds: number): Promise<Samples> {
    const { prototype } = storeOfThePackage();
    prototype.replace = async (_, lease) => {
      const made = typeof lease === 'function' ? lease() : lease;
      const resourceVersion = String(
        BigInt(made.metadata.resourceVersion) + 1n,
      );
      return { ...made, metadata: { ...made.metadata, resourceVersion } };
    };
    return inTurns(
      rounds,
      () => timeOf(() => work.locked()),
      () => timeOf(() => work.unlocked()),
    );
  },
};

export type LockedMethodCalls = typeof calls;

answer(calls);
