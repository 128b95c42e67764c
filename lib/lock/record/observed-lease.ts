/** R5: the last observed state of one record, since when it is unchanged, and whether the lock may be taken. */
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
import type { ObservableSession, SessionReference } from './session.js';

/** The judgement of a record at a moment. */
export type Verdict = {
  /**
   * Earliest time at which the current spec can have been written (monotonic), or -Infinity. Set from the
   * previous read, not from watch events, which may be delayed.
   */
  readonly aliveAt: number;
} & (
  | {
      /**
       * The record has no holder (`free`), its lease has expired (`expired`), or its holder is the caller itself, or a
       * caller of this process that has ended.
       */
      readonly takeable: true;
      readonly free: boolean;
      readonly expired: boolean;
      /** Monotonic time since which the lock may be taken, as far as this process has observed. */
      readonly since: number;
    }
  | {
      readonly takeable: false;
      readonly holder: string;
      /** Monotonic time at which the record expires if it does not change; undefined = never. */
      readonly expiresAt: number | undefined;
      /** Whether the last write was observed live, or within the lease duration after the previous observation. */
      readonly wasSeenAlive: boolean;
      /** See {@link retainedUntil}. */
      readonly retainedUntil: number | undefined;
      /** R12: the session that must have ended before the lock may be taken. */
      readonly session?: ObservableSession;
    }
);

/**
 * A record expires once its spec has been observed unchanged for its duration on this process's own
 * monotonic clock. The time counts from the ARRIVAL of the answer that first showed the spec, which is
 * later than the holder's write was sent, so that a lease never expires before the holder's own deadline.
 * The compare-and-swap of the following write proves that the record is still unchanged.
 */
export class ObservedLease {
  /** The record as last observed; null = absent; undefined = never read. */
  lease: StoredLease | null | undefined;
  private holderState: HolderState = { held: false };
  private print = '';
  /** The largest observed resourceVersion. Older watch events are ignored, also after a deletion. */
  newest = 0n;
  private since = 0;
  /** Monotonic time of the last observation. */
  lastLook = -Infinity;
  /** The time at which the last read was sent that returned the present state. */
  private askedAt = -Infinity;
  private aliveAt = -Infinity;
  private wasSeenAlive = false;
  /** Earlier holders of this process that have ended, with the end of their fire claims. */
  private readonly ended = new Map<string, ClaimEnd>();
  /** R12: the session under which the present holder holds the lock. */
  session: ObservableSession | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly findSession?: (
      session: SessionReference,
    ) => ObservableSession,
  ) {}

  /**
   * Records an observation and returns true; an older record is ignored. `live` = a watch reported the
   * change as it happened; `askedAt` = the record is the answer to a read that was sent at this time.
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
    // A record with another uid is a new one, to which no earlier observation applies.
    const sameObject = this.lease?.metadata.uid === lease.metadata.uid;
    const state = readHolder(lease);
    if (!sameObject || print !== this.print) {
      const session = state.held ? state.session : undefined;
      const { duration = session?.duration ?? Infinity } = state.held
        ? state
        : {};
      const gap = now - this.lastLook;
      this.wasSeenAlive =
        live || (this.lastLook !== -Infinity && gap <= duration);
      const isTakenAway =
        this.holderState.held && wasEvicted(lease, this.holderState.holder);
      this.aliveAt = isTakenAway ? -Infinity : this.askedAt;
      if (state.held && !this.ended.has(state.holder)) {
        this.ended.clear(); // an earlier holder can't come back
      }
      this.session = session && this.findSession?.(session);
      this.print = print;
      this.since = now;
    }
    this.holderState = state; // the duration of a grant is metadata
    this.lastLook = now;
    this.askedAt = askedAt;
    this.lease = lease;
    return true;
  }

  /** A5: discards all observations. */
  forget(): void {
    this.lease = undefined;
    this.newest = 0n;
    this.print = '';
    this.lastLook = -Infinity;
    this.askedAt = -Infinity;
    this.aliveAt = -Infinity;
    this.wasSeenAlive = false;
  }

  /** Records that the Lease does not exist. */
  seeAbsent({ askedAt = this.askedAt } = {}): void {
    this.lease = null;
    this.holderState = { held: false };
    this.session = undefined;
    this.print = '';
    this.aliveAt = -Infinity;
    this.wasSeenAlive = false;
    this.askedAt = askedAt;
    this.lastLook = this.clock.now();
  }

  /**
   * A8: marks a holder of this process as ended: its record may be taken over even before its release is
   * written.
   */
  markReleased(identity: string, claim: ClaimEnd): void {
    this.ended.set(identity, claim);
  }

  /** The record including the fire claim's end of an ended holder whose release is not written yet. */
  get effectiveLease(): StoredLease | null | undefined {
    const end = this.ended.get(this.lease?.spec?.holderIdentity ?? '');
    return this.lease && end ? endClaim(this.lease, end) : this.lease;
  }

  /** Judges a fire claim against the present record. */
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
    const { holderState: state, aliveAt, since } = this;
    if (!state.held || state.holder === self || this.ended.has(state.holder)) {
      const free = !state.held;
      return { takeable: true, free, expired: false, aliveAt, since };
    }
    if (this.session !== undefined) {
      return this.judgeUnder(this.session, state.holder);
    }
    const expiresAt =
      state.duration === undefined ? undefined : this.since + state.duration;
    if (expiresAt !== undefined && this.clock.now() >= expiresAt) {
      return {
        takeable: true,
        free: false,
        expired: true,
        aliveAt,
        since: expiresAt,
      };
    }
    return {
      takeable: false,
      holder: state.holder,
      expiresAt,
      aliveAt,
      wasSeenAlive: this.wasSeenAlive,
      retainedUntil: retainedUntil(this.lease!),
    };
  }

  /** R12: a lock that is held under a session may be taken once that session has ended. */
  private judgeUnder(session: ObservableSession, holder: string): Verdict {
    const verdict = session.judge();
    const aliveAt = Math.max(this.aliveAt, verdict.aliveAt);
    if (verdict.hasEnded) {
      const since = Math.max(this.since, verdict.since);
      return { takeable: true, free: false, expired: true, aliveAt, since };
    }
    return {
      takeable: false,
      holder,
      expiresAt: verdict.expiresAt,
      aliveAt,
      wasSeenAlive: this.wasSeenAlive || verdict.wasSeenAlive,
      retainedUntil: undefined,
      session,
    };
  }
}

/** A4: resourceVersions are comparable: documented as of Kubernetes 1.35, and true before. */
export function versionOf(lease: StoredLease): bigint {
  return BigInt(lease.metadata.resourceVersion);
}
