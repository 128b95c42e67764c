/** What the checks have found to be wrong, and the names of the checks. */
import type { Scheduler } from './scheduler.js';
import type { Timeline } from './timeline.js';

export type Check =
  /** Two clients that are not paused believe that they hold the same lock. */
  | 'two-holders'
  /** More clients that are not paused believe that they hold a semaphore than it has permits anywhere. */
  | 'too-many-holders'
  /** A process holds a lock, or a slot of a semaphore, that no caller was given. */
  | 'held-for-nobody'
  /** A process says that it leads, though its lock may be another's by now. */
  | 'leads-no-more'
  /** Work of two leaderships runs in one process at once. */
  | 'two-terms'
  /** Nobody leads though nothing is in the way, or nobody does soon after a leader has shut down. */
  | 'never-led'
  /** A write gives the lock to another while its holder still believes in it. */
  | 'aborted-too-late'
  /** A holder believes in a record that others may count as expired by now. */
  | 'outlived-lease'
  /** A record was taken over from a holder that was neither gone nor expired, in true time. */
  | 'took-held-lock'
  /** A record of somebody else was freed, renewed or deleted, or one's own while it was still held. */
  | 'touched-foreign-record'
  /** A write that replaced something else than what it was based on. */
  | 'blind-write'
  /** A record breaks R2, R6 or R10. */
  | 'malformed-record'
  /** A fencing token is not that of the acquiring write, or not in the order of acquisition. */
  | 'token-out-of-order'
  /** A fenced register accepted a write from a holder before the present one. */
  | 'stale-write-accepted'
  /** A lock was reported as lost to others which nobody had touched. */
  | 'lost-without-cause'
  /** A lock was taken away by force or deleted, and its holder has not noticed in time. */
  | 'loss-unnoticed'
  /** A process closes, and work under a lock of it was not asked to stop at once. */
  | 'not-asked-to-stop'
  /** A hold that was over was renewed. */
  | 'renewed-after-end'
  /** A cancelled or timed-out wait went on, and not to find out whether its holder is dead. */
  | 'not-cancelled'
  /** A try was skipped for a holder that has long been dead, or a fire for one that has not shown itself alive since. */
  | 'skipped-for-the-dead'
  /** A process enrols in a line that is full, or in a crowded one without having waited outside. */
  | 'crowded-line'
  /** A process was refused what its Role lacks, and has not named it. */
  | 'refusal-untold'
  /** A process was refused what its Role lacks, and soon tries the same again. */
  | 'refusal-ignored'
  /** An error of another kind than the documented ones. */
  | 'undocumented-error'
  | 'unhandled-rejection'
  /** Something is tried over and over, without end. */
  | 'busy-loop'
  /** A waiter did not get the lock though nothing stood in its way. */
  | 'never-acquired'
  /** After everything has ended, a Lease names a holder that has gone in peace. */
  | 'left-taken'
  /** A timer, listener, watch or place in a queue outlived its use. */
  | 'leak'
  /** A fire was run that had been run before, or after a later one. */
  | 'fire-run-again'
  /** A fire was not run, and nothing was in its way. */
  | 'fire-missed'
  /** A client did not run a fire since somebody else had claimed it, which nobody had. */
  | 'fire-skipped-for-nobody'
  /** A client wrote a record that has forgotten which fire was claimed, or that it is done. */
  | 'claim-lost'
  /** A client wrote of a fire of its own what is not so: that it is done, or open, or was cut short. */
  | 'claim-untrue'
  /** A record made a peer in Go dereference nil. */
  | 'peer-panicked';

export interface Finding {
  readonly check: Check;
  /** Milliseconds of true time. */
  readonly at: number;
  readonly text: string;
}

export class Findings {
  readonly all: Finding[] = [];

  constructor(
    private readonly scheduler: Scheduler,
    private readonly timeline: Timeline,
  ) {}

  get isEmpty(): boolean {
    return this.all.length === 0;
  }

  add(check: Check, text: string): void {
    this.all.push({
      check,
      at: this.scheduler.now,
      text: this.timeline.masked(text),
    });
    this.timeline.add('CHECK', () => `*** ${check}: ${text}`);
  }
}
