/** Gives a record back (R6, R9) when its holder has ended. */
import { LeaseStoreError, type StoredLease } from '../../kube/lease-store.js';
import type { LockReference } from '../../lock.errors.js';
import { endClaim, readClaim, type ClaimEnd } from '../record/fire-claim.js';
import type { LocalLease } from './local-lease.js';
import { reportFailure, type EngineContext } from '../engine-context.js';
import { delayOfRetry, pause } from '../retry.js';
import {
  hasFinalizers,
  isHeldBy,
  retain,
  release,
} from '../record/lease-record.js';

export interface Ending {
  /** Whose record: it is touched as long as it names this holder, and not a moment longer. */
  readonly identity: string;
  /** Monotonic time at which to give up: then the lease has expired by itself. */
  readonly giveUpAt: number;
  /** Monotonic time until which the lock must stay taken (`minHold`). */
  readonly takenUntil?: number;
  /** What became of the work that was claimed with the lock, if any. */
  readonly claim: ClaimEnd;
  /** Delete the Lease rather than mark it free, unless it remembers planned work, or would stay. */
  readonly remove: boolean;
  /** The engine is closed: give up. */
  readonly closed: AbortSignal;
}

/**
 * R6: releases the record, if it still names this holder, and touches no other. Failures are reported and
 * retried until `giveUpAt`; never rejects.
 */
export async function freeRecord(
  context: EngineContext,
  local: LocalLease,
  lock: LockReference,
  ending: Ending,
): Promise<void> {
  const { clock, requestTimeout } = context;
  const options = {
    timeout: requestTimeout,
    signal: ending.closed,
    priority: 'release',
  } as const;
  const { identity } = ending;
  let mustLook = false;
  let { remove } = ending;
  for (let failures = 0; ;) {
    try {
      let lease = local.observed.lease;
      if (mustLook || !isHeldBy(lease, identity)) {
        lease = await local.read(options);
        mustLook = false;
      }
      if (
        !isHeldBy(lease, identity) ||
        (await writeEnd(context, local, lease, { ...ending, remove }))
      ) {
        return;
      }
      mustLook = true;
      remove = false;
    } catch (error) {
      if (ending.closed.aborted || !(error instanceof LeaseStoreError)) {
        return;
      }
      mustLook = true;
      failures += 1;
      if (remove && error.reason === 'forbidden') {
        // Without the right to delete it, the Lease is marked free.
        reportFailure(context, lock, 'release', error);
        remove = false;
        continue;
      }
      const { giveUpAt } = ending;
      const retry = { failures, giveUpAt };
      const delay = delayOfRetry(context, lock, error, retry);
      if (delay > 0) {
        if (clock.now() + delay >= giveUpAt) {
          return;
        }
        await pause(clock, delay, ending.closed).catch(() => undefined);
      }
    }
  }
}

/** R9: deletes the Lease only if asked to. @returns false when the Lease that was deleted is still there */
async function writeEnd(
  { clock, requestTimeout }: EngineContext,
  local: LocalLease,
  found: StoredLease,
  { takenUntil = 0, claim, remove, closed }: Ending,
): Promise<boolean> {
  const lease = endClaim(found, claim);
  const options = {
    timeout: requestTimeout,
    signal: closed,
    priority: 'release',
  } as const;
  if (takenUntil > clock.now()) {
    const rest = (): number => Math.max(1, takenUntil - clock.now());
    await local.replace(() => retain(lease, rest(), clock), options);
    return true;
  }
  // A finalizer keeps a deleted Lease, which would go on naming its holder.
  if (remove && readClaim(found) === undefined && !hasFinalizers(found)) {
    return local.delete(lease, options);
  }
  await local.replace(() => release(lease), options);
  return true;
}
