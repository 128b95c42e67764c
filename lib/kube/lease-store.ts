/** The seam between the lock engine and the Kubernetes API: what a store of Leases must be able to do. */
import type { LockBackendReason } from '../lock.errors.js';

/** The name that this client gives to the API server, which notes it as the manager of what it writes. */
export const CLIENT_NAME = 'nestjs-k8s-lock';

/** A Lease (`coordination.k8s.io/v1`) as JSON. Fields that are not listed here are kept unchanged. */
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

/** Identifies a Lease. */
export interface LeaseKey {
  readonly namespace: string;
  readonly name: string;
}

export interface RequestOptions {
  /** Aborts the request. A write may still be applied afterwards. */
  signal?: AbortSignal;
  /**
   * Milliseconds from the sending of the request until it fails with reason `timeout`. A queued request
   * fails after the same time in which no other request gets an answer.
   */
  timeout?: number;
  /** Milliseconds from now after which an answer is useless, and the request fails. */
  within?: number;
  /** Decides which request is sent first if many are in flight. Default `look`. */
  priority?: RequestPriority;
}

/** The first is sent first. */
export type RequestPriority = 'renew' | 'release' | 'acquire' | 'look';

/**
 * A change to a part of a Lease. The API server applies it to the Lease as it is then, so an application
 * must name in it all that the change depends on: nothing else is compared.
 */
export type LeasePatch =
  | { readonly type: 'merge'; readonly body: LeasePatchBody }
  | {
      readonly type: 'json';
      readonly operations: readonly JsonPatchOperation[];
    };

/** A JSON Merge Patch (RFC 7396): null removes a field. A uid is compared, and so is a resourceVersion. */
export interface LeasePatchBody {
  readonly metadata?: {
    readonly uid?: string;
    readonly resourceVersion?: string;
    readonly annotations?: Readonly<Record<string, string | null>>;
    readonly labels?: Readonly<Record<string, string | null>>;
  };
  readonly spec?: Readonly<LeaseSpec>;
}

/**
 * An operation of a JSON Patch (RFC 6902). On the API server `test` with the value null is true of an
 * absent field too, `replace` adds an absent field, and below an absent field no operation applies.
 */
export type JsonPatchOperation =
  | {
      readonly op: 'test' | 'add' | 'replace';
      /** A JSON Pointer: in a key `~` is written `~0`, and `/` is written `~1`. */
      readonly path: string;
      readonly value: unknown;
    }
  | { readonly op: 'remove'; readonly path: string };

/**
 * The object of a write, or a function that makes it when the request is sent. The request may have
 * waited in the queue, and the times in the record must not be older than the request.
 */
export type Made<T> = T | (() => T);

export function make<T extends object>(made: Made<T>): T {
  return typeof made === 'function' ? made() : made;
}

/** Receives the events of a watch. A watch is only a hint: it may lag, repeat or miss changes. */
export interface LeaseObserver {
  /**
   * The present state of the Lease. `live`: the Lease changed just now; otherwise the state was read
   * when the watch started or restarted.
   */
  changed(lease: StoredLease, live: boolean): void;
  /** The Lease is gone. */
  deleted(): void;
  /** As of this resourceVersion the Lease is not selected any more, or gone. */
  unselected?(resourceVersion: string): void;
  /** The watch failed, and is being restarted. */
  failed?(error: Error): void;
}

/** Limits what a watch tells. */
export interface WatchSelection {
  /** It tells of the Lease only while its labels fit this. It may still tell more. */
  readonly labelSelector: string;
  /** The resourceVersion that is known already. */
  readonly from: string;
}

/** Why a request to the store failed. */
export type LeaseStoreFailure = Exclude<
  LockBackendReason,
  'lease-missing' | 'lease-refused'
>;

/**
 * A request to the API server failed. The message is safe to log: it never contains a header, a token
 * or a body.
 */
export class LeaseStoreError extends Error {
  override readonly name = 'LeaseStoreError';
  /** The HTTP status, if there was an answer. */
  readonly status?: number;
  /** Milliseconds to wait before a retry, as the API server asked (Retry-After). */
  readonly retryAfter?: number;
  /** For a write: it was sent without a conclusive answer, so it may have been applied or still be. */
  readonly ambiguous: boolean;
  /** For a creation: the API server says that the Lease existed then. */
  readonly alreadyExists: boolean;

  constructor(
    readonly reason: LeaseStoreFailure,
    message: string,
    details: {
      status?: number;
      retryAfter?: number;
      ambiguous?: boolean;
      alreadyExists?: boolean;
    } = {},
  ) {
    super(message);
    this.status = details.status;
    this.retryAfter = details.retryAfter;
    this.ambiguous = details.ambiguous ?? false;
    this.alreadyExists = details.alreadyExists ?? false;
  }
}

/** The verbs on Leases for which rights are checked. */
export type LeaseVerb =
  'get' | 'create' | 'update' | 'patch' | 'delete' | 'watch' | 'list';

/**
 * Stores Leases. Each call sends exactly one request (a list: one per page) without retries. It rejects
 * with {@link LeaseStoreError}, or with the error of loading the Kubernetes configuration.
 */
export interface LeaseStore {
  /** The renewals a second that this process can do, as measured, with room to spare; Infinity before the first. */
  readonly capacity: number;

  /** The namespace to use if none is configured: the context's, else the pod's, else `default`. */
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
   * `conflict` or `not-found` if not.
   */
  replace(
    key: LeaseKey,
    lease: Made<StoredLease>,
    options?: RequestOptions,
  ): Promise<StoredLease>;

  /**
   * Changes a part of a Lease (PATCH), if its operations apply to the Lease as it is then. Another
   * client's write in between does no harm. `conflict` if a `test` fails, a path does not exist, or the
   * uid or resourceVersion is another; `not-found` if there is no Lease.
   */
  patch(
    key: LeaseKey,
    patch: Made<LeasePatch>,
    options?: RequestOptions,
  ): Promise<StoredLease>;

  /**
   * Deletes a Lease, if it still has this uid and resourceVersion.
   *
   * @returns true if it is gone; false if finalizers keep it
   */
  delete(
    key: LeaseKey,
    precondition: { uid: string; resourceVersion: string },
    options?: RequestOptions,
  ): Promise<boolean>;

  /** All Leases of a namespace. */
  list(namespace: string, options?: RequestOptions): Promise<StoredLease[]>;

  /**
   * Reports the present Lease and every later change until closed. Reconnects without limit, so that
   * the observer may receive the same state twice.
   *
   * @throws LeaseStoreError if the key is not a valid namespace and name
   */
  watch(
    key: LeaseKey,
    observer: LeaseObserver,
    selection?: WatchSelection,
  ): { close(): void };

  /**
   * Asks the API server whether it grants the credentials `verb` on Leases (on one Lease, if a name
   * is given).
   */
  mayI(
    verb: LeaseVerb,
    target: { namespace: string; name?: string },
    options?: RequestOptions,
  ): Promise<boolean>;

  /** Closes every connection and watch. */
  close(): void;
}
