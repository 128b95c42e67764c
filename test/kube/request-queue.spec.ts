/** Which request is sent next, of the many that want to be: those that keep locks held come first. */
import type { ServerResponse } from 'node:http';
import { describe, expect, it, vi } from 'vitest';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import type { RequestPriority } from '../../lib/kube/lease-store.js';
import { answer, leaseNamed, StubApi } from './stub-api.js';

/** A server that keeps every request until it is told to answer. */
class SlowApi implements AsyncDisposable {
  readonly open: { name: string; response: ServerResponse }[] = [];
  /** The names of the Leases, in the order in which their requests came. */
  readonly came: string[] = [];
  private readonly sent: Promise<unknown>[] = [];

  private constructor(
    readonly api: StubApi,
    readonly store: KubernetesLeaseStore,
  ) {}

  static async start(): Promise<SlowApi> {
    const api = await StubApi.start((response, { url }) => {
      const name = url.pathname.split('/').at(-1)!;
      slow.came.push(name);
      slow.open.push({ name, response });
    });
    const slow = new SlowApi(
      api,
      new KubernetesLeaseStore({
        kubeConfig: api.kubeConfig(),
        requestTimeout: 60_000,
      }),
    );
    return slow;
  }

  send(
    priority: RequestPriority,
    name: string,
    options: { timeout?: number; signal?: AbortSignal } = {},
  ): Promise<unknown> {
    const key = { namespace: 'default', name };
    const sent = this.store.get(key, { priority, ...options });
    const settled = sent.catch((error: unknown) => error);
    this.sent.push(settled);
    return settled;
  }

  async fill(): Promise<void> {
    for (let i = 0; i < 24; i++) {
      void this.send('look', `full-${i}`);
    }
    await this.has(24);
  }

  async has(count: number): Promise<void> {
    await vi.waitUntil(() => this.came.length >= count, 5_000);
  }

  answerOne(): void {
    const { name, response } = this.open.shift()!;
    answer(response, 200, leaseNamed(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.store.close();
    await Promise.all(this.sent);
    await this.api[Symbol.asyncDispose]();
  }
}

const settle = (): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, 50));

describe('requests beyond those that may be under way', () => {
  it('are sent by what they are for, and of one kind in their order', async () => {
    await using slow = await SlowApi.start();
    await slow.fill();
    const wished = ['look', 'acquire', 'release', 'renew'] as const;
    for (const each of wished) {
      for (const i of [1, 2]) {
        void slow.send(each, `${each}-${i}`);
      }
    }
    // There is room that is kept for these: more of them than there is, and some wait.
    await slow.has(28);
    for (let i = 0; i < 28; i++) {
      slow.answerOne();
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await settle();
    }
    expect(slow.came.slice(24)).toEqual([
      'release-1',
      'release-2',
      'renew-1',
      'renew-2',
      'acquire-1',
      'acquire-2',
      'look-1',
      'look-2',
    ]);
  });

  it('leave room for renewals, be all others ever so many', async () => {
    await using slow = await SlowApi.start();
    await slow.fill();
    for (let i = 0; i < 100; i++) {
      void slow.send('acquire', `acquire-${i}`);
      void slow.send('release', `release-${i}`);
    }
    await slow.has(28);
    void slow.send('renew', 'renewal');
    await slow.has(29);
    expect(slow.came.at(-1)).toBe('renewal');
    for (let i = 0; i < 10; i++) {
      void slow.send('renew', 'more');
    }
    await slow.has(32);
    await settle();
    expect(slow.came).toHaveLength(32);
  });

  it('are not sent when their time is over, which is no time-out of a request', async () => {
    await using slow = await SlowApi.start();
    await slow.fill();
    const late = slow.send('look', 'late', { timeout: 100 });
    expect(await late).toMatchObject({ reason: 'timeout', ambiguous: false });
    expect(slow.came).toHaveLength(24);
  });

  it('wait for as long as they are allowed, beyond what a timer can', async () => {
    await using slow = await SlowApi.start();
    await slow.fill();
    void slow.send('look', 'patient', { timeout: 1e10 });
    await settle();
    slow.answerOne();
    await slow.has(25);
    expect(slow.came.at(-1)).toBe('patient');
    slow.answerOne();
  });

  it('are cut by the time that they have waited', async () => {
    await using slow = await SlowApi.start();
    await slow.fill();
    const before = performance.now();
    const cut = slow.send('look', 'cut', { timeout: 400 });
    await new Promise((resolve) => setTimeout(resolve, 200));
    slow.answerOne();
    await slow.has(25);
    expect(await cut).toMatchObject({ reason: 'timeout' });
    expect(performance.now() - before).toBeGreaterThanOrEqual(395);
    expect(performance.now() - before).toBeLessThan(60_000 / 2);
  });

  it('are given up by their signal, and by the end of the store', async () => {
    await using slow = await SlowApi.start();
    await slow.fill();
    const abort = new AbortController();
    const aborted = slow.send('look', 'aborted', { signal: abort.signal });
    const closed = slow.send('look', 'closed');
    abort.abort();
    expect(await aborted).toMatchObject({ reason: 'aborted' });
    slow.store.close();
    expect(await closed).toMatchObject({ reason: 'aborted' });
    expect(slow.came).toHaveLength(24);
  });

  it('leave their place to the next when they fail', async () => {
    await using slow = await SlowApi.start();
    await slow.fill();
    void slow.send('look', 'next');
    for (const { response } of slow.open.splice(0, 1)) {
      response.destroy();
    }
    await slow.has(25);
    expect(slow.came.at(-1)).toBe('next');
  });
});

describe('what a write carries', () => {
  it('is made when it is sent', async () => {
    await using slow = await SlowApi.start();
    await slow.fill();
    const make = vi.fn<() => ReturnType<typeof leaseNamed>>(() =>
      leaseNamed('made'),
    );
    const key = { namespace: 'default', name: 'made' };
    const written = slow.store.replace(key, make, { priority: 'acquire' });
    await settle();
    expect(make).not.toHaveBeenCalled();
    slow.answerOne();
    await slow.has(25);
    expect(make).toHaveBeenCalledOnce();
    answer(slow.open.at(-1)!.response, 200, leaseNamed('made', 2));
    await expect(written).resolves.toMatchObject({
      metadata: { resourceVersion: '2' },
    });
  });
});

describe('a watch', () => {
  it('does not wait for requests', async () => {
    await using slow = await SlowApi.start();
    await slow.fill();
    slow.store.watch(
      { namespace: 'default', name: 'watched' },
      { changed: () => undefined, deleted: () => undefined },
    );
    await slow.has(25);
    expect(slow.came.at(-1)).toBe('leases');
  });
});
