/** What processes write down while they hold locks, one line of JSON for each event, and what can be read from it. */
import { appendFileSync, readFileSync } from 'node:fs';

/**
 * A line of a log. Every time in it is in milliseconds on one clock that all processes of the machine
 * share and that only goes forward (CLOCK_MONOTONIC).
 */
export type BeliefEvent =
  /** The process was told that it holds the lock now. */
  | {
      readonly event: 'acquired';
      /** The name of the Lease. */
      readonly lock: string;
      /** What was asked for: of a semaphore, not the Lease. */
      readonly name?: string;
      /** Unique to this acquisition. */
      readonly holding: string;
      /** In decimal digits. Absent when the client has none, as k8slock and client-go. */
      readonly token?: string;
      /** When the process began to ask for it. */
      readonly asked?: number;
      readonly at: number;
    }
  /** It believes so no more: it is about to release the lock, or was told that it lost it. */
  | {
      readonly event: 'ended';
      readonly holding: string;
      readonly how: 'released' | 'lost';
      /** Why it was lost, where the client says so. */
      readonly reason?: string;
      readonly at: number;
    };

/** A time in which a process believed that it holds a lock. */
export interface Belief {
  readonly process: string;
  /** The name of the Lease. */
  readonly lock: string;
  /** What was asked for, where the log says so. */
  readonly name?: string;
  readonly holding: string;
  readonly token: bigint | undefined;
  /** When its process began to ask for the lock, where the log says so. */
  readonly asked?: number;
  readonly from: number;
  /** Infinity: until its process was gone, at an unknown time. */
  readonly to: number;
  readonly how: 'released' | 'lost' | 'died';
  /** Why it was lost, where the client says so. */
  readonly reason?: string;
}

/** Appends to the log of this process, at once: nothing is lost when it is killed in the next moment. */
export class BeliefLog {
  constructor(private readonly file: string) {}

  write(event: BeliefEvent): void {
    appendFileSync(this.file, `${JSON.stringify(event)}\n`);
  }
}

/**
 * Reads the log of one process.
 *
 * @param diedAt when it was killed, or looked at for the last time: no belief outlives it
 * @throws SyntaxError when a line is not whole, except for the last: its process was killed in the middle of it
 */
export function readBeliefs(
  process: string,
  file: string,
  diedAt = Infinity,
): Belief[] {
  const lines = readFileSync(file, 'utf8').split('\n');
  lines.pop(); // empty, or cut off
  return beliefsOf(process, lines, diedAt);
}

/** As {@link readBeliefs}, from lines that are whole. */
export function beliefsOf(
  process: string,
  lines: Iterable<string>,
  diedAt = Infinity,
): Belief[] {
  const beliefs = new Map<string, Belief>();
  for (const line of lines) {
    const event: BeliefEvent = JSON.parse(line);
    if (event.event === 'acquired') {
      const { lock, name, holding, token, asked, at } = event;
      beliefs.set(holding, {
        process,
        lock,
        name,
        holding,
        token: token === undefined ? undefined : BigInt(token),
        asked,
        from: at,
        to: diedAt,
        how: 'died',
      });
    } else {
      const begun = beliefs.get(event.holding);
      if (begun === undefined) {
        throw new Error(
          `${process}: ${event.holding} ended without having begun: ${line}`,
        );
      }
      const { at: to, how, reason } = event;
      beliefs.set(event.holding, { ...begun, to, how, reason });
    }
  }
  return [...beliefs.values()];
}
