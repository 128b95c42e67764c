/** What a run of the fault suite leaves behind, for the checker: every time in it is true time, in milliseconds. */
import type { Belief } from '../beliefs/belief-log.js';

/** A Lease as the API server stored it, or as somebody sent it. */
export interface LeaseRecord {
  readonly metadata: {
    readonly name: string;
    readonly uid?: string;
    readonly resourceVersion?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: {
    readonly holderIdentity?: string | null;
    readonly leaseDurationSeconds?: number | null;
    readonly acquireTime?: string | null;
    readonly renewTime?: string | null;
    readonly leaseTransitions?: number | null;
    readonly [field: string]: unknown;
  };
}

/** The author of what is done to Leases by people, with other tools. */
export const KUBECTL = 'kubectl';

/** What a patch compares and changes. */
export interface LeaseChange {
  /** The spec that the record must have; undefined: any. */
  readonly tested: LeaseRecord['spec'];
  /** R11: the tickets that it adds, as annotations. */
  readonly added: Readonly<Record<string, string>>;
  /** R11: the names of the tickets that it removes. The API server refuses a JSON Patch if one does not stand. */
  readonly removed: readonly string[];
  /** Whether it changes nothing but tickets. */
  readonly isOfLine: boolean;
}

/** A request that is to change a Lease, as it came through the proxy to the API server. */
export interface LeaseWrite {
  /** The process, or {@link KUBECTL}. */
  readonly author: string;
  readonly verb: 'create' | 'replace' | 'patch' | 'delete';
  readonly lease: string;
  /** What it says that it replaces, changes or deletes. */
  readonly basedOn: {
    readonly uid?: string;
    readonly resourceVersion?: string;
  };
  /** The record that was sent, or what a patch makes of the spec that it tests; undefined for a deletion. */
  readonly sent: LeaseRecord | undefined;
  /** Only of a patch. */
  readonly change?: LeaseChange;
  /** What the proxy did to it. */
  readonly suffered?: 'sent late' | 'answer lost';
  /** It was not applied before. */
  readonly forwardedAt: number;
  /** It was not applied after, if it was; Infinity: the API server has not answered. */
  readonly answeredAt: number;
  /** Undefined: the API server has not answered, and nobody knows whether it was applied. */
  readonly status: number | undefined;
  /** What the API server stored; undefined also after a deletion. */
  readonly stored: LeaseRecord | undefined;
}

/** A time in which a process did not run, or its event loop did not turn. */
export interface Pause {
  readonly process: string;
  readonly from: number;
  /** Until it ran again, or was killed. */
  readonly to: number;
  /** `stall` = as it noticed itself, whatever the cause was. */
  readonly why: 'stopped' | 'blocked' | 'stall';
}

/** A write to the fenced register of a lock, in the order in which they arrived. */
export interface RegisterWrite {
  readonly lock: string;
  readonly process: string;
  readonly holding: string;
  readonly token: bigint;
  readonly at: number;
  readonly accepted: boolean;
}

/** A fault that was injected. */
export interface InjectedFault {
  readonly kind: string;
  readonly from: number;
  readonly to: number;
  /** A process, a Lease or the API server. */
  readonly target: string;
}

export interface Evidence {
  readonly beliefs: readonly Belief[];
  readonly pauses: readonly Pause[];
  readonly writes: readonly LeaseWrite[];
  readonly register: readonly RegisterWrite[];
  readonly faults: readonly InjectedFault[];
  /** What is wrong by itself, without a look at anything else. */
  readonly incidents: readonly Finding[];
  /** By the name of a semaphore. */
  readonly permits: ReadonlyMap<string, number>;
  /** How fast the clock of a process went; 1 unless it is named here. */
  readonly clockRates: ReadonlyMap<string, number>;
  /** Milliseconds from which on a pause that a process noticed itself was written down. */
  readonly leastStall: number;
}

/** The names of the checks; where the simulator has the same, it is called the same. */
export type Check =
  /** Two processes that were not paused believed that they hold the same lock, or the same slot, or that they lead. */
  | 'two-holders'
  /** More processes held a semaphore at once than it has permits. */
  | 'too-many-holders'
  /** A write gave the lock to another while its holder still believed in it. */
  | 'aborted-too-late'
  /** A record was taken over from a holder that was neither gone nor expired. */
  | 'took-held-lock'
  /** A record or a place in line of somebody else was changed, or one's own record while it was still held. */
  | 'touched-foreign-record'
  /** A write that does not say what it replaces or changes, or created what it was to replace. */
  | 'blind-write'
  /** A record breaks R2, R6, R10 or R11. */
  | 'malformed-record'
  /** A fencing token is not that of the acquiring write, or not in the order of acquisition. */
  | 'token-out-of-order'
  /** A fenced register accepted a write from a holder before the present one. */
  | 'stale-write-accepted'
  /** A lock was reported as lost to others which nobody had touched. */
  | 'lost-without-cause'
  /** A lock was taken away by hand, and its holder has not noticed in time. */
  | 'loss-unnoticed'
  /** An error of another kind than the documented ones. */
  | 'undocumented-error'
  /** A process ended by itself, or did not end when it was to. */
  | 'process-failed'
  /** A process did not get a lock, a permit or the lead though all faults were over. */
  | 'never-acquired'
  /** After everything has ended, a Lease names a holder. */
  | 'left-taken'
  /** A process has more in use than it had when it had warmed up. */
  | 'leak'
  /** A process's falsified clock does not go as it was set: what it wrote proves nothing. */
  | 'clock-unknown';

export interface Finding {
  readonly check: Check;
  readonly at: number;
  readonly text: string;
  /** The lock that it is about. */
  readonly lock?: string;
}
