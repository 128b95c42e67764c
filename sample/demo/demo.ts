/** What the demo of each sample is made of. */
import type { Display } from './display.js';
import type { Replicas } from './replicas.js';
import type { WorkLog } from './work-log.js';

export interface Demo {
  /** What there is to see. */
  readonly about: string;
  /** How long it lasts, unless told. */
  readonly seconds: number;
  /** The environment of each replica, by its name. */
  readonly replicas: Readonly<Record<string, NodeJS.ProcessEnv>>;
  /**
   * Runs it while all replicas are ready.
   *
   * @throws MissingError
   */
  run(running: Running): Promise<Findings>;
}

export interface Running {
  readonly replicas: Replicas;
  readonly log: WorkLog;
  readonly display: Display;
  readonly seconds: number;
  readonly withoutLock: boolean;
  /** Aborts when the demo is interrupted. */
  readonly interrupt: AbortSignal;
}

/** Is called when all replicas have ended: prints the tables, and returns what went wrong. */
export type Findings = () => string[];
