/** A list of Leases comes in pages, however many there are, and ends whatever the API server does. */
import { describe, expect, it } from 'vitest';
import { KubernetesLeaseStore } from '../../lib/kube/kubernetes-lease-store.js';
import { describeOnServer } from '../api-servers.js';
import { answer, leaseNamed, statusObject, StubApi } from './stub-api.js';

interface Page {
  readonly names: readonly string[];
  readonly next?: string;
}

/** Answers each page that is asked for, by its token. */
async function list(
  page: (
    token: string | null,
  ) => Page | number | ReturnType<typeof statusObject>,
) {
  await using api = await StubApi.start((response, request) => {
    const found = page(request.url.searchParams.get('continue'));
    if (typeof found === 'number') {
      return answer(response, found, statusObject(found, 'Expired'));
    }
    if (!('names' in found)) {
      return answer(response, 410, found);
    }
    const { names, next } = found;
    return answer(response, 200, {
      metadata: { resourceVersion: '7', continue: next },
      items: names.map((name) => leaseNamed(name)),
    });
  });
  const store = new KubernetesLeaseStore({
    kubeConfig: api.kubeConfig(),
    requestTimeout: 5_000,
  });
  try {
    const leases = await store.list('default');
    return {
      names: leases.map(({ metadata }) => metadata.name),
      asked: api.received.map(({ url }) => url.searchParams.get('continue')),
    };
  } catch (error) {
    return { error, asked: api.received.length };
  } finally {
    store.close();
  }
}

describe('a list', () => {
  it('is read page by page', async () => {
    const pages: Record<string, Page> = {
      first: { names: ['a', 'b'], next: 'second' },
      second: { names: [], next: 'third' }, // a selector may leave a page empty
      third: { names: ['c'] },
    };
    expect(await list((token) => pages[token ?? 'first']!)).toEqual({
      names: ['a', 'b', 'c'],
      asked: [null, 'second', 'third'],
    });
  });

  it('goes on from where the API server says when the version of the first page is gone', async () => {
    const found = await list((token) => {
      switch (token) {
        case null:
          return { names: ['a'], next: 'old' };
        case 'old':
          return {
            ...statusObject(410, 'Expired'),
            metadata: { continue: 'new' },
          };
        default:
          return { names: ['b'] };
      }
    });
    expect(found).toEqual({ names: ['a', 'b'], asked: [null, 'old', 'new'] });
  });

  it('begins anew when it does not say, and tells each Lease once', async () => {
    let times = 0;
    const found = await list((token) => {
      if (token === null) {
        return { names: ['a', 'b'], next: 'more' };
      }
      times += 1;
      return times === 1 ? 410 : { names: ['c'] };
    });
    expect(found).toEqual({
      names: ['a', 'b', 'c'],
      asked: [null, 'more', null, 'more'],
    });
  });

  it.each<[string, (token: string | null) => Page | number]>([
    ['goes round in a circle', () => ({ names: ['a'], next: 'again' })],
    [
      'is gone on each page',
      (token) => (token === null ? { names: ['a'], next: 'more' } : 410),
    ],
    [
      'is empty on each page',
      (token) => ({ names: [], next: `${token ?? ''}0` }),
    ],
  ])('that %s fails, in the end', async (_, page) => {
    expect(await list(page)).toMatchObject({
      error: { reason: 'server' },
      asked: expect.toSatisfy((asked: number) => asked < 30),
    });
  });

  it('fails with what a page fails with', async () => {
    const found = await list((token) =>
      token === null ? { names: ['a'], next: 'more' } : 500,
    );
    expect(found).toMatchObject({ error: { reason: 'server', status: 500 } });
  });

  it('of very large Leases comes in smaller pages', async () => {
    const limits: string[] = [];
    const large = 'x'.repeat(1_000_000);
    await using api = await StubApi.start((response, { url }) => {
      const limit = url.searchParams.get('limit') ?? '';
      limits.push(limit);
      // 40 are more than a client reads.
      const length = Math.min(Number(limit), 40);
      const items = Array.from({ length }, (_, i) =>
        leaseNamed(`a-${i}`, 1, { holderIdentity: large }),
      );
      answer(response, 200, { metadata: { resourceVersion: '7' }, items });
    });
    const store = new KubernetesLeaseStore({
      kubeConfig: api.kubeConfig(),
      requestTimeout: 20_000,
    });
    expect(await store.list('default')).toHaveLength(5);
    expect(limits).toEqual(['500', '50', '5']);
    store.close();
  });
});

describeOnServer('A namespace with many Leases', (server) => {
  it('is listed as a whole', async () => {
    const { namespace, kubeConfig } = server;
    const store = new KubernetesLeaseStore({
      kubeConfig,
      requestTimeout: 60_000,
    });
    const names = Array.from({ length: 1_100 }, (_, i) => `many-${i}`);
    await Promise.all(
      names.map((name) =>
        store.create({ namespace, name }, { metadata: { name }, spec: {} }),
      ),
    );
    const leases = await store.list(namespace);
    expect(leases.map(({ metadata }) => metadata.name).toSorted()).toEqual(
      names.toSorted(),
    );
    store.close();
  });
});
