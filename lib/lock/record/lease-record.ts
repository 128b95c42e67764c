/**
 * The rules of the Lease record (R2 to R7, R10, and the grant of R11) as pure functions that read a record and make
 * the next one. For R1, the compare-and-swap, they keep the uid and the resourceVersion of the record.
 */
import { createHash, randomUUID } from 'node:crypto';
import {
  CLIENT_NAME,
  LeaseStoreError,
  type Lease,
  type LeaseKey,
  type LeaseMetadata,
  type LeaseSpec,
  type StoredLease,
} from '../../kube/lease-store.js';
import { LockBackendError, type LockReference } from '../../lock.errors.js';
import { CLAIM, readClaim, writeClaim } from './fire-claim.js';
import {
  IS_SESSION,
  isSession,
  SESSION,
  sessionOf,
  withSession,
  type SessionReference,
} from './session.js';
import type { Clock } from '../clock.js';
import { withPermits } from './permits.js';
import {
  GRANT,
  grantOf,
  grantValue,
  keptGrant,
  leftFreeValue,
  ticketKey,
  type Grant,
  type Ticket,
} from './line.js';

/**
 * The true time of acquisition, since acquireTime moves with every renewal (R3), and the holder. A peer
 * that takes the lock over keeps the annotation, which then is not valid for the new holder.
 */
export const ACQUIRED_AT = 'nestjs-k8s-lock/acquired-at';
/** The lock name as given by the user; its presence marks the Lease as a lock of this package. */
export const LOCK_NAME = 'nestjs-k8s-lock/name';
/** The holder whose work has ended, while the record stays taken for the rest of `minHold`. */
const RETAINED_BY = 'nestjs-k8s-lock/parked-by';
/** The exact end of `minHold`; for other processes the record stays taken in whole seconds. */
const RETAINED_UNTIL = 'nestjs-k8s-lock/parked-until';
/** Identity of the last holder that was evicted (forceRelease, or an abandoned acquire). */
export const EVICTED = 'nestjs-k8s-lock/withdrawn';
/** The label of Leases that this package created. */
const MANAGED_BY = ['app.kubernetes.io/managed-by', 'nestjs-k8s-lock'] as const;

/** leaseDurationSeconds of a lease that does not expire (R2): the largest int32. */
const INFINITE_SECONDS = 2_147_483_647;
/** The longest name or identity in an annotation, in characters. */
const LONGEST_IN_ANNOTATION = 1_024;
const GREATEST_TRANSITIONS = 2_147_483_647;

/** The holder of a record, regardless of time. */
export type HolderState =
  | { readonly held: false }
  | {
      readonly held: true;
      readonly holder: string;
      /** Milliseconds after which an unchanged record has expired; undefined = never. */
      readonly duration: number | undefined;
      /** R12: the session under which a record that does not expire is held. */
      readonly session?: SessionReference;
    };

const FREE: HolderState = { held: false };

/**
 * R4: a record is free if its holder is absent or "". A holder without a valid duration holds the lock until
 * it releases it. R11: an unconfirmed grant has a duration of its own.
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
    duration:
      grantOf(lease)?.duration ?? (expires ? seconds * 1_000 : undefined),
    session: expires ? undefined : sessionOf(lease),
  };
}

/**
 * Whether a client that does not know the line holds the lock: one that does not write when it acquired a lock, as only this
 * package does, or an older version of this package.
 */
export function isForeign(lease: Lease): boolean {
  return (
    readHolder(lease).held &&
    (acquiredAt(lease) === undefined || keptGrant(lease))
  );
}

/** R10: whether coordinated leader election owns the Lease. */
export function isCoordinated(lease: Lease): boolean {
  const strategy = lease.spec?.strategy;
  return strategy !== undefined && strategy !== null && strategy !== '';
}

/**
 * R10: the error of a call whose Lease belongs to coordinated leader election, or does not exist while none may be
 * created.
 */
export function findRefusal(
  lock: LockReference,
  lease: StoredLease | null | undefined,
  createLease = true,
): LockBackendError | undefined {
  if (lease && isCoordinated(lease)) {
    return new LockBackendError(lock, 'lease-refused', {
      message:
        'the Lease belongs to coordinated leader election (spec.strategy is set). Use another lock name.',
    });
  }
  if (lease === null && !createLease) {
    return new LockBackendError(lock, 'lease-missing', {
      message:
        'the Lease does not exist and createLease is false. Create it, or set createLease: true.',
    });
  }
  return undefined;
}

/** R5: the fields that must stay unchanged for a lease to expire. Metadata is not among them. */
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
 * A6: whether the answer to a write has the written values in all fields on which holders rely. A webhook may
 * change other fields; a cache or a proxy may answer with an older record.
 */
export function isStoredAs(answer: StoredLease, sent: Lease): boolean {
  const { uid, resourceVersion } = sent.metadata;
  return (
    fingerprint(answer) === fingerprint(sent) &&
    answer.metadata.annotations?.[CLAIM] ===
      sent.metadata.annotations?.[CLAIM] &&
    answer.metadata.annotations?.[SESSION] ===
      sent.metadata.annotations?.[SESSION] &&
    // A grant that is not confirmed lapses sooner than the holder believes.
    (grantOf(answer) === undefined || grantOf(sent) !== undefined) &&
    (uid === undefined || uid === answer.metadata.uid) &&
    (resourceVersion === undefined ||
      BigInt(resourceVersion) < BigInt(answer.metadata.resourceVersion))
  );
}

/**
 * R7: `<clientId>_<nonce>`, unique per acquisition. R11: the nonce is a random UUID, but for its version (8: a use of
 * one's own), and the tag of the process at its end (see `tagOf`).
 */
export function newHolderIdentity(clientId: string): string {
  const tag = createHash('sha256').update(clientId).digest('hex').slice(0, 8);
  const uuid = randomUUID();
  return `${clientId}_${uuid.slice(0, 14)}8${uuid.slice(15, -8)}${tag}`;
}

/** A1: whether the record names this acquisition as its holder. */
export function isHeldBy(
  lease: StoredLease | null | undefined,
  identity: string,
): lease is StoredLease {
  return lease?.spec?.holderIdentity === identity;
}

/** A4: increases with each acquisition of a lock, even if its Lease was deleted in between. */
export function fencingTokenOf(acquired: StoredLease): bigint {
  return BigInt(acquired.metadata.resourceVersion);
}

/** The values that a new holder writes. */
export interface NewHolder {
  /** See {@link newHolderIdentity}. */
  readonly identity: string;
  /** Infinity: until release. */
  readonly leaseDuration: number;
  /** The lock name as given by the user. */
  readonly lockName: string;
  /** The planned time of the fire that is claimed with the lock. */
  readonly claimed?: number;
  /** R12: the session under which the lock is held, with a leaseDuration of Infinity. */
  readonly session?: SessionReference;
  /** Whether the Lease is itself a session. */
  readonly isSession?: boolean;
  /** The permits of the semaphore of which the Lease is a part. */
  readonly permits?: number;
}

/** R2, R3: the record with `newHolder` in the place of its holder, if any, and without the tickets that it drops. */
export function take(
  lease: StoredLease,
  newHolder: NewHolder,
  clock: Clock,
  dropped: readonly Ticket[] = [],
): StoredLease {
  const spec = lease.spec ?? {};
  const now = freshMicroTime(spec.renewTime, clock);
  const isOurs = spec.holderIdentity === newHolder.identity;
  const annotations = isOurs
    ? confirmed(lease, newHolder)
    : withAcquisition(lease.metadata, newHolder, now);
  for (const ticket of dropped) {
    delete annotations[ticketKey(ticket)];
  }
  return {
    ...lease,
    metadata: withHolder(lease.metadata, annotations, newHolder),
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

/** R11: the record of a process in line, to which its holder passes the lock on. */
export function grant(
  lease: StoredLease,
  { ticket, lockName, ...terms }: Grant & { ticket: Ticket; lockName: string },
  clock: Clock,
): StoredLease {
  const { identity, seconds } = ticket;
  const leaseDuration = seconds * 1_000;
  const granted = take(lease, { identity, leaseDuration, lockName }, clock, [
    ticket,
  ]);
  return annotate(granted, { [GRANT]: grantValue(identity, terms) });
}

/** R2: a new record with `newHolder` as its holder. */
export function createTaken(
  key: LeaseKey,
  newHolder: NewHolder,
  clock: Clock,
): Lease {
  const now = microTime(clock.wallMicroseconds());
  const lease = createFree(key);
  const annotations = withAcquisition(lease.metadata, newHolder, now);
  return {
    ...lease,
    metadata: withHolder(lease.metadata, annotations, newHolder),
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

/** R3: the record with its times moved, which also confirms a grant. */
export function renew(
  lease: StoredLease,
  leaseDuration: number,
  clock: Clock,
): StoredLease {
  const now = freshMicroTime(lease.spec?.renewTime, clock);
  const { [GRANT]: granted, ...annotations } = lease.metadata.annotations ?? {};
  return {
    ...lease,
    ...(granted !== undefined && {
      metadata: { ...lease.metadata, annotations },
    }),
    spec: {
      ...lease.spec,
      leaseDurationSeconds: durationSeconds(leaseDuration),
      acquireTime: now,
      renewTime: now,
    },
  };
}

/** R3, A35: the monotonic time at which a peer that counts from acquireTime, as k8slock does, takes the holder for expired. NaN if the record does not tell. */
export function expiryByWallClock({ spec }: Lease, clock: Clock): number {
  const expiry =
    Date.parse(spec?.acquireTime ?? '') +
    (spec?.leaseDurationSeconds ?? Number.NaN) * 1_000;
  return clock.now() + expiry - clock.wallMicroseconds() / 1_000;
}

/** R12: the record that its holder holds under no session any more, so that it expires by itself. */
export function leaveSession(
  lease: StoredLease,
  leaseDuration: number,
  clock: Clock,
): StoredLease {
  const { metadata, ...renewed } = renew(lease, leaseDuration, clock);
  const annotations = withSession(metadata.annotations, '', undefined);
  return { ...renewed, metadata: { ...metadata, annotations } };
}

/** The record of a holder whose work has ended, which stays taken for another `rest` milliseconds. */
export function retain(
  lease: StoredLease,
  rest: number,
  clock: Clock,
): StoredLease {
  const retained = leaveSession(lease, rest, clock);
  const until = clock.wallMicroseconds() + Math.round(rest * 1_000);
  return annotate(retained, {
    [RETAINED_BY]: lease.spec?.holderIdentity ?? '',
    [RETAINED_UNTIL]: microTime(until),
  });
}

/**
 * The time until which the record stays taken although the work of its holder has ended, in milliseconds
 * since the epoch by the holder's clock; undefined = the work is running, or was interrupted.
 */
export function retainedUntil(lease: Lease): number | undefined {
  const { [RETAINED_BY]: by, [RETAINED_UNTIL]: until = '' } =
    lease.metadata.annotations ?? {};
  const isRetained = by !== undefined && by === lease.spec?.holderIdentity;
  const at = isRetained ? Date.parse(until) : NaN;
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
    [RETAINED_BY]: _by,
    [RETAINED_UNTIL]: _until,
    [SESSION]: _session,
    [GRANT]: _grant,
    ...annotations
  } = lease.metadata.annotations ?? {};
  return {
    ...lease,
    metadata: { ...lease.metadata, annotations },
    spec: { ...spec, leaseTransitions: transitionsOf(spec) },
  };
}

/** R11: a free record that tells those in line to leave it to other clients for a moment. */
export function leaveFree(released: StoredLease): StoredLease {
  const transitions = transitionsOf(released.spec ?? {});
  return annotate(released, { [GRANT]: leftFreeValue(transitions) });
}

/** R6: the record without its holder, which did not release it itself. */
export function evict(lease: StoredLease): StoredLease {
  return release(invalidate(lease, withdrawalOf(lease.spec?.holderIdentity)));
}

/** Whether the record is free because this holder was evicted. */
export function wasEvicted(lease: Lease, holder: string): boolean {
  return (
    !readHolder(lease).held &&
    lease.metadata.annotations?.[EVICTED] === withdrawalOf(holder)
  );
}

/** The identity is cut, since that of a foreign holder may exceed the limit of annotations. */
function withdrawalOf(holder: string | null = ''): string {
  return holder?.slice(0, LONGEST_IN_ANNOTATION) ?? '';
}

/** A change that only moves the resourceVersion, so that writes based on the old one fail. */
export function invalidate(lease: StoredLease, nonce: string): StoredLease {
  return annotate(lease, { [EVICTED]: nonce });
}

/** The record with further annotations. */
export function annotate(
  lease: StoredLease,
  annotations: Record<string, string>,
): StoredLease {
  return {
    ...lease,
    metadata: {
      ...lease.metadata,
      annotations: { ...lease.metadata.annotations, ...annotations },
    },
  };
}

/**
 * A2: the record without the API server's notes of who wrote which of its fields, if this package alone has
 * written any. Each write of it is then about a sixth faster. One empty note removes them all, and there
 * are no new ones until somebody applies the Lease (server-side). Notes of others stay (R10).
 */
export function withoutManagedFields(lease: StoredLease): StoredLease {
  const { managedFields } = lease.metadata;
  const isOurs =
    isLabelled(lease) &&
    Array.isArray(managedFields) &&
    managedFields.length > 0 &&
    managedFields.every(isNoteOfOurs);
  return isOurs
    ? { ...lease, metadata: { ...lease.metadata, managedFields: [{}] } }
    : lease;
}

/** Whether a PUT of the record removes those notes. */
export function dropsManagedFields({ metadata }: Lease): boolean {
  return JSON.stringify(metadata.managedFields) === '[{}]';
}

/** Whether an entry of managedFields is of a create or update by this package. */
function isNoteOfOurs(entry: unknown): boolean {
  const { manager, operation } = (entry ?? {}) as {
    manager?: unknown;
    operation?: unknown;
  };
  return manager === CLIENT_NAME && operation === 'Update';
}

/** The true time of acquisition by the present holder, if it is of this package. */
export function acquiredAt(lease: Lease): string | undefined {
  const [time, holder] =
    lease.metadata.annotations?.[ACQUIRED_AT]?.split(' by ') ?? [];
  return holder === lease.spec?.holderIdentity ? time : undefined;
}

/** Whether this package created the Lease or ever held it as a lock. */
export function isLock(lease: Lease): boolean {
  const { annotations } = lease.metadata;
  if (isSession(lease)) {
    return false;
  }
  return (
    isLabelled(lease) ||
    annotations?.[ACQUIRED_AT] !== undefined ||
    annotations?.[LOCK_NAME] !== undefined
  );
}

function isLabelled({ metadata }: Lease): boolean {
  return metadata.labels?.[MANAGED_BY[0]] === MANAGED_BY[1];
}

/** Whether finalizers would keep the Lease after a deletion. */
export function hasFinalizers({ metadata }: Lease): boolean {
  const { finalizers } = metadata;
  return Array.isArray(finalizers) && finalizers.length > 0;
}

/**
 * Throws if the Lease was deleted, and is kept only by its finalizers: a lock held on it would be lost when the last of
 * them is removed.
 */
export function refuseTerminating(
  { namespace, leaseName }: LockReference,
  lease: StoredLease | undefined,
): void {
  const deletedAt = lease?.metadata['deletionTimestamp'] ?? undefined;
  if (deletedAt !== undefined) {
    throw new LeaseStoreError(
      'conflict',
      `Lease ${namespace}/${leaseName} was deleted, but its finalizers keep it, so the lock can't be held. Find out who set them (metadata.finalizers), and remove them.`,
    );
  }
}

/** RFC 3339 with the six fraction digits that MicroTime needs. */
export function microTime(microseconds: number): string {
  const milliseconds = Math.floor(microseconds / 1_000);
  const rest = String(microseconds - milliseconds * 1_000).padStart(3, '0');
  return `${new Date(milliseconds).toISOString().slice(0, -1)}${rest}Z`;
}

/** A time that differs from the last one, even if the wall clock has not moved, so that a renewal is visible. */
function freshMicroTime(last: string | null | undefined, clock: Clock): string {
  const now = clock.wallMicroseconds();
  const time = microTime(now);
  return time === last ? microTime(now + 1) : time;
}

function withAcquisition(
  { annotations }: LeaseMetadata,
  newHolder: NewHolder,
  now: string,
): Record<string, string> {
  const {
    [RETAINED_BY]: _by,
    [RETAINED_UNTIL]: _until,
    [EVICTED]: _withdrawn,
    [GRANT]: _grant,
    ...others
  } = annotations ?? {};
  return {
    ...withPermits(others, newHolder.permits),
    [ACQUIRED_AT]: `${now} by ${newHolder.identity}`,
    [LOCK_NAME]: newHolder.lockName.slice(0, LONGEST_IN_ANNOTATION),
    ...claimedBy(newHolder),
  };
}

/** The metadata of a new holder with these annotations: of a session, or of a lock that may be held under one. */
function withHolder<T extends LeaseMetadata>(
  metadata: T,
  annotations: Record<string, string>,
  newHolder: NewHolder,
): T {
  return {
    ...metadata,
    ...(newHolder.isSession && {
      labels: { ...metadata.labels, [IS_SESSION]: '' },
    }),
    annotations: withSession(
      annotations,
      newHolder.identity,
      newHolder.session,
    ),
  };
}

/** The annotations of a holder that the record names already, by a grant or by a write without an answer. */
function confirmed(
  lease: StoredLease,
  newHolder: NewHolder,
): Record<string, string> {
  const { [GRANT]: _grant, ...others } = lease.metadata.annotations ?? {};
  const hasClaimed = readClaim(lease)?.by === newHolder.identity;
  return hasClaimed ? others : { ...others, ...claimedBy(newHolder) };
}

function claimedBy({ claimed, identity }: NewHolder): Record<string, string> {
  return claimed === undefined
    ? {}
    : { [CLAIM]: writeClaim(claimed, identity, 'claimed') };
}

/** leaseDurationSeconds of a lease. */
export function durationSeconds(leaseDuration: number): number {
  return Math.min(Math.ceil(leaseDuration / 1_000), INFINITE_SECONDS);
}

function transitionsOf(spec: LeaseSpec): number {
  return typeof spec.leaseTransitions === 'number' ? spec.leaseTransitions : 0;
}

/** The next leaseTransitions. It wraps, since a peer that adds 1 to the largest int32 could never write again. */
function nextTransitions(transitions: number): number {
  return transitions >= GREATEST_TRANSITIONS - 1 ? 0 : transitions + 1;
}
