/** The request queue: which of many requests is sent next; renewals come first. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ExchangeError } from '../../lib/kube/http-request.js';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import type {
  RequestOptions,
  RequestPriority,
} from '../../lib/kube/lease-store.js';
import { PausedError, RequestQueue } from '../../lib/kube/request-queue.js';
import type { ApiRequestEvent } from '../../lib/lock.events.js';
import { answer, leaseNamed, StubApi } from './stub-api.js';

interface Sent {
  readonly name: string;
  /** Milliseconds that it may take. */
  readonly timeout: number;
  answer(): void;
  fail(error: Error): void;
}

/** A queue whose requests are answered when a test says so. */
class Requests {
  readonly queue = new RequestQueue();
  /** In the order in which they were sent. */
  readonly sent: Sent[] = [];
  private answered = 0;

  /** Resolves with what becomes of it: `answered`, or the error. */
  send(
    priority: RequestPriority,
    name: string,
    options: RequestOptions = {},
  ): Promise<unknown> {
    const limits = { timeout: 5_000, ...options };
    return this.queue
      .run(
        priority,
        limits,
        (timeout) =>
          new Promise((resolve, reject) => {
            const end = () => resolve('answered');
            this.sent.push({ name, timeout, answer: end, fail: reject });
          }),
      )
      .catch((error: unknown) => error);
  }

  /** As many as may be under way for a look. */
  fill(): void {
    for (let i = 0; i < 24; i++) {
      void this.send('look', `full-${i}`);
    }
  }

  /** More renewals than may be in flight. */
  fillWithRenewals(within: number): void {
    for (let i = 0; i < 200; i++) {
      void this.send('renew', `renewal-${i}`, { within });
    }
  }

  get inFlight(): number {
    return this.sent.length - this.answered;
  }

  get names(): string[] {
    return this.sent.map(({ name }) => name);
  }

  /** Answers the next that was sent. */
  async answerNext(): Promise<void> {
    this.sent[this.answered++]!.answer();
    await settled();
  }

  async answerTimes(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await this.answerNext();
    }
  }

  async answerAll(): Promise<void> {
    while (this.answered < this.sent.length) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await this.answerNext();
    }
  }
}

/** What follows without the clock going on has happened. */
async function settled(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
}

/** A server that keeps the answers to 24 looks, and what came after those. */
async function startBusy(
  onRequest: (event: ApiRequestEvent) => void = () => undefined,
) {
  const open: (() => void)[] = [];
  const came: string[] = [];
  let wake: (() => void) | undefined;
  const api = await StubApi.start((response, { url }) => {
    const name = url.pathname.split('/').at(-1)!;
    came.push(name);
    open.push(() => answer(response, 200, leaseNamed(name)));
    wake?.();
  });
  const store = new KubernetesLeaseStore({
    kubeConfig: api.kubeConfig(),
    requestTimeout: 60_000,
    requests: { isObserved: true, emit: onRequest },
  });
  const looks = Array.from({ length: 24 }, (_, i) =>
    store
      .get({ namespace: 'default', name: `full-${i}` })
      .catch(() => undefined),
  );
  const hasCome = async (count: number): Promise<void> => {
    while (came.length < count) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await new Promise<void>((resolve) => (wake = resolve));
    }
  };
  await hasCome(24);
  return {
    store,
    came,
    hasCome,
    answerNext: () => open.shift()!(),
    async [Symbol.asyncDispose]() {
      store.close();
      await Promise.all(looks);
      await api[Symbol.asyncDispose]();
    },
  };
}

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ['setTimeout', 'clearTimeout', 'performance'],
  });
});

afterEach(() => {
  vi.useRealTimers();
});

describe('requests beyond those that may be under way', () => {
  it('are sent by what they are for, and of one kind in their order', async () => {
    const requests = new Requests();
    requests.fill();
    for (const each of ['look', 'acquire', 'release', 'renew'] as const) {
      for (const i of [1, 2]) {
        void requests.send(each, `${each}-${i}`);
      }
    }
    await requests.answerAll();
    expect(requests.names.slice(24)).toEqual([
      'release-1', // there is room that is kept for these
      'release-2',
      'renew-1',
      'renew-2',
      'acquire-1',
      'acquire-2',
      'look-1',
      'look-2',
    ]);
  });

  it('leave room for renewals, be all others ever so many', () => {
    const requests = new Requests();
    requests.fill();
    for (let i = 0; i < 100; i++) {
      void requests.send('acquire', `acquire-${i}`);
      void requests.send('release', `release-${i}`);
    }
    expect(requests.sent).toHaveLength(28);
    for (let i = 0; i < 10; i++) {
      void requests.send('renew', `renew-${i}`);
    }
    expect(requests.names.slice(28)).toEqual([
      'renew-0',
      'renew-1',
      'renew-2',
      'renew-3',
    ]);
  });

  it('go by the time that is left where they have one', async () => {
    const requests = new Requests();
    for (let i = 0; i < 32; i++) {
      void requests.send('renew', `full-${i}`);
    }
    void requests.send('renew', 'never lost');
    void requests.send('renew', 'lost in 9 s', { within: 9_000 });
    await vi.advanceTimersByTimeAsync(1_000);
    void requests.send('renew', 'lost in 2 s', { within: 2_000 });
    void requests.send('renew', 'lost in 8 s, too', { within: 8_000 });
    void requests.send('renew', 'never lost, either');
    await requests.answerAll();
    expect(requests.names.slice(32)).toEqual([
      'lost in 2 s',
      'lost in 9 s',
      'lost in 8 s, too',
      'never lost',
      'never lost, either',
    ]);
  });

  it('wait as long as others are answered, and may then take as long as any', async () => {
    const requests = new Requests();
    requests.fill();
    for (let i = 0; i < 30; i++) {
      void requests.send('look', `queued-${i}`);
    }
    for (let i = 0; i < 30; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await vi.advanceTimersByTimeAsync(4_900);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await requests.answerNext();
    }
    expect(requests.sent.at(-1)).toMatchObject({
      name: 'queued-29',
      timeout: 5_000,
    });
  });

  it('fail when nothing is answered for as long as a request may take, unless it keeps a lock', async () => {
    const requests = new Requests();
    requests.fill();
    const ends: unknown[] = [];
    for (const name of ['first', 'second', 'third']) {
      void requests.send('acquire', name).then((end) => ends.push(name, end));
    }
    await vi.advanceTimersByTimeAsync(4_999);
    expect(ends).toEqual([]);
    // The answer to a renewal says nothing of the others, nor does a request that fails and one that follows it.
    void requests.send('renew', 'renewal');
    requests.sent.at(-1)!.answer();
    requests.sent[0]!.fail(new Error('no answer'));
    await settled();
    expect(requests.names.at(-1)).toBe('first');
    await vi.advanceTimersByTimeAsync(1);
    const fault = { fault: 'timeout', phase: 'queue' };
    expect(ends).toEqual([
      'second',
      expect.objectContaining(fault),
      'third',
      expect.objectContaining(fault),
    ]);
    await requests.answerAll();
    expect(requests.names.slice(24)).toEqual(['renewal', 'first']);
  });

  it('fail when their answer is of no use any more', async () => {
    const requests = new Requests();
    for (let i = 0; i < 32; i++) {
      void requests.send('renew', `full-${i}`);
    }
    const late = requests.send('renew', 'late', { within: 9_000 });
    const urgent = requests.send('release', 'urgent', { within: 100 });
    await vi.advanceTimersByTimeAsync(100);
    expect(await urgent).toMatchObject({ fault: 'timeout' });
    await vi.advanceTimersByTimeAsync(8_900);
    expect(await late).toMatchObject({ fault: 'timeout' });
    await requests.answerAll();
    expect(requests.sent).toHaveLength(32);
  });

  it('wait for as long as they are allowed, beyond what a timer can', async () => {
    const requests = new Requests();
    requests.fill();
    void requests.send('look', 'patient', { timeout: 1e10 });
    await vi.advanceTimersByTimeAsync(9e9);
    expect(requests.sent).toHaveLength(24);
    await requests.answerNext();
    expect(requests.names.at(-1)).toBe('patient');
  });

  it('are aborted by their signal, and by the end of the store', async () => {
    const requests = new Requests();
    requests.fill();
    const abort = new AbortController();
    const options = { signal: abort.signal };
    const aborted = requests.send('look', 'aborted', options);
    const closed = requests.send('look', 'closed');
    const alsoClosed = requests.send('look', 'closed, too');
    abort.abort();
    expect(await aborted).toMatchObject({ fault: 'aborted' });
    expect(await requests.send('look', 'late', options)).toMatchObject({
      fault: 'aborted',
    });
    requests.queue.close();
    expect(await closed).toMatchObject({ fault: 'aborted' });
    expect(await alsoClosed).toMatchObject({ fault: 'aborted' });
    await requests.answerAll();
    expect(requests.sent).toHaveLength(24);
  });

  it('leave their place to the next when they fail', async () => {
    const requests = new Requests();
    requests.fill();
    void requests.send('look', 'next');
    requests.sent[0]!.fail(new Error('broken'));
    await settled();
    expect(requests.names.at(-1)).toBe('next');
  });

  it('are taken out one by one, be they ever so many', async () => {
    const requests = new Requests();
    requests.fill();
    const aborts = Array.from({ length: 1_000 }, () => new AbortController());
    aborts.forEach(({ signal }, i) => {
      void requests.send('look', `${i}`, { signal });
    });
    aborts.forEach((each, i) => i % 2 === 0 && each.abort());
    await requests.answerAll();
    expect(requests.names.slice(24)).toEqual(
      Array.from({ length: 500 }, (_, i) => `${2 * i + 1}`),
    );
  });
});

describe('a renewal', () => {
  it('leaves time for another one when it is sent, not when it began to wait', async () => {
    const requests = new Requests();
    for (let i = 0; i < 32; i++) {
      void requests.send('renew', `full-${i}`);
    }
    void requests.send('renew', 'renewal', { within: 9_000 });
    await vi.advanceTimersByTimeAsync(800);
    await requests.answerNext();
    expect(requests.sent.at(-1)).toMatchObject({
      name: 'renewal',
      timeout: 4_100,
    });
  });

  it('may take three times as long as others took, if there is time', async () => {
    const requests = new Requests();
    void requests.send('renew', 'slow', { within: 9_000 });
    await vi.advanceTimersByTimeAsync(600);
    await requests.answerNext();
    for (const within of [4_000, 3_000, 1_000]) {
      void requests.send('renew', 'renewal', { within });
    }
    expect(requests.sent.slice(1).map(({ timeout }) => timeout)).toEqual([
      2_000, // half of what is left
      1_800,
      1_000,
    ]);
  });

  it('that is late keeps new locks and looks back until it is answered', async () => {
    const requests = new Requests();
    void requests.send('renew', 'renewal', { within: 8_000 });
    await vi.advanceTimersByTimeAsync(1_999);
    void requests.send('acquire', 'in time');
    await vi.advanceTimersByTimeAsync(1);
    for (const each of ['look', 'acquire', 'release'] as const) {
      void requests.send(each, each);
    }
    void requests.send('renew', 'another', { within: 8_000 });
    expect(requests.names).toEqual([
      'renewal',
      'in time',
      'release',
      'another',
    ]);
    requests.sent[1]!.answer();
    requests.sent[2]!.answer();
    await settled();
    expect(requests.sent).toHaveLength(4);
    requests.sent[0]!.answer();
    await settled();
    expect(requests.names.slice(4)).toEqual(['acquire', 'look']);
  });

  it('of a lock that never expires is never late', async () => {
    const requests = new Requests();
    void requests.send('renew', 'renewal', { within: Infinity });
    await vi.advanceTimersByTimeAsync(1e6);
    void requests.send('look', 'look');
    expect(requests.names).toEqual(['renewal', 'look']);
  });
});

describe('the limit of requests in flight', () => {
  it('falls by a quarter, once for all that were in flight, when renewals are answered slowly', async () => {
    const requests = new Requests();
    requests.fillWithRenewals(8_000);
    expect(requests.inFlight).toBe(32);
    await vi.advanceTimersByTimeAsync(1_001);
    await requests.answerTimes(9);
    expect(requests.inFlight).toBe(24);
    await requests.answerTimes(23);
    expect(requests.inFlight).toBe(24);
  });

  it('falls for renewals that get no answer in time', async () => {
    const requests = new Requests();
    requests.fillWithRenewals(8_000);
    await vi.advanceTimersByTimeAsync(1_001);
    for (const sent of requests.sent.slice(0, 9)) {
      sent.fail(new ExchangeError('timeout', 'answer'));
    }
    await settled();
    expect(requests.sent).toHaveLength(33);
  });

  it('does not fall below 8', async () => {
    const requests = new Requests();
    requests.fillWithRenewals(60_000);
    for (let i = 0; i < 5; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await vi.advanceTimersByTimeAsync(7_600);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await requests.answerTimes(requests.inFlight);
    }
    expect(requests.inFlight).toBe(8);
  });

  it('rises by an eighth each second, up to 64, while renewals are answered soon', async () => {
    const requests = new Requests();
    requests.fillWithRenewals(60_000);
    const limits: number[] = [];
    for (let i = 0; i < 20; i++) {
      requests.fillWithRenewals(60_000);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await vi.advanceTimersByTimeAsync(1_000);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await requests.answerTimes(requests.inFlight);
      limits.push(requests.inFlight);
    }
    expect(limits.slice(0, 3)).toEqual([36, 40, 45]);
    expect(limits.at(-1)).toBe(64);
  });

  it('stays while no request waits for it', async () => {
    const requests = new Requests();
    void requests.send('renew', 'slow', { within: 8_000 });
    await vi.advanceTimersByTimeAsync(1_001);
    await requests.answerNext();
    requests.fillWithRenewals(8_000);
    expect(requests.inFlight).toBe(32);
  });
});

describe('the capacity for renewals', () => {
  it('is unlimited before the first answer, and then that of half of the limit', async () => {
    const requests = new Requests();
    expect(requests.queue.capacity).toBe(Infinity);
    void requests.send('acquire', 'write');
    await vi.advanceTimersByTimeAsync(20);
    await requests.answerNext();
    expect(requests.queue.capacity).toBe(16 / 0.02);
  });

  it('counts no reads, and nothing that was not sent, or to which nothing answers', async () => {
    const requests = new Requests();
    requests.fill();
    await vi.advanceTimersByTimeAsync(20);
    await requests.answerAll();
    void requests.send('acquire', 'refused');
    requests.sent.at(-1)!.fail(new ExchangeError('network', 'connection'));
    await settled();
    expect(requests.queue.capacity).toBe(Infinity);
  });

  it('falls with requests that get no answer in time', async () => {
    const requests = new Requests();
    void requests.send('release', 'lost');
    await vi.advanceTimersByTimeAsync(1_000);
    requests.sent.at(-1)!.fail(new ExchangeError('timeout', 'answer'));
    await settled();
    expect(requests.queue.capacity).toBe(16);
  });

  it('falls at once, and rises slowly', async () => {
    const requests = new Requests();
    const answerAfter = async (duration: number): Promise<void> => {
      void requests.send('acquire', 'write');
      await vi.advanceTimersByTimeAsync(duration);
      await requests.answerNext();
    };
    for (let i = 0; i < 100; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await answerAfter(100);
    }
    expect(requests.queue.capacity).toBeCloseTo(160);
    for (let i = 0; i < 1_000; i++) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await answerAfter(1);
    }
    // The mean has been 1 ms for long; a second ago it was 100 ms.
    expect(requests.queue.capacity).toBeLessThan(200);
    await vi.advanceTimersByTimeAsync(60_000);
    await answerAfter(1);
    expect(requests.queue.capacity).toBeCloseTo(16_000, -2);
  });
});

describe('a pause that the API server asks for', () => {
  it('keeps back acquisitions and reads, but no renewal and no release', async () => {
    const requests = new Requests();
    requests.queue.pause(1_000);
    for (const each of ['look', 'acquire', 'release', 'renew'] as const) {
      void requests.send(each, each);
    }
    await vi.advanceTimersByTimeAsync(999);
    expect(requests.names).toEqual(['release', 'renew']);
    await vi.advanceTimersByTimeAsync(1);
    expect(requests.names.slice(2)).toEqual(['acquire', 'look']);
  });

  it('does not count as time without an answer', async () => {
    const requests = new Requests();
    requests.queue.pause(4_000);
    requests.fill();
    await vi.advanceTimersByTimeAsync(4_000);
    expect(requests.sent).toHaveLength(24);
    void requests.send('look', 'next');
    requests.queue.pause(3_000);
    await requests.answerNext();
    await vi.advanceTimersByTimeAsync(3_000);
    expect(requests.names.at(-1)).toBe('next');
  });

  it('fails what can not wait for its end, be it asked for before the pause or in it', async () => {
    const requests = new Requests();
    requests.fill();
    const short = requests.send('look', 'short', { timeout: 100 });
    const patient = requests.send('acquire', 'patient', { timeout: 5_000 });
    const release = requests.send('release', 'release', { timeout: 100 });
    requests.queue.pause(1_000);
    expect(await short).toEqual(new PausedError(1_000));
    expect(
      await requests.send('acquire', 'late', { timeout: 999 }),
    ).toBeInstanceOf(PausedError);
    // Another pause, which ends too late for those that have waited for the first.
    await vi.advanceTimersByTimeAsync(900);
    await requests.answerAll();
    requests.queue.pause(4_200);
    expect(await patient).toBeInstanceOf(PausedError);
    expect(await release).toBe('answered');
  });

  it('is not made shorter by a later one, and lasts a minute at most', async () => {
    const requests = new Requests();
    requests.queue.pause(3_600_000);
    requests.queue.pause(1_000);
    expect(requests.queue.pauseOf('look')).toBe(60_000);
    expect(requests.queue.pauseOf('renew')).toBe(0);
  });
});

describe('a store', () => {
  beforeEach(() => {
    vi.useRealTimers();
  });

  it('makes what a write carries when it is sent', async () => {
    await using busy = await startBusy();
    let sentAfter: number | undefined;
    const written = busy.store.replace(
      { namespace: 'default', name: 'made' },
      () => {
        sentAfter = answered;
        return leaseNamed('made');
      },
      { priority: 'acquire' },
    );
    let answered = 0;
    await new Promise(setImmediate);
    answered = 1;
    busy.answerNext();
    await busy.hasCome(25);
    expect(sentAfter).toBe(1);
    for (let i = 0; i < 24; i++) {
      busy.answerNext();
    }
    await expect(written).resolves.toMatchObject({
      metadata: { name: 'made' },
    });
  });

  it('watches without waiting for requests', async () => {
    await using busy = await startBusy();
    busy.store.watch(
      { namespace: 'default', name: 'watched' },
      { changed: () => undefined, deleted: () => undefined },
    );
    await busy.hasCome(25);
    expect(busy.came.at(-1)).toBe('leases');
  });

  it('reports a request that was sent, and not the wait for that', async () => {
    const events: ApiRequestEvent[] = [];
    await using busy = await startBusy((event) => events.push(event));
    const abort = new AbortController();
    const options = { signal: abort.signal };
    const key = { namespace: 'default', name: 'given-up' };
    const givenUp = busy.store.get(key, options);
    const late = busy.store.get(key, { within: 20 });
    await expect(late).rejects.toMatchObject({ reason: 'timeout' });
    abort.abort();
    await expect(givenUp).rejects.toMatchObject({ reason: 'aborted' });
    expect(events).toEqual([]);
    // One that waited, and was sent then, took no longer than its answer.
    const since = performance.now();
    const sent = busy.store.get({ namespace: 'default', name: 'sent' });
    await new Promise((resolve) => setTimeout(resolve, 100));
    const waited = performance.now() - since;
    busy.answerNext();
    await busy.hasCome(25);
    for (let i = 0; i < 24; i++) {
      busy.answerNext();
    }
    await sent;
    const total = performance.now() - since;
    expect(events).toHaveLength(25);
    const { duration } = events.at(-1)!;
    expect(duration).toBeLessThanOrEqual(total - waited);
  });
});
