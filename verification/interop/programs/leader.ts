/**
 * A program that leads by the election of this package, as those written in Go do by client-go's: its options are a line
 * of JSON on stdin, what it believes goes to stdout, whatever is wrong is on stderr, and it closes when its stdin ends.
 */
import { createInterface } from 'node:readline';
import { KubeConfig } from '@kubernetes/client-node';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { K8sLockModule, type LockLostError } from 'nestjs-k8s-lock';
import {
  LeaderElectionModule,
  OnDeposed,
  OnElected,
  type Leadership,
} from 'nestjs-k8s-lock/leader';
import type { BeliefEvent } from '../../beliefs/belief-log.js';
import { monotonic } from '../../processes/programs/calls.js';
import type { LeaderOptions } from './options.js';

async function run(options: LeaderOptions): Promise<void> {
  const {
    name: clientId,
    kubeConfigYaml,
    namespace,
    lock,
    ...timing
  } = options;
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromString(kubeConfigYaml);
  const asked = monotonic();

  class Work {
    private holding = '';

    @OnElected(lock)
    begin({ signal, fencingToken }: Leadership): void {
      const token = String(fencingToken);
      const holding = `${clientId} ${token}`;
      this.holding = holding;
      say({ event: 'acquired', lock, holding, token, asked, at: monotonic() });
      signal.addEventListener('abort', () => {
        const { reason }: LockLostError = signal.reason;
        const how = reason === 'shutdown' ? 'released' : 'lost';
        say({ event: 'ended', holding, how, reason, at: monotonic() });
      });
    }

    @OnDeposed(lock)
    end(): void {
      if (this.holding === '') {
        console.error('deposed before it was elected');
      }
    }
  }

  @Module({
    imports: [
      K8sLockModule.forRoot({
        clientId,
        kubeConfig,
        namespace,
        verifyAtStartup: false,
      }),
      LeaderElectionModule.forFeature(lock, timing),
    ],
    providers: [Work],
  })
  // oxlint-disable-next-line typescript/no-extraneous-class -- what a module has is in its decorator
  class AppModule {}

  const app = await NestFactory.createApplicationContext(AppModule, {
    logger: ['error', 'warn'],
    abortOnError: false,
  });
  input.once('close', () => void app.close().then(() => process.exit()));
}

/** Writes at once: nothing is lost when the process is killed in the next moment. */
function say(event: BeliefEvent): void {
  console.log(JSON.stringify(event));
}

const input = createInterface({ input: process.stdin });
input.once('line', (line) => void run(JSON.parse(line)));
