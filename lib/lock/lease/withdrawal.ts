/**
 * Withdraws an acquiring write whose outcome is unknown and which nobody wants any more: it may have
 * landed, or land up to half a minute later, and would leave the lock taken by nobody.
 */
import { LeaseStoreError } from '../../kube/lease-store.js';
import type { LockReference } from '../../lock.errors.js';
import { endClaim } from '../record/fire-claim.js';
import type { LeaseCell } from './local-lease.js';
import {
  delayOfRetry,
  LONGEST_REQUEST,
  pause,
  type LockContext,
} from '../engine-context.js';
import { createFree, invalidate, takeAway } from '../record/lease-record.js';

export interface Withdrawal {
  readonly identity: string;
  /** The resourceVersion that the write was based on; undefined = it was to create the Lease. */
  readonly basedOn: string | undefined;
  /** How long the record stays taken if the write landed and is not withdrawn. */
  readonly leaseDuration: number | 'infinite';
  /** The engine is closed: give up. */
  readonly closed: AbortSignal;
}

/** Never rejects. */
export async function withdraw(
  context: LockContext,
  cell: LeaseCell,
  lock: LockReference,
  { identity, basedOn, leaseDuration, closed }: Withdrawal,
): Promise<void> {
  const { clock, requestTimeout } = context;
  const giveUpAt =
    leaseDuration === 'infinite'
      ? Infinity
      : clock.now() + Math.max(LONGEST_REQUEST, leaseDuration);
  const options = {
    timeout: requestTimeout,
    signal: closed,
    priority: 'release',
  } as const;
  for (let failures = 0; clock.now() < giveUpAt && !closed.aborted;) {
    try {
      const lease = await cell.look(options);
      if (lease?.spec?.holderIdentity === identity) {
        const freed = takeAway(endClaim(lease, 'open'));
        await cell.replace(() => freed, options);
      } else if (lease?.metadata.resourceVersion !== basedOn) {
        return; // somebody else wrote in between: it can't land any more
      } else if (lease === null) {
        await cell.create(() => createFree(cell.key), options);
      } else {
        await cell.replace(() => invalidate(lease, identity), options);
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
