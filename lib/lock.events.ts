/** The types of the events of locks and of requests. */
import type {
  LockBackendError,
  LockLossReason,
  LockReference,
} from './lock.errors.js';

/** Common to all events. */
export interface LockEventBase extends LockReference {
  /** `Class.method`, in the call of a decorated method or through an interceptor. */
  method?: string;
}

/** The lock is taken; the caller waits. */
export interface LockWaitingEvent extends LockEventBase {
  type: 'waiting';
}

/** The lock was acquired. */
export interface LockAcquiredEvent extends LockEventBase {
  type: 'acquired';
  fencingToken: bigint;
  /** The holder identity of this acquisition. */
  holder: string;
  /** The planned time of the fire, under `oncePerFire`. */
  fire?: Date;
  /** Milliseconds from the call to the acquisition. */
  waited: number;
}

/** Why a call ended with an error, without the lock. */
export type LockNotAcquiredEventReason =
  /** `waitTimeout` is over. */
  | 'timeout'
  /** The lock was taken, under `onLocked: 'throw'`. */
  | 'held'
  /** The application is closing. */
  | 'shutdown'
  /**
   * The call was cancelled: its `signal` aborted, its Observable was unsubscribed, or the client of the
   * request has gone away. Or another lock that the same call had acquired before was lost.
   */
  | 'cancelled'
  /** This process can't renew more locks in time. */
  | 'saturated'
  /** The API server refused, or can't be used. */
  | 'failed';

/** A call ended with an error, without the lock. */
export interface LockNotAcquiredEvent extends LockEventBase {
  type: 'not-acquired';
  reason: LockNotAcquiredEventReason;
  /** The holder identity in the record, if known. */
  holder?: string;
  /** Why the API server could not be used, under `failed`. */
  error?: LockBackendError;
  /** Milliseconds from the call to its end. */
  waited: number;
}

/** The lease of a held lock was renewed. */
export interface LockRenewedEvent extends LockEventBase {
  type: 'renewed';
  fencingToken: bigint;
  /**
   * The part of the time from a renewal to the deadline that was left when this one succeeded: 1 = all of it,
   * 0 = none. Absent where there is no deadline, and from the first renewal of a lock that another pod has passed on.
   */
  margin?: number;
}

/** The lock was released. */
export interface LockReleasedEvent extends LockEventBase {
  type: 'released';
  fencingToken: bigint;
  /** Milliseconds from the acquisition to the call of `release()`. */
  held: number;
}

/** Why a call ended without the lock and without an error. */
export type LockSkippedReason =
  /** Another call, here or in another process, holds the lock. */
  | 'held'
  /** Another process has run this fire, or is running it. */
  | 'fire-claimed'
  /** The application is closing. */
  | 'shutdown';

/** A call ended without the lock and without an error, under `onLocked: 'skip'` or in `tryAcquire`. */
export interface LockSkippedEvent extends LockEventBase {
  type: 'skipped';
  reason: LockSkippedReason;
  /** The holder identity in the record, or that of the claim, if known. */
  holder?: string;
  /** The planned time of the fire, under `oncePerFire`. */
  fire?: Date;
  /** Milliseconds from the call to the skip. */
  waited: number;
}

/** A decorated method, or a call through an interceptor, has succeeded, even if its lock was lost meanwhile (`lost`). */
export interface LockExecutedEvent extends LockEventBase {
  type: 'executed';
  fencingToken: bigint;
  /** The planned time of the fire that was run, under `oncePerFire`. */
  fire?: Date;
  /** Milliseconds that the method took. */
  duration: number;
}

/** Such a method or call has thrown, rejected, or returned an Observable that errored. */
export interface LockFailedEvent extends LockEventBase {
  type: 'failed';
  fencingToken: bigint;
  /** The planned time of the fire that was run, under `oncePerFire`. */
  fire?: Date;
  /** Milliseconds that the method took. */
  duration: number;
  /** The error of the method. */
  error: unknown;
}

/** A held lock was lost. */
export interface LockLostEvent extends LockEventBase {
  type: 'lost';
  fencingToken: bigint;
  reason: LockLossReason;
  /** Milliseconds from the acquisition to the loss. */
  held: number;
}

/**
 * This process can't renew more locks in time: calls for further ones wait, and those that do not wait fail.
 * Emitted once until `unsaturated`, with the first lock that is held back.
 */
export interface LockSaturatedEvent extends LockEventBase {
  type: 'saturated';
  /** The number of locks that this process renews. */
  locks: number;
  /** The renewals a second that they need. */
  demand: number;
  /** The renewals a second that this process can do. */
  capacity: number;
}

/** This process can renew more locks again, and no call waits for that. */
export interface LockUnsaturatedEvent extends LockEventBase {
  type: 'unsaturated';
  /** Milliseconds since `saturated`. */
  duration: number;
}

/**
 * Another process uses the same semaphore with another number of permits: as many as the greater number can hold it
 * at a time. Emitted once for each other number.
 */
export interface LockPermitsDifferEvent extends LockEventBase {
  type: 'permits-differ';
  /** The permits of this call. */
  permits: number;
  /** Those of the other process; 1 for a lock. */
  others: number;
}

/** A request to the API server failed. The operation goes on for as long as it can. */
export interface LockBackendErrorEvent extends LockEventBase {
  type: 'backend-error';
  /** The operation of which the request was part. */
  operation: 'acquire' | 'renew' | 'release' | 'watch';
  error: LockBackendError;
}

export type LockEvent =
  | LockWaitingEvent
  | LockAcquiredEvent
  | LockNotAcquiredEvent
  | LockRenewedEvent
  | LockReleasedEvent
  | LockSkippedEvent
  | LockExecutedEvent
  | LockFailedEvent
  | LockLostEvent
  | LockSaturatedEvent
  | LockUnsaturatedEvent
  | LockPermitsDifferEvent
  | LockBackendErrorEvent;

/** One request to the API server has ended. */
export interface ApiRequestEvent {
  /** A verb of Kubernetes RBAC, or `review` for the access review of this process. */
  verb:
    | 'get'
    | 'list'
    | 'watch'
    | 'create'
    | 'update'
    | 'patch'
    | 'delete'
    | 'review';
  namespace: string;
  /** Milliseconds to the end of the answer, including obtaining credentials; of a watch, to the answer's head. */
  duration: number;
  /** The HTTP status, if an answer came. */
  status?: number;
  /** Why no answer came. */
  failure?: 'aborted' | 'credentials' | 'network' | 'timeout' | 'unreadable';
}
