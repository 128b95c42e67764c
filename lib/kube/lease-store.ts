/** The seam between the lock engine and the Kubernetes API: what a store of Leases must be able to do. */
import type { LockBackendReason } from '../lock.errors.js';

/** A Lease (`coordination.k8s.io/v1`) as JSON. Fields that are not named here are kept as they came. */
export interface Lease {
  apiVersion?: string;
  kind?: string;
  metadata: LeaseMetadata;
  spec?: LeaseSpec | null;
  [field: string]: unknown;
}

export interface LeaseMetadata {
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  annotations?: Record<string, string> | null;
  labels?: Record<string, string> | null;
  [field: string]: unknown;
}

export interface LeaseSpec {
  holderIdentity?: string | null;
  /** Whole seconds. */
  leaseDurationSeconds?: number | null;
  /** RFC 3339 with six fraction digits (MicroTime). */
  acquireTime?: string | null;
  /** RFC 3339 with six fraction digits (MicroTime). */
  renewTime?: string | null;
  leaseTransitions?: number | null;
  /** Set when coordinated leader election owns the Lease. */
  strategy?: string | null;
  [field: string]: unknown;
}

/** A Lease as the API server returned it: it has an identity, and a version that is a decimal number. */
export type StoredLease = Lease & {
  metadata: LeaseMetadata & { uid: string; resourceVersion: string };
};

/** Which Lease. */
export interface LeaseKey {
  readonly namespace: string;
  readonly name: string;
}

export interface RequestOptions {
  /** Gives the request up. The write it carried may still land. */
  signal?: AbortSignal;
  /**
   * Milliseconds until the request counts as failed with reason `timeout`, from the moment in which it is
   * sent. It may wait for that as long as others are sent.
   */
  timeout?: number;
  /** Milliseconds from now on after which its answer is of no use. */
  within?: number;
  /** What it is for, which decides when it is sent if many are under way. Default `look`. */
  priority?: RequestPriority;
}

/** The first is sent first. */
export type RequestPriority = 'renew' | 'release' | 'acquire' | 'look';

/**
 * What a write carries, or what makes it in the moment in which the request is sent: it may have waited
 * for others, and the times in the record must not be older than that.
 */
export type Made<T> = T | (() => T);

export function make<T extends object>(made: Made<T>): T {
  return typeof made === 'function' ? made() : made;
}

/** What a watch reports. A watch is a hint: it may lag, repeat or miss changes, and it never decides. */
export interface LeaseObserver {
  /**
   * The Lease exists and looks like this. `live`: it was changed just now, rather than found so when
   * the watch began or began anew.
   */
  changed(lease: StoredLease, live: boolean): void;
  /** The Lease is gone. */
  deleted(): void;
  /** Something has failed, and is being tried again. */
  failed?(error: Error): void;
}

/** Why a request to the store failed. */
export type LeaseStoreFailure = Exclude<
  LockBackendReason,
  'lease-missing' | 'lease-refused'
>;

/**
 * A request to the API server failed. The message is safe to log: it never carries a header, a
 * token or a body.
 */
export class LeaseStoreError extends Error {
  override readonly name = 'LeaseStoreError';
  /** The HTTP status, where an answer came. */
  readonly status?: number;
  /** Milliseconds that the API server asked to be left alone (Retry-After). */
  readonly retryAfter?: number;
  /** For a write: it may have been applied, now or later (sent, and no conclusive answer came). */
  readonly ambiguous: boolean;

  constructor(
    readonly reason: LeaseStoreFailure,
    message: string,
    details: {
      status?: number;
      retryAfter?: number;
      ambiguous?: boolean;
    } = {},
  ) {
    super(message);
    this.status = details.status;
    this.retryAfter = details.retryAfter;
    this.ambiguous = details.ambiguous ?? false;
  }
}

/** What the credentials may do to Leases, as far as the API server tells. */
export type LeaseVerb =
  'get' | 'create' | 'update' | 'delete' | 'watch' | 'list';

/**
 * Stores Leases. Each call is exactly one request (a list: one a page), is never repeated by the store,
 * and rejects with {@link LeaseStoreError}, or with what keeps the store from knowing its API server.
 */
export interface LeaseStore {
  /** The namespace to use where none is configured: the context's, the pod's own, else `default`. */
  defaultNamespace(): Promise<string>;

  /** Reads a Lease; undefined when there is none. */
  get(
    key: LeaseKey,
    options?: RequestOptions,
  ): Promise<StoredLease | undefined>;

  /** Creates a Lease (POST); `conflict` when it exists. */
  create(
    key: LeaseKey,
    lease: Made<Lease>,
    options?: RequestOptions,
  ): Promise<StoredLease>;

  /**
   * Replaces a Lease (PUT), if it still has the uid and resourceVersion that `lease` carries;
   * `conflict` or `not-found` when it has not.
   */
  replace(
    key: LeaseKey,
    lease: Made<StoredLease>,
    options?: RequestOptions,
  ): Promise<StoredLease>;

  /**
   * Deletes a Lease, if it still has this uid and resourceVersion.
   *
   * @returns whether it is gone; if not, it has finalizers that keep it
   */
  delete(
    key: LeaseKey,
    precondition: { uid: string; resourceVersion: string },
    options?: RequestOptions,
  ): Promise<boolean>;

  /** All Leases of a namespace. */
  list(namespace: string, options?: RequestOptions): Promise<StoredLease[]>;

  /**
   * Reports the Lease as it is and every change that comes, until closed. Reconnects by itself, for
   * ever; the observer is called with what is known, possibly the same state twice.
   *
   * @throws LeaseStoreError for a key that is no name of a Lease
   */
  watch(key: LeaseKey, observer: LeaseObserver): { close(): void };

  /**
   * Asks the API server whether the credentials may do `verb` to Leases (to the one named, if a
   * name is given).
   */
  mayI(
    verb: LeaseVerb,
    target: { namespace: string; name?: string },
    options?: RequestOptions,
  ): Promise<boolean>;

  /** Closes every connection and watch. */
  close(): void;
}
