/**
 * A process that asks for more locks than it can renew loses none of them: on the engine, the request queue and
 * an API server that works off one request after the other, on a clock that the test controls.
 */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ExchangeError } from '../../lib/kube/http-request.js';
import {
  LeaseStoreError,
  type LeaseStore,
  type RequestOptions,
} from '../../lib/kube/lease-store.js';
import { RequestQueue } from '../../lib/kube/request-queue.js';
import { systemClock } from '../../lib/lock/clock.js';
import { LeaseStorage } from '../../lib/testing/lease-storage.js';
import { MemoryLeaseStore, type Verb } from './memory-lease-store.js';
import { LockProcess } from './processes.js';

const SHORT = { leaseDuration: 3_000 }; // renewed each second, lost after 2.7 s

/** An API server that takes so many milliseconds for each request, one after the other. */
class Worker {
  millisecondsEach = 20;
  private freeAt = 0;

  /** Milliseconds until the answer to a request that arrives now. */
  next(): number {
    const now = performance.now();
    this.freeAt = Math.max(now, this.freeAt) + this.millisecondsEach;
    return this.freeAt - now;
  }
}

/** The store behind a request queue, as the one on a Kubernetes API server has. */
function queued(store: MemoryLeaseStore, worker: Worker): LeaseStore {
  const queue = new RequestQueue();
  const through = async <T>(
    verb: Verb,
    options: RequestOptions = {},
    send: (options: RequestOptions) => Promise<T>,
  ): Promise<T> => {
    const { priority = 'look', timeout = 5_000 } = options;
    try {
      return await queue.run(
        priority,
        { ...options, timeout },
        async (left) => {
          store.plan({ appliedAfter: worker.next() }, verb, 1);
          try {
            return await send({ ...options, timeout: left });
          } catch (error) {
            throw isTimeout(error)
              ? new ExchangeError('timeout', 'answer')
              : error;
          }
        },
      );
    } catch (error) {
      throw error instanceof ExchangeError && error.fault === 'timeout'
        ? new LeaseStoreError('timeout', 'no answer', {
            ambiguous: verb !== 'get' && error.phase === 'answer',
          })
        : error;
    }
  };
  return {
    get capacity() {
      return queue.capacity;
    },
    defaultNamespace: () => store.defaultNamespace(),
    get: (key, options) =>
      through('get', options, (left) => store.get(key, left)),
    create: (key, lease, options) =>
      through('create', options, (left) => store.create(key, lease, left)),
    replace: (key, lease, options) =>
      through('update', options, (left) => store.replace(key, lease, left)),
    patch: (key, patch, options) => store.patch(key, patch, options),
    delete: (key, precondition, options) =>
      store.delete(key, precondition, options),
    list: (namespace, options) => store.list(namespace, options),
    watch: (key, observer) => store.watch(key, observer),
    mayI: () => store.mayI(),
    close: () => store.close(),
  };
}

const isTimeout = (error: unknown): boolean =>
  error instanceof LeaseStoreError && error.reason === 'timeout';

function startProcess() {
  const worker = new Worker();
  const clock = { ...systemClock, random: () => 0.5 };
  const storage = new LeaseStorage({
    firstVersion: 1n,
    historySize: 1_000,
    coordinatedLeaderElection: false,
  });
  const store = queued(new MemoryLeaseStore(storage, clock), worker);
  const pod = new LockProcess(store, clock, 'pod');
  const count = (type: string): number =>
    pod.events.filter((event) => event.type === type).length;
  return { worker, pod, count };
}

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ['setTimeout', 'clearTimeout', 'performance'],
  });
});

afterEach(() => {
  vi.useRealTimers();
});

/** What a process holds that asks for 150 locks within `interval` each, at 50 requests a second. */
async function fill(interval: number) {
  const process = startProcess();
  for (let i = 0; i < 150; i++) {
    process.pod.acquire(`lock-${i}`, SHORT).catch(() => undefined);
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await vi.advanceTimersByTimeAsync(interval);
  }
  await vi.advanceTimersByTimeAsync(20_000);
  return { ...process, held: process.count('acquired') };
}

it.each([
  ['at once', 0],
  ['one after the other', 100],
])(
  'the API server may become twice as slow for a process that asked for too many locks %s',
  async (_, interval) => {
    const { worker, count, held } = await fill(interval);

    expect(held).toBeGreaterThan(30);
    // Each lock takes one request a second.
    expect(held).toBeLessThan(55);
    expect(count('saturated')).toBe(1);

    worker.millisecondsEach *= 2;
    await vi.advanceTimersByTimeAsync(30_000);
    expect(count('lost')).toBe(0);
    expect(count('acquired')).toBe(held);
  },
);
