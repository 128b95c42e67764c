/** Claims: which piece of planned work was begun last under a lock, as its record says, so that nobody does it twice. */
import type { Lease, StoredLease } from '../../kube/lease-store.js';

/** Survives releases and takeovers: it is about the work, and not about who holds the lock. */
export const CLAIM = 'nestjs-k8s-lock/fire';

/**
 * A piece of work that was planned for an instant, to be claimed by the write that takes the lock. Of
 * the claims on one lock, a later one covers all before it.
 */
export interface FireClaim {
  /** Milliseconds since the epoch. All who plan the same work come to the same instant. */
  readonly at: number;
  /** A claim in the record that is later than this was made by a broken clock, and counts for nothing. */
  readonly latest: number;
  /** Whether work that its holder did not end is taken for not done. */
  readonly retry: boolean;
  /** The holder identities under which this very call may have claimed it, and has not begun it. */
  readonly ownIdentities: Set<string>;
}

/**
 * What became of claimed work: `open` = it was not begun after all; `begun` = it is under way, or was
 * cut short; `done` = it has ended.
 */
export type ClaimEnd = 'open' | 'begun' | 'done';

/**
 * What the record says of the work. The acquiring write only says `claimed`: its answer may be lost, and
 * its writer may take it back. The work starts once a second write has said `begun`, which nobody takes
 * back. So nobody leaves work out for good because it is `claimed`.
 */
export type ClaimState = 'claimed' | ClaimEnd;

/** What a record says. */
interface RecordedClaim {
  readonly at: number;
  readonly state: ClaimState;
  /** The holder identity of who claimed it. */
  readonly by: string | undefined;
}

/**
 * What the record means for a claim: `free` = it may be made; `settled` = the work is none of the
 * caller's any more; `claimed` = the live holder `by` is about to begin it, or to give it back; `running` =
 * the live holder `by` is at work, and it is to be done again should that one fail; `own` = a write of
 * this call has said that the work begins, and it did not yet.
 */
export type ClaimVerdict =
  | { readonly state: 'free' }
  | {
      readonly state: 'settled' | 'claimed' | 'running' | 'own';
      readonly by?: string;
    };

/** Ends an acquisition whose work somebody else has claimed. Never reaches a user. */
export class FireClaimedError extends Error {
  constructor(readonly verdict: Exclude<ClaimVerdict, { state: 'free' }>) {
    super(`claimed by ${verdict.by ?? 'another caller'}`);
  }
}

/** Judges a claim. `holder` is who holds the lock, if that one is not known to be gone. */
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
    return { state: 'settled', by };
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
    return { state: 'settled', by };
  }
  return isLive ? { state: 'running', by } : { state: 'free' };
}

/** What stands in the record; a time alone, as a person may write it, means that the work is done. */
export function readClaim(lease: Lease): RecordedClaim | undefined {
  const [time = '', state, , by] =
    lease.metadata.annotations?.[CLAIM]?.split(' ') ?? [];
  const at = Date.parse(time);
  return Number.isNaN(at)
    ? undefined
    : { at, state: UNFINISHED.find((each) => each === state) ?? 'done', by };
}

const UNFINISHED = ['claimed', 'open', 'begun'] as const;

/** The annotation of work that `by` claims. */
export function writeClaim(at: number, by: string, state: ClaimState): string {
  return `${new Date(at).toISOString()} ${state} by ${by}`;
}

/** The record of a holder that begins the work which it has claimed. */
export function beginClaim(lease: StoredLease): StoredLease {
  return changeClaim(lease, 'begun', ['claimed']);
}

/** The record as its holder leaves it: with what became of the work that this very holder has claimed. */
export function endClaim(lease: StoredLease, end: ClaimEnd): StoredLease {
  // What the record does not say to have begun can't begin any more, whatever was sent.
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
