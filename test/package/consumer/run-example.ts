/** Part of the consumer applications: runs the README's first example in two replicas, and a lock by hand. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { INestApplication, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { SchedulerRegistry } from '@nestjs/schedule';
import { LockNotAcquiredError, LockService } from 'nestjs-k8s-lock';
import { LeaseApiServer } from 'nestjs-k8s-lock/testing';
import { filter, firstValueFrom } from 'rxjs';

/** Prints what came of it, as JSON in the last line. */
export async function runExample(appModule: Type): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-consumer-'));
  const server = await LeaseApiServer.start();
  process.env.KUBECONFIG = join(folder, 'kubeconfig');
  await writeFile(process.env.KUBECONFIG, server.kubeConfigYaml());
  const first = await start(appModule);
  const second = await start(appModule);
  // Both have looked at the Lease before the job fires, as they have in the field.
  while (server.openWatches() < 2) {
    await sleep(10);
  }
  const outcomes = await Promise.all([fire(first), fire(second)]);
  const byHand = await contend(first.get(LockService), second.get(LockService));
  await Promise.all([first.close(), second.close()]);
  await server.stop();
  await rm(folder, { recursive: true });
  console.log(
    JSON.stringify({
      ran: outcomes.filter((outcome) => outcome === 'released').length,
      skipped: outcomes.filter((outcome) => outcome === 'skipped').length,
      ...byHand,
      node: process.versions.node,
    }),
  );
}

async function start(appModule: Type): Promise<INestApplication> {
  const app = await NestFactory.create(appModule, {
    logger: ['error', 'warn'],
  });
  return app.init();
}

/** Fires its jobs; resolves with what became of the lock. */
async function fire(app: INestApplication): Promise<string> {
  const outcome = firstValueFrom(
    app
      .get(LockService)
      .events$.pipe(
        filter(({ type }) => type === 'released' || type === 'skipped'),
      ),
  );
  for (const job of app.get(SchedulerRegistry).getCronJobs().values()) {
    job.lastExecution = new Date(); // as its timer does
    void job.fireOnTick();
  }
  return (await outcome).type;
}

/** One holds a lock, the other wants it, and gets it when it is free. */
async function contend(
  first: LockService,
  second: LockService,
): Promise<Record<string, unknown>> {
  let refusal: unknown;
  let token: bigint;
  {
    await using lock = await first.acquire('import');
    token = lock.fencingToken;
    refusal = await second
      .acquire('import', { waitTimeout: 100 })
      .catch((error: unknown) => error);
  }
  await using next = await second.acquire('import');
  return {
    status: refusal instanceof LockNotAcquiredError && refusal.getStatus(),
    isTokenGreater: next.fencingToken > token,
  };
}
