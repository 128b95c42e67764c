/** Claims: which piece of planned work was begun last under a lock, as its record says, so that nobody does it twice. */
import type { Lease, StoredLease } from '../kube/lease-store.js';

/** Survives releases and takeovers: it is about the work, and not about who holds the lock. */
export const CLAIM = 'nestjs-k8s-lock/fire';

/**
 * A piece of work that was planned for an instant, to be claimed by the write that takes the lock. Of
 * the claims on one lock, a later one covers all before it.
 */
export interface Claim {
  /** Milliseconds since the epoch. All who plan the same work come to the same instant. */
  readonly at: number;
  /** A claim in the record that is later than this was made by a broken clock, and counts for nothing. */
  readonly latest: number;
  /** Whether work that its holder did not end is taken for not done. */
  readonly retry: boolean;
}

/**
 * What became of claimed work: `open` = it was not begun after all; `begun` = it is under way, or was
 * cut short; `done` = it has ended.
 */
export type ClaimEnd = 'open' | 'begun' | 'done';

/** What a record says. */
interface RecordedClaim {
  readonly at: number;
  readonly end: ClaimEnd;
  /** The holder identity of who claimed it. */
  readonly by: string | undefined;
}

/**
 * What the record means for a claim: `free` = it may be made; `settled` = the work is none of the
 * caller's any more; `running` = it is not as long as the holder `by` lives.
 */
export type ClaimVerdict =
  | { readonly state: 'free' }
  | { readonly state: 'settled' | 'running'; readonly by?: string };

/** Ends an acquisition whose work somebody else has claimed. Never reaches a user. */
export class WorkClaimedError extends Error {
  constructor(readonly verdict: Exclude<ClaimVerdict, { state: 'free' }>) {
    super(`claimed by ${verdict.by ?? 'another caller'}`);
  }
}

/**
 * Judges a claim. `holder` is who holds the lock, if that one is not known to be gone; `self` the
 * caller's own identity, under which a write of unknown outcome may have landed.
 */
export function judgeClaim(
  claim: Claim,
  lease: Lease | null | undefined,
  { self, holder }: { self?: string; holder?: string },
): ClaimVerdict {
  const found = lease ? readClaim(lease) : undefined;
  if (
    found === undefined ||
    found.at < claim.at ||
    found.at > claim.latest ||
    (found.by !== undefined && found.by === self)
  ) {
    return { state: 'free' };
  }
  const { by } = found;
  if (found.at > claim.at || found.end === 'done') {
    return { state: 'settled', by };
  }
  if (found.end === 'open') {
    return { state: 'free' };
  }
  if (!claim.retry) {
    return { state: 'settled', by };
  }
  return by !== undefined && by === holder
    ? { state: 'running', by }
    : { state: 'free' };
}

/** What stands in the record; a time alone, as a person may write it, means that the work is done. */
export function readClaim(lease: Lease): RecordedClaim | undefined {
  const [time = '', end, , by] =
    lease.metadata.annotations?.[CLAIM]?.split(' ') ?? [];
  const at = Date.parse(time);
  return Number.isNaN(at)
    ? undefined
    : { at, end: end === 'open' || end === 'begun' ? end : 'done', by };
}

/** The annotation of work that `by` claims. */
export function writeClaim(at: number, by: string, end: ClaimEnd): string {
  return `${new Date(at).toISOString()} ${end} by ${by}`;
}

/** The record as its holder leaves it: with what became of the work that this very holder has claimed. */
export function endClaim(lease: StoredLease, end: ClaimEnd): StoredLease {
  const found = readClaim(lease);
  const { by, at } = found ?? {};
  if (
    at === undefined ||
    by === undefined ||
    by !== lease.spec?.holderIdentity ||
    found?.end !== 'begun' ||
    end === 'begun'
  ) {
    return lease;
  }
  return {
    ...lease,
    metadata: {
      ...lease.metadata,
      annotations: {
        ...lease.metadata.annotations,
        [CLAIM]: writeClaim(at, by, end),
      },
    },
  };
}
