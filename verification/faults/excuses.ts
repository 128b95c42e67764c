/** Tells when a process may believe in a lock that is not its own any more: because it was paused, or was robbed. */
import type { Belief } from '../beliefs/belief-log.js';
import type { Evidence, Pause } from './evidence.js';
import { durationOf, type Histories } from './histories.js';

/** Milliseconds that a process which runs may take to notice something that it has to notice. */
const REACTION = 250;
/** The slowest that a holder's clock goes. */
const SLOWEST_RATE = 0.95;

/** It was paused, or somebody took the lock away by hand. */
export type Excuse = Pause['why'] | 'hand';

export class Excuses {
  private readonly pauses = new Map<string, Pause[]>();

  constructor(
    evidence: Evidence,
    private readonly histories: Histories,
  ) {
    for (const pause of evidence.pauses) {
      const ofProcess = this.pauses.get(pause.process) ?? [];
      ofProcess.push(pause);
      this.pauses.set(pause.process, ofProcess);
    }
  }

  /**
   * Why a holder may still believe what it believed when `process` takes the lock; undefined: it may
   * not. That it is paused is no excuse before itself, if it is about the same lock.
   */
  find(belief: Belief, at: number, process?: string): Excuse | undefined {
    const robberies = this.histories.robberies(belief);
    if (robberies.some(({ forwardedAt }) => forwardedAt <= at)) {
      return 'hand';
    }
    const pauses =
      process === belief.process
        ? []
        : this.pausesOf(belief.process).filter(
            ({ from, to }) => from <= at && at <= to,
          );
    return pauses.find(({ why }) => why !== 'stall')?.why ?? pauses[0]?.why;
  }

  /**
   * The time at which the holder must know that its lock was taken away by hand: without a renewal,
   * it gives up by itself within its lease; later only while it did not run. Infinity: it was not.
   */
  latestNotice(belief: Belief): number {
    const [robbery] = this.histories.robberies(belief);
    if (robbery === undefined) {
      return Infinity;
    }
    const lease = durationOf(this.histories.before(robbery)?.stored);
    const due = robbery.answeredAt + lease / SLOWEST_RATE + REACTION;
    const pause = this.pausesOf(belief.process)
      .filter(({ from, to }) => from <= due && to > due)
      .reduce((latest, { to }) => Math.max(latest, to), due);
    return pause === due ? due : pause + REACTION;
  }

  private pausesOf(process: string): readonly Pause[] {
    return this.pauses.get(process) ?? [];
  }
}
