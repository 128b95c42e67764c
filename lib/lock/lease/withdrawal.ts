/**
 * Withdraws an acquiring write whose outcome is unknown and which nobody wants any more: it may have
 * landed, or land up to half a minute later, and would leave the lock taken by nobody.
 */
import { LeaseStoreError } from '../../kube/lease-store.js';
import type { LockReference } from '../../lock.errors.js';
import { endClaim } from '../record/fire-claim.js';
import type { LocalLease } from './local-lease.js';
import { type EngineContext } from '../engine-context.js';
import { delayOfRetry, LONGEST_WRITE, pause } from '../retry.js';
import { createFree, invalidate, evict } from '../record/lease-record.js';

export interface Withdrawal {
  readonly identity: string;
  /** The resourceVersion that the write was based on; undefined = it was to create the Lease. */
  readonly basedOn: string | undefined;
  /** How long the record stays taken if the write landed and is not withdrawn. */
  readonly leaseDuration: number;
  /** The engine is closed: give up. */
  readonly closed: AbortSignal;
}

/** R7: looks for the identity of the write, and frees the record if it landed, or makes it fail. Never rejects. */
export async function withdraw(
  context: EngineContext,
  local: LocalLease,
  lock: LockReference,
  { identity, basedOn, leaseDuration, closed }: Withdrawal,
): Promise<void> {
  const { clock, requestTimeout } = context;
  const giveUpAt = clock.now() + Math.max(LONGEST_WRITE, leaseDuration);
  const options = {
    timeout: requestTimeout,
    signal: closed,
    priority: 'release',
  } as const;
  for (let failures = 0; clock.now() < giveUpAt && !closed.aborted;) {
    try {
      const lease = await local.read(options);
      if (lease?.spec?.holderIdentity === identity) {
        const freed = evict(endClaim(lease, 'open'));
        await local.replace(() => freed, options);
      } else if (lease?.metadata.resourceVersion !== basedOn) {
        return; // somebody else wrote in between: it can't land any more
      } else if (lease === null) {
        await local.create(() => createFree(local.key), options);
      } else {
        await local.replace(() => invalidate(lease, identity), options);
      }
      return;
    } catch (error) {
      if (!(error instanceof LeaseStoreError)) {
        return;
      }
      failures += 1;
      const retry = { failures, giveUpAt };
      const delay = delayOfRetry(context, lock, error, retry);
      if (delay > 0) {
        await pause(clock, delay, closed).catch(() => undefined);
      }
    }
  }
}
