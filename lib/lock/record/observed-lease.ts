/** R5: what this process has seen of one record, since when, and what follows from it. */
import type { StoredLease } from '../../kube/lease-store.js';
import {
  endClaim,
  judgeClaim,
  type FireClaim,
  type ClaimEnd,
  type ClaimVerdict,
} from './fire-claim.js';
import type { Clock } from '../clock.js';
import {
  fingerprint,
  retainedUntil,
  readHolder,
  wasEvicted,
  type HolderState,
} from './lease-record.js';

/** What a record comes to, at a moment. */
export type Verdict = {
  /**
   * Monotonic time after which the present spec was written, by a holder that was alive then; -Infinity
   * = unknown. A watch may be late, and does not tell: it is when that look was sent which found it
   * not yet written.
   */
  readonly aliveAt: number;
} & (
  | {
      /** Nobody holds it: no holder or one that is known to have ended, or (`expired`) a silent one. */
      readonly takeable: true;
      readonly expired: boolean;
    }
  | {
      readonly takeable: false;
      readonly holder: string;
      /** Monotonic time at which it counts as expired if it does not change; undefined = never. */
      readonly expiresAt: number | undefined;
      /** Whether its last write was seen, as it happened or within the duration after the record before. */
      readonly wasSeenAlive: boolean;
      /** See {@link retainedUntil}. */
      readonly parkedUntil: number | undefined;
    }
);

/**
 * A record expires once its spec has been watched unchanged for its duration on this process's own
 * monotonic clock, counted from the moment at which the answer that showed it had ARRIVED: later
 * than the holder sent it, so that the count never runs ahead of the holder's own deadline. That it
 * is still unchanged is proved by the compare-and-swap of the write that follows.
 */
export class ObservedLease {
  /** The record as last seen; null = seen to be absent; undefined = never looked. */
  lease: StoredLease | null | undefined;
  private holderState: HolderState = { held: false };
  private print = '';
  /** The greatest resourceVersion seen. What a watch says too late is old news, also after a deletion. */
  newest = 0n;
  private since = 0;
  private lastLook = -Infinity;
  /** When the last look was sent that has shown the record as it is known. */
  private askedAt = -Infinity;
  private aliveAt = -Infinity;
  private wasSeenAlive = false;
  /** The holders that this process knows to have ended, its own from before, and what of their claims. */
  private readonly ended = new Map<string, ClaimEnd>();

  constructor(private readonly clock: Clock) {}

  /**
   * Takes in a record and returns true; one that is older than what is known is ignored. `live` = a
   * watch reported the change as it happened; `askedAt` = it is the answer to a look, sent then.
   */
  see(
    lease: StoredLease,
    { live = false, askedAt = this.askedAt } = {},
  ): boolean {
    const version = versionOf(lease);
    if (version < this.newest) {
      return false;
    }
    this.newest = version;
    const now = this.clock.now();
    const print = fingerprint(lease);
    // Another uid is another record: nothing that was known of the old one holds for it.
    const sameObject = this.lease?.metadata.uid === lease.metadata.uid;
    if (!sameObject || print !== this.print) {
      const standing = readHolder(lease);
      const { duration = Infinity } = standing.held ? standing : {};
      const gap = now - this.lastLook;
      this.wasSeenAlive =
        live || (this.lastLook !== -Infinity && gap <= duration);
      const isTakenAway =
        this.holderState.held && wasEvicted(lease, this.holderState.holder);
      this.aliveAt = isTakenAway ? -Infinity : this.askedAt;
      if (standing.held && !this.ended.has(standing.holder)) {
        this.ended.clear(); // who held it before can't come back
      }
      this.holderState = standing;
      this.print = print;
      this.since = now;
    }
    this.lastLook = now;
    this.askedAt = askedAt;
    this.lease = lease;
    return true;
  }

  /** What was known counts for nothing any more. */
  forget(): void {
    this.lease = undefined;
    this.newest = 0n;
    this.print = '';
    this.lastLook = -Infinity;
    this.askedAt = -Infinity;
    this.aliveAt = -Infinity;
    this.wasSeenAlive = false;
  }

  /** Takes in that there is no record. */
  seeAbsent({ askedAt = this.askedAt } = {}): void {
    this.lease = null;
    this.holderState = { held: false };
    this.print = '';
    this.aliveAt = -Infinity;
    this.wasSeenAlive = false;
    this.askedAt = askedAt;
    this.lastLook = this.clock.now();
  }

  /**
   * A holder of this process has ended: its record is free to be taken over, even before its release
   * has got through.
   */
  markReleased(identity: string, claim: ClaimEnd): void {
    this.ended.set(identity, claim);
  }

  /** The record, with what is known of the claim of a holder whose release has not got through yet. */
  get effectiveLease(): StoredLease | null | undefined {
    const end = this.ended.get(this.lease?.spec?.holderIdentity ?? '');
    return this.lease && end ? endClaim(this.lease, end) : this.lease;
  }

  /** What the record means now for a claim. */
  judgeClaim(claim: FireClaim): ClaimVerdict {
    const verdict = this.judge();
    const holder = verdict.takeable ? undefined : verdict.holder;
    return judgeClaim(claim, this.effectiveLease, holder);
  }

  /**
   * R5: whether the record may be taken now: it is free, its holder has ended or is the caller itself (R7:
   * `self`, after a write whose answer was lost), or it has been observed unchanged for its duration.
   */
  judge(self?: string): Verdict {
    const { holderState: standing, aliveAt } = this;
    if (
      !standing.held ||
      standing.holder === self ||
      this.ended.has(standing.holder)
    ) {
      return { takeable: true, expired: false, aliveAt };
    }
    const expiresAt =
      standing.duration === undefined
        ? undefined
        : this.since + standing.duration;
    if (expiresAt !== undefined && this.clock.now() >= expiresAt) {
      return { takeable: true, expired: true, aliveAt };
    }
    return {
      takeable: false,
      holder: standing.holder,
      expiresAt,
      aliveAt,
      wasSeenAlive: this.wasSeenAlive,
      parkedUntil: retainedUntil(this.lease!),
    };
  }
}

/** resourceVersions are comparable: documented as of Kubernetes 1.35, and never was otherwise. */
export function versionOf(lease: StoredLease): bigint {
  return BigInt(lease.metadata.resourceVersion);
}
