/** The spans, as the OpenTelemetry SDK exports them. */
import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import { Subject } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { LockNotAcquiredError, WithLeaseLock } from '../../lib/index.js';
import { LIVELY } from '../decorators/lock-app.js';
import { startTelemetryApp, type TelemetryApp } from './telemetry-app.js';
import { aborted } from '../support/aborted.js';

const rows = new Subject<number>();

class Work {
  @WithLeaseLock('report')
  async report() {
    return trace.getActiveSpan();
  }

  @WithLeaseLock((id: string) => `order-${id}`)
  async settle(_id: string) {
    throw new TypeError('no such order');
  }

  @WithLeaseLock('export')
  async export() {
    return rows.asObservable();
  }
}

describe('the span of a locked section', () => {
  it('is active within, and lasts from the question to the release', async () => {
    await using fixture = await startTelemetryApp({ providers: [Work] });
    const active = await fixture.app.get(Work).report();
    const span = only(fixture);
    expect(active?.spanContext()).toEqual(span.spanContext());
    expect(span).toMatchObject({
      name: 'lock report',
      kind: SpanKind.INTERNAL,
      attributes: {
        'k8s_lock.name': 'report',
        'k8s_lock.lease.name': 'report',
        'k8s.namespace.name': 'default',
        'k8s_lock.acquisition.outcome': 'acquired',
      },
      status: { code: SpanStatusCode.UNSET },
      events: [
        {
          name: 'k8s_lock.acquired',
          attributes: { 'k8s_lock.wait.duration': expect.any(Number) },
        },
      ],
    });
  });

  it('is a child of what is active at the call, and the parent of what is done within', async () => {
    await using fixture = await startTelemetryApp();
    const tracer = fixture.tracerProvider.getTracer('test');
    const parent = await tracer.startActiveSpan('request', async (span) => {
      await fixture.locks.withLock('import', async () => {
        await new Promise(setImmediate);
        tracer.startSpan('query').end();
      });
      expect(trace.getActiveSpan()).toBe(span);
      span.end();
      return span.spanContext().spanId;
    });
    const [query, lock] = fixture.spans();
    expect(lock?.name).toBe('lock');
    expect(lock?.parentSpanContext?.spanId).toBe(parent);
    expect(query?.name).toBe('query');
    expect(query?.parentSpanContext?.spanId).toBe(lock?.spanContext().spanId);
  });

  it('says how long the caller waited', async () => {
    await using fixture = await startTelemetryApp();
    const first = await fixture.locks.acquire('import');
    const second = fixture.locks.withLock('import', () => undefined);
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
    await first.release();
    await second;
    const waited = fixture
      .spans()
      .map(({ events }) => events[0]?.attributes?.['k8s_lock.wait.duration']);
    expect(waited[1]).toBeGreaterThanOrEqual(0.04);
    expect(waited[1]).toBeLessThan(5);
  });

  it('tells the error of the work', async () => {
    await using fixture = await startTelemetryApp({ providers: [Work] });
    const settled = fixture.app.get(Work).settle('7');
    await expect(settled).rejects.toThrow('no such order');
    const span = only(fixture);
    expect(span).toMatchObject({
      name: 'lock',
      attributes: { 'k8s_lock.name': 'order-7', 'error.type': 'TypeError' },
      status: { code: SpanStatusCode.ERROR, message: 'no such order' },
    });
    expect(span.events.map(({ name }) => name)).toEqual([
      'k8s_lock.acquired',
      'exception',
    ]);
  });

  it('passes on what work throws at once', async () => {
    await using fixture = await startTelemetryApp();
    const error = new Error('at once');
    await expect(
      fixture.locks.withLock('import', () => {
        throw error;
      }),
    ).rejects.toBe(error);
    expect(only(fixture).status.code).toBe(SpanStatusCode.ERROR);
  });

  it('lasts until an Observable has ended', async () => {
    await using fixture = await startTelemetryApp({ providers: [Work] });
    const source = await fixture.app.get(Work).export();
    const seen: unknown[] = [];
    const ended = new Promise<void>((resolve) => {
      source.subscribe({
        next: () => seen.push(trace.getActiveSpan()?.spanContext().spanId),
        error: () => resolve(),
      });
    });
    rows.next(1);
    expect(fixture.spans()).toEqual([]);
    rows.error(new Error('broken off'));
    await ended;
    expect(only(fixture).status).toEqual({
      code: SpanStatusCode.ERROR,
      message: 'broken off',
    });
    expect(seen).toHaveLength(1);
  });

  it('tells the loss of the lock, and goes on until the work has ended', async () => {
    await using fixture = await startTelemetryApp();
    const options = { leaseDuration: 1_000, renewInterval: 10 };
    await fixture.locks.withLock('import', options, async (lock) => {
      await fixture.others.forceRelease('import');
      await aborted(lock.signal);
      expect(fixture.spans()).toEqual([]);
    });
    const span = only(fixture);
    expect(span.status.code).toBe(SpanStatusCode.ERROR);
    expect(span.attributes['error.type']).toBe('lock_lost');
    expect(span.events.at(-1)).toMatchObject({
      name: 'k8s_lock.lost',
      attributes: { 'error.type': 'freed' },
    });
  });

  it('is not made for work that runs on under the lock of its caller', async () => {
    await using fixture = await startTelemetryApp();
    const { locks } = fixture;
    await locks.withLock('import', () =>
      locks.withLock('import', () => undefined),
    );
    expect(fixture.spans()).toHaveLength(1);
  });
});

describe('the span of a call', () => {
  it('without the lock is an error when the wait was in vain', async () => {
    await using fixture = await startTelemetryApp();
    await fixture.others.acquire('import', LIVELY);
    await expect(
      fixture.locks.acquire('import', { waitTimeout: 1_000 }),
    ).rejects.toThrow(LockNotAcquiredError);
    expect(only(fixture)).toMatchObject({
      attributes: {
        'k8s_lock.acquisition.outcome': 'timeout',
        'error.type': 'timeout',
      },
      status: { code: SpanStatusCode.ERROR },
    });
  });

  it('without the lock is no error when it was skipped', async () => {
    await using fixture = await startTelemetryApp();
    await fixture.others.acquire('import', LIVELY);
    expect(await fixture.locks.tryAcquire('import')).toBeUndefined();
    expect(only(fixture)).toMatchObject({
      attributes: { 'k8s_lock.acquisition.outcome': 'held' },
      status: { code: SpanStatusCode.UNSET },
    });
  });

  it('by hand ends with the release, and is not active meanwhile', async () => {
    await using fixture = await startTelemetryApp();
    const lock = await fixture.locks.acquire('import');
    expect(trace.getActiveSpan()).toBeUndefined();
    expect(fixture.spans()).toEqual([]);
    await lock.release();
    expect(fixture.spans()).toHaveLength(1);
  });
});

/** The one span that has ended. */
function only(fixture: TelemetryApp): ReadableSpan {
  const [span, ...others] = fixture.spans();
  expect(others).toEqual([]);
  expect(span).toBeDefined();
  return span!;
}
