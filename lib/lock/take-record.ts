/** Takes a record (R1, R2): the one place that writes an acquisition. */
import type { RequestOptions, StoredLease } from '../kube/lease-store.js';
import type { LeaseCell } from './lease-cell.js';
import type { LockContext } from './lock-context.js';
import { createTaken, take, type Tenure } from './record.js';

/**
 * Sends the write in the very turn in which it is called, based on the record as it is known then:
 * its caller has just judged that one. It is the release of a holder of this process, too, that is
 * known to have ended.
 *
 * @throws LeaseStoreError
 */
export function takeRecord(
  { store, clock }: LockContext,
  cell: LeaseCell,
  tenure: Tenure,
  options: RequestOptions,
): Promise<StoredLease> {
  const lease = cell.observation.settled;
  return lease
    ? store.replace(cell.key, take(lease, tenure, clock), options)
    : store.create(cell.key, createTaken(cell.key, tenure, clock), options);
}
