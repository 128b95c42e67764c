/** People and controllers with kubectl: they create, delete and edit Leases, and clean up after the dead. */
import type {
  LeaseKey,
  LeaseSpec,
  StoredLease,
} from '../../lib/kube/lease-store.js';
import type { LockReference } from '../../lib/lock.errors.js';
import type { ApiModel, Author } from './api-model.js';
import { CLAIM } from './fires.js';
import { expires, holderOf } from './write-judge.js';

const AUTHOR: Author = { name: 'kubectl', kind: 'third-party' };

export class ThirdParty {
  private edits = 0;

  constructor(private readonly api: ApiModel) {}

  create(lock: LockReference, spec: LeaseSpec = {}): void {
    const key = keyOf(lock);
    this.api.create(AUTHOR, key, {
      metadata: { ...key, labels: { team: 'blue' } },
      spec: { leaseTransitions: 0, ...spec },
    });
  }

  /** Creates a Lease that coordinated leader election owns. */
  elect(lock: LockReference): void {
    this.create(lock, { strategy: 'OldestEmulationVersion' });
  }

  delete(lock: LockReference): void {
    if (this.api.get(keyOf(lock))) {
      this.api.delete(AUTHOR, keyOf(lock));
    }
  }

  /** Changes the metadata, and nothing else. */
  edit(lock: LockReference): void {
    this.edits += 1;
    this.annotate(lock, 'example.com/edit', String(this.edits));
  }

  /** Claims a fire that is years ahead, as a broken clock would. */
  claimAhead(lock: LockReference): void {
    this.annotate(lock, CLAIM, '2038-01-19T03:14:07.000Z');
  }

  /** Frees a Lease that a dead holder would keep for ever. */
  freeFrom(lock: LockReference, isDead: (holder: string) => boolean): void {
    const lease = this.api.get(keyOf(lock));
    const holder = holderOf(lease);
    if (holder !== '' && !expires(lease) && isDead(holder)) {
      this.change(lock, ({ spec, ...rest }) => ({
        ...rest,
        spec: { leaseTransitions: spec?.leaseTransitions ?? 0 },
      }));
    }
  }

  private annotate(lock: LockReference, name: string, value: string): void {
    this.change(lock, (lease) => ({
      ...lease,
      metadata: {
        ...lease.metadata,
        annotations: { ...lease.metadata.annotations, [name]: value },
      },
    }));
  }

  private change(
    lock: LockReference,
    edit: (lease: StoredLease) => StoredLease,
  ): void {
    const lease = this.api.get(keyOf(lock));
    if (lease) {
      this.api.update(AUTHOR, keyOf(lock), edit(lease));
    }
  }
}

function keyOf({ namespace, leaseName }: LockReference): LeaseKey {
  return { namespace, name: leaseName };
}
