/** Stores Leases: compare-and-swap by one global version, and the history that watches read. */
import { randomUUID } from 'node:crypto';
import type { LeaseKey, StoredLease } from '../kube/lease-store.js';
import * as status from './api-status.js';
import type {
  DecodedLease,
  MetadataFields,
  SpecFields,
} from './lease-codec.js';
import { invalidValue, validateLease } from './lease-validation.js';

/** A stored Lease and its JSON. Never modified: a write puts another in its place. */
export interface StoredEntry {
  readonly lease: StoredLease;
  readonly json: string;
}

/** One change, in the order of versions. */
export type StorageEvent = { readonly version: bigint } & (
  | {
      readonly deleted: false;
      /** The entry before the change; absent for a creation. */
      readonly before?: StoredEntry;
      readonly after: StoredEntry;
    }
  | {
      readonly deleted: true;
      readonly before: StoredEntry;
      readonly after?: undefined;
    }
);

/** The conditions of a deletion. */
export interface DeletePrecondition {
  uid?: string;
  resourceVersion?: string;
}

export interface StorageOptions {
  /** The resourceVersion before the first write. */
  firstVersion: bigint;
  /** A watch may be at least this many changes behind. */
  historySize: number;
  /** Keep `spec.strategy` and `spec.preferredHolder`, as a cluster with the feature gate CoordinatedLeaderElection does. */
  coordinatedLeaderElection: boolean;
}

export const storageKey = ({
  namespace,
  name,
}: {
  namespace?: string;
  name: string;
}) => `${namespace ?? ''}/${name}`;

/** etcd's limit for one value, in bytes. */
const SIZE_LIMIT = 1.5 * 1024 * 1024;

/** A Lease that is about to be stored. */
interface Draft {
  metadata: Partial<MetadataFields>;
  spec: Partial<SpecFields>;
}

/** The JSON of a Lease under a version, with its fields in the API server's order. */
function render({ metadata, spec }: Draft, resourceVersion?: string): string {
  return JSON.stringify({
    kind: 'Lease',
    apiVersion: 'coordination.k8s.io/v1',
    metadata: {
      name: metadata.name,
      namespace: metadata.namespace,
      uid: metadata.uid,
      resourceVersion,
      creationTimestamp: metadata.creationTimestamp,
      deletionTimestamp: metadata.deletionTimestamp,
      deletionGracePeriodSeconds: metadata.deletionGracePeriodSeconds,
      labels: metadata.labels,
      annotations: metadata.annotations,
      ownerReferences: metadata.ownerReferences,
      finalizers: metadata.finalizers,
    },
    spec,
  });
}

const entryOf = (json: string): StoredEntry => ({
  lease: JSON.parse(json),
  json,
});

export class LeaseStorage {
  private readonly entries = new Map<string, StoredEntry>();
  private readonly listeners = new Set<(event: StorageEvent) => void>();
  private history: StorageEvent[] = [];
  private current: bigint;
  private oldest: bigint;

  constructor(private readonly options: StorageOptions) {
    this.current = options.firstVersion;
    this.oldest = options.firstVersion;
  }

  /** The version of the latest write. */
  get version(): bigint {
    return this.current;
  }

  get(key: LeaseKey): StoredEntry | undefined {
    return this.entries.get(storageKey(key));
  }

  /** The stored Leases in the order of their keys, of one namespace or of all. */
  list(namespace?: string): StoredEntry[] {
    return [...this.entries.entries()]
      .filter(
        ([key]) => namespace === undefined || key.startsWith(`${namespace}/`),
      )
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([, entry]) => entry);
  }

  /** @param isDryRun everything but storing */
  create(key: LeaseKey, lease: DecodedLease, isDryRun = false): StoredEntry {
    const fresh = this.initialized(key, lease);
    if (this.get(key)) {
      throw status.alreadyExists(key.name);
    }
    return isDryRun
      ? entryOf(render(fresh))
      : this.write(key, fresh, undefined);
  }

  /** @throws {@link status.ApiError} 409 if another Lease is stored under this key, or none. */
  requireUid(key: LeaseKey, uid: string): void {
    const stored = this.get(key)?.lease.metadata.uid ?? '';
    if (uid === stored) {
      return;
    }
    throw status.conflict(
      key.name,
      `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${stored}`,
    );
  }

  /**
   * Replaces a Lease, or creates it if none is stored. A creation ignores the resourceVersion of the
   * request, so only {@link requireUid} prevents it from recreating a deleted Lease.
   */
  update(
    key: LeaseKey,
    lease: DecodedLease,
  ): { entry: StoredEntry; created: boolean } {
    const existing = this.get(key);
    if (!existing) {
      const fresh = this.initialized(key, lease);
      const entry = this.write(key, fresh, undefined);
      return { entry, created: true };
    }
    const stored = existing.lease;
    const going = deletionOf(stored);
    requireVersion(stored, lease.metadata.resourceVersion);
    const next: Draft = {
      metadata: {
        ...lease.metadata,
        name: key.name,
        namespace: key.namespace,
        uid: stored.metadata.uid,
        creationTimestamp: String(stored.metadata['creationTimestamp']),
        deletionTimestamp: undefined,
        deletionGracePeriodSeconds: undefined,
        ...going,
      },
      spec: this.gated(lease.spec, stored),
    };
    requireSameUid(stored, lease);
    requireValid(next, false);
    const version = stored.metadata.resourceVersion;
    if (going && !next.metadata.finalizers) {
      // The last finalizer is gone, so the Lease is deleted and nothing is stored.
      this.remove(key, existing);
      return { entry: entryOf(render(next, version)), created: false };
    }
    const isChanged = render(next, version) !== existing.json;
    const entry = isChanged ? this.write(key, next, existing) : existing;
    return { entry, created: false };
  }

  /** @returns the deleted entry, or the stored one if finalizers keep it */
  delete(
    key: LeaseKey,
    precondition: DeletePrecondition = {},
  ): { entry: StoredEntry; isGone: boolean } {
    const existing = this.get(key);
    if (!existing) {
      throw status.leaseNotFound(key.name);
    }
    const { metadata: stored } = existing.lease;
    for (const field of ['uid', 'resourceVersion'] as const) {
      const asked = precondition[field] ?? stored[field];
      if (asked !== stored[field]) {
        throw status.conflict(
          key.name,
          `the ${field} in the precondition (${asked}) does not match the ${field} in record (${stored[field]})`,
        );
      }
    }
    if (!existing.lease.metadata['finalizers']) {
      this.remove(key, existing);
      return { entry: existing, isGone: true };
    }
    if (deletionOf(existing.lease)) {
      return { entry: existing, isGone: false };
    }
    const { metadata, spec }: Draft = JSON.parse(existing.json);
    const mark = { deletionTimestamp: now(), deletionGracePeriodSeconds: 0 };
    const going = { metadata: { ...metadata, ...mark }, spec };
    const entry = this.write(key, going, existing);
    return { entry, isGone: false };
  }

  private remove(key: LeaseKey, existing: StoredEntry): void {
    this.entries.delete(storageKey(key));
    this.current += 1n;
    const version = this.current;
    this.record({ version, before: existing, deleted: true });
  }

  /** The changes after a version. @throws {@link status.ApiError} 410 if the history does not reach back that far. */
  since(version: bigint): StorageEvent[] {
    if (version < this.oldest) {
      throw status.expired(version, this.oldest);
    }
    return this.history.filter((event) => event.version > version);
  }

  /** Calls `listener` with every change, in the same turn in which it is written. @returns a function that unsubscribes. */
  subscribe(listener: (event: StorageEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Clears the history: a watch from any version before the current one gets a 410. */
  compact(): void {
    this.history = [];
    this.oldest = this.current;
  }

  /** The Lease as a creation stores it: with a new uid, whatever uid and times it came with. */
  private initialized(key: LeaseKey, lease: DecodedLease): Draft {
    const fresh: Draft = {
      metadata: {
        ...lease.metadata,
        name: key.name,
        namespace: key.namespace,
        uid: randomUUID(),
        creationTimestamp: now(),
        deletionTimestamp: undefined,
        deletionGracePeriodSeconds: undefined,
      },
      spec: this.gated(lease.spec),
    };
    requireValid(fresh, true);
    return fresh;
  }

  /** Drops the fields of coordinated leader election, unless the feature is on or they are stored already. */
  private gated(
    spec: Partial<SpecFields>,
    stored?: StoredLease,
  ): Partial<SpecFields> {
    if (this.options.coordinatedLeaderElection) {
      return spec;
    }
    const { strategy, preferredHolder, ...rest } = spec;
    const before = stored?.spec;
    return {
      ...rest,
      ...(before?.strategy !== undefined && { strategy }),
      ...(before?.['preferredHolder'] !== undefined && { preferredHolder }),
    };
  }

  private write(
    key: LeaseKey,
    draft: Draft,
    before: StoredEntry | undefined,
  ): StoredEntry {
    const version = this.current + 1n;
    const json = render(draft, String(version));
    if (Buffer.byteLength(json) > SIZE_LIMIT) {
      throw new status.ApiError(
        500,
        undefined,
        'etcdserver: request is too large',
      );
    }
    const after = entryOf(json);
    this.current = version;
    this.entries.set(storageKey(key), after);
    this.record({ version, ...(before && { before }), after, deleted: false });
    return after;
  }

  private record(event: StorageEvent): void {
    this.history.push(event);
    // The history grows to twice its size before it is cut, so that most writes do not move the array.
    if (this.history.length >= 2 * this.options.historySize) {
      const dropped = this.history.length - this.options.historySize;
      this.oldest = this.history[dropped - 1]!.version;
      this.history = this.history.slice(dropped);
    }
    for (const listener of this.listeners) {
      listener(event);
    }
  }
}

/** In whole seconds. */
const now = (): string => new Date().toISOString().replace(/\.\d+Z$/, 'Z');

/** The deletion fields of a deleted Lease that finalizers keep. */
function deletionOf({ metadata }: StoredLease) {
  const { deletionTimestamp } = metadata;
  return typeof deletionTimestamp === 'string'
    ? { deletionTimestamp, deletionGracePeriodSeconds: 0 }
    : undefined;
}

/** The compare-and-swap: a write must name the present resourceVersion. */
function requireVersion({ metadata }: StoredLease, given = '0'): void {
  if (!/^\d+$/.test(given)) {
    throw status.badRequest(`the resourceVersion "${given}" is no number`);
  }
  const version = BigInt(given);
  if (version === 0n) {
    throw status.invalid('leases', metadata.name, [
      invalidValue(
        'metadata.resourceVersion',
        0,
        'must be specified for an update',
      ),
    ]);
  }
  if (version !== BigInt(metadata.resourceVersion)) {
    throw status.conflict(
      metadata.name,
      'the object has been modified; please apply your changes to the latest version and try again',
    );
  }
}

/** Only the server sets the uid. A PUT with another has been refused before; a patch has not. */
function requireSameUid(stored: StoredLease, { metadata }: DecodedLease): void {
  const { uid, name } = stored.metadata;
  if ((metadata.uid ?? uid) !== uid) {
    throw status.invalid('Lease', name, [
      invalidValue('metadata.uid', metadata.uid, 'field is immutable'),
    ]);
  }
}

function requireValid(draft: Draft, isNew: boolean): void {
  const causes = validateLease(draft, { isNew });
  if (causes.length > 0) {
    throw status.invalid('Lease', draft.metadata.name ?? '', causes);
  }
}
