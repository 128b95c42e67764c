/** Runs the examples that start an application by themselves: they find an embedded API server by a kubeconfig file. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DynamicModule, INestApplication, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { SchedulerRegistry } from '@nestjs/schedule';
import { firstValueFrom, skipWhile } from 'rxjs';
import { expect, vi } from 'vitest';
import { LockService } from '../../../lib/index.js';
import { LeaseApiServer } from '../../../lib/testing/index.js';
import { eventually } from '../../support/eventually.js';
import type { SnippetTest, Statements } from './snippet-test.js';

export const setUp: Record<string, SnippetTest> = {
  'quick-start': async (load) => {
    await using cluster = await startCluster();
    const log = vi.spyOn(console, 'log').mockReturnValue();
    const { AppModule } = await load<{ AppModule: Type }>();
    const pods = [await startPod(AppModule), await startPod(AppModule)];
    await eventually(() => expect(cluster.server.openWatches()).toBe(2));
    const outcomes: string[] = [];
    for (const pod of pods) {
      // One after the other, as when their clocks differ.
      const [job] = pod.get(SchedulerRegistry).getCronJobs().values();
      const outcome = nextOutcome(pod.get(LockService));
      job!.lastExecution = new Date(); // as its timer does
      void job!.fireOnTick();
      outcomes.push(await outcome);
    }
    expect(outcomes).toEqual(['released', 'skipped']);
    expect(log.mock.calls).toEqual([['only one pod prints this']]);
    await Promise.all(pods.map((pod) => pod.close()));
  },

  main: async (load) => {
    await using cluster = await startCluster({ PORT: '0' });
    const listenersBefore = process.listenerCount('SIGTERM');
    const program = await load<Statements<{ app: INestApplication }>>();
    const { app } = await program.default();
    expect(process.listenerCount('SIGTERM')).toBe(listenersBefore + 1);
    const { status } = await fetch(await app.getUrl());
    expect(status).toBe(404);

    const lock = await app.get(LockService).acquire('import');
    const stillHeld = new Promise((resolve) => {
      lock.signal.addEventListener('abort', () => {
        resolve(lock.isHeld);
        void lock.release();
      });
    });
    await app.close();
    expect(await stillHeld).toBe(true);
    const [lease] = cluster.server.leases();
    expect(lease?.spec?.holderIdentity).toBeUndefined();
  },

  'for-root-async': async (load) => {
    await using cluster = await startCluster({
      LOCK_NAMESPACE: 'jobs',
      ENVIRONMENT: 'staging',
    });
    const { AppModule } = await load<{ AppModule: Type }>();
    const pod = await startPod(AppModule);
    await pod.get(LockService).withLock('import', () => undefined);
    expect(cluster.server.leases('jobs')).toMatchObject([
      { metadata: { name: 'staging-import' } },
    ]);
    await pod.close();
  },

  sessions: async (load) => {
    await using cluster = await startCluster();
    const { AppModule } = await load<{ AppModule: Type }>();
    const pod = await startPod(AppModule);
    const locks = pod.get(LockService);
    const held = [await locks.acquire('one'), await locks.acquire('two')];
    expect(held.map(({ isHeld }) => isHeld)).toEqual([true, true]);
    const session = expect.stringMatching(/^session-/);
    expect(await locks.list()).toMatchObject([
      { name: 'one', state: 'held', session },
      { name: 'two', state: 'held', session },
    ]);
    expect(cluster.server.leases('jobs')).toHaveLength(3);
    await Promise.all(held.map((lock) => lock.release()));
    await pod.close();
    expect(cluster.server.leases('jobs')).toHaveLength(2);
  },

  'without-cluster': async (load) => {
    await using cluster = await startCluster({ NODE_ENV: 'development' });
    const start = vi.spyOn(LeaseApiServer, 'start');
    const { AppModule } = await load<{ AppModule: Type }>();
    const lockOnce = async () => {
      const pod = await startPod(AppModule);
      await pod.get(LockService).withLock('import', () => undefined);
      await pod.close();
    };
    await lockOnce();
    await using own: LeaseApiServer = await start.mock.results[0]!.value;
    expect(own.leases()).toMatchObject([{ metadata: { name: 'import' } }]);
    expect(cluster.server.requests.count()).toBe(0);

    for (const environment of ['production', undefined]) {
      vi.stubEnv('NODE_ENV', environment);
      cluster.server.requests.clear();
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await lockOnce();
      expect(cluster.server.requests.count()).toBeGreaterThan(0);
    }
    expect(start).toHaveBeenCalledOnce();
  },

  'kube-config': async (load) => {
    await using cluster = await startCluster();
    const { lockModule } = await load<{ lockModule: DynamicModule }>();
    const pod = await startPod(lockModule);
    await pod.get(LockService).withLock('import', () => undefined);
    expect(
      cluster.server.requests.count({ namespace: 'jobs', user: 'staging' }),
    ).toBeGreaterThan(0);
    await pod.close();
  },
};

export interface Cluster extends AsyncDisposable {
  readonly server: LeaseApiServer;
}

/** Sets KUBECONFIG to a file with the contexts `embedded` and `staging`, and what else is given. */
export async function startCluster(
  environment: Record<string, string> = {},
): Promise<Cluster> {
  const server = await LeaseApiServer.start();
  const folder = await mkdtemp(join(tmpdir(), 'nestjs-k8s-lock-readme-'));
  const path = join(folder, 'kubeconfig');
  const [config, staging] = ['embedded', 'staging'].map((user) =>
    JSON.parse(server.kubeConfigYaml({ user })),
  );
  config.users.push(...staging.users);
  config.contexts.push({
    name: 'staging',
    context: { cluster: 'embedded', user: 'staging' },
  });
  await writeFile(path, JSON.stringify(config));
  for (const [name, value] of Object.entries({
    ...environment,
    KUBECONFIG: path,
  })) {
    vi.stubEnv(name, value);
  }
  return {
    server,
    [Symbol.asyncDispose]: async () => {
      vi.unstubAllEnvs();
      await server.stop();
      await rm(folder, { recursive: true });
    },
  };
}

export async function startPod(module: Type | DynamicModule) {
  return NestFactory.createApplicationContext(module);
}

/** How the next call of a decorated method ends. */
async function nextOutcome(locks: LockService): Promise<string> {
  const { type } = await firstValueFrom(
    locks.events$.pipe(
      skipWhile(({ type: each }) => each !== 'released' && each !== 'skipped'),
    ),
  );
  return type;
}
