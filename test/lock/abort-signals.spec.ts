/** Foreign abort signals: many calls may wait for one without a warning, and no listener is left behind. */
import { getEventListeners } from 'node:events';
import { Controller, Get, Injectable } from '@nestjs/common';
import { describe, expect, it } from 'vitest';
import { WithLeaseLock } from '../../lib/index.js';
import { anyOf, onAbort } from '../../lib/lock/abort-signals.js';
import { systemClock } from '../../lib/lock/clock.js';
import { pause } from '../../lib/lock/retry.js';
import { startLockApp } from '../decorators/lock-app.js';
import { useApi } from './lock-services.js';

const api = useApi();

/** The warnings of Node.js while `work` runs. */
async function warningsOf(work: () => Promise<void>): Promise<Error[]> {
  const warnings: Error[] = [];
  const note = (warning: Error): void => void warnings.push(warning);
  process.on('warning', note);
  try {
    await work();
    await new Promise(setImmediate);
  } finally {
    process.off('warning', note);
  }
  return warnings;
}

/** The size of what Node.js keeps with a signal, which is in sets under symbols. */
const ownStateOf = (signal: AbortSignal): number =>
  Object.getOwnPropertySymbols(signal)
    .map((key): unknown => Reflect.get(signal, key))
    .filter((value) => typeof value === 'object' && value !== null)
    .map((value): unknown => Reflect.get(value, 'size'))
    .filter((size) => typeof size === 'number')
    .reduce((sum, size) => sum + size, 0);

const listenersOf = (signal: AbortSignal): number =>
  getEventListeners(signal, 'abort').length;

describe('onAbort', () => {
  it('calls back all that listen, with one listener, and not those that have stopped', () => {
    const controller = new AbortController();
    const { signal } = controller;
    const called: number[] = [];
    const stops = [1, 2, 3].map((n) => onAbort(signal, () => called.push(n)));
    expect(listenersOf(signal)).toBe(1);
    stops[1]!();
    controller.abort();
    expect(called).toEqual([1, 3]);
    stops.forEach((stop) => stop());
  });

  it('leaves no listener when the last has stopped, and begins anew', () => {
    const controller = new AbortController();
    const { signal } = controller;
    const stops = [1, 2].map(() => onAbort(signal, () => undefined));
    stops.forEach((stop) => stop());
    stops.forEach((stop) => stop());
    expect(listenersOf(signal)).toBe(0);
    let called = 0;
    onAbort(signal, () => called++);
    stops.forEach((stop) => stop()); // those of before have no say any more
    controller.abort();
    expect(called).toBe(1);
  });
});

describe('anyOf', () => {
  it.each([0, 1, 2])('aborts with the reason of number %d', (which) => {
    const controllers = [1, 2, 3].map(() => new AbortController());
    const combined = anyOf(undefined, ...controllers.map((c) => c.signal));
    controllers[which]!.abort(`number ${which}`);
    expect(combined.signal?.reason).toBe(`number ${which}`);
  });

  it('is aborted already, if one of them is', () => {
    const { signal } = new AbortController();
    const combined = anyOf(signal, AbortSignal.abort('before'));
    expect(combined.signal?.reason).toBe('before');
    expect(listenersOf(signal)).toBe(0);
  });

  it('aborts no more when it has ended, and leaves nothing', () => {
    const controllers = [1, 2].map(() => new AbortController());
    const combined = anyOf(...controllers.map((c) => c.signal));
    combined.end();
    expect(controllers.map((c) => listenersOf(c.signal))).toEqual([0, 0]);
    controllers[0]!.abort();
    expect(combined.signal?.aborted).toBe(false);
  });

  it('keeps nothing with a signal that outlives 100,000 others', () => {
    const { signal } = new AbortController();
    const before = ownStateOf(signal);
    for (let i = 0; i < 100_000; i++) {
      anyOf(signal, new AbortController().signal).end();
    }
    expect(listenersOf(signal)).toBe(0);
    expect(ownStateOf(signal)).toBe(before);
  });

  it('is compared with what keeps something: AbortSignal.any()', () => {
    const { signal } = new AbortController();
    const before = ownStateOf(signal);
    const made = Array.from({ length: 100 }, () =>
      AbortSignal.any([signal, new AbortController().signal]),
    );
    expect(ownStateOf(signal)).toBe(before + made.length);
  });
});

it('twenty waits for locks share one listener on the signal of their caller, and leave none', async () => {
  const [locks, others] = [await api.service(), await api.service()];
  const names = Array.from({ length: 20 }, (_, i) => `shared-${i}`);
  const held = await Promise.all(
    names.map((name) => others.acquire(name, { leaseDuration: 'infinite' })),
  );
  const controller = new AbortController();
  const { signal } = controller;
  const warnings = await warningsOf(async () => {
    const waits = names.map((name) => locks.acquire(name, { signal }));
    const ends = Promise.allSettled(waits);
    await locks.next('waiting');
    expect(listenersOf(signal)).toBe(1);
    await Promise.all(held.slice(0, 10).map((lock) => lock.release()));
    await Promise.all(waits.slice(0, 10));
    expect(listenersOf(signal)).toBe(1);
    controller.abort(new Error('gone'));
    expect((await ends).map(({ status }) => status)).toEqual([
      ...Array<string>(10).fill('fulfilled'),
      ...Array<string>(10).fill('rejected'),
    ]);
  });
  expect(warnings).toEqual([]);
  expect(listenersOf(signal)).toBe(0);
});

it('a signal that outlives two hundred locks has no listener left', async () => {
  const locks = await api.service();
  const { signal } = new AbortController();
  for (let i = 0; i < 200; i++) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await (await locks.acquire('again', { signal })).release();
  }
  expect(listenersOf(signal)).toBe(0);
});

it('a request may call twenty locked methods at once', async () => {
  @Injectable()
  class Jobs {
    @WithLeaseLock((name: string) => name)
    async run(name: string): Promise<string> {
      return name;
    }
  }
  @Controller()
  class Routes {
    constructor(private readonly jobs: Jobs) {}

    @Get('many')
    async many(): Promise<number> {
      const names = Array.from({ length: 20 }, (_, i) => `many-${i}`);
      const ran = await Promise.all(names.map((name) => this.jobs.run(name)));
      return ran.length;
    }
  }
  await using fixture = await startLockApp({
    controllers: [Routes],
    providers: [Jobs],
  });
  const warnings = await warningsOf(async () => {
    expect(await (await fixture.request('many')).text()).toBe('20');
  });
  expect(warnings).toEqual([]);
});

it('many pauses on one signal have one listener there', async () => {
  const { signal } = new AbortController();
  const pauses = Array.from({ length: 20 }, () =>
    pause(systemClock, 1, signal),
  );
  expect(listenersOf(signal)).toBe(1);
  await Promise.all(pauses);
  expect(listenersOf(signal)).toBe(0);
});
