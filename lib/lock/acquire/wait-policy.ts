/** Decides how long a call waits for a taken lock, and for which holders it gives up. */
import type { OnLocked, ResolvedLockOptions } from '../../k8s-lock.options.js';
import type { LockReference } from '../../lock.errors.js';
import type { LockSkippedReason } from '../../lock.events.js';
import {
  FireClaimedError,
  type FireClaim,
  type ClaimVerdict,
} from '../record/fire-claim.js';
import type { Clock } from '../clock.js';
import { LONGEST_WRITE } from '../retry.js';
import type { ObservedLease, Verdict } from '../record/observed-lease.js';

/**
 * What to do when the lock is taken: `wait` for it; `try` = give up at once; `skip` = give up once the
 * holder is known to be alive, and acquire the lock if its lease expires.
 */
export type AcquireMode = 'wait' | 'try' | 'skip';

/** The mode of a method. A fire is skipped, or refused with an error, only for a live holder. */
export function acquireModeOf(
  onLocked: OnLocked,
  claim?: FireClaim,
): AcquireMode {
  return onLocked === 'throw' ? (claim ? 'skip' : 'try') : onLocked;
}

type Taken = Verdict & { takeable: false };

/** Longest time a skipping call waits for proof that the holder is alive. A lease with more time left is treated as live. */
const LONGEST_LOOK = 3_600_000;
/** The largest expected difference between the clocks of two machines, in milliseconds. */
const WIDEST_CLOCK_SKEW = 60_000;

/** A call of the engine for a lock, or for one Lease of a semaphore. */
export interface LockCall {
  readonly lock: LockReference;
  readonly options: ResolvedLockOptions;
  readonly mode: AcquireMode;
  /** The reasons for which the call is skipped instead of failing. */
  readonly skips?: readonly LockSkippedReason[];
  readonly signal?: AbortSignal;
  /** The fire to claim with the lock. */
  readonly claim?: FireClaim;
  /** Monotonic time from which the wait counts; undefined = from now. */
  readonly startedAt?: number;
}

export class WaitPolicy {
  /** Monotonic time of the call. */
  readonly startedAt: number;
  private isOver = false;
  /** Whether another holder has claimed the fire or runs it: the call waits for the end, to run the fire if that holder did not. */
  isFollowing = false;
  /** The holder for which the fire is skipped if it proves to be alive. */
  private doubted: string | undefined;
  /** Monotonic time until which the call had a reason to wait for proof. */
  private lookUntil: number;
  /** The holder identity of the call. */
  identity = '';

  constructor(
    private readonly clock: Clock,
    private readonly observed: ObservedLease,
    private readonly call: LockCall,
  ) {
    this.startedAt = call.startedAt ?? clock.now();
    this.lookUntil = this.startedAt;
  }

  /** The present judgement of the record for this call. */
  get verdict(): Verdict {
    return this.observed.judge(this.identity);
  }

  /** The present judgement of the fire claim. */
  get claimVerdict(): ClaimVerdict | undefined {
    const { claim } = this.call;
    return claim && this.observed.judgeClaim(claim);
  }

  get isForFire(): boolean {
    return this.call.claim !== undefined;
  }

  /**
   * A26: a fire that has begun or is done stays so. A fire that is only claimed, or that may have to be repeated, is
   * followed until its holder has begun it, ended it or expired.
   *
   * @throws FireClaimedError
   */
  refuseClaimed(): void {
    const verdict = this.claimVerdict;
    switch (verdict?.state) {
      case 'taken':
        throw new FireClaimedError(verdict);
      case 'claimed':
        if (this.isOverdue && !this.expiresSoon) {
          throw new FireClaimedError(verdict);
        }
        this.isFollowing = true;
        break;
      case 'running':
        this.isFollowing = true;
        break;
      case 'own':
        this.isFollowing = false;
        break;
      default:
        // The holder has undone its claim, or is gone: from now on the call waits as any other call.
        if (this.isFollowing && this.call.claim?.retry !== true) {
          this.isFollowing = false;
          this.lookUntil = Math.max(this.lookUntil, this.clock.now());
        }
    }
  }

  /** Whether the call has waited for longer than a holder needs to begin a claimed fire or to undo its claim. */
  private get isOverdue(): boolean {
    return this.clock.now() >= this.overdueAt;
  }

  private get overdueAt(): number {
    return this.startedAt + LONGEST_WRITE;
  }

  /** Whether an unchanged record expires within {@link LONGEST_LOOK}. */
  private get expiresSoon(): boolean {
    const { verdict } = this;
    const { expiresAt = Infinity } = verdict.takeable ? {} : verdict;
    return expiresAt - this.clock.now() <= LONGEST_LOOK;
  }

  /** While following a running fire that the watch tells of, don't poll. If the watch is broken, the lease appears expired and the compare-and-swap decides. */
  get isQuiet(): boolean {
    const { verdict } = this;
    const isOfSession = !verdict.takeable && verdict.session !== undefined;
    return this.isFollowing && this.expiresSoon && !isOfSession;
  }

  /** Whether the call waits even for a live holder. */
  get waits(): boolean {
    const { mode, options } = this.call;
    const mayWait =
      mode === 'wait' && options.waitTimeout !== 0 && !this.isOver;
    return mayWait || this.isFollowing;
  }

  /** R11: whether the call may have a place in line, rather than the end of a fire to wait for. */
  get mayEnrol(): boolean {
    return this.waits && !this.isFollowing;
  }

  /** Milliseconds that are left for retries after a failure. */
  get timeLeft(): number {
    return this.endsAt - this.clock.now();
  }

  /** Monotonic time at which no time is left. */
  private get endsAt(): number {
    if (this.isFollowing) {
      return Infinity;
    }
    if (!this.waits && !this.looks) {
      return this.clock.now();
    }
    const { waitTimeout = Infinity } = this.call.options;
    return this.lookUntil + waitTimeout;
  }

  /**
   * Monotonic time at which the state of the call changes without a change of the record: its time is over,
   * or the holder that it follows has expired.
   */
  get changesAt(): number {
    if (!this.isFollowing) {
      return this.endsAt;
    }
    const { verdict } = this;
    const { expiresAt = Infinity } = verdict.takeable ? {} : verdict;
    return Math.min(expiresAt, this.isOverdue ? Infinity : this.overdueAt);
  }

  /** A24. @returns whether the call continues although the lock is held */
  goOnFor(verdict: Taken): boolean {
    if (this.waits) {
      return true;
    }
    const goesOn = this.looks && this.mayBeDead(verdict);
    if (goesOn) {
      this.lookUntil = verdict.expiresAt ?? this.lookUntil;
      this.doubted = this.call.claim && verdict.holder;
    }
    return goesOn;
  }

  /**
   * @returns the holder for which the call gives up although the lock is free: it released the lock after
   * the fire was due, and so was alive then
   */
  giveUpFor(verdict: Verdict & { takeable: true }): string | undefined {
    if (verdict.expired || verdict.aliveAt < this.startedAt || this.waits) {
      this.doubted = undefined;
    }
    return this.doubted;
  }

  /** A32: called when `waitTimeout` is over. @returns whether the call continues, for a fire that can begin or whose holder may be dead */
  endWait(verdict: Verdict): boolean {
    this.isOver = true;
    if (!this.isForFire) {
      return false;
    }
    if (verdict.takeable) {
      this.lookUntil = this.clock.now(); // the time for its turn counts from here
    }
    return verdict.takeable || this.goOnFor(verdict);
  }

  private get looks(): boolean {
    return this.call.mode === 'skip' || this.isForFire;
  }

  /**
   * A31: a fire is skipped only if the holder renewed after the fire was due. Other calls skip if the holder was
   * alive when last observed.
   *
   * For a lock kept by `minHold`, only the end of `minHold` counts. A wrong clock can cause a late or a
   * skipped run, but cannot break mutual exclusion, which R5 decides.
   */
  private mayBeDead(verdict: Taken): boolean {
    const { aliveAt, wasSeenAlive, retainedUntil } = verdict;
    const { claim } = this.call;
    if (!this.expiresSoon) {
      return false;
    }
    if (retainedUntil !== undefined) {
      const wallTime = this.clock.wallMicroseconds() / 1_000;
      return (claim?.at ?? wallTime - WIDEST_CLOCK_SKEW) >= retainedUntil;
    }
    return claim ? aliveAt < this.startedAt : !wasSeenAlive;
  }
}
