/** What a review of the package's security has found: hostile names where they are shown, forged ones where they are read, calls without an end, and ways to credentials. */
import { clientOf } from '../../lib/lock.client.js';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { LockHealthIndicator } from '../../lib/health/index.js';
import { resolveModuleOptions } from '../../lib/k8s-lock.options.js';
import { LockConfigurationError } from '../../lib/index.js';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import { LOCK_NAME } from '../../lib/lock/record/lease-record.js';
import { startLockApp, type LockApp } from '../decorators/lock-app.js';
import { answer, leaseNamed, StubApi, statusObject } from '../kube/stub-api.js';
import { TestService } from '../lock/lock-services.js';
import { startTelemetryApp } from '../telemetry/telemetry-app.js';
import { errorOf } from './error-of.js';
import { findUnprintable, HOSTILE_TEXTS } from './hostile-text.js';
import { aborted } from '../support/aborted.js';

const hostile = Object.values(HOSTILE_TEXTS);

/** All texts in a value, its keys included. */
function textsIn(value: unknown): string[] {
  if (typeof value === 'string') {
    return [value];
  }
  if (typeof value !== 'object' || value === null) {
    return [];
  }
  return Object.entries(value).flatMap(([key, each]) => [
    key,
    ...textsIn(each),
  ]);
}

describe('a hostile lock name', () => {
  it.each(hostile)('is printable in spans: %#', async (name) => {
    await using fixture = await startTelemetryApp();
    await (await fixture.locks.acquire(name)).release();
    const [span] = fixture.spans();
    const texts = [span!.name, ...textsIn(span!.attributes)];
    expect(texts.map(findUnprintable).filter(Boolean)).toEqual([]);
  });

  it.each(hostile)('is printable in what a route answers: %#', async (name) => {
    await using fixture = await startLockApp({});
    await using _ = await fixture.others.acquire(name);
    const error = await errorOf(
      fixture.locks.acquire(name, { waitTimeout: 1 }),
    );
    const texts = textsIn(error.getResponse());
    expect(texts.map(findUnprintable).filter(Boolean)).toEqual([]);
  });

  it('is printable in a health check', async () => {
    await using fixture = await startLockApp({
      providers: [LockHealthIndicator],
    });
    const name = HOSTILE_TEXTS['a mebibyte of what needs escaping']!;
    const lock = await fixture.locks.acquire(name, {
      leaseDuration: 1_000,
      renewInterval: 20,
    });
    await fixture.others.forceRelease(name);
    await aborted(lock.signal);
    const health = await fixture.app
      .get(LockHealthIndicator)
      .isHealthy('locks');
    expect(health.locks!.lost).toHaveLength(1);
    expect(textsIn(health).map(findUnprintable).filter(Boolean)).toEqual([]);
  });

  it.each<[string, unknown]>([
    ['an object without a prototype', Object.create(null)],
    ['a list', ['a\nb']],
    ['an object with a text of its own', { toString: () => 'a\nb' }],
    ['a symbol', Symbol('a\nb')],
  ])('that is %s is refused in one line', async (_, name) => {
    await using fixture = await startLockApp({});
    const error = await errorOf(Reflect.apply(acquireAny, fixture, [name]));
    expect(error).toBeInstanceOf(LockConfigurationError);
    expect(findUnprintable(error.message)).toBeUndefined();
  });
});

/** As a caller without types does. */
function acquireAny(this: LockApp, name: string): Promise<unknown> {
  return this.locks.acquire(name);
}

it('a name in an annotation is believed only if it leads to its own Lease', async () => {
  await using fixture = await startLockApp({});
  const { server, locks, others } = fixture;
  const victim = await others.acquire('payroll');
  // Somebody who may update `cheap`, and nothing else, calls it by another's name.
  const cheap = await others.acquire('cheap');
  const store = new KubernetesLeaseStore({
    kubeConfig: await server.kubeConfig(),
    requestTimeout: 5_000,
  });
  const key = { namespace: 'default', name: 'cheap' };
  const lease = (await store.get(key))!;
  await store.replace(key, {
    ...lease,
    metadata: {
      ...lease.metadata,
      annotations: { ...lease.metadata.annotations, [LOCK_NAME]: 'payroll' },
    },
  });
  store.close();
  expect((await locks.inspect('cheap')).name).toBe('cheap');
  const listed = await locks.list();
  expect(listed.map(({ name }) => name).toSorted()).toEqual([
    'cheap',
    'payroll',
  ]);
  await cheap.release();
  await victim.release();
});

/** `late`: it has not come to an end in time. */
async function endOf(call: Promise<unknown>): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, 10_000, 'late');
  });
  const end = await Promise.race([call.catch(() => 'failed'), late]);
  clearTimeout(timer);
  return end;
}

describe('tryAcquire', () => {
  it('does not wait for as long as Retry-After says', async () => {
    await using fixture = await startLockApp({});
    using _ = fixture.server.faults.inject(
      { kind: 'status', code: 503, retryAfter: 30 },
      { verb: 'create' },
    );
    expect(await endOf(fixture.locks.tryAcquire('import'))).toBe('failed');
  });

  it('comes to an end, also when each write meets a conflict', async () => {
    await using api = await StubApi.start((response, { method }) =>
      method === 'GET'
        ? answer(response, 200, leaseNamed('import'))
        : answer(response, 409, statusObject(409, 'Conflict')),
    );
    const locks = new TestService({
      kubeConfig: api.kubeConfig(),
      shutdownTimeout: 0,
    });
    // The record has not changed, so nobody was faster.
    expect(await endOf(locks.tryAcquire('import'))).toBe('failed');
    await clientOf(locks)!.shutdown();
  });
});

it('giving back many locks at once is no leak, and is not warned of as one', async () => {
  const warnings: Error[] = [];
  const note = (warning: Error): void => {
    if (warning.name === 'MaxListenersExceededWarning') {
      warnings.push(warning);
    }
  };
  process.on('warning', note);
  const fixture = await startLockApp({});
  await Promise.all(
    Array.from({ length: 20 }, (_, i) => fixture.locks.acquire(`lock-${i}`)),
  );
  await fixture[Symbol.asyncDispose]();
  await new Promise(setImmediate);
  process.off('warning', note);
  expect(warnings).toEqual([]);
});

describe('a token', () => {
  it('is not where a logged LockService leads to', async () => {
    await using api = await StubApi.start();
    const locks = new TestService({
      kubeConfig: api.kubeConfig({ token: 'very-secret' }),
      shutdownTimeout: 0,
    });
    await locks.inspect('a');
    expect(inspect(locks, { depth: Infinity, showHidden: true })).not.toContain(
      'very-secret',
    );
    await clientOf(locks)!.shutdown();
  });

  it('is not shown when the text of a kubeconfig is given in its place', () => {
    const kubeConfig = JSON.stringify({ users: [{ token: 'very-secret' }] });
    expect(() =>
      Reflect.apply(resolveModuleOptions, undefined, [{ kubeConfig }]),
    ).toThrow(/^(?!.*very-secret).*kubeConfig must be a KubeConfig/s);
  });
});
