/**
 * The rules of the Lease record (R2, R3, R4, R6, R7, R10): how it is read, and what is written into
 * it. Pure functions; R1, the compare-and-swap, is that they keep the uid and the resourceVersion of
 * the record that they were given.
 */
import { randomUUID } from 'node:crypto';
import {
  LeaseStoreError,
  type Lease,
  type LeaseKey,
  type LeaseMetadata,
  type LeaseSpec,
  type StoredLease,
} from '../../kube/lease-store.js';
import { LockBackendError, type LockReference } from '../../lock.errors.js';
import { CLAIM, writeClaim } from './fire-claim.js';
import type { Clock } from '../clock.js';

/**
 * The true time of acquisition, since acquireTime moves with every renewal (R3), and by whom: a peer
 * that takes the lock over leaves it standing, and then it tells nothing.
 */
export const ACQUIRED_AT = 'nestjs-k8s-lock/acquired-at';
/** The lock's name as its user wrote it; that it is there tells that the Lease is a lock of this package. */
export const LOCK_NAME = 'nestjs-k8s-lock/name';
/** Whose work has ended, while the record stays taken for the rest of `minHold`. */
const PARKED_BY = 'nestjs-k8s-lock/parked-by';
/** When that is over; for others the record stays taken in whole seconds. */
const PARKED_UNTIL = 'nestjs-k8s-lock/parked-until';
/** The last holder identity that was not given up by itself: by force, or for a call that nobody waits for any more. */
export const EVICTED = 'nestjs-k8s-lock/withdrawn';
/** On the Leases that this package created. */
const MANAGED_BY = ['app.kubernetes.io/managed-by', 'nestjs-k8s-lock'] as const;

/** leaseDurationSeconds of a lease that does not expire (R2): the greatest int32. */
const INFINITE_SECONDS = 2_147_483_647;
/** Characters of a name or an identity in an annotation. */
const LONGEST_IN_ANNOTATION = 1_024;
const GREATEST_TRANSITIONS = 2_147_483_647;

/** What a record says, before any question of time. */
export type HolderState =
  | { readonly held: false }
  | {
      readonly held: true;
      readonly holder: string;
      /** Milliseconds after which the unchanged record counts as expired; undefined = never. */
      readonly duration: number | undefined;
    };

const FREE: HolderState = { held: false };

/**
 * R4: a holder that is absent or "" means free; a holder without a (sensible) duration holds until
 * it releases.
 */
export function readHolder(lease: Lease): HolderState {
  const spec = lease.spec ?? {};
  const holder = spec.holderIdentity ?? '';
  if (holder === '') {
    return FREE;
  }
  const seconds = spec.leaseDurationSeconds;
  const expires =
    typeof seconds === 'number' &&
    Number.isInteger(seconds) &&
    seconds >= 1 &&
    seconds < INFINITE_SECONDS;
  return {
    held: true,
    holder,
    duration: expires ? seconds * 1_000 : undefined,
  };
}

/** R10: whether coordinated leader election owns the Lease. */
export function isCoordinated(lease: Lease): boolean {
  const strategy = lease.spec?.strategy;
  return strategy !== undefined && strategy !== null && strategy !== '';
}

/** R10: throws when coordinated leader election owns the Lease. */
export function refuseCoordinated(
  lock: LockReference,
  lease: StoredLease | null | undefined,
): void {
  if (lease && isCoordinated(lease)) {
    throw new LockBackendError(lock, 'lease-refused', {
      message:
        'the Lease belongs to coordinated leader election (spec.strategy is set), which gives it to whom it chooses. Use another lock name.',
    });
  }
}

/** R5: what must stay the same for a holder to count as silent. Metadata is not in it. */
export function fingerprint(lease: Lease): string {
  const spec = lease.spec ?? {};
  return JSON.stringify([
    spec.holderIdentity ?? null,
    spec.leaseDurationSeconds ?? null,
    spec.acquireTime ?? null,
    spec.renewTime ?? null,
    spec.leaseTransitions ?? null,
  ]);
}

/**
 * Whether the answer to a write shows what was written, in all that holders build on. A webhook may add to
 * the rest; a cache, or a proxy, may answer with a record of before.
 */
export function isStoredAs(answer: StoredLease, sent: Lease): boolean {
  const { uid, resourceVersion } = sent.metadata;
  return (
    fingerprint(answer) === fingerprint(sent) &&
    answer.metadata.annotations?.[CLAIM] ===
      sent.metadata.annotations?.[CLAIM] &&
    (uid === undefined || uid === answer.metadata.uid) &&
    (resourceVersion === undefined ||
      BigInt(resourceVersion) < BigInt(answer.metadata.resourceVersion))
  );
}

/** R7: `<clientId>_<nonce>`, unique to the acquisition. */
export function newHolderIdentity(clientId: string): string {
  return `${clientId}_${randomUUID()}`;
}

/** Whether the record names this acquisition as its holder. */
export function isHeldBy(
  lease: StoredLease | null | undefined,
  identity: string,
): lease is StoredLease {
  return lease?.spec?.holderIdentity === identity;
}

/** Grows with each acquisition of a lock, also when its Lease was deleted in between. */
export function fencingTokenOf(acquired: StoredLease): bigint {
  return BigInt(acquired.metadata.resourceVersion);
}

/** What a holder writes. */
export interface NewHolder {
  /** See {@link newHolderIdentity}. */
  readonly identity: string;
  /** Infinity: until it is released. */
  readonly leaseDuration: number;
  /** The lock's name as its user wrote it. */
  readonly lockName: string;
  /** The instant of the planned work that is claimed with the lock. */
  readonly claimed?: number;
}

/** R2, R3: the record with `newHolder` as its holder, taken over from whoever held it. */
export function take(
  lease: StoredLease,
  newHolder: NewHolder,
  clock: Clock,
): StoredLease {
  const spec = lease.spec ?? {};
  const now = freshMicroTime(spec.renewTime, clock);
  const isOurs = spec.holderIdentity === newHolder.identity;
  return {
    ...lease,
    metadata: {
      ...lease.metadata,
      annotations: {
        ...(isOurs
          ? lease.metadata.annotations
          : withTenure(lease.metadata, newHolder, now)),
      },
    },
    spec: {
      ...spec,
      holderIdentity: newHolder.identity,
      leaseDurationSeconds: durationSeconds(newHolder.leaseDuration),
      acquireTime: now,
      renewTime: now,
      leaseTransitions: isOurs
        ? transitionsOf(spec)
        : nextTransitions(transitionsOf(spec)),
    },
  };
}

/** R2: a new record with `newHolder` as its holder. */
export function createTaken(
  key: LeaseKey,
  newHolder: NewHolder,
  clock: Clock,
): Lease {
  const now = microTime(clock.wallMicroseconds());
  const lease = createFree(key);
  return {
    ...lease,
    metadata: {
      ...lease.metadata,
      annotations: withTenure(lease.metadata, newHolder, now),
    },
    spec: {
      holderIdentity: newHolder.identity,
      leaseDurationSeconds: durationSeconds(newHolder.leaseDuration),
      acquireTime: now,
      renewTime: now,
      leaseTransitions: 0,
    },
  };
}

/** A new record without a holder. */
export function createFree(key: LeaseKey): Lease {
  return {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: {
      name: key.name,
      namespace: key.namespace,
      labels: { [MANAGED_BY[0]]: MANAGED_BY[1] },
    },
    spec: { leaseTransitions: 0 },
  };
}

/** R3: the record with its times moved: the holder is alive. */
export function renew(
  lease: StoredLease,
  leaseDuration: number,
  clock: Clock,
): StoredLease {
  const now = freshMicroTime(lease.spec?.renewTime, clock);
  return {
    ...lease,
    spec: {
      ...lease.spec,
      leaseDurationSeconds: durationSeconds(leaseDuration),
      acquireTime: now,
      renewTime: now,
    },
  };
}

/** The record of a holder whose work has ended, to stay taken for another `rest` milliseconds. */
export function retain(
  lease: StoredLease,
  rest: number,
  clock: Clock,
): StoredLease {
  const parked = renew(lease, rest, clock);
  const until = clock.wallMicroseconds() + Math.round(rest * 1_000);
  return {
    ...parked,
    metadata: {
      ...parked.metadata,
      annotations: {
        ...parked.metadata.annotations,
        [PARKED_BY]: lease.spec?.holderIdentity ?? '',
        [PARKED_UNTIL]: microTime(until),
      },
    },
  };
}

/**
 * Until when the record stays taken although the work of its holder has ended well, in milliseconds
 * since the epoch by the clock of that one; undefined = the work goes on, or was cut short.
 */
export function retainedUntil(lease: Lease): number | undefined {
  const { [PARKED_BY]: by, [PARKED_UNTIL]: until = '' } =
    lease.metadata.annotations ?? {};
  const isParked = by !== undefined && by === lease.spec?.holderIdentity;
  const at = isParked ? Date.parse(until) : NaN;
  return Number.isNaN(at) ? undefined : at;
}

/** R6: the record without a holder. */
export function release(lease: StoredLease): StoredLease {
  const {
    holderIdentity: _holder,
    leaseDurationSeconds: _duration,
    acquireTime: _acquired,
    renewTime: _renewed,
    ...spec
  } = lease.spec ?? {};
  const {
    [ACQUIRED_AT]: _at,
    [PARKED_BY]: _by,
    [PARKED_UNTIL]: _until,
    ...annotations
  } = lease.metadata.annotations ?? {};
  return {
    ...lease,
    metadata: { ...lease.metadata, annotations },
    spec: { ...spec, leaseTransitions: transitionsOf(spec) },
  };
}

/** R6: the record without the holder that it names, which does not release it itself. */
export function evict(lease: StoredLease): StoredLease {
  return release(invalidate(lease, withdrawalOf(lease.spec?.holderIdentity)));
}

/** Whether the record is free because somebody else has taken it from this holder. */
export function wasEvicted(lease: Lease, holder: string): boolean {
  return (
    !readHolder(lease).held &&
    lease.metadata.annotations?.[EVICTED] === withdrawalOf(holder)
  );
}

/** An identity of a foreign holder may be longer than all annotations together may be. */
function withdrawalOf(holder: string | null = ''): string {
  return holder?.slice(0, LONGEST_IN_ANNOTATION) ?? '';
}

/** The record with nothing changed but its resourceVersion: writes based on the old one will fail. */
export function invalidate(lease: StoredLease, nonce: string): StoredLease {
  return {
    ...lease,
    metadata: {
      ...lease.metadata,
      annotations: { ...lease.metadata.annotations, [EVICTED]: nonce },
    },
  };
}

/** The true time of acquisition by the present holder, if that is one of this package. */
export function acquiredAt(lease: Lease): string | undefined {
  const [time, holder] =
    lease.metadata.annotations?.[ACQUIRED_AT]?.split(' by ') ?? [];
  return holder === lease.spec?.holderIdentity ? time : undefined;
}

/** Whether this package has created the Lease, or has ever held it. */
export function isLock(lease: Lease): boolean {
  const { annotations, labels } = lease.metadata;
  return (
    labels?.[MANAGED_BY[0]] === MANAGED_BY[1] ||
    annotations?.[ACQUIRED_AT] !== undefined ||
    annotations?.[LOCK_NAME] !== undefined
  );
}

/** Whether a Lease that is deleted stays until somebody else has done something. */
export function hasFinalizers({ metadata }: Lease): boolean {
  const { finalizers } = metadata;
  return Array.isArray(finalizers) && finalizers.length > 0;
}

/** Whether the Lease was deleted, and is gone as soon as the last of its finalizers is. */
export function isTerminating({ metadata }: Lease): boolean {
  const { deletionTimestamp } = metadata;
  return deletionTimestamp !== undefined && deletionTimestamp !== null;
}

/** Throws, until it is gone, when the Lease was deleted: it would take a lock with it that is held on it. */
export function refuseTerminating(
  { namespace, leaseName }: LockReference,
  lease: StoredLease | undefined,
): void {
  if (lease && isTerminating(lease)) {
    throw new LeaseStoreError(
      'conflict',
      `Lease ${namespace}/${leaseName} was deleted, and stays until its finalizers are removed: it can't be held. See who has put them there (metadata.finalizers).`,
    );
  }
}

/** Throws when there is no Lease, and none may be created. */
export function refuseMissing(
  lock: LockReference,
  lease: StoredLease | null | undefined,
  createLease: boolean,
): void {
  if (lease === null && !createLease) {
    throw new LockBackendError(lock, 'lease-missing', {
      message:
        'the Lease does not exist and createLease is false. Create it, or set createLease: true.',
    });
  }
}

/** RFC 3339 with the six fraction digits that MicroTime needs. */
export function microTime(microseconds: number): string {
  const milliseconds = Math.floor(microseconds / 1_000);
  const rest = String(microseconds - milliseconds * 1_000).padStart(3, '0');
  return `${new Date(milliseconds).toISOString().slice(0, -1)}${rest}Z`;
}

/** A time that differs from the last one, even when the wall clock stands still: a renewal shows. */
function freshMicroTime(last: string | null | undefined, clock: Clock): string {
  const now = clock.wallMicroseconds();
  const time = microTime(now);
  return time === last ? microTime(now + 1) : time;
}

function withTenure(
  { annotations }: LeaseMetadata,
  newHolder: NewHolder,
  now: string,
): Record<string, string> {
  const {
    [PARKED_BY]: _by,
    [PARKED_UNTIL]: _until,
    [EVICTED]: _withdrawn,
    ...others
  } = annotations ?? {};
  return {
    ...others,
    [ACQUIRED_AT]: `${now} by ${newHolder.identity}`,
    [LOCK_NAME]: newHolder.lockName.slice(0, LONGEST_IN_ANNOTATION),
    ...(newHolder.claimed === undefined
      ? {}
      : {
          [CLAIM]: writeClaim(newHolder.claimed, newHolder.identity, 'claimed'),
        }),
  };
}

function durationSeconds(leaseDuration: number): number {
  return Math.min(Math.ceil(leaseDuration / 1_000), INFINITE_SECONDS);
}

function transitionsOf(spec: LeaseSpec): number {
  return typeof spec.leaseTransitions === 'number' ? spec.leaseTransitions : 0;
}

/** The counter is an int32, and a peer that adds 1 to its greatest value could never write again. */
function nextTransitions(transitions: number): number {
  return transitions >= GREATEST_TRANSITIONS - 1 ? 0 : transitions + 1;
}
