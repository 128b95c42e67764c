/** Counts which fire was run how often. */
import type { Job } from '../app/statement.service.js';

export interface Score {
  /** Runs of the fires that counted. */
  readonly runs: number;
  /** Runs beyond the first of a fire. */
  readonly doubles: number;
  /** Fires without a run. */
  readonly missed: number;
}

export class Tally {
  /** Names of replicas, by job and fire. */
  private readonly runs = new Map<string, string[]>();

  add(job: Job, fire: number, replica: string): void {
    this.runs.set(key(job, fire), [...this.who(job, fire), replica]);
  }

  /** Who ran a fire, in this order. */
  who(job: Job, fire: number): readonly string[] {
    return this.runs.get(key(job, fire)) ?? [];
  }

  score(job: Job, fires: readonly number[]): Score {
    const counts = fires.map((fire) => this.who(job, fire).length);
    return {
      runs: add(counts),
      doubles: add(counts.map((count) => Math.max(count - 1, 0))),
      missed: counts.filter((count) => count === 0).length,
    };
  }
}

function add(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function key(job: Job, fire: number): string {
  return `${job} ${fire}`;
}
