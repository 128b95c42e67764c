/** What the page shows of one Lease, as the JSON that browsers get. Every text in it is cut to a sensible length. */
import { createHash } from 'node:crypto';
import { printable } from '../printable.js';
import { clientIdOf } from '../lock/record/lock-state.js';

/** A hold of a lock: times are those of this process, in milliseconds since the epoch. */
export interface HoldView {
  readonly pod: string;
  readonly from: number;
  /** Absent while the lock is held so. */
  to?: number;
  readonly method?: string;
}

/** A planned fire, and what became of it. */
export interface FireView {
  /** The planned time. */
  readonly at: number;
  /** As the record tells it; `interrupted` = begun by a holder that does not hold the lock any more. */
  state?: 'claimed' | 'open' | 'begun' | 'done' | 'interrupted';
  /** The pod that claimed it, or that made this process skip it. */
  pod?: string;
  /** When this process learned of the claim. */
  seenAt?: number;
  /** What it was in this process. */
  here?: 'running' | 'ran' | 'failed' | 'skipped';
  /** Why it was skipped here. */
  why?: string;
  /** Whether it was planned before this process started. */
  caughtUp?: boolean;
}

export interface HolderView {
  /** Identifies the holder in a request to evict it, since an identity can be of any length. */
  readonly key: string;
  readonly identity: string;
  readonly pod: string;
  readonly method?: string;
  readonly foreign: boolean;
  readonly granted: boolean;
  /** By the clock of the holder. */
  readonly since?: number;
  /** When this process saw the last renewal. */
  seenAt: number;
  /** Renewals that this process has seen. */
  renewals: number;
  /** Milliseconds; absent = until released. */
  readonly leaseDuration?: number;
  readonly session?: string;
}

export interface LockView {
  /** The name of the Lease. */
  readonly id: string;
  readonly kind: 'lock' | 'line' | 'session';
  readonly name: string;
  readonly slot?: number;
  readonly permits?: number;
  readonly exists: boolean;
  readonly holder?: HolderView;
  readonly waiting: readonly {
    readonly pod: string;
    readonly identity: string;
  }[];
  readonly transitions: number;
  /** The methods of this application with this lock name. */
  readonly methods: readonly string[];
  readonly fires: readonly FireView[];
  readonly holds: readonly HoldView[];
}

/** A part of a view that changes with each renewal. */
export interface RenewalView {
  readonly id: string;
  readonly seenAt: number;
  readonly renewals: number;
}

/** The pod of a holder identity: the host name, if the `clientId` is the default, which ends with a nonce as well. */
export function podOf(identity: string): string {
  return printable(clientIdOf(clientIdOf(identity)));
}

export function keyOf(identity: string): string {
  return createHash('sha256').update(identity).digest('hex').slice(0, 32);
}
