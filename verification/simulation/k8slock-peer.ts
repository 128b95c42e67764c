/** A peer that follows k8slock to the letter (its locker.go): NewLocker, LockContext and UnlockContext. */
import {
  LeaseStoreError,
  type StoredLease,
} from '../../lib/kube/lease-store.js';
import type { Machine } from './machine.js';
import {
  countSession,
  microTimeOf,
  Peer,
  requestFailure,
  type PeerOptions,
} from './peer.js';
import type { Random } from './random.js';
import type { World } from './world.js';

export class K8slockPeer extends Peer {
  private readonly retryWait: number;

  constructor(
    world: World,
    machine: Machine,
    random: Random,
    options: PeerOptions,
  ) {
    super(world, machine, 'k8slock', random, options);
    this.retryWait = random.magnitude(100, 1_000);
  }

  protected async term(identity: string): Promise<void> {
    const { random, options } = this;
    const ttl = random.chance(0.3) ? 0 : options.leaseDuration;
    try {
      await this.newLocker();
      if (!(await this.lock(identity, ttl))) {
        return;
      }
      this.world.statistics.count('peer acquisitions');
      this.say(() => `locks as ${identity}, for ${ttl || 'ever'} ms`);
      await this.machine.sleep(random.magnitude(1, 2 * options.leaseDuration));
      this.say(() => `unlocks as ${identity}`);
      await this.unlock(identity);
    } catch (error) {
      // k8slock hands it to its user.
      const { reason } = requestFailure(error);
      this.say(() => `ends with an error: ${reason}`);
    }
  }

  private async newLocker(): Promise<void> {
    if ((await this.store.get(this.key)) === undefined) {
      await this.store.create(this.key, {
        metadata: this.key,
        spec: { leaseTransitions: 0 },
      });
    }
  }

  private async lock(identity: string, ttl: number): Promise<boolean> {
    // oxlint-disable no-await-in-loop -- one try after the other
    while (!this.world.isHealed) {
      const lease = await this.getLease();
      const spec = lease.spec ?? {};
      if (spec.holderIdentity !== undefined) {
        if (spec.leaseDurationSeconds === undefined) {
          // The lock is already held and has no expiry
          await this.machine.sleep(this.retryWait);
          continue;
        }
        const acquireTime = Date.parse(
          this.dereferenced(lease, spec.acquireTime, 'AcquireTime'),
        );
        const duration = Number(spec.leaseDurationSeconds) * 1_000;
        if (acquireTime + duration > this.machine.wallMilliseconds()) {
          // The lock is already held and hasn't expired yet
          countSession(this.world, 'k8slock', lease);
          await this.machine.sleep(this.retryWait);
          continue;
        }
      }
      const transitions = this.dereferenced(
        lease,
        spec.leaseTransitions,
        'LeaseTransitions',
      );
      try {
        await this.store.replace(this.key, {
          ...lease,
          spec: {
            ...spec,
            holderIdentity: identity,
            leaseTransitions: transitions + 1,
            acquireTime: microTimeOf(this.machine.wallMilliseconds()),
            ...(ttl > 0 && { leaseDurationSeconds: Math.trunc(ttl / 1_000) }),
          },
        });
        return true;
      } catch (error) {
        if (requestFailure(error).reason !== 'conflict') {
          throw error;
        }
        await this.machine.sleep(this.retryWait);
      }
    }
    // oxlint-enable no-await-in-loop
    return false;
  }

  private async unlock(identity: string): Promise<void> {
    const lease = await this.getLease();
    const { holderIdentity, acquireTime, leaseDurationSeconds, ...spec } =
      lease.spec ?? {};
    this.say(
      () =>
        `finds ${acquireTime ?? 'no time'}, ${leaseDurationSeconds ?? 'no'} s`,
    );
    if (holderIdentity === identity) {
      await this.store.replace(this.key, { ...lease, spec });
    }
  }

  private get key(): { namespace: string; name: string } {
    const { namespace, leaseName } = this.options.lock;
    return { namespace, name: leaseName };
  }

  private async getLease(): Promise<StoredLease> {
    const lease = await this.store.get(this.key);
    if (lease === undefined) {
      return Promise.reject(notFound());
    }
    return lease;
  }

  /** `*pointer`. */
  private dereferenced<T>(
    lease: StoredLease,
    value: T | null | undefined,
    field: string,
  ): T {
    if (value === undefined || value === null) {
      this.world.findings.add(
        'peer-panicked',
        `k8slock dereferences ${field} of ${JSON.stringify(lease.spec)}, which is nil`,
      );
      throw notFound();
    }
    return value;
  }
}

function notFound(): LeaseStoreError {
  return new LeaseStoreError('not-found', 'could not get Lease resource');
}
