/** Takes a record (R1, R2): the one place that writes an acquisition. */
import type {
  Lease,
  LeaseKey,
  RequestOptions,
  StoredLease,
} from '../../kube/lease-store.js';
import type { Clock } from '../clock.js';
import type { LocalLease } from './local-lease.js';
import type { EngineContext } from '../engine-context.js';
import {
  createFree,
  createTaken,
  take,
  type NewHolder,
} from '../record/lease-record.js';

/**
 * Writes over the record as it is known in the very turn in which it is called: its caller has just
 * judged that one. It is the release of a holder of this process, too, that is known to have ended.
 *
 * @param onSend called in the moment in which the request is sent
 * @throws LeaseStoreError
 */
export function takeRecord(
  { clock }: EngineContext,
  local: LocalLease,
  newHolder: NewHolder,
  options: RequestOptions,
  onSend: () => void,
): Promise<StoredLease> {
  const lease = local.observed.effectiveLease;
  const sending =
    <T>(make: () => T) =>
    () => {
      onSend();
      return make();
    };
  return lease
    ? local.replace(
        sending(() => take(lease, newHolder, clock)),
        options,
      )
    : local.create(
        sending(() => newRecord(local.key, newHolder, clock)),
        options,
      );
}

/**
 * A creation without an answer may land whenever the Lease does not exist, up to half a minute later,
 * and no comparison can stop it. It must not leave a lock taken that never expires: such a one is
 * created free, and the next write takes it.
 */
function newRecord(key: LeaseKey, newHolder: NewHolder, clock: Clock): Lease {
  return newHolder.leaseDuration === Infinity
    ? createFree(key)
    : createTaken(key, newHolder, clock);
}
