/** What a contender is told to do, by a line of JSON: ours, and those that are written in Go. */
import type { AcquireOptions, K8sLockModuleOptions } from 'nestjs-k8s-lock';

/** The least and the most that something takes, in milliseconds. */
export type Span = readonly [least: number, most: number];

/** How a contender spends its time. */
export interface Turns {
  /** How long it keeps the lock in a turn. */
  readonly hold: Span;
  /** How long it keeps it in every third turn, from the second on, if not as in the others. */
  readonly long?: Span;
  /** The time between two turns. */
  readonly rest: Span;
}

/** What one process of ours does, in each lock that it contends for. */
export interface OurOptions {
  /** Begins every holder identity of the process. */
  readonly name: string;
  readonly kubeConfigYaml: string;
  readonly namespace: string;
  readonly renewal?: K8sLockModuleOptions['renewal'];
  readonly locks: readonly OurPart[];
}

export interface OurPart extends Turns {
  readonly lock: string;
  readonly options: Omit<AcquireOptions, 'signal'>;
}

/** What one process does that contends in an election of ours. */
export interface LeaderOptions {
  readonly name: string;
  readonly kubeConfigYaml: string;
  readonly namespace: string;
  readonly lock: string;
  readonly leaseDuration: number;
  readonly safetyMargin: number;
}

/** What one process of a Go peer does; see `../peers`. */
export interface PeerOptions extends Turns {
  readonly name: string;
  readonly kubeConfigYaml: string;
  readonly namespace: string;
  readonly lock: string;
  readonly clientGo?: ClientGoOptions;
  readonly k8slock?: K8slockOptions;
  /** How many contenders it is, if not one. */
  readonly pods?: number;
  /** When requests are counted, on the clock of beliefs. The process ends after it, if it is set. */
  readonly window?: readonly [from: number, to: number];
}

/** Of client-go's leader election, in milliseconds. */
export interface ClientGoOptions {
  readonly leaseDuration: number;
  readonly renewDeadline: number;
  readonly retryPeriod: number;
  readonly releaseOnCancel: boolean;
}

/** Of k8slock, in milliseconds. */
export interface K8slockOptions {
  /** None: the lock does not expire. */
  readonly ttl?: number;
  readonly retryWait: number;
  /** By how much its wall clock is ahead. */
  readonly clockAhead?: number;
}
