/** What the module does before the application is ready: observation and the first check. */
import { Injectable, Module } from '@nestjs/common';
import { Cron, Interval, ScheduleModule } from '@nestjs/schedule';
import { describe, expect, it } from 'vitest';
import {
  K8sLockModule,
  LockBackendError,
  LockConfigurationError,
  LockService,
  WithLeaseLock,
  type KubeConfigLike,
} from '../../lib/index.js';
import { resolveModuleOptions } from '../../lib/k8s-lock.options.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { startLockApp, WarningLog } from '../decorators/lock-app.js';

const REVIEW = { resource: 'selfsubjectaccessreviews' };

@Injectable()
class Jobs {
  @Cron('0 0 1 1 *')
  @WithLeaseLock('nightly')
  async nightly() {
    return 'ran';
  }

  @WithLeaseLock('hourly')
  @Interval(3_600_000)
  async hourly() {}

  @WithLeaseLock('skipping', { onLocked: 'skip' })
  async skipping() {}

  @WithLeaseLock('waiting')
  async waiting() {}

  @Cron('0 0 1 1 *')
  @WithLeaseLock('patient', { onLocked: 'wait' })
  async patient() {}

  @Cron('0 0 1 1 *')
  @WithLeaseLock(() => 'dynamic')
  async dynamic() {}
}

@Injectable()
class Unscheduled {
  @WithLeaseLock('unscheduled')
  async run() {
    return 'ran';
  }
}

describe('observation', () => {
  it('begins at startup for the static names of methods that skip, or run once per fire', async () => {
    await using server = await LeaseApiServer.start();
    const names = ['nightly', 'hourly', 'skipping', 'patient'];
    const watches = names.map((name) =>
      server.requests.next({ verb: 'watch', name }),
    );
    await using _ = await startLockApp({ providers: [Jobs] }, { server });
    await Promise.all(watches);
    expect(
      new Set(server.requests.all().map((request) => request.name)),
    ).toEqual(new Set(names));
  });

  it('lets the first run after a crash take the lock', async () => {
    await using server = await LeaseApiServer.start();
    const crashed = new LockService(
      resolveModuleOptions({ kubeConfig: await server.kubeConfig() }),
    );
    const dead = await crashed.acquire('nightly', {
      leaseDuration: 1_000,
      autoRenew: false,
    });
    await using fixture = await startLockApp({ providers: [Jobs] }, { server });
    expect(await fixture.app.get(Jobs).nightly()).toBe('ran');
    expect(dead.isHeld).toBe(false);
  });
});

const withoutUpdate = () =>
  LeaseApiServer.start({ allow: ({ verb }) => verb !== 'update' });

describe('the first check', () => {
  it('warns by default of the rights that are missing, and how to grant them', async () => {
    await using server = await withoutUpdate();
    const logger = new WarningLog();
    await using _ = await startLockApp(
      {},
      { server, logger, lock: { verifyAtStartup: undefined } },
    );
    const warning = await logger.next('does not grant');
    expect(warning).toContain('may not update leases.coordination.k8s.io');
    expect(warning).not.toContain('may not get');
    expect(warning).toMatch(/Add to its Role: .*leases.*watch.*update/);
    expect(logger.warnings).toHaveLength(1);
  });

  it.each(['warn', 'require'] as const)(
    "under '%s' starts without the right to patch, and warns once of what that costs",
    async (verifyAtStartup) => {
      await using server = await LeaseApiServer.start({
        allow: ({ verb }) => verb !== 'patch',
      });
      const logger = new WarningLog();
      await using fixture = await startLockApp(
        { providers: [Unscheduled] },
        { server, logger, lock: { verifyAtStartup } },
      );
      const warning = await logger.next("can't wait in line");
      expect(warning).toContain('may not patch leases.coordination.k8s.io');
      expect(warning).toMatch(/Add to its Role: .*leases.*patch/);
      expect(await fixture.app.get(Unscheduled).run()).toBe('ran');
      expect(logger.warnings).toHaveLength(1);
    },
  );

  it('names the right to patch among others in one message', async () => {
    await using server = await LeaseApiServer.start({
      allow: ({ verb }) => verb !== 'patch' && verb !== 'update',
    });
    const logger = new WarningLog();
    const start = startLockApp(
      {},
      { server, logger, lock: { verifyAtStartup: 'require' } },
    );
    await expect(start).rejects.toThrow(/may not update .*may not patch/);
    expect(logger.warnings).toEqual([]);
  });

  it('warns when the API server can not be reached', async () => {
    await using server = await LeaseApiServer.start();
    await server.refuseConnections();
    const logger = new WarningLog();
    await using _ = await startLockApp(
      {},
      { server, logger, lock: { verifyAtStartup: 'warn' } },
    );
    expect(await logger.next('ECONNREFUSED')).toContain(server.url.slice(-5));
  });

  it('does not hold up the start, and is forgotten when the application closes', async () => {
    await using server = await LeaseApiServer.start();
    using held = server.faults.inject({ kind: 'hold', when: 'before' }, REVIEW);
    const logger = new WarningLog();
    {
      await using _ = await startLockApp(
        {},
        {
          server,
          logger,
          lock: { verifyAtStartup: 'warn', requestTimeout: 600_000 },
        },
      );
      await held.hit();
    }
    held.release();
    expect(logger.warnings).toEqual([]);
  });

  it("under 'require' keeps the application from starting without rights", async () => {
    await using server = await withoutUpdate();
    const start = startLockApp(
      {},
      { server, lock: { verifyAtStartup: 'require' } },
    );
    await expect(start).rejects.toThrow(LockConfigurationError);
    await expect(start).rejects.toThrow('may not update');
  });

  it("under 'require' keeps the application from starting without an API server", async () => {
    await using server = await LeaseApiServer.start();
    await server.refuseConnections();
    const start = startLockApp(
      {},
      { server, lock: { verifyAtStartup: 'require' } },
    );
    await expect(start).rejects.toThrow(LockBackendError);
  });

  it("under 'require' is content with rights on the names that are used", async () => {
    const names = ['one', 'two'];
    await using server = await LeaseApiServer.start({
      allow: ({ verb, group, name }) =>
        group !== 'coordination.k8s.io' ||
        verb === 'create' ||
        (name !== undefined && names.includes(name)),
    });
    class Named {
      @WithLeaseLock('one')
      async one() {
        return 'ran';
      }

      @WithLeaseLock('two')
      async two() {}
    }
    await using fixture = await startLockApp(
      { providers: [Named] },
      { server, lock: { verifyAtStartup: 'require' } },
    );
    expect(server.requests.count(REVIEW)).toBeGreaterThan(names.length);
    expect(await fixture.app.get(Named).one()).toBe('ran');
  });

  it('is left out with false', async () => {
    await using fixture = await startLockApp(
      { providers: [Jobs] },
      { lock: { verifyAtStartup: false } },
    );
    await fixture.app.get(Jobs).waiting();
    expect(fixture.server.requests.count(REVIEW)).toBe(0);
  });
});

const makeLibrary = (kubeConfig: KubeConfigLike, isGlobal: boolean) => {
  @Module({
    imports: [
      K8sLockModule.forRoot({
        kubeConfig,
        namespace: 'of-library',
        verifyAtStartup: false,
        isGlobal,
      }),
    ],
  })
  class LibraryModule {
    readonly isLibrary = true;
  }
  return LibraryModule;
};

describe('two global modules', () => {
  it('are warned of once, with those that import them and their namespaces', async () => {
    await using server = await LeaseApiServer.start();
    const library = makeLibrary(await server.kubeConfig(), true);
    const logger = new WarningLog();
    await using _ = await startLockApp(
      { imports: [library, ScheduleModule.forRoot()] },
      { server, logger, lock: { namespace: 'of-app' } },
    );
    expect(logger.warnings).toEqual([
      expect.stringMatching(
        /^K8sLockModule is imported as global 2 times, by \w+ \(namespace: of-app\) and by LibraryModule \(namespace: of-library\)\. .*isGlobal: false/,
      ),
    ]);
  });

  it('are fine where only one is global', async () => {
    await using server = await LeaseApiServer.start();
    const library = makeLibrary(await server.kubeConfig(), false);
    const logger = new WarningLog();
    await using _ = await startLockApp(
      { imports: [library] },
      { server, logger, lock: { namespace: 'of-app' } },
    );
    expect(logger.warnings).toEqual([]);
  });
});
