/** The state of a lock, as `inspect` and `list` return it. */
import type { StoredLease } from '../../kube/lease-store.js';
import type { LockReference } from '../../lock.errors.js';
import { acquiredAt, readHolder } from './lease-record.js';

/** The lock is free. */
export interface FreeLockState extends LockReference {
  state: 'free';
  /** Whether the Lease exists. */
  exists: boolean;
  /** How often the lock has changed hands, according to the Lease. */
  transitions: number;
}

/** The record names a holder. Only watching the record shows whether that holder is alive. */
export interface HeldLockState extends LockReference {
  state: 'held';
  /** The holder identity in the record. */
  holder: string;
  /** When it was acquired, by the holder's clock; undefined if the record does not say. */
  since?: Date;
  /** When it was last renewed, by the holder's clock. */
  renewedAt?: Date;
  /** Milliseconds; undefined = until released. */
  leaseDuration?: number;
  /**
   * When the lease expires unless it is renewed, by the holder's clock, so it is only as exact as the two clocks agree.
   * Undefined = never.
   */
  until?: Date;
  /** The name of the Lease of the session under which the lock is held (`renewal: 'session'`): the lock ends with it. */
  session?: string;
  transitions: number;
}

export type LockState = FreeLockState | HeldLockState;

export function describeLock(
  lock: LockReference,
  lease: StoredLease | null,
): LockState {
  const spec = lease?.spec ?? {};
  const transitions = spec.leaseTransitions ?? 0;
  const state = lease ? readHolder(lease) : undefined;
  if (!lease || !state?.held) {
    return { ...lock, state: 'free', exists: lease !== null, transitions };
  }
  const { holder, duration, session } = state;
  const renewedAt = toDate(spec.renewTime ?? spec.acquireTime);
  return {
    ...lock,
    state: 'held',
    holder,
    since: heldSince(lease),
    renewedAt,
    leaseDuration: duration,
    until:
      renewedAt && duration !== undefined
        ? toDate(renewedAt.getTime() + duration)
        : undefined,
    ...(session && { session: session.name }),
    transitions,
  };
}

/** When the present holder acquired the lock, by the holder's clock, if the record says so. */
export function heldSince(
  lease: StoredLease | null | undefined,
): Date | undefined {
  return lease
    ? toDate(acquiredAt(lease) ?? lease.spec?.acquireTime)
    : undefined;
}

/** Undefined if the value is not a time, since any client may write the record. */
function toDate(value: string | number | null | undefined): Date | undefined {
  const date = new Date(value ?? Number.NaN);
  return Number.isNaN(date.getTime()) ? undefined : date;
}
