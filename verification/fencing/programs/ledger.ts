/** A program whose leader writes into PostgreSQL, again and again, with its fencing token as a condition. */
import { setTimeout as sleep } from 'node:timers/promises';
import { KubeConfig } from '@kubernetes/client-node';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { K8sLockModule } from 'nestjs-k8s-lock';
import {
  LeaderElectionModule,
  Leadership,
  OnElected,
} from 'nestjs-k8s-lock/leader';
import { answer, report } from '../../processes/programs/calls.js';
import { psql, type PostgresAddress } from './psql.js';

export interface LedgerOptions {
  readonly kubeConfigYaml: string;
  /** Whose writes these are. */
  readonly writer: string;
  readonly leaseDuration: number;
  readonly postgres: PostgresAddress;
}

/** @returns whether it was accepted: no later leader has written */
async function write(
  postgres: PostgresAddress,
  writer: string,
  token: bigint,
): Promise<boolean> {
  const answered = await psql(
    postgres,
    `WITH accepted AS (
       UPDATE ledger SET writer = '${writer}', fencing_token = ${token}
       WHERE id = 'balance' AND fencing_token <= ${token}
       RETURNING writer, fencing_token)
     INSERT INTO writes (writer, fencing_token) SELECT * FROM accepted`,
  );
  return answered === 'INSERT 0 1';
}

const calls = {
  async open({
    kubeConfigYaml,
    writer,
    leaseDuration,
    postgres,
  }: LedgerOptions): Promise<void> {
    const kubeConfig = new KubeConfig();
    kubeConfig.loadFromString(kubeConfigYaml);

    class Ledger {
      /** It never looks at its signal: a process can be paused between a look and a write. */
      @OnElected('ledger')
      async keep({ fencingToken }: Leadership): Promise<void> {
        const token = String(fencingToken);
        report('elected', { token });
        while (await write(postgres, writer, fencingToken)) {
          report('written', { token });
          await sleep(10);
        }
        report('refused', { token });
      }
    }

    @Module({
      imports: [
        K8sLockModule.forRoot({ kubeConfig, verifyAtStartup: false }),
        LeaderElectionModule.forFeature('ledger', { leaseDuration }),
      ],
      providers: [Ledger],
    })
    // oxlint-disable-next-line typescript/no-extraneous-class -- what a module has is in its decorator
    class AppModule {}

    await NestFactory.createApplicationContext(AppModule, {
      logger: false,
      abortOnError: false,
    });
  },
};

export type LedgerCalls = typeof calls;

answer(calls);
