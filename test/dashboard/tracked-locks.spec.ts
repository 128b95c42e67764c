/** What is kept of the Leases of a namespace, of which there may be more than are shown. */
import { expect, it } from 'vitest';
import { TrackedLocks } from '../../lib/dashboard/tracked-locks.js';
import type { StoredLease } from '../../lib/kube/lease-store.js';
import { resolveModuleOptions } from '../../lib/k8s-lock.options.js';
import { clientOf } from '../../lib/lock.client.js';
import { LockService } from '../../lib/lock.service.js';

const MOST_LEASES = 5_000;

function leaseOf(index: number, renewTime?: string): StoredLease {
  const name = `lock-${index}`;
  return {
    metadata: {
      name,
      namespace: 'default',
      uid: name,
      resourceVersion: '1',
      annotations: { 'nestjs-k8s-lock/name': name },
    },
    spec: { holderIdentity: 'pod_1', leaseDurationSeconds: 15, renewTime },
  };
}

it('counts each Lease that is not shown once, however often it changes', () => {
  const client = clientOf(new LockService(resolveModuleOptions({})))!;
  const tracked = new TrackedLocks(client, 0);
  tracked.list(
    Array.from({ length: MOST_LEASES + 2 }, (_, index) => leaseOf(index)),
  );
  expect(tracked.left).toBe(2);
  const outside = leaseOf(MOST_LEASES, '2026-01-01T00:00:00.000000Z');
  tracked.see(outside);
  tracked.see(outside);
  expect(tracked.left).toBe(2);
  tracked.forget(`lock-${MOST_LEASES + 1}`);
  expect(tracked.left).toBe(1);
  // A place that is free again is taken by the next Lease that changes.
  tracked.forget('lock-0');
  tracked.see(outside);
  expect(tracked.left).toBe(0);
  expect(tracked.views('default')).toHaveLength(MOST_LEASES);
});
