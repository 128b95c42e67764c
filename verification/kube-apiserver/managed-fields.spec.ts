/** The real API server's notes of who wrote which field: gone from Leases that the library created, kept where anybody else has any. */
import { KubeConfig } from '@kubernetes/client-node';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { resolveModuleOptions } from '../../lib/k8s-lock.options.js';
import { clientOf } from '../../lib/lock.client.js';
import { LockService } from '../../lib/lock.service.js';
import { RawApi, type Json } from '../../test/contract/raw-api.js';
import { KubeClient } from '../../test/kube-client.js';

const { kubeConfig: admin } = inject('kubeApiserver')!;
const api = new RawApi(admin);

let namespace: string;
let locks: LockService;

beforeAll(async () => {
  namespace = await new KubeClient(admin).createNamespace();
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromString(admin);
  locks = new LockService(resolveModuleOptions({ kubeConfig, namespace }));
});

afterAll(async () => {
  clientOf(locks)!.beginShutdown();
  await clientOf(locks)!.shutdown();
});

const pathOf = (name: string) => RawApi.leases(namespace, name);

async function metadataOf(name: string): Promise<Json> {
  const { body } = await api.request('GET', pathOf(name));
  return body['metadata'];
}

/** Who has notes in a Lease, and of what kind. */
async function managersOf(name: string): Promise<string[] | undefined> {
  const { managedFields } = await metadataOf(name);
  return managedFields?.map(
    ({ manager, operation }: Json) => `${manager} ${operation}`,
  );
}

/** Two turns of a lock: four writes, of which the first creates the Lease if there is none. */
async function lockTwice(name: string): Promise<void> {
  for (let turn = 0; turn < 2; turn++) {
    // oxlint-disable-next-line no-await-in-loop -- one turn after the other
    await (await locks.acquire(name)).release();
  }
}

/** What kubectl sends. */
async function send(
  method: string,
  path: string,
  manager: string,
  body: Json,
  contentType = 'application/json',
): Promise<void> {
  const query = `?fieldManager=${manager}`;
  const answer = await api.request(method, path + query, { body, contentType });
  if (answer.code >= 300) {
    throw new Error(answer.text);
  }
}

const apply = (name: string, metadata: Json): Promise<void> =>
  send(
    'PATCH',
    pathOf(name),
    'kubectl',
    {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name, ...metadata },
    },
    'application/apply-patch+yaml',
  );

const annotations = { note: 'hands off' };

/** How others write a Lease, and how they are noted. */
const OTHERS: Record<
  string,
  { manager: string; write: (name: string) => Promise<void> }
> = {
  'kubectl apply --server-side': {
    manager: 'kubectl Apply',
    write: (name) => apply(name, { annotations }),
  },
  'kubectl apply': {
    manager: 'kubectl-client-side-apply Update',
    write: (name) =>
      send(
        'PATCH',
        pathOf(name),
        'kubectl-client-side-apply',
        { metadata: { annotations } },
        'application/strategic-merge-patch+json',
      ),
  },
  'kubectl edit': {
    manager: 'kubectl-edit Update',
    write: (name) =>
      send(
        'PATCH',
        pathOf(name),
        'kubectl-edit',
        { metadata: { annotations } },
        'application/merge-patch+json',
      ),
  },
  'kubectl replace': {
    manager: 'kubectl-replace Update',
    write: async (name) => {
      const { body } = await api.request('GET', pathOf(name));
      const metadata = { ...body['metadata'] };
      metadata.annotations = { ...metadata.annotations, ...annotations };
      await send('PUT', pathOf(name), 'kubectl-replace', { ...body, metadata });
    },
  },
};

describe('The notes of who wrote which field', () => {
  it('are removed by the first write after the creation', async () => {
    const lock = await locks.acquire('created');
    expect(await managersOf('created')).toEqual(['nestjs-k8s-lock Update']);
    await lock.release();
    expect(await managersOf('created')).toBeUndefined();
    await lockTwice('created');
    expect(await managersOf('created')).toBeUndefined();
  });

  describe.each(Object.entries(OTHERS))('%s', (how, { manager, write }) => {
    const name = how.replaceAll(/[^a-z]+/g, '-');

    it('stay if it came before they were removed', async () => {
      const early = `${name}-early`;
      const lock = await locks.acquire(early);
      await write(early);
      await lock.release();
      await lockTwice(early);
      expect(await managersOf(early)).toEqual(
        expect.arrayContaining([manager, 'nestjs-k8s-lock Update']),
      );
      expect(await metadataOf(early)).toMatchObject({ annotations });
    });

    it('does what it always does after they were removed', async () => {
      const late = `${name}-late`;
      await lockTwice(late);
      await write(late);
      await lockTwice(late);
      expect(await metadataOf(late)).toMatchObject({ annotations });
    });
  });

  it('come back when somebody applies, who can then take back what was applied', async () => {
    await lockTwice('applied');
    await apply('applied', { labels: { team: 'blue' } });
    await lockTwice('applied');
    expect(await managersOf('applied')).toEqual(
      expect.arrayContaining([
        'kubectl Apply',
        'before-first-apply Update',
        'nestjs-k8s-lock Update',
      ]),
    );
    await apply('applied', {});
    expect((await metadataOf('applied'))['labels']).toEqual({
      'app.kubernetes.io/managed-by': 'nestjs-k8s-lock',
    });
    await lockTwice('applied');
  });

  it.each([
    ['with its label', { 'app.kubernetes.io/managed-by': 'nestjs-k8s-lock' }],
    ['without a label', undefined],
  ])('stay in a Lease that somebody else created, %s', async (how, labels) => {
    const name = `made-${how.replaceAll(' ', '-')}`;
    const applied = `${name}-by-apply`;
    await apply(applied, { labels, annotations });
    await lockTwice(applied);
    expect(await managersOf(applied)).toContain('nestjs-k8s-lock Update');

    await send('POST', RawApi.leases(namespace), 'kubectl-create', {
      metadata: { name, labels },
      spec: { leaseTransitions: 0 },
    });
    await lockTwice(name);
    expect(await managersOf(name)).toContain('nestjs-k8s-lock Update');
  });
});
