/** How long a call goes on for a lock that is taken, and for which holders it gives up. */
import type { OnLocked } from '../../k8s-lock.options.js';
import {
  FireClaimedError,
  type FireClaim,
  type ClaimVerdict,
} from '../record/fire-claim.js';
import type { Clock } from '../clock.js';
import { LONGEST_WRITE } from '../retry.js';
import type { ObservedLease, Verdict } from '../record/observed-lease.js';

/**
 * What to do when the lock is taken: `wait` for it; `try` = give up at once; `skip` = give up once
 * its holder is known to be alive, and take it if that one turns out to be dead.
 */
export type AcquireMode = 'wait' | 'try' | 'skip';

/** How a method goes about its lock. Planned work is refused for the living only, be it with an error. */
export function acquireModeOf(
  onLocked: OnLocked,
  claim?: FireClaim,
): AcquireMode {
  return onLocked === 'throw' ? (claim ? 'skip' : 'try') : onLocked;
}

type Taken = Verdict & { takeable: false };

/** Milliseconds for which a call looks whether a holder is alive; what lasts longer is believed, as if it did for ever. */
const LONGEST_LOOK = 3_600_000;
/** Milliseconds by which the clocks of two machines are expected to differ at most. */
const WIDEST_CLOCK_SKEW = 60_000;

/** A call for a lock. */
interface PatientCall {
  readonly identity: string;
  readonly mode: AcquireMode;
  /** Milliseconds; undefined = for as long as it takes. */
  readonly waitTimeout?: number;
  /** The planned work that it is for. */
  readonly claim?: FireClaim;
}

export class WaitPolicy {
  /** Monotonic time of the call. */
  readonly startedAt: number;
  private isOver = false;
  /** Whether the work is under way elsewhere: the call waits until it is done, to begin again should it not be. */
  isFollowing = false;
  /** The holder for which planned work is left out, should that one be alive. */
  private doubted: string | undefined;
  /** Monotonic time until which the call has had reason to look on. */
  private lookUntil: number;

  constructor(
    private readonly clock: Clock,
    private readonly observation: ObservedLease,
    private readonly call: PatientCall,
  ) {
    this.startedAt = clock.now();
    this.lookUntil = this.startedAt;
  }

  /** What the record comes to now for this call. */
  get verdict(): Verdict {
    return this.observation.judge(this.call.identity);
  }

  /** What the record says now of the work that the call is for. */
  get claimVerdict(): ClaimVerdict | undefined {
    const { claim } = this.call;
    return claim && this.observation.judgeClaim(claim);
  }

  get isForFire(): boolean {
    return this.call.claim !== undefined;
  }

  /**
   * Work that was begun or done stays so: no look is needed to believe it. Work that is only claimed, and
   * work that may have to be done again, is followed until its holder has begun it, ended it or gone.
   *
   * @throws FireClaimedError
   */
  refuseClaimed(): void {
    const verdict = this.claimVerdict;
    switch (verdict?.state) {
      case 'settled':
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
        // Its holder has given it back, or is gone: from here on the call waits as long as any other.
        if (this.isFollowing && this.call.claim?.retry !== true) {
          this.isFollowing = false;
          this.lookUntil = Math.max(this.lookUntil, this.clock.now());
        }
    }
  }

  /** Whether the call has waited for longer than it takes to begin claimed work or to give it back. */
  private get isOverdue(): boolean {
    return this.clock.now() >= this.overdueAt;
  }

  private get overdueAt(): number {
    return this.startedAt + LONGEST_WRITE;
  }

  /** Whether the record expires in a time that is worth waiting for, unless it changes. */
  private get expiresSoon(): boolean {
    const { verdict } = this;
    const { expiresAt = Infinity } = verdict.takeable ? {} : verdict;
    return expiresAt - this.clock.now() <= LONGEST_LOOK;
  }

  /** Whether the call sends nothing while it waits: the record changes or expires, and the write tells. */
  get isQuiet(): boolean {
    return this.isFollowing && this.expiresSoon;
  }

  /** Whether the call waits, be the holder alive or not. */
  get waits(): boolean {
    const { mode, waitTimeout } = this.call;
    const isPatient = mode === 'wait' && waitTimeout !== 0 && !this.isOver;
    return isPatient || this.isFollowing;
  }

  /** Milliseconds for which it makes sense to try again after a failure. */
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
    const { waitTimeout = Infinity } = this.call;
    return this.lookUntil + waitTimeout;
  }

  /**
   * Monotonic time at which the state of the call changes by itself, if the record does not change before: it
   * is out of time, or there may be nobody to follow any more.
   */
  get changesAt(): number {
    if (!this.isFollowing) {
      return this.endsAt;
    }
    const { verdict } = this;
    const { expiresAt = Infinity } = verdict.takeable ? {} : verdict;
    return Math.min(expiresAt, this.isOverdue ? Infinity : this.overdueAt);
  }

  /** @returns whether the call goes on although somebody holds the lock */
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
   * @returns the holder for which the call gives up although the lock can be taken: it has released it
   * since then, and so was alive when the work was due
   */
  giveUpFor(verdict: Verdict & { takeable: true }): string | undefined {
    if (verdict.expired || verdict.aliveAt < this.startedAt || this.waits) {
      this.doubted = undefined;
    }
    return this.doubted;
  }

  /** The time to wait is over. @returns whether the call goes on: planned work that can begin, or whose holder may be dead */
  endWait(verdict: Verdict): boolean {
    this.isOver = true;
    if (!this.isForFire) {
      return false;
    }
    return verdict.takeable || this.goOnFor(verdict);
  }

  private get looks(): boolean {
    return this.call.mode === 'skip' || this.isForFire;
  }

  /**
   * Until its holder is seen to write, or the record expires. Planned work is only left out for a
   * holder that has shown itself alive since it was due; other work for one that was alive when it was
   * last seen.
   *
   * Of a holder whose work has ended well, only time is to be asked: it keeps away what is due before
   * `minHold` is over. A clock that is wrong costs a late run or one left out, and never the exclusion,
   * which R5 decides.
   */
  private mayBeDead(verdict: Taken): boolean {
    const { aliveAt, wasSeenAlive, parkedUntil } = verdict;
    const { claim } = this.call;
    if (!this.expiresSoon) {
      return false;
    }
    if (parkedUntil !== undefined) {
      const wallTime = this.clock.wallMicroseconds() / 1_000;
      return (claim?.at ?? wallTime - WIDEST_CLOCK_SKEW) >= parkedUntil;
    }
    return claim ? aliveAt < this.startedAt : !wasSeenAlive;
  }
}
