/** The metrics, as the OpenTelemetry SDK exports them. */
import * as conventions from '@opentelemetry/semantic-conventions/incubating';
import { Cron, ScheduleModule } from '@nestjs/schedule';
import { describe, expect, it } from 'vitest';
import { LockNotAcquiredError, WithLeaseLock } from '../../lib/index.js';
import { LeaseApiServer } from '../../lib/testing/index.js';
import {
  getLeaderElectionToken,
  LeaderElectionModule,
  type LeaderElection,
} from '../../lib/leader/index.js';
import { defer, LIVELY } from '../decorators/lock-app.js';
import { startTelemetryApp, type TelemetryApp } from './telemetry-app.js';
import { aborted } from '../support/aborted.js';
import { eventually } from '../support/eventually.js';

const {
  ATTR_ERROR_TYPE,
  ATTR_EXCEPTION_MESSAGE,
  ATTR_EXCEPTION_STACKTRACE,
  ATTR_EXCEPTION_TYPE,
  ATTR_HTTP_RESPONSE_STATUS_CODE,
  ATTR_K8S_NAMESPACE_NAME,
} = conventions;
/** Of this package. */
const OWN = /^k8s_lock\./;

const NAMESPACE = { [ATTR_K8S_NAMESPACE_NAME]: 'default' };

class Jobs {
  @WithLeaseLock('report', { onLocked: 'skip' })
  async report() {}

  @WithLeaseLock((id: string) => `order-${id}`)
  async settle(_id: string) {}
}

class Fires {
  @Cron('* * * * * *')
  @WithLeaseLock('statements')
  async send() {}
}

describe('the metrics', () => {
  it('have names, units and kinds by the conventions', async () => {
    await using fixture = await startTelemetryApp();
    const { locks } = fixture;
    const lock = await locks.acquire('a', {
      leaseDuration: 1_000,
      renewInterval: 10,
    });
    await renewal(fixture);
    await lock.release();
    expect(
      (await fixture.metrics()).toSorted((a, b) =>
        a.name.localeCompare(b.name),
      ),
    ).toEqual([
      metric('k8s_lock.acquisitions', '{acquisition}', 'SUM'),
      metric('k8s_lock.held', '{lock}', 'SUM'),
      metric('k8s_lock.hold.duration', 's', 'HISTOGRAM'),
      metric('k8s_lock.renewal.margin', '1', 'HISTOGRAM'),
      metric('k8s_lock.renewals', '{renewal}', 'SUM'),
      metric('k8s_lock.request.duration', 's', 'HISTOGRAM'),
      metric('k8s_lock.wait.duration', 's', 'HISTOGRAM'),
      metric('k8s_lock.wait.oldest', 's', 'GAUGE'),
      metric('k8s_lock.waiting', '{call}', 'SUM'),
    ]);
  });

  it('and spans have attributes that the conventions define, or under a prefix that they have not taken', async () => {
    await using fixture = await startTelemetryApp({ providers: [Jobs] });
    const { locks, others } = fixture;
    await fixture.app.get(Jobs).report();
    await others.acquire('import', LIVELY);
    const timedOut = locks.acquire('import', { waitTimeout: 500 });
    await expect(timedOut).rejects.toThrow(LockNotAcquiredError);
    const lock = await locks.acquire('lost', LIVELY);
    await others.forceRelease('lost');
    await aborted(lock.signal);
    await lock.release();
    await expect(
      locks.withLock('failing', () => Promise.reject(new Error('no ink'))),
    ).rejects.toThrow('no ink');

    const names = (await fixture.metrics()).map(({ name }) => name);
    const series = await Promise.all(names.map((name) => fixture.series(name)));
    const spans = fixture.spans();
    const recorded = new Set(
      [
        ...series.flat(),
        ...spans,
        ...spans.flatMap(({ events }) => events),
      ].flatMap(({ attributes = {} }) => Object.keys(attributes)),
    );
    const foreign = [...recorded].filter((name) => !OWN.test(name));
    expect(foreign.toSorted()).toEqual([
      ATTR_ERROR_TYPE,
      ATTR_EXCEPTION_MESSAGE,
      ATTR_EXCEPTION_STACKTRACE,
      ATTR_EXCEPTION_TYPE,
      ATTR_HTTP_RESPONSE_STATUS_CODE,
      ATTR_K8S_NAMESPACE_NAME,
    ]);
    const taken = Object.values<unknown>(conventions);
    expect(taken).toContain(ATTR_K8S_NAMESPACE_NAME);
    expect(taken.filter((name) => OWN.test(String(name)))).toEqual([]);
  });

  it('count held locks and waiting calls, and return to zero', async () => {
    await using fixture = await startTelemetryApp();
    const { locks } = fixture;
    const [first] = [await locks.acquire('a'), await locks.acquire('b')];
    const waiting = locks.acquire('a');
    const level = async (name: string) =>
      (await fixture.series(name)).map(({ value }) => value);
    expect(await level('k8s_lock.held')).toEqual([2]);
    expect(await level('k8s_lock.waiting')).toEqual([1]);
    await first.release();
    const second = await waiting;
    expect(await level('k8s_lock.held')).toEqual([2]);
    expect(await level('k8s_lock.waiting')).toEqual([0]);
    await second.release();
    await fixture.app.close();
    expect(await level('k8s_lock.held')).toEqual([0]);
  });

  it('are those of each slot of a semaphore, under its name', async () => {
    await using fixture = await startTelemetryApp({ providers: [Jobs] });
    const pool = fixture.locks.semaphore('pool', { permits: 3 });
    const held = await Promise.all([1, 2, 3].map(() => pool.acquire()));
    expect(new Set(held.map(({ slot }) => slot)).size).toBe(3);
    const sumOf = async (name: string): Promise<number> => {
      const series = await fixture.series(name);
      return series.reduce((sum, { value }) => sum + value, 0);
    };
    expect(await sumOf('k8s_lock.held')).toBe(3);
    expect(await sumOf('k8s_lock.acquisitions')).toBe(3);
    await Promise.all(held.map((lock) => lock.release()));
    expect(await sumOf('k8s_lock.held')).toBe(0);
    expect(await sumOf('k8s_lock.hold.duration')).toBe(3);
    expect(await sumOf('k8s_lock.waiting')).toBe(0);
    const leases = fixture
      .spans()
      .map(({ attributes }) => attributes['k8s_lock.lease.name']);
    expect(new Set(leases)).toEqual(
      new Set(['pool', 'pool--slot-1', 'pool--slot-2']),
    );
  });

  it('tell acquisitions and waits apart by their outcome', async () => {
    await using fixture = await startTelemetryApp();
    const { locks, others, server } = fixture;
    await (await locks.acquire('a')).release();
    await others.acquire('a', LIVELY);
    expect(await locks.tryAcquire('a')).toBeUndefined();
    const timedOut = locks.acquire('a', { waitTimeout: 50 });
    await expect(timedOut).rejects.toThrow(LockNotAcquiredError);
    const client = new AbortController();
    const cancelled = locks.acquire('a', { signal: client.signal });
    client.abort(new Error('gone'));
    await expect(cancelled).rejects.toThrow('gone');
    server.faults.inject({ kind: 'status', code: 403 }, { name: 'b' });
    await expect(locks.acquire('b')).rejects.toThrow('forbidden');
    const atShutdown = locks.acquire('a');
    const outcome = Promise.allSettled([atShutdown]);
    await fixture.app.close();
    await outcome;

    const acquisitions = await fixture.series('k8s_lock.acquisitions');
    expect(byOutcome(acquisitions)).toEqual({
      acquired: 1,
      held: 1,
      timeout: 1,
      cancelled: 1,
      failed: 1,
      shutdown: 1,
    });
    const waits = await fixture.series('k8s_lock.wait.duration');
    expect(byOutcome(waits)).toEqual(byOutcome(acquisitions));
    const [timeout] = waits.filter(
      ({ attributes }) =>
        attributes['k8s_lock.acquisition.outcome'] === 'timeout',
    );
    expect(timeout?.sum).toBeGreaterThanOrEqual(0.05);
    expect(timeout?.sum).toBeLessThan(5);
  });

  it('tell a hold that was lost from one that was released, and count it once', async () => {
    await using fixture = await startTelemetryApp();
    const { locks, others } = fixture;
    await (await locks.acquire('a')).release();
    const lock = await locks.acquire('a', { renewInterval: 250 });
    await others.forceRelease('a');
    await aborted(lock.signal);
    await lock.release();
    const holds = await fixture.series('k8s_lock.hold.duration');
    expect(holds).toEqual([
      { attributes: NAMESPACE, value: 1, sum: expect.any(Number) },
      {
        attributes: { ...NAMESPACE, [ATTR_ERROR_TYPE]: 'freed' },
        value: 1,
        sum: expect.any(Number),
      },
    ]);
    expect(await fixture.series('k8s_lock.held')).toEqual([
      { attributes: NAMESPACE, value: 0 },
    ]);
  });

  it('tell whether the process can renew no more locks', async () => {
    await using fixture = await startTelemetryApp();
    const { locks, server } = fixture;
    // An answer after half a second, and 200 renewals a second.
    server.faults.inject(
      { kind: 'delay', before: 500 },
      { verb: 'create', times: 1 },
    );
    const lock = await locks.acquire('a', { renewInterval: 10 });
    await expect(
      locks.tryAcquire('b', { renewInterval: 10 }),
    ).rejects.toMatchObject({ reason: 'saturated' });
    const level = async () =>
      (await fixture.series('k8s_lock.saturated')).map(({ value }) => value);
    expect(await level()).toEqual([1]);
    expect(await fixture.metrics()).toContainEqual(
      metric('k8s_lock.saturated', '{process}', 'SUM'),
    );
    expect(byOutcome(await fixture.series('k8s_lock.acquisitions'))).toEqual({
      acquired: 1,
      saturated: 1,
    });
    await lock.release();
    expect(await level()).toEqual([0]);
  });

  it('tell renewals that failed from those that succeeded', async () => {
    await using fixture = await startTelemetryApp();
    using fault = fixture.server.faults.inject(
      { kind: 'status', code: 500 },
      { verb: 'update', times: 1 },
    );
    const lock = await fixture.locks.acquire('a', {
      leaseDuration: 2_000,
      renewInterval: 10,
    });
    await fault.hit();
    await renewal(fixture);
    await lock.release();
    const renewals = await fixture.series('k8s_lock.renewals');
    expect(renewals).toContainEqual({
      attributes: { ...NAMESPACE, [ATTR_ERROR_TYPE]: 'server' },
      value: 1,
    });
    expect(renewals).toContainEqual({
      attributes: NAMESPACE,
      value: expect.any(Number),
    });
  });

  it('tell how long the oldest waiting call has waited, and return to zero', async () => {
    await using fixture = await startTelemetryApp();
    const { locks } = fixture;
    const first = await locks.acquire('a');
    const calledAt = performance.now();
    const [second, third] = [locks.acquire('a'), locks.acquire('a')];
    const oldest = async () =>
      (await fixture.series('k8s_lock.wait.oldest')).map(({ value }) => value);
    await eventually(async () =>
      expect(await oldest()).toEqual([expect.toSatisfy((age) => age > 0.05)]),
    );
    const [age] = await oldest();
    expect(age).toBeLessThanOrEqual((performance.now() - calledAt) / 1_000);
    await first.release();
    await (await second).release();
    await (await third).release();
    expect(await oldest()).toEqual([0]);
  });

  it('tell how much time was left when a renewal succeeded', async () => {
    await using fixture = await startTelemetryApp();
    const { locks, server } = fixture;
    const renewed = renewal(fixture);
    // Of the 900 ms to the deadline, 300 pass before a renewal, and 250 before its answer.
    server.faults.inject({ kind: 'delay', before: 250 }, { verb: 'update' });
    const lock = await locks.acquire('a', {
      leaseDuration: 2_000,
      safetyMargin: 1_100,
      renewInterval: 300,
    });
    await renewed;
    const [margin] = await fixture.series('k8s_lock.renewal.margin');
    await lock.release();
    expect(margin?.attributes).toEqual(NAMESPACE);
    expect(margin!.sum).toBeGreaterThan(0);
    expect(margin!.sum! / margin!.value).toBeLessThan(350 / 900);
  });

  it('tell a fire that nobody has claimed from one that somebody has', async () => {
    await using server = await LeaseApiServer.start();
    await using fixture = await startFires(server);
    const taken = await fixture.others.acquire('statements', LIVELY);
    const latest = async (name: string) => {
      const series = await fixture.series(`k8s_lock.fire.${name}`);
      expect(series.map(({ attributes }) => attributes)).toEqual([
        { ...NAMESPACE, 'k8s_lock.name': 'statements' },
      ]);
      return series[0]!.value;
    };
    const isMissed = async () => {
      const planned = await latest('planned');
      expect(Math.abs(planned - Date.now() / 1_000)).toBeLessThan(60);
      return planned > (await latest('claimed'));
    };
    await eventually(async () => expect(await isMissed()).toBe(true));
    await taken.release();
    await eventually(async () => expect(await isMissed()).toBe(false));
  });

  it('tell that a fire is claimed in the pod that has found it claimed, too', async () => {
    await using server = await LeaseApiServer.start();
    await using one = await startFires(server);
    await using two = await startFires(server);
    // Each fire is acquired in one pod, so they agree only if the other counts what it found claimed.
    await eventually(async () => {
      const latest = await claimed(one);
      expect(latest).toBeGreaterThan(0);
      expect(await claimed(two)).toBe(latest);
    });
  });

  it('measure each request, by verb, status and error', async () => {
    await using fixture = await startTelemetryApp();
    const { server, locks } = fixture;
    await (await locks.acquire('a')).release();
    await server.refuseConnections();
    await expect(locks.inspect('a')).rejects.toThrow('network');
    await server.acceptConnections();
    const requests = await fixture.series('k8s_lock.request.duration');
    expect(requests).toHaveLength(4);
    expect(requests).toEqual(
      expect.arrayContaining([
        request('get', {
          [ATTR_HTTP_RESPONSE_STATUS_CODE]: 404,
          [ATTR_ERROR_TYPE]: '404',
        }),
        request('get', { [ATTR_ERROR_TYPE]: 'network' }),
        request('create', { [ATTR_HTTP_RESPONSE_STATUS_CODE]: 201 }),
        request('update', { [ATTR_HTTP_RESPONSE_STATUS_CODE]: 200 }),
      ]),
    );
    expect(
      server.requests.count({ verb: 'get' }) +
        server.requests.count({ verb: 'create' }) +
        server.requests.count({ verb: 'update' }),
    ).toBe(3);
  });

  it('count the requests of watches, from the very first', async () => {
    await using fixture = await startTelemetryApp({ providers: [Jobs] });
    await eventually(async () => {
      const series = await fixture.series('k8s_lock.request.duration');
      expect(
        series.map(({ attributes }) => attributes['k8s_lock.request.verb']),
      ).toEqual(['list', 'watch']);
    });
  });
});

describe('the name of a lock', () => {
  it('is told where it is fixed, and left out where it is made by each call', async () => {
    await using fixture = await startTelemetryApp({ providers: [Jobs] });
    const jobs = fixture.app.get(Jobs);
    await jobs.report();
    await jobs.settle('7');
    await jobs.settle('8');
    expect(await namesIn(fixture)).toEqual(['report', undefined]);
  });

  it('is told of an election', async () => {
    await using fixture = await startTelemetryApp({
      imports: [LeaderElectionModule.forFeature('dispatcher')],
    });
    const election = fixture.app.get<LeaderElection>(
      getLeaderElectionToken('dispatcher'),
    );
    await election.whenLeader(() => undefined);
    const [held] = await fixture.series('k8s_lock.held');
    expect(held).toMatchObject({
      attributes: { 'k8s_lock.name': 'dispatcher' },
      value: 1,
    });
  });

  it.each<[string, () => string]>([
    [
      'throws',
      () => {
        throw new Error('own error');
      },
    ],
    ['returns no string', () => JSON.parse('5')],
  ])(
    'is left out where the option %s, which affects no lock',
    async (_, lockName) => {
      const errors: string[] = [];
      await using fixture = await startTelemetryApp(
        { providers: [Jobs] },
        {
          lockName,
          logger: {
            log: () => undefined,
            warn: () => undefined,
            error: (message: unknown) => errors.push(String(message)),
          },
        },
      );
      await fixture.app.get(Jobs).report();
      await fixture.app.get(Jobs).report();
      expect(await namesIn(fixture)).toEqual([undefined]);
      expect(errors).toEqual([
        'The option lockName failed for lock "report", so its name is left out of metrics',
      ]);
    },
  );

  it('is what the option makes of it', async () => {
    await using fixture = await startTelemetryApp(
      { providers: [Jobs] },
      { lockName: ({ name }) => name.replace(/^order-.*$/, 'order-*') },
    );
    const jobs = fixture.app.get(Jobs);
    await jobs.settle('7');
    await jobs.settle('8');
    await fixture.locks.withLock('import', () => undefined);
    expect(await namesIn(fixture)).toEqual(['order-*', 'import']);
  });
});

it('nothing that is recorded carries a holder or a token', async () => {
  const started = defer();
  class Work {
    @WithLeaseLock('work')
    async run() {
      started.resolve();
      throw new LockNotAcquiredError(
        { name: 'a', namespace: 'b', leaseName: 'a' },
        'held',
        { holder: 'holder-of-another-lock' },
      );
    }
  }
  await using fixture = await startTelemetryApp({ providers: [Work] });
  const { locks, others } = fixture;
  const other = await others.acquire('import', LIVELY);
  await expect(
    locks.acquire('import', { waitTimeout: 1_000 }),
  ).rejects.toMatchObject({ holder: other.holderIdentity });
  const lock = await locks.acquire('import-2');
  await lock.release();
  await expect(fixture.app.get(Work).run()).rejects.toThrow('another');
  const metrics = await Promise.all(
    (await fixture.metrics()).map(({ name }) => fixture.series(name)),
  );
  const spans = fixture
    .spans()
    .map(({ name, attributes, events, status }) => [
      name,
      attributes,
      events,
      status,
    ]);
  const recorded = JSON.stringify([metrics, spans]);
  expect(spans).toHaveLength(3);
  for (const secret of [
    other.holderIdentity,
    lock.holderIdentity,
    'holder-of-another-lock',
    'fencing',
    `"${lock.fencingToken}"`,
  ]) {
    expect(recorded).not.toContain(secret);
  }
});

async function claimed(fixture: TelemetryApp): Promise<number> {
  const [series] = await fixture.series('k8s_lock.fire.claimed');
  return series?.value ?? 0;
}

function startFires(server: LeaseApiServer): Promise<TelemetryApp> {
  return startTelemetryApp(
    { imports: [ScheduleModule.forRoot()], providers: [Fires] },
    { server },
  );
}

async function namesIn(fixture: TelemetryApp) {
  const acquisitions = await fixture.series('k8s_lock.acquisitions');
  return acquisitions.map(({ attributes }) => attributes['k8s_lock.name']);
}

function request(verb: string, more: object) {
  return {
    attributes: { ...NAMESPACE, 'k8s_lock.request.verb': verb, ...more },
    value: 1,
    sum: expect.any(Number),
  };
}

function metric(name: string, unit: string, type: string) {
  return { name, unit, type };
}

function byOutcome(series: Awaited<ReturnType<TelemetryApp['series']>>) {
  return Object.fromEntries(
    series.map(({ attributes, value }) => [
      attributes['k8s_lock.acquisition.outcome'],
      value,
    ]),
  );
}

/** Resolves when a lock was renewed. */
function renewal({ locks }: TelemetryApp): Promise<void> {
  return new Promise((resolve) => {
    const listening = locks.events$.subscribe(({ type }) => {
      if (type === 'renewed') {
        listening.unsubscribe();
        resolve();
      }
    });
  });
}
