/** What a worker process and the run that started it say to each other. */

/** Milliseconds; locks with this lease are held under the session of a process that has one. */
export const SESSION_LEASE = 2_000;

/** A lock that workers contend for. */
export interface LockProfile {
  readonly name: string;
  readonly options: {
    /** Milliseconds. */
    readonly leaseDuration: number | 'infinite';
    readonly deleteOnRelease?: boolean;
    /** More than 1: it is a semaphore. */
    readonly permits?: number;
  };
  /** How often it is chosen, compared with others. */
  readonly weight: number;
}

/** An election for which each worker runs. */
export interface ElectionProfile {
  readonly name: string;
  /** Milliseconds. */
  readonly leaseDuration: number;
}

export interface WorkerOptions {
  /** Also the `clientId`, and so the beginning of the holder identity of all its locks. */
  readonly name: string;
  readonly kubeConfigYaml: string;
  readonly locks: readonly LockProfile[];
  readonly election?: ElectionProfile;
  /** How many callers want locks at the same time. */
  readonly callers: number;
  readonly seed: string;
  readonly renewal: 'lock' | 'session';
  /** How fast its clocks go, 1 = truly. */
  readonly clockRate: number;
  /** Hours by which it is to set its wall clock off itself, where nobody else does. */
  readonly wallClockOffset: number;
  /** For its beliefs. */
  readonly beliefLog: string;
  /** For its pauses, one line of JSON for each. */
  readonly stallLog: string;
}

/**
 * What workers do: `work` = take locks in every way and hold them for any time; `calm` = take each
 * lock once, for a moment; `rest` = nothing, except that the leader leads on.
 */
export type Mode = 'work' | 'calm' | 'rest';

export type Order =
  | { readonly type: 'start'; readonly options: WorkerOptions }
  | { readonly type: 'mode'; readonly mode: Mode }
  /** Keep the event loop busy, for so many milliseconds. */
  | { readonly type: 'block'; readonly duration: number }
  /** The answer to `what-time`. */
  | { readonly type: 'time'; readonly at: number }
  | { readonly type: 'sample' }
  /** Release everything, and end. */
  | { readonly type: 'finish' };

export type Report =
  | { readonly type: 'ready' }
  | { readonly type: 'what-time' }
  /** `lock` is the name of the Lease, of a semaphore that of the slot. */
  | {
      readonly type: 'acquired';
      readonly lock: string;
      readonly holding: string;
    }
  | { readonly type: 'ended'; readonly lock: string; readonly holding: string }
  /** A write to the fenced register of a lock. */
  | {
      readonly type: 'write';
      readonly lock: string;
      readonly holding: string;
      readonly token: string;
    }
  /** In `calm`: it has had this lock, or has led. */
  | { readonly type: 'served'; readonly lock: string }
  /** In `rest`: no caller holds or waits for anything any more. */
  | { readonly type: 'resting' }
  | { readonly type: 'undocumented-error'; readonly text: string }
  /** Milliseconds by which the falsified clock is certainly off what it was set to. */
  | { readonly type: 'clock-residual'; readonly residual: number }
  | { readonly type: 'sample'; readonly sample: Sample };

/** What a process has in use. */
export interface Sample {
  /** Bytes, after a garbage collection. */
  readonly heap: number;
  /** How many of each kind, as of `process.getActiveResourcesInfo()`. */
  readonly resources: Readonly<Record<string, number>>;
  readonly sockets: number;
  readonly files: number;
}

/** A line of the log of pauses. */
export interface Stall {
  readonly from: number;
  readonly to: number;
}

/** Milliseconds: shorter times in which the event loop does not turn are no pauses. */
export const LEAST_STALL = 20;
