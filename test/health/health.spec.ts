/** The health indicator under the real Terminus, with an API server that fails in every way. */
import { clientOf } from '../../lib/lock.client.js';
import { Controller, Get } from '@nestjs/common';
import {
  HealthCheck,
  HealthCheckService,
  HealthIndicatorService,
  TerminusModule,
  type HealthCheckResult,
} from '@nestjs/terminus';
import { describe, expect, it, vi } from 'vitest';
import { LockHealthIndicator } from '../../lib/health/index.js';
import type { LockService } from '../../lib/index.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import { startLockApp, type LockApp } from '../decorators/lock-app.js';
import { aborted } from '../support/aborted.js';
import { eventually } from '../support/eventually.js';

@Controller('health')
class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly locks: LockHealthIndicator,
  ) {}

  @Get('ready')
  @HealthCheck()
  ready() {
    return this.health.check([
      () => this.locks.isHealthy('locks', { timeout: 1_000 }),
    ]);
  }

  @Get('live')
  @HealthCheck()
  live() {
    return this.health.check([
      () => this.locks.isAlive('locks', { tolerance: 0 }),
    ]);
  }
}

async function startHealthApp(server?: LeaseApiServer): Promise<LockApp> {
  return startLockApp(
    {
      imports: [TerminusModule],
      controllers: [HealthController],
      providers: [LockHealthIndicator],
    },
    { server },
  );
}

/** The status of the answer, and what it says of the locks. */
async function ask(fixture: LockApp, path: 'ready' | 'live') {
  const answer = await fixture.request(`health/${path}`);
  const { details }: HealthCheckResult = JSON.parse(await answer.text());
  return [answer.status, details.locks];
}

/** A holder whose renewals can fail for a while. */
const STEADY = { leaseDuration: 10_000, renewInterval: 50 };

describe('isHealthy', () => {
  it('is up when the API server answers, with held locks and without', async () => {
    await using fixture = await startHealthApp();
    const up = [200, { status: 'up', apiServer: 'up' }];
    expect(await ask(fixture, 'ready')).toEqual(up);
    await using _ = await fixture.locks.acquire('import', STEADY);
    await fixture.locks.acquire('for-ever', { leaseDuration: 'infinite' });
    await fixture.locks.acquire('not-renewed', { autoRenew: false });
    expect(await ask(fixture, 'ready')).toEqual(up);
  });

  it('sends one request, which needs no right on Leases', async () => {
    await using server = await LeaseApiServer.start({
      allow: ({ group }) => group !== 'coordination.k8s.io',
    });
    await using fixture = await startHealthApp(server);
    expect((await ask(fixture, 'ready'))[0]).toBe(200);
    expect(server.requests.count()).toBe(1);
    expect(server.requests.count({ resource: 'leases' })).toBe(0);
  });

  it('is down while the API server can not be reached, and up again after', async () => {
    await using fixture = await startHealthApp();
    await fixture.server.refuseConnections();
    expect(await ask(fixture, 'ready')).toEqual([
      503,
      { status: 'down', apiServer: 'down', reason: 'network' },
    ]);
    await fixture.server.acceptConnections();
    expect((await ask(fixture, 'ready'))[0]).toBe(200);
  });

  it('is down when no answer comes in time', async () => {
    await using fixture = await startHealthApp();
    using _ = fixture.server.faults.inject({ kind: 'hold', when: 'before' });
    const before = performance.now();
    expect(await ask(fixture, 'ready')).toEqual([
      503,
      { status: 'down', apiServer: 'down', reason: 'timeout' },
    ]);
    expect(performance.now() - before).toBeLessThan(5_000);
  });

  it.each([
    [500, 503, 'server'],
    [429, 503, 'throttled'],
    [401, 503, 'unauthorized'],
    // It answers, and that nobody may ask for his own rights is a matter of taste.
    [403, 200, undefined],
  ])('on %i answers %i', async (code, status, reason) => {
    await using fixture = await startHealthApp();
    fixture.server.faults.inject({ kind: 'status', code });
    const isUp = status === 200;
    expect(await ask(fixture, 'ready')).toEqual([
      status,
      isUp
        ? { status: 'up', apiServer: 'up' }
        : { status: 'down', apiServer: 'down', reason },
    ]);
  });

  it('is down while a renewal is late, and up again once it got through', async () => {
    await using fixture = await startHealthApp();
    await using lock = await fixture.locks.acquire('import', STEADY);
    const fault = fixture.server.faults.inject(
      { kind: 'status', code: 500 },
      { verb: 'update' },
    );
    await eventually(async () =>
      expect(await ask(fixture, 'ready')).toEqual([
        503,
        { status: 'down', apiServer: 'up', overdue: ['import'] },
      ]),
    );
    expect(lock.isHeld).toBe(true);
    expect((await ask(fixture, 'live'))[0]).toBe(200);
    fault.remove();
    await eventually(async () =>
      expect((await ask(fixture, 'ready'))[0]).toBe(200),
    );
  });

  it('names a semaphore for each of its slots whose renewal is overdue', async () => {
    await using fixture = await startHealthApp();
    const pool = fixture.locks.semaphore('pool', { permits: 3, ...STEADY });
    await pool.acquire();
    await pool.acquire();
    expect((await ask(fixture, 'ready'))[0]).toBe(200);
    using fault = fixture.server.faults.inject(
      { kind: 'status', code: 500 },
      { verb: 'update' },
    );
    await fault.hit();
    await eventually(async () =>
      expect(await ask(fixture, 'ready')).toEqual([
        503,
        { status: 'down', apiServer: 'up', overdue: ['pool', 'pool'] },
      ]),
    );
  });

  it('does not mind a single renewal that failed', async () => {
    await using fixture = await startHealthApp();
    const renewals = countRenewals(fixture.locks);
    const slow = { leaseDuration: 60_000, renewInterval: 500 };
    await using _ = await fixture.locks.acquire('import', slow);
    const fault = fixture.server.faults.inject(
      { kind: 'status', code: 500 },
      { verb: 'update', times: 1 },
    );
    await fault.hit();
    expect((await ask(fixture, 'ready'))[0]).toBe(200);
    await eventually(() => expect(renewals()).toBe(1));
  });

  it('is down as long as work goes on under a lock that was lost', async () => {
    await using fixture = await startHealthApp();
    const lock = await fixture.locks.acquire('import', STEADY);
    await fixture.others.forceRelease('import');
    await aborted(lock.signal);
    expect(await ask(fixture, 'ready')).toEqual([
      503,
      { status: 'down', apiServer: 'up', lost: ['import'] },
    ]);
    await lock.release();
    expect((await ask(fixture, 'ready'))[0]).toBe(200);
  });

  it('is down without a usable configuration, and does not reject', async () => {
    const { LockService } = await import('../../lib/index.js');
    const { resolveModuleOptions } =
      await import('../../lib/k8s-lock.options.js');
    vi.stubEnv('KUBERNETES_SERVICE_HOST', '');
    const locks = new LockService(resolveModuleOptions({ inCluster: true }));
    const indicator = new LockHealthIndicator(locks);
    expect(await indicator.isHealthy('locks')).toEqual({
      locks: { status: 'down', apiServer: 'down', reason: 'configuration' },
    });
    await clientOf(locks)!.shutdown();
    vi.unstubAllEnvs();
  });
});

describe('isAlive', () => {
  it('stays up while the API server is down, and sends no request', async () => {
    await using fixture = await startHealthApp();
    await using _ = await fixture.locks.acquire('import', STEADY);
    await fixture.server.refuseConnections();
    fixture.server.requests.clear();
    expect(await ask(fixture, 'live')).toEqual([200, { status: 'up' }]);
    await fixture.server.acceptConnections();
  });

  it('is down when work goes on under a lock whose lease has expired', async () => {
    await using fixture = await startHealthApp();
    const lock = await fixture.locks.acquire('import', {
      leaseDuration: 2_000,
      safetyMargin: 1_500,
      autoRenew: false,
    });
    await aborted(lock.signal);
    // Its holder gives up by itself before the lease expires for others.
    expect((await ask(fixture, 'live'))[0]).toBe(200);
    await vi.waitFor(
      async () =>
        expect(await ask(fixture, 'live')).toEqual([
          503,
          { status: 'down', lost: ['import'] },
        ]),
      10_000,
    );
    await lock.release();
    expect(await ask(fixture, 'live')).toEqual([200, { status: 'up' }]);
  });
});

it("has the shape of what Terminus's own HealthIndicatorService makes", async () => {
  await using fixture = await startHealthApp();
  const terminus = fixture.app.get(HealthIndicatorService);
  const indicator = fixture.app.get(LockHealthIndicator);
  expect(await indicator.isHealthy('locks')).toEqual(
    terminus.check('locks').up({ apiServer: 'up' }),
  );
  expect(indicator.isAlive('locks')).toEqual(terminus.check('locks').up());
});

function countRenewals({ events$ }: LockService): () => number {
  let renewals = 0;
  events$.subscribe(({ type }) => {
    renewals += type === 'renewed' ? 1 : 0;
  });
  return () => renewals;
}
