/** R10: unknown fields, labels and annotations survive, and a Lease that coordinated leader election owns is refused. */
import { describe, expect, it } from 'vitest';
import type { StoredLease } from '../../lib/kube/lease-store.js';
import { LockBackendError } from '../../lib/lock.errors.js';
import {
  invalidate,
  release,
  renew,
  take,
  withoutManagedFields,
  type NewHolder,
} from '../../lib/lock/record/lease-record.js';
import { ControlledClock, settled } from './controlled-clock.js';
import { Cluster, foreignSpec, JOB, outcomeOf } from './processes.js';

const COORDINATED = { strategy: 'OldestEmulationVersion' };

const clock = new ControlledClock();
const newHolder: NewHolder = {
  identity: 'pod_1',
  leaseDuration: 15_000,
  lockName: JOB,
};

/** A Lease of a future version of the API. */
const FUTURE: StoredLease = {
  apiVersion: 'coordination.k8s.io/v1',
  kind: 'Lease',
  metadata: {
    name: JOB,
    namespace: 'default',
    uid: 'u',
    resourceVersion: '7',
    labels: { team: 'blue' },
    annotations: { note: 'hands off' },
    finalizers: ['example.com/guard'],
    futureMetadata: { a: [1] },
  },
  spec: {
    ...foreignSpec(),
    preferredHolder: 'somebody',
    futureField: { deep: [{ value: null }] },
  },
  status: { futureStatus: 1 },
};

describe('R10 what others keep in a Lease', () => {
  it.each([
    ['take', (lease: StoredLease) => take(lease, newHolder, clock)],
    ['renew', (lease: StoredLease) => renew(lease, 15_000, clock)],
    ['release', (lease: StoredLease) => release(lease)],
    ['invalidate', (lease: StoredLease) => invalidate(lease, 'nonce')],
  ])('survives %s, whatever it is', (_, change) => {
    const before = structuredClone(FUTURE);
    const after = change(FUTURE);

    expect(FUTURE, 'it changes a copy').toEqual(before);
    const { spec, metadata, ...top } = FUTURE;
    expect(after).toMatchObject(top);
    expect(after.metadata).toMatchObject(metadata);
    expect(after.spec).toMatchObject({
      preferredHolder: spec!.preferredHolder,
      futureField: spec!.futureField,
    });
  });

  it('survives the whole life of a lock', async () => {
    const cluster = new Cluster();
    cluster.write(({ metadata }) => {
      metadata.labels = {
        team: 'blue',
        'app.kubernetes.io/managed-by': 'helm',
      };
      metadata.annotations = { note: 'hands off' };
      metadata.ownerReferences = [
        { apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid: 'u-1' },
      ];
    });
    const { metadata: original } = cluster.lease()!;
    const expectKept = (): void => {
      const { metadata } = cluster.lease()!;
      expect(metadata.labels).toEqual(original.labels);
      expect(metadata.annotations).toMatchObject(original.annotations!);
      expect(metadata.ownerReferences).toEqual(original.ownerReferences);
      expect(metadata.uid).toBe(original.uid);
    };
    const pod = cluster.process('pod');

    const lock = await pod.acquire();
    expectKept();
    await cluster.clock.advance(5_000);
    expectKept();
    await lock.release();
    await cluster.clock.advance(1_000);
    expectKept();
    await (await pod.acquire(JOB, { minHold: 2_000 })).release();
    expectKept();
    await pod.forceRelease();
    expectKept();
    expect(cluster.lease()!.metadata.annotations).toEqual({
      ...original.annotations,
      'nestjs-k8s-lock/name': 'job',
      'nestjs-k8s-lock/withdrawn': expect.stringMatching(/^pod_/),
    });
  });

  it('includes what is written while the lock is held', async () => {
    const cluster = new Cluster();
    const lock = await cluster.process('pod').acquire();
    cluster.write(({ metadata }) => {
      metadata.labels = { ...metadata.labels, added: 'meanwhile' };
    });
    await cluster.clock.advance(60_000);
    expect(lock.isHeld).toBe(true);
    await lock.release();

    expect(cluster.lease()!.metadata.labels).toHaveProperty(
      'added',
      'meanwhile',
    );
  });

  it('is not called a lock of this package by being taken: the label is for Leases that it created', async () => {
    const cluster = new Cluster();
    cluster.writeSpec({});
    await cluster.process('pod').acquire();
    expect(cluster.lease()!.metadata.labels ?? {}).toEqual({});
  });
});

const created = { 'app.kubernetes.io/managed-by': 'nestjs-k8s-lock' };
const ours = {
  manager: 'nestjs-k8s-lock',
  operation: 'Update',
  fieldsV1: { 'f:spec': { 'f:renewTime': {} } },
};

const withNotes = (
  managedFields: unknown,
  labels = {},
  lease = FUTURE,
): StoredLease => ({
  ...lease,
  metadata: { ...lease.metadata, labels, managedFields },
});

describe('R10 the notes of who wrote which field', () => {
  it('are removed from a Lease that this package alone has written', () => {
    const lease = withNotes([ours, ours], created);
    expect(withoutManagedFields(lease)).toEqual(withNotes([{}], created));
    expect(lease).toEqual(withNotes([ours, ours], created));
  });

  it.each<[string, unknown, object?]>([
    ['of a Lease that somebody else created', [ours], {}],
    ['of kubectl edit', [ours, { ...ours, manager: 'kubectl-edit' }]],
    ['of kubectl apply', [{ ...ours, manager: 'kubectl' }, ours]],
    ['of an applied Lease, whoever applied', [{ ...ours, operation: 'Apply' }]],
    ['that name nobody', [{}]],
    ['that are none', []],
    ['that are null', null],
    ['that are no list', { 0: ours, length: 1 }],
    ['that hold no objects', [ours, null]],
  ])('stay as they are: %s', (_, managedFields, labels = created) => {
    const lease = withNotes(managedFields, labels);
    expect(withoutManagedFields(lease)).toBe(lease);
  });

  it('are removed by the first replacing write', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    pod.store.plan(
      { instead: (lease) => withNotes([ours], created, lease) },
      'create',
      1,
    );
    const lock = await pod.acquire();
    await cluster.clock.advance(5_000);
    await lock.release();

    expect(pod.store.verbs()).toBe('get create update update');
    expect(
      pod.store.requests.map(({ lease }) => lease?.metadata['managedFields']),
    ).toEqual([undefined, undefined, [{}], undefined]);
  });
});

/** A holder that does not know that another process waits. */
async function withWaiting() {
  const cluster = new Cluster();
  const pod = cluster.process('pod');
  const lock = await pod.acquire();
  const next = outcomeOf(cluster.process('other').acquire());
  await settled();
  return { cluster, pod, lock, next };
}

describe('R10 the notes of a Lease for which processes wait', () => {
  it('are removed by a grant, which is a PUT for once', async () => {
    const { cluster, pod, lock, next } = await withWaiting();
    pod.observe();
    await settled();
    pod.store.tellWatches(withNotes([ours], created, cluster.lease()));
    await lock.release();
    await settled();

    expect(next.state).toBe('resolved');
    expect(pod.store.verbs()).toMatch(/ update$/);
    expect(pod.store.requests.at(-1)!.lease?.metadata).toMatchObject({
      managedFields: [{}],
    });
  });

  it('stay for now if an enrolment was faster than that PUT, as others may be than the next', async () => {
    const { pod, lock, next } = await withWaiting();
    pod.store.plan(
      { instead: (lease) => withNotes([ours], created, lease) },
      'get',
      1,
    );
    await lock.release();
    await settled();

    expect(next.state).toBe('resolved');
    // The holder has not seen the ticket before.
    expect(pod.store.verbs()).toBe('get create update get patch');
  });
});

describe('R10 a Lease of coordinated leader election', () => {
  it.each(['acquire', 'try', 'skip'] as const)(
    'is refused to %s, at once and untouched, even when nobody holds it',
    async (call) => {
      const cluster = new Cluster();
      cluster.writeSpec(COORDINATED);
      const pod = cluster.process('pod');

      const refused = outcomeOf(pod[call]());
      await settled();
      expect(refused.reason).toBeInstanceOf(LockBackendError);
      expect(refused.reason).toMatchObject({
        reason: 'lease-refused',
        explanation:
          'Lock "job" (Lease default/job): the Lease belongs to coordinated leader election (spec.strategy is set). Use another lock name.',
      });
      expect(pod.store.verbs()).toBe('get');
      expect(cluster.spec()).toEqual(COORDINATED);
    },
  );

  it('is refused to a waiter when the Lease becomes one', async () => {
    const cluster = new Cluster();
    cluster.writeSpec(foreignSpec());
    const pod = cluster.process('pod');
    const waiting = outcomeOf(pod.acquire());
    await settled();
    cluster.writeSpec(foreignSpec(COORDINATED));
    await settled();

    expect(waiting.reason).toMatchObject({ reason: 'lease-refused' });
    expect(pod.store.openWatches).toBe(0);
    expect(cluster.clock.pending()).toBe(0);
  });

  it('is not taken from its holder by a forced release', async () => {
    const cluster = new Cluster();
    cluster.writeSpec(foreignSpec(COORDINATED));
    const pod = cluster.process('pod');

    await expect(pod.forceRelease()).rejects.toMatchObject({
      reason: 'lease-refused',
    });
    expect(pod.store.verbs()).toBe('get');
  });

  it('can be looked at', async () => {
    const cluster = new Cluster();
    cluster.writeSpec(foreignSpec(COORDINATED));
    await expect(cluster.process('pod').inspect()).resolves.toMatchObject({
      holder: 'stranger',
    });
  });

  it('is a lock like any other once the strategy is gone', async () => {
    const cluster = new Cluster();
    const pod = cluster.process('pod');
    cluster.writeSpec(COORDINATED);
    await expect(pod.acquire()).rejects.toThrow('coordinated leader election');
    cluster.writeSpec({});
    await expect(pod.acquire()).resolves.toMatchObject({ isHeld: true });
  });
});
