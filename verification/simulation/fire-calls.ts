/** The calls for planned fires: who came for which, and whether those that were left out may have been. */
import type { LockNotAcquiredError } from '../../lib/lock.errors.js';
import type { FireClaim } from '../../lib/lock/record/fire-claim.js';
import { LONGEST_WRITE } from '../../lib/lock/retry.js';
import type { Verdict } from '../../lib/lock/record/observed-lease.js';
import type { Findings } from './findings.js';
import type { Machine } from './machine.js';
import type { Scenario } from './scenario.js';
import type { Sign, SignsOfLife } from './signs-of-life.js';
import type { Timeline } from './timeline.js';
import type { CallPlan } from './call-plan.js';

/** Milliseconds for which contenders keep out of each other's way, at most, and for a few requests. */
const LONGEST_TRY = 1_500;
/** Lease durations that some requests take, at most, while things go wrong. */
const DISTURBANCE = 20;

export interface FireCall {
  readonly machine: Machine;
  readonly plan: CallPlan & { claim: FireClaim };
  /** True time. */
  readonly calledAt: number;
  /** Monotonic time of its process. */
  readonly calledAtLocal: number;
  /** Nothing was wrong any more by then, nor had any effects. */
  readonly isUndisturbed: boolean;
}

/** What there is to know of the world. */
export interface Circumstances {
  readonly scenario: Scenario;
  readonly findings: Findings;
  readonly timeline: Timeline;
  readonly signs: SignsOfLife;
  /** Nothing is wrong any more, and has not been for so long that its effects are over. */
  readonly isSettled: boolean;
  /** Milliseconds until a client has heard of a change, at most, if it hears of it at all. */
  readonly longestDelay: number;
}

export class FireCalls {
  private readonly underWay = new Set<FireCall>();
  /** The fires for which somebody has come who was not about to go. */
  private readonly met = new Set<number>();

  constructor(private readonly world: Circumstances) {}

  begin(machine: Machine, plan: CallPlan & { claim: FireClaim }): FireCall {
    const call = {
      machine,
      plan,
      calledAt: machine.now,
      calledAtLocal: machine.localTime(),
      isUndisturbed: this.world.isSettled,
    };
    this.underWay.add(call);
    return call;
  }

  /** It has run its fire, or has been left out, or has found that others are to run it. */
  end(call: FireCall): void {
    this.underWay.delete(call);
  }

  /** Somebody has come for the fire, and whatever kept it from running has been judged. */
  wasMet(at: number): boolean {
    return this.met.has(at);
  }

  /** It is left out since somebody else has claimed the fire, or a later one. */
  claimed({ plan }: FireCall): void {
    this.met.add(plan.claim.at);
  }

  /**
   * It is left out since the lock is taken. That is for a call of the same process, or a holder that
   * has written since the call, or whose record was to stay taken beyond the planned time.
   */
  refused(
    call: FireCall,
    { reason, holder }: Pick<LockNotAcquiredError, 'reason' | 'holder'>,
    isHeldHere: boolean,
  ): void {
    const { findings, signs, timeline, longestDelay } = this.world;
    const { machine, calledAt, isUndisturbed } = call;
    const { lock, claim } = call.plan;
    if (reason === 'shutdown') {
      return;
    }
    this.met.add(claim.at);
    if (isHeldHere) {
      return;
    }
    const isAlone = this.othersOf(call).length === 0;
    const fire = new Date(claim.at).toISOString();
    if (holder === undefined) {
      const last = signs.on(lock.leaseName) ?? 0;
      // Who holds it no more may have kept the call waiting for too long.
      const wasKept = reason === 'timeout' && last >= calledAt - longestDelay;
      if (isUndisturbed && isAlone && !wasKept) {
        findings.add(
          'fire-missed',
          `${machine.name} leaves out the fire of ${fire} (${reason}) for nobody`,
        );
      }
      return;
    }
    // Who does not get its turn in time may be refused, and nobody can say which of them had it.
    const hadTurn = reason === 'held' || (isUndisturbed && isAlone);
    const knew = isUndisturbed || !machine.wasPaused;
    const sign = signs.of(holder, machine);
    if (
      hadTurn &&
      knew &&
      sign &&
      sign.at < calledAt - longestDelay &&
      mayEnd(sign, claim)
    ) {
      findings.add(
        'skipped-for-the-dead',
        `${machine.name} leaves out the fire of ${fire} (${reason}) for ${timeline.nameOf(holder)}, whose last sign of life was ${(calledAt - sign.at).toFixed(0)} ms before the call`,
      );
    }
  }

  /**
   * A call has waited for as long as it was to, and this is what its process knows of the lock. @returns
   * milliseconds for which it may go on: if its holder may be dead, until that one's lease has expired
   */
  respite(
    call: FireCall,
    {
      verdict,
      isClaimed,
      heardAt,
      isHeldHere,
      clientId,
    }: {
      verdict: Verdict;
      /** Its holder has claimed the fire, and may yet give it back. */
      isClaimed: boolean;
      /** Monotonic time at which it has learnt of the last write. */
      heardAt: number;
      /** A call of the same process holds the lock. */
      isHeldHere: boolean;
      clientId: string;
    },
  ): number {
    const { machine, calledAtLocal, isUndisturbed } = call;
    const { claim, options } = call.plan;
    if (isHeldHere) {
      return 0;
    }
    const { leaseDuration } = this.world.scenario;
    const slack = isUndisturbed ? LONGEST_TRY : DISTURBANCE * leaseDuration;
    if (verdict.takeable) {
      return slack;
    }
    const { aliveAt, retainedUntil, expiresAt = Infinity, holder } = verdict;
    if (holder.startsWith(`${clientId}_`)) {
      return slack; // its own write, as the watch tells before the answer has come
    }
    if (heardAt >= calledAtLocal + (options.waitTimeout ?? 0)) {
      return slack; // heard of since, while it waits for an answer
    }
    const mayBeDead =
      isClaimed ||
      (retainedUntil === undefined
        ? aliveAt <= calledAtLocal
        : retainedUntil <= claim.at);
    // What is claimed under a lock that never expires is waited for until it must have begun; under a session that
    // lives, until the next look, which is late for a process that is far from the front of the line.
    const look = 6 * (options.retryInterval ?? 0);
    const until = isClaimed
      ? Math.min(
          verdict.session ? calledAtLocal + look : expiresAt,
          calledAtLocal + LONGEST_WRITE,
        )
      : expiresAt;
    return mayBeDead && until !== Infinity
      ? (until - machine.localTime()) / machine.rate + slack
      : 0;
  }

  private othersOf(call: FireCall): FireCall[] {
    return [...this.underWay].filter(
      (other) => other !== call && other.machine === call.machine,
    );
  }
}

/** Whether a call for this fire waits for a record to expire after this sign. */
function mayEnd({ duration, retainedUntil }: Sign, { at }: FireClaim): boolean {
  return (
    duration !== Infinity &&
    !(retainedUntil !== undefined && retainedUntil > at)
  );
}
