/** The state of a lock, as `inspect` and `list` return it. */
import type { StoredLease } from '../../kube/lease-store.js';
import type { LockReference } from '../../lock.errors.js';
import { readClaim, type ClaimState } from './fire-claim.js';
import { acquiredAt, isForeign, readHolder } from './lease-record.js';
import { grantOf, lineOf } from './line.js';
import { permitsOf } from './permits.js';

/** A process that waits in line for a lock. */
export interface WaitingState {
  /** The `clientId` of the process. */
  clientId: string;
  /** The holder identity that it will have. */
  holder: string;
}

/** The last fire of a scheduled method that was claimed with the lock. */
export interface FireState {
  /** The planned time of the fire. */
  at: Date;
  /**
   * `claimed`: its work has not begun yet. `open`: it was given back before its work began. `begun`: its work is running, or
   * was interrupted. `done`: its work has ended.
   */
  state: ClaimState;
  /** The holder identity that claimed it; undefined if the record does not say. */
  by?: string;
}

/** What a record tells of a lock, held or free. */
interface RecordState extends LockReference {
  /** How often the lock has changed hands, according to the Lease. */
  transitions: number;
  /** Who waits in line, first in line first. Processes that wait without a place in line are not among them. */
  waiting: WaitingState[];
  /** The last fire that was claimed with the lock; absent if there was none. */
  fire?: FireState;
  /** The permits of the semaphore of which the Lease is a slot, as its last holder had them; absent for a lock. */
  permits?: number;
  /**
   * The resourceVersion of the Lease; absent if there is none. The fencing token of the holder is not greater, and that of
   * every later holder is.
   */
  version?: string;
}

/** The lock is free. */
export interface FreeLockState extends RecordState {
  state: 'free';
  /** Whether the Lease exists. */
  exists: boolean;
}

/** The record names a holder. Only watching the record shows whether that holder is alive. */
export interface HeldLockState extends RecordState {
  state: 'held';
  /** The holder identity in the record. */
  holder: string;
  /** Whether the holder is a client of another kind, such as client-go or k8slock, or a version that knows no places in line. */
  foreign: boolean;
  /** Whether the lock was granted to the holder, which has not renewed it yet. */
  granted: boolean;
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
}

export type LockState = FreeLockState | HeldLockState;

/** A session: a Lease that a process renews instead of the locks that it holds under it. */
export interface SessionState {
  namespace: string;
  leaseName: string;
  /** Whether its record names a process; otherwise it has ended. */
  state: 'open' | 'ended';
  /** The holder identity in the record. */
  holder?: string;
  /** When it was opened, by the clock of its process. */
  since?: Date;
  /** When it was last renewed, by the clock of its process. */
  renewedAt?: Date;
  /** Milliseconds; undefined = until released. */
  leaseDuration?: number;
  /** When it ends unless it is renewed, by the clock of its process. */
  until?: Date;
}

/** The state of a lock, from its Lease alone; null if there is none. */
export function describeLock(
  lock: LockReference,
  lease: StoredLease | null,
): LockState {
  const record = { ...lock, ...describeRecord(lease) };
  const state = lease ? readHolder(lease) : undefined;
  if (!lease || !state?.held) {
    return { ...record, state: 'free', exists: lease !== null };
  }
  const { holder, session } = state;
  return {
    ...record,
    state: 'held',
    holder,
    foreign: isForeign(lease),
    granted: grantOf(lease) !== undefined,
    since: heldSince(lease),
    ...describeTimes(lease, state.duration),
    ...(session && { session: session.name }),
  };
}

/** The state of a session, from its Lease alone. */
export function describeSession(lease: StoredLease): SessionState {
  const { name: leaseName, namespace = '' } = lease.metadata;
  const state = readHolder(lease);
  return state.held
    ? {
        namespace,
        leaseName,
        state: 'open',
        holder: state.holder,
        since: heldSince(lease),
        ...describeTimes(lease, state.duration),
      }
    : { namespace, leaseName, state: 'ended' };
}

/** The `clientId` of a holder identity `<clientId>_<nonce>` (R7); the whole of another identity. */
export function clientIdOf(identity: string): string {
  return identity.replace(/_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, '');
}

function describeRecord(
  lease: StoredLease | null,
): Omit<RecordState, keyof LockReference> {
  if (lease === null) {
    return { transitions: 0, waiting: [] };
  }
  const claim = readClaim(lease);
  const permits = permitsOf(lease);
  return {
    transitions: lease.spec?.leaseTransitions ?? 0,
    waiting: lineOf(lease).map(({ identity }) => ({
      clientId: clientIdOf(identity),
      holder: identity,
    })),
    ...(claim && {
      fire: {
        at: new Date(claim.at),
        state: claim.state,
        ...(claim.by !== undefined && { by: claim.by }),
      },
    }),
    ...(permits !== undefined && { permits }),
    version: lease.metadata.resourceVersion,
  };
}

function describeTimes({ spec }: StoredLease, duration: number | undefined) {
  const renewedAt = toDate(spec?.renewTime ?? spec?.acquireTime);
  return {
    renewedAt,
    leaseDuration: duration,
    until:
      renewedAt && duration !== undefined
        ? toDate(renewedAt.getTime() + duration)
        : undefined,
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
