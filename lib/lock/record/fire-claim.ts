/** Reads, judges and writes the fire claim in a record, by which each fire runs at most once. */
import type { Lease, StoredLease } from '../../kube/lease-store.js';

/** The annotation of the fire claim. It survives releases and takeovers, since it concerns the fire, not the holder. */
export const CLAIM = 'nestjs-k8s-lock/fire';

/**
 * A fire to claim with the write that acquires the lock. A claim for a fire covers all earlier fires of
 * the same lock.
 */
export interface FireClaim {
  /** The planned time of the fire in milliseconds since the epoch, which is the same in every pod. */
  readonly at: number;
  /** A later claim in the record was made by a wrong clock, and is ignored. */
  readonly latest: number;
  /** Whether to repeat a fire whose work did not end. */
  readonly retry: boolean;
  /** The holder identities under which this call itself may have claimed the fire without beginning it. */
  readonly ownIdentities: Set<string>;
}

/**
 * The end of a fire claim: `open` = the work did not begin; `begun` = the work is running, or was
 * interrupted; `done` = the work has ended.
 */
export type ClaimEnd = 'open' | 'begun' | 'done';

/**
 * The state of a fire claim in the record. The acquiring write sets `claimed`: its answer may be lost, and
 * its writer may undo it. The work starts after a second write has set `begun`, which is never undone.
 * Therefore a fire is never skipped for good because it is `claimed`.
 */
export type ClaimState = 'claimed' | ClaimEnd;

/** A fire claim as it is stored in the record. */
interface RecordedClaim {
  readonly at: number;
  readonly state: ClaimState;
  /** The holder identity that claimed the fire. */
  readonly by: string | undefined;
}

/**
 * The meaning of the record for a claim: `free` = the fire may be claimed; `taken` = the fire was run or
 * begun elsewhere, and the call skips; `claimed` = the live holder `by` is about to begin the work or to
 * undo its claim; `running` = the live holder `by` is working, and the fire is repeated if it fails; `own` =
 * a write of this call has set `begun`, but the work has not started yet.
 */
export type ClaimVerdict =
  | { readonly state: 'free' }
  | {
      readonly state: 'taken' | 'claimed' | 'running' | 'own';
      readonly by?: string;
    };

/** Ends an acquisition whose fire another call has claimed. Never reaches a user. */
export class FireClaimedError extends Error {
  constructor(readonly verdict: Exclude<ClaimVerdict, { state: 'free' }>) {
    super(`claimed by ${verdict.by ?? 'another caller'}`);
  }
}

/** A25, A29: judges a claim. `holder` is the holder of the lock, unless it is known to have ended. */
export function judgeClaim(
  claim: FireClaim,
  lease: Lease | null | undefined,
  holder: string | undefined,
): ClaimVerdict {
  const found = lease ? readClaim(lease) : undefined;
  if (found === undefined || found.at < claim.at || found.at > claim.latest) {
    return { state: 'free' };
  }
  const { by, state } = found;
  if (found.at > claim.at || state === 'done') {
    return { state: 'taken', by };
  }
  if (state === 'open') {
    return { state: 'free' };
  }
  if (by !== undefined && claim.ownIdentities.has(by)) {
    return state === 'begun' ? { state: 'own', by } : { state: 'free' };
  }
  const isLive = by !== undefined && by === holder;
  if (state === 'claimed') {
    return isLive ? { state: 'claimed', by } : { state: 'free' };
  }
  if (!claim.retry) {
    return { state: 'taken', by };
  }
  return isLive ? { state: 'running', by } : { state: 'free' };
}

/**
 * Reads the fire claim of a record. A time alone, as a person may write it, means `done`, and so does a time with what another
 * version may write after it.
 */
export function readClaim(lease: Lease): RecordedClaim | undefined {
  const [time = '', written, word, by] =
    lease.metadata.annotations?.[CLAIM]?.split(' ') ?? [];
  const at = Date.parse(time);
  if (Number.isNaN(at)) {
    return undefined;
  }
  const isUnfinished =
    written === 'claimed' || written === 'open' || written === 'begun';
  return {
    at,
    state: isUnfinished ? written : 'done',
    by: word === 'by' ? by : undefined,
  };
}

/** The value of the annotation for a fire that `by` claims. */
export function writeClaim(at: number, by: string, state: ClaimState): string {
  return `${new Date(at).toISOString()} ${state} by ${by}`;
}

/** The record of a holder that begins the work of its claimed fire. */
export function beginClaim(lease: StoredLease): StoredLease {
  return changeClaim(lease, 'begun', ['claimed']);
}

/** A27: the record with the end of the fire that its present holder has claimed. */
export function endClaim(lease: StoredLease, end: ClaimEnd): StoredLease {
  // If the record does not say `begun` by now, the work can't begin any more.
  return end === 'begun'
    ? changeClaim(lease, 'open', ['claimed'])
    : changeClaim(lease, end, ['claimed', 'begun']);
}

function changeClaim(
  lease: StoredLease,
  to: ClaimState,
  from: readonly ClaimState[],
): StoredLease {
  const found = readClaim(lease);
  if (
    found?.by === undefined ||
    found.by !== lease.spec?.holderIdentity ||
    !from.includes(found.state)
  ) {
    return lease;
  }
  return {
    ...lease,
    metadata: {
      ...lease.metadata,
      annotations: {
        ...lease.metadata.annotations,
        [CLAIM]: writeClaim(found.at, found.by, to),
      },
    },
  };
}
