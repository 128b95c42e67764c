/** How long a call goes on for a lock that is taken, and for which holders it gives up. */
import type { Claim } from './claim.js';
import type { Clock } from './clock.js';
import type { Verdict } from './observation.js';

/**
 * What to do when the lock is taken: `wait` for it; `try` = give up at once; `skip` = give up once
 * its holder is known to be alive, and take it if that one turns out to be dead.
 */
export type Insistence = 'wait' | 'try' | 'skip';

type Taken = Verdict & { takeable: false };

/** Milliseconds for which a call looks whether a holder is alive; what lasts longer is believed, as if it did for ever. */
const LONGEST_LOOK = 3_600_000;
/** Milliseconds by which the clocks of two machines are expected to differ at most. */
const WIDEST_CLOCK_SKEW = 60_000;

export class Patience {
  /** Monotonic time of the call. */
  readonly startedAt: number;
  private isOver = false;
  /** The holder for which planned work is left out, should that one be alive. */
  private doubted: string | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly insistence: Insistence,
    private readonly waitTimeout: number | undefined,
    private readonly claim: Claim | undefined,
  ) {
    this.startedAt = clock.now();
  }

  /** Whether the call waits, be the holder alive or not. */
  get waits(): boolean {
    return this.insistence === 'wait' && this.waitTimeout !== 0 && !this.isOver;
  }

  /** Whether the call goes on although somebody holds the lock. */
  bears(verdict: Taken): boolean {
    if (this.waits) {
      return true;
    }
    const goesOn = this.looks && this.mayBeDead(verdict);
    if (goesOn && this.claim) {
      this.doubted = verdict.holder;
    }
    return goesOn;
  }

  /**
   * The holder for which the call gives up although the lock can be taken: it has released it since
   * then, and so was alive when the work was due.
   */
  givesUpFor(verdict: Verdict & { takeable: true }): string | undefined {
    if (verdict.expired || verdict.aliveAt < this.startedAt) {
      this.doubted = undefined;
    }
    return this.doubted;
  }

  /** The time to wait is over. @returns whether the call goes on, for a holder that is dead or may be */
  timeIsUp(verdict: Verdict): boolean {
    this.isOver = true;
    if (this.claim === undefined) {
      return false;
    }
    return verdict.takeable ? verdict.expired : this.bears(verdict);
  }

  private get looks(): boolean {
    return this.insistence === 'skip' || this.claim !== undefined;
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
    const { aliveAt, parkedUntil, expiresAt = Infinity } = verdict;
    const { clock, claim } = this;
    if (expiresAt - clock.now() > LONGEST_LOOK) {
      return false;
    }
    if (parkedUntil !== undefined) {
      const wallTime = clock.wallMicroseconds() / 1_000;
      return (claim?.at ?? wallTime - WIDEST_CLOCK_SKEW) >= parkedUntil;
    }
    return claim ? aliveAt < this.startedAt : aliveAt === -Infinity;
  }
}
