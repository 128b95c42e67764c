/** The messages between a replica and the process that started it. */

/**
 * From a replica. `at` is the monotonic clock of the machine in nanoseconds, which is the same in all of its
 * processes, so that their reports can be put in order.
 */
export type Report =
  | { readonly type: 'ready'; readonly url: string }
  | {
      readonly type: 'begin';
      readonly at: bigint;
      /** The replica's number of this work. */
      readonly id: number;
      /** What is worked on, which is the name of the lock. */
      readonly subject: string;
      readonly token: bigint;
      /** The planned time, in milliseconds since the epoch, if the scheduler has called. */
      readonly fire: number | undefined;
    }
  | {
      readonly type: 'end';
      readonly at: bigint;
      readonly id: number;
      /** Whether it has succeeded. */
      readonly isDone: boolean;
    }
  /** A call has found its lock taken, or its fire already run. */
  | {
      readonly type: 'waiting' | 'held' | 'fire-claimed' | 'cancelled';
      readonly at: bigint;
      readonly subject: string;
    }
  /** The scheduler calls a job. */
  | { readonly type: 'fire'; readonly job: string; readonly fire: number };

/** To a replica: a work that it has reported to begin goes on. */
export interface GoOn {
  readonly goOn: number;
}
