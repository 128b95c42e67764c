/** What an application says at its start of a namespace in which no Lease can be created, on each API server. */
import type { INestApplicationContext, Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { expect, it } from 'vitest';
import {
  K8sLockModule,
  WithLeaseLock,
  type K8sLockModuleOptions,
} from '../../lib/index.js';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import { describeOnServer } from '../api-servers.js';
import { WarningLog } from '../decorators/lock-app.js';

const MISSING = 'nestjs-k8s-lock-nowhere';

function lockedIn(namespace: string): Type {
  class Elsewhere {
    @WithLeaseLock('job', { namespace })
    async run() {}
  }
  return Elsewhere;
}

describeOnServer('a namespace that is checked at the start', (server) => {
  const start = async (
    options: K8sLockModuleOptions,
    providers: Type[] = [],
    logger: WarningLog | false = false,
  ): Promise<AsyncDisposable & INestApplicationContext> => {
    const { kubeConfig } = server;
    const module = await Test.createTestingModule({
      imports: [K8sLockModule.forRoot({ kubeConfig, ...options })],
      providers,
    })
      .setLogger(logger || new WarningLog())
      .compile();
    await module.init();
    return Object.assign(module, {
      [Symbol.asyncDispose]: () => module.close(),
    });
  };
  const terminate = async (): Promise<string> => {
    const namespace = await server.createNamespace();
    await server.terminateNamespace(namespace);
    return namespace;
  };

  it("lets the application start under 'require', and no Lease is made to find out", async () => {
    await using app = await start({ verifyAtStartup: 'require' });
    const store = new KubernetesLeaseStore({
      kubeConfig: server.kubeConfig,
      requestTimeout: 5_000,
    });
    const { namespace } = server;
    expect(
      await store.get({ namespace, name: 'nestjs-k8s-lock-check' }),
    ).toBeUndefined();
    store.close();
    expect(app).toBeDefined();
  });

  it.each<[string, () => Promise<string>, string]>([
    [
      'does not exist',
      async () => MISSING,
      'does not exist: create it, or configure another one',
    ],
    [
      'is being deleted',
      terminate,
      'is being deleted: nothing can be created in it',
    ],
  ])(
    'and %s keeps it from starting, be it that of the module or of a decorator',
    async (_, make, why) => {
      const namespace = await make();
      const fault = `The namespace ${namespace} ${why}`;
      const verifyAtStartup = 'require';
      await expect(start({ verifyAtStartup, namespace })).rejects.toThrow(
        fault,
      );
      await expect(
        start({ verifyAtStartup }, [lockedIn(namespace)]),
      ).rejects.toThrow(fault);
      const logger = new WarningLog();
      await using app = await start({ namespace }, [], logger);
      expect(await logger.next(why)).toContain(fault);
      expect(app).toBeDefined();
    },
  );

  it('does not matter where no Lease is to be created', async () => {
    const namespace = await terminate();
    await using app = await start({
      verifyAtStartup: 'require',
      createLease: false,
      namespace,
    });
    expect(app).toBeDefined();
  });
});
